"""Stacks of recurrent layers over lists of sequences, each of its own length.

The sequences, in any order, are laid side by side in one padded window (T, B, I), which
the layers of :mod:`dyrnn.functions.recurrent_windows` run with lengths. Signatures are
Chainer's; here ``xs`` are the sequences themselves, not their transposition.

Weights of a layer are given gate by gate, in cuDNN's order:

- LSTM: ``ws[0..3]`` of the input for the gates i, f, g, o, ``ws[4..7]`` of the state
  (formulas in Chainer's manual name the last two o, a; its code takes a before o);
- GRU: ``ws[0..2]`` of the input for r, z, n, ``ws[3..5]`` of the state;
- plain: ``ws[0]`` of the input, ``ws[1]`` of the state.

A layer may also give two stacked matrices, (4H, I) and (4H, H), instead of eight. An
LSTM may have a projection (P, H) of its output after these, then the state's are
(4H, P), or (H, P) for each gate.
"""

from collections.abc import Sequence

import numpy as np

from dyrnn.engine.core import Variable, VariableLike, as_variable
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import check_floats
from dyrnn.functions.joining import concat, split_axis, stack
from dyrnn.functions.noise import dropout
from dyrnn.functions.recurrent_windows import (
    gru_window,
    lstm_window,
    rnn_window,
    turn,
    turned,
)


class Layout:
    """Where the rows of the sequences, one after the other, are in the window."""

    def __init__(self, xp, lengths):
        self.lengths = np.asarray(lengths)
        T, B = int(self.lengths.max()), len(lengths)
        steps, batch = np.arange(T)[:, None], np.arange(B)
        starts = np.cumsum(self.lengths) - self.lengths
        is_on = steps < self.lengths
        last = max(0, int(self.lengths.sum()) - 1)
        self.shape = T, B
        self.into = xp.asarray(np.where(is_on, starts + steps, last).reshape(-1))
        at = (steps * B + batch).T[is_on.T]
        self.out_of = xp.asarray(at)
        self.turned = turned(xp, T, xp.asarray(self.lengths))

    def window(self, x):
        """Return rows (N, I) as a window (T, B, I); its padding is arbitrary."""
        return x[self.into].reshape((*self.shape, x.shape[1]))

    def sequences(self, window):
        """Return the sequences of a window as a list, without the padding."""
        rows = window.reshape((-1, window.shape[2]))[self.out_of]
        ys = split_axis(rows, np.cumsum(self.lengths)[:-1], axis=0)
        return list(ys) if isinstance(ys, tuple) else ys


def _stacked(name, parts, n, n_more=0):
    """Return input's and state's weights of a layer, the gates below each other.

    ``n_more`` arrays may follow them.
    """
    if n > 1 and len(parts) in range(2 * n, 2 * n + n_more + 1):
        gates = concat(parts[:n], axis=0), concat(parts[n : 2 * n], axis=0)
        return *gates, *parts[2 * n :]
    if len(parts) not in range(2, n_more + 3):
        raise ValueError(
            f"{name}: a layer has {len(parts)} arrays of weights; give {2 * n}, one "
            "for each gate, or 2 stacked ones."
        )
    return parts


def _n_step(kind, n, run, n_layers, ratio, states, ws, bs, xs, is_bidirectional):
    """Run all layers: ``run(x, states, weights, b, b_u, lengths)`` runs one."""
    name = f"n_step_bi{kind}" if is_bidirectional else f"n_step_{kind}"
    directions = 2 if is_bidirectional else 1
    if hasattr(xs, "shape"):
        raise TypeError(
            f"{name}: xs is one array of shape {xs.shape}, but a list of sequences is "
            f"needed, each (length, I): for a window (T, B, I), list(x.swapaxes(0, 1))."
        )
    if len(xs) == 0:
        raise ValueError(f"{name}: xs is an empty list; give at least one sequence.")
    xs = [as_variable(x) for x in xs]
    if len(ws) != n_layers * directions or len(bs) != n_layers * directions:
        raise ValueError(
            f"{name}: {n_layers} layers of {directions} directions need as many lists "
            f"of weights and biases, not {len(ws)} and {len(bs)}."
        )
    weights = [_stacked(name, w, n, n_more=kind == "lstm") for w in ws]
    biases = [_stacked(name, b, n) for b in bs]
    size, U = weights[0][0].shape[1], weights[0][1]
    for k, x in enumerate(xs):
        if x.ndim != 2 or x.shape[1] != size:
            raise ShapeError(
                f"{name}: xs[{k}] has shape {x.shape}, but the weights take sequences "
                f"(length, {size})."
            )
    check_floats(name, xs=xs[0], ws=weights[0][0])
    lengths = [len(x) for x in xs]
    # h has as many units as U takes, which a projection makes fewer than those of c.
    sizes = (U.shape[1], U.shape[0] // n)[: len(states)]
    shapes = [(n_layers * directions, len(xs), units) for units in sizes]
    for state, shape in zip(states, shapes, strict=True):
        if state is not None and state.shape != shape:
            raise ShapeError(
                f"{name}: the state has shape {state.shape}, but {len(xs)} sequences "
                f"and these weights need {shape}: layers, sequences, units."
            )
    states = [None if state is None else as_variable(state) for state in states]
    xp = xs[0].xp
    if max(lengths) == 0:
        zeros = [as_variable(xp.zeros(shape, xs[0].dtype)) for shape in shapes]
        empty = as_variable(xp.zeros((0, sizes[0] * directions), xs[0].dtype))
        finals = [z if s is None else s for s, z in zip(states, zeros, strict=True)]
        return finals, [empty] * len(xs)
    layout = Layout(xp, lengths)
    on_device = xp.asarray(layout.lengths)
    x = layout.window(concat(xs, axis=0))
    finals = []
    for layer in range(n_layers):
        if layer > 0:
            x = dropout(x, ratio)
        outputs = []
        for direction in range(directions):
            k = layer * directions + direction
            given = [None if state is None else state[k] for state in states]
            source = turn(x, on_device, layout.turned) if direction else x
            *final, y = run(source, given, weights[k], *biases[k], on_device)
            finals.append(final)
            outputs.append(turn(y, on_device, layout.turned) if direction else y)
        x = concat(outputs, axis=2) if directions == 2 else y
    finals = [stack(parts, axis=0) for parts in zip(*finals, strict=True)]
    return finals, layout.sequences(x)


def _lstm(x, states, weights, b, b_u, lengths):
    (h, c), (W, U, *V) = states, weights
    return lstm_window(x, h, c, W, U, b + b_u, lengths, V[0] if V else None)


def _gru(x, states, weights, b, b_u, lengths):
    (h,), (W, U) = states, weights
    return gru_window(x, h, W, U, b, b_u, lengths)


def n_step_lstm(
    n_layers: int,
    dropout_ratio: float,
    hx: VariableLike | None,
    cx: VariableLike | None,
    ws: Sequence[Sequence[VariableLike]],
    bs: Sequence[Sequence[VariableLike]],
    xs: Sequence[VariableLike],
    is_bidirectional: bool = False,
) -> tuple[Variable, Variable, list[Variable]]:
    """Stacked LSTM layers over a list of sequences.

    Parameters
    ----------
    n_layers : int
    dropout_ratio : float
        Between the layers.
    hx, cx : Variable, (n_layers, B, H), or None
        Initial states; None: zeros. With two directions 2 * n_layers, layer by layer,
        forward before backward.
    ws, bs : sequence of sequences of Variable
        Weights and biases of each layer (and direction), see the module.
    xs : sequence of B variables (length, I)
        Sequences of any lengths, 0 included, in any order.
    is_bidirectional : bool
        Whether each layer also runs backwards in time; outputs are side by side.

    Returns
    -------
    hy, cy : Variable, like ``hx``
    ys : list of B variables (length, H) or (length, 2H)
        With projections P units each, as ``hx`` and ``hy``.
    """
    layers = n_layers, dropout_ratio, (hx, cx), ws, bs, xs
    (hy, cy), ys = _n_step("lstm", 4, _lstm, *layers, is_bidirectional)
    return hy, cy, ys


def n_step_bilstm(
    n_layers: int,
    dropout_ratio: float,
    hx: VariableLike | None,
    cx: VariableLike | None,
    ws: Sequence[Sequence[VariableLike]],
    bs: Sequence[Sequence[VariableLike]],
    xs: Sequence[VariableLike],
) -> tuple[Variable, Variable, list[Variable]]:
    """Stacked LSTM layers in both directions, see :func:`n_step_lstm`."""
    return n_step_lstm(n_layers, dropout_ratio, hx, cx, ws, bs, xs, True)


def n_step_gru(
    n_layers: int,
    dropout_ratio: float,
    hx: VariableLike | None,
    ws: Sequence[Sequence[VariableLike]],
    bs: Sequence[Sequence[VariableLike]],
    xs: Sequence[VariableLike],
    is_bidirectional: bool = False,
) -> tuple[Variable, list[Variable]]:
    """Stacked GRU layers over a list of sequences, see :func:`n_step_lstm`.

    Returns
    -------
    hy : Variable, (n_layers, B, H)
    ys : list of B variables (length, H)
    """
    layers = n_layers, dropout_ratio, (hx,), ws, bs, xs
    (hy,), ys = _n_step("gru", 3, _gru, *layers, is_bidirectional)
    return hy, ys


def n_step_bigru(
    n_layers: int,
    dropout_ratio: float,
    hx: VariableLike | None,
    ws: Sequence[Sequence[VariableLike]],
    bs: Sequence[Sequence[VariableLike]],
    xs: Sequence[VariableLike],
) -> tuple[Variable, list[Variable]]:
    """Stacked GRU layers in both directions, see :func:`n_step_gru`."""
    return n_step_gru(n_layers, dropout_ratio, hx, ws, bs, xs, True)


def n_step_rnn(
    n_layers: int,
    dropout_ratio: float,
    hx: VariableLike | None,
    ws: Sequence[Sequence[VariableLike]],
    bs: Sequence[Sequence[VariableLike]],
    xs: Sequence[VariableLike],
    activation: str = "tanh",
    is_bidirectional: bool = False,
) -> tuple[Variable, list[Variable]]:
    """Stacked plain layers over a list of sequences, see :func:`n_step_lstm`.

    ``activation`` is ``"tanh"`` or ``"relu"``.

    Returns
    -------
    hy : Variable, (n_layers, B, H)
    ys : list of B variables (length, H)
    """

    def run(x, states, weights, b, b_u, lengths):
        (h,), (W, U) = states, weights
        return rnn_window(x, h, W, U, b + b_u, activation, lengths)

    layers = n_layers, dropout_ratio, (hx,), ws, bs, xs
    (hy,), ys = _n_step("rnn", 1, run, *layers, is_bidirectional)
    return hy, ys


def n_step_birnn(
    n_layers: int,
    dropout_ratio: float,
    hx: VariableLike | None,
    ws: Sequence[Sequence[VariableLike]],
    bs: Sequence[Sequence[VariableLike]],
    xs: Sequence[VariableLike],
    activation: str = "tanh",
) -> tuple[Variable, list[Variable]]:
    """Stacked plain layers in both directions, see :func:`n_step_rnn`."""
    return n_step_rnn(n_layers, dropout_ratio, hx, ws, bs, xs, activation, True)
