"""Shapes, indexing and joining: errors, and promises that the table does not see."""

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import backend
from dyrnn.engine.core import Variable
from dyrnn.errors import ShapeError
from tests.arrays import every_device, one_device, xp

pytestmark = every_device


def test_reshape_to_another_number_of_elements_is_refused():
    for shape in ((4,), (-1, -1), (5, -1)):
        with pytest.raises((ShapeError, ValueError), match="reshape"):
            F.reshape(xp.ones((2, 3)), shape)


def test_what_changes_nothing_makes_no_node():
    x = Variable(xp.ones((2, 3)))
    assert F.reshape(x, (2, 3)) is x
    assert F.broadcast_to(x, (2, 3)) is x
    assert F.sum_to(x, (2, 3)) is x
    assert F.cast(x, np.float64) is x
    assert F.identity(x) is x


def test_arrays_without_elements_work():
    x = Variable(xp.ones((0, 3)))
    assert F.flatten(x).shape == (0,)
    assert F.concat([x, xp.ones((2, 3))], 0).shape == (2, 3)
    assert F.separate(x) == ()
    y = F.sum(x * 2)
    y.backward()
    assert y.array == 0 and x.grad.shape == (0, 3)


def test_squeeze_refuses_a_longer_axis():
    with pytest.raises(ShapeError, match=r"axis 0 of shape \(2, 1\) has not length 1"):
        F.squeeze(xp.ones((2, 1)), 0)


def test_moveaxis_needs_as_many_sources_as_destinations():
    with pytest.raises(ValueError, match="2 sources, 1 destinations"):
        F.moveaxis(xp.ones((2, 3)), (0, 1), 0)


def test_broadcast_to_copies_nothing():
    x = xp.ones((1, 3))
    assert xp.shares_memory(F.broadcast_to(Variable(x), (1000, 3)).array, x)


def test_parts_are_views():
    x = Variable(xp.ones((4, 6)))
    for part in (*F.split_axis(x, 3, 1), *F.separate(x), x[1:], F.transpose(x)):
        assert xp.shares_memory(part.array, x.array)


def test_copy_sends_values_there_and_gradients_back():
    x = Variable(xp.array([1.0, 2.0]))
    y = F.copy(x, "@strict")
    assert y.device.name == "@strict"
    F.sum(y * y).backward()
    assert x.grad.tolist() == [2, 4]
    z = F.copy(y, -1)
    assert z.device == backend.CPU
    assert not xp.shares_memory(F.copy(x).array, x.array)


def test_where_needs_a_mask():
    with pytest.raises(
        TypeError, match="condition is of type int64, not bool. Compare"
    ):
        F.where(xp.array([1, 0]), xp.ones(2), xp.ones(2))


def test_where_gives_the_side_not_taken_a_zero_even_of_infinity():
    x, other = Variable(xp.ones(2)), Variable(xp.ones(2))
    y = F.where(xp.array([False, True]), x, other)
    y.grad = xp.array([np.inf, 1.0])
    y.backward()
    assert x.grad.tolist() == [0, 1] and other.grad.tolist() == [np.inf, 0]


def test_index_may_be_a_variable():
    x = Variable(xp.arange(6.0).reshape(3, 2))
    rows = Variable(xp.array([2, 2]), requires_grad=False)
    F.sum(x[rows]).backward()
    assert x.grad.tolist() == [[0, 0], [0, 0], [2, 2]]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_index_may_be_of_a_type_smaller_than_the_axis(dtype):
    x = Variable(xp.zeros((300, 2)))
    ids = xp.array([1, 127, -1], np.int8).astype(dtype)
    F.sum(x[ids]).backward()
    assert xp.flatnonzero(x.grad[:, 0]).tolist() == sorted(int(i) % 300 for i in ids)


def test_rows_named_often_add_up_alike_in_every_run(rng):
    x = Variable(xp.zeros((3, 2), np.float32))
    ids = rng.integers(-3, 3, 1000)
    gy = rng.random((1000, 2)).astype(np.float32)
    expected = xp.zeros((3, 2))
    xp.add.at(expected, ids, gy.astype(np.float64))
    found = []
    for _ in range(2):
        y = x[ids]
        y.grad = gy
        x.cleargrad()
        y.backward()
        found.append(x.grad)
    xp.testing.assert_array_equal(*found)
    xp.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_select_item_wants_one_label_for_each_row():
    with pytest.raises(ShapeError, match=r"t has shape \(3,\), expected \(2,\)"):
        F.select_item(xp.ones((2, 3)), xp.array([0, 1, 2]))


@one_device("no arrays")
@pytest.mark.parametrize("join", [F.concat, F.stack, F.hstack, F.vstack, F.dstack])
def test_joining_nothing_is_an_error(join):
    with pytest.raises(
        ValueError, match=f"{join.__name__}: expected one or more arrays"
    ):
        join([])


def test_joining_refuses_shapes_that_do_not_fit():
    a, b = xp.ones((2, 3)), xp.ones((3, 2))
    with pytest.raises(
        ShapeError, match=r"\(2, 3\) and \(3, 2\) differ in an axis other"
    ):
        F.concat([a, b], 1)
    with pytest.raises(ShapeError, match="axis 2 is out of range of 2 axes"):
        F.concat([a, a], 2)
    with pytest.raises(ShapeError, match=r"stack: shapes \(2, 3\) and \(3, 2\) differ"):
        F.stack([a, b])


def test_splitting_refuses_bounds_that_do_not_fit():
    x = xp.ones((2, 5))
    with pytest.raises(ShapeError, match=r"axis 1 of shape \(2, 5\) .* 2 equal parts"):
        F.split_axis(x, 2, 1)
    for bounds in ([3, 2], [6]):
        with pytest.raises(ValueError, match=r"must ascend within axis 1 of shape"):
            F.split_axis(x, bounds, 1)


def test_pad_refuses_an_unknown_mode():
    with pytest.raises(ValueError, match="unknown mode 'mean'; there are constant"):
        F.pad(xp.ones(3), 1, mode="mean")


def test_pad_sequence_has_the_type_of_all_its_sequences():
    a, b = Variable(xp.ones(1, np.float32)), Variable(xp.full(2, 1e300))
    y = F.pad_sequence([a, b])
    assert y.array.tolist() == [[1, 0], [1e300, 1e300]]
    F.sum(y).backward()
    assert a.grad.dtype == np.float32 and b.grad.dtype == np.float64


def test_pad_sequence_refuses_a_length_too_short():
    with pytest.raises(ValueError, match="has 3 elements, more than 2"):
        F.pad_sequence([xp.ones(3), xp.ones(1)], 2)
    with pytest.raises(ValueError, match="pad_sequence: expected one or more"):
        F.pad_sequence([])


def test_transposing_sequences_twice_gives_them_back():
    xs = [xp.arange(4.0), xp.arange(2.0), xp.arange(2.0), xp.arange(1.0)]
    back = F.transpose_sequence(F.transpose_sequence(xs))
    assert [x.array.tolist() for x in back] == [x.tolist() for x in xs]
    assert F.transpose_sequence([]) == ()
    assert F.transpose_sequence([xp.ones((0, 2))]) == ()


def test_sequences_to_transpose_come_longest_first():
    with pytest.raises(ValueError, match=r"lengths \[1, 2\] must not ascend"):
        F.transpose_sequence([xp.ones(1), xp.ones(2)])
