"""How many labels a value is the mean of, noted where it is computed.

A loss knows what it divided by, and nobody after it does: labels may be ignored, and a
batch padded. `counted` notes it on the result, for those who report it or add it up.
What is computed further from a loss has no count of its own; it counts as many labels
as all losses of that call, which a `Tally` adds up.
"""

import threading
from typing import Any, TypeVar

_V = TypeVar("_V")


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
    """

    def __init__(self, default: Any = None) -> None:
        self.default = default
        self.labels: Any = None

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
        if own is not None:
            return own
        return (self.default if self.labels is None else self.labels), 1.0

    def mean_of(self, loss: Any) -> tuple[Any, Any]:
        """Return a loss as the mean over its labels, and how many they are."""
        count, factor = self.of(loss)
        return (loss if factor == 1 else loss * factor), count


def current_tally() -> Tally:
    """Return the innermost tally of this thread, or an empty one."""
    return _local.tally or Tally()


def counted(loss: _V, labels: Any, factor: float = 1.0) -> _V:
    """Note that ``loss * factor`` is the mean over so many labels, and return it.

    Parameters
    ----------
    loss : Variable
    labels : number or array
        An array where only a GPU knows.
    """
    loss._count = labels, factor  # type: ignore[attr-defined]
    tally = _local.tally
    if tally is not None:
        tally.labels = labels if tally.labels is None else tally.labels + labels
    return loss
