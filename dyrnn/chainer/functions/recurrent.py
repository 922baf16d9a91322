"""Steps of recurrent cells, and stacks of layers over sequences.

Gate inputs of ``lstm`` and ``slstm`` are interleaved: each unit has a, i, f, o side by
side; those of ``tree_lstm`` are in blocks. Each formula stands here once: ``ops`` is a
few functions on arrays, or the package of functions on variables, and then the formula
can be differentiated.
"""

from functools import partial

from dyrnn.chainer import _backend
from dyrnn.chainer._grad import grad
from dyrnn.chainer.configuration import config, force_backprop_mode
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.elementwise import array_sigmoid
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import Variable


class _OnArrays:
    """What the formulas need, on arrays."""

    def __init__(self, xp):
        self.sigmoid = partial(array_sigmoid, xp)
        self.tanh = xp.tanh
        self.stack = xp.stack
        self.concat = xp.concatenate
        self.split_axis = xp.split

    @staticmethod
    def reshape(x, shape):
        return x.reshape(shape)

    @staticmethod
    def separate(x, axis):
        before = (slice(None),) * axis
        return [x[(*before, i)] for i in range(x.shape[axis])]


def _gates(ops, x):
    """Return the gates a, i, f, o of interleaved rows."""
    shape = (len(x), x.shape[1] // 4, 4, *x.shape[2:])
    return ops.separate(ops.reshape(x, shape), 2)


def _extract_gates(x):
    """Return views of the gates of an array."""
    return _gates(_OnArrays(_backend.get_array_module(x)), x)


class _Step(FunctionNode):
    """A step of a cell: the new ``c`` and ``h``."""

    def formula(self, ops, *inputs):
        raise NotImplementedError

    def forward(self, inputs):
        self.retain_inputs(tuple(range(len(inputs))))
        self.retain_outputs((0,))
        return self.formula(_OnArrays(_backend.get_array_module(*inputs)), *inputs)

    def backward(self, indexes, gys):
        inputs, outputs = self.get_retained_inputs(), self.get_retained_outputs()
        found = self.gradients()(*inputs, *outputs, *gys)
        return tuple([found[i] for i in indexes])


class _Gradients(FunctionNode):
    """The gradients of a step from its inputs, ``c``, ``gc`` and ``gh``."""

    def __call__(self, *inputs):
        *inputs, c, gc, gh = inputs
        rows = len(inputs[1])
        gc = _zeros(c, len(c)) if gc is None else gc
        gh = _zeros(c, rows) if gh is None else gh
        return type(self)().apply((*inputs, c, gc, gh))

    def formula(self, ops, *inputs):
        raise NotImplementedError

    def forward(self, inputs):
        self.retain_inputs(tuple(range(len(inputs))))
        ops = _OnArrays(_backend.get_array_module(*inputs))
        found = zip(self.formula(ops, *inputs), inputs, strict=False)
        return tuple([g.astype(x.dtype, copy=False) for g, x in found])

    def backward(self, indexes, gys):
        return _through_functions(self, indexes, gys)


def _zeros(c, rows):
    """Return the gradient of rows of ``c`` that nothing depends on."""
    xp = _backend.get_array_module(c)
    zeros = xp.zeros((rows, *c.shape[1:]), c.dtype)
    return Variable(zeros, requires_grad=False)


def _through_functions(node, indexes, gys):
    """Return the gradients of a node's formula, composed of functions once more."""
    given = node.get_retained_inputs()
    # Without the ways from one input to another; their history stays behind them.
    if config.enable_backprop:
        inputs = [x + 0 for x in given]
    else:
        inputs = [Variable(x.array) for x in given]
    with force_backprop_mode():
        outputs = node.formula(functions(), *inputs)
    pairs = [(y, gy) for y, gy in zip(outputs, gys, strict=True) if gy is not None]
    found = grad(
        [y for y, _ in pairs],
        [inputs[i] for i in indexes],
        [gy for _, gy in pairs],
        enable_double_backprop=bool(config.enable_backprop),
    )
    return tuple(found)


class LSTMGrad(_Gradients):
    """The gradients of an LSTM step."""

    def formula(self, ops, c_prev, x, c, gc, gh):
        batch = len(x)
        a, i, f, o = _gates(ops, x)
        a, i, f, o = ops.tanh(a), ops.sigmoid(i), ops.sigmoid(f), ops.sigmoid(o)
        co = ops.tanh(c[:batch])
        gc_all = gh * o * (1 - co * co) + gc[:batch]
        gates = (
            gc_all * i * (1 - a * a),
            gc_all * a * i * (1 - i),
            gc_all * c_prev[:batch] * f * (1 - f),
            gh * co * o * (1 - o),
        )
        gx = ops.reshape(ops.stack(gates, 2), x.shape)
        return ops.concat([gc_all * f, gc[batch:]], axis=0), gx


class LSTM(_Step):
    """One step with forget gates."""

    gradients = LSTMGrad

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("c", "x"))
        c, x = in_types
        type_check.expect(
            c.dtype.kind == "f",
            x.dtype == c.dtype,
            c.ndim >= 2,
            x.ndim >= 2,
            c.ndim == x.ndim,
            x.shape[0] <= c.shape[0],
            x.shape[1] == 4 * c.shape[1],
        )
        for i in range(2, type_check.eval(c.ndim)):
            type_check.expect(x.shape[i] == c.shape[i])

    def formula(self, ops, c_prev, x):
        batch = len(x)
        a, i, f, o = _gates(ops, x)
        c = ops.tanh(a) * ops.sigmoid(i) + ops.sigmoid(f) * c_prev[:batch]
        h = ops.sigmoid(o) * ops.tanh(c)
        return ops.concat([c, c_prev[batch:]], axis=0), h


def lstm(c_prev, x):
    """One step with forget gates; return the new ``c`` and ``h``."""
    return LSTM().apply((c_prev, x))


class SLSTMGrad(_Gradients):
    """The gradients of a step that merges two cells."""

    def formula(self, ops, c_prev1, c_prev2, x1, x2, c, gc, gh):
        *gates1, o1 = _gates(ops, x1)
        *gates2, o2 = _gates(ops, x2)
        o, co = ops.sigmoid(o1 + o2), ops.tanh(c)
        gc_all = gh * o * (1 - co * co) + gc
        go = gh * co * o * (1 - o)
        found = []
        for c_prev, x, (a, i, f) in ((c_prev1, x1, gates1), (c_prev2, x2, gates2)):
            a, i, f = ops.tanh(a), ops.sigmoid(i), ops.sigmoid(f)
            gates = (
                gc_all * i * (1 - a * a),
                gc_all * a * i * (1 - i),
                gc_all * c_prev * f * (1 - f),
                go,
            )
            found.append((gc_all * f, ops.reshape(ops.stack(gates, 2), x.shape)))
        (gc_prev1, gx1), (gc_prev2, gx2) = found
        return gc_prev1, gc_prev2, gx1, gx2


class SLSTM(_Step):
    """One step that merges two cells."""

    gradients = SLSTMGrad

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("c_prev1", "c_prev2", "x1", "x2"))
        c1, c2, x1, x2 = in_types
        type_check.expect(
            c1.dtype.kind == "f",
            c2.dtype == c1.dtype,
            x1.dtype == c1.dtype,
            x2.dtype == c1.dtype,
            c1.ndim >= 2,
            c1.ndim == c2.ndim,
            c1.ndim == x1.ndim,
            c1.ndim == x2.ndim,
            c1.shape[0] == x1.shape[0],
            c1.shape[0] == c2.shape[0],
            c1.shape[0] == x2.shape[0],
            x1.shape[1] == 4 * c1.shape[1],
            x2.shape[1] == 4 * c2.shape[1],
        )
        for i in range(2, type_check.eval(c1.ndim)):
            type_check.expect(x1.shape[i] == c1.shape[i], x2.shape[i] == c2.shape[i])

    def formula(self, ops, c_prev1, c_prev2, x1, x2):
        a1, i1, f1, o1 = _gates(ops, x1)
        a2, i2, f2, o2 = _gates(ops, x2)
        c = ops.tanh(a1) * ops.sigmoid(i1) + ops.tanh(a2) * ops.sigmoid(i2)
        c = c + ops.sigmoid(f1) * c_prev1 + ops.sigmoid(f2) * c_prev2
        return c, ops.sigmoid(o1 + o2) * ops.tanh(c)


def slstm(c_prev1, c_prev2, x1, x2):
    """One step that merges two cells; return the new ``c`` and ``h``."""
    return SLSTM().apply((c_prev1, c_prev2, x1, x2))


class TreeLSTM(_Step):
    """One step of a tree LSTM."""

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() >= 2)
        cs, x = in_types[:-1], in_types[-1]
        type_check.expect(x.ndim >= 2)
        for c in cs:
            type_check.expect(
                c.dtype.kind == "f",
                x.dtype == c.dtype,
                c.ndim >= 2,
                c.ndim == x.ndim,
                x.shape[0] == c.shape[0],
                x.shape[1] == (3 + len(cs)) * c.shape[1],
            )
            for i in range(2, type_check.eval(c.ndim)):
                type_check.expect(x.shape[i] == c.shape[i])

    def formula(self, ops, *inputs):
        *cs, x = inputs
        a, i, o, *fs = ops.split_axis(x, 3 + len(cs), axis=1)
        c = ops.tanh(a) * ops.sigmoid(i)
        for f, c_prev in zip(fs, cs, strict=True):
            c = c + ops.sigmoid(f) * c_prev
        return c, ops.sigmoid(o) * ops.tanh(c)

    def backward(self, indexes, gys):
        return _through_functions(self, indexes, gys)


def tree_lstm(*inputs):
    """One step of a tree LSTM: children's cells, then the gate inputs."""
    return TreeLSTM().apply(inputs)


# Stacks over sequences


def _check_sizes(xs, ws):
    x_in, w_in = xs[0].shape[1], ws[0][0].shape[1]
    if x_in != w_in:
        raise ValueError(
            "Inconsistent input size in input values and weight parameters: "
            f"{x_in} != {w_in}"
        )


def _gate_inputs(x, h, w, b, order):
    """Return the products of both with stacked weights."""
    F = functions()
    n = len(w) // 2

    def stacked(parts, offset):
        return F.concat([parts[offset + k] for k in order], axis=0)

    return (
        F.linear(x, stacked(w, 0), stacked(b, 0)),
        F.linear(h, stacked(w, n), stacked(b, n)),
    )


def _lstm_step(x, h, c, w, b):
    F = functions()
    parts = _gate_inputs(x, h, w, b, (2, 0, 1, 3))
    shape = (len(x), 4, h.shape[1])
    gates = F.transpose(F.reshape(parts[0] + parts[1], shape), (0, 2, 1))
    c, h = lstm(c, F.reshape(gates, (len(x), -1)))
    return h, c


def _gru_step(x, h, c, w, b):
    F = functions()
    of_x, of_h = _gate_inputs(x, h, w, b, (0, 1, 2))
    (rx, zx, nx), (rh, zh, nh) = F.split_axis(of_x, 3, 1), F.split_axis(of_h, 3, 1)
    r, z = F.sigmoid(rx + rh), F.sigmoid(zx + zh)
    n = F.tanh(nx + r * nh)
    return (1 - z) * n + z * h, None


def _rnn_step(activation):
    def step(x, h, c, w, b):
        F = functions()
        of_x, of_h = _gate_inputs(x, h, w, b, (0,))
        return getattr(F, activation)(of_x + of_h), None

    return step


def _one_direction(step, xs, h, c, w, b):
    F = functions()
    outputs = []
    for x in xs:
        n = len(x)
        h_rest, c_rest = None, None
        if len(h) > n:
            h, h_rest = F.split_axis(h, [n], axis=0)
            if c is not None:
                c, c_rest = F.split_axis(c, [n], axis=0)
        h, c = step(x, h, c, w, b)
        outputs.append(h)
        if h_rest is not None:
            h = F.concat([h, h_rest], axis=0)
            if c is not None:
                c = F.concat([c, c_rest], axis=0)
    return h, c, outputs


def _stack_of_layers(
    step, n_layers, dropout, hx, cx, ws, bs, xs, directions, train=None, use_cudnn=True
):
    """Return the last states and all outputs; the last two options are version 1's."""
    F = functions()
    hx = F.separate(hx)
    cx = [None] * len(hx) if cx is None else F.separate(cx)
    hy, cy = [], []
    for layer in range(n_layers):
        outputs = []
        for direction in range(directions):
            k = layer * directions + direction
            inputs = xs if layer == 0 else [F.dropout(x, dropout, train) for x in xs]
            if direction:
                inputs = inputs[::-1]
            h, c, ys = _one_direction(step, inputs, hx[k], cx[k], ws[k], bs[k])
            hy.append(h)
            cy.append(c)
            outputs.append(ys[::-1] if direction else ys)
        xs = outputs[0]
        if directions == 2:
            xs = [F.concat(pair, axis=1) for pair in zip(*outputs, strict=True)]
    cells = None if cy[0] is None else F.stack(cy)
    return F.stack(hy), cells, tuple(xs)


def n_step_lstm_base(
    n_layers, dropout_ratio, hx, cx, ws, bs, xs, use_bi_direction, **kwargs
):
    """Layers of LSTMs over sequences, in one direction or both."""
    _check_sizes(xs, ws)
    args = (n_layers, dropout_ratio, hx, cx, ws, bs, xs, 1 + bool(use_bi_direction))
    return _stack_of_layers(_lstm_step, *args, **kwargs)


def n_step_gru_base(
    n_layers, dropout_ratio, hx, ws, bs, xs, use_bi_direction, **kwargs
):
    """Layers of GRUs over sequences, in one direction or both."""
    _check_sizes(xs, ws)
    args = (n_layers, dropout_ratio, hx, None, ws, bs, xs, 1 + bool(use_bi_direction))
    hy, _, ys = _stack_of_layers(_gru_step, *args, **kwargs)
    return hy, ys


def n_step_rnn_base(
    n_layers, dropout_ratio, hx, ws, bs, xs, activation, use_bi_direction, **kwargs
):
    """Layers of simple cells over sequences, in one direction or both."""
    if activation not in ("tanh", "relu"):
        raise ValueError(
            f'Invalid activation: "{activation}". Please select from [tanh,relu]'
        )
    _check_sizes(xs, ws)
    args = (n_layers, dropout_ratio, hx, None, ws, bs, xs, 1 + bool(use_bi_direction))
    hy, _, ys = _stack_of_layers(_rnn_step(activation), *args, **kwargs)
    return hy, ys


def n_step_lstm(n_layers, dropout_ratio, hx, cx, ws, bs, xs, **kwargs):
    """Layers of LSTMs over sequences; return the last ``h`` and ``c``, and all ``h``.

    ``xs`` has the rows of each time step, longest sequences first.
    """
    args = (n_layers, dropout_ratio, hx, cx, ws, bs, xs)
    return n_step_lstm_base(*args, False, **kwargs)


def n_step_bilstm(n_layers, dropout_ratio, hx, cx, ws, bs, xs, **kwargs):
    """Layers of LSTMs over sequences and their reverses."""
    args = (n_layers, dropout_ratio, hx, cx, ws, bs, xs)
    return n_step_lstm_base(*args, True, **kwargs)


def n_step_gru(n_layers, dropout_ratio, hx, ws, bs, xs, **kwargs):
    """Layers of GRUs over sequences; return the last ``h``, and all."""
    args = (n_layers, dropout_ratio, hx, ws, bs, xs)
    return n_step_gru_base(*args, False, **kwargs)


def n_step_bigru(n_layers, dropout_ratio, hx, ws, bs, xs, **kwargs):
    """Layers of GRUs over sequences and their reverses."""
    args = (n_layers, dropout_ratio, hx, ws, bs, xs)
    return n_step_gru_base(*args, True, **kwargs)


def n_step_rnn(n_layers, dropout_ratio, hx, ws, bs, xs, activation="tanh", **kwargs):
    """Layers of simple cells over sequences; return the last ``h``, and all."""
    args = (n_layers, dropout_ratio, hx, ws, bs, xs, activation)
    return n_step_rnn_base(*args, False, **kwargs)


def n_step_birnn(n_layers, dropout_ratio, hx, ws, bs, xs, activation="tanh", **kwargs):
    """Layers of simple cells over sequences and their reverses."""
    args = (n_layers, dropout_ratio, hx, ws, bs, xs, activation)
    return n_step_rnn_base(*args, True, **kwargs)
