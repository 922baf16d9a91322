"""Losses of classification and regression.

A loss that takes ``reduce`` returns the mean with ``"mean"`` and the loss of every
example, in the shape of its labels, with ``"no"``.

Losses with ``weights``, constant factors or a mask, have the weighted mean: the sum of
weight times loss over the sum of the weights, which is what the loss counts when means
of batches or steps are put together. What has weight 0 is not read: it may hold NaN.
"""

import numpy as np

from dyrnn import kernels
from dyrnn.backend import get_array_module
from dyrnn.engine.core import FunctionNode, Variable, VariableLike, as_array
from dyrnn.engine.counts import Tally, counted
from dyrnn.errors import NonFiniteError, ShapeError
from dyrnn.functions import reduction
from dyrnn.functions.activation import log_softmax
from dyrnn.functions.checks import (
    check_batch,
    check_choice,
    check_floats,
    check_ids,
    check_ratio,
    variable,
)
from dyrnn.functions.indexing import where
from dyrnn.functions.reduction import logsumexp
from dyrnn.functions.shape import moveaxis
from dyrnn.kernels.labels import bounded, count_labels, divisor, mean_factor
from dyrnn.typing import Array


class SoftmaxCrossEntropy(FunctionNode):
    """Log-softmax, selection and mean at once.

    The gradient is made in forward, from the exponentials that it needs anyway, but for
    the division by their sums.
    """

    def __init__(self, t, divisor, class_weight, ignore_label, reduce, weights=None):
        self.t = t
        self.weights = weights  # those of the labels, divided already
        self.divisor = divisor
        self.class_weight = class_weight
        self.ignore_label = ignore_label
        self.reduce = reduce

    def forward(self, xp, x):
        t, ignored = self.t.reshape(-1), self.ignore_label
        rows = xp.ascontiguousarray(x.reshape((len(t), x.shape[-1])))
        with np.errstate(invalid="ignore", divide="ignore"):
            loss, e, inverse = kernels.softmax_cross_entropy(rows, t, ignored)
        is_plain = self.class_weight is None and self.weights is None
        if self.reduce == "mean" and is_plain:
            y, scale = kernels.mean_loss(loss, inverse, t, ignored, self.divisor)
        else:
            _, weight = self._weights(xp, x)
            loss = xp.where(t != ignored, loss * weight, 0)
            y = loss.sum() if self.reduce == "mean" else loss.reshape(self.t.shape)
            scale = weight * inverse
        if self.edges:
            self.save(x, e.reshape(x.shape), scale.reshape(self.t.shape))
        return y

    def _weights(self, xp, x):
        """Return a class to look up for each label, and the factor of its loss."""
        t = self.t.reshape(-1)
        counts = t != self.ignore_label
        ids, _ = bounded(xp, xp.where(counts, t, 0), x.shape[-1])
        weight = counts.astype(x.dtype)
        if self.class_weight is not None:
            weight *= self.class_weight[ids]
        if self.weights is not None:
            weight *= self.weights.reshape(-1)
        elif self.reduce == "mean":
            weight *= mean_factor(counts, self.divisor, x.dtype)
        return ids, weight

    def backward(self, xp, gy):
        _, gx, scale = self.saved
        return gx * (scale * gy)[..., None]

    def composed(self, x):
        rows = x.reshape((-1, x.shape[-1]))
        ids, weight = self._weights(x.xp, x)
        picked = rows[x.xp.arange(rows.shape[0]), ids]
        loss = (logsumexp(rows, axis=1) - picked) * weight
        return loss.sum() if self.reduce == "mean" else loss.reshape(self.t.shape)


def explain(x, t, ignore_label):
    """Raise if a row of logits has no softmax; a loss of inf alone may be right."""
    rows = x.reshape((-1, x.shape[-1]))
    counts = t.reshape(-1) != ignore_label
    for row, logits in enumerate(rows):
        if not counts[row]:
            continue
        if (logits == -np.inf).all():
            raise ValueError(
                f"softmax_cross_entropy: all {len(logits)} logits of row {row} are "
                "-inf; at least one class must be possible."
            )
        if not (logits < np.inf).all():
            raise NonFiniteError(
                f"softmax_cross_entropy: the logits of row {row} hold NaN or inf. Run "
                "with config.debug to learn which operation made the first one, lower "
                "the learning rate, or clip the gradients."
            )


def softmax_cross_entropy(
    x: VariableLike,
    t: VariableLike,
    normalize: bool = True,
    class_weight: VariableLike | None = None,
    ignore_label: int = -1,
    reduce: str = "mean",
    label_smoothing: float = 0.0,
    weights: VariableLike | None = None,
) -> Variable:
    """Cross entropy between softmax of ``x`` and the labels ``t``.

    Parameters
    ----------
    x : Variable, (B, V) or a window (T, B, V)
        Logits, the classes on the last axis. Where ``t`` has more than one axis and the
        shapes only fit so, the classes may be on axis 1: (B, V, d1, d2, ...).
    t : array of integers, (B,) or (T, B)
        Labels, 0 <= t < V, or ``ignore_label``.
    normalize : bool
        Divide the sum by the number of labels that are not ignored; else by the batch
        size B, which gives a window the sum over time of the batch means.
    class_weight : array, (V,), optional
        Factors of the classes' losses. They do not change what is divided by.
    ignore_label : int
        Such labels have loss 0 and no gradient.
    reduce : str
        ``"mean"``, or ``"no"`` for the loss of each label.
    label_smoothing : float
        The share, 0 <= share < 1, of each label's probability that goes to all classes
        alike: the loss is ``(1 - share)`` times that of the label and ``share`` times
        the mean of those of all classes. Perplexities are those of a loss without.
    weights : array, like ``t``, optional
        Constant factors of the labels' losses, or a mask. The sum is divided by that of
        the weights; not so with ``normalize=False``.

    Returns
    -------
    Variable, () or the shape of ``t``
        0 if all labels are ignored.

    Raises
    ------
    ValueError
        If a label is out of range (on a GPU the loss is NaN), or a row is all -inf.
    NonFiniteError
        If logits are NaN or +inf (not checked on a GPU).

    References
    ----------
    Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR
    2016: label smoothing.
    """
    name = "softmax_cross_entropy"
    t = variable(name, "t", t).array
    check_choice(name, "reduce", reduce, ("mean", "no"))
    x = _classes_last(name, variable(name, "x", x), t)
    check_floats(name, x=x, class_weight=class_weight)
    check_batch(name, x, -2)
    t, weights = of_labels(name, weights, x, t, ignore_label)
    check_ids(name, "label", t, x.shape[-1], ignore_label, x)
    if class_weight is not None:
        class_weight = as_array(class_weight)
        if class_weight.shape != x.shape[-1:]:
            raise ShapeError(
                f"{name}: class_weight has shape {class_weight.shape}, but x {x.shape} "
                f"has {x.shape[-1]} classes."
            )
    over, scaled = divisor(t, normalize), weights
    if weights is not None and reduce == "mean":
        scaled = divided(name, weights, over)
    y = SoftmaxCrossEntropy(t, over, class_weight, ignore_label, reduce, scaled).apply(
        x
    )
    if type(y.array) is np.ndarray and not np.isfinite(y.array).all():
        explain(x.array, t, ignore_label)
    check_ratio(name, label_smoothing, "label_smoothing")
    if label_smoothing:
        y = y * (1 - label_smoothing)
        each = _of_all_classes(x, t, class_weight, ignore_label)
        if weights is not None:
            each = each * scaled.astype(x.dtype)
        if reduce == "mean":
            counts = t != ignore_label
            factor = 1.0 if weights is not None else mean_factor(counts, over, x.dtype)
            each = each.sum() * factor
        y = y + each * label_smoothing
    return counted(y, *labels_of(t, normalize, ignore_label, weights))


def _of_all_classes(x, t, class_weight, ignore_label):
    """Return for each label that counts the mean of the losses of all classes."""
    counts = t != ignore_label
    losses = -log_softmax(where(counts[..., None], x, 0.0))
    if class_weight is not None:
        losses = losses * class_weight
    return where(counts, reduction.mean(losses, axis=-1), 0.0)


def sequence_loss(
    x: VariableLike,
    t: VariableLike,
    weights: VariableLike,
    average_across_timesteps: bool = True,
    average_across_batch: bool = True,
) -> Variable:
    """Cross entropy of a window whose labels count by their weights, as TensorFlow's.

    Parameters
    ----------
    x : Variable, (T, B, V)
        Logits.
    t : array of integers, (T, B)
        Labels.
    weights : array, (T, B)
        Constant factors of the losses: 0 behind the end of a sequence, say.
    average_across_timesteps, average_across_batch : bool
        Divide the sum over that axis by the sum of its weights, 0 if they are; else
        keep the axis.

    Returns
    -------
    Variable, (), (B,), (T,) or (T, B)
        Averaged over both axes, over the time steps, over the batch, or not at all.

    References
    ----------
    ``tf.contrib.seq2seq.sequence_loss``, which is batch-major.
    """
    name = "sequence_loss"
    x, labels, weights = variable(name, "x", x), as_array(t), as_array(weights)
    if labels.ndim != 2 or weights.shape != labels.shape:
        raise ShapeError(
            f"{name}: t has shape {labels.shape} and weights {weights.shape}; both "
            "must be (T, B)"
        )
    flags = average_across_timesteps, average_across_batch
    if all(flags):
        return softmax_cross_entropy(x, t, weights=weights)
    losses = softmax_cross_entropy(x, t, reduce="no", weights=weights)
    if not any(flags):
        return losses
    axis = flags.index(True)
    total = of_labels(name, weights, x, labels, -1)[1].sum(axis=axis)
    return reduction.sum(losses, axis=axis) / (total + (total == 0)).astype(x.dtype)


def weights_for(name, weights, x, shape, n_axes=None):
    """Return weights as an array of ``shape``, of floats that can hold their sum.

    They have that shape, or at least ``n_axes`` of its first axes.
    """
    weights = variable(name, "weights", weights)
    if weights.node is not None:
        raise TypeError(
            f"{name}: weights are constants, but these were computed from variables, "
            'which would get no gradient. Multiply the losses of reduce="no" by them, '
            "or give weights.array."
        )
    weights = weights.array
    xp = get_array_module(x.array, weights)
    least = len(shape) if n_axes is None else n_axes
    if weights.ndim < least or weights.shape != shape[: weights.ndim]:
        raise ShapeError(
            f"{name}: weights have shape {weights.shape}, but must have {shape}, one "
            f"for each loss{', or its first axes' if n_axes else ''}."
        )
    weights = weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim))
    return xp.broadcast_to(weights.astype(np.result_type(x.dtype, np.float32)), shape)


def of_labels(name, weights, x, t, ignored):
    """Return labels, ignored where their weight is 0, and weights, 0 where they are."""
    if weights is None or t.dtype.kind not in "iu":
        return t, None
    weights = weights_for(name, weights, x, t.shape)
    xp = get_array_module(weights)
    weights = xp.where(t == ignored, 0, weights)
    return xp.where(weights == 0, ignored, t.astype(np.int64)), weights


def divided(name, weights, divisor=None):
    """Return weights over a divisor, by default their sum, or 1 if that is 0."""
    if divisor is not None:
        return weights / divisor
    total = weights.sum()
    if type(weights) is not np.ndarray:
        xp = get_array_module(weights)
        total = xp.where((weights < 0).any(), xp.nan, total)
    elif weights.min(initial=0) < 0:
        raise ValueError(
            f"{name}: weights go from {weights.min():g}; a mean has weights of 0 and "
            'more. Take reduce="no" and add up the losses.'
        )
    return weights / (total + (total == 0))


def weighted_mean(name, losses, weights):
    """Return the mean of losses, weighted, which counts the sum of the weights."""
    with Tally():  # a sum here is not the user's
        y = (losses * divided(name, weights).astype(losses.dtype)).sum()
    return counted(y, weights.sum())


def labels_of(t, normalize, ignore_label, weights=None):
    """Return how many labels a cross entropy counts, and its factor to their mean.

    A label counts as much as it weighs. With ``normalize=False`` that are all labels,
    and the loss of a window is the sum of the means of its steps.
    """
    if normalize and weights is not None:
        return weights.sum(), 1.0
    if normalize:
        return count_labels(t, ignore_label), 1.0
    return t.size, max(1, t.shape[-1]) / max(1, t.size)


def _classes_last(name: str, x: Variable, t: Array) -> Variable:
    """Return logits whose leading axes are those of the labels."""
    if x.ndim == t.ndim + 1 and x.ndim > 1:
        if x.shape[:-1] == t.shape:
            return x
        if x.ndim > 2 and x.shape[:1] + x.shape[2:] == t.shape:
            return moveaxis(x, 1, -1)
    raise ShapeError(
        f"{name}: x has shape {x.shape}, but t {t.shape}. They must be (B, V) and "
        "(B,), or (T, B, V) and (T, B)."
    )
