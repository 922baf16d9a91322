"""Figures of reported values and of parameters, with matplotlib if it is there."""

import importlib.util
import json
import os
import warnings

import numpy as np

from dyrnn.chainer._backend import get_array_module
from dyrnn.chainer._variable import Variable
from dyrnn.chainer.backends._cpu import _to_cpu
from dyrnn.chainer.link import Link
from dyrnn.chainer.reporter import DictSummary
from dyrnn.chainer.serializer import Serializer
from dyrnn.chainer.training.bases import Extension
from dyrnn.chainer.training.triggers.counting import get_trigger

_COLOR = "#1f77b4"
_available = importlib.util.find_spec("matplotlib") is not None


def _pyplot():
    """Return matplotlib's pyplot, or None, with a warning."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        warnings.warn(
            "matplotlib is not installed on your environment, so nothing will be "
            "plotted at this time. Please install matplotlib to plot figures.\n\n"
            "  $ pip install matplotlib\n",
            stacklevel=3,
        )
        return None
    return plt


class _Plot(Extension):
    @staticmethod
    def available():
        """Return whether there is matplotlib."""
        return _pyplot() is not None


class PlotReport(_Plot):
    """Plots means of reported values over an interval.

    Parameters
    ----------
    y_keys : str or list of str
        The values.
    x_key : str
        ``"iteration"`` or ``"epoch"``.
    trigger : tuple or callable
        The interval.
    postprocess : callable, optional
        ``postprocess(figure, axes, summary)`` before the figure is saved.
    filename : str
        Name in the trainer's folder.
    marker : str
    grid : bool
    """

    def __init__(
        self,
        y_keys,
        x_key="iteration",
        trigger=(1, "epoch"),
        postprocess=None,
        filename=None,
        marker="x",
        grid=True,
        *,
        file_name="plot.png",
    ):
        self.available()
        self._x_key = x_key
        self._y_keys = (y_keys,) if isinstance(y_keys, str) else y_keys
        self._trigger = get_trigger(trigger)
        self._file_name = file_name if filename is None else filename
        self._marker = marker
        self._grid = grid
        self._postprocess = postprocess
        self._data = {key: [] for key in self._y_keys}
        self._init_summary()

    def __call__(self, trainer):
        plt = _pyplot()
        if plt is None:
            return
        keys, observation = self._y_keys, trainer.observation
        self._summary.add({k: observation[k] for k in keys if k in observation})
        if not (trainer.is_before_training or self._trigger(trainer)):
            return
        updater = trainer.updater
        stats = {k: float(v) for k, v in self._summary.compute_mean().items()}
        counts = {"epoch": updater.epoch, "iteration": updater.iteration}
        x = {**stats, **counts}[self._x_key]
        for key in keys:
            if key in stats:
                self._data[key].append((x, stats[key]))
        figure, axes = plt.subplots()
        axes.set_xlabel(self._x_key)
        if self._grid:
            axes.grid()
        for key in keys:
            if self._data[key]:
                xs, ys = zip(*self._data[key], strict=True)
                axes.plot(xs, ys, marker=self._marker, label=key)
        if axes.has_data():
            if self._postprocess is not None:
                self._postprocess(figure, axes, self._summary)
            legend = axes.legend(bbox_to_anchor=(1.05, 1), loc=2, borderaxespad=0.0)
            path = os.path.join(trainer.out, self._file_name)
            figure.savefig(path, bbox_extra_artists=(legend,), bbox_inches="tight")
        plt.close(figure)
        self._init_summary()

    def serialize(self, serializer):
        key = f"_plot_{self._file_name}"
        if isinstance(serializer, Serializer):
            serializer(key, json.dumps(self._data))
        else:
            self._data = json.loads(serializer(key, ""))

    def _init_summary(self):
        self._summary = DictSummary()


def _unpack_variables(x):
    if isinstance(x, Variable):
        return (x,)
    if isinstance(x, Link):
        return tuple(x.params(include_uninit=True))
    if isinstance(x, (list, tuple)):
        return tuple([variable for part in x for variable in _unpack_variables(part)])
    return ()


class Reservoir:
    """Keeps ``size`` of all values it is given, each with the same probability."""

    def __init__(self, size, data_shape, dtype=np.float32):
        self.size = size
        self.data = np.zeros((size, *data_shape), dtype)
        self.idxs = np.zeros(size, np.int32)
        self.counter = 0

    def add(self, x, idx=None):
        """Add a value, by default under its number."""
        place = None
        if self.counter < self.size:
            place = self.counter
        elif np.random.random() < self.size / (self.counter + 1):
            place = np.random.randint(self.size)
        if place is not None:
            self.data[place] = x
            self.idxs[place] = idx or self.counter
        self.counter += 1

    def get_data(self):
        """Return the numbers, sorted, and the values."""
        idxs = self.idxs[: self.counter]
        order = np.argsort(idxs)
        return idxs[order], self.data[order]


class Statistician:
    """Takes mean, standard deviation and percentiles of an array."""

    def __init__(self, collect_mean, collect_std, percentile_sigmas):
        self.collect_mean = collect_mean
        self.collect_std = collect_std
        self.percentile_sigmas = percentile_sigmas

    def __call__(self, x, axis=0, dtype=None, xp=None):
        if axis is None:
            axis = range(x.ndim)
        return self.collect(x, tuple(axis) if np.iterable(axis) else (axis,))

    def collect(self, x, axis):
        """Return the statistics, a dictionary."""
        out = {}
        if self.collect_mean:
            out["mean"] = x.mean(axis=axis)
        if self.collect_std:
            out["std"] = x.std(axis=axis)
        if self.percentile_sigmas:
            xp = get_array_module(x)
            out["percentile"] = xp.percentile(x, self.percentile_sigmas, axis=axis)
        return out


class VariableStatisticsPlot(_Plot):
    """Plots mean, deviation and percentiles of variables over the iterations.

    Parameters
    ----------
    targets : Variable, Link, or list of them
    max_sample_size : int
        How many iterations are kept; more are thinned out at random.
    report_data, report_grad : bool
    plot_mean, plot_std : bool
    percentile_sigmas : float or tuple of float
    trigger : tuple or callable
        When the figure is saved.
    filename : str
        Name in the trainer's folder.
    figsize, marker, grid
        As in matplotlib.
    """

    def __init__(
        self,
        targets,
        max_sample_size=1000,
        report_data=True,
        report_grad=True,
        plot_mean=True,
        plot_std=True,
        percentile_sigmas=(0, 0.13, 2.28, 15.87, 50, 84.13, 97.72, 99.87, 100),
        trigger=(1, "epoch"),
        filename=None,
        figsize=None,
        marker=None,
        grid=True,
        *,
        file_name="statistics.png",
    ):
        self._vars = _unpack_variables(targets)
        if not self._vars:
            raise ValueError(
                "Need at least one variables for which to collect statistics.\n"
                "Actual: 0 <= 0"
            )
        if not (plot_mean or plot_std or percentile_sigmas):
            raise ValueError("Nothing to plot")
        self._keys = ["data"] * bool(report_data) + ["grad"] * bool(report_grad)
        self._statistician = Statistician(plot_mean, plot_std, percentile_sigmas)
        self._plot_mean = plot_mean
        self._plot_std = plot_std
        self._n_percentile = np.size(percentile_sigmas or ())
        self._trigger = get_trigger(trigger)
        self._filename = file_name if filename is None else filename
        self._figsize = figsize
        self._marker = marker
        self._grid = grid
        n_statistics = bool(plot_mean) + bool(plot_std) + self._n_percentile
        self._data_shape = (len(self._keys), n_statistics)
        self._samples = Reservoir(max_sample_size, self._data_shape)

    def __call__(self, trainer):
        plt = _pyplot()
        if plt is None:
            return
        stats = np.zeros(self._data_shape, np.float32)
        for row, key in zip(stats, self._keys, strict=True):
            arrays = [getattr(variable, key, None) for variable in self._vars]
            arrays = [array.ravel() for array in arrays if array is not None]
            if arrays:
                xp = get_array_module(arrays[0])
                values = self._statistician(xp.concatenate(arrays)).values()
                flat = [xp.atleast_1d(value) for value in values]
                row[:] = _to_cpu(xp.concatenate(flat))
        self._samples.add(stats, idx=trainer.updater.iteration)
        if self._trigger(trainer):
            path = os.path.join(trainer.out, self._filename)
            self.save_plot_using_module(path, plt)

    def save_plot_using_module(self, file_path, plt):
        """Save the figure: a column for data and gradients each."""
        has_moments = bool(self._plot_mean or self._plot_std)
        rows = int(has_moments) + bool(self._n_percentile)
        figure, axes = plt.subplots(
            rows, len(self._keys), figsize=self._figsize, sharex=True, squeeze=False
        )
        idxs, data = self._samples.get_data()
        for column, key in enumerate(self._keys):
            axes[0, column].set_title(key)
            values = data[: len(idxs), column].T
            if has_moments:
                self._plot_moments(axes[0, column], idxs, values)
            if self._n_percentile:
                self._plot_percentiles(axes[-1, column], idxs, values)
        for ax in axes.ravel():
            ax.legend()
            if self._grid:
                ax.grid()
                ax.set_axisbelow(True)
        figure.savefig(file_path)
        plt.close(figure)

    def _plot_moments(self, ax, idxs, values):
        options = {"color": _COLOR, "marker": self._marker}
        if self._plot_mean and self._plot_std:
            ax.errorbar(idxs, values[0], values[1], label="mean, std", **options)
        else:
            label = "mean" if self._plot_mean else "std"
            ax.plot(idxs, values[0], label=label, **options)

    def _plot_percentiles(self, ax, idxs, values):
        values = values[-self._n_percentile :]
        middle, is_odd = divmod(self._n_percentile, 2)
        for i in range(middle):
            label = "percentile" if not is_odd and i == middle - 1 else None
            ax.fill_between(
                idxs,
                values[i],
                values[-i - 1],
                alpha=0.2,
                linewidth=0,
                color=_COLOR,
                label=label,
            )
        if is_odd:
            line = {"color": _COLOR, "marker": self._marker, "label": "percentile"}
            ax.plot(idxs, values[middle], **line)
        ax.set_xlabel("iteration")
