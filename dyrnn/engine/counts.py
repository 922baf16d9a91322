"""How many labels a value is the mean of, noted where it is computed.

A loss knows what it divided by, and nobody after it does: labels may be ignored, and a
batch padded. `counted` notes it on the result, for those who report it or add it up.
A note stays with a loss that is scaled or divided by a number; losses that are added
are noted as the terms of a sum, each with its own count. What is computed otherwise
has no count of its own; it counts as many labels as all losses of that call, which a
`Tally` adds up. A sum over all axes is noted as such: divided by something, it is a
mean over so many.

A note is ``labels, factor, kind``: the value times the factor is the mean over the
labels. The kinds are

- MEAN, of labels, and AVERAGE, of all elements of an array, whatever they are, or an
  array of such means;
- SUM, of all elements, and SCALED, a sum times a number, which may be a mean;
- ROWS, a sum over the length of the first axis, and FIRST, a mean of sums over it, or
  these sums: ``factor`` is the number that they were multiplied by since;
- RATIO, a sum over what the user divided by, and SHARES, an array over it, whose sum
  is a RATIO;
- TERMS, a sum of losses: ``labels`` holds what was added up, each with a factor or
  None, and ``factor`` is how many losses these are. `terms_of` gives the losses.
"""

import functools
import math
import numbers
import threading
from typing import Any

MEAN, AVERAGE, SUM, SCALED, ROWS, FIRST, RATIO, SHARES, TERMS = (
    "mean",
    "average",
    "sum",
    "scaled",
    "rows",
    "first",
    "ratio",
    "shares",
    "terms",
)
_SUM = None, 1.0, SUM
_NO_MEAN = None, 1.0, None  # otherwise as without a note
SUM_OVER_FIRST = None, 1.0, FIRST

_BIT = math.log(2)  # what turns nats into bits is no number of labels

# Losses of one sum that are kept; a sum of more is one loss from there on.
_MAX_TERMS = 1024
_MAX_TERMS_UNASKED = 64  # where no graph keeps them, and no tally asks


class _Local(threading.local):
    tally: Any = None


_local = _Local()


class Tally:
    """Adds up the labels of the losses that are computed inside its ``with`` block.

    Parameters
    ----------
    default : number or array, optional
        What counts where no loss noted anything, and of a sum.
    window : tuple of int, optional
        Steps and batch size, where all of a window is computed at once: a sum over the
        window is then shared between the steps.

    Attributes
    ----------
    labels : number or array
        None before the first loss.
    has_sums : bool
        Whether losses were summed, so that what is computed of them may be a sum, too.
    """

    def __init__(self, default: Any = None, window: tuple | None = None) -> None:
        self.default = default
        self.window = window
        self.labels: Any = None
        self.has_sums = False
        self.is_told = False  # what is reported came with weights
        self.no_means: tuple[str, ...] = ()  # names of reported values
        self._has_each = False  # losses of single labels, which somebody sums up

    def __enter__(self) -> "Tally":
        self._outer, _local.tally = _local.tally, self
        return self

    def __exit__(self, *exception: object) -> None:
        _local.tally = self._outer

    def count_of(self, value: Any) -> Any:
        """Return how many labels a value counts.

        Its own count, else that of the losses, else the default.
        """
        own = own_count(value)
        if own is not None:
            return own
        if self.labels is None or (kind_of(value) == SUM and self.default is not None):
            return self.default
        return self.labels

    def parts_of(self, value: Any) -> list[tuple[Any, Any]]:
        """Return the means that a value is the sum of, each with its count."""
        labels, factor, kind = _note(value)
        count = self.count_of(value)
        if kind == TERMS:
            return [
                (mean, count if own_count(term) is None else n)
                for term in terms_of(value)
                for mean, n in self.parts_of(term)
            ]
        if self.window is not None and kind in (SUM, FIRST, ROWS):
            length, batch_size = self.window
            if kind == ROWS:  # which should be a batch
                return [(value * (labels / batch_size / length), length * batch_size)]
            if kind == FIRST:
                count = count * length
                if self.is_mean_of_sums(value):
                    return [(value, count)]
            return [(value / length, count)]
        is_mean = factor == 1 or kind == FIRST
        return [(value if is_mean else value * factor, count)]

    def weights_of(self, loss: Any) -> list[Any] | None:
        """Return what each loss of a sum was divided by, by which several are averaged.

        None: it is a sum over labels. NaN: it does not say over how many it is a mean.
        """
        _, factor, kind = _note(loss)
        factor = 1.0 if kind == FIRST else factor
        if self.is_unclear(loss):
            return [math.nan]
        if kind == TERMS:
            return [
                n
                for term in terms_of(loss)
                for n in self.weights_of(term) or [math.nan]
            ]
        return None if kind == SUM else [self.count_of(loss) * factor]

    def is_unclear(self, loss: Any) -> bool:
        """Whether a loss was made of sums, and does not say what it is the mean of."""
        kind = kind_of(loss)
        if kind == TERMS:
            return any(
                kind_of(term) in (SUM, SCALED) or self._is_of_sums(term)
                for term, _ in _leaves(loss)
            )
        if kind == SUM:  # of means, which were stacked
            return self.labels is not None and not self._has_each
        if kind == SCALED or self._is_of_sums(loss):
            return True
        no_labels = self.labels is None or self._has_each
        return kind is None and self.has_sums and no_labels

    def is_mean_of_sums(self, loss: Any) -> bool:
        """Whether sums over the steps of a window were divided by their number."""
        _, factor, kind = _note(loss)
        if kind != FIRST or self.window is None:
            return False
        return self.window[0] > 1 and abs(abs(factor) * self.window[0] - 1) < 1e-6

    def _is_of_sums(self, loss: Any) -> bool:
        """Whether a loss averages less than a window has: sums over steps, it seems."""
        labels, _, kind = _note(loss)
        if kind != AVERAGE or self.window is None:
            return False
        length, batch_size = self.window
        return labels % batch_size == 0 and labels % (length * batch_size) != 0

    def note(self, loss: Any, labels: Any, factor: float, kind: str) -> None:
        """Add the labels of a loss."""
        self.labels = labels if self.labels is None else self.labels + labels
        self._has_each |= loss.ndim > 0 or factor != 1 or kind != MEAN
        self.has_sums |= factor != 1 or kind != MEAN


def _note(value: Any) -> tuple[Any, float, str | None]:
    return getattr(value, "_count", None) or (None, 1.0, None)


def current_tally() -> Tally:
    """Return the innermost tally of this thread, or an empty one."""
    return _local.tally or Tally()


def kind_of(value: Any) -> str | None:
    """Return the kind of a value's note, or None if it has none."""
    note = getattr(value, "_count", None)
    return None if note is None else note[2]


def own_count(value: Any) -> Any:
    """Return how many labels a value says it is the mean of, or None.

    That of losses which were added up is the largest.
    """
    labels, _, kind = _note(value)
    if kind != TERMS:
        return labels
    return largest([own_count(term) for term, _ in _leaves(value)])


def terms_of(value: Any) -> list[Any]:
    """Return the losses that a value of the kind TERMS is the sum of."""
    return [
        term if factor is None else term * factor for term, factor in _leaves(value)
    ]


def _leaves(value):
    # Factors are multiplied on the way down: a loop of `total = total * 0.9 + loss` has
    # as many of them as losses.
    found, left = [], [(value, None)]
    while left:
        x, factor = left.pop()
        if kind_of(x) != TERMS:
            found.append((x, factor))
            continue
        for term, own in reversed(x._count[0]):
            both = own is not None and factor is not None
            left.append(
                (term, own * factor if both else factor if own is None else own)
            )
    return found


def divisors_of(loss: Any) -> tuple:
    """Return what the sums in a loss were divided by, where that is a plain number.

    None stands for a sum that was not divided. What was counted, as the labels of a
    mask are, is of NumPy's types, and left out.
    """
    notes = [_note(term) for term, _ in _leaves(loss)]
    divisors = [labels for labels, _, kind in notes if kind in (SUM, RATIO)]
    return tuple(n for n in divisors if type(n) in (type(None), int, float))


def largest(counts: Any) -> Any:
    """Return the largest of several counts, without waiting for a GPU; None of none."""
    counts = [count for count in counts if count is not None]
    return functools.reduce(_larger, counts) if counts else None


def _larger(a, b):
    if isinstance(a, int | float) and isinstance(b, int | float):
        return max(a, b)
    return a * (a >= b) + b * (a < b)


def no_mean(y: Any) -> Any:
    """Note that a score, or an array of scores, is no mean over labels."""
    y._count = _NO_MEAN
    return y


def bent(x: Any, y: Any) -> Any:
    """Note that ``y``, of a function that is not linear, is no mean where ``x`` was."""
    if getattr(x, "_count", None) is not None and y.ndim == 0:
        y._count = _NO_MEAN
    return y


def is_no_mean(x: Any) -> bool:
    """Whether a value was noted to be no mean over labels."""
    return getattr(x, "_count", None) is _NO_MEAN


def _as_no_mean(a, b, y):
    """Note on ``y``, made of two values without a count, if one of them is no mean."""
    return no_mean(y) if is_no_mean(a) or is_no_mean(b) else y


def chosen(x: Any, y: Any) -> Any:
    """Note on ``y``, elements or means of elements of ``x``, if these are no means."""
    return passed_on(x, y) if is_no_mean(x) else y


def summed(x: Any, y: Any) -> Any:
    """Note that ``y``, a scalar, is the sum of all elements of ``x``, and return it."""
    note = getattr(x, "_count", None)
    if x.array.ndim == 0 or (note is not None and note[2] == TERMS):
        return passed_on(x, y)
    y._count = _SUM
    tally = _local.tally
    if tally is not None:
        tally.has_sums = True
    if note is not None and note[2] == SHARES:
        # A plain number is a number of labels if it is all of them.
        is_plain = type(note[0]) in (int, float)
        if not is_plain or (tally and tally.default and note[0] % tally.default == 0):
            y._count = note[0], 1.0, RATIO
    return y


def summed_further(x: Any, y: Any) -> Any:
    """Note that ``y``, a sum over later axes, has sums over the first one, as ``x``."""
    return passed_on(x, y) if kind_of(x) == FIRST else y


def averaged(x: Any, y: Any, n: int) -> Any:
    """Note that ``y`` is the mean of ``x`` over axes of ``n`` elements."""
    if x.ndim == 0:
        return passed_on(x, y)
    if is_no_mean(x):
        return passed_on(x, y)
    labels, factor, kind = _note(x)
    if kind == TERMS:
        return _scaled(x, 1.0 / n, y) if y.ndim == 0 else y
    if kind == FIRST:
        y._count = n * (labels or 1), factor, FIRST
    else:
        y._count = n * (labels if kind == AVERAGE else 1), 1.0, AVERAGE
    return y


def passed_on(x: Any, y: Any) -> Any:
    """Note on ``y`` what ``x`` has noted, since it has the same values."""
    note = getattr(x, "_count", None)
    if note is not None:
        y._count = note
    return y


def stacked(xs: Any, y: Any) -> Any:
    """Note the losses that ``y`` holds, for their sum or mean."""
    if all(x.size == 1 and kind_of(x) not in (None, SUM, SCALED) for x in xs):
        y._count = tuple((x, None) for x in xs), sum(map(_size, xs)), TERMS
    return y


def weighed(x: Any, weights: Any, y: Any) -> Any:
    """Note on ``y``, the mean of the losses in ``x`` with weights, what these are."""
    if kind_of(x) == TERMS and x.shape == weights.shape == (len(x._count[0]),):
        pairs = zip(x._count[0], (weights / weights.sum()).tolist(), strict=True)
        terms = tuple((term, share) for (term, _), share in pairs)
        y._count = terms, x._count[1], TERMS
    return y


def changed(function: Any, x: Any, y: Any) -> Any:
    """Note on ``y = function(x)``, which is linear, what ``x`` has noted."""
    note = getattr(x, "_count", None)
    if note is not None and note[2] == TERMS:
        note = tuple((function(term), None) for term in terms_of(x)), note[1], TERMS
    if note is not None:
        y._count = note
    return y


def _scaled(x, factor, y):
    """Note on ``y = x * factor`` what ``x`` has noted."""
    labels, own, kind = _note(x)
    if kind == TERMS:
        y._count = ((x, factor),), own, TERMS
    elif kind == FIRST and isinstance(factor, numbers.Real):
        y._count = labels, own * float(factor), FIRST
    elif kind is not None:
        y._count = x._count
    return y


def shared(a: Any, b: Any, y: Any) -> Any:
    """Note on ``y = a / b``, an array, that it has losses over a number of labels."""
    over = getattr(b, "array", b)
    if getattr(over, "shape", ()) != ():
        return y
    kind = kind_of(a)
    if kind == FIRST and isinstance(over, numbers.Real) and over:
        return _scaled(a, 1.0 / over, y)
    if kind not in (FIRST, TERMS):
        y._count = abs(over), 1.0, SHARES
    return y


def scaled_sums(x: Any, factor: Any, y: Any) -> Any:
    """Note on ``y``, an array, that it is sums over the first axis times a number."""
    return _scaled(x, factor, y) if kind_of(x) == FIRST else y


def _size(x):
    return x._count[1] if kind_of(x) == TERMS else 1


def added(a: Any, b: Any, y: Any) -> Any:
    """Note on ``y = a + b``, a scalar, the losses that it is the sum of."""
    kinds = kind_of(a), kind_of(b)
    if kinds == (None, None):
        return _as_no_mean(a, b, y)
    are_sums = [kind in (SUM, SCALED) for kind in kinds]
    if all(are_sums):
        y._count = None, 1.0, SUM if kinds == (SUM, SUM) else SCALED
        return y
    for x, other, kind in (a, b, kinds[1]), (b, a, kinds[0]):
        if kind is None:
            if kind_of(x) in (MEAN, AVERAGE, RATIO) or (
                type(other) is int and other == 0
            ):
                return passed_on(x, y)
            if kind_of(x) in (SUM, SCALED):
                return y
    y._count = ((a, None), (b, None)), _size(a) + _size(b), TERMS
    is_kept = _local.tally is not None or y.requires_grad
    if y._count[1] > (_MAX_TERMS if is_kept else _MAX_TERMS_UNASKED):
        y._count = own_count(y), 1.0, MEAN
    return y


def multiplied(a: Any, b: Any, y: Any) -> Any:
    """Note on ``y = a * b``, a scalar, the count of the one that is a loss."""
    if kind_of(a) is not None and kind_of(b) is not None:
        return bent(a, y)
    x, other = (b, a) if kind_of(a) is None else (a, b)
    if kind_of(x) is None:
        return _as_no_mean(a, b, y)
    if kind_of(x) in (SUM, SCALED):
        y._count = None, 1.0, SCALED
        return y
    return _scaled(x, other, y)


def divided(a: Any, b: Any, y: Any) -> Any:
    """Note on ``y = a / b``, a scalar, over how many labels it is the mean."""
    labels, _, kind = _note(a)
    if kind is None:
        return _as_no_mean(a, b, y) if kind_of(b) is None else bent(b, y)
    over = abs(getattr(b, "array", b))
    if kind in (SUM, SCALED):
        if type(over) not in (int, float) or over == 1:
            # Nothing, divided by max(1, labels), has no label.
            over = over * ((over != 1) | (a.array != 0))
        y._count = over, 1.0, RATIO
    elif isinstance(over, numbers.Real) and math.isclose(over, _BIT, rel_tol=1e-6):
        _scaled(a, 1.0 / over, y)
    elif kind == RATIO or (kind in (MEAN, AVERAGE) and type(b) not in (int, float)):
        # As in F.mean(losses * mask) / mask.mean().
        y._count = labels * over, 1.0, RATIO
    elif type(b) in (int, float) and b:
        _scaled(a, 1.0 / b, y)
    else:
        changed(lambda term: term / b, a, y)
    return y


def counted(loss: Any, labels: Any, factor: float = 1.0, kind: str = MEAN) -> Any:
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
    loss._count = labels, factor, kind
    if _local.tally is not None:
        _local.tally.note(loss, labels, factor, kind)
    return loss
