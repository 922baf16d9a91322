"""What all iterators share: the protocol, and the checks of their arguments.

An iterator of one's own need not derive from `Iterator`. An updater calls ``next()``
for a batch, and ``finalize()`` in the end; a snapshot calls ``serialize(s)``. Triggers
read ``epoch`` and ``epoch_detail``, which describe the batches handed out, never those
read ahead. What a batch is, ``is_window`` says.
"""

import operator
from collections.abc import Callable
from typing import Any

from dyrnn.errors import SnapshotError


class Iterator:
    """Base class of iterators; a subclass defines ``__next__`` and ``serialize``.

    Attributes
    ----------
    batch_size : int
    epoch : int
        Completed passes over the data.
    is_new_epoch : bool
        Whether the newest batch completed a pass.
    epoch_detail : float
        Epochs and their fraction.
    previous_epoch_detail : float or None
        Its value before the newest batch.
    is_window : bool
        Whether a batch is a window of ``steps`` time steps, a tuple of arrays
        (T, B, ...), or else a list of examples; for `BPTTUpdater`, those of one step.
        Where an iterator does not say, a tuple is a window.
    goes_on : bool
        Whether row b of a batch goes on where row b of the one before ended, so that a
        model may carry its state. True where an iterator does not say; the batches of
        `SerialIterator` and those like it are examples that do not follow each other.
    next_window : callable (steps) or None
        Reads several steps at once, as a window: for those that are faster so.
    part : callable or None
        Says, given the number of rows of a batch, which slice of them is handed out:
        that of this process, see `dyrnn.distributed`. By default all are.
    """

    batch_size: int
    is_window = False
    goes_on = True
    next_window = None
    part: Callable | None = None

    def __iter__(self):
        return self

    def __repr__(self):
        size = getattr(self, "batch_size", "?")
        steps = f", {self.steps} steps" if hasattr(self, "steps") else ""
        detail = getattr(self, "epoch_detail", 0.0)
        return f"<{type(self).__name__}: batches of {size}{steps}, {detail:.2f} epochs>"

    def __next__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __next__")

    def next(self) -> Any:
        """Return the next batch; raise ``StopIteration`` after the last one."""
        return self.__next__()

    def _own(self, rows: int) -> slice:
        return slice(None) if self.part is None else self.part(rows)

    def finalize(self) -> None:
        """Give back threads and processes; the iterator can go on afterwards."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.finalize()

    def _must_match(self, s, key, value):
        """Save ``value``; when loading, refuse another one."""
        saved = s(key, value)
        if saved != value:
            raise SnapshotError(
                f"{type(self).__name__}: the snapshot was made with {key} {saved}, "
                f"this iterator has {value}. Resume with the same data and batch size."
            )


def is_window(iterator, batch):
    """Whether a batch is a window (T, B, ...), and not a list of examples."""
    return getattr(iterator, "is_window", isinstance(batch, tuple))


def positive_integer(name, value):
    """Return ``value`` as an int; an error names the argument."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number
