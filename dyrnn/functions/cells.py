"""Single steps of recurrent layers: what happens to the state when one input arrives.

The matrix products are outside, but for :func:`lstm_step`, which has the recurrent one
in it: a loop over time then makes two nodes per step. Gates use a sigmoid computed by
one tanh: its error is small beside 1, if not beside the sigmoid; a gate needs no more.
"""

from dyrnn import gradients
from dyrnn.core import FunctionNode
from dyrnn.errors import ShapeError
from dyrnn.functions.activation import sigmoid, tanh
from dyrnn.functions.checks import check_batch, check_floats
from dyrnn.functions.joining import concat


def activate_lstm(xp, a):
    """Turn gate inputs (B, 4H) in blocks i, f, g, o into gates, in place."""
    H = a.shape[-1] // 4
    g = xp.tanh(a[..., 2 * H : 3 * H])
    a *= 0.5
    xp.tanh(a, out=a)
    a *= 0.5
    a += 0.5
    a[..., 2 * H : 3 * H] = g
    return a


def blocks(a, n):
    """Split the last axis into ``n`` equal blocks."""
    H = a.shape[-1] // n
    return [a[..., k * H : (k + 1) * H] for k in range(n)]


def _lstm_outputs(xp, gates, c_prev):
    i, f, g, o = blocks(gates, 4)
    c = f * c_prev
    c += i * g
    tanh_c = xp.tanh(c)
    return c, tanh_c, o * tanh_c


def _lstm_gradients(xp, gates, c_prev, tanh_c, gc, gh):
    """Return the gradients of the gate inputs and of ``c_prev``."""
    i, f, g, o = blocks(gates, 4)
    gz = xp.empty_like(gates)
    gz_i, gz_f, gz_g, gz_o = blocks(gz, 4)
    if gh is None:
        dc = gc
        gz_o[...] = 0
    else:
        dc = gh * o * (1 - tanh_c * tanh_c)
        if gc is not None:
            dc += gc
        xp.multiply(gh * tanh_c, o * (1 - o), out=gz_o)
    xp.multiply(dc * g, i * (1 - i), out=gz_i)
    xp.multiply(dc * c_prev, f * (1 - f), out=gz_f)
    xp.multiply(dc * i, 1 - g * g, out=gz_g)
    return gz, dc * f


def composed_lstm(c_prev, x):
    """Define one LSTM step by elementary functions: ``c, h`` from gate inputs."""
    i, f, g, o = blocks(x, 4)
    c = tanh(g) * sigmoid(i) + c_prev * sigmoid(f)
    return c, tanh(c) * sigmoid(o)


class LSTM(FunctionNode):
    """Twelve elementwise operations at once."""

    def forward(self, xp, c_prev, x):
        rows = len(x)
        gates = activate_lstm(xp, x.copy())
        c, tanh_c, h = _lstm_outputs(xp, gates, c_prev[:rows])
        if rows < len(c_prev):
            c = xp.concatenate((c, c_prev[rows:]))
        self.save(c_prev, x, gates, tanh_c)
        return c, h

    def backward(self, xp, gc, gh):
        c_prev, x, gates, tanh_c = self.saved
        rows = len(x)
        gc_rows = None if gc is None else gc[:rows]
        gx, gc_prev = _lstm_gradients(xp, gates, c_prev[:rows], tanh_c, gc_rows, gh)
        if rows < len(c_prev):
            rest = xp.zeros_like(c_prev[rows:]) if gc is None else gc[rows:]
            gc_prev = xp.concatenate((gc_prev, rest))
        return gc_prev, gx

    def composed(self, c_prev, x):
        rows = x.shape[0]
        c, h = composed_lstm(c_prev[:rows], x)
        if rows < c_prev.shape[0]:
            c = concat((c, c_prev[rows:]), axis=0)
        return c, h


def _check_cell(name, x, n_blocks, **states):
    """Raise unless ``x`` has ``n_blocks`` blocks of the states' columns."""
    for key, state in states.items():
        if (
            x.ndim != 2
            or state.ndim != 2
            or x.shape[1] != n_blocks * state.shape[1]
            or x.shape[0] > state.shape[0]
        ):
            raise ShapeError(
                f"{name}: x has shape {x.shape}, but with {key} of shape "
                f"{state.shape} it must be (B, {n_blocks * state.shape[-1]}), B <= "
                f"{state.shape[0]}: {n_blocks} blocks of the state's columns."
            )
    if any(state.dtype != x.dtype for state in states.values()) or x.dtype.kind != "f":
        check_floats(name, x=x, **states)
    if x.shape[0] == 0:
        check_batch(name, x, 0)


def _check_rows(name, x, **states):
    """Raise unless the states have as many rows as ``x``."""
    for key, state in states.items():
        if state.shape[0] != x.shape[0]:
            raise ShapeError(
                f"{name}: x has {x.shape[0]} rows, but {key} {state.shape[0]}. Reset "
                "the state when the batch size changes."
            )


def lstm(c_prev, x):
    r"""One step of a long short-term memory layer with forget gates.

    .. math:: c = \tanh(g) \sigma(i) + c_{prev} \sigma(f), \quad h = \tanh(c) \sigma(o)

    Parameters
    ----------
    c_prev : Variable, (B, H), float
        Cell state of the previous step.
    x : Variable, (B', 4H) with B' <= B, same dtype
        Gate inputs i, f, g, o, as four blocks of H columns. Rows beyond B' keep
        their state, so sort sequences longest first.

    Returns
    -------
    c : Variable, (B, H)
    h : Variable, (B', H)

    Raises
    ------
    ShapeError
        If ``x`` does not have four times the columns of ``c_prev``.

    References
    ----------
    Gers, Schmidhuber, Cummins, "Learning to Forget: Continual Prediction with LSTM",
    Neural Computation 12(10), 2000.
    """
    _check_cell("lstm", x, 4, c_prev=c_prev)
    return LSTM().apply(c_prev, x)


class LSTMStep(FunctionNode):
    """:func:`lstm` with the recurrent product in it: one node less per time step."""

    def forward(self, xp, x, h, c, U):
        gates = h @ U.T
        gates += x
        activate_lstm(xp, gates)
        c_next, tanh_c, y = _lstm_outputs(xp, gates, c)
        if self.edges:
            self.save(x, h, c, U, gates, tanh_c)
        return c_next, y

    def backward(self, xp, gc, gh):
        _, h, c, U, gates, tanh_c = self.saved
        gx, gc = _lstm_gradients(xp, gates, c, tanh_c, gc, gh)
        return (
            gx,
            xp.matmul(gx, U) if self.wants(1) else None,
            gc,
            gradients.product(xp, gx, h) if self.wants(3) else None,
        )

    def composed(self, x, h, c, U):
        return composed_lstm(c, x + h @ U.T)


def lstm_step(x, h, c, U):
    """One step of an LSTM layer from its input's part of the gates.

    ``lstm(c, x + h @ U.T)``, faster. See :func:`lstm`.

    Parameters
    ----------
    x : Variable, (B, 4H)
        What the input adds to the gates i, f, g, o: ``linear(input, W, b)``.
    h, c : Variable, (B, H)
        The state before.
    U : Variable, (4H, H)
        Recurrent weights, blocks i, f, g, o of H rows.

    Returns
    -------
    c, h : Variable, (B, H)
        The state after.
    """
    if x.shape != (len(h), len(U)) or h.shape != c.shape or U.shape[1] != h.shape[1]:
        _check_cell("lstm_step", x, 4, c=c, h=h)
        _check_rows("lstm_step", x, h=h, c=c)
        raise ShapeError(
            f"lstm_step: U has shape {U.shape}, but h {h.shape} needs "
            f"({4 * h.shape[1]}, {h.shape[1]})."
        )
    dtype = x.dtype
    if dtype.kind != "f" or not h.dtype == c.dtype == U.dtype == dtype:
        check_floats("lstm_step", x=x, h=h, c=c, U=U)
    if x.shape[0] == 0:
        check_batch("lstm_step", x, 0)
    return LSTMStep().apply(x, h, c, U)
