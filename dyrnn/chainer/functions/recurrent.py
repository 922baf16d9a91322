"""Steps of recurrent cells, and stacks of layers over sequences.

Gate inputs of ``lstm`` and ``slstm`` are interleaved: each unit has a, i, f, o side by
side; those of ``tree_lstm`` are in blocks. Formulas, kernels and derivatives are those
of :mod:`dyrnn.functions`; here are Chainer's layouts, types and signatures.
"""

import math
from functools import lru_cache

import numpy as np

from dyrnn import kernels
from dyrnn.chainer import _backend
from dyrnn.chainer.bridging import Bridge
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import as_variable
from dyrnn.chainer.worlds import from_core
from dyrnn.engine import gradients
from dyrnn.functions import recurrent_steps, recurrent_windows
from dyrnn.functions.activation import sigmoid, tanh
from dyrnn.functions.connection import times
from dyrnn.functions.joining import concat
from dyrnn.functions.recurrent_steps import composed_lstm, composed_tree_lstm
from dyrnn.kernels.recurrent import blocks


@lru_cache
def _orders(xp, units):
    """Return which columns the blocks i, f, a, o are, and the way back."""
    blocks = np.arange(4 * units).reshape(units, 4).T[[1, 2, 0, 3]].reshape(-1)
    return xp.asarray(blocks), xp.asarray(np.argsort(blocks))


class _LSTM(recurrent_steps.LSTM):
    """A step from interleaved gate inputs."""

    def forward(self, xp, c_prev, x):
        self.blocks, self.units = _orders(xp, c_prev.shape[1])
        gates = x[:, self.blocks]
        c, tanh_c, h = kernels.lstm_gates(gates, c_prev)
        self.save(c_prev, x, gates, tanh_c)
        return c, h

    def backward(self, xp, gc, gh):
        gc_prev, gx = super().backward(xp, gc, gh)
        return gc_prev, gx[:, self.units]

    def composed(self, c_prev, x):
        return super().composed(c_prev, x[:, self.blocks])


class _LSTMStep(recurrent_steps.LSTMStep):
    """A step with the recurrent product in it, of interleaved gates."""

    def forward(self, xp, x, h, c, U):
        self.blocks, self.units = _orders(xp, c.shape[1])
        gates = kernels.linear(h, U)
        gates += x
        gates = gates[:, self.blocks]
        c_next, tanh_c, y = kernels.lstm_gates(gates, c)
        self.save(x, h, c, U, gates, tanh_c)
        return c_next, y

    def backward(self, xp, gc, gh):
        _, h, c, U, gates, tanh_c = self.saved
        gx, gc = kernels.lstm_gates_backward(gates, c, tanh_c, gc, gh)
        gx = gx[:, self.units]
        return gx, times(xp, gx, U), gc, gradients.product(xp, gx, h)

    def composed(self, x, h, c, U):
        return composed_lstm(c, (x + h @ U.T)[:, self.blocks])


def _expect_gates(c, x, n):
    type_check.expect(
        c.dtype.kind == "f",
        x.dtype == c.dtype,
        c.ndim >= 2,
        x.ndim >= 2,
        c.ndim == x.ndim,
        x.shape[1] == n * c.shape[1],
    )
    for i in range(2, type_check.eval(c.ndim)):
        type_check.expect(x.shape[i] == c.shape[i])


def _check_lstm(in_types):
    type_check._argname(in_types, ("c", "x"))
    c, x = in_types
    _expect_gates(c, x, 4)
    type_check.expect(x.shape[0] <= c.shape[0])


def _check_slstm(in_types):
    type_check._argname(in_types, ("c_prev1", "c_prev2", "x1", "x2"))
    c1, c2, x1, x2 = in_types
    type_check.expect(c1.dtype == c2.dtype, c1.ndim == c2.ndim)
    type_check.expect(c1.shape[1] == c2.shape[1])
    for c, x in ((c1, x1), (c2, x2)):
        _expect_gates(c, x, 4)
        type_check.expect(c1.shape[0] == c.shape[0], c1.shape[0] == x.shape[0])


def _check_tree_lstm(in_types):
    type_check.expect(in_types.size() >= 2)
    cs, x = in_types[:-1], in_types[-1]
    for c in cs:
        _expect_gates(c, x, 3 + len(cs))
        type_check.expect(x.shape[0] == c.shape[0])


LSTM = from_core(_LSTM, _check_lstm, name="LSTM")
LSTMStep = from_core(_LSTMStep, name="LSTMStep")
LSTMWindow = from_core(recurrent_windows.LSTMWindow)
GRUWindow = from_core(recurrent_windows.GRUWindow)
RNNWindow = from_core(recurrent_windows.RNNWindow)


def _apply(node, *inputs):
    """Apply a node that takes matrices; axes after the second are so many more rows."""
    inputs = tuple([as_variable(x) for x in inputs])
    if all(x.ndim == 2 for x in inputs):
        return node.apply(inputs)
    node._check_data_type_forward(tuple([x.array for x in inputs]))
    F = functions()
    batch, units, *axes = inputs[0].shape
    rows = math.prod((batch, *axes))
    ys = node.apply(
        tuple([F.reshape(F.moveaxis(x, 1, -1), (rows, x.shape[1])) for x in inputs])
    )
    return tuple([F.moveaxis(F.reshape(y, (batch, *axes, units)), -1, 1) for y in ys])


def lstm(c_prev, x):
    """One step with forget gates; return the new ``c`` and ``h``.

    Rows of ``c_prev`` beyond those of ``x`` stay.
    """
    c_prev, x = as_variable(c_prev), as_variable(x)
    rows = x.shape[:1]
    if c_prev.shape[:1] <= rows:
        return _apply(LSTM(), c_prev, x)
    c, h = lstm(c_prev[: rows[0]], x)
    return functions().concat([c, c_prev[rows[0] :]], axis=0), h


def lstm_step(x, h, c, U):
    """One step from the input's gates, ``lstm(c, x + h U^T)``; see :func:`lstm`."""
    rows = len(x)
    if len(c) == rows:
        return LSTMStep().apply((x, h, c, U))
    c_next, y = LSTMStep().apply((x, h, c[:rows], U))
    return functions().concat([c_next, c[rows:]], axis=0), y


def slstm(c_prev1, c_prev2, x1, x2):
    """One step that merges two cells; return the new ``c`` and ``h``.

    Each cell is that of an LSTM's step, where dyrnn adds up the gates' inputs.
    """

    def step(c1, c2, x1, x2):
        units = c1.shape[1]
        into, _ = _orders(c1.xp, units)
        x1, x2 = x1[:, into], x2[:, into]
        c = composed_lstm(c1, x1)[0] + composed_lstm(c2, x2)[0]
        return c, tanh(c) * sigmoid(x1[:, 3 * units :] + x2[:, 3 * units :])

    return _apply(Bridge(step, "SLSTM", _check_slstm), c_prev1, c_prev2, x1, x2)


def tree_lstm(*inputs):
    """One step of a tree LSTM: children's cells, then the gate inputs."""

    def step(*inputs):
        *cs, x = inputs
        a, i, o, *fs = blocks(x, 3 + len(cs))
        return composed_tree_lstm(*cs, concat((i, a, o, *fs), axis=1))

    return _apply(Bridge(step, "TreeLSTM", _check_tree_lstm), *inputs)


# Stacks over sequences


class _Steps:
    """Where the rows of all time steps, one step below the other, are in a window."""

    def __init__(self, xp, xs, batch):
        counts, numbers = np.array([len(x) for x in xs])[:, None], np.arange(batch)
        times = np.arange(len(xs))[:, None]
        is_on = numbers < counts
        starts = (np.cumsum(counts) - counts[:, 0])[:, None]
        lengths = is_on.sum(axis=0)
        turned = np.where(is_on, lengths - 1 - times, times)
        self.xp, self.shape, self.ends = xp, is_on.shape, np.cumsum(counts)[:-1]
        self.lengths = xp.asarray(lengths)
        into = np.where(is_on, starts + numbers, 0)
        self.into = [into, np.where(is_on, starts[turned, 0] + numbers, 0)]
        self.out_of = [(t * batch + numbers)[is_on] for t in (times, turned)]

    def window(self, rows, direction):
        """Return rows (N, I) as a window (T, B, I), or one with sequences reversed."""
        index = self.xp.asarray(self.into[direction].reshape(-1))
        return functions().reshape(rows[index], (*self.shape, rows.shape[1]))

    def rows(self, window, direction):
        """Return the rows of a window that are no padding."""
        rows = functions().reshape(window, (-1, window.shape[2]))
        return rows[self.xp.asarray(self.out_of[direction])]


def _layer(node, steps, rows, direction, states, ws, bs):
    """Run a layer in one direction; return its last states and its rows."""
    F, n = functions(), len(ws) // 2
    W, U, b, b_u = (
        F.concat(parts, axis=0) for parts in (ws[:n], ws[n:], bs[:n], bs[n:])
    )
    biases = (b, b_u) if isinstance(node, GRUWindow) else (b + b_u,)
    node.rule.lengths = steps.lengths
    x = steps.window(rows, direction)
    *states, y = node.apply((x, *states, W, U, *biases))
    return states, steps.rows(y, direction)


def _n_step(
    make, n_layers, dropout, states, ws, bs, xs, directions, train=None, use_cudnn=True
):
    """Return the last states and all outputs; the last two options are version 1's."""
    F = functions()
    x_in, w_in = xs[0].shape[1], ws[0][0].shape[1]
    if x_in != w_in:
        raise ValueError(
            "Inconsistent input size in input values and weight parameters: "
            f"{x_in} != {w_in}"
        )
    states = [F.separate(as_variable(state)) for state in states]
    steps = _Steps(_backend.get_array_module(xs[0]), xs, len(states[0][0]))
    rows, finals = F.concat(xs, axis=0), []
    for layer in range(n_layers):
        outputs = []
        for direction in range(directions):
            k = layer * directions + direction
            x = rows if layer == 0 else F.dropout(rows, dropout, train)
            given = [state[k] for state in states]
            final, y = _layer(make(), steps, x, direction, given, ws[k], bs[k])
            finals.append(final)
            outputs.append(y)
        rows = F.concat(outputs, axis=1)
    finals = [F.stack(parts) for parts in zip(*finals, strict=True)]
    return *finals, tuple(F.split_axis(rows, steps.ends, axis=0, force_tuple=True))


def n_step_lstm_base(
    n_layers, dropout_ratio, hx, cx, ws, bs, xs, use_bi_direction, **kwargs
):
    """Layers of LSTMs over sequences, in one direction or both."""
    args = (n_layers, dropout_ratio, (hx, cx), ws, bs, xs, 1 + bool(use_bi_direction))
    return _n_step(LSTMWindow, *args, **kwargs)


def n_step_gru_base(
    n_layers, dropout_ratio, hx, ws, bs, xs, use_bi_direction, **kwargs
):
    """Layers of GRUs over sequences, in one direction or both."""
    args = (n_layers, dropout_ratio, (hx,), ws, bs, xs, 1 + bool(use_bi_direction))
    return _n_step(GRUWindow, *args, **kwargs)


def n_step_rnn_base(
    n_layers, dropout_ratio, hx, ws, bs, xs, activation, use_bi_direction, **kwargs
):
    """Layers of simple cells over sequences, in one direction or both."""
    if activation not in ("tanh", "relu"):
        raise ValueError(
            f'Invalid activation: "{activation}". Please select from [tanh,relu]'
        )
    args = (n_layers, dropout_ratio, (hx,), ws, bs, xs, 1 + bool(use_bi_direction))
    return _n_step(lambda: RNNWindow(activation), *args, **kwargs)


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
