"""What a model says about itself: observations, and their means.

A model calls ``report({"loss": loss}, self)`` and does not know who listens. A
`Reporter` in scope turns the name into ``main/loss``, by the observer's registered
name, and writes it into the observation of this iteration. A `DictSummary` adds
observations up to means, weighted by tokens or examples. Nothing here keeps a graph,
and nothing waits for a GPU: a value on a device is read when somebody asks for a mean.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import operator
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.engine.core import Variable
from dyrnn.engine.counts import current_tally, is_no_mean, largest
from dyrnn.errors import SnapshotError

__all__ = [
    "DictSummary",
    "Observation",
    "Reporter",
    "Summary",
    "get_current_reporter",
    "report",
    "report_scope",
]

_local = threading.local()
_HUGE = 1 << 1023  # whole numbers below it are numbers of floats, too

# Values waiting on a device are read after this many, so that they stay few.
_MAX_PENDING = 1024


class Parts(tuple):
    """Means ``(value, weight)`` that a value is the sum of, the main one first."""


class Observation(dict):
    """Values by full name; ``weights`` holds how much each counts in a mean.

    Of a value that is a sum of means, `parts` holds these and their weights.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weights = {}
        self.parts = {}

    def weight(self, key):
        """How much a value counts."""
        return self.weights.get(key, 1.0)

    def only(self, keys):
        """The values of these names that were observed, as an `Observation`."""
        chosen = Observation({key: self[key] for key in keys if key in self})
        chosen.weights, chosen.parts = self.weights, self.parts
        return chosen

    def add_to(self, other):
        """Write all that is here into another dictionary, too."""
        other.update(self)
        if isinstance(other, Observation):
            other.weights.update(self.weights)
            other.parts.update(self.parts)

    def serialize(self, s):
        """Save or load the scalars among the values, and the weights."""
        keys = [key for key, value in self.items() if is_scalar(value)]
        weighted = [key for key in keys if key in self.weights]
        values = read_scalars([self[key] for key in keys])
        weights = read_scalars([self.weights[key] for key in weighted])
        parts = {
            key: read_scalars(itertools.chain(*self.parts[key]))
            for key in keys
            if key in self.parts
        }
        values = s("values", dict(zip(keys, values, strict=True)))
        weights = s("weights", dict(zip(weighted, weights, strict=True)))
        if parts or (s.loading and s.has("parts")):
            parts = s("parts", parts)
        if s.loading:
            for key, value in [*values.items(), *weights.items()]:
                _check_numbers(key, [value])
            for key, numbers in parts.items():
                _check_numbers(key, numbers)
            self.clear()
            self.update(values)
            self.weights = dict(weights)
            self.parts = {key: _pairs(numbers) for key, numbers in parts.items()}


class Reporter:
    """Collects reported values under the names of their observers.

    Attributes
    ----------
    observation : dict
        Where values are written; an `Observation` keeps their weights, too.
    """

    def __init__(self) -> None:
        self.observation = Observation()
        self._names = {}
        self._observers = []  # an id is only unique while its object lives

    def add_observer(self, name: str, observer: Any) -> None:
        """Report values of ``observer`` as ``name/key``."""
        self._names[id(observer)] = name
        self._observers.append(observer)

    def add_observers(self, prefix: str, observers: Iterable[tuple[str, Any]]) -> None:
        """Register ``(name, observer)`` pairs, such as ``link.namedlinks()``."""
        for name, observer in observers:
            self.add_observer(prefix + name, observer)

    def name_of(self, observer):
        """The registered name of ``observer``, or None."""
        return self._names.get(id(observer))

    @contextlib.contextmanager
    def scope(self, observation: dict) -> Iterator[None]:
        """Make this the current reporter, writing into ``observation``."""
        outer, self.observation = self.observation, observation
        try:
            with self:
                yield
        finally:
            self.observation = outer

    def report(self, values: dict, observer: Any = None, weight: Any = None) -> None:
        """Write ``values`` into the observation; see the function `report`."""
        prefix = ""
        if observer is not None:
            name = self.name_of(observer)
            if name is None:
                known = ", ".join(sorted(self._names.values())) or "none"
                raise KeyError(
                    f"report: this {type(observer).__name__} is not a registered "
                    f"observer (registered: {known}). Call "
                    "reporter.add_observer(name, observer) first, or report "
                    "without an observer."
                )
            prefix = name + "/"
        weights = getattr(self.observation, "weights", {})
        parts = getattr(self.observation, "parts", {})
        tally = current_tally()
        tally.is_told |= weight is not None
        for key, value in values.items():
            if not hasattr(value, "shape") and not isinstance(value, int | float):
                raise TypeError(
                    f"report: {key!r} is {value!r}, a {type(value).__name__}; report "
                    "Variables, arrays or numbers."
                )
            name = prefix + key
            weights.pop(name, None)
            parts.pop(name, None)
            if is_no_mean(value):
                tally.no_means += (name,)
            means = weight if isinstance(weight, Parts) else [(value, weight)]
            if weight is None:
                means = tally.parts_of(value)
            means = Parts((_detached(mean), _detached(n)) for mean, n in means)
            count = largest([n for _, n in means])
            self.observation[name] = _sum_of(means)
            if count is not None:
                weights[name] = count
            if len(means) > 1:
                parts[name] = means

    def __enter__(self):
        _stack().append(self)
        return self

    def __exit__(self, *_):
        _stack().pop()


def _stack():
    if not hasattr(_local, "reporters"):
        _local.reporters = []
    return _local.reporters


def _detached(value):
    # A Variable is reported as its array; a graph must not outlive its iteration.
    value = value.array if isinstance(value, Variable) else value
    is_one = getattr(value, "shape", ()) != () and value.size == 1
    return value.reshape(()) if is_one else value


def get_current_reporter() -> Reporter | None:
    """The innermost reporter in scope in this thread, or None."""
    stack = _stack()
    return stack[-1] if stack else None


def report(values: dict, observer: Any = None, weight: Any = None) -> None:
    """Report ``values``, a dictionary, to the current reporter, if there is one.

    Parameters
    ----------
    values : dict
        Scalars by name: Variables (detached here), arrays of one element, numbers.
    observer : object, optional
        Who reports, usually ``self``; its registered name becomes the prefix.
    weight : float or array, optional
        How much the values count in a mean over iterations: the number of tokens or
        examples that they are a mean of. Without it, a value's own ``count``, which
        losses and scores have; else, within an update or an evaluation, the labels of
        all losses so far, or of the last argument; else all count the same.

    Raises
    ------
    KeyError
        If the observer is not registered with the reporter.
    """
    reporter = get_current_reporter()
    if reporter is not None:
        reporter.report(values, observer, weight)


@contextlib.contextmanager
def report_scope(observation: dict) -> Iterator[None]:
    """Let the current reporter write into ``observation`` meanwhile."""
    reporter = get_current_reporter()
    if reporter is None:
        raise RuntimeError(
            "report_scope: no reporter is in scope. "
            "Use `with reporter.scope(observation):` on a Reporter instead."
        )
    with reporter.scope(observation):
        yield


class Summary:
    """Weighted mean and standard deviation of scalars, in float64.

    Values on a GPU wait there, and are read together when a mean is asked for. The
    sums are taken in the order of arrival, so a mean does not depend on when it was
    read, and a saved and loaded summary goes on exactly.
    """

    def __init__(self) -> None:
        self._parts: list[Summary] = []  # of the whole, and of the second part on
        self._weight = 0.0
        self._mean = math.nan
        self._deviation = 0.0  # sum of weight * (value - mean)**2
        self._pending = []

    def add(self, value: Any, weight: Any = 1.0, parts: tuple = ()) -> None:
        """Add a scalar which counts ``weight`` times, or is a sum of ``parts``."""
        value, weight = _detached(value), _detached(weight)
        if parts and not self._parts:
            self._parts.append(Summary())
            self._parts[0]._set(self._state())
        if self._parts:
            self._parts[0].add(value, weight)
            self._parts += [Summary() for _ in parts[len(self._parts) :]]
            for summary, part in zip(self._parts[1:], parts[1:], strict=False):
                summary.add(*part)
            value, weight = parts[0] if parts else (value, weight)
        if not self._pending and not _on_device(value) and not _on_device(weight):
            self._add(float(value), float(weight))
            return
        self._pending.append((value, weight))
        if len(self._pending) >= _MAX_PENDING:
            self._read()

    def _add(self, value, weight):
        # A value of weight zero is the mean of nothing: it may well be NaN.
        if not weight:
            return
        # West, "Updating Mean and Variance Estimates: An Improved Method", CACM 22(9),
        # 1979: nothing cancels, and the mean of equal values is that value.
        self._weight += weight
        if self._weight == weight:
            self._mean = value
            return
        difference = value - self._mean
        if not math.isfinite(difference):
            self._add_beyond(value, weight / self._weight)
            return
        step = difference * (weight / self._weight)
        self._deviation += (self._weight - weight) * difference * step
        self._mean += step

    def _add_beyond(self, value, share):
        """Add what is infinite or NaN, or too far from the mean for a difference."""
        if math.isfinite(value) and math.isfinite(self._mean):
            self._mean += value * share - self._mean * share
            self._deviation = math.inf
        else:
            self._mean += value
            self._deviation = math.nan

    def _read(self):
        pending, self._pending = self._pending, []
        numbers = iter(read_scalars(itertools.chain.from_iterable(pending)))
        for value, weight in zip(numbers, numbers, strict=True):
            self._add(value, weight)

    def compute_mean(self) -> Any:
        """The mean of the values so far; NaN if there were none."""
        self._read()
        means = [self._mean] if self._weight or not self._parts else []
        means += [each.compute_mean() for each in self._parts[1:] if each.has_weight()]
        return math.fsum(means) if len(means) > 1 else (means or [math.nan])[0]

    def has_weight(self):
        """Whether anything that counts was added."""
        self._read()
        return self._weight > 0

    def make_statistics(self) -> tuple[Any, Any]:
        """The mean and the (population) standard deviation."""
        mean, whole = self.compute_mean(), (self._parts or [self])[0]
        if not whole.has_weight():
            return mean, math.nan
        return mean, math.sqrt(whole._deviation / whole._weight)

    def serialize(self, s):
        """Save or load the mean, and what is needed to go on."""
        self._set(s("state", self._state()))

    def _state(self):
        self._read()
        state = [self._weight, self._mean, self._deviation]
        return state + [number for each in self._parts for number in each._state()]

    def _set(self, state):
        self._weight, self._mean, self._deviation = map(float, state[:3])
        self._parts = [Summary() for _ in state[3::3]]
        for i, each in enumerate(self._parts, 1):
            each._set(state[3 * i : 3 * i + 3])


class DictSummary:
    """A `Summary` for each key of the observations added to it."""

    def __init__(self) -> None:
        self._summaries = {}

    def add(self, observation: dict) -> None:
        """Add the scalars of ``observation``; what is not a scalar is left out."""
        weights = getattr(observation, "weights", {})
        parts = getattr(observation, "parts", {})
        for key, value in observation.items():
            if is_scalar(value):
                summary = self._summaries.setdefault(key, Summary())
                summary.add(value, weights.get(key, 1.0), parts.get(key, ()))

    def compute_mean(self) -> dict:
        """The means by key, as Python floats."""
        return {key: entry.compute_mean() for key, entry in self._summaries.items()}

    def make_statistics(self) -> dict:
        """Means by key, and standard deviations by ``key.std``."""
        statistics = {}
        for key, entry in self._summaries.items():
            statistics[key], statistics[key + ".std"] = entry.make_statistics()
        return statistics

    def observation(self) -> Observation:
        """The means as values that count as much as all that was added."""
        found = Observation()
        for key, entry in self._summaries.items():
            found[key] = entry.compute_mean()
            whole, *others = entry._parts or [entry]
            found.weights[key] = whole._weight if whole.has_weight() else 0.0
            if others:
                found.parts[key] = Parts(
                    (each._mean, each._weight) for each in (entry, *others)
                )
        return found

    def __len__(self):
        return len(self._summaries)

    def serialize(self, s):
        """Save or load all summaries, in their order."""
        states = {key: entry._state() for key, entry in self._summaries.items()}
        states = s("states", states)
        if s.loading:
            self._summaries = {key: Summary() for key in states}
            for key, entry in self._summaries.items():
                entry._set(states[key])


def means_of(observations):
    """Return the weighted means of several observations, without waiting for a GPU.

    Returns
    -------
    Observation
        Weights are added up. Of what is not a scalar, the last value.
    """
    means = Observation()
    for key in dict.fromkeys(key for each in observations for key in each):
        found = [each for each in observations if key in each]
        values = [each[key] for each in found]
        if not all(map(is_scalar, values)):
            means[key], means.weights[key] = (
                values[-1],
                sum(each.weight(key) for each in found),
            )
            continue
        columns = itertools.zip_longest(
            *(each.parts.get(key, [(each[key], each.weight(key))]) for each in found),
            fillvalue=(math.nan, 0),
        )
        parts = Parts(
            (_mean(*zip(*column, strict=True)), sum(n for _, n in column))
            for column in columns
        )
        means[key] = _sum_of(parts)
        means.weights[key] = largest([n for _, n in parts])
        if len(parts) > 1:
            means.parts[key] = parts
    return means


def _sum_of(parts):
    """Return the sum of means; one that counts nothing, which may be NaN, adds 0."""
    if len(parts) == 1:
        return parts[0][0]
    values = [
        backend.get_array_module(n).where(n > 0, value, 0) if _on_device(n) else value
        for value, n in parts
        if n is None or _on_device(n) or n > 0
    ]
    return functools.reduce(operator.add, values or [parts[0][0]])


def _check_numbers(key, numbers):
    """Raise unless a file has a list of numbers, which a float can hold."""
    for each in numbers if isinstance(numbers, list) else [None]:
        is_number = type(each) is float or (type(each) is int and -_HUGE < each < _HUGE)
        if not is_number:
            raise SnapshotError(
                f"observation: the file has {each!r:.80} as {key!r:.80}, which is a "
                "number"
            )


def _pairs(numbers):
    return Parts(zip(numbers[::2], numbers[1::2], strict=True))


def _mean(values, weights):
    arrays = [value for value in (*values, *weights) if _on_device(value)]
    if not arrays:
        summary = Summary()
        for value, weight in zip(values, weights, strict=True):
            summary.add(value, weight)
        return summary.compute_mean() if summary.has_weight() else values[-1]
    xp = backend.get_array_module(*arrays)
    values, weights = (
        xp.stack([xp.asarray(each, dtype=np.float64) for each in column])
        for column in (values, weights)
    )
    total = weights.sum()
    mean = xp.where(weights > 0, values * weights, 0).sum() / (total + (total == 0))
    return xp.where(total > 0, mean, values[-1])


def read_scalars(values):
    """Python floats of scalars on any device; one transfer for all that are on one.

    Returns
    -------
    list of float
    """
    values = [_detached(value) for value in values]
    floats = [math.nan if _on_device(value) else float(value) for value in values]
    groups = {}
    for position, value in enumerate(values):
        if _on_device(value):
            groups.setdefault(value.dtype, []).append(position)
    stacks = []
    for positions in groups.values():
        arrays = [values[position].reshape(()) for position in positions]
        xp = backend.get_array_module(arrays[0])
        stacks.append(xp.stack(arrays).astype(np.float64))
    if stacks:
        host = backend.to_cpu(xp.concatenate(stacks)).tolist()
        for position, value in zip(
            itertools.chain(*groups.values()), host, strict=True
        ):
            floats[position] = value
    return floats


def _on_device(value):
    return hasattr(value, "dtype") and not isinstance(value, np.ndarray | np.generic)


def is_scalar(value):
    """Whether a reported value is one number."""
    if hasattr(value, "shape"):
        return value.shape == () and value.dtype.kind in "buif"
    return isinstance(value, int | float)
