"""Sequences of any lengths as windows of one length, overlapping and padded."""

import operator
from collections.abc import Sequence

import numpy as np

from dyrnn import backend
from dyrnn.datasets.dataset import Dataset
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import as_ids
from dyrnn.typing import Array


class PaddedWindows(Dataset):
    """Windows of several sequences, one after the other, as examples.

    Each sequence is cut on its own, from its start on, until a window reaches its end;
    that one is filled up with padding. A window may hold a whole sequence.

    Parameters
    ----------
    sequences : sequence of arrays of int, (T_b,)
        None of them empty, and none with ``padding`` in it.
    window : int
        Length of the windows.
    overlap : int, 0 <= overlap < window
        How many items a window shares with the next one of its sequence. With 1, and
        the items one later as targets, each item but the first is a target once.
    padding : int

    Examples
    --------
    >>> windows = PaddedWindows([[1, 2, 3, 4, 5], [6, 7]], window=3, overlap=1)
    >>> np.stack(windows[:])
    array([[1, 2, 3],
           [3, 4, 5],
           [6, 7, 0]], dtype=int32)
    """

    def __init__(
        self, sequences: Sequence, window: int, overlap: int = 0, padding: int = 0
    ) -> None:
        window, overlap = operator.index(window), operator.index(overlap)
        if window < 1 or not 0 <= overlap < window:
            raise ValueError(
                f"a window of {window} with an overlap of {overlap}: the window must "
                "be at least 1, and the overlap from 0 to less than the window"
            )
        self.window = window
        self.padding = padding
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        if len(lengths) == 0 or lengths.min() == 0:
            raise ValueError(
                f"{len(lengths)} sequences, the shortest of "
                f"{lengths.min() if len(lengths) else 0} items: give at least one "
                "sequence, and none that is empty"
            )
        self._items = as_ids("PaddedWindows", np.concatenate(list(sequences)))
        padding = int(as_ids("PaddedWindows: padding", padding))
        if (self._items == padding).any():
            raise ValueError(
                f"the sequences hold {padding}, which is the padding: use ids that "
                "leave it free, such as those of a vocabulary plus 1"
            )
        stride = window - overlap
        counts = 1 + np.maximum(0, -((window - lengths) // stride))
        ends = np.cumsum(lengths)
        # Of each window: its sequence, and its index among the windows of that.
        owner = np.repeat(np.arange(len(lengths)), counts)
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self._starts = (ends - lengths)[owner] + stride * number
        self._stops = np.minimum(self._starts + window, ends[owner])

    def __len__(self):
        return len(self._starts)

    def get_example(self, i):
        """Return window ``i``, an int32 array (window,)."""
        items = self._items[self._starts[i] : self._stops[i]]
        result = np.full(self.window, self.padding, dtype=np.int32)
        result[: len(items)] = items
        return result


def sequence_lengths(x: Array, padding: int = 0) -> Array:
    """Return how long the columns of (T, B) are without the padding at their ends.

    Examples
    --------
    >>> sequence_lengths(np.array([[1, 4], [2, 0], [3, 0]]))
    array([3, 1])
    """
    if x.ndim != 2:
        raise ShapeError(
            f"sequence_lengths: x has shape {x.shape}; it must be (time, batch)"
        )
    xp = backend.get_array_module(x)
    steps = xp.arange(1, len(x) + 1)[:, None]
    return xp.where(x != padding, steps, 0).max(axis=0)
