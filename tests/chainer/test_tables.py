"""Datasets with named columns."""

import numpy as np
import pytest

from dyrnn.chainer.dataset import TabularDataset
from dyrnn.chainer.dataset.tables import DelegateDataset, from_data


class Table(TabularDataset):
    """Rows 0 to n - 1 of columns whose values are their names and the row."""

    def __init__(self, mode=tuple, keys="abc", n=5):
        self.mode, self.keys, self.n = mode, tuple(keys), n
        self.asked = []

    mode: object = None
    keys: object = None

    def __len__(self):
        return self.n

    def get_examples(self, indices, key_indices):
        self.asked.append(key_indices)
        if isinstance(indices, slice):
            indices = range(self.n)[indices]
        rows = range(self.n) if indices is None else indices
        chosen = range(len(self.keys)) if key_indices is None else key_indices
        return tuple([[f"{self.keys[k]}{i}" for i in rows] for k in chosen])


def test_examples_are_of_the_mode():
    assert Table()[1] == ("a1", "b1", "c1")
    assert Table(dict)[1] == {"a": "a1", "b": "b1", "c": "c1"}
    assert Table(None, "a")[1] == "a1"
    assert (
        Table().asdict()[0] == Table(dict)[0] and Table(dict).astuple()[0] == Table()[0]
    )
    assert list(Table(None, "a", 2)) == ["a0", "a1"]
    assert Table(dict, "ab", 2).fetch() == {"a": ["a0", "a1"], "b": ["b0", "b1"]}
    assert DelegateDataset(Table())[2] == Table()[2]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (slice(None), "01234"),
        (slice(1, -1), "123"),
        (slice(None, None, -2), "420"),
        (slice(3, 0, -1), "321"),
        (slice(4, 4), ""),
        ([3, -1], "34"),
        ([True, False, True, False, False], "02"),
        ([], ""),
    ],
)
def test_rows_are_sliced_and_sliced_again(rows, found):
    part = Table(None, "a").slice[rows]
    assert part.fetch() == [f"a{i}" for i in found] and len(part) == len(found)
    again = part.slice[::-1]
    assert again.fetch() == [f"a{i}" for i in reversed(found)]
    assert again.slice[:2].fetch() == [f"a{i}" for i in reversed(found)][:2]
    if found:
        assert part.slice[[0, -1]].fetch() == [f"a{found[0]}", f"a{found[-1]}"]


def test_columns_are_chosen_and_only_they_are_read():
    table = Table()
    part = table.slice[:2, ("c", 0)]
    assert part.keys == ("c", "a") and part.mode is tuple
    assert part.fetch() == (["c0", "c1"], ["a0", "a1"]) and table.asked == [(2, 0)]
    assert (
        table.slice[:2, -2].fetch() == ["b0", "b1"] and table.slice[:, "b"].mode is None
    )
    assert part.slice[:, "a"].fetch() == ["a0", "a1"]


def test_slices_that_are_not_there():
    table = Table()
    with pytest.raises(ValueError, match="number of booleans is different"):
        table.slice[[True]]
    with pytest.raises(
        IndexError, match="index 5 is out of bounds for dataset with size 5"
    ):
        table.slice[[5]]
    with pytest.raises(
        IndexError, match="index 3 is out of bounds for keys with size 3"
    ):
        table.slice[:, 3]
    with pytest.raises(KeyError, match="z does not exists"):
        table.slice[:, "z"]


def test_tables_one_after_the_other():
    both = Table(dict, "ab", 3).concat(Table(tuple, "ab", 2))
    rows = ["a0", "a1", "a2", "a0", "a1"]
    assert len(both) == 5 and both.mode is dict and both.keys == ("a", "b")
    assert both.fetch()["a"] == rows and both[4] == {"a": "a1", "b": "b1"}
    assert both.slice[::-1, "a"].fetch() == rows[::-1]
    assert both.slice[1:5:2, "a"].fetch() == rows[1:5:2]
    assert both.slice[[4, 0, 3, 0], "a"].fetch() == ["a1", "a0", "a0", "a0"]
    assert both.slice[5:, "a"].fetch() == []
    assert both.convert(["x"]).tolist() == ["x"]
    with pytest.raises(ValueError, match="All datasets must have the same keys"):
        Table().concat(Table(keys="ab"))


def test_tables_side_by_side():
    a, b = Table(None, "a"), Table(dict, "bc")
    both = a.join(b)
    assert both.keys == ("a", "b", "c") and both.mode is dict and len(both) == 5
    assert both[1] == {"a": "a1", "b": "b1", "c": "c1"}
    b.asked.clear()
    assert both.slice[:1, ("c", "a", "c")].get_examples(None, None) == (
        ["c0"],
        ["a0"],
        ["c0"],
    )
    assert b.asked == [(1,)]
    assert a.join(Table(None, "d")).mode is tuple
    assert both.convert(([1], [2]))[0].tolist() == [1]
    with pytest.raises(ValueError, match="All datasets must have the same length"):
        a.join(Table(None, "z", 2))
    with pytest.raises(ValueError, match="All keys must be unique among all datasets"):
        a.join(Table(None, "a"))


def test_columns_are_computed_from_examples():
    twice = Table(None, "a").transform("x", lambda a: a + a)
    assert twice[2] == "a2a2" and twice.mode is None and twice.keys == ("x",)
    pair = Table(dict).transform(("x", "y"), lambda a, b, c: (c, a))
    assert pair.mode is tuple and pair[0] == ("c0", "a0")
    named = Table().transform(("x", "y"), lambda a, b, c: {"y": a, "x": b})
    assert named[0] == {"x": "b0", "y": "a0"} and named.slice[:1, "y"].fetch() == ["a0"]
    fickle = Table(None, "a").transform("x", lambda a: a if a == "a0" else (a,))
    with pytest.raises(ValueError, match="^transform must not change its return type"):
        fickle.fetch()


def test_columns_are_computed_from_columns():
    reverse = Table(None, "a").transform_batch("x", lambda a: a[::-1])
    assert reverse.fetch() == ["a4", "a3", "a2", "a1", "a0"] and reverse.mode is None
    named = Table(dict).transform_batch(("x",), lambda a, b, c: {"x": b})
    assert named[1] == {"x": "b1"}
    short = Table(None, "a").transform_batch("x", lambda a: a[1:])
    with pytest.raises(ValueError, match="must not change the length of data"):
        short.fetch()


def test_columns_become_arrays():
    table = from_data({"x": [1, 2], "y": np.ones(2)})
    arrays = table.convert(table.fetch())
    assert arrays["x"].tolist() == [1, 2] and arrays["y"].dtype == float
    joined = lambda *columns, **named: (len(columns), sorted(named))
    for mode, data, expected in (
        (tuple, ([1], [2]), (2, [])),
        (dict, {"a": [1]}, (0, ["a"])),
    ):
        assert Table(mode).with_converter(joined).convert(data) == expected
    assert Table(None, "a").with_converter(len).convert([1, 2, 3]) == 3


def test_tables_are_made_of_arrays_lists_and_functions():
    square = lambda i: i * i
    table = from_data((("a", [5, 6, 7]), ("b", np.arange(3)), ("c", square)))
    assert table[2] == (7, 2, 4) and table.keys == ("a", "b", "c")
    assert from_data({"a": [5, 6], "c": square})[1] == {"a": 6, "c": 1}
    assert from_data(("a", [5, 6])).keys == ("a",) and from_data([5, 6])[1] == 6
    assert from_data(np.arange(4)).slice[[3, 1]].fetch().tolist() == [3, 1]
    assert from_data((("x", "y"), lambda i: (i, -i)), size=3)[2] == (2, -2)
    with pytest.raises(ValueError, match=r"key\(s\) must be specified for callable"):
        from_data(square, size=3)
    with pytest.raises(ValueError, match="size must be specified for callable"):
        from_data(("c", square))
    with pytest.raises(TypeError, match="a column is an array, a list or a function"):
        from_data(("c", 3))


def test_the_base_asks_for_methods():
    table = TabularDataset()
    for call in (
        lambda: len(table),
        lambda: table.keys,
        lambda: table.mode,
        lambda: table.get_examples(None, None),
    ):
        with pytest.raises(NotImplementedError):
            call()
