"""What each operation of :mod:`dyrnn.functions` is in ONNX: the table ``LOWER``.

A row takes the builder and one operation as two runs recorded it, and returns the names
of its results. The builder knows the arrays of both runs by where they lie in memory.
"""

from collections.abc import Callable

import numpy as np

from dyrnn.functions import (
    activation,
    arithmetic,
    connection,
    indexing,
    joining,
    math,
    normalization,
    products,
    recurrent_steps,
    recurrent_windows,
    reduction,
    shape,
)
from dyrnn.interchange.builder import Builder, Pair, Record, key_of
from dyrnn.interchange.layers import describe
from dyrnn.interchange.recurrent_layout import onnx_cells
from dyrnn.links.recurrent_stacks import _NStep

_ENDS = 2**63 - 1  # of a slice that goes on to the end


# -- The table -----------------------------------------------------------------------

_UNARY: dict[type, str] = {
    activation.Tanh: "Tanh",
    activation.Sigmoid: "Sigmoid",
    activation.ReLU: "Relu",
    arithmetic.Negative: "Neg",
    arithmetic.Absolute: "Abs",
    math.Exp: "Exp",
    math.Log: "Log",
    math.Sqrt: "Sqrt",
    math.Sin: "Sin",
    math.Cos: "Cos",
}
_BINARY: dict[type, str] = {
    arithmetic.Add: "Add",
    arithmetic.Subtract: "Sub",
    arithmetic.Multiply: "Mul",
    arithmetic.Divide: "Div",
    arithmetic.Power: "Pow",
    arithmetic.Maximum: "Max",
    arithmetic.Minimum: "Min",
}
LOWER: dict[type, Callable] = {}


def _rule(*kinds):
    def enter(function):
        for kind in kinds:
            LOWER[kind] = function
        return function

    return enter


def _dtype(operand):
    return getattr(operand, "dtype", None)


@_rule(*_UNARY)
def _unary(b, pair):
    return b.op(_UNARY[type(pair.node)], pair.name(0))


@_rule(*_BINARY)
def _binary(b, pair):
    dtype = pair.one.outputs[0].dtype
    names = [
        name if _dtype(a) is None else b.cast(name, a.dtype, dtype)
        for name, a in zip(pair.names(), pair.one.arrays, strict=True)
    ]
    return b.op(_BINARY[type(pair.node)], *names)


@_rule(activation.NormalCdf)
def _normal_cdf(b, pair):
    half, root = (b.constant(np.float32(number)) for number in (0.5, 0.5**0.5))
    erf = b.op("Erf", b.op("Mul", pair.name(0), root))
    return b.op("Add", b.op("Mul", erf, half), half)


@_rule(reduction.CumSum)
def _cumsum(b, pair):
    axis = b.axis(pair.node.axis, pair.one.arrays[0].ndim)
    return b.op("CumSum", pair.name(0), b.constant(np.array(axis)))


@_rule(math.Square)
def _square(b, pair):
    x = pair.name(0)
    return b.op("Mul", x, x)


@_rule(activation.LeakyReLU)
def _leaky_relu(b, pair):
    return b.op("LeakyRelu", pair.name(0), alpha=float(pair.node.slope))


@_rule(activation.ELU)
def _elu(b, pair):
    return b.op("Elu", pair.name(0), alpha=float(pair.node.alpha))


@_rule(activation.Softplus)
def _softplus(b, pair):
    beta, x = b.constant(np.float32(pair.node.beta)), pair.name(0)
    return b.op("Div", b.op("Softplus", b.op("Mul", x, beta)), beta)


@_rule(activation.Softmax, activation.LogSoftmax)
def _softmax(b, pair):
    axis = b.axis(pair.node.axis, pair.one.arrays[0].ndim)
    return b.op(type(pair.node).__name__, pair.name(0), axis=axis)


@_rule(math.Clip)
def _clip(b, pair):
    low, high = pair.node.low, pair.node.high
    x = pair.name(0)
    if low is not None:
        x = b.op("Max", x, b.constant(np.float32(low)))
    return x if high is None else b.op("Min", x, b.constant(np.float32(high)))


@_rule(connection.Linear)
def _linear(b, pair):
    W = pair.constant(1)
    name = b.weights.get(key_of(W), "")
    y = b.op("MatMul", pair.name(0), b.constant(W.T, name and f"{name}.T"))
    return y if len(pair.one.arrays) == 2 else b.op("Add", y, pair.name(2))


@_rule(connection.EmbedID)
def _embed_id(b, pair):
    ids, W = pair.names()
    label = pair.node.ignore_label
    if label is None:
        return b.op("Gather", W, ids, axis=0)
    dtype = b.single(pair.one.arrays[0].dtype)
    is_ignored = b.op("Equal", ids, b.constant(np.asarray(label, dtype)))
    ids = b.op("Where", is_ignored, b.constant(np.asarray(0, dtype)), ids)
    rows = b.op("Gather", W, ids, axis=0)
    is_ignored = b.unsqueeze(is_ignored, -1)
    return b.op("Where", is_ignored, b.constant(np.float32(0)), rows)


@_rule(products.MatMul)
def _matmul(b, pair):
    return b.op("MatMul", *pair.names())


@_rule(normalization.Standardize)
def _standardize(b, pair):
    x, axis = pair.name(0), pair.node.axis
    axes = [axis] if isinstance(axis, int) else list(axis)
    centred = b.op("Sub", x, b.op("ReduceMean", x, axes=axes, keepdims=1))
    square = b.op("Mul", centred, centred)
    variance = b.op("ReduceMean", square, axes=axes, keepdims=1)
    wide = b.op("Add", variance, b.constant(np.float32(pair.node.eps)))
    return b.op("Div", centred, b.op("Sqrt", wide))


@_rule(shape.Reshape)
def _reshape(b, pair):
    one, two = pair.one.outputs[0].shape, pair.two.outputs[0].shape
    changing = [i for i, (m, n) in enumerate(zip(one, two, strict=True)) if m != n]
    if len(changing) == 1 and 0 not in one:
        vector = b.constant(
            np.array([-1 if i in changing else n for i, n in enumerate(one)], np.int64)
        )
    else:
        vector = b.vector(pair, one, two)
    return b.op("Reshape", pair.name(0), vector)


@_rule(shape.Transpose)
def _transpose(b, pair):
    ndim, axes = pair.one.arrays[0].ndim, pair.node.axes
    axes = range(ndim)[::-1] if axes is None else [i % ndim for i in axes]
    return b.op("Transpose", pair.name(0), perm=list(axes)) if ndim else pair.name(0)


@_rule(shape.BroadcastTo)
def _broadcast_to(b, pair):
    shapes = pair.one.outputs[0].shape, pair.two.outputs[0].shape
    return b.op("Expand", pair.name(0), b.vector(pair, *shapes))


@_rule(shape.Cast, shape.Copy)
def _cast(b, pair):
    return b.cast(pair.name(0), pair.one.arrays[0].dtype, pair.one.outputs[0].dtype)


@_rule(joining.Concat)
def _concat(b, pair):
    names = pair.names()
    axis = b.axis(pair.node.axis, pair.one.arrays[0].ndim)
    return names[0] if len(names) == 1 else b.op("Concat", *names, axis=axis)


@_rule(joining.Stack)
def _stack_arrays(b, pair):
    axis = pair.node.axis
    names = [b.unsqueeze(name, axis) for name in pair.names()]
    return names[0] if len(names) == 1 else b.op("Concat", *names, axis=axis)


@_rule(joining.SplitAxis, joining.Separate)
def _split(b, pair):
    ndim = pair.one.arrays[0].ndim
    axis = pair.node.axis % ndim
    x, parts, ends = pair.name(0), [], [0, 0]
    is_split = isinstance(pair.node, joining.SplitAxis)
    for one, two in zip(pair.one.outputs, pair.two.outputs, strict=True):
        starts = list(ends)
        sizes = (one.shape[axis], two.shape[axis]) if is_split else (1, 1)
        ends = [n + size for n, size in zip(starts, sizes, strict=True)]
        bounds = b.size(pair, *starts), b.size(pair, *ends)
        where = b.constant(np.array([b.axis(axis, ndim)]))
        part = b.op("Slice", x, *bounds, where)
        parts.append(part if is_split else b.squeeze(part, axis))
    return parts


@_rule(indexing.GetItem)
def _get_item(b, pair):
    one, two = (_whole(node.key, pair.one.arrays[0].ndim) for node in _nodes(pair))
    if len(one) != len(two):
        raise pair.refusal("has another kind of index in another run")
    x, axis = pair.name(0), 0
    starts, ends, axes, steps, picks, new = [], [], [], [], [], []
    n_arrays = sum(isinstance(k, np.ndarray) for k in one)
    n_others = sum(isinstance(k, (int, np.integer)) for k in one)
    if n_arrays > 1 or (n_arrays and n_others):
        raise pair.refusal("has several index arrays, which ONNX has not")
    for place, (k, m) in enumerate(zip(one, two, strict=True)):
        if k is None:
            new.append(
                place - sum(isinstance(p, (int, np.integer)) for p in one[:place])
            )
            continue
        if isinstance(k, slice):
            if (k, m) != (slice(None), slice(None)):
                step = k.step or 1
                first, last = (0, _ENDS) if step > 0 else (_ENDS, -_ENDS - 1)
                starts.append(_bound(b, pair, k.start, m.start, first))
                ends.append(_bound(b, pair, k.stop, m.stop, last))
                axes.append(axis)
                steps.append(step)
        elif isinstance(k, np.ndarray):
            if k.dtype.kind not in "iu":
                raise pair.refusal("has a mask as an index, which ONNX has not")
            picks.append((axis, b.operand(pair, k, m, k.dtype)))
        else:
            picks.append((axis, b.number(pair, int(k), int(m))))
        axis += 1
    if axes:
        joined = [
            v[0] if len(v) == 1 else b.op("Concat", *v, axis=0) for v in (starts, ends)
        ]
        x = b.op(
            "Slice", x, *joined, b.constant(np.array(axes)), b.constant(np.array(steps))
        )
    for axis, index in reversed(picks):
        x = b.op("Gather", x, index, axis=axis)
    for place in new:
        x = b.unsqueeze(x, place)
    return x


def _nodes(pair):
    return pair.node, pair.other


def _whole(key, ndim):
    """Return an index with an entry for each axis."""
    key = key if isinstance(key, tuple) else (key,)
    key = tuple([getattr(k, "array", k) for k in key])
    n = sum(k is not None and k is not Ellipsis for k in key)
    place = next((i for i, k in enumerate(key) if k is Ellipsis), len(key))
    return key[:place] + (slice(None),) * (ndim - n) + key[place + 1 :]


def _bound(b, pair, one, two, default):
    if one is None or two is None:
        return b.constant(np.array([default], np.int64))
    return b.size(pair, int(one), int(two))


@_rule(indexing.Where)
def _where(b, pair):
    dtype = pair.one.outputs[0].dtype
    condition, x, y = pair.names()
    kinds = [_dtype(a) or dtype for a in pair.one.arrays[1:]]
    return b.op(
        "Where", condition, b.cast(x, kinds[0], dtype), b.cast(y, kinds[1], dtype)
    )


@_rule(reduction.Sum, reduction.Max, reduction.Min, reduction.LogSumExp)
def _reduce(b, pair):
    node, ndim = pair.node, pair.one.arrays[0].ndim
    axes = range(ndim) if node.axis is None else np.atleast_1d(node.axis)
    axes = [int(i) % ndim for i in axes]
    kind = f"Reduce{type(node).__name__}"
    keep = int(bool(node.keepdims))
    if kind == "ReduceSum":
        return b.op(kind, pair.name(0), b.constant(np.array(axes)), keepdims=keep)
    return b.op(kind, pair.name(0), axes=axes, keepdims=keep)


# Recurrent layers


def _lstm_gates(b, z, c, H):
    i, f, g, o = b.blocks(z, 4, H, 1)
    kept = b.op("Mul", b.op("Sigmoid", f), c)
    c = b.op("Add", kept, b.op("Mul", b.op("Sigmoid", i), b.op("Tanh", g)))
    return [c, b.op("Mul", b.op("Sigmoid", o), b.op("Tanh", c))]


@_rule(recurrent_steps.LSTM)
def _lstm(b, pair):
    c, z = pair.names()
    return _lstm_gates(b, z, c, pair.one.arrays[0].shape[1])


@_rule(recurrent_steps.LSTMStep)
def _lstm_step(b, pair):
    x, h, c, _ = pair.names()
    U = pair.constant(3)
    name = b.weights.get(key_of(U), "")
    a = b.op("MatMul", h, b.constant(U.T, name and f"{name}.T"))
    return _lstm_gates(b, b.op("Add", x, a), c, U.shape[1])


@_rule(recurrent_steps.GRU)
def _gru(b, pair):
    x, h, a = pair.names()
    H = pair.one.arrays[1].shape[1]
    x_r, x_z, x_n = b.blocks(x, 3, H, 1)
    a_r, a_z, a_n = b.blocks(a, 3, H, 1)
    r = b.op("Sigmoid", b.op("Add", x_r, a_r))
    z = b.op("Sigmoid", b.op("Add", x_z, a_z))
    n = b.op("Tanh", b.op("Add", x_n, b.op("Mul", r, a_n)))
    # (1 - z) * n + z * h
    kept = b.op("Mul", z, h)
    return b.op("Add", b.op("Mul", b.op("Sub", b.constant(np.float32(1)), z), n), kept)


@_rule(recurrent_windows.Turn)
def _turn(b, pair):
    lengths = pair.node.lengths
    name = b.operand(pair, lengths, pair.other.lengths, lengths.dtype)
    name = b.cast(name, lengths.dtype, np.int64)
    return b.op("ReverseSequence", pair.name(0), name, time_axis=0, batch_axis=1)


def _layer(b, kind, x, cells, states, lengths, stem="", **options):
    """Add an LSTM, a GRU or an RNN; return Y (T, D, B, H) and the final states."""
    op, arrays, attributes = onnx_cells(kind, cells, **options)
    names = [b.constant(a, stem and f"{stem}.{k}") for k, a in arrays.items()]
    return b.op(op, x, *names, lengths, *states, n=1 + len(states), **attributes)


@_rule(
    recurrent_windows.LSTMWindow,
    recurrent_windows.GRUWindow,
    recurrent_windows.RNNWindow,
)
def _window(b, pair):
    node = pair.node
    kind, n = node.name.partition("_")[0], node.n_states
    keys = ("W", "U", "b", "b_u")
    weights = [pair.constant(i) for i in range(1 + n, len(pair.one.arrays))]
    states = [
        "" if pair.is_zero(1 + i) else b.unsqueeze(pair.name(1 + i), 0)
        for i in range(n)
    ]
    lengths = ""
    if node.lengths is not None:
        lengths = b.operand(pair, node.lengths, pair.other.lengths, np.int32)
        lengths = b.cast(lengths, node.lengths.dtype, np.int32)
    options = {
        name: getattr(node, name)
        for name in ("reset_after", "activation")
        if hasattr(node, name)
    }
    stem = b.weights.get(key_of(weights[0]), "").rpartition("/")[0]
    cells = [dict(zip(keys, weights, strict=False))]
    y, *finals = _layer(
        b, kind, pair.name(0), cells, states, lengths, stem.removesuffix("/upward"),
        **options,
    )  # fmt: skip
    return [*(b.squeeze(final, 0) for final in finals), b.squeeze(y, 1)]


def _stack(b, pair):
    """Add the layers of a stack over lists of sequences."""
    link = pair.node
    n, D = link.n_states, link.directions
    x = b.find(pair.one.arrays[n], pair.two.arrays[n])
    if len(pair.one.arrays) != n + 1 or x not in b.ragged:
        raise pair.refusal("takes another list of sequences than the model's argument")
    states = ["" if pair.is_zero(i) else pair.name(i) for i in range(n)]
    path = next(p for p, k in b.model.namedlinks() if k is link).strip("/")
    finals: list[list] = [[] for _ in range(n)]
    for layer in describe(link):
        k = layer.index
        given = [state and b.part(state, k * D, (k + 1) * D, 0) for state in states]
        y, *after = _layer(
            b, layer.kind, x, layer.cells, given, "lengths", f"{path}/{k}".strip("/"),
            **layer.options,
        )  # fmt: skip
        for parts, final in zip(finals, after, strict=True):
            parts.append(final)
        if D == 1:
            x = b.squeeze(y, 1)
        else:
            y = b.op("Transpose", y, perm=[0, 2, 1, 3])
            shape = np.array([0, 0, D * link.out_size])
            x = b.op("Reshape", y, b.constant(shape))
    joined = [p[0] if len(p) == 1 else b.op("Concat", *p, axis=0) for p in finals]
    return [*joined, x]


# -- Recording -----------------------------------------------------------------------


def record(b: Builder, one: Record, two: Record) -> None:
    """Add an operation, unless all it works on is constant."""
    pair = Pair(b, one, two)
    if type(one.node) is not type(two.node):
        raise pair.refusal(
            f"is a {type(two.node).__name__} in another run: the model decides by "
            "values or sizes what to compute"
        )
    kind = type(one.node)
    is_stack = isinstance(one.node, _NStep)
    found = [b.find(*xs) for xs in zip(one.arrays, two.arrays, strict=True)]
    keys = getattr(one.node, "key", None), getattr(two.node, "key", None)
    found += [n for n in _in_key(b, *keys) if n]
    lengths = getattr(one.node, "lengths", None)
    if not is_stack and lengths is not None:
        found.append(b.find(lengths, two.node.lengths))
    if not any(found):
        return
    lower = _stack if is_stack else LOWER.get(kind)
    if lower is None:
        raise pair.refusal("has no counterpart among the operations of ONNX here")
    is_ragged = any(name in b.ragged for name in found if name)
    if is_ragged and not is_stack:
        results = _row_by_row(b, pair, kind, lower, found)
    else:
        results = lower(b, pair)
    results = results if isinstance(results, list) else [results]
    n_states = one.node.n_states if is_stack else 0
    for i, name in enumerate(results):
        b.known[key_of(one.outputs[i]), key_of(two.outputs[i])] = name
        if is_ragged and i >= n_states:
            b.ragged.add(name)


def _in_key(b, one, two):
    if not isinstance(one, tuple):
        one, two = (one,), (two,)
    return [b.find(*keys) for keys in zip(one, two, strict=False)]


def _row_by_row(b, pair, kind, lower, found):
    """Add what works row by row; the batch's axis follows that of time."""
    node, arrays = pair.node, pair.one.arrays
    last = arrays[0].ndim - 1 if isinstance(arrays[0], np.ndarray) else 0
    if kind in (joining.Concat, joining.SplitAxis):
        n = len(arrays) if kind is joining.Concat else len(pair.one.outputs)
        if node.axis == 0 and n == 1:
            return [found[0]]
        is_fine = node.axis == last
    elif kind in (activation.Softmax, activation.LogSoftmax):
        is_fine = node.axis in (-1, last)
    elif kind is normalization.Standardize:
        is_fine = node.axis == -1
    elif kind in _BINARY:
        is_fine = all(
            name in b.ragged or not isinstance(a, np.ndarray) or a.ndim < 2
            for name, a in zip(found, arrays, strict=False)
        )
    else:
        is_fine = kind in (*_UNARY, connection.Linear, connection.EmbedID)
    if not is_fine:
        raise pair.refusal(
            "works on a list of sequences other than row by row; such a model can "
            "be exported with windows (T, B, ...) and lengths"
        )
    b.shift = 1  # of axes, see `axis`
    try:
        return lower(b, pair)
    finally:
        b.shift = 0
