"""Pictures of what goes on in a training: rates, gradients by layer, and gates.

They need matplotlib; without it, the numbers are reported all the same.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

import dyrnn.functions as F
from dyrnn import backend, random
from dyrnn.config import inference_mode
from dyrnn.extensions.checks import check_file_is_own
from dyrnn.extensions.plots import PlotReport, has_matplotlib, save_figure
from dyrnn.link import Link
from dyrnn.links.recurrent import GRU, LSTM, call_checks
from dyrnn.reporter import Reporter, read_scalars, report
from dyrnn.training import PRIORITY_WRITER, Extension
from dyrnn.typing import PathLike, TriggerLike

LOW, HIGH = 0.1, 0.9  # where Karpathy et al. call a gate saturated


def plot_lr_range(
    found: Sequence[tuple[float, float]], path: PathLike = "lr_range.png"
) -> bool:
    """Draw what `dyrnn.training.lr_range_test` found: losses by learning rate.

    A line smoothes them. A good rate is some way to the left of where it rises, about
    a tenth of the one where it is lowest.

    Parameters
    ----------
    found : list of (rate, loss)
    path : path
        The ending says the format.

    Returns
    -------
    bool
        Whether there is a picture.
    """
    found = [pair for pair in found if all(map(math.isfinite, pair))]
    if not found:
        raise ValueError("plot_lr_range: there are no finite losses to draw")
    rates, losses = np.array(found, np.float64).T
    smooth = _smoothed(losses)

    def draw(figure):
        axes = figure.add_subplot(xlabel="learning rate", ylabel="loss", xscale="log")
        axes.plot(rates, losses, color="0.7", marker=".", label="each update")
        axes.plot(rates, smooth, label="smoothed")
        lowest = float(rates[np.argmin(smooth)])
        axes.axvline(lowest / 10, color="0.3", ls="--", label=f"{lowest / 10:.2g}")
        axes.grid(True)
        axes.legend()

    return save_figure(path, draw)


def _smoothed(values):
    """Return means over a few values around each."""
    reach = max(1, len(values) // 20)
    parts = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return np.array([part.mean() for part in parts])


class GradientNorms(PlotReport):
    """Reports and draws the norm of each parameter's gradient, ``grad_norm/PATH``.

    They are those of one update, as its hooks left the gradients: clipping by the norm
    of all of them together keeps the proportions.

    Parameters
    ----------
    model : Link
    trigger : trigger, default (100, "iteration")
        When to look.
    filename : str
        In the trainer's ``out``; the ending says the format.
    x_key : {"iteration", "epoch"}
    """

    priority = PRIORITY_WRITER

    def __init__(
        self,
        model: Link,
        trigger: TriggerLike = (100, "iteration"),
        filename: str = "gradients.png",
        x_key: str = "iteration",
    ) -> None:
        self._paths = [path for path, _ in model.namedparams()]
        keys = [f"grad_norm{path}" for path in self._paths]
        super().__init__(keys, x_key, trigger, filename, None)
        self._model = model

    def __call__(self, trainer):
        if not self._trigger(trainer):
            return
        known = dict(self._model.namedparams(include_uninit=False))
        grads = {path: known[path].grad for path in self._paths if path in known}
        squares = {
            f"grad_norm{path}": (grad.astype(np.float64) ** 2).sum()
            for path, grad in grads.items()
            if grad is not None
        }
        numbers = map(math.sqrt, read_scalars(squares.values()))
        norms = dict(zip(squares, numbers, strict=True))
        report(norms)
        self._summary.add(norms)
        self._seen.update(self._names)  # what is frozen has none
        self._plot(trainer, "epoch_detail" if self._x_key == "epoch" else "iteration")

    def _draw(self, figure):
        axes = figure.add_subplot(xlabel=self._x_key, ylabel="norm of the gradient")
        for path, points in zip(self._paths, self._points.values(), strict=True):
            if points:
                axes.plot(*zip(*points, strict=True), label=path)
        axes.set_yscale("log")
        axes.grid(True)
        if axes.lines:
            figure.legend(loc="outside lower center", ncols=3, fontsize="x-small")


class GateSaturation(Extension):
    """Reports and draws how often gates of L.LSTM and L.GRU are shut, and open.

    ``gates/PATH/forget/shut`` is the share of values below 0.1, ``.../open`` of those
    above 0.9, over all units, steps and sequences of a batch that is looked at. In the
    picture each unit is a point: a forget gate that is always open counts, one that is
    never anything but shut forgets at once.

    Parameters
    ----------
    model : Link
    arguments : arrays
        What the model is called with, such as one batch ``x`` of a window (T, B, ...),
        without padding. The model's state and statistics stay as they are.
    trigger : trigger, default (1, "epoch")
    filename : str
        In the trainer's ``out``; the ending says the format.

    References
    ----------
    Karpathy, Johnson, Fei-Fei, "Visualizing and Understanding Recurrent Networks",
    ICLR workshop 2016.
    """

    priority = PRIORITY_WRITER

    def __init__(
        self,
        model: Link,
        *arguments: Any,
        trigger: TriggerLike = (1, "epoch"),
        filename: str = "gates.png",
    ) -> None:
        self._model = model
        self._arguments = arguments
        self.trigger = trigger
        self.filename = filename
        self._draws = False

    def initialize(self, trainer):
        check_file_is_own(self, trainer)
        self._draws = has_matplotlib()

    def __call__(self, trainer):
        found = gate_saturation(self._model, *self._arguments)
        for name, (shut, opened) in found.items():
            report({f"gates{name}/shut": float(shut.mean())})
            report({f"gates{name}/open": float(opened.mean())})
        if self._draws:
            path = os.path.join(trainer.out, self.filename)
            kinds = {name.rpartition("/")[2] for name in found}
            size = 2.2 * len(kinds) + 1, 3.0
            save_figure(path, lambda figure: _scatter(figure, found), size)


def gate_saturation(model: Link, *arguments: Any) -> dict[str, tuple[Any, Any]]:
    """Return, for each gate and unit, how often it is shut and how often open.

    Parameters
    ----------
    model : Link
        With layers L.LSTM or L.GRU.
    arguments : arrays
        What it is called with, in evaluation mode, from a fresh state.

    Returns
    -------
    dict of (numpy.ndarray, numpy.ndarray), each (H,)
        By ``/PATH/input``, ``/PATH/forget``, ``/PATH/output`` of an LSTM,
        ``/PATH/reset`` and ``/PATH/update`` of a GRU: the shares of steps in which the
        gate is below 0.1, and above 0.9.

    Raises
    ------
    ValueError
        If no such layer was called.
    """
    copy = model.copy()
    copy.reset_state()
    layers = {path: x for path, x in copy.namedlinks() if type(x) in _GATES}
    values: dict[str, list] = {}

    def look(path, layer, x, _):
        names, walk = _GATES[type(layer)]
        for gates in walk(layer, x):
            for name, array in zip(names, gates, strict=True):
                values.setdefault(f"{path}/{name}", []).append(array)

    reporter = Reporter()
    reporter.add_observer("main", copy)
    reporter.add_observers("main", copy.namedlinks(skipself=True))
    for path, layer in layers.items():
        prefix = "" if path == "/" else path
        call_checks[id(layer)] = lambda *call, path=prefix: look(path, *call)
    try:
        with reporter, random.scope("evaluation"), inference_mode():
            copy(*arguments)
    finally:
        for layer in layers.values():
            call_checks.pop(id(layer))
    if not values:
        raise ValueError(
            f"gate_saturation: {type(model).__name__} called no L.LSTM or L.GRU; it "
            f"has {', '.join(sorted({type(x).__name__ for x in model.links()}))}"
        )
    return {name: _shares(arrays) for name, arrays in values.items()}


def _shares(arrays):
    xp = backend.get_array_module(*arrays)
    rows = xp.concatenate(arrays)
    shut, opened = (rows < LOW).mean(axis=0), (rows > HIGH).mean(axis=0)
    return backend.to_cpu(shut), backend.to_cpu(opened)


def _walk_lstm(layer, x):
    """Yield the gates i, f, o of each step, in which the layer will be."""
    z = layer.inputs(x if x.ndim == 3 else x[None])
    c, h = _states(layer, z)
    for step in z:
        a = step + F.linear(h, layer.lateral.W)
        i, f, _, o = F.split_axis(F.sigmoid(a), 4, axis=1)
        yield i.array, f.array, o.array
        c, h = F.lstm(c, a)
        h = h if layer.projection is None else layer.projection(h)


def _walk_gru(layer, x):
    """Yield the gates r, z of each step, in which the layer will be."""
    inputs = layer.inputs(x if x.ndim == 3 else x[None])
    (h,) = _states(layer, inputs)
    for step in inputs:
        a = layer.lateral(h)
        r, z, _ = F.split_axis(F.sigmoid(step + a), 3, axis=1)
        yield r.array, z.array
        h = F.gru(step, h, a)


def _states(layer, z):
    """Return the states of as many rows as the inputs, zeros where there are none."""
    rows = z.shape[1]
    for name, size in layer.sizes.items():
        state = getattr(layer, name)
        yield z.xp.zeros((rows, size), z.dtype) if state is None else state[:rows]


_GATES = {
    LSTM: (("input", "forget", "output"), _walk_lstm),
    GRU: (("reset", "update"), _walk_gru),
}


def _scatter(figure, found):
    """Draw a point for each unit, a panel for each kind of gate."""
    kinds = list(dict.fromkeys(name.rpartition("/")[2] for name in found))
    paths = list(dict.fromkeys(name.rpartition("/")[0] for name in found))
    panels = figure.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False)[0]
    for kind, axes in zip(kinds, panels, strict=True):
        for number, path in enumerate(paths):
            if f"{path}/{kind}" in found:
                shut, opened = found[f"{path}/{kind}"]
                label, color = path or "the layer", f"C{number}"
                axes.plot(shut, opened, ".", color=color, alpha=0.6, label=label)
        axes.plot([0, 1], [1, 0], color="0.8", lw=1)
        axes.set(title=kind, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axes.legend(fontsize="small")
    figure.supxlabel("share of steps in which the gate is shut (< 0.1)", size="medium")
    panels[0].set_ylabel("share open (> 0.9)")
