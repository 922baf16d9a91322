"""Batches along one long sequence, for truncated backpropagation through time.

The sequence is cut into B tracks which are read side by side, so that row b of a batch
goes on where row b of the batch before ended, and a recurrent link can carry its state.
Windows are time-major: ``x`` and ``t`` have shape (T, B), and ``t`` holds the items
that follow those of ``x``.
"""

from collections.abc import Generator, Sequence

import numpy as np

from dyrnn import backend
from dyrnn.errors import SnapshotError
from dyrnn.iterators.base import Iterator, positive_integer
from dyrnn.typing import Array, Examples


class _SequentialIterator(Iterator):
    """A position along the sequence, and the epochs it makes."""

    def reset(self):
        """Start again at the first batch."""
        self.position = 0
        self.epoch = 0
        self.is_new_epoch = False
        self.previous_epoch_detail = None

    def serialize(self, s):
        """Save or load the position and the epoch."""
        self._must_match(s, "batch_size", self.batch_size)
        position = s("position", self.position)
        epoch = s("epoch", self.epoch)
        if not all(isinstance(n, int) and n >= 0 for n in (position, epoch)):
            raise SnapshotError(
                f"{type(self).__name__}: position {position} or epoch {epoch} in the "
                "snapshot is not a count"
            )
        self.position, self.epoch = position, epoch
        self.is_new_epoch = s("is_new_epoch", self.is_new_epoch)
        self.previous_epoch_detail = s(
            "previous_epoch_detail", self.previous_epoch_detail
        )


class ParallelSequentialIterator(_SequentialIterator):
    """Batches of ``(item, next item)`` at B places of a sequence that move together.

    Track b starts at ``b * len(dataset) // batch_size``. With ``repeat`` the sequence
    is a ring; an epoch is as many steps as visit each item once. Without, the tracks
    stop after one epoch, and the pair of the last and the first item, which never
    follow each other, is left out: the last batch then has one row less (none with
    batch size 1). If ``batch_size`` does not divide the length, tracks overlap by one
    item.

    Parameters
    ----------
    dataset : sequence of numbers, or array whose first axis is time
        Integers are kept as int32. Batches of an array on a GPU are made there.
    batch_size : int, from 1 to the length
    repeat : bool

    Raises
    ------
    ValueError, TypeError
        If the batch size is not an integer in its range, or if there are fewer than
        2 items.
    """

    def __init__(self, dataset: Examples, batch_size: int, repeat: bool = True) -> None:
        self.batch_size = positive_integer("batch_size", batch_size)
        self.dataset = _sequence(dataset)
        length = len(self.dataset)
        if self.batch_size > length:
            raise ValueError(
                f"batch_size {self.batch_size} is larger than the sequence of "
                f"{length} items. Use a batch_size up to {length}, or a longer text."
            )
        self.repeat = repeat
        self.offsets = np.arange(self.batch_size) * length // self.batch_size
        self.reset()

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    @property
    def epoch_detail(self):
        """Epochs handed out, with their fraction."""
        return self.position * self.batch_size / len(self.dataset)

    def __next__(self):
        x, t = self.next_window(1)
        return list(zip(x[0], t[0], strict=True))

    def next_window(self, steps: int) -> tuple[Array, Array]:
        """Return the next ``steps`` batches at once; the same as that many ``next()``.

        Without ``repeat`` a window may be shorter at the end. ``is_new_epoch`` is True
        if an epoch ended anywhere in the window.

        Returns
        -------
        x : ndarray, (T, B), int32
        t : ndarray, (T, B), int32
            The items that follow those of ``x``.
        """
        steps = positive_integer("steps", steps)
        length, rows = len(self.dataset), self.batch_size
        if not self.repeat:
            left = len(self) - self.position
            # The very last step of the last track is the pair that wraps.
            if left == 1:
                rows -= 1
            if left == 0 or rows == 0:
                raise StopIteration
            steps = min(steps, max(left - 1, 1))
        times = np.arange(self.position, self.position + steps + 1)[:, None]
        offsets = self.offsets[:rows][self._own(rows)]
        places = backend.device_of(self.dataset).send((times + offsets) % length)
        items = self.dataset[places]
        self.previous_epoch_detail = self.epoch_detail
        self.position += steps
        epoch = self.position * self.batch_size // length
        self.is_new_epoch = epoch > self.epoch
        self.epoch = epoch
        return items[:-1], items[1:]

    def serialize(self, s):
        self._must_match(s, "length", len(self.dataset))
        super().serialize(s)


class WindowIterator(_SequentialIterator):
    """Windows of ``steps`` steps, cut as in TensorFlow's language model tutorial.

    The sequence is cut into ``batch_size`` tracks of equal length (the remainder is
    dropped), the tracks into windows of ``steps`` items, each with the items one
    later as targets; every epoch starts at the beginning of the tracks. ``next()``
    returns one window ``(x, t)``, arrays (T, B). They are views, on the CPU read-only:
    copy one before writing into it.

    Parameters
    ----------
    dataset : sequence of numbers, or array whose first axis is time
        Integers are kept as int32. Batches of an array on a GPU are made there.
    batch_size : int
    steps : int
        Length T of a window.
    repeat : bool
        Whether to go on forever. If not, ``StopIteration`` ends the first epoch.
    remainder : bool
        Whether an epoch ends with a shorter window that holds the last steps of the
        tracks. With batch size 1 that is every item: for evaluation.

    Raises
    ------
    ValueError, TypeError
        If an argument is not an integer or less than 1, or if no window fits.
    """

    is_window = True

    def __init__(
        self,
        dataset: Examples,
        batch_size: int,
        steps: int,
        repeat: bool = True,
        remainder: bool = False,
    ) -> None:
        self.batch_size = positive_integer("batch_size", batch_size)
        self.steps = positive_integer("steps", steps)
        self.repeat = repeat
        items = _sequence(dataset)
        length = len(items) // self.batch_size
        full, rest = divmod(length - 1, self.steps)
        self.windows = full + (remainder and rest > 0)
        if length < 2 or self.windows == 0:
            needed = self.batch_size * (2 if remainder else self.steps + 1)
            raise ValueError(
                f"no window fits: {len(items)} items give {self.batch_size} tracks "
                f"of {length}, and {self.steps} steps need {needed} items. Decrease "
                "batch_size or steps, or use a longer text."
            )
        self._last = length - 1 if remainder else full * self.steps
        tracks = items[: length * self.batch_size]
        tracks = tracks.reshape(self.batch_size, length, *items.shape[1:])
        xp = backend.get_array_module(items)
        self._items = xp.ascontiguousarray(tracks.swapaxes(0, 1))
        if xp is np:
            self._items.setflags(write=False)
        self.reset()

    def __len__(self) -> int:
        """Return the number of windows in an epoch."""
        return self.windows

    @property
    def epoch_detail(self):
        """Epochs handed out, with their fraction."""
        return self.epoch + self.position / self.windows

    def __next__(self):
        if not self.repeat and self.epoch > 0:
            raise StopIteration
        start = self.position * self.steps
        stop = min(start + self.steps, self._last)
        self.previous_epoch_detail = self.epoch_detail
        self.position += 1
        self.is_new_epoch = self.position == self.windows
        if self.is_new_epoch:
            self.position = 0
            self.epoch += 1
        own = self._own(self.batch_size)
        return self._items[start:stop, own], self._items[start + 1 : stop + 1, own]

    def serialize(self, s):
        self._must_match(s, "steps", self.steps)
        super().serialize(s)
        self._must_match(s, "windows", self.windows)
        if self.position >= self.windows:
            raise SnapshotError(
                f"WindowIterator: position {self.position} is beyond the last of "
                f"{self.windows} windows"
            )


def ptb_producer(
    raw_data: Sequence[int] | Array, batch_size: int, num_steps: int
) -> Generator[tuple[Array, Array], None, None]:
    """Cut a list of word ids into windows, as TensorFlow's ``ptb_producer`` does.

    Parameters
    ----------
    raw_data : sequence of int
    batch_size, num_steps : int

    Returns
    -------
    iterator of (x, y)
        Arrays (B, T), int32; ``y`` is ``x`` one step later. One epoch.

    Raises
    ------
    ValueError
        If no window fits.

    Examples
    --------
    >>> for x, y in ptb_producer([4, 3, 2, 1, 0, 5, 6, 1], 2, 2):
    ...     print(x.tolist(), y.tolist())
    [[4, 3], [0, 5]] [[3, 2], [5, 6]]
    """
    windows = WindowIterator(raw_data, batch_size, num_steps, repeat=False)
    return ((x.T, t.T) for x, t in windows)


def _sequence(dataset):
    """Return a dataset as an array of at least 2 items, integers as int32."""
    array = backend.get_array_module(dataset).asarray(dataset)
    if array.dtype.kind not in "iuf":
        raise TypeError(
            f"the sequence must hold numbers, such as word ids, got {array.dtype}"
        )
    if array.ndim == 0 or len(array) < 2:
        raise ValueError(
            f"the sequence has {array.size} items: at least 2 are needed, one to read "
            "and one to predict"
        )
    if array.dtype.kind in "iu" and array.dtype != np.int32:
        limits = np.iinfo(np.int32)
        if array.min() < limits.min or array.max() > limits.max:
            raise ValueError("ids must fit in int32")
        array = array.astype(np.int32)
    return array
