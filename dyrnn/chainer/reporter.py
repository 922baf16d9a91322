"""``chainer.reporter``: the core's reporter; sums as Chainer takes and saves them."""

import collections
import copy
import json
import warnings

import numpy as np

from dyrnn import reporter
from dyrnn.chainer import _backend
from dyrnn.chainer.configuration import config
from dyrnn.chainer.serializer import Serializer
from dyrnn.chainer.variable import Variable

report = reporter.report
report_scope = reporter.report_scope


class Reporter(reporter.Reporter):
    """Collects what is reported inside its ``with`` block, in ``observation``."""

    def __init__(self):
        super().__init__()
        self.observation = {}

    def report(self, values, observer=None, weight=None):
        """Take values in, under the observer's name."""
        prefix = ""
        if observer is not None:
            prefix = self.name_of(observer)
            if prefix is None:
                raise KeyError("Given observer is not registered to the reporter.")
            prefix += "/"
        for key, value in values.items():
            if isinstance(value, Variable) and not config.keep_graph_on_report:
                value = copy.copy(value)  # without its graph
            self.observation[prefix + key] = value


def get_current_reporter():
    """Return the innermost reporter."""
    current = reporter.get_current_reporter()
    if current is None:
        raise IndexError("there is no reporter: use one in a `with` block")
    return current


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
