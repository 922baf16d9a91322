"""Curves of observed values."""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from dyrnn.errors import SnapshotError
from dyrnn.extensions.checks import Log, check_file_is_own
from dyrnn.serializers.atomic import atomic_output
from dyrnn.training import get_trigger
from dyrnn.training.triggers import interval_of
from dyrnn.typing import PathLike, TriggerLike


def save_figure(
    path: PathLike,
    draw: Callable,
    size: tuple[float, float] = (6.4, 4.8),
    dpi: float = 100,
) -> bool:
    """Write a picture that ``draw`` makes, if matplotlib is installed.

    Without it, a warning says so.

    Parameters
    ----------
    path : path
        The ending says the format.
    draw : callable (figure)
        Is given an empty ``matplotlib.figure.Figure``.
    size : pair of float
        Width and height in inches.
    dpi : int
        Pixels per inch.

    Returns
    -------
    bool
        Whether there is a picture.
    """
    if not has_matplotlib():
        return False
    from matplotlib.figure import Figure

    # A figure of its own, not pyplot's: no window, nothing shared.
    figure = Figure(size, dpi, layout="constrained")
    draw(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format=os.path.splitext(path)[1][1:] or "png")
    with atomic_output(path) as output:
        output.write(picture.getvalue())
    return True


def has_matplotlib():
    """Return whether there is matplotlib; warn if not."""
    if importlib.util.find_spec("matplotlib") is not None:
        return True
    warnings.warn(
        "matplotlib is not installed, so nothing is plotted. Install it with "
        "`pip install matplotlib`.",
        stacklevel=3,
    )
    return False


class PlotReport(Log):
    """Plots means of observed values over the training, redrawn after each interval.

    It needs matplotlib; without it, a warning says so once, and nothing is drawn.
    Another warning, at the end, names values that were never observed.

    Parameters
    ----------
    y_keys : str or sequence of str
        Names of the values.
    x_key : {"iteration", "epoch"}
    trigger : trigger, default (1, "epoch")
        The ends of the intervals.
    filename : str
        In the trainer's ``out``, where no other extension writes it; the ending says
        the format.
    marker : str, optional
        Of each point, as matplotlib names them.
    postprocess : callable (axes), optional
        May change the axes before they are drawn.
    """

    _grid = True

    def __init__(
        self,
        y_keys: str | Sequence[str],
        x_key: str = "iteration",
        trigger: TriggerLike = (1, "epoch"),
        filename: str = "plot.png",
        marker: str | None = "x",
        postprocess: Callable | None = None,
    ) -> None:
        if x_key not in ("iteration", "epoch"):
            raise ValueError(
                f"PlotReport: x_key is {x_key!r}: use 'iteration' or 'epoch'"
            )
        super().__init__((y_keys,) if isinstance(y_keys, str) else tuple(y_keys))
        self._x_key = x_key
        self._trigger = get_trigger(trigger)
        self.filename = filename
        self._marker = marker
        self._postprocess = postprocess
        self._points = {key: [] for key in self._names}
        self._draws = False

    def set_interval(self, trigger):
        self._trigger = interval_of(self, self._trigger, trigger)
        return True

    def initialize(self, trainer):
        check_file_is_own(self, trainer)
        self._draws = has_matplotlib()

    def __call__(self, trainer):
        self._seen.update(trainer.observation)
        self._summary.add(trainer.observation.only(self._names))
        if not self._trigger(trainer):
            return
        self._end_interval()
        is_epoch = self._x_key == "epoch"
        self._plot(trainer, "epoch_detail" if is_epoch else "iteration")

    def _plot(self, trainer, x):
        """Add the points of an interval, at a count of the updater, and draw all."""
        x = getattr(trainer.updater, x)
        for key, mean in self._take_means().items():
            self._points[key].append([x, mean])
        if self._draws:
            save_figure(os.path.join(trainer.out, self.filename), self._draw)

    def finalize(self):
        # The points tell of values before a resume.
        self._seen.update(key for key, points in self._points.items() if points)
        super().finalize()

    def _draw(self, figure):
        axes = figure.add_subplot()
        axes.set_xlabel(self._x_key)
        axes.grid(self._grid)
        for key, points in self._points.items():
            if points:
                axes.plot(*zip(*points, strict=True), marker=self._marker, label=key)
        if axes.lines:
            axes.legend()
        if self._postprocess is not None:
            self._change(figure, axes)

    def _change(self, _figure, axes):
        self._postprocess(axes)

    def serialize(self, s):
        """Save or load the points, the running means, and the trigger."""
        if s.loading and not s.has("keys"):
            # Lists, for which there is a limit.
            self._points = s("points", self._points)
        elif s.loading:
            self._points = {key: [] for key in self._names}
            for number, key in enumerate(s("keys", [])):
                array = s["curves"](str(number), None)
                if array is None:  # it is not there, and the loader says so
                    continue
                if not isinstance(key, str) or np.shape(array)[1:] != (2,):
                    raise SnapshotError(f"the file has no points of {key!r:.80} (N, 2)")
                self._points[key] = array.tolist()
        else:
            s("keys", list(self._points))
            for number, points in enumerate(self._points.values()):
                array = np.array(points, np.float64).reshape(-1, 2)
                s["curves"](str(number), array)
        self._summary.serialize(s["summary"])
        self._trigger.serialize(s["trigger"])
