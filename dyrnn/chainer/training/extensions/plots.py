"""Figures of reported values, with matplotlib if it is there."""

import importlib.util
import json
import os
import warnings

from dyrnn.chainer.reporter import DictSummary
from dyrnn.chainer.serializer import Serializer
from dyrnn.chainer.training.bases import Extension
from dyrnn.chainer.training.triggers.counting import get_trigger

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


class PlotReport(Extension):
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

    @staticmethod
    def available():
        """Return whether there is matplotlib."""
        return _pyplot() is not None

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
