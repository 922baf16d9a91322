"""Recurrent layers over a whole window ``x`` (T, B, I), time first, as one node each.

One product computes the input's part of the gates for all steps; only the recurrent
part runs step by step; the weight gradients are one product each. With ``lengths`` the
sequences of the batch end at different times: the outputs after an end are 0, and the
state returned is the one at the end.
"""

import numpy as np

from dyrnn import backend, gradients
from dyrnn.core import FunctionNode
from dyrnn.errors import ShapeError
from dyrnn.functions.cells import activate_lstm, blocks, composed_lstm
from dyrnn.functions.checks import array_of, check_batch, check_floats
from dyrnn.functions.connection import column_sums, linear
from dyrnn.functions.indexing import where
from dyrnn.functions.joining import stack


def _lstm_forward(xp, z, h0, c0, U):
    T = len(z)
    h = xp.empty((T + 1, *h0.shape), z.dtype)
    c = xp.empty((T + 1, *h0.shape), z.dtype)
    h[0], c[0] = h0, c0
    for t in range(T):
        a = z[t]
        a += h[t] @ U.T
        i, f, g, o = blocks(activate_lstm(xp, a), 4)
        c[t + 1] = f * c[t] + i * g
        h[t + 1] = o * xp.tanh(c[t + 1])
    return h, c


def _lstm_backward(xp, gh, gc_last, gates, c, U):
    T = len(gates)
    dz = xp.empty_like(gates)
    dc = xp.zeros_like(c[0]) if gc_last is None else gc_last
    dh = xp.zeros_like(c[0])
    for t in reversed(range(T)):
        if gh is not None:
            dh = dh + gh[t]
        i, f, g, o = blocks(gates[t], 4)
        dz_i, dz_f, dz_g, dz_o = blocks(dz[t], 4)
        tanh_c = xp.tanh(c[t + 1])
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        xp.multiply(dc * g, i * (1 - i), out=dz_i)
        xp.multiply(dc * c[t], f * (1 - f), out=dz_f)
        xp.multiply(dc * i, 1 - g * g, out=dz_g)
        xp.multiply(dh * tanh_c, o * (1 - o), out=dz_o)
        dc = dc * f
        dh = dz[t] @ U
    return dz, dh, dc


class _Window(FunctionNode):
    """What the layers have in common: the input product, lengths, the gradients.

    ``lengths`` is an array of the window's array module, or None.
    """

    def __init__(self, lengths):
        self.lengths = lengths

    def gate_inputs(self, xp, x, W, b):
        """Return the input's part of the gates (T, B, n * H); note what is padding."""
        z = x.reshape((-1, x.shape[2])) @ W.T
        if b:
            z += b[0]
        self.is_padding = None
        if self.lengths is not None:
            self.is_padding = xp.arange(len(x))[:, None] >= self.lengths
        return z.reshape((*x.shape[:2], len(W)))

    def last(self, xp, h):
        """Pick each sequence's last state (B, H) from ``h`` (T+1, B, H)."""
        if self.lengths is None:
            return h[-1].copy()
        return h[self.lengths, xp.arange(h.shape[1])]

    def outputs(self, xp, h):
        """Return ``h`` without the initial state, 0 at padding."""
        if self.lengths is None:
            return h[1:]
        return xp.where(self.is_padding[..., None], 0, h[1:])

    def to_outputs(self, xp, gy, gh_last, h):
        """Return the gradient of each step's output from those of the results."""
        if gy is None and gh_last is None:
            return None
        gh = xp.zeros(h.shape, h.dtype)  # one row more: for sequences of length 0
        if gy is not None:
            gh[1:] = gy
            if self.lengths is not None:
                gh[1:][self.is_padding] = 0
        if gh_last is not None:
            if self.lengths is None:
                gh[-1] += gh_last
            else:
                gh[self.lengths, xp.arange(h.shape[1])] += gh_last
        return gh

    def to_inputs(self, xp, dz, x, W):
        """Return the gradients of ``x``, ``W`` and ``b``."""
        dz = dz.reshape((-1, len(W)))
        gx = gW = gb = None
        if self.wants(0):
            gx = xp.matmul(dz, W).reshape(x.shape)
        if self.wants(self.first_weight):
            gW = gradients.product(xp, dz, x.reshape((-1, x.shape[2])))
        if self.has_bias and self.wants(self.first_weight + 2):
            gb = column_sums(xp, dz)
        return gx, gW, (gb,) if self.has_bias else ()


class LSTMWindow(_Window):
    """All time steps of an LSTM layer: no node, and no product of inputs, per step."""

    first_weight = 3

    def forward(self, xp, x, h0, c0, W, U, *b):
        H = h0.shape[1]
        z = self.gate_inputs(xp, x, W, b)
        if self.lengths is not None:
            # With these gates the cell state stays as it is: i = 0, f = 1.
            z[..., :H][self.is_padding] = -xp.inf
            z[..., H : 2 * H][self.is_padding] = xp.inf
        h, c = _lstm_forward(xp, z, h0, c0, U)
        self.has_bias = len(b) == 1
        if self.edges:
            self.save(x, h0, c0, W, U, *b, z, h, c)
        return self.last(xp, h), c[-1].copy(), self.outputs(xp, h)

    def backward(self, xp, gh_last, gc_last, gy):
        x, _, _, W, U = self.saved[:5]
        gates, h, c = self.saved[-3:]
        gh = self.to_outputs(xp, gy, gh_last, h)
        dz, gh0, gc0 = _lstm_backward(
            xp, None if gh is None else gh[1:], gc_last, gates, c, U
        )
        if gh is not None:
            gh0 = gh0 + gh[0]
        gx, gW, gb = self.to_inputs(xp, dz, x, W)
        gU = None
        if self.wants(4):
            H = U.shape[1]
            gU = gradients.product(
                xp, dz.reshape((-1, len(U))), h[:-1].reshape((-1, H))
            )
        return gx, gh0, gc0, gW, gU, *gb

    def composed(self, x, h, c, W, U, *b):
        z = linear(x, W, *b)

        def step(t, h, c):
            c, h = composed_lstm(c, z[t] + h @ U.T)
            return h, c

        (h, c), y = _unroll(step, (h, c), x.shape[0], self.lengths)
        return h, c, y


def _unroll(step, states, T, lengths):
    """Run ``step(t, *states)`` T times; return the last states and stacked outputs."""
    outputs = []
    for t in range(T):
        following = step(t, *states)
        y = following[0]
        if lengths is not None:
            is_on = (lengths > t)[:, None]
            y = where(is_on, y, 0.0)
            following = tuple(
                where(is_on, new, old)
                for new, old in zip(following, states, strict=True)
            )
        states = following
        outputs.append(y)
    return states, stack(outputs, axis=0)


def _check_window(name, n, x, W, U, biases, lengths, **states):
    """Check shapes and types; return the states, made if None, and the lengths."""
    if x.ndim != 3:
        raise ShapeError(
            f"{name}: x has shape {x.shape}; a window is (T, B, I), time first. For "
            "one step take the step function."
        )
    _, B, size = x.shape
    H = U.shape[-1]
    expected = {"W": (W, (n * H, size)), "U": (U, (n * H, H))}
    expected.update((key, (s, (B, H))) for key, s in states.items())
    expected.update((key, (b, (rows * H,))) for key, b, rows in biases)
    for key, (array, shape) in expected.items():
        if array is not None and array.shape != shape:
            raise ShapeError(
                f"{name}: {key} has shape {array.shape}, but with x {x.shape} and U "
                f"{U.shape} it must have shape {shape}."
            )
    given = {key: array for key, (array, _) in expected.items()}
    check_floats(name, x=x, **given)
    check_batch(name, x, 1)
    xp = backend.get_array_module(array_of(x))
    return [
        xp.zeros((B, H), x.dtype) if state is None else state
        for state in states.values()
    ], _lengths(name, xp, lengths, x)


def _lengths(name, xp, lengths, x):
    """Return lengths as an array on the device, or None."""
    if lengths is None:
        return None
    if not backend.is_array(lengths):
        lengths = np.asarray(lengths)
    T, B = x.shape[:2]
    if lengths.shape != (B,) or lengths.dtype.kind not in "iu":
        raise ShapeError(
            f"{name}: lengths must be {B} integers, one per sequence, not an array of "
            f"{lengths.dtype} of shape {lengths.shape}."
        )
    if isinstance(lengths, np.ndarray) and (lengths.min() < 0 or lengths.max() > T):
        raise ValueError(
            f"{name}: lengths go from {lengths.min()} to {lengths.max()}, but must be "
            f"within 0 to {T}, the steps of x {x.shape}."
        )
    return xp.asarray(lengths)


def lstm_window(x, h, c, W, U, b=None, lengths=None):
    """All time steps of an LSTM layer, see :func:`dyrnn.functions.lstm`.

    Parameters
    ----------
    x : Variable, (T, B, I)
    h, c : Variable, (B, H), or None
        State before the window; None: zeros.
    W : Variable, (4H, I)
        Input weights: blocks i, f, g, o of H rows.
    U : Variable, (4H, H)
        Recurrent weights.
    b : Variable, (4H,), optional
    lengths : sequence of int, optional
        How many steps each of the B sequences has, in any order; all T without it.

    Returns
    -------
    h, c : Variable, (B, H)
        State at the end of each sequence.
    y : Variable, (T, B, H)
        Outputs of all steps, 0 after a sequence's end.
    """
    states, lengths = _check_window(
        "lstm_window", 4, x, W, U, [("b", b, 4)], lengths, h=h, c=c
    )
    weights = (W, U) if b is None else (W, U, b)
    return LSTMWindow(lengths).apply(x, *states, *weights)
