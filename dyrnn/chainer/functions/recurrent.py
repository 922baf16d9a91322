"""Steps of recurrent cells, and stacks of layers over sequences.

Gate inputs of ``lstm`` and ``slstm`` are interleaved: each unit has a, i, f, o side by
side; those of ``tree_lstm`` are in blocks.
"""

from dyrnn.chainer import _backend
from dyrnn.chainer._grad import grad
from dyrnn.chainer.configuration import config, force_backprop_mode
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.utils import argument, type_check
from dyrnn.chainer.variable import Variable


def _extract_gates(x):
    """Return views of the gates a, i, f, o of interleaved rows."""
    r = x.reshape((len(x), x.shape[1] // 4, 4, *x.shape[2:]))
    return [r[:, :, i] for i in range(4)]


def _interleaved(xp, gates, shape):
    return xp.stack(gates, 2).reshape(shape)


def _sigmoid(x):
    half = x.dtype.type(0.5)
    return _backend.get_array_module(x).tanh(x * half) * half + half


class LSTM(FunctionNode):
    """One step with forget gates."""

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

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        self.retain_outputs((0,))
        c_prev, x = inputs
        xp = _backend.get_array_module(x)
        a, i, f, o = _extract_gates(x)
        batch = len(x)
        c = xp.tanh(a) * _sigmoid(i) + _sigmoid(f) * c_prev[:batch]
        h = _sigmoid(o) * xp.tanh(c)
        return xp.concatenate([c, c_prev[batch:]], axis=0), h

    def backward(self, indexes, gys):
        c_prev, x = self.get_retained_inputs()
        (c,) = self.get_retained_outputs()
        inputs = (c_prev, x, c, *gys)
        found = LSTMGrad().apply(_filled(inputs, c_prev, x))
        return tuple([found[i] for i in indexes])


def _filled(inputs, c_prev, x):
    """Return zeros in the places of gradients that are not there."""
    c_prev, x, c, gc, gh = inputs
    if gc is None:
        gc = Variable(c_prev.xp.zeros_like(c_prev.array), requires_grad=False)
    if gh is None:
        shape = (len(x), *c_prev.shape[1:])
        gh = Variable(x.xp.zeros(shape, x.dtype), requires_grad=False)
    return c_prev, x, c, gc, gh


class LSTMGrad(FunctionNode):
    """The gradients of an LSTM step; its own are made of functions."""

    def forward(self, inputs):
        self.retain_inputs((0, 1, 2, 3, 4))
        c_prev, x, c, gc, gh = inputs
        xp = _backend.get_array_module(x)
        batch = len(x)
        a, i, f, o = _extract_gates(x)
        a, i, f, o = xp.tanh(a), _sigmoid(i), _sigmoid(f), _sigmoid(o)
        co = xp.tanh(c[:batch])
        gc_all = gh * o * (1 - co * co) + gc[:batch]
        gates = (
            gc_all * i * (1 - a * a),
            gc_all * a * i * (1 - i),
            gc_all * c_prev[:batch] * f * (1 - f),
            gh * co * o * (1 - o),
        )
        gx = _interleaved(xp, gates, x.shape).astype(x.dtype, copy=False)
        gc_prev = xp.concatenate([gc_all * f, gc[batch:]], axis=0)
        return gc_prev.astype(c_prev.dtype, copy=False), gx

    def backward(self, indexes, ggs):
        F = functions()
        inputs = c_prev, x, c, gc, gh = _alone(self.get_retained_inputs())
        batch = len(x)
        # The same formulas, on variables.
        with force_backprop_mode():
            shape = (batch, x.shape[1] // 4, 4, *x.shape[2:])
            a, i, f, o = F.separate(F.reshape(x, shape), 2)
            a, i, f, o = F.tanh(a), F.sigmoid(i), F.sigmoid(f), F.sigmoid(o)
            co = F.tanh(c[:batch])
            gc_all = gh * o * (1 - co * co) + gc[:batch]
            gates = (
                gc_all * i * (1 - a * a),
                gc_all * a * i * (1 - i),
                gc_all * c_prev[:batch] * f * (1 - f),
                gh * co * o * (1 - o),
            )
            gx = F.reshape(F.stack(gates, 2), x.shape)
            gc_prev = F.concat([gc_all * f, gc[batch:]], axis=0)
        return _differentiated((gc_prev, gx), inputs, ggs, indexes)


def _alone(inputs):
    """Return the inputs without the ways from one to another.

    Their history, if it is wanted, stays behind them.
    """
    if config.enable_backprop:
        return tuple([x + 0 for x in inputs])
    return tuple([Variable(x.array) for x in inputs])


def _differentiated(outputs, inputs, gys, indexes):
    pairs = [(y, gy) for y, gy in zip(outputs, gys, strict=True) if gy is not None]
    found = grad(
        [y for y, _ in pairs],
        [inputs[i] for i in indexes],
        [gy for _, gy in pairs],
        enable_double_backprop=bool(config.enable_backprop),
    )
    return tuple(found)


def lstm(c_prev, x):
    """One step with forget gates; return the new ``c`` and ``h``."""
    return LSTM().apply((c_prev, x))


def slstm(c_prev1, c_prev2, x1, x2):
    """One step that merges two cells; return the new ``c`` and ``h``."""
    return SLSTM().apply((c_prev1, c_prev2, x1, x2))


class SLSTM(FunctionNode):
    """One step that merges two cells."""

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

    def forward(self, inputs):
        self.retain_inputs((0, 1, 2, 3))
        c1, c2, x1, x2 = inputs
        xp = _backend.get_array_module(x1)
        (a1, i1, f1, o1), (a2, i2, f2, o2) = _extract_gates(x1), _extract_gates(x2)
        c = xp.tanh(a1) * _sigmoid(i1) + xp.tanh(a2) * _sigmoid(i2)
        c = c + _sigmoid(f1) * c1 + _sigmoid(f2) * c2
        return c, _sigmoid(o1 + o2) * xp.tanh(c)

    def backward(self, indexes, gys):
        F = functions()
        inputs = _alone(self.get_retained_inputs())
        with force_backprop_mode():
            c1, c2, x1, x2 = inputs
            gates = []
            for x in (x1, x2):
                shape = (len(x), x.shape[1] // 4, 4, *x.shape[2:])
                gates += F.separate(F.reshape(x, shape), 2)
            a1, i1, f1, o1, a2, i2, f2, o2 = gates
            c = F.tanh(a1) * F.sigmoid(i1) + F.tanh(a2) * F.sigmoid(i2)
            c = c + F.sigmoid(f1) * c1 + F.sigmoid(f2) * c2
            h = F.sigmoid(o1 + o2) * F.tanh(c)
        return _differentiated((c, h), inputs, gys, indexes)


class TreeLSTM(SLSTM):
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

    def forward(self, inputs):
        self.retain_inputs(tuple(range(len(inputs))))
        *cs, x = inputs
        xp = _backend.get_array_module(x)
        a, i, o, *fs = xp.split(x, 3 + len(cs), axis=1)
        c = xp.tanh(a) * _sigmoid(i)
        for f, c_prev in zip(fs, cs, strict=True):
            c = c + _sigmoid(f) * c_prev
        return c, _sigmoid(o) * xp.tanh(c)

    def backward(self, indexes, gys):
        F = functions()
        inputs = _alone(self.get_retained_inputs())
        with force_backprop_mode():
            *cs, x = inputs
            a, i, o, *fs = F.split_axis(x, 3 + len(cs), axis=1)
            c = F.tanh(a) * F.sigmoid(i)
            for f, c_prev in zip(fs, cs, strict=True):
                c = c + F.sigmoid(f) * c_prev
            h = F.sigmoid(o) * F.tanh(c)
        return _differentiated((c, h), inputs, gys, indexes)


def tree_lstm(*inputs):
    """One step of a tree LSTM: children's cells, then the gate inputs."""
    return TreeLSTM().apply(inputs)


# Stacks over sequences


def _check_arguments(kwargs, xs, ws):
    if kwargs:
        argument.check_unexpected_kwargs(
            kwargs,
            train="train argument is not supported anymore. Use chainer.using_config",
            use_cudnn="use_cudnn argument is not supported anymore. "
            "Use chainer.using_config",
        )
        argument.assert_kwargs_empty(kwargs)
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


def _stack_of_layers(step, n_layers, dropout, hx, cx, ws, bs, xs, directions):
    F = functions()
    hx = F.separate(hx)
    cx = [None] * len(hx) if cx is None else F.separate(cx)
    hy, cy = [], []
    for layer in range(n_layers):
        outputs = []
        for direction in range(directions):
            k = layer * directions + direction
            inputs = xs if layer == 0 else [F.dropout(x, ratio=dropout) for x in xs]
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


def _n_step_lstm(directions):
    def n_step(n_layers, dropout_ratio, hx, cx, ws, bs, xs, **kwargs):
        _check_arguments(kwargs, xs, ws)
        args = (n_layers, dropout_ratio, hx, cx, ws, bs, xs, directions)
        return _stack_of_layers(_lstm_step, *args)

    return n_step


def _n_step_gru(directions):
    def n_step(n_layers, dropout_ratio, hx, ws, bs, xs, **kwargs):
        _check_arguments(kwargs, xs, ws)
        args = (n_layers, dropout_ratio, hx, None, ws, bs, xs, directions)
        hy, _, ys = _stack_of_layers(_gru_step, *args)
        return hy, ys

    return n_step


def _n_step_rnn(directions):
    def n_step(n_layers, dropout_ratio, hx, ws, bs, xs, activation="tanh", **kwargs):
        if activation not in ("tanh", "relu"):
            raise ValueError(
                f'Invalid activation: "{activation}". Please select from [tanh,relu]'
            )
        _check_arguments(kwargs, xs, ws)
        args = (n_layers, dropout_ratio, hx, None, ws, bs, xs, directions)
        hy, _, ys = _stack_of_layers(_rnn_step(activation), *args)
        return hy, ys

    return n_step


n_step_lstm, n_step_bilstm = _n_step_lstm(1), _n_step_lstm(2)
n_step_gru, n_step_bigru = _n_step_gru(1), _n_step_gru(2)
n_step_rnn, n_step_birnn = _n_step_rnn(1), _n_step_rnn(2)
