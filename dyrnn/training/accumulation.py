"""Gradients of several batches that become one update, as of these batches joined.

A batch that the memory does not hold goes through the model in parts. What is computed
is the same as at once: a mean over labels is that over the labels of all parts, however
they are spread, so each part's gradient counts as the labels of its loss, and their sum
is divided by all of them; losses that are sums are added up.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from typing import Any

import numpy as np

from dyrnn.engine.core import as_array
from dyrnn.engine.counts import largest
from dyrnn.errors import SnapshotError
from dyrnn.optimizers.norms import values_of
from dyrnn.reporter import (
    Observation,
    Parts,
    get_current_reporter,
    means_of,
    read_scalars,
)
from dyrnn.training.windows import cut_history, total


def add_up(updater: Any) -> None:
    """Leave the gradients of the updater's next batches as of all of them joined.

    Of what the model reports, and of its loss, the means over all are reported.
    """
    shares, seen, losses = _Shares(), [], []
    reporter = get_current_reporter()
    scope = contextlib.nullcontext() if reporter is None else reporter.scope({})
    adds, empty, missing = False, None, None
    with scope:
        for _ in range(updater.accumulate):
            observation = Observation()
            if reporter is not None:
                reporter.observation = observation
            try:
                loss, parts, weights = updater._compute()
            except updater.without_examples as error:
                missing = error
                continue
            parts = [(as_array(mean), n) for mean, n in parts]  # without the graph
            seen.append(observation)
            losses.append((parts, weights))
            factor = shares.factor(parts, weights)
            if factor is None:
                empty = loss
            else:
                updater._backward(loss, factor, adds)
                adds = True
            del loss  # with its graph, before the next one is computed
            for model in updater._models():
                cut_history(model)
    if missing is not None and not seen:
        raise missing
    if not adds:  # none has a label
        updater._backward(empty)
    _report(updater, seen, losses, shares.is_sum)
    shares.divide(updater._models())


def serialize_numbers(s: Any, first: int, now: int) -> tuple[int, int]:
    """Save or load how many batches an update takes: as the program set it, and now.

    Where a resumed program sets another number, it is told that the snapshot's holds.
    """
    numbers = [first, now]
    if not s.loading:
        if numbers != [1, 1]:
            s("accumulate", numbers)
        return first, now
    saved = s("accumulate", numbers) if s.has("accumulate") else [1, 1]
    if [type(n) for n in saved] != [int, int] or min(saved) < 1:
        raise SnapshotError(f"accumulate is {saved!r:.80} in the file: two counts")
    if saved[0] != first:
        warnings.warn(
            f"accumulate is {first} in the program, but was {saved[0]} when the run "
            "began: the snapshot's state holds. Change it after loading, in the "
            "`initialize` of an extension, say.",
            stacklevel=2,
        )
    return saved[0], saved[1]


class _Shares:
    """What the loss of each batch counts in that of all.

    The first one that has labels counts 1, so that gradients stay in their range.

    Attributes
    ----------
    is_sum : bool
        Whether losses are sums, which are added up.
    """

    def __init__(self) -> None:
        self.is_sum = False
        self._first: Any = None  # weights
        self._total: Any = 0.0  # of all factors

    def factor(self, parts, weights):
        """Return by what a loss is multiplied; None if it has no label."""
        if self._first is not None and (weights is None) != self.is_sum:
            raise ValueError(
                "the loss is a sum in one batch and a mean in another one, of which "
                "gradients cannot be added up: return the same kind of loss each time"
            )
        self.is_sum = weights is None
        if weights is None or _is_unknown(weights):
            # What says nothing weighs as its mean is reported; a warning told.
            weights = [largest([n for _, n in parts])]
        if len(weights) > 1:
            weights = read_scalars(weights)
        if all(_is_number(n) and n == 0 for n in weights):
            return None
        if self._first is None:
            self._first = weights
        if self.is_sum:
            return 1.0
        self._check(weights)
        whole = sum(self._first)
        factor = sum(weights) / (whole + (whole == 0))
        if _is_number(factor):
            factor = float(factor)
        self._total = self._total + factor
        return factor

    def _check(self, weights):
        """Refuse a sum of losses whose terms have other shares than before."""
        if len(weights) == len(self._first) == 1:
            return
        both = self._first, weights
        here, there = ([n / sum(each) for n in each] for each in both)
        if len(here) != len(there) or not np.allclose(here, there, rtol=1e-9, atol=0):
            found = [[f"{n:g}" for n in each] for each in both]
            raise ValueError(
                "the loss is a sum of losses with labels of their own, "
                f"{' and '.join(found[0])} in one batch and {' and '.join(found[1])} "
                "in another, so that no weight fits all of them when gradients are "
                "added up. Let batches have the same shares of labels, or set "
                "loss.count to what the sum is to be weighed by"
            )

    def divide(self, models):
        """Divide the gradients, which were added up, by all that they count."""
        if self.is_sum or self._first is None:
            return
        rate = 1.0 / (self._total + (self._total == 0))
        params = {id(p): p for model in models for p in model.params()}
        for gradient in (param.total for param in params.values()):
            if gradient is None:
                continue
            if isinstance(rate, float):
                gradient.scale(rate)
            else:  # known to a GPU, for which nothing waits
                array = values_of(gradient.value())
                array *= rate.astype(array.dtype)


def _is_unknown(weights):
    return any(type(n) is float and math.isnan(n) for n in weights)


def _is_number(value):
    """Whether a value is here, and not on a GPU."""
    return isinstance(value, int | float | np.number | np.ndarray)


def _report(updater, seen, losses, is_sum):
    """Report the means of what the batches reported, and the loss."""
    observed = [_observed(parts) for parts, _ in losses]
    means, loss = means_of(seen), means_of(observed)
    parts = loss.parts.get("loss", [(loss["loss"], loss.weights["loss"])])
    if is_sum:  # reported as such, where the model does it, too
        values = [each["loss"] for each in observed]
        parts = [(sum(values), parts[0][1])]
        for key in means:
            if _are_equal([each.get(key, math.nan) for each in seen], values):
                means[key] = parts[0][0]
    reporter = get_current_reporter()
    if reporter is not None:
        means.add_to(reporter.observation)
    columns = [weights for _, weights in losses]
    is_even = None not in columns and len({len(each) for each in columns}) == 1
    weights = [sum(each) for each in zip(*columns, strict=True)] if is_even else None
    updater._report_loss(parts, weights if is_even or is_sum else [math.nan])


def _observed(parts):
    found = Observation({"loss": total(parts)})
    found.weights["loss"] = largest([n for _, n in parts])
    if len(parts) > 1:
        found.parts["loss"] = Parts(parts)
    return found


def _are_equal(a, b):
    pairs = zip(read_scalars(a), read_scalars(b), strict=True)
    return all(x == y for x, y in pairs)
