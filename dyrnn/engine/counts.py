"""How many labels a value is the mean of, noted where it is computed.

A loss knows what it divided by, and nobody after it does: labels may be ignored, and a
batch padded. `counted` notes it on the result, for those who report it or add it up.
What is computed further from a loss has no count of its own; it counts as many labels
as all losses of that call, which a `Tally` adds up. A sum over all axes is noted as
such: divided by something, it is a mean over so many; negated, it is still a sum.

A note is ``labels, factor, kind``: the value times the factor is the mean over the
labels. The kinds are MEAN; SUM, which counts as many labels as its call; ROWS, a sum
over the length of the first axis; and RATIO, a sum over what the user divided by.
"""

import threading
from typing import Any, TypeVar

_V = TypeVar("_V")

MEAN, SUM, ROWS, RATIO = "mean", "sum", "rows", "ratio"


class _Local(threading.local):
    tally: Any = None


_local = _Local()


class Tally:
    """Adds up the labels of the losses that are computed inside its ``with`` block.

    Parameters
    ----------
    default : number or array, optional
        What counts where no loss noted anything.

    Attributes
    ----------
    labels : number or array
        None before the first loss.
    has_sums : bool
        Whether losses were summed, so that what is computed of them may be a sum, too.
    """

    def __init__(self, default: Any = None) -> None:
        self.default = default
        self.labels: Any = None
        self.has_sums = False
        self._has_each = False  # losses of single labels, which somebody sums up

    def __enter__(self) -> "Tally":
        self._outer, _local.tally = _local.tally, self
        return self

    def __exit__(self, *exception: object) -> None:
        _local.tally = self._outer

    def of(self, value: Any) -> tuple[Any, float]:
        """Return how many labels a value counts, and the factor to their mean.

        The value's own count, else that of the losses, else the default.
        """
        own = getattr(value, "_count", None)
        if own is not None and own[2] != SUM:
            return own[:2]
        return (self.default if self.labels is None else self.labels), 1.0

    def mean_of(self, loss: Any) -> tuple[Any, Any]:
        """Return a loss as the mean over its labels, and how many they are."""
        count, factor = self.of(loss)
        return (loss if factor == 1 else loss * factor), count

    def is_unclear(self, loss: Any) -> bool:
        """Whether a loss was made of sums, and does not say what it is the mean of."""
        is_made = getattr(loss, "_count", None) is None
        return is_made and self.has_sums and (self.labels is None or self._has_each)

    def note(self, loss: Any, labels: Any, factor: float, kind: str) -> None:
        """Add the labels of a loss."""
        self.labels = labels if self.labels is None else self.labels + labels
        self._has_each |= loss.ndim > 0 or factor != 1 or kind != MEAN
        self.has_sums |= factor != 1 or kind != MEAN


def current_tally() -> Tally:
    """Return the innermost tally of this thread, or an empty one."""
    return _local.tally or Tally()


def kind_of(loss: Any) -> str | None:
    """Return the kind of a value's note, or None if it has none."""
    note = getattr(loss, "_count", None)
    return None if note is None else note[2]


def summed(y: _V) -> _V:
    """Note that a scalar is the sum of all elements, and return it."""
    y._count = None, 1.0, SUM  # type: ignore[attr-defined]
    if _local.tally is not None:
        _local.tally.has_sums = True
    return y


def passed_on(x: Any, y: _V, over: Any = None) -> _V:
    """Note on ``y`` what ``x`` has noted; of a sum, also that it was divided."""
    note = getattr(x, "_count", None)
    if note is not None:
        if over is None:
            y._count = note  # type: ignore[attr-defined]
        elif note[2] == SUM and getattr(over, "shape", ()) == ():
            labels = abs(getattr(over, "array", over))
            if not isinstance(labels, int | float) or labels == 1:
                # Nothing, divided by max(1, labels), has no label.
                labels = labels * ((labels != 1) | (x.array != 0))
            y._count = labels, 1.0, RATIO  # type: ignore[attr-defined]
    return y


def counted(loss: _V, labels: Any, factor: float = 1.0, kind: str = MEAN) -> _V:
    """Note that ``loss * factor`` is the mean over so many labels, and return it.

    Parameters
    ----------
    loss : Variable
    labels : number or array
        An array where only a GPU knows.
    factor : float
    kind : str
        See above.
    """
    loss._count = labels, factor, kind  # type: ignore[attr-defined]
    if _local.tally is not None:
        _local.tally.note(loss, labels, factor, kind)
    return loss
