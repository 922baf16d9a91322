"""Losses of label sequences, through dyrnn's functions."""

import numpy as np

from dyrnn import functions as engine
from dyrnn.chainer import _backend
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.functions.losses import check_reduce
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.variable import as_variable


def crf1d(cost, xs, ys, reduce="mean"):
    """Negative log-likelihood of a linear-chain conditional random field."""
    check_reduce(reduce)
    if xs[0].shape[1] != cost.shape[0]:
        raise AssertionError(
            f"xs have {xs[0].shape[1]} labels, cost has {cost.shape[0]}"
        )
    labels = [_backend.raw(y) for y in ys]
    return bridge(
        lambda c, *scores: engine.crf1d(c, list(scores), labels, reduce=reduce),
        cost,
        *xs,
        name="crf1d",
    )


def argmax_crf1d(cost, xs):
    """Return the best score and the best path of each sequence."""
    F = functions()
    cost, xs = as_variable(cost), [as_variable(x) for x in xs]
    _, path = engine.argmax_crf1d(cost.array, [x.array for x in xs])
    path = [labels.astype(np.int32) for labels in path]
    score = F.select_item(xs[0], path[0])
    for before, here, x in zip(path, path[1:], xs[1:], strict=False):
        n = len(here)  # Longer sequences come first.
        step = score[:n] + F.select_item(x, here) + cost[before[:n], here]
        score = F.concat([step, score[n:]], axis=0)
    return score, path


def connectionist_temporal_classification(
    x, t, blank_symbol, input_length=None, label_length=None, reduce="mean"
):
    """Negative log-probability of labels whose positions in time are not known."""
    if not isinstance(x, (list, tuple)):
        raise TypeError("x must be a list of Variables")
    if not isinstance(blank_symbol, int):
        raise TypeError("blank_symbol must be non-negative integer.")
    assert 0 <= blank_symbol < x[0].shape[1]
    check_reduce(reduce)
    args = [_backend.raw(v) for v in (t, input_length, label_length)]

    def loss(*xs):
        return engine.connectionist_temporal_classification(
            list(xs), args[0], blank_symbol, args[1], args[2], reduce
        )

    return bridge(loss, *x, name="ConnectionistTemporalClassification")
