"""Windows over sequences: nothing is lost, and padding gives the lengths back."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dyrnn.datasets import PaddedWindows, sequence_lengths
from dyrnn.errors import ShapeError
from tests.arrays import every_device, xp


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.integers(1, 12),
    st.integers(0, 11),
)
def test_windows_give_each_sequence_back(lengths, window, overlap):
    overlap = min(overlap, window - 1)
    bounds = np.cumsum([1, *lengths])
    sequences = [np.arange(*pair) for pair in itertools.pairwise(bounds)]
    windows = PaddedWindows(sequences, window, overlap)
    rows = list(windows)
    for sequence in sequences:
        rebuilt = rows.pop(0)
        while rebuilt[rebuilt > 0][-1] != sequence[-1]:
            following = rows.pop(0)
            if overlap:
                np.testing.assert_array_equal(rebuilt[-overlap:], following[:overlap])
            rebuilt = np.concatenate((rebuilt, following[overlap:]))
        np.testing.assert_array_equal(rebuilt[: len(sequence)], sequence)
        assert (rebuilt[len(sequence) :] == 0).all()
    assert rows == []


def test_with_an_overlap_of_one_each_item_is_a_target_once():
    windows = np.stack(list(PaddedWindows([range(1, 18), [20, 21]], 5, 1)))
    targets = windows[:, 1:]
    assert sorted(targets[targets > 0]) == [*range(2, 18), 21]


def test_lengths_are_those_before_the_padding(xp):
    windows = PaddedWindows([[5, 6, 7, 8], [9]], 3, 1)
    x = xp.asarray(np.stack(list(windows)).T)
    assert sequence_lengths(x).tolist() == [3, 2, 1]
    assert sequence_lengths(x, padding=9).tolist() == [3, 3, 3]
    assert sequence_lengths(xp.zeros((3, 2), np.int32)).tolist() == [0, 0]


@every_device
def test_wrong_windows_are_refused():
    for window, overlap in ((0, 0), (3, 3), (3, -1)):
        with pytest.raises(ValueError, match=f"a window of {window} with an overlap"):
            PaddedWindows([[1]], window, overlap)
    with pytest.raises(ValueError, match="0 sequences, the shortest of 0 items"):
        PaddedWindows([], 3)
    with pytest.raises(ValueError, match="2 sequences, the shortest of 0 items"):
        PaddedWindows([[1], []], 3)
    with pytest.raises(ValueError, match="sequences hold 0, which is the padding"):
        PaddedWindows([[1, 0]], 3)
    with pytest.raises(ShapeError, match=r"x has shape \(3,\)"):
        sequence_lengths(xp.arange(3))
