"""``chainer.reporter``: values observed under the names of their observers."""

import collections
import contextlib
import copy
import json
import threading
import warnings

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.configuration import config
from dyrnn.chainer.serializer import Serializer
from dyrnn.chainer.variable import Variable

_thread = threading.local()


def _get_reporters():
    if not hasattr(_thread, "reporters"):
        _thread.reporters = []
    return _thread.reporters


def _unchained(value):
    return copy.copy(value) if isinstance(value, Variable) else value


class Reporter:
    """Collects what is reported inside its ``with`` block, in ``observation``."""

    def __init__(self):
        self._observer_names = {}
        self.observation = {}

    def __enter__(self):
        _get_reporters().append(self)

    def __exit__(self, *_):
        _get_reporters().pop()

    @contextlib.contextmanager
    def scope(self, observation):
        """Collect in another dictionary inside the ``with`` block."""
        before = self.observation
        self.observation = observation
        try:
            with self:
                yield
        finally:
            self.observation = before

    def add_observer(self, name, observer):
        """Name an observer."""
        self._observer_names[id(observer)] = name

    def add_observers(self, prefix, observers):
        """Name observers, given as pairs of name and observer."""
        for name, observer in observers:
            self.add_observer(prefix + name, observer)

    def report(self, values, observer=None):
        """Take values in, under the observer's name."""
        if not config.keep_graph_on_report:
            values = {key: _unchained(value) for key, value in values.items()}
        if observer is None:
            self.observation.update(values)
            return
        if id(observer) not in self._observer_names:
            raise KeyError("Given observer is not registered to the reporter.")
        name = self._observer_names[id(observer)]
        for key, value in values.items():
            self.observation[f"{name}/{key}"] = value


def get_current_reporter():
    """Return the innermost reporter."""
    return _get_reporters()[-1]


def report(values, observer=None):
    """Report values to the innermost reporter, if there is one."""
    reporters = _get_reporters()
    if reporters:
        reporters[-1].report(values, observer)


@contextlib.contextmanager
def report_scope(observation):
    """Collect in another dictionary inside the ``with`` block."""
    current = get_current_reporter()
    before = current.observation
    current.observation = observation
    yield
    current.observation = before


class Summary:
    """Mean and standard deviation of numbers."""

    def __init__(self):
        self._x = 0.0
        self._x2 = 0.0
        self._n = 0

    def add(self, value, weight=1):
        """Take a number in."""
        self._x += weight * value
        self._x2 += weight * value * value
        self._n += weight

    def compute_mean(self):
        """Return the mean."""
        return self._x / self._n

    def make_statistics(self):
        """Return the mean and the standard deviation."""
        mean = self._x / self._n
        variance = self._x2 / self._n - mean * mean
        return mean, _backend.get_array_module(variance).sqrt(variance)

    def serialize(self, serializer):
        """Save or load the sums."""
        try:
            self._x = serializer("_x", self._x)
            self._x2 = serializer("_x2", self._x2)
            self._n = serializer("_n", self._n)
        except KeyError:
            warnings.warn("The previous statistics are not saved.", stacklevel=2)


def _is_number(value):
    if isinstance(value, str):
        return False
    return np.isscalar(value) or getattr(value, "ndim", -1) == 0


class DictSummary:
    """Means and standard deviations of the numbers in dictionaries."""

    def __init__(self):
        self._summaries = collections.defaultdict(Summary)

    def add(self, d):
        """Take the numbers in; a tuple is a number and its weight."""
        for key, value in d.items():
            weight = 1
            if isinstance(value, tuple):
                value, weight = value[0], _backend.raw(value[1])
                if not _is_number(weight):
                    raise ValueError(f"Given weight to {key} was not scalar.")
            value = _backend.raw(value)
            if _is_number(value):
                self._summaries[key].add(value, weight=weight)

    def compute_mean(self):
        """Return the means."""
        return {key: summary.compute_mean() for key, summary in self._summaries.items()}

    def make_statistics(self):
        """Return the means, and the standard deviations as ``KEY.std``."""
        statistics = {}
        for key, summary in self._summaries.items():
            statistics[key], statistics[f"{key}.std"] = summary.make_statistics()
        return statistics

    def serialize(self, serializer):
        """Save or load all sums."""
        if isinstance(serializer, Serializer):
            names = list(self._summaries)
            serializer("_names", json.dumps(names))
        else:
            self._summaries.clear()
            try:
                names = json.loads(serializer("_names", ""))
            except KeyError:
                warnings.warn("The names of statistics are not saved.", stacklevel=2)
                return
        for i, name in enumerate(names):
            self._summaries[name].serialize(serializer["_summaries"][str(i)])
