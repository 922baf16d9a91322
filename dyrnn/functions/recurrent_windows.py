"""Recurrent layers over a whole window ``x`` (T, B, I), time first, as one node each.

One product computes the input's part of the gates for all steps; only the recurrent
part runs step by step; the weight gradients are one product each. With ``lengths`` the
sequences of the batch end at different times: the outputs after an end are 0, and the
state returned is the one at the end.
"""

from collections.abc import Sequence

import numpy as np

from dyrnn import backend, kernels
from dyrnn.engine import gradients
from dyrnn.engine.core import (
    FunctionNode,
    Variable,
    VariableLike,
    as_variable,
)
from dyrnn.errors import ShapeError
from dyrnn.functions.activation import relu, sigmoid, tanh
from dyrnn.functions.checks import (
    check_batch,
    check_choice,
    check_floats,
)
from dyrnn.functions.connection import column_sums, linear, times
from dyrnn.functions.indexing import where
from dyrnn.functions.joining import stack
from dyrnn.functions.recurrent_steps import composed_gru, composed_lstm, lstm
from dyrnn.kernels.recurrent import blocks
from dyrnn.typing import Array


class _Window(FunctionNode):
    """What the layers have in common: the input product, lengths, the gradients.

    Inputs are x, the states (``n_states`` of them), W, U and biases. ``lengths`` is an
    array of the window's array module, or None; ``mask`` (T, B) tells which steps are
    within them. The state is carried over the others, so the last one is at the end.
    """

    name = ""
    n_gates = n_states = 1
    lengths = mask = None

    def gate_inputs(self, xp, x, W, b):
        """Return the input's part of the gates (T, B, n * H); note what is padding."""
        if self.lengths is not None:
            self.mask = xp.arange(len(x))[:, None] < self.lengths
        z = kernels.linear(self.within(xp, x).reshape((-1, x.shape[2])), W, b)
        return z.reshape((*x.shape[:2], len(W)))

    def within(self, xp, a):
        """Return ``a`` (T, B, ...), 0 at padding, which may hold anything, even NaN."""
        return a if self.mask is None else xp.where(self.mask[..., None], a, 0)

    def composed_inputs(self, x, W, b):
        """Return the input's part of the gates, to be differentiated twice."""
        if self.mask is not None:
            x = where(self.mask[..., None], x, 0.0)
        return linear(x, W, b)

    def outputs(self, xp, h):
        """Return ``h`` without the initial state, 0 at padding."""
        return self.within(xp, h[1:])

    def state_gradients(self, xp, gy, gh_last, h):
        """Return the gradients of ``h[1:]``."""
        gh = xp.zeros_like(h[1:]) if gy is None else self.within(xp, gy)
        if gh is gy and gh_last is not None:
            gh = gy.copy()
        if gh_last is not None:
            gh[-1] += gh_last
        return gh

    def input_gradients(self, xp, gz, ga, h, x, W):
        """Return the gradients of ``x``, ``W``, ``U`` and ``b``.

        ``ga`` is the gradient of the recurrent product, mostly ``gz`` itself.
        """
        gz, ga = gz.reshape((-1, len(W))), ga.reshape((-1, len(W)))
        to_x, to_W, to_U, to_b = self.edges[0], *self.edges[1 + self.n_states :][:3]
        gx = gW = gU = gb = None
        if to_x is not None:
            gx = times(xp, gz, W).reshape(x.shape)
        if to_W is not None:
            x = self.within(xp, x)
            gW = gradients.product(xp, gz, x.reshape((-1, x.shape[2])))
        if to_U is not None:
            gU = gradients.product(xp, ga, h[:-1].reshape((-1, h.shape[2])))
        if to_b is not None:
            gb = column_sums(gz)
        return gx, gW, gU, gb


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


def _window(node, x, states, W, U, biases, lengths):
    """Check the arguments of a layer and run its node."""
    given = {**states, "W": W, "U": U, **biases}
    check_floats(node.name, x=x, **given)
    H = U.shape[-1]
    sizes = {name: H for name in states}
    x = as_variable(x)
    xp = x.xp
    inputs = _checked(node.name, xp, x, given, sizes, node.n_gates * H)
    node.lengths = check_lengths(node.name, xp, lengths, x)
    if len(x) == 0:
        return _of_no_steps(x, inputs[: len(states)])
    return node.apply(x, *inputs)


def _checked(name, xp, x, given, sizes, rows):
    """Return the inputs after x, zeros in place of None, if their shapes are right.

    ``sizes`` are the columns of the states, h first; ``rows`` those of W, U and biases.
    """
    if x.ndim != 3:
        raise ShapeError(
            f"{name}: x has shape {x.shape}; a window is (T, B, I), time first. "
            "For one step take the step function."
        )
    B, size = x.shape[1:]
    shapes = {
        "W": (rows, size),
        "U": (rows, sizes["h"]),
        "V": (sizes["h"], rows // 4),  # only an LSTM's output is projected
        "b": (rows,),
        "b_u": (rows,),
        **{key: (B, n) for key, n in sizes.items()},
    }
    for key, x_key in given.items():
        found = None if x_key is None else x_key.shape
        if found not in (None, shapes[key]):
            raise ShapeError(
                f"{name}: {key} has shape {found}, but with x {x.shape} and U "
                f"{given['U'].shape} it must have shape {shapes[key]}."
            )
    check_batch(name, x, 1)
    return [
        xp.zeros(shapes[key], x.dtype) if x_key is None else x_key
        for key, x_key in given.items()
    ]


def _of_no_steps(x, states):
    """Return the states as they are, and no outputs."""
    empty = x.xp.zeros((0, *states[0].shape), x.dtype)
    return tuple([as_variable(a) for a in (*states, empty)])


def check_lengths(name, xp, lengths, x):
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
    if (
        lengths.dtype.kind == "u"
    ):  # a difference of which may be a float, or wrap around
        lengths = lengths.astype(np.int64)
    return xp.asarray(lengths)


def turned(xp, T, lengths):
    """Return the places of rows (T * B,) with each sequence reversed, up to its end."""
    steps, B = xp.arange(T)[:, None], len(lengths)
    source = xp.where(steps < lengths, lengths - 1 - steps, steps)
    return (source * B + xp.arange(B)).reshape(-1)


class Turn(FunctionNode):
    """A window (T, B, I) with each sequence reversed, up to its end: its own inverse.

    ``places`` are those of `turned` for the lengths.
    """

    def __init__(self, lengths, places):
        self.lengths = lengths
        self.places = places

    def forward(self, xp, x):
        return x.reshape((-1, x.shape[2]))[self.places].reshape(x.shape)

    def backward(self, xp, gy):
        if hasattr(xp, "ndarray"):
            return self.forward(xp, gy)
        return turn(gy, self.lengths, self.places)


def turn(window, lengths, places):
    """Reverse each sequence of a window (T, B, I) up to its end."""
    return Turn(lengths, places).apply(window)


class LSTMWindow(_Window):
    """All time steps of an LSTM layer: no node, and no product of inputs, per step."""

    name = "lstm_window"
    n_gates, n_states = 4, 2

    def forward(self, xp, x, h0, c0, W, U, b):
        z = self.gate_inputs(xp, x, W, b)
        h, c = kernels.lstm_forward(z, h0, c0, U, self.mask)
        if self.edges:
            self.save(x, h0, c0, W, U, b, z, h, c)
        return h[-1].copy(), c[-1].copy(), self.outputs(xp, h)

    def backward(self, xp, gh_last, gc_last, gy):
        x, _, _, W, U, _, gates, h, c = self.saved
        gh = self.state_gradients(xp, gy, gh_last, h)
        gz, gh0, gc0 = kernels.lstm_backward(gh, gc_last, gates, c, U, self.mask)
        gx, gW, gU, gb = self.input_gradients(xp, gz, gz, h, x, W)
        return gx, gh0, gc0, gW, gU, gb

    def composed(self, x, h, c, W, U, b):
        z = self.composed_inputs(x, W, b)

        def step(t, h, c):
            c, h = composed_lstm(c, z[t] + h @ U.T)
            return h, c

        (h, c), y = _unroll(step, (h, c), x.shape[0], self.lengths)
        return h, c, y


def lstm_window(
    x: VariableLike,
    h: VariableLike | None,
    c: VariableLike | None,
    W: VariableLike,
    U: VariableLike,
    b: VariableLike | None = None,
    lengths: Sequence[int] | Array | None = None,
    V: VariableLike | None = None,
) -> tuple[Variable, Variable, Variable]:
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
    V : Variable, (P, H), optional
        Projection of the output, ``h = V (sigmoid(o) * tanh(c))``; h is then (B, P)
        and U (4H, P).

    Returns
    -------
    h, c : Variable, (B, H)
        State at the end of each sequence; h (B, P) with a projection.
    y : Variable, (T, B, H)
        Outputs of all steps, 0 after a sequence's end; (T, B, P) with a projection.

    References
    ----------
    Sak, Senior, Beaufays, "Long Short-Term Memory Recurrent Neural Network
    Architectures for Large Scale Acoustic Modeling", Interspeech 2014: the projection.
    """
    if V is not None:
        return _projected_window(x, h, c, W, U, b, lengths, V)
    return _window(LSTMWindow(), x, {"h": h, "c": c}, W, U, {"b": b}, lengths)


def _projected_window(x, h, c, W, U, b, lengths, V):
    """Run an LSTM with a projection, with three nodes per step."""
    name = "lstm_window"
    given = {"h": h, "c": c, "W": W, "U": U, "b": b, "V": V}
    check_floats(name, x=x, **given)
    if V.ndim != 2:
        raise ShapeError(f"{name}: V has shape {V.shape}; a projection is (P, H).")
    sizes = {"h": V.shape[0], "c": V.shape[1]}
    x = as_variable(x)
    h, c, W, U, b, V = _checked(name, x.xp, x, given, sizes, 4 * V.shape[1])
    lengths = check_lengths(name, x.xp, lengths, x)
    if len(x) == 0:
        return _of_no_steps(x, (h, c))
    if lengths is not None:  # padding may hold anything, even NaN
        x = where((x.xp.arange(len(x))[:, None] < lengths)[..., None], x, 0.0)
    z = linear(x, W, b)

    def step(t, h, c):
        c, y = lstm(c, z[t] + linear(h, U))
        return linear(y, V), c

    (h, c), y = _unroll(step, (as_variable(h), as_variable(c)), len(x), lengths)
    return h, c, y


class GRUWindow(_Window):
    """All time steps of a GRU layer."""

    name = "gru_window"
    n_gates = 3

    def __init__(self, reset_after=True):
        self.reset_after = reset_after

    def forward(self, xp, x, h0, W, U, b, b_u):
        if self.reset_after:  # only the candidate's share of b_u meets the reset gate
            n = 2 * U.shape[1]
            of_x, of_h = xp.concatenate((b[:n] + b_u[:n], b[n:])), b_u[n:]
        else:
            of_x, of_h = b + b_u, None
        z = self.gate_inputs(xp, x, W, of_x)
        h, inner = kernels.gru_forward(z, h0, U, of_h, self.reset_after, self.mask)
        if self.edges:
            self.save(x, h0, W, U, b, b_u, z, h, inner)
        return h[-1].copy(), self.outputs(xp, h)

    def backward(self, xp, gh_last, gy):
        x, _, W, U, _, _, gates, h, inner = self.saved
        gh = self.state_gradients(xp, gy, gh_last, h)
        gz, ga, gh0 = kernels.gru_backward(
            gh, gates, inner, h, U, self.reset_after, self.mask
        )
        if ga is None:
            gx, gW, gU, gb = self.input_gradients(xp, gz, gz, h, x, W)
            if self.wants(3):
                gU = self._inner_gradient(xp, gz, h, inner)
            return gx, gh0, gW, gU, gb, gb
        gx, gW, gU, gb = self.input_gradients(xp, gz, ga, h, x, W)
        gb_u = column_sums(ga.reshape((-1, len(W)))) if self.wants(5) else None
        return gx, gh0, gW, gU, gb, gb_u

    @staticmethod
    def _inner_gradient(xp, gz, h, inner):
        """Return that of U, whose candidate's rows meet the state after the reset."""
        H = h.shape[2]
        gz, h, inner = (a.reshape((-1, a.shape[2])) for a in (gz, h[:-1], inner))
        parts = (
            kernels.matmul(gz[:, : 2 * H].T, h),
            kernels.matmul(gz[:, 2 * H :].T, inner),
        )
        return xp.concatenate(parts)

    def composed(self, x, h, W, U, b, b_u):
        n = 2 * U.shape[1]

        def after(t, h):
            return (composed_gru(z[t], h, linear(h, U, b_u)),)

        def before(t, h):
            r, u = blocks(sigmoid(z[t][:, :n] + h @ U[:n].T), 2)
            y = tanh(z[t][:, n:] + (r * h) @ U[n:].T)
            return ((1 - u) * y + u * h,)

        step = after if self.reset_after else before
        z = self.composed_inputs(x, W, b if self.reset_after else b + b_u)
        (h,), y = _unroll(step, (h,), x.shape[0], self.lengths)
        return h, y


def gru_window(
    x: VariableLike,
    h: VariableLike | None,
    W: VariableLike,
    U: VariableLike,
    b: VariableLike | None = None,
    b_u: VariableLike | None = None,
    lengths: Sequence[int] | Array | None = None,
    reset_after: bool = True,
) -> tuple[Variable, Variable]:
    """All time steps of a GRU layer, see :func:`dyrnn.functions.gru`.

    Parameters
    ----------
    x : Variable, (T, B, I)
    h : Variable, (B, H), or None
        State before the window; None: zeros.
    W : Variable, (3H, I)
        Input weights: blocks r, z, n of H rows.
    U : Variable, (3H, H)
        Recurrent weights.
    b, b_u : Variable, (3H,), optional
        Added to the input's and to the recurrent product.
    lengths : sequence of int, optional
        How many steps each of the B sequences has, in any order; all T without it.
    reset_after : bool
        Whether the reset gate acts on the recurrent product, as in cuDNN, or on the
        state before it, as first published: ``tanh(x_n + U_n (r * h))``.

    Returns
    -------
    h : Variable, (B, H)
        State at the end of each sequence.
    y : Variable, (T, B, H)
        Outputs of all steps, 0 after a sequence's end.
    """
    biases = {"b": b, "b_u": b_u}
    return _window(GRUWindow(reset_after), x, {"h": h}, W, U, biases, lengths)


class RNNWindow(_Window):
    """All time steps of a plain recurrent layer."""

    name = "rnn_window"

    def __init__(self, activation):
        self.activation = activation

    def forward(self, xp, x, h0, W, U, b):
        z = self.gate_inputs(xp, x, W, b)
        h = kernels.rnn_forward(z, h0, U, self.activation, self.mask)
        if self.edges:
            self.save(x, h0, W, U, b, h)
        return h[-1].copy(), self.outputs(xp, h)

    def backward(self, xp, gh_last, gy):
        x, _, W, U, _, h = self.saved
        gh = self.state_gradients(xp, gy, gh_last, h)
        gz, gh0 = kernels.rnn_backward(gh, h, U, self.activation, self.mask)
        gx, gW, gU, gb = self.input_gradients(xp, gz, gz, h, x, W)
        return gx, gh0, gW, gU, gb

    def composed(self, x, h, W, U, b):
        z = self.composed_inputs(x, W, b)
        activation = tanh if self.activation == "tanh" else relu

        def step(t, h):
            return (activation(z[t] + h @ U.T),)

        (h,), y = _unroll(step, (h,), x.shape[0], self.lengths)
        return h, y


def rnn_window(
    x: VariableLike,
    h: VariableLike | None,
    W: VariableLike,
    U: VariableLike,
    b: VariableLike | None = None,
    activation: str = "tanh",
    lengths: Sequence[int] | Array | None = None,
) -> tuple[Variable, Variable]:
    """All time steps of a plain (Elman) layer, ``h = tanh(x @ W.T + h @ U.T + b)``.

    Parameters
    ----------
    x : Variable, (T, B, I)
    h : Variable, (B, H), or None
        State before the window; None: zeros.
    W, U, b : Variable, (H, I), (H, H), (H,)
        ``b`` is optional.
    activation : str
        ``"tanh"`` or ``"relu"``.
    lengths : sequence of int, optional
        How many steps each of the B sequences has, in any order; all T without it.

    Returns
    -------
    h : Variable, (B, H)
        State at the end of each sequence.
    y : Variable, (T, B, H)
        Outputs of all steps, 0 after a sequence's end.
    """
    check_choice("rnn_window", "activation", activation, ("tanh", "relu"))
    return _window(RNNWindow(activation), x, {"h": h}, W, U, {"b": b}, lengths)
