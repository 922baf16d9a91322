"""Datasets of datasets, and arrays from examples."""

import numpy as np
import pytest

from dyrnn import backend, datasets, random
from dyrnn.datasets import (
    ConcatenatedDataset,
    DictDataset,
    SubDataset,
    TransformDataset,
    TupleDataset,
    concat_examples,
    pad_sequences,
    split_dataset,
    split_dataset_n,
    split_dataset_n_random,
    split_dataset_random,
    split_lines,
)
from dyrnn.errors import ShapeError
from tests.arrays import every_device, xp


@every_device
def test_tuple_and_dict_datasets_join_examples():
    pairs = TupleDataset([1, 2, 3], xp.array([4, 5, 6]))
    assert len(pairs) == 3
    assert pairs[1] == (2, 5)
    assert pairs[-1] == (3, 6)
    named = DictDataset(x=[1, 2, 3], t="abc")
    assert len(named) == 3
    assert named[0] == {"x": 1, "t": "a"}
    assert list(named)[2] == {"x": 3, "t": "c"}


def test_datasets_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"lengths given: \{0: 2, 1: 3\}"):
        TupleDataset([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match=r"lengths given: \{'x': 2, 't': 3\}"):
        DictDataset(x=[1, 2], t=[1, 2, 3])
    with pytest.raises(ValueError, match=r"lengths given: \{\}"):
        TupleDataset()


def test_slices_and_index_arrays_give_lists_of_examples():
    dataset = TransformDataset(range(10), lambda i: i * i)
    assert dataset[2:5] == [4, 9, 16]
    assert dataset[::-4] == [81, 25, 1]
    assert dataset[[1, -1]] == dataset[np.array([1, 9])] == [1, 81]
    assert dataset[np.arange(10) > 7] == [64, 81]
    assert dataset[np.int64(3)] == 9


def test_indices_out_of_range_are_refused():
    dataset = TransformDataset(range(3), str)
    for i in (3, -4):
        with pytest.raises(IndexError, match=f"index {i} is out of range: there are 3"):
            dataset[i]
    with pytest.raises(TypeError):
        dataset[1.5]


def test_a_dataset_must_define_its_methods():
    with pytest.raises(NotImplementedError, match="must define __len__"):
        len(datasets.Dataset())
    with pytest.raises(NotImplementedError, match="must define get_example"):
        datasets.Dataset().get_example(0)


def test_concatenated_datasets_follow_each_other():
    dataset = ConcatenatedDataset([1, 2], [], "abc")
    assert list(dataset) == [1, 2, "a", "b", "c"]
    assert len(ConcatenatedDataset()) == 0


def test_sub_dataset_is_a_part_in_its_order():
    assert list(SubDataset("abcde", 1, 4)) == ["b", "c", "d"]
    assert list(SubDataset("abc", 1, 3, order=[2, 1, 0])) == ["b", "a"]
    for start, finish in [(-1, 2), (2, 1), (0, 4)]:
        with pytest.raises(ValueError, match=f"start {start} and finish {finish}"):
            SubDataset("abc", start, finish)
    with pytest.raises(ValueError, match="order has 2 indices, but the dataset 3"):
        SubDataset("abc", 0, 1, order=[0, 1])


def test_split_makes_two_parts():
    first, second = split_dataset("abcde", 2)
    assert (list(first), list(second)) == (["a", "b"], ["c", "d", "e"])
    for at in (0, 5, -1):
        with pytest.raises(ValueError, match=f"split_at {at} leaves a part empty"):
            split_dataset("abcde", at)


def test_random_split_depends_on_a_seed_only():
    def split(**options):
        return [list(part) for part in split_dataset_random(range(20), 15, **options)]

    first = split(seed=1)
    assert sorted(first[0] + first[1]) == list(range(20))
    assert first == split(seed=1) != split(seed=2)
    random.seed(5)
    free = split()
    random.seed(5)
    assert split() == free != split()


def test_split_in_n_parts():
    assert [list(part) for part in split_dataset_n(range(7), 3)] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]
    parts = split_dataset_n_random(range(6), 2, seed=0)
    assert sorted(list(parts[0]) + list(parts[1])) == list(range(6))
    for n in (1, 8):
        with pytest.raises(ValueError, match=f"cannot make {n} parts of 7"):
            split_dataset_n(range(7), n)


@every_device
def test_examples_become_arrays():
    x, t = concat_examples([([1, 2], 1), ([3, 4], 2)])
    assert (x.tolist(), t.tolist()) == ([[1, 2], [3, 4]], [1, 2])
    batch = [(np.int32(1), np.int32(2)), (np.int32(3), np.int32(4))]
    assert [a.dtype for a in concat_examples(batch)] == [np.int32, np.int32]
    both = concat_examples([{"x": xp.ones(2, "f"), "t": 0}, {"x": xp.ones(2), "t": 1}])
    assert both["x"].shape == (2, 2)
    assert both["t"].tolist() == [0, 1]
    assert concat_examples([1.5, 2.5]).tolist() == [1.5, 2.5]


@every_device
def test_padding_fills_up_and_keeps_the_type():
    batch = [(xp.array([1, 2], "i"), 0), (xp.array([3], "i"), 1)]
    x, t = concat_examples(batch, padding=(-1, None))
    assert x.tolist() == [[1, 2], [3, -1]]
    assert x.dtype == np.int32
    assert t.tolist() == [0, 1]
    named = [{"x": xp.ones((1, 2))}, {"x": xp.ones((2, 1))}]
    assert concat_examples(named, padding={"x": 0})["x"].sum() == 4
    assert concat_examples(named, padding=5)["x"][0, 1].tolist() == [5, 5]
    assert concat_examples([[], [1, 2]], padding=0).dtype.kind == "i"


@every_device
def test_batches_that_cannot_be_joined_are_refused():
    with pytest.raises(ValueError, match="the batch is empty"):
        concat_examples([])
    with pytest.raises(
        ShapeError, match=r"different shapes .*\(1,\), \(2,\).* padding"
    ):
        concat_examples([xp.ones(2), xp.ones(1)])
    with pytest.raises(ShapeError, match=r"different numbers of parts: \[1, 2\]"):
        concat_examples([(1, 2), (1,)])
    with pytest.raises(ShapeError, match="different numbers of axes"):
        concat_examples([xp.ones(2), xp.ones((1, 1))], padding=0)


def test_batches_are_sent_to_the_device(device):
    x, t = concat_examples([(np.ones(2, "f"), 1), (np.zeros(2, "f"), 0)], device=device)
    assert backend.device_of(x) == backend.device_of(t) == device
    assert backend.to_cpu(x).tolist() == [[1, 1], [0, 0]]
    with pytest.raises(ValueError, match="unknown device 'nowhere'"):
        concat_examples([1], device="nowhere")


def test_arrays_are_joined_on_their_own_device(device):
    arrays = [device.send(np.ones(n, "f")) for n in (2, 1)]
    padded = concat_examples(arrays, padding=0)
    assert backend.device_of(padded) == device
    assert backend.to_cpu(padded).tolist() == [[1, 1], [1, 0]]
    assert concat_examples([arrays[0], arrays[0]]).shape == (2, 2)


@every_device
def test_sequences_become_columns():
    array, lengths = pad_sequences([[1, 2, 3], [4]])
    assert array.tolist() == [[1, 4], [2, -1], [3, -1]]
    assert lengths.tolist() == [3, 1]
    assert lengths.dtype == np.int32
    array, _ = pad_sequences([xp.ones((2, 3), "f"), xp.ones((1, 3), "f")], padding=0)
    assert array.shape == (2, 2, 3)
    assert array[1, 1].tolist() == [0, 0, 0]
    with pytest.raises(ShapeError, match="all sequences of the batch are empty"):
        pad_sequences([[], []])


def test_split_lines_gives_each_line_with_both_its_ends():
    lines = split_lines(np.array([3, 4, 9, 9, 5, 9, 6], np.int32), 9)
    assert [line.tolist() for line in lines] == [[9, 3, 4, 9], [9, 9], [9, 5, 9]]
    assert all(line.dtype == np.int32 for line in lines)
    for eos in (9, None):  # as of a text in one line
        with pytest.raises(ValueError, match="text, of 2 words, has no line end"):
            split_lines(np.array([1, 2]), eos)
