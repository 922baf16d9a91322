"""Pictures: curves of observed values, and the graph of a model's computation."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import warnings

from dyrnn.engine.hooks import FunctionHook
from dyrnn.extensions.checks import check_file_is_own, warn_of_unseen
from dyrnn.reporter import DictSummary
from dyrnn.serializers.atomic import atomic_output
from dyrnn.training import PRIORITY_READER, PRIORITY_WRITER, Extension, get_trigger

__all__ = ["DumpGraph", "PlotReport", "save_figure"]


def save_figure(path, draw, size=(6.4, 4.8), dpi=100):
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
    if not _has_matplotlib():
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


def _has_matplotlib():
    if importlib.util.find_spec("matplotlib") is not None:
        return True
    warnings.warn(
        "matplotlib is not installed, so nothing is plotted. Install it with "
        "`pip install matplotlib`.",
        stacklevel=3,
    )
    return False


class PlotReport(Extension):
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

    priority = PRIORITY_READER

    def __init__(
        self,
        y_keys,
        x_key="iteration",
        trigger=(1, "epoch"),
        filename="plot.png",
        marker="x",
        postprocess=None,
    ):
        if x_key not in ("iteration", "epoch"):
            raise ValueError(
                f"PlotReport: x_key is {x_key!r}: use 'iteration' or 'epoch'"
            )
        self._y_keys = (y_keys,) if isinstance(y_keys, str) else tuple(y_keys)
        self._x_key = x_key
        self._trigger = get_trigger(trigger)
        self.filename = filename
        self._marker = marker
        self._postprocess = postprocess
        self._summary = DictSummary()
        self._points = {key: [] for key in self._y_keys}
        self._draws = False
        self._seen = set()
        self._is_interval_over = False

    def initialize(self, trainer):
        check_file_is_own(self, trainer)
        self._draws = _has_matplotlib()

    def __call__(self, trainer):
        observation = trainer.observation
        self._seen.update(observation)
        chosen = type(observation)(
            (key, observation[key]) for key in self._y_keys if key in observation
        )
        chosen.weights = getattr(observation, "weights", {})
        self._summary.add(chosen)
        if not self._trigger(trainer):
            return
        self._is_interval_over = True
        x = getattr(
            trainer.updater, "epoch_detail" if self._x_key == "epoch" else "iteration"
        )
        for key, mean in self._summary.compute_mean().items():
            self._points[key].append([x, mean])
        self._summary = DictSummary()
        if self._draws:
            save_figure(os.path.join(trainer.out, self.filename), self._draw)

    def on_error(self, trainer, error, traceback):
        self._is_interval_over = False  # what did not come is not misspelt

    def finalize(self):
        if self._is_interval_over:
            # The points tell of values before a resume.
            drawn = {key for key, points in self._points.items() if points}
            warn_of_unseen(self, self._y_keys, self._seen | drawn)

    def _draw(self, figure):
        axes = figure.add_subplot()
        axes.set_xlabel(self._x_key)
        axes.grid(True)
        for key, points in self._points.items():
            if points:
                axes.plot(*zip(*points, strict=True), marker=self._marker, label=key)
        if axes.lines:
            axes.legend()
        if self._postprocess is not None:
            self._postprocess(axes)

    def serialize(self, s):
        """Save or load the points, the running means, and the trigger."""
        self._points = s("points", self._points)
        self._summary.serialize(s["summary"])
        if hasattr(self._trigger, "serialize"):
            self._trigger.serialize(s["trigger"])


class DumpGraph(Extension):
    """Writes the graph of the first update's computation, for Graphviz.

    Draw it with ``dot -Tpng graph.dot``. Boxes are functions, ovals arrays; those of
    parameters carry their names.

    Parameters
    ----------
    filename : str
        In the trainer's ``out``.
    """

    # First of all: what other extensions compute is not the update's.
    priority = PRIORITY_WRITER + 100

    def __init__(self, filename="graph.dot"):
        self._filename = filename
        self._recorder = None

    def initialize(self, trainer):
        if trainer.is_before_training:
            self._recorder = _Recorder()
            self._recorder.__enter__()

    def __call__(self, trainer):
        if self._recorder is None:
            return
        names = {}
        for name, optimizer in trainer.updater.get_all_optimizers().items():
            for path, param in optimizer.target.namedparams():
                names[id(param.array)] = name + path
        lines = self._recorder.dot(names)
        self.finalize()
        with atomic_output(os.path.join(trainer.out, self._filename)) as output:
            output.write("\n".join(lines).encode())

    def finalize(self):
        if self._recorder is not None:
            self._recorder.__exit__(None, None, None)
        self._recorder = None


class _Recorder(FunctionHook):
    """Notes which function made which array of which."""

    def __init__(self):
        self._calls = []

    def forward_after(self, node, arrays, outputs):
        # The arrays are kept: an id is only unique while its object lives.
        self._calls.append((type(node).__name__, list(arrays), list(outputs)))

    def dot(self, names):
        """The lines of a dot file."""
        lines = ["digraph {", "  rankdir=TB;"]
        seen = set()

        def oval(array):
            key = f"a{id(array)}"
            if key not in seen:
                seen.add(key)
                shape = getattr(array, "shape", None)
                text = f"{shape} {array.dtype}" if shape is not None else str(array)
                label = json.dumps(
                    f"{names[id(array)]}\n{text}" if id(array) in names else text
                )
                lines.append(f"  {key} [label={label}];")
            return key

        for number, (function, inputs, outputs) in enumerate(self._calls):
            lines.append(f'  f{number} [label="{function}", shape=box];')
            lines += [f"  {oval(array)} -> f{number};" for array in inputs]
            lines += [f"  f{number} -> {oval(array)};" for array in outputs]
        return [*lines, "}", ""]
