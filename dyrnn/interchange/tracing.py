"""A model's computation as a :class:`~dyrnn.interchange.graphs.Graph`.

Links define their computation by running, so it is recorded as it runs. It runs twice,
on batches and windows of two sizes and with other values, states included: an array
that is no input, no state and no result of a recorded operation must be the same both
times, as a weight is; a size that differs must be one of the input's. So what a
``forward`` computes beside :mod:`dyrnn.functions`, with NumPy or in a loop over time,
is refused by its name and line. Then both, the graph and the model, run on data of
other sizes, and must agree.
"""

import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.config import no_backprop_mode, using_config
from dyrnn.engine.core import Variable, as_array
from dyrnn.engine.hooks import FunctionHook, active, user_line
from dyrnn.errors import InterchangeError
from dyrnn.interchange.builder import SIZES, Builder, Record
from dyrnn.interchange.graphs import Graph, Value, write_graph
from dyrnn.interchange.onnx_models import NEXT, OnnxModel, run_graph
from dyrnn.interchange.operations import record
from dyrnn.link import Link
from dyrnn.links.classifier import Classifier
from dyrnn.links.recurrent_stacks import _NStep

_TOLERANCE = 1e-4  # of float32 results of order 1, added up in two orders


class _Recorder(FunctionHook):
    """Notes each operation with its arrays, which it keeps alive."""

    def __init__(self):
        self.records = []

    def forward_after(self, node, arrays, outputs):
        line = user_line()
        self.records.append(Record(node, list(arrays), list(outputs), line))


class Tracer:
    """Runs a model on data like an example's, in any size.

    Parameters
    ----------
    model : Link
        Its carried state is put back afterwards.
    example : tuple of arrays, lists of arrays
        The arguments of a call.
    axes : sequence of tuples of str, or None
        For each argument its leading axes, as ``("time", "batch")``.
    call : callable, optional
        What to call; the model itself by default.
    """

    def __init__(self, model, example, axes=None, call=None):
        if isinstance(model, Classifier) and call is None:
            model = model.predictor
        if not isinstance(model, Link):
            raise TypeError(f"the model must be a link, not a {type(model).__name__}")
        waiting = [path for path, p in model.namedparams() if not p.is_initialized]
        if waiting:
            raise ValueError(
                f"the parameter {waiting[0]} waits for its shape; call the model once"
            )
        if any(backend.device_of(p.array) != backend.CPU for p in model.params()):
            raise ValueError("the model is on a GPU; export model.copy().to_cpu()")
        self.model = model
        self.call = model if call is None else call
        self.example = example
        self.names = _names(self.call, example)
        self.is_ragged = any(isinstance(x, (list, tuple)) for x in example)
        self.axes = [
            _axes(name, x, None if axes is None else axes[i], self.is_ragged)
            for i, (name, x) in enumerate(zip(self.names, example, strict=True))
        ]
        # Of a list of sequences, one is recorded.
        self.pairs = {**SIZES, "batch": (1, 1)} if self.is_ragged else SIZES
        self.random = np.random.default_rng(0)
        self.noise = 1.0  # beside the example's deviation
        self.n_given = 0
        self.n_ids: dict[str, int] = {}  # of arguments that are ids, if it is known
        self.state_names = [
            (f"{path.strip('/').replace('/', '.')}.{name}".strip("."), link, name)
            for path, link in model.namedlinks()
            for name in link.carried
        ]

    def arguments(self, sizes: dict[str, int], lengths: Sequence[int] = ()) -> list:
        """Return arguments of a call like the example's, of other sizes and values."""
        made: list[Any] = []
        for name, x, axes in zip(self.names, self.example, self.axes, strict=True):
            n_ids = self.n_ids.get(name)
            if isinstance(x, (list, tuple)):
                rows = lengths or [sizes["time"]]
                shapes = [(n, *x[0].shape[1:]) for n in rows]
                made.append([self._like(x[0], shape, n_ids) for shape in shapes])
            elif axes == ("lengths",):
                ends = self.random.integers(1, sizes["time"] + 1, sizes["batch"])
                made.append(ends.astype(as_array(x).dtype))
            elif axes is None:
                made.append(x)
            else:
                shape = [sizes.get(a, n) for a, n in zip(axes, x.shape, strict=False)]
                shape += x.shape[len(axes) :]
                made.append(self._like(x, shape, n_ids))
        return made

    def _like(self, x, shape, n_ids=None):
        array = backend.to_cpu(as_array(x))
        values = self.random.choice(array.reshape(-1), shape).astype(array.dtype)
        if n_ids is not None:
            # All of them in turn: the first ones, and the last, may be special.
            order = np.concatenate([[0, n_ids - 1], np.arange(1, n_ids - 1)])[:n_ids]
            turn = self.n_given + np.arange(math.prod(shape))
            self.n_given += len(turn)
            values = order[turn % n_ids].reshape(shape).astype(array.dtype)
        if array.dtype.kind == "f":
            scale = self.noise * (array.std() or 1.0)
            noise = self.random.standard_normal(shape) * scale
            values = (values + noise).astype(array.dtype)
        return Variable(values, requires_grad=False) if x is not array else values

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Evaluate without gradients, and put the state back in the end."""
        before = [getattr(link, name) for _, link, name in self.state_names]
        try:
            with using_config("train", False), no_backprop_mode():
                yield
        finally:
            for (_, link, name), value in zip(self.state_names, before, strict=True):
                setattr(link, name, value)

    def run(self, arguments: list, states: dict | None = None) -> tuple[list, dict]:
        """Return outputs and states after a call from ``states``, None: from none."""
        self.model.reset_state()
        for name, link, attribute in self.state_names:
            if states is not None and name in states:
                value = Variable(states[name], requires_grad=False)
                setattr(link, attribute, value)
        outputs = _flat(self.call(*arguments))
        after = {
            name: as_array(getattr(link, attribute))
            for name, link, attribute in self.state_names
            if getattr(link, attribute) is not None
        }
        return outputs, after

    def record(self, index: int, states: dict | None) -> tuple:
        """Run the model in the sizes of run ``index``; return all that was recorded."""
        sizes = {axis: pair[index] for axis, pair in self.pairs.items()}
        arguments = self.arguments(sizes)
        recorder = _Recorder()
        with _stacks_recorded(self.model, recorder), recorder:
            outputs, after = self.run(arguments, states)
        return arguments, recorder.records, outputs, after

    def start(self, index: int) -> dict:
        """Return random states in the sizes of run ``index``."""
        sizes = {axis: pair[index] for axis, pair in self.pairs.items()}
        _, after = self.run(self.arguments(sizes))
        return {
            name: (self.random.standard_normal(a.shape) * 0.5).astype(a.dtype)
            for name, a in after.items()
        }


def _names(call, example):
    if isinstance(call, _NStep):
        return [*("hx", "cx")[: call.n_states], "xs"]
    parameters = inspect.signature(getattr(call, "forward", call)).parameters
    names = [
        name
        for name, p in parameters.items()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    names += [f"x{i}" for i in range(len(names), len(example))]
    return names[: len(example)]


def _axes(name, x, given, is_ragged):
    """Return names of the leading axes: integers are ids, floats have features."""
    parts = x if isinstance(x, (list, tuple)) else [x]
    if any(getattr(part, "size", 1) == 0 for part in parts):
        raise InterchangeError(f"{name}: the example is empty; give some values")
    if given is not None or x is None:
        return given
    if isinstance(x, (list, tuple)):
        return ("time", "batch")
    if not hasattr(x, "shape"):
        raise TypeError(
            f"{name}: an example is an array or a list of arrays, not {x!r}"
        )
    x = as_array(x)
    if name in ("lengths", "lens") and x.ndim == 1 and x.dtype.kind in "iu":
        return ("lengths",)
    if is_ragged:  # a state of a stack, (layers, B, H)
        return (None, "batch")
    n = x.ndim - (x.dtype.kind == "f")
    if n not in (1, 2):
        raise InterchangeError(
            f"{name}: which axes of shape {x.shape} are time and batch? Say so by "
            'axes=[("time", "batch")], with an entry for each argument'
        )
    return ("time", "batch") if n == 2 else ("batch",)


def _flat(result):
    """Return the variables of a result; a list of one sequence stands for all."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        return [y for part in result for y in _flat(part)]
    return [] if result is None else [result]


@contextmanager
def _stacks_recorded(model, recorder):
    """Record a stack over lists of sequences as one operation."""

    def recorded(link, function):
        def run(n_layers, dropout, *arguments, **kwargs):
            *states, ws, bs, xs = arguments
            hooks, active[:] = list(active), []
            try:
                finals = function(n_layers, dropout, *states, ws, bs, xs, **kwargs)
            finally:
                active[:] = hooks
            arrays = [as_array(v) for v in (*states, *xs)]
            *after, ys = finals
            outputs = [as_array(v) for v in (*after, *ys)]
            recorder.records.append(Record(link, arrays, outputs, user_line()))
            return finals

        return run

    stacks = [link for link in model.links() if isinstance(link, _NStep)]
    for link in stacks:
        link.__dict__["function"] = recorded(link, link.function)
    try:
        yield
    finally:
        for link in stacks:
            del link.__dict__["function"]


def trace(
    model: Link,
    *example: Any,
    axes: Sequence[Any] | None = None,
    call: Callable | None = None,
    carry: bool = True,
) -> Graph:
    """Return the computation of a model as a graph.

    Parameters are those of :func:`dyrnn.interchange.to_onnx`.
    """
    tracer = Tracer(model, example, axes, call)
    with tracer.quietly():
        starts = [tracer.start(i) if carry else None for i in (0, 1)]
        runs = [tracer.record(i, start) for i, start in enumerate(starts)]
        graph = _built(tracer, starts, runs)
        _check(tracer, graph, carry)
    return graph


def _built(tracer, starts, runs):
    (first, records, outputs, after), (second, others, outputs2, after2) = runs
    builder = Builder(dict(tracer.model.namedparams()), tracer.model)
    states = [name for name, _, _ in tracer.state_names]
    builder.reserve([*tracer.names, "lengths", *states, *[n + NEXT for n in states]])
    inputs = []
    for name, axes, one, two in zip(
        tracer.names, tracer.axes, first, second, strict=True
    ):
        if one is None or axes is None:
            continue
        is_list = isinstance(one, list)
        if is_list:
            one, two = one[0], two[0]
            shape: tuple = ("time", "batch", *one.shape[1:])
        else:
            axes = ("batch",) if axes == ("lengths",) else axes
            sizes = zip(axes, one.shape, strict=False)
            shape = (*[a or n for a, n in sizes], *one.shape[len(axes) :])
        one, two = as_array(one), as_array(two)
        builder.enter(name, one, two, is_list)
        inputs.append(Value(name, builder.single(one.dtype), shape))
    builder.sizes_from(inputs)
    if tracer.is_ragged:
        inputs.append(Value("lengths", np.dtype(np.int32), ("batch",)))
    for name, one in (starts[0] or {}).items():
        builder.enter(name, one, starts[1][name])
        shape = builder.symbols(one.shape, starts[1][name].shape, name)
        inputs.append(Value(name, builder.single(one.dtype), shape))
    if len(records) != len(others):
        raise InterchangeError(
            f"the model runs {len(records)} operations for {SIZES['time'][0]} steps of "
            f"{SIZES['batch'][0]} sequences, but {len(others)} for {SIZES['time'][1]} "
            f"of {SIZES['batch'][1]}: there is a loop over time or over the batch. "
            "Give the layers whole windows, or export one step: an example (B, ...)."
        )
    for one, other in zip(records, others, strict=True):
        record(builder, one, other)
    results = []
    stem = "y"
    while any(re.fullmatch(rf"{stem}\d*", name) for name in builder.reserved):
        stem += "_"
    names = [f"{stem}{i}" if len(outputs) > 1 else stem for i in range(len(outputs))]
    pairs = list(zip(names, outputs, outputs2, strict=True))
    if after.keys() != after2.keys():
        raise InterchangeError(
            "the model keeps other states in one run than in another"
        )
    pairs += [(name + NEXT, a, after2[name]) for name, a in after.items()]
    for name, one, two in pairs:
        one, two = as_array(one), as_array(two)
        if not hasattr(one, "shape"):
            raise InterchangeError(
                f"the model returns a {type(one).__name__}; variables can be exported"
            )
        shape = builder.output(name, one, two)
        results.append(Value(name, builder.single(one.dtype), shape))
    # A layer that begins anew in every call, such as a bidirectional one, has no state.
    read = {name for node in builder.pruned(results) for name in node.inputs}
    read |= {builder.find(as_array(one), as_array(two)) for _, one, two in pairs}
    unread = {name for name in starts[0] or {} if name not in read}
    inputs = [value for value in inputs if value.name not in unread]
    results = [each for each in results if each.name.removesuffix(NEXT) not in unread]
    kept = ",".join(name for name in after if name not in unread)
    notes = {"states": kept, "ragged": str(int(tracer.is_ragged))}
    return Graph(builder.pruned(results), inputs, results, builder.arrays, notes)


def _check(tracer, graph, carry):
    """Run graph and model on other sizes, twice in a row; raise unless they agree."""
    replica, kept = OnnxModel(graph), graph.notes["states"].split(",")
    trials = ({"time": 7, "batch": 2}, {"time": 1, "batch": 5}, {"time": 9, "batch": 1})
    if carry and tracer.state_names and not tracer.is_ragged:
        _warn_of_first_step(tracer, replica)
    tracer.n_ids = _numbers_of_ids(graph)
    for sizes, tracer.noise in zip(trials, (1.0, 0.1, 1.0), strict=True):
        T = sizes["time"]
        lengths = [max(1, T - 2 * i) for i in range(sizes["batch"])]
        arguments = tracer.arguments(sizes, lengths)
        _, states = tracer.run(arguments)
        states = {k: tracer.random.standard_normal(a.shape) for k, a in states.items()}
        states = {k: a.astype(np.float32) for k, a in states.items()} if carry else None
        for _ in range(2):
            given = {
                name: _padded(x, T) if isinstance(x, list) else as_array(x)
                for name, x in zip(tracer.names, arguments, strict=True)
            }
            if tracer.is_ragged:
                given["lengths"] = np.array(lengths, np.int32)
            expected, after = tracer.run(arguments, states)
            found = run_graph(replica, {**given, **(states or {})})
            wanted = {**_by_sequence(graph, expected, lengths), **{
                k + NEXT: a for k, a in after.items() if k in kept
            }}  # fmt: skip
            for name, value in wanted.items():
                _agree(name, value, found[name], sizes, lengths)
            if tracer.is_ragged and sizes["batch"] > 1:
                for value in graph.outputs:
                    value.shape = tuple(
                        "batch" if n == sizes["batch"] != m else m
                        for m, n in zip(
                            value.shape, found[value.name].shape, strict=True
                        )
                    )
            if not carry:
                break
            states = after


def _numbers_of_ids(graph):
    """Return of inputs that choose rows of weights how many there are.

    An example has some ids, and a forward that looks at them with NumPy may do so for
    others that it has not.
    """
    return {
        node.inputs[1]: len(graph.arrays[node.inputs[0]])
        for node in graph.nodes
        if node.op == "Gather"
        and node.inputs[0] in graph.arrays
        and not node.attributes.get("axis", 0)
    }


class FirstStepWarning(UserWarning):
    """The first step of a sequence is another than from a state of zeros."""


def _warn_of_first_step(tracer, replica):
    """Warn if the model's first step is not the one from a state of zeros."""
    sizes = {"time": 1, "batch": 2}
    arguments = tracer.arguments(sizes)
    expected, states = tracer.run(arguments)
    given = dict(zip(tracer.names, map(as_array, arguments), strict=True))
    given |= {name: np.zeros_like(a) for name, a in states.items()}
    found = run_graph(replica, given)
    try:
        for name, value in _by_sequence(replica.graph, expected, [1]).items():
            _agree(name, value, found[name], sizes, [1])
    except InterchangeError:
        warnings.warn(
            "the model's first step is not that from a state of zeros (a StatefulGRU "
            "leaves the state's biases out of it). Export the first call, too, with "
            "carry=False, and go on from the states that it returns.",
            FirstStepWarning,
            stacklevel=4,
        )


def _padded(xs, T):
    """Return sequences side by side, (T, B, ...)."""
    xs = [backend.to_cpu(as_array(x)) for x in xs]
    window = np.zeros((T, len(xs), *xs[0].shape[1:]), xs[0].dtype)
    for i, x in enumerate(xs):
        window[: len(x), i] = x
    return window


def _by_sequence(graph, outputs, lengths):
    """Return the model's outputs by the graph's names; lists of sequences as lists."""
    wanted: dict[str, Any] = {}
    outputs = [as_array(y) for y in outputs]
    names = [v.name for v in graph.outputs if not v.name.endswith(NEXT)]
    for value in graph.outputs[: len(names)]:
        is_list = graph.notes["ragged"] == "1" and value.shape[:2] == ("time", "batch")
        n = len(lengths) if is_list and len(outputs) >= len(lengths) else 1
        wanted[value.name] = outputs[:n] if is_list else outputs[0]
        outputs = outputs[n:]
    return wanted


def _agree(name, expected, found, sizes, lengths):
    if isinstance(expected, list):
        found = [found[:n, i] for i, n in enumerate(lengths)]
        if len(expected) == 1 < len(lengths):  # the sequences, one after the other
            found = [np.concatenate(found)]
    else:
        expected, found = [expected], [found]
    for a, b in zip(expected, found, strict=True):
        if not _is_same(np.asarray(a), np.asarray(b)):
            raise InterchangeError(
                f"what was recorded does not compute {name} as the model does for "
                f"{sizes['time']} steps of {sizes['batch']} sequences (shapes "
                f"{b.shape} and {a.shape}). A forward that decides by values, keeps "
                "state that is not declared (state_scope) or draws random numbers "
                "cannot be exported."
            )


def _is_same(a, b):
    """Return whether values agree to rounding, that of half precision if it is so."""
    if a.shape != b.shape:
        return False
    is_half = a.dtype == np.float16
    tolerance = 8 * float(np.finfo(a.dtype).eps) if is_half else _TOLERANCE
    scale = np.abs(a[np.isfinite(a)]).max(initial=1.0)
    return np.allclose(a, b, tolerance, tolerance * scale, equal_nan=True)


def to_onnx(
    model: Link,
    file: str | PathLike,
    *example: Any,
    axes: Sequence[Any] | None = None,
    call: Callable | None = None,
    carry: bool = True,
) -> None:
    """Save a model as an ONNX file: its computation, weights and state.

    Sizes of time and batch stay free. Carried states are inputs, named as in
    ``"encoder.rnn.h"``, and outputs, named ``"encoder.rnn.h_next"``; zeros start a
    sequence. Dropout and the loss of a ``Classifier`` are left out. Numbers are single
    precision.

    Parameters
    ----------
    model : Link
    file : str or path
    *example : array, or list of arrays
        Arguments of a call with typical values: windows (T, B, ...) make a model of
        windows, steps (B, ...) one of steps. A list of sequences (length, ...) makes
        one of padded windows (T, B, ...) and ``lengths`` (B,), int32; what it returns
        after a sequence's end means nothing.
    axes : sequence of tuples, optional
        For each argument the names of its leading axes, ``("time", "batch")``. By
        default integers are ids, (B,) or (T, B), and floats have a last axis of
        features. ``("lengths",)`` is for the lengths of a window's sequences, the
        default for an argument of that name.
    call : callable, optional
        What to run, such as a method of the model, instead of the model itself.
    carry : bool
        Whether states are inputs. Without, the model starts from its reset state.

    Raises
    ------
    InterchangeError
        If the model computes something that ONNX has not, or that was not recorded;
        with its name and line.

    Examples
    --------
    ::

        to_onnx(model, "model.onnx", np.zeros((1, 1), np.int32))
    """
    graph = trace(model, *example, axes=axes, call=call, carry=carry)
    write_graph(graph, file)
