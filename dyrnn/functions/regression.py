"""Losses of real-valued targets, of binary labels, and of distributions.

With ``reduce="mean"`` a loss is the mean over all elements (``"sum"``: their sum), with
``"no"`` it has the shape of its inputs. All are composed of elementary functions.

``weights``, constant factors of the losses or a mask, have the shape of the inputs or
their first axes, such as (T, B) for (T, B, F); the mean is the weighted one, see
:mod:`dyrnn.functions.loss`.
"""

import math

import numpy as np

from dyrnn.engine.core import Variable, VariableLike, as_array, as_variable
from dyrnn.engine.counts import ROWS, counted, passed_on
from dyrnn.errors import ShapeError
from dyrnn.functions.activation import relu, softplus
from dyrnn.functions.checks import (
    check_arrays,
    check_batch,
    check_choice,
    check_floats,
    check_ids,
    check_same_shape,
)
from dyrnn.functions.indexing import where
from dyrnn.functions.loss import of_labels, weighted_mean, weights_for
from dyrnn.functions.math import exp, expm1, square
from dyrnn.functions.shape import cast
from dyrnn.kernels.labels import count_labels
from dyrnn.typing import Array

REDUCTIONS = ("sum", "mean", "no")


def reduced(loss, reduce, name="", weights=None):
    """Return the mean or the sum of losses, or all of them."""
    if weights is not None:
        if reduce == "mean":
            return weighted_mean(name, loss, weights)
        loss = loss * weights.astype(loss.dtype)
    if reduce == "no":
        return loss
    return loss.sum() if reduce == "sum" else loss.mean()


def _inputs(name, reduce="no", choices=("no",), **inputs):
    check_choice(name, "reduce", reduce, choices)
    check_same_shape(name, **dict(list(inputs.items())[:2]))
    check_floats(name, **inputs)
    return [as_variable(x) for x in inputs.values()]


def _masked(name, weights, *inputs):
    """Return weights in the shape of the inputs, which are 0 where the weight is."""
    if weights is None:
        return weights, *inputs
    weights = weights_for(name, weights, inputs[0], inputs[0].shape, 1)
    return weights, *[where(weights != 0, x, 0.0) for x in inputs]


def squared_error(x0: VariableLike, x1: VariableLike) -> Variable:
    """``(x0 - x1)**2``, elementwise."""
    x0, x1 = _inputs("squared_error", x0=x0, x1=x1)
    return square(x0 - x1)


def absolute_error(x0: VariableLike, x1: VariableLike) -> Variable:
    """``|x0 - x1|``, elementwise."""
    x0, x1 = _inputs("absolute_error", x0=x0, x1=x1)
    return abs(x0 - x1)


def mean_squared_error(
    x0: VariableLike, x1: VariableLike, weights: VariableLike | None = None
) -> Variable:
    """Mean of the squared differences of all elements."""
    name = "mean_squared_error"
    x0, x1 = _inputs(name, x0=x0, x1=x1)
    if weights is None:
        return counted(square(x0 - x1).mean(), x0.size)
    weights, difference = _masked(name, weights, x0 - x1)
    return weighted_mean(name, square(difference), weights)


def mean_absolute_error(
    x0: VariableLike, x1: VariableLike, weights: VariableLike | None = None
) -> Variable:
    """Mean of the absolute differences of all elements."""
    name = "mean_absolute_error"
    x0, x1 = _inputs(name, x0=x0, x1=x1)
    if weights is None:
        return counted(abs(x0 - x1).mean(), x0.size)
    weights, difference = _masked(name, weights, x0 - x1)
    return weighted_mean(name, abs(difference), weights)


def huber_loss(
    x: VariableLike,
    t: VariableLike,
    delta: float,
    reduce: str = "sum_along_second_axis",
    weights: VariableLike | None = None,
) -> Variable:
    """Squared error for differences up to ``delta``, linear beyond.

    Parameters
    ----------
    x, t : Variable, (B, ...)
    delta : float
        ``d**2 / 2`` for ``|d| <= delta``, else ``delta * (|d| - delta / 2)``.
    reduce : str
        ``"sum_along_second_axis"``, or ``"no"`` for all elements.
    weights : array, optional

    References
    ----------
    Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical
    Statistics 35(1), 1964.
    """
    choices = ("sum_along_second_axis", "no")
    x, t = _inputs("huber_loss", reduce, choices, x=x, t=t)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta={delta} must be positive")
    weights, difference = _masked("huber_loss", weights, x - t)
    size = abs(difference)
    is_small = size.array <= delta
    y = where(is_small, square(difference) * 0.5, delta * (size - 0.5 * delta))
    y = reduced(y, "no", weights=weights)
    return y if reduce == "no" else y.sum(axis=1)


def hinge(
    x: VariableLike,
    t: VariableLike,
    norm: str = "L1",
    reduce: str = "mean",
    weights: VariableLike | None = None,
) -> Variable:
    """Loss of a classifier with margin 1, one against the rest.

    Parameters
    ----------
    x : Variable, (B, C)
    t : array of integers, (B,)
    norm : str
        ``"L1"``: ``max(0, 1 - x[t])`` and ``max(0, 1 + x[other])``, summed over the
        classes and averaged over the batch; ``"L2"``: their squares.
    reduce : str
        ``"mean"``, or ``"no"`` for all elements.
    weights : array, (B,), optional
    """
    check_choice("hinge", "norm", norm, ("L1", "L2"))
    check_choice("hinge", "reduce", reduce, ("mean", "no"))
    check_floats("hinge", x=x)
    t = as_array(t)
    check_arrays("hinge", t=t)
    if len(x.shape) != 2 or t.shape != x.shape[:1]:
        raise ShapeError(
            f"hinge: x has shape {x.shape}, but t {t.shape}. They must be (B, C) and "
            "(B,)."
        )
    check_batch("hinge", x, 0)
    t, weights, x = _with_labels("hinge", weights, x, t)
    check_ids("hinge", "label", t, x.shape[1], x=x)
    is_other = x.xp.arange(x.shape[1]) != t[:, None]
    y = relu(1.0 + where(is_other, x, -x))
    if norm == "L2":
        y = square(y)
    if weights is not None:
        return reduced(y, reduce, "hinge", weights[:, None])
    return y if reduce == "no" else counted(y.sum() / len(x), len(x))


def _with_labels(
    name: str, weights: VariableLike | None, x: VariableLike, t: Array
) -> tuple[Array, Array | None, Variable]:
    """Return labels and rows of x, 0 where the weight is 0, and the weights (B,)."""
    x = as_variable(x)
    if weights is None or t.dtype.kind not in "iu":
        return t, None, x
    factors = weights_for(name, weights, x, t.shape)
    on = factors != 0
    return x.xp.where(on, t, 0), factors, where(on[..., None], x, 0.0)


def gaussian_nll(
    x: VariableLike,
    mean: VariableLike,
    ln_var: VariableLike,
    reduce: str = "sum",
    weights: VariableLike | None = None,
) -> Variable:
    """Negative log-likelihood of ``x`` under a normal distribution.

    Parameters
    ----------
    x, mean, ln_var : Variable
        ``ln_var`` is the logarithm of the variance; all of one shape.
    reduce : str
        ``"sum"``, ``"mean"`` or ``"no"``.
    weights : array, optional
    """
    inputs = {"x": x, "mean": mean, "ln_var": ln_var}
    x, mean, ln_var = _inputs("gaussian_nll", reduce, REDUCTIONS, **inputs)
    check_same_shape("gaussian_nll", mean=mean, ln_var=ln_var)
    weights, x, mean, ln_var = _masked("gaussian_nll", weights, x, mean, ln_var)
    loss = 0.5 * (ln_var + square(x - mean) * exp(-ln_var) + math.log(2 * math.pi))
    return reduced(loss, reduce, "gaussian_nll", weights)


def gaussian_kl_divergence(
    mean: VariableLike,
    ln_var: VariableLike,
    reduce: str = "sum",
    weights: VariableLike | None = None,
) -> Variable:
    """Kullback-Leibler divergence of a normal distribution from the standard one.

    Parameters
    ----------
    mean, ln_var : Variable
        ``ln_var`` is the logarithm of the variance.
    reduce : str
        ``"sum"``, ``"mean"`` or ``"no"``.
    weights : array, optional
    """
    name, inputs = "gaussian_kl_divergence", {"mean": mean, "ln_var": ln_var}
    mean, ln_var = _inputs(name, reduce, REDUCTIONS, **inputs)
    weights, mean, ln_var = _masked(name, weights, mean, ln_var)
    loss = 0.5 * (square(mean) + (expm1(ln_var) - ln_var))
    return reduced(loss, reduce, name, weights)


def bernoulli_nll(
    x: VariableLike,
    y: VariableLike,
    reduce: str = "sum",
    weights: VariableLike | None = None,
) -> Variable:
    """Negative log-likelihood of ``x`` (0 to 1) under probabilities ``sigmoid(y)``.

    Parameters
    ----------
    x, y : Variable
        Of one shape; ``y`` are logits.
    reduce : str
        ``"sum"``, ``"mean"`` or ``"no"``.
    weights : array, optional
    """
    x, y = _inputs("bernoulli_nll", reduce, REDUCTIONS, x=x, y=y)
    weights, x, y = _masked("bernoulli_nll", weights, x, y)
    # Not softplus(y) - x * y, in which a small loss is lost beside a large logit.
    loss = x * softplus(-y) + (1.0 - x) * softplus(y)
    return reduced(loss, reduce, "bernoulli_nll", weights)


def sigmoid_cross_entropy(
    x: VariableLike,
    t: VariableLike,
    normalize: bool = True,
    reduce: str = "mean",
    weights: VariableLike | None = None,
) -> Variable:
    """Cross entropy between ``sigmoid(x)`` and binary labels.

    Parameters
    ----------
    x : Variable
        Logits.
    t : array of integers, same shape
        0 or 1; -1 is ignored: loss 0, no gradient.
    normalize : bool
        Divide the sum by the number of labels that count; else by ``len(x)``, which
        `BPTTUpdater` takes for the batch size, also in windows (T, B, K).
    reduce : str
        ``"mean"``, or ``"no"`` for all elements.
    weights : array, like ``t`` or its first axes, optional
        Without effect on what ``normalize=False`` divides by.

    Raises
    ------
    ValueError
        If a label is not -1, 0 or 1 (on a GPU such a loss is NaN).
    """
    name = "sigmoid_cross_entropy"
    check_choice(name, "reduce", reduce, ("mean", "no"))
    check_same_shape(name, x=x, t=t)
    check_floats(name, x=x)
    t = as_array(t)
    if weights is not None:
        weights = weights_for(name, weights, as_variable(x), t.shape, 1)
    t, weights = of_labels(name, weights, as_variable(x), t, -1)
    check_ids(name, "label", t, 2, -1, x)
    dtype = x.dtype
    # Halves as floats: the sum, or the count, may exceed the largest half.
    x = cast(x, np.result_type(dtype, np.float32))
    xp = x.xp
    counts = t != -1
    weight = counts.astype(x.dtype) if weights is None else weights
    if xp is not np:
        weight = xp.where((t < -1) | (t > 1), xp.nan, weight)
    # Of the logit for the other label: no small loss is lost beside a large logit.
    signs = (1 - 2 * t.astype(np.int8)).astype(x.dtype)
    loss = softplus(where(counts, x * signs, 0.0))
    if weights is not None and normalize and reduce == "mean":
        y = weighted_mean(name, loss, weight)
        return passed_on(y, cast(y, dtype))
    loss = loss * weight
    if reduce == "no":
        return cast(loss, dtype)
    if not normalize:
        rows = len(x) if x.ndim else 1
        return counted(cast(loss.sum() / max(1, rows), dtype), rows, kind=ROWS)
    y = cast(loss.sum() / xp.maximum(weight.sum(), 1), dtype)
    return counted(y, count_labels(t, -1))


def negative_log_likelihood(
    x: VariableLike,
    t: VariableLike,
    reduce: str = "mean",
    weights: VariableLike | None = None,
) -> Variable:
    """``-x[n, t[n]]``: the loss of log-probabilities.

    Parameters
    ----------
    x : Variable, (B, C) or (T, B, C)
        Log-probabilities, such as those of ``log_softmax``.
    t : array of integers, (B,) or (T, B)
    reduce : str
        ``"mean"`` or ``"no"``.
    weights : array, like ``t``, optional
    """
    name = "negative_log_likelihood"
    check_choice(name, "reduce", reduce, ("mean", "no"))
    check_floats(name, x=x)
    t = as_array(t)
    if x.shape[:-1] != t.shape:
        raise ShapeError(
            f"{name}: x has shape {x.shape}, but t {t.shape}; t must have the shape of "
            "x without its last axis."
        )
    t, weights, x = _with_labels(name, weights, x, t)
    check_ids(name, "label", t, x.shape[-1], x=x)
    rows = x.reshape((-1, x.shape[-1]))
    loss = -rows[rows.xp.arange(len(rows)), t.reshape(-1)]
    if weights is not None:
        return reduced(loss.reshape(t.shape), reduce, name, weights)
    return counted(loss.mean(), t.size) if reduce == "mean" else loss.reshape(t.shape)
