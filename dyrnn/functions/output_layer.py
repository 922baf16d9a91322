"""The output layer and its loss as one function, for large vocabularies."""

import numpy as np

from dyrnn import kernels
from dyrnn.backend import get_array_module
from dyrnn.engine.core import (
    FunctionNode,
    Variable,
    VariableLike,
    as_array,
    as_variable,
)
from dyrnn.engine.counts import counted
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import (
    check_batch,
    check_floats,
    check_ids,
)
from dyrnn.functions.connection import linear
from dyrnn.functions.loss import (
    divided,
    explain,
    labels_of,
    of_labels,
    softmax_cross_entropy,
)
from dyrnn.kernels.labels import bounded, divisor, mean_factor


class LinearSoftmaxCrossEntropy(FunctionNode):
    """Both layers block by block of words; backward computes the logits again.

    A fourth matrix product beside the plain pair's three, and no matrix (N, V).
    """

    def __init__(self, t, normalize, ignore_label, weights):
        self.t = t
        self.weights = weights  # those of the labels, divided already
        self.normalize = normalize
        self.ignore_label = ignore_label

    def forward(self, xp, x, W, b):
        rows, t = x.reshape((-1, x.shape[-1])), self.t.reshape(-1)
        counts = t != self.ignore_label
        ids, is_bad = bounded(xp, xp.where(counts, t, 0), len(W))
        if ids.dtype.kind == "u":  # which the ignored label may be no number of
            ids = ids.astype(np.int64)
        self.labels = xp.where(counts, ids, self.ignore_label)
        with np.errstate(invalid="ignore", divide="ignore"):
            loss, shift, total = kernels.linear_softmax_cross_entropy(
                rows, W, b, self.labels, self.ignore_label
            )
        if is_bad is not None:
            loss = xp.where(is_bad, xp.nan, loss)
        self.save(x, W, b, shift, total)
        if self.weights is not None:
            self.factor = self.weights.reshape(-1).astype(x.dtype)
            return (loss * self.factor).sum()
        self.factor = mean_factor(counts, divisor(self.t, self.normalize), x.dtype)
        return loss.sum() * self.factor

    def backward(self, xp, gy):
        x, W, b, shift, total = self.saved
        rows = x.reshape((-1, x.shape[-1]))
        scale = xp.broadcast_to(gy * self.factor, (len(rows),)).astype(x.dtype)
        gx, gW, gb = kernels.linear_softmax_cross_entropy_backward(
            scale, rows, W, b, self.labels, shift, total, self.ignore_label
        )
        return gx.reshape(x.shape), gW, gb

    def composed(self, x, W, b):
        y, options = linear(x, W, b), {"ignore_label": self.ignore_label}
        if self.weights is None:
            return softmax_cross_entropy(y, self.t, self.normalize, **options)
        options |= {"reduce": "no", "weights": self.weights}
        return softmax_cross_entropy(y, self.t, **options).sum()


def linear_softmax_cross_entropy(
    x: VariableLike,
    W: VariableLike,
    b: VariableLike | None,
    t: VariableLike,
    normalize: bool = True,
    ignore_label: int = -1,
    weights: VariableLike | None = None,
) -> Variable:
    """``softmax_cross_entropy(linear(x, W, b), t)`` that never holds all logits.

    With 200,000 words and 700 rows the logits and their gradient would take 1.1 GB;
    here a block of words at a time takes a few. For a small vocabulary the pair of
    functions is faster.

    Parameters
    ----------
    x : Variable, (B, I) or (T, B, I)
    W : Variable, (V, I)
    b : Variable, (V,), or None
    t : array of integers, (B,) or (T, B)
    normalize, ignore_label, weights
        As in :func:`dyrnn.functions.softmax_cross_entropy`.

    Returns
    -------
    Variable, ()
    """
    name = "linear_softmax_cross_entropy"
    t = as_array(t)
    if x.shape[:-1] != t.shape or x.shape[-1:] != W.shape[1:]:
        raise ShapeError(
            f"{name}: x has shape {x.shape}, W {W.shape} and t {t.shape}. They must be "
            "(B, I), (V, I) and (B,), or with a window (T, B, I) and (T, B)."
        )
    if b is None:
        b = get_array_module(as_array(W)).zeros(len(W), W.dtype)
    check_floats(name, x=x, W=W, b=b)
    check_batch(name, x, -2)
    t, weights = of_labels(name, weights, as_variable(x), t, ignore_label)
    check_ids(name, "label", t, W.shape[0], ignore_label, x)
    if t.dtype.itemsize < 4:  # in which the first word of a block may not fit
        t = t.astype(np.int32)
    scaled = weights
    if weights is not None:
        scaled = divided(name, weights, divisor(t, normalize))
    y = LinearSoftmaxCrossEntropy(t, normalize, ignore_label, scaled).apply(x, W, b)
    if type(y.array) is np.ndarray and not np.isfinite(y.array):
        explain(linear(x, W, b).array, t, ignore_label)
    return counted(y, *labels_of(t, normalize, ignore_label, weights))
