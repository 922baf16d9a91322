"""Models of ONNX as links: a graph's operations, run by :mod:`dyrnn.functions`.

What runs is differentiable, and the weights are parameters, so that a model from
elsewhere trains on. Operations are the table ``RUN``; sizes and other integers are
NumPy arrays.
"""

import re
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

import numpy as np

import dyrnn.functions as F
from dyrnn.config import no_backprop_mode
from dyrnn.engine.core import Variable, as_array
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import InterchangeError, ShapeError
from dyrnn.functions.activation import normal_cdf
from dyrnn.interchange.graphs import Graph, dtype_of, read_graph
from dyrnn.interchange.recurrent_layout import KINDS, our_cells
from dyrnn.link import Chain
from dyrnn.typing import Array

NEXT = "_next"  # ends the name of a state's output
_WEIGHTS = {"MatMul": (0, 1), "Gemm": (1, 2), "Gather": (0,), "Add": (0, 1)}
_WEIGHTS |= {"LayerNormalization": (1, 2), "PRelu": (1,)}


def from_onnx(file: str | PathLike) -> "OnnxModel":
    """Return the model of an ONNX file as a link, to run and to train on.

    Examples
    --------
    ::

        model = from_onnx("model.onnx")
        y = model(x)  # inputs in the file's order

    Raises
    ------
    InterchangeError
        If the file is damaged, or has an operation that is not here.
    """
    return OnnxModel(read_graph(file))


class OnnxModel(Chain):
    """A link that computes what a graph says.

    It is called with the graph's inputs, in order, and returns its output, or a tuple
    of them. States of a model that :func:`to_onnx` saved are carried from call to
    call, until ``reset_state()``, as in the model it was.

    Parameters
    ----------
    graph : Graph

    Attributes
    ----------
    parameters : dict of str
        Names of the link's parameters by those of the graph's arrays.
    """

    takes_windows = True

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.parameters: dict[str, str] = {}
        self._constants = dict(graph.arrays)
        self._layers: dict[str, tuple[list, dict]] = {}
        states = graph.notes.get("states", "")
        names = {value.name for value in graph.inputs}
        self._states = {
            name: self._attribute(name) for name in states.split(",") if name in names
        }
        _check(graph)
        with self.state_scope():
            for attribute in self._states.values():
                setattr(self, attribute, None)
        for node in graph.nodes:
            if node.op in KINDS:
                self._add_layer(node)
            for i in _WEIGHTS.get(node.op, ()):
                name = node.inputs[i] if i < len(node.inputs) else ""
                array = self._constants.get(name)
                if array is not None and array.dtype.kind == "f" and array.ndim:
                    self._add_parameter(name, self._constants.pop(name))

    def _attribute(self, name):
        stem = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "x"
        stem = f"x_{stem}" if stem[0].isdigit() else stem
        count = sum(hasattr(self, f"{stem}{n or ''}") for n in range(1000))
        return f"{stem}{count or ''}"

    def _add_parameter(self, name, array):
        attribute = self._attribute(name)
        with self.init_scope():
            setattr(self, attribute, Parameter(array))
        self.parameters[name] = attribute

    def _add_layer(self, node):
        """Keep the weights of a recurrent layer in the layout of our functions."""
        arrays: list[Any] = [
            self._constants.get(n) for n in (node.inputs + [""] * 8)[1:4]
        ]
        if any(n and a is None for n, a in zip(node.inputs[1:4], arrays, strict=False)):
            raise InterchangeError(f"{node.op}: its weights are not arrays of the file")
        W, R, B = arrays
        cells, options = our_cells(node.op, W, R, B, node.attributes)
        kept = []
        for d, cell in enumerate(cells):
            kept.append({})
            for name, array in cell.items():
                key = f"{node.outputs[0] or node.outputs[1]}.{d}.{name}"
                self._add_parameter(key, array)
                kept[-1][name] = self.parameters[key]
        self._layers[id(node)] = kept, options

    def forward(self, *xs: Any, **named: Any) -> Any:
        """Return the outputs for inputs by position or name; states may be left out."""
        inputs = [v for v in self.graph.inputs if v.name not in self._states]
        if len(xs) > len(inputs):
            names = ", ".join(v.name for v in inputs)
            raise TypeError(f"the graph takes {names}; {len(xs)} arguments were given")
        given = {v.name: x for v, x in zip(inputs, xs, strict=False)}
        given |= named
        missing = [v.name for v in inputs if v.name not in given]
        if missing:
            raise TypeError(f"the graph needs a value for {', '.join(missing)}")
        for name, attribute in self._states.items():
            if given.get(name) is None:
                state = getattr(self, attribute)
                given[name] = self._zeros(name, given) if state is None else state
        values = self._run(given)
        for name, attribute in self._states.items():
            setattr(self, attribute, values[name + NEXT])
        after = {name + NEXT for name in self._states}
        ys = [values[v.name] for v in self.graph.outputs if v.name not in after]
        return ys[0] if len(ys) == 1 else tuple(ys)

    def _zeros(self, name, given):
        """Return zeros for a state, its batch as large as that of another input."""
        sizes = {}
        for value in self.graph.inputs:
            if given.get(value.name) is not None:
                sizes |= zip(value.shape, given[value.name].shape, strict=True)
        value = next(v for v in self.graph.inputs if v.name == name)
        shape = [n if isinstance(n, int) else sizes[n] for n in value.shape]
        return Variable(np.zeros(shape, value.dtype), requires_grad=False)

    def _run(self, given):
        """Return the values of all names of the graph."""
        values: dict[str, Any] = {"": None, **self._constants}
        values |= {n: getattr(self, a) for n, a in self.parameters.items()}
        for value in self.graph.inputs:
            x = given[value.name]
            if x.ndim != len(value.shape) or any(
                isinstance(n, int) and n != m
                for n, m in zip(value.shape, x.shape, strict=True)
            ):
                raise ShapeError(
                    f"{value.name} has shape {x.shape}, the graph takes {value.shape}"
                )
            values[value.name] = as_array(x) if value.dtype.kind in "iu" else x
        for node in self.graph.nodes:
            inputs = [values[name] for name in node.inputs]
            if node.op in KINDS:
                results = self._run_layer(node, *inputs)
            else:
                results = RUN[node.op](node, *inputs)
            results = results if isinstance(results, (list, tuple)) else [results]
            values |= zip(node.outputs, results, strict=False)
        return values

    def _run_layer(self, node, x, W, R, B=None, lengths=None, h=None, c=None, P=None):
        if P is not None:
            raise InterchangeError("LSTM: peepholes are not read")
        names, options = self._layers[id(node)]
        states = [s for s in (h, c)[: 2 if node.op == "LSTM" else 1]]
        outputs, finals = [], []
        for d, cell in enumerate(names):
            weights = [getattr(self, cell[k]) for k in ("W", "U", "b", "b_u")]
            given = [None if s is None else s[d] for s in states]
            is_turned = d == 1 or node.attributes.get("direction") == "reverse"
            source = turned(x, lengths) if is_turned else x
            *final, y = run_cell(node.op, source, given, weights, lengths, options)
            finals.append(final)
            outputs.append(turned(y, lengths) if is_turned else y)
        y = F.stack(outputs, axis=1)
        return [y, *[F.stack(parts, axis=0) for parts in zip(*finals, strict=True)]]


def run_cell(op, x, states, weights, lengths, options):
    """Run one direction of a layer; return final states and outputs."""
    W, U, b, b_u = weights
    h = states[0]
    if op == "LSTM":
        return F.lstm_window(x, h, states[1], W, U, b + b_u, lengths)
    if op == "GRU":
        return F.gru_window(x, h, W, U, b, b_u, lengths, options["reset_after"])
    return F.rnn_window(x, h, W, U, b + b_u, options["activation"], lengths)


def turned(x, lengths):
    """Reverse each sequence of a window in time, up to its own end."""
    if lengths is None:
        return F.flip(x, 0)
    T, B = x.shape[:2]
    steps = np.arange(T)[:, None]
    rows = np.where(steps < lengths, lengths - 1 - steps, steps)
    return x[rows, np.arange(B)]


def _check(graph):
    """Raise unless each node is known and uses what is computed before it."""
    if not 7 <= graph.opset <= 30:
        raise InterchangeError(f"the file has ONNX's opset {graph.opset}, not 7 to 30")
    known = {"", *graph.arrays, *[value.name for value in graph.inputs]}
    several = {"LSTM": 3, "GRU": 2, "RNN": 2, "Split": None}
    unknown = sorted({node.op for node in graph.nodes} - {*RUN, *KINDS})
    if unknown:
        raise InterchangeError(
            f"the file has operations that are not read: {', '.join(unknown)}"
        )
    for node in graph.nodes:
        missing = [name for name in node.inputs if name not in known]
        if missing or not any(node.outputs):
            raise InterchangeError(
                f"the {node.op} {node.outputs} uses {missing}, which nothing computes"
            )
        if len(node.inputs) < (3 if node.op in KINDS else node.op in _NEED_INPUT):
            raise InterchangeError(f"the {node.op} {node.outputs} lacks inputs")
        if known.intersection(node.outputs) - {""}:
            raise InterchangeError(f"the names {node.outputs} are computed twice")
        if node.attributes.get("training_mode") or not node.attributes.get(
            "spatial", 1
        ):
            raise InterchangeError(
                f"{node.op} of training, or of each place, is not read; export the "
                "model in its evaluation mode"
            )
        known.update(node.outputs[: several.get(node.op, 1)])
    missing = [value.name for value in graph.outputs if value.name not in known]
    missing += [n + NEXT for n in graph.notes.get("states", "").split(",") if n]
    missing = [name for name in missing if name not in known]
    if missing or not graph.outputs:
        raise InterchangeError(f"nothing computes the outputs {missing}")


def run_graph(model: OnnxModel, given: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays of all outputs."""
    with no_backprop_mode():
        values = model._run(given)
    return {v.name: np.asarray(as_array(values[v.name])) for v in model.graph.outputs}


# -- The table -----------------------------------------------------------------------


def _integers(x):
    return [int(n) for n in np.asarray(as_array(x)).reshape(-1)]


def _axes(node, given, name="axes"):
    """Return axes from an input or, as in older files, an attribute."""
    return node.attributes.get(name) if given is None else _integers(given)


def _plain(function, of_arrays=None):
    """Make a row of a function; of arrays, such as sizes, arrays are computed."""

    def run(node, *xs):
        if of_arrays is not None and not any(isinstance(x, Variable) for x in xs):
            return of_arrays(*xs)
        return function(*xs)

    return run


def _divide(a, b):
    if a.dtype.kind in "iu":  # towards 0
        return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))
    return a / b


def _dropout(node, x, ratio=None, is_training=None):
    if is_training is not None and as_array(is_training).any():
        raise InterchangeError("Dropout: that of training is not read")
    return x


def _shape(node, x):
    part = slice(node.attributes.get("start", 0), node.attributes.get("end"))
    return np.array(x.shape[part], np.int64)


def _fold(function):
    def run(*xs):
        y = xs[0]
        for x in xs[1:]:
            y = function(y, x)
        return y

    return run


def _reduce(function):
    def run(node, x, axes=None):
        axes = _axes(node, axes)
        axis = None if not axes else tuple(axes)
        if axis is None and node.attributes.get("noop_with_empty_axes"):
            return x
        return function(x, axis=axis, keepdims=bool(node.attributes.get("keepdims", 1)))

    return run


def _reshape(node, x, shape):
    sizes = _integers(shape)
    if not node.attributes.get("allowzero"):
        sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
    return x.reshape(tuple(sizes))


def _slice(node, x, starts=None, ends=None, axes=None, steps=None):
    starts, ends = _axes(node, starts, "starts"), _axes(node, ends, "ends")
    axes = _axes(node, axes) or list(range(len(starts)))
    steps = [1] * len(starts) if steps is None else _integers(steps)
    key = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        n = x.shape[axis]
        start, end = max(start, -n - 1), max(end, -n - 1)
        if step < 0 and end == -n - 1:
            end = None
        key[axis] = slice(start, end, step)
    return x[tuple(key)]


def _squeeze(node, x, axes=None):
    axes = _axes(node, axes)
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else axes
    gone = {i % x.ndim for i in axes}
    if any(x.shape[i] != 1 for i in gone):
        raise ShapeError(f"Squeeze: axes {axes} of shape {x.shape} have not length 1")
    return x.reshape(tuple([n for i, n in enumerate(x.shape) if i not in gone]))


def _unsqueeze(node, x, axes=None):
    axes = _axes(node, axes)
    ndim = x.ndim + len(axes)
    places = {i % ndim for i in axes}
    sizes = iter(x.shape)
    return x.reshape(tuple([1 if i in places else next(sizes) for i in range(ndim)]))


def _gather(node, x, ids):
    axis = node.attributes.get("axis", 0) % x.ndim
    ids = np.asarray(as_array(ids))
    ids = np.where(ids < 0, ids + x.shape[axis], ids)
    if axis == 0 and x.ndim == 2 and isinstance(x, Variable):
        return F.embed_id(ids, x)  # its gradient is sparse
    return x[(slice(None),) * axis + (ids,)]


def _split(node, x, sizes=None):
    axis = node.attributes.get("axis", 0)
    sizes = _axes(node, sizes, "split")
    n = x.shape[axis]
    if sizes is None:
        parts = len(node.outputs)
        size = -(-n // parts)
        sizes = [min(size, n - i * size) for i in range(parts)]
    return list(F.split_axis(x, np.cumsum(sizes)[:-1], axis))


def _concat(node, *xs):
    axis = node.attributes["axis"]
    if any(isinstance(x, Variable) for x in xs):
        return F.concat(xs, axis)
    return np.concatenate(xs, axis)


def _expand(node, x, shape):
    sizes = np.broadcast_shapes(x.shape, tuple(_integers(shape)))
    return (
        np.broadcast_to(x, sizes)
        if isinstance(x, np.ndarray)
        else F.broadcast_to(x, sizes)
    )


def _cast(node, x):
    dtype = dtype_of(node.attributes.get("to", 0))
    return x.astype(dtype)


def _softmax(function):
    def run(node, x):
        if node.opset >= 13:
            return function(x, axis=node.attributes.get("axis", -1))
        # Of all elements from the axis on.
        rows = int(np.prod(x.shape[: node.attributes.get("axis", 1)]))
        return function(x.reshape(rows, -1), axis=1).reshape(x.shape)

    return run


def _gemm(node, a, b, c=None):
    get = node.attributes.get
    a = a.T if get("transA") else a
    y = F.matmul(a, b.T if get("transB") else b) * get("alpha", 1.0)
    return y if c is None else y + c * get("beta", 1.0)


def _layer_normalization(node, x, gamma, beta=None):
    axis = node.attributes.get("axis", -1)
    if axis not in (-1, x.ndim - 1):
        raise InterchangeError("LayerNormalization: of the last axis only is read")
    if beta is None:
        beta = np.zeros(gamma.shape, gamma.dtype)
    return F.layer_normalization(x, gamma, beta, node.attributes.get("epsilon", 1e-5))


def _batch_normalization(node, x, gamma, beta, mean, var):
    eps = node.attributes.get("epsilon", 1e-5)
    return F.fixed_batch_normalization(x, gamma, beta, mean, var, eps)


def _constant(node):
    for name in ("value", "value_float", "value_int", "value_ints", "value_floats"):
        if name in node.attributes:
            value = node.attributes[name]
            kind = np.float32 if "float" in name else np.int64
            return value if name == "value" else np.array(value, kind)
    raise InterchangeError(f"Constant: attributes {list(node.attributes)} are not read")


def _constant_of_shape(node, shape):
    value = node.attributes.get("value", np.zeros(1, np.float32))
    return np.full(_integers(shape), value.reshape(-1)[0], value.dtype)


def _flatten(node, x):
    axis = node.attributes.get("axis", 1)
    return x.reshape((int(np.prod(x.shape[:axis])), -1))


def _clip(node, x, low=None, high=None):
    low = node.attributes.get("min", low)
    high = node.attributes.get("max", high)
    bounds = [None if v is None else float(as_array(v)) for v in (low, high)]
    return F.clip(x, *bounds)


def _transpose(node, x):
    perm = node.attributes.get("perm")
    return x.transpose(tuple(perm) if perm else tuple(range(x.ndim))[::-1])


def _cumsum(node, x, axis):
    if node.attributes.get("exclusive"):
        raise InterchangeError("CumSum: exclusive=1 is not read")
    axis = int(as_array(axis)) % x.ndim
    if node.attributes.get("reverse"):
        return F.flip(F.cumsum(F.flip(x, axis), axis), axis)
    return F.cumsum(x, axis)


def _gelu(node, x):
    return F.gelu(x, node.attributes.get("approximate", b"none") in ("tanh", b"tanh"))


def _reverse_sequence(node, x, lengths):
    # The default axes of the operation are time 0, batch 1.
    axes = node.attributes.get("time_axis", 0), node.attributes.get("batch_axis", 1)
    if axes == (0, 1):
        return turned(x, as_array(lengths))
    swapped = (1, 0, *range(2, x.ndim))
    return turned(x.transpose(swapped), as_array(lengths)).transpose(swapped)


def _compare(function):
    return lambda node, a, b: function(as_array(a), as_array(b))


def _range(node, start, limit, step):
    return np.arange(*[as_array(v).item() for v in (start, limit, step)])


RUN: dict[str, Callable] = {
    "Abs": _plain(F.absolute),
    "Add": _plain(F.add, np.add),
    "And": _compare(np.logical_and),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Cos": _plain(F.cos),
    "CumSum": _cumsum,
    "Div": _plain(F.divide, _divide),
    "Dropout": _dropout,
    "Elu": lambda node, x: F.elu(x, node.attributes.get("alpha", 1.0)),
    "Equal": _compare(np.equal),
    "Erf": _plain(lambda x: normal_cdf(x * 2**0.5) * 2 - 1),
    "Exp": _plain(F.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "Greater": _compare(np.greater),
    "Identity": lambda node, x: x,
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.attributes.get("alpha", 0.01)),
    "Less": _compare(np.less),
    "Log": _plain(F.log),
    "LogSoftmax": _softmax(F.log_softmax),
    "MatMul": _plain(F.matmul),
    "Max": _plain(_fold(F.maximum)),
    "Min": _plain(_fold(F.minimum)),
    "Mul": _plain(F.multiply, np.multiply),
    "Neg": _plain(F.negative, np.negative),
    "Not": lambda node, x: ~as_array(x),
    "PRelu": lambda node, x, slope: F.relu(x) - slope * F.relu(-x),
    "Pow": _plain(F.power),
    "Range": _range,
    "Reciprocal": _plain(lambda x: 1.0 / x),
    "ReduceLogSumExp": _reduce(F.logsumexp),
    "ReduceMax": _reduce(F.max),
    "ReduceMean": _reduce(F.mean),
    "ReduceMin": _reduce(F.min),
    "ReduceSum": _reduce(F.sum),
    "Relu": _plain(F.relu),
    "Reshape": _reshape,
    "ReverseSequence": _reverse_sequence,
    "Selu": _plain(F.selu),
    "Shape": _shape,
    "Sigmoid": _plain(F.sigmoid),
    "Sin": _plain(F.sin),
    "Slice": _slice,
    "Softmax": _softmax(F.softmax),
    "Softplus": _plain(F.softplus),
    "Softsign": _plain(F.softsign),
    "Split": _split,
    "Sqrt": _plain(F.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(F.subtract, np.subtract),
    "Sum": _plain(_fold(F.add)),
    "Tanh": _plain(F.tanh),
    "Tile": lambda node, x, reps: F.tile(x, _integers(reps)),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": lambda node, c, x, y: F.where(as_array(c), x, y),
}
_NEED_INPUT = RUN.keys() - {"Constant"}
