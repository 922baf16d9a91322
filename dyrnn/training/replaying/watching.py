"""What can be seen of an iteration: batch, parameters, activations, where NaN began.

Nothing here changes what is computed. The batch is seen as the iterators hand it out,
gradients by hooks of the optimizers, operations by a `FunctionHook`; all of it is put
in place for the iteration and taken away after it.
"""

from __future__ import annotations

import contextlib
import math
import sys
import traceback
from dataclasses import dataclass, field

import numpy as np

from dyrnn import backend
from dyrnn.datasets import concat_examples
from dyrnn.engine.gradients import Rows, densify
from dyrnn.engine.hooks import FunctionHook, user_line
from dyrnn.iterators.base import is_window
from dyrnn.link import Link
from dyrnn.reporter import is_scalar, read_scalars

# Between which values the outputs of an operation are; it is saturated within a
# hundredth of them.
_BOUNDS = {
    "Sigmoid": (0, 1),
    "ReLU": (0, math.inf),
    **dict.fromkeys(
        "Tanh LSTM LSTMStep LSTMWindow GRU GRUWindow RNNWindow".split(), (-1, 1)
    ),
}
_NEAR = 0.01


@dataclass
class Activation:
    """The outputs of an operation in an iteration, at all of its time steps.

    Attributes
    ----------
    place : str
        The link that ran it, as a path, and the operation.
    line : str
        The user's line, as FILE:LINE.
    mean, norm : float
        Of the numbers; the norm is the root of the sum of their squares.
    saturated : float or None
        The share that is within 0.01 of a bound: of 0 and 1 for a sigmoid, of -1 and 1
        for tanh and the outputs of recurrent layers, of 0 for a ReLU.
    size, nonfinite : int
        How many numbers there are, and how many of them are NaN or infinite.
    """

    place: str
    line: str
    size: int = 0
    nonfinite: int = 0
    total: float = 0.0
    square: float = 0.0
    near: int | None = None

    @property
    def mean(self) -> float:
        return self.total / self.size if self.size else math.nan

    @property
    def norm(self) -> float:
        return math.sqrt(self.square)

    @property
    def saturated(self) -> float | None:
        return None if self.near is None else self.near / max(self.size, 1)

    def add(self, y, bounds):
        """Take in an array."""
        self.size += y.size
        self.nonfinite += _nonfinite(y)
        self.total += float(y.sum(dtype=np.float64))
        self.square += _square(y)
        if bounds is not None:
            low, high = bounds
            is_near = (y <= low + _NEAR) & (y >= low - _NEAR)
            is_near |= (y >= high - _NEAR) & (y <= high + _NEAR)
            self.near = (self.near or 0) + int(is_near.sum())


@dataclass
class ParameterNorms:
    """L2 norms of a parameter before the update, of its gradient, and of the update.

    The gradient is that before the hooks of the optimizer, such as clipping. What did
    not come to be, since the iteration failed, is None.
    """

    shape: tuple
    value: float
    nonfinite: int
    gradient: float | None = None
    hooked: float | None = None
    update: float | None = None


@dataclass
class Figures:
    """What was seen of an iteration.

    Attributes
    ----------
    iteration : int
    epoch : float
        Passes over the data after it.
    values : dict
        What was observed, such as ``main/loss``; numbers only.
    batch : list
        What the iterators handed out: arrays, or lists of them where shapes differ, by
        a name each, as pairs.
    texts : list of str
        The batch, decoded.
    parameters : dict
        `ParameterNorms` by path.
    activations : list of Activation
        In the order of the forward pass.
    origin : list of str
        Where the first numbers that are not finite came from.
    probes : dict
        Results of the probes by name.
    """

    iteration: int
    epoch: float = math.nan
    values: dict = field(default_factory=dict)
    batch: list = field(default_factory=list)
    texts: list = field(default_factory=list)
    parameters: dict = field(default_factory=dict)
    activations: list = field(default_factory=list)
    origin: list = field(default_factory=list)
    probes: dict = field(default_factory=dict)

    def norm(self, name: str) -> float | None:
        """Norm over all parameters of their ``value``, ``gradient``, or ``update``.

        ``"hooked"`` is that of the gradient once the optimizer's hooks, such as
        clipping, were done. None if it did not come to be.
        """
        found = [getattr(each, name) for each in self.parameters.values()]
        known = [each for each in found if each is not None]
        return math.hypot(*known) if known else None


class Watcher(FunctionHook):
    """Watches one update of an updater: ``with watcher: updater.update()``."""

    def __init__(self, updater, iteration):
        self.figures = Figures(iteration)
        self._updater = updater
        self._models = {n: o.target for n, o in updater.get_all_optimizers().items()}
        self._links = _links_by_id(self._models, getattr(updater, "loss_func", None))
        self._parameters = dict(_parameters(self._models))
        self._paths = {id(p.array): path for path, p in self._parameters.items()}
        self._before = {}
        self._rows = {}  # activations by place and operation
        self._last = {}  # the operation that each link of the library ran last
        self._first = {}  # kinds of numbers that are not finite
        self._batches = []
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        for path, param in self._parameters.items():
            if param.array is not None:
                array = param.array
                norms = ParameterNorms(array.shape, _norm(array), _nonfinite(array))
                self.figures.parameters[path] = norms
        for iterator in getattr(self._updater, "_iterators", {}).values():
            self._stack.enter_context(_recorded(iterator, self._batches))
        for name, optimizer in self._updater.get_all_optimizers().items():
            self._stack.enter_context(self._hooked(name, optimizer))
        return super().__enter__()

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self._stack.close()
        is_done = exception[0] is None
        for path, before in self._before.items() if is_done else ():
            # Both in double precision: their difference is small.
            after = self._parameters[path].array.astype(np.float64)
            self.figures.parameters[path].update = _norm(after - before)
        self.figures.batch = _arrays(self._batches)
        self.figures.activations = [
            row
            for (place, operation), row in self._rows.items()
            if self._last.get(place, operation) == operation
        ]
        self.figures.origin = [*self._sources(), *self._first.values()]

    @contextlib.contextmanager
    def _hooked(self, name, optimizer):
        """Be the first and the last hook of an optimizer."""
        hooks = optimizer.hooks
        own = dict(hooks)
        hooks.clear()
        hooks["replay: before"] = lambda _: self._see_gradients(name, optimizer, True)
        hooks.update(own)
        hooks["replay: after"] = lambda _: self._see_gradients(name, optimizer, False)
        try:
            yield
        finally:
            hooks.pop("replay: before", None)
            hooks.pop("replay: after", None)

    def _see_gradients(self, name, optimizer, is_first):
        for path, param, total in optimizer.updates:
            path = _full(name, path)
            norms = self.figures.parameters.setdefault(
                path, ParameterNorms(param.shape, _norm(param.array), 0)
            )
            gradient = total.settled()[0]  # as clipping, and the update, will have it
            values = gradient.values if isinstance(gradient, Rows) else gradient
            norm = _norm(values) * abs(total.rate)
            if not is_first:
                norms.hooked = norm
                continue
            norms.gradient = norm
            if path not in self._before:
                self._before[path] = param.array.astype(np.float64)

    def forward_after(self, node, arrays, outputs):
        node.trace = user_line()
        place, is_own = self._place()
        operation = type(node).__name__
        y = outputs[-1]
        if y.dtype.kind == "f" and place is not None:
            if not is_own:
                self._last[place] = operation
            key = place, operation
            if key not in self._rows:
                self._rows[key] = Activation(f"{place} {operation}".strip(), node.trace)
            self._rows[key].add(y, _BOUNDS.get(operation))
        for kind in _kinds(outputs):
            if kind not in self._first:
                self._first[kind] = (
                    f"the first {kind} of the forward pass: {operation}, called at "
                    f"{node.trace}{f' in {place}' if place else ''}, computed it"
                    f"{self._of(arrays)}"
                )

    def gradients(self, node, gxs):
        for i, gx in enumerate(gxs):
            gx = densify(gx)
            for kind in _kinds([getattr(gx, "array", gx)] if gx is not None else []):
                if f"{kind} back" not in self._first:
                    trace = getattr(node, "trace", "an unknown line")
                    self._first[f"{kind} back"] = (
                        f"the first {kind} of the backward pass: that of "
                        f"{type(node).__name__}, called at {trace}, computed it in the "
                        f"gradient of its input {i}, of shape {gx.shape}"
                    )

    def _of(self, arrays):
        """Say which inputs of an operation are not finite either."""
        texts = []
        for i, array in enumerate(arrays):
            kinds = _kinds([array]) if backend.is_array(array) else []
            if kinds:
                path = self._paths.get(id(array))
                name = f"input {i}" if path is None else f"parameter {path}"
                texts.append(f"{name} has {' and '.join(kinds)}")
        return f"; {', '.join(texts)}" if texts else ", of finite inputs"

    def _sources(self):
        """Yield what was not finite before anything was computed."""
        for path, norms in self.figures.parameters.items():
            if norms.nonfinite:
                yield (
                    f"parameter {path} is not finite before the iteration, at "
                    f"{norms.nonfinite} of {math.prod(norms.shape)} places"
                )
        for name, arrays in self.figures.batch:
            for i, array in enumerate(arrays if isinstance(arrays, list) else [arrays]):
                count = _nonfinite(array)
                if count:
                    first = tuple(int(n[0]) for n in np.nonzero(~np.isfinite(array)))
                    index = (i, *first) if isinstance(arrays, list) else first
                    yield (
                        f"{name} of the batch is not finite, at {count} of "
                        f"{array.size} places, the first of them {list(index)}"
                    )

    def _place(self):
        """Return the path of the link that runs, and whether its class is the user's.

        None for what an updater itself computes.
        """
        is_own = False
        for frame, _ in traceback.walk_stack(sys._getframe()):
            code, module = frame.f_code, frame.f_globals.get("__name__", "")
            if module == __name__:
                continue
            if code.co_argcount:
                owner = frame.f_locals.get(code.co_varnames[0])
                path = self._links.get(id(owner))
                if path is not None:
                    return path, not type(owner).__module__.startswith("dyrnn.")
            if module.startswith("dyrnn.training."):
                break
            is_own = is_own or not module.startswith("dyrnn.")
        return "" if is_own else None, is_own


def nonfinite_parameters(updater):
    """Return the paths of parameters that are not finite."""
    models = {n: o.target for n, o in updater.get_all_optimizers().items()}
    params = [(path, p.array) for path, p in _parameters(models) if p.array is not None]
    return [path for path, array in params if _nonfinite(array)]


def numbers_of(observation):
    """Return the values of an observation that are numbers."""
    keys = [key for key, value in observation.items() if is_scalar(value)]
    values = read_scalars([observation[key] for key in keys])
    return dict(zip(keys, values, strict=True))


def _full(name, path):
    return path if name == "main" else f"{name}{path}"


def _parameters(models):
    for name, model in models.items():
        for path, param in model.namedparams():
            yield _full(name, path), param


def _links_by_id(models, loss_func):
    owner = getattr(loss_func, "__self__", loss_func)
    if isinstance(owner, Link):
        models = {"loss": owner, **models}
    return {
        id(link): _full(name, path)
        for name, model in models.items()
        for path, link in model.namedlinks()
    }


@contextlib.contextmanager
def _recorded(iterator, batches):
    """Note what an iterator hands out: its class is another one meanwhile."""
    kind = type(iterator)
    inside = []

    def reading(name):
        method = getattr(kind, name)

        def read(self, *args, **kwargs):
            inside.append(name)
            try:
                batch = method(self, *args, **kwargs)
            finally:
                inside.pop()
            if not inside:
                # A window is a tuple of arrays, however it was asked for.
                window = name == "next_window" or is_window(self, batch)
                batches.append((window, batch))
            return batch

        return read

    names = ("__next__", "next", "next_window")
    methods = {n: reading(n) for n in names if callable(getattr(kind, n, None))}
    try:
        iterator.__class__ = type(kind.__name__, (kind,), methods)
    except TypeError:  # an iterator in C
        yield
        return
    try:
        yield
    finally:
        iterator.__class__ = kind


def _arrays(batches):
    """Return named arrays of what iterators handed out; see `Figures`."""
    found = []
    windows = [batch for window, batch in batches if window]
    steps = [batch for window, batch in batches if not window]
    for batch in windows:
        parts = batch if isinstance(batch, tuple | list) else [batch]
        found += [(f"part {i}, (T, B, ...)", part) for i, part in enumerate(parts)]
    columns = [_columns(batch) for batch in steps]
    if not columns:
        return found
    keys = columns[0].keys()
    for key in keys:
        parts = [each[key] for each in columns if key in each]
        if len(parts) == 1:
            # A batch may come with the time first, see `SeriesWindows`.
            size = len(steps[0]) if isinstance(steps[0], list) else None
            shape = getattr(parts[0], "shape", ())
            axes = "T, B" if size in shape[1:2] and shape[0] != size else "B"
            found.append((f"part {key}, ({axes}, ...)", parts[0]))
        elif len({getattr(part, "shape", None) for part in parts}) == 1:
            found.append((f"part {key}, (T, B, ...)", np.stack(parts)))
        else:
            found += [(f"part {key} of batch {i}", p) for i, p in enumerate(parts)]
    return found


def _columns(batch):
    """Return the parts of a list of examples: an array each, or a list of arrays."""
    try:
        arrays = concat_examples(batch)
    except (ValueError, TypeError, AttributeError):  # other shapes, or no numbers
        first = batch[0] if isinstance(batch, list) and batch else None
        if not isinstance(first, tuple):
            batch = batch if isinstance(batch, list) else [batch]
            return {0: [np.asarray(example) for example in batch]}
        columns = zip(*batch, strict=False)
        return {i: [np.asarray(x) for x in column] for i, column in enumerate(columns)}
    if isinstance(arrays, dict):
        return arrays
    return dict(enumerate(arrays if isinstance(arrays, tuple) else (arrays,)))


def _square(array):
    return float((array.astype(np.float64) ** 2).sum())


def _norm(array):
    return math.sqrt(_square(array))


def _nonfinite(array):
    if getattr(getattr(array, "dtype", None), "kind", "") != "f":
        return 0
    xp = backend.get_array_module(array)
    return int(array.size - xp.isfinite(array).sum())


def _kinds(arrays):
    """Return "NaN" and "infinity", as far as there are in arrays."""
    kinds = []
    for array in arrays:
        if array.dtype.kind == "f" and _nonfinite(array):
            xp = backend.get_array_module(array)
            if bool(xp.isnan(array).any()):
                kinds.append("NaN")
            if bool(xp.isinf(array).any()):
                kinds.append("infinity")
    return list(dict.fromkeys(kinds))
