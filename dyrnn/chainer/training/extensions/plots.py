"""Figures of reported values, with matplotlib if it is there."""

import json

from dyrnn.chainer.reporter import DictSummary
from dyrnn.chainer.serializer import Serializer
from dyrnn.chainer.training.bases import Extension
from dyrnn.chainer.training.triggers.counting import get_trigger
from dyrnn.extensions import plots


class PlotReport(plots.PlotReport, Extension):
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

    initialize, finalize = Extension.initialize, Extension.finalize
    _summary_type = DictSummary

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
        filename = file_name if filename is None else filename
        trigger = get_trigger(trigger)
        super().__init__(y_keys, x_key, trigger, filename, marker, postprocess)
        self._grid = grid
        self._draws = self.available()

    @staticmethod
    def available():
        """Return whether there is matplotlib."""
        return plots.has_matplotlib()

    def __call__(self, trainer):
        observation = trainer.observation
        self._summary.add({k: observation[k] for k in self._names if k in observation})
        if trainer.is_before_training or self._trigger(trainer):
            self._plot(trainer, self._x_key)

    def _take_means(self):
        self._last_summary = self._summary
        return {name: float(mean) for name, mean in super()._take_means().items()}

    def _change(self, figure, axes):
        self._postprocess(figure, axes, self._last_summary)

    def serialize(self, serializer):
        key = f"_plot_{self.filename}"
        if isinstance(serializer, Serializer):
            serializer(key, json.dumps(self._points))
        else:
            self._points = json.loads(serializer(key, ""))
