"""Single steps of recurrent layers: what happens to the state when one input arrives.

The matrix products are outside, but for :func:`lstm_step`, which has the recurrent one
in it: a loop over time then makes two nodes per step.
"""

from dyrnn import kernels
from dyrnn.engine import gradients
from dyrnn.engine.core import FunctionNode, Variable, VariableLike, as_variable
from dyrnn.errors import ShapeError
from dyrnn.functions.activation import sigmoid, tanh
from dyrnn.functions.checks import check_arrays, check_batch, check_floats
from dyrnn.functions.connection import times
from dyrnn.functions.joining import concat
from dyrnn.kernels.recurrent import blocks


def _check_cell(name, x, n_blocks, **states):
    """Raise unless ``x`` has ``n_blocks`` blocks of the states' columns."""
    if not all(hasattr(a, "ndim") for a in (x, *states.values())):
        check_arrays(name, x=x, **states)
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


def composed_lstm(c_prev, x):
    """Define one LSTM step by elementary functions: ``c, h`` from gate inputs."""
    i, f, g, o = blocks(x, 4)
    c = tanh(g) * sigmoid(i) + c_prev * sigmoid(f)
    return c, tanh(c) * sigmoid(o)


class LSTM(FunctionNode):
    """Twelve elementwise operations at once."""

    def forward(self, xp, c_prev, x):
        gates = x.copy()
        c, tanh_c, h = kernels.lstm_gates(gates, c_prev)
        if self.edges:
            self.save(c_prev, x, gates, tanh_c)
        return c, h

    def backward(self, xp, gc, gh):
        c_prev, _, gates, tanh_c = self.saved
        gx, gc_prev = kernels.lstm_gates_backward(gates, c_prev, tanh_c, gc, gh)
        return gc_prev, gx

    def composed(self, c_prev, x):
        return composed_lstm(c_prev, x)


def lstm(c_prev: VariableLike, x: VariableLike) -> tuple[Variable, Variable]:
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
    rows = x.shape[0]
    if rows == len(c_prev):
        return LSTM().apply(c_prev, x)
    c_prev = as_variable(c_prev)
    c, h = LSTM().apply(c_prev[:rows], x)
    return concat((c, c_prev[rows:]), axis=0), h


class LSTMStep(FunctionNode):
    """:func:`lstm` with the recurrent product in it: one node less per time step."""

    def forward(self, xp, x, h, c, U):
        gates = kernels.linear(h, U)
        c_next, tanh_c, y = kernels.lstm_gates(gates, c, x)
        if self.edges:
            self.save(x, h, c, U, gates, tanh_c)
        return c_next, y

    def backward(self, xp, gc, gh):
        _, h, c, U, gates, tanh_c = self.saved
        gx, gc = kernels.lstm_gates_backward(gates, c, tanh_c, gc, gh)
        _, to_h, _, to_U = self.edges
        return (
            gx,
            None if to_h is None else times(xp, gx, U),
            gc,
            None if to_U is None else gradients.product(xp, gx, h),
        )

    def composed(self, x, h, c, U):
        return composed_lstm(c, x + h @ U.T)


def lstm_step(
    x: VariableLike, h: VariableLike, c: VariableLike, U: VariableLike
) -> tuple[Variable, Variable]:
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
    if (
        x.shape != (h.shape[0], U.shape[0])
        or h.shape != c.shape
        or U.shape[1] != h.shape[1]
    ):
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


def slstm(
    c_prev1: VariableLike, c_prev2: VariableLike, x1: VariableLike, x2: VariableLike
) -> tuple[Variable, Variable]:
    """One step of a layer that merges two cells into one, for trees (S-LSTM).

    Gate inputs of both add up, but for the forget gates, of which each cell has one.

    Parameters
    ----------
    c_prev1, c_prev2 : Variable, (B, H)
        Cell states of the two children.
    x1, x2 : Variable, (B, 4H)
        Their gate inputs i, f, g, o.

    Returns
    -------
    c, h : Variable, (B, H)

    References
    ----------
    Zhu, Sobhani, Guo, "Long Short-Term Memory over Recursive Structures", ICML 2015.
    """
    for key, c, x in (("c_prev1", c_prev1, x1), ("c_prev2", c_prev2, x2)):
        _check_cell("slstm", x, 4, **{key: c})
        _check_rows("slstm", x1, **{key: c})
    i1, f1, g1, o1 = blocks(as_variable(x1), 4)
    i2, f2, g2, o2 = blocks(as_variable(x2), 4)
    c = tanh(g1 + g2) * sigmoid(i1 + i2)
    c = c + c_prev1 * sigmoid(f1) + c_prev2 * sigmoid(f2)
    return c, tanh(c) * sigmoid(o1 + o2)


def tree_lstm(*inputs: VariableLike) -> tuple[Variable, Variable]:
    """One step of an N-ary tree LSTM: each child has a forget gate.

    Parameters
    ----------
    *inputs : Variable
        Cell states (B, H) of the N children, then the gate inputs (B, (3 + N)H), in
        blocks i, g, o, f_1, ..., f_N.

    Returns
    -------
    c, h : Variable, (B, H)

    References
    ----------
    Tai, Socher, Manning, "Improved Semantic Representations From Tree-Structured Long
    Short-Term Memory Networks", ACL 2015.
    """
    *cells, x = inputs
    if not cells:
        raise ValueError("tree_lstm: give at least one child's cell state before x.")
    states = {f"cell {k}": c for k, c in enumerate(cells)}
    _check_cell("tree_lstm", x, 3 + len(cells), **states)
    _check_rows("tree_lstm", x, **states)
    return composed_tree_lstm(*cells, as_variable(x))


def composed_tree_lstm(*inputs):
    """Define :func:`tree_lstm` by elementary functions."""
    *cells, x = inputs
    i, g, o, *forget = blocks(x, 3 + len(cells))
    c = sigmoid(i) * tanh(g)
    for cell, f in zip(cells, forget, strict=True):
        c = c + sigmoid(f) * cell
    return c, sigmoid(o) * tanh(c)


def peephole_lstm(
    c_prev: VariableLike, x: VariableLike, p: VariableLike
) -> tuple[Variable, Variable]:
    """One step of an LSTM whose gates see the cell state through diagonal weights.

    Parameters
    ----------
    c_prev : Variable, (B, H)
    x : Variable, (B, 4H)
        Gate inputs i, f, g, o.
    p : Variable, (3, H)
        Weights of ``c_prev`` in the gates i and f, and of the new ``c`` in o.

    Returns
    -------
    c, h : Variable, (B, H)

    References
    ----------
    Gers, Schraudolph, Schmidhuber, "Learning Precise Timing with LSTM Recurrent
    Networks", JMLR 3, 2002.
    """
    _check_cell("peephole_lstm", x, 4, c_prev=c_prev)
    _check_rows("peephole_lstm", x, c_prev=c_prev)
    if p.shape != (3, c_prev.shape[1]):
        raise ShapeError(
            f"peephole_lstm: p has shape {p.shape}, but with c_prev {c_prev.shape} it "
            f"must be (3, {c_prev.shape[1]})."
        )
    i, f, g, o = blocks(as_variable(x), 4)
    p = as_variable(p)
    c = tanh(g) * sigmoid(i + p[0] * c_prev) + c_prev * sigmoid(f + p[1] * c_prev)
    return c, tanh(c) * sigmoid(o + p[2] * c)


def composed_gru(x, h, a):
    """Define one GRU step by elementary functions."""
    x_r, x_z, x_n = blocks(x, 3)
    a_r, a_z, a_n = blocks(a, 3)
    z = sigmoid(x_z + a_z)
    return (1 - z) * tanh(x_n + sigmoid(x_r + a_r) * a_n) + z * h


class GRU(FunctionNode):
    """Ten elementwise operations at once."""

    def forward(self, xp, x, h, a):
        gates = x.copy()
        y = kernels.gru_gates(gates, h, a)
        if self.edges:
            self.save(x, h, a, gates)
        return y

    def backward(self, xp, gy):
        _, h, a, gates = self.saved
        gx, ga, gh = kernels.gru_gates_backward(gy, gates, h, a)
        return gx, gh, ga

    def composed(self, x, h, a):
        return composed_gru(x, h, a)


def gru(x: VariableLike, h: VariableLike, a: VariableLike) -> Variable:
    r"""One step of a gated recurrent unit.

    .. math::

        r = \sigma(x_r + a_r), \quad z = \sigma(x_z + a_z), \quad
        n = \tanh(x_n + r a_n), \quad h' = (1 - z) n + z h

    This is the form of cuDNN, in which the reset gate acts on the product; with it a
    step needs one recurrent product.

    Parameters
    ----------
    x : Variable, (B, 3H)
        The input's part of the gates r, z, n: ``linear(input, W, b)``.
    h : Variable, (B, H)
        State before the step.
    a : Variable, (B, 3H)
        The state's part: ``linear(h, U, b_u)``.

    Returns
    -------
    Variable, (B, H)
        State after the step.

    References
    ----------
    Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation", EMNLP 2014.
    """
    _check_cell("gru", x, 3, h=h)
    _check_cell("gru", a, 3, h=h)
    _check_rows("gru", x, h=h, a=a)
    return GRU().apply(x, h, a)
