"""Losses of whole sequences: CTC and linear-chain conditional random fields."""

from collections.abc import Sequence

import numpy as np

from dyrnn import backend
from dyrnn.engine.core import (
    FunctionNode,
    Variable,
    VariableLike,
    as_array,
    as_variable,
)
from dyrnn.engine.counts import counted
from dyrnn.errors import NonFiniteError, ShapeError
from dyrnn.functions.checks import (
    check_batch,
    check_choice,
    check_floats,
    check_ids,
)
from dyrnn.functions.joining import concat, stack
from dyrnn.functions.reduction import logsumexp
from dyrnn.typing import Array

# Logarithm of an impossible probability: far from any real one, and finite.
_NEVER = -1e30


class CTC(FunctionNode):
    """Sum over all alignments, in logarithms, for the whole batch at once.

    States are the labels with blanks around them, (B, S). The gradient runs the
    recursion backwards: what a state has of its successors' share.
    """

    def __init__(self, states, n_states, may_skip, lengths, reduce):
        self.states, self.n_states = states, n_states
        self.may_skip, self.lengths, self.reduce = may_skip, lengths, reduce

    def forward(self, xp, x):
        T, B, _ = x.shape
        batch = xp.arange(B)
        self.is_inside = (xp.arange(T)[:, None] < self.lengths)[..., None]
        shifted = xp.where(self.is_inside, x, 0)  # padding may hold anything, even NaN
        shifted = shifted - shifted.max(axis=2, keepdims=True)
        log_p = shifted - xp.log(xp.exp(shifted).sum(axis=2, keepdims=True))
        emit = xp.take_along_axis(
            log_p, xp.broadcast_to(self.states, (T, *self.states.shape)), axis=2
        )
        emit = xp.maximum(emit, _NEVER)  # an impossible label: -inf - -inf is NaN
        alpha = xp.full(emit.shape, _NEVER, x.dtype)
        alpha[0, :, :2] = emit[0, :, :2]
        for t in range(1, T):
            before = alpha[t - 1]
            after = emit[t] + _add_up(xp, self.predecessors(xp, before))
            alpha[t] = xp.where((t < self.lengths)[:, None], after, before)
        last = alpha[self.lengths - 1, batch]
        is_end = xp.arange(last.shape[1]) >= (self.n_states - 2)[:, None]
        is_end &= xp.arange(last.shape[1]) < self.n_states[:, None]
        ends = xp.where(is_end, last, _NEVER)
        total = _add_up(xp, [ends[:, s] for s in range(ends.shape[1])])
        loss = xp.where(total < _NEVER / 2, xp.inf, -total)
        if self.edges:
            share = xp.exp(ends - total[:, None])
            self.save(x, log_p, emit, alpha, share)
        return loss.mean() if self.reduce == "mean" else loss

    def predecessors(self, xp, alpha):
        """Return what leads to each state: itself, the one before, and one skipped."""
        never = xp.full((len(alpha), 2), _NEVER, alpha.dtype)
        padded = xp.concatenate((never, alpha), axis=1)
        skipped = xp.where(self.may_skip, padded[:, :-2], _NEVER)
        return [alpha, padded[:, 1:-1], skipped]

    def backward(self, xp, gy):
        x, log_p, emit, alpha, share = self.saved
        T, B, S = emit.shape
        batch = xp.arange(B)
        gx = xp.exp(log_p)
        gx *= self.is_inside
        zeros = xp.zeros((B, 2), x.dtype)
        ended = self.lengths - 1
        posterior = xp.zeros((B, S), x.dtype)
        for t in reversed(range(T)):
            posterior = xp.where((ended == t)[:, None], share, posterior)
            for s in range(S):
                gx[t, batch, self.states[:, s]] -= posterior[:, s]
            if t == 0:
                break
            sums = alpha[t] - emit[t]
            stays, moves, skips = [
                posterior * xp.exp(xp.minimum(before - sums, 0))
                for before in self.predecessors(xp, alpha[t - 1])
            ]
            moves = xp.concatenate((moves, zeros), axis=1)
            skips = xp.concatenate((skips, zeros), axis=1)
            posterior = stays + moves[:, 1 : S + 1] + skips[:, 2:]
        is_possible = (xp.abs(share.sum(axis=1) - 1) < 0.5).astype(x.dtype)
        weight = gy / B if self.reduce == "mean" else gy
        return gx * (weight * is_possible)[:, None]


def _add_up(xp, logarithms):
    total = logarithms[0]
    for term in logarithms[1:]:
        total = xp.logaddexp(total, term)
    return total


def _lengths(name, what, lengths, batch, most):
    """Return lengths on the host as an array (B,), checked."""
    if lengths is None:
        return np.full(batch, most)
    lengths = np.asarray(backend.to_cpu(as_array(lengths)))
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise ShapeError(
            f"{name}: {what} must be {batch} integers, one per sequence, not an array "
            f"of {lengths.dtype} of shape {lengths.shape}."
        )
    least = 0 if what == "label_length" else 1
    if lengths.min() < least or lengths.max() > most:
        raise ValueError(
            f"{name}: {what} goes from {lengths.min()} to {lengths.max()}, but must be "
            f"within {least} to {most}."
        )
    return lengths.astype(np.int64)


def connectionist_temporal_classification(
    x: VariableLike | Sequence[VariableLike],
    t: VariableLike,
    blank_symbol: int,
    input_length: VariableLike | None = None,
    label_length: VariableLike | None = None,
    reduce: str = "mean",
) -> Variable:
    """Negative log-probability of labels whose positions in time are not known.

    Parameters
    ----------
    x : sequence of T variables (B, V), or Variable, (T, B, V)
        Logits of each step.
    t : array of integers, (B, L)
        Labels, padded to the longest.
    blank_symbol : int
        The label that stands for none.
    input_length, label_length : array of integers, (B,), optional
        Steps of each sequence, and labels of each.
    reduce : str
        ``"mean"`` over the batch, or ``"no"``.

    Returns
    -------
    Variable, () or (B,)
        inf, with gradient 0, where the labels do not fit into the steps.

    References
    ----------
    Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented
    Sequence Data with Recurrent Neural Networks", ICML 2006.
    """
    name = "connectionist_temporal_classification"
    check_choice(name, "reduce", reduce, ("mean", "no"))
    if isinstance(x, Sequence):
        if not x:
            raise ValueError(f"{name}: x is an empty list; give at least one step.")
        x = stack(x, axis=0)
    check_floats(name, x=x)
    x = as_variable(x)
    if x.dtype == np.float16:  # too narrow for logarithms of small probabilities
        x = x.astype(np.float32)
        given = x, t, blank_symbol, input_length, label_length, reduce
        return connectionist_temporal_classification(*given).astype(np.float16)
    labels = as_array(t)
    if x.ndim != 3 or labels.ndim != 2 or x.shape[1] != labels.shape[0]:
        raise ShapeError(
            f"{name}: x has shape {x.shape}, but t {labels.shape}. They must be "
            "(T, B, V) and (B, L)."
        )
    T, B, V = x.shape
    if T == 0:
        raise ShapeError(f"{name}: x has shape {x.shape}; give at least one step.")
    check_batch(name, x, 1)
    L = labels.shape[1]
    if not 0 <= blank_symbol < V:
        raise ValueError(
            f"{name}: blank_symbol={blank_symbol} is out of range: use 0 to {V - 1}."
        )
    input_length = _lengths(name, "input_length", input_length, B, T)
    label_length = _lengths(name, "label_length", label_length, B, L)
    xp = backend.get_array_module(as_array(x))
    if labels.dtype.kind in "iu":
        labels = labels.astype(np.int64)
    # Padding may hold anything; as blanks it does no harm.
    is_label = xp.arange(L) < xp.asarray(label_length)[:, None]
    labels = xp.where(is_label, labels, xp.asarray(blank_symbol))
    check_ids(name, "label", labels, V)
    states = xp.full((B, 2 * L + 1), blank_symbol, labels.dtype)
    states[:, 1::2] = labels
    may_skip = xp.zeros(states.shape, bool)
    may_skip[:, 2:] = (states[:, 2:] != blank_symbol) & (
        states[:, 2:] != states[:, :-2]
    )
    n_states, lengths = xp.asarray(2 * label_length + 1), xp.asarray(input_length)
    y = CTC(states, n_states, may_skip, lengths, reduce).apply(x)
    _refuse_nan(name, y)
    return counted(y, B)


def _refuse_nan(name, y):
    """Raise if a loss on the CPU is NaN."""
    if type(y.array) is np.ndarray and np.isnan(y.array).any():
        raise NonFiniteError(
            f"{name}: the loss is NaN: the scores hold NaN or inf, or so many of -inf "
            "that no label is possible at some step. Run with config.debug to learn "
            "which operation made the first one."
        )


def _steps(name, xs, ys, lengths):
    """Return steps of falling batch sizes, and the order of the batch (or None)."""
    if isinstance(xs, (list, tuple)) and lengths is None:
        if not xs:
            raise ValueError(f"{name}: xs is an empty list; give at least one step.")
        sizes = [x.shape[0] for x in xs]
        if sizes != sorted(sizes, reverse=True):
            raise ValueError(
                f"{name}: batch sizes of the steps {sizes} must not grow; sort the "
                "sequences longest first, or give lengths."
            )
        ys = None if ys is None else [as_array(y) for y in ys]
        return [as_variable(x) for x in xs], ys, None
    x = stack(xs, axis=0) if isinstance(xs, (list, tuple)) else as_variable(xs)
    if x.ndim != 3:
        raise ShapeError(f"{name}: xs has shape {x.shape}; it must be (T, B, C).")
    lengths = _lengths(name, "lengths", lengths, x.shape[1], x.shape[0])
    order = np.argsort(-lengths, kind="stable")
    rows = x.xp.asarray(order)
    counts = [int(n) for n in (lengths[:, None] > np.arange(lengths.max())).sum(axis=0)]
    steps = [x[t, rows[:n]] for t, n in enumerate(counts)]
    if ys is not None:
        ys = [as_array(ys[t])[rows[:n]] for t, n in enumerate(counts)]
    return steps, ys, order


def _check_crf(name, cost, xs):
    C = cost.shape[0] if cost.ndim else 0
    if cost.shape != (C, C) or any(x.ndim != 2 or x.shape[1] != C for x in xs):
        raise ShapeError(
            f"{name}: cost has shape {cost.shape} and xs {[x.shape for x in xs]}; they "
            "must be (C, C) and (B, C) each."
        )
    check_floats(name, cost=cost, **{f"xs[{t}]": x for t, x in enumerate(xs)})


def crf1d(
    cost: VariableLike,
    xs: VariableLike | Sequence[VariableLike],
    ys: VariableLike | Sequence[VariableLike],
    lengths: Sequence[int] | Array | None = None,
    reduce: str = "mean",
) -> Variable:
    """Negative log-likelihood of a linear-chain conditional random field.

    Parameters
    ----------
    cost : Variable, (C, C)
        ``cost[i, j]``: score of going from label i to label j.
    xs : sequence of T variables (B_t, C), B_t falling, or with ``lengths`` (T, B, C)
        Scores of the labels at each step.
    ys : sequence of T arrays of integers, (B_t,)
        The labels.
    lengths : array of integers, (B,), optional
        Steps of each sequence, in any order; then all steps have B rows.
    reduce : str
        ``"mean"`` over the batch, or ``"no"``.

    References
    ----------
    Lafferty, McCallum, Pereira, "Conditional Random Fields: Probabilistic Models for
    Segmenting and Labeling Sequence Data", ICML 2001.
    """
    check_choice("crf1d", "reduce", reduce, ("mean", "no"))
    cost = as_variable(cost)
    xs, ys, order = _steps("crf1d", xs, ys, lengths)
    _check_crf("crf1d", cost, xs)
    for t, (x, y) in enumerate(zip(xs, ys, strict=True)):
        check_ids("crf1d", "label", y, len(cost))
        if y.shape != x.shape[:1]:
            raise ShapeError(
                f"crf1d: xs[{t}] has shape {x.shape}, but ys[{t}] {y.shape}; there "
                "must be one label for each row."
            )
    xp = cost.xp
    alpha, score = xs[0], xs[0][xp.arange(len(ys[0])), ys[0]]
    for t in range(1, len(xs)):
        n, y = len(xs[t]), ys[t]
        following = logsumexp(alpha[:n].reshape((n, -1, 1)) + cost, axis=1) + xs[t]
        gained = xs[t][xp.arange(n), y] + cost[ys[t - 1][:n], y] + score[:n]
        if n < len(alpha):
            following = concat((following, alpha[n:]), axis=0)
            gained = concat((gained, score[n:]), axis=0)
        alpha, score = following, gained
    with np.errstate(invalid="ignore"):
        loss = logsumexp(alpha, axis=1) - score
    _refuse_nan("crf1d", loss)
    if reduce == "mean":
        return counted(loss.mean(), len(loss))
    return loss if order is None else loss[xp.asarray(np.argsort(order))]


def argmax_crf1d(
    cost: VariableLike,
    xs: VariableLike | Sequence[VariableLike],
    lengths: Sequence[int] | Array | None = None,
) -> tuple[Variable, list[Array]]:
    """Most probable labels of a linear-chain conditional random field (Viterbi).

    Parameters
    ----------
    cost, xs, lengths
        As in :func:`crf1d`.

    Returns
    -------
    score : Variable, (B,)
        Scores of the best paths.
    path : list of arrays of integers, (B_t,)
        Labels of each step; with ``lengths`` (B,), 0 after a sequence's end.
    """
    cost = as_variable(cost)
    batches, _, order = _steps("argmax_crf1d", xs, None, lengths)
    _check_crf("argmax_crf1d", cost, batches)
    xp, transitions = cost.xp, cost.array
    steps = [x.array for x in batches]
    alpha, choices = steps[0], []
    for x in steps[1:]:
        n = len(x)
        scores = alpha[:n, :, None] + transitions
        choices.append(scores.argmax(axis=1))
        alpha = xp.concatenate((scores.max(axis=1) + x, alpha[n:]))
    score, label = alpha.max(axis=1), alpha.argmax(axis=1)
    path = [label[: len(steps[-1])]]
    for choice in reversed(choices):
        n = len(choice)
        before = xp.concatenate((choice[xp.arange(n), label[:n]], label[n:]))
        label = before
        path.insert(0, label)
    path = [p[: len(x)] for p, x in zip(path, steps, strict=True)]
    if order is not None:
        back = xp.asarray(np.argsort(order))
        score = score[back]
        whole = [
            xp.concatenate((p, xp.zeros(len(order) - len(p), p.dtype))) for p in path
        ]
        path = [p[back] for p in whole]
    return as_variable(score), path
