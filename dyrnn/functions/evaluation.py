"""How good predictions are: numbers without a gradient, as variables.

Nothing here waits for a GPU.
"""

import numpy as np

from dyrnn.backend import get_array_module
from dyrnn.engine.core import Variable, VariableLike, as_array, as_variable
from dyrnn.engine.counts import no_mean
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import check_ids, check_same_shape, floating


def _result(value, dtype):
    """Return a variable of the type of predictions, floats where they are integers."""
    is_float = dtype.kind == "f"
    return as_variable(
        value.astype(dtype if is_float else np.result_type(dtype, np.float32))
    )


def _chosen(y, counts):
    """Return where the largest of each row is, and 0: NaN if a row that counts is."""
    chosen = y.argmax(axis=-1)
    xp = get_array_module(y)
    largest = xp.take_along_axis(y, chosen[..., None], axis=-1)[..., 0]
    return chosen, _zero_or_nan(largest, counts)


def _zero_or_nan(x, counts):
    """Return what to add to a measure: predictions that are NaN have no quality."""
    is_nan = x != x
    is_lost = (is_nan if counts is None else is_nan & counts).any()
    return get_array_module(x).where(is_lost, np.nan, 0.0)


def _ratio(xp, part, whole):
    """Divide counts; 0 where there is nothing."""
    return part / xp.maximum(whole, 1)


def share(is_right, counts, dtype, zero=0.0):
    """Return the share of what is right in what counts: None counts all."""
    if counts is None:
        result, total = _result(is_right.mean() + zero, dtype), is_right.size
    else:
        xp, total = get_array_module(is_right), counts.sum()
        ratio = _ratio(xp, (is_right & counts).sum(), total)
        result = _result(ratio + zero, dtype)
    result.count = total
    return result


def accuracy(
    y: VariableLike, t: VariableLike, ignore_label: int | None = None
) -> Variable:
    """Share of rows whose largest element is at the label.

    Parameters
    ----------
    y : Variable, (B, C) or (T, B, C)
    t : array of integers, (B,) or (T, B)
    ignore_label : int, optional
        Such labels do not count; 0 if none does.

    Returns
    -------
    Variable, ()
    """
    y, t = as_array(y), as_array(t)
    if y.shape[:-1] != t.shape:
        raise ShapeError(
            f"accuracy: y has shape {y.shape}, but t {t.shape}; t must have the shape "
            "of y without its last axis."
        )
    check_ids("accuracy", "label", t, y.shape[-1], ignore_label, y)
    if t.size == 0:
        raise ValueError(f"accuracy: y has shape {y.shape}: there are no predictions")
    counts = None if ignore_label is None else t != ignore_label
    chosen, zero = _chosen(y, counts)
    return share(chosen == t, counts, y.dtype, zero)


def binary_accuracy(y: VariableLike, t: VariableLike) -> Variable:
    """Share of logits ``y`` with the sign that the labels 0 and 1 ask for.

    Parameters
    ----------
    y : Variable
    t : array of integers, same shape
        -1 does not count.
    """
    y, t = as_array(y), as_array(t)
    check_same_shape("binary_accuracy", y=y, t=t)
    check_ids("binary_accuracy", "label", t, 2, -1, y)
    counts = t != -1
    return share((y >= 0) == (t == 1), counts, y.dtype, _zero_or_nan(y, counts))


def r2_score(
    pred: VariableLike,
    true: VariableLike,
    sample_weight: VariableLike | None = None,
    multioutput: str = "uniform_average",
) -> Variable:
    """Coefficient of determination: 1 is perfect, 0 as good as the mean.

    Parameters
    ----------
    pred, true : Variable, (B,) or (B, K)
    sample_weight : array, (B,), optional
    multioutput : str
        ``"uniform_average"`` over the K columns, or ``"raw_values"``.
    """
    pred, true = as_array(pred), as_array(true)
    check_same_shape("r2_score", pred=pred, true=true)
    if multioutput not in ("uniform_average", "raw_values"):
        raise ValueError(
            f"r2_score: multioutput={multioutput!r} is unknown; use 'uniform_average' "
            "or 'raw_values'"
        )
    xp = get_array_module(pred)
    pred, true = (floating(x).array for x in (pred, true))
    if pred.ndim == 0 or not pred.size:
        raise ValueError(f"r2_score: pred has shape {pred.shape}; it has no examples")
    weight = xp.ones(pred.shape, pred.dtype)
    if sample_weight is not None:
        weight = weight * as_array(sample_weight).reshape(
            (-1,) + (1,) * (pred.ndim - 1)
        )
    mean = (weight * true).sum(axis=0) / weight.sum(axis=0)
    residual = (weight * (pred - true) ** 2).sum(axis=0)
    total = (weight * (true - mean) ** 2).sum(axis=0)
    is_constant = total == 0
    score = xp.where(is_constant, 0, 1 - residual / xp.where(is_constant, 1, total))
    if multioutput == "uniform_average":
        score = score.mean()
    return no_mean(_result(score, pred.dtype))


def class_counts(chosen, t, counts, size):
    """Count, for each class, where it was rightly chosen, chosen, and true."""
    classes = get_array_module(t).arange(size)
    is_true = (t[..., None] == classes) & counts[..., None]
    is_chosen = (chosen[..., None] == classes) & counts[..., None]
    axes = tuple(range(t.ndim))
    return [x.sum(axis=axes) for x in (is_true & is_chosen, is_chosen, is_true)]


def classification_summary(
    y: VariableLike,
    t: VariableLike,
    label_num: int | None = None,
    beta: float = 1.0,
    ignore_label: int = -1,
) -> tuple[Variable, ...]:
    """Precision, recall, F-score and support of each class.

    Parameters
    ----------
    y : Variable, (B, C) or (T, B, C)
    t : array of integers, (B,) or (T, B)
    label_num : int, optional
        How many classes to report; C without it.
    beta : float
        Weight of recall against precision in the F-score.
    ignore_label : int
        Such labels do not count.

    Returns
    -------
    precision, recall, f_score, support : Variable, (C,)
        0 where a class was never chosen, or never true.
    """
    if not beta > 0:
        raise ValueError(f"classification_summary: beta={beta} must be positive")
    y, t = as_array(y), as_array(t)
    if y.shape[:-1] != t.shape:
        raise ShapeError(
            f"classification_summary: y has shape {y.shape}, but t {t.shape}; t must "
            "have the shape of y without its last axis."
        )
    size = y.shape[-1] if label_num is None else label_num
    check_ids("classification_summary", "label", t, size, ignore_label, y)
    xp = get_array_module(y)
    counts = t != ignore_label
    chosen, zero = _chosen(y, counts)
    right, chosen, true = class_counts(chosen, t, counts, size)
    square = beta * beta
    f_score = (1 + square) * right / xp.maximum(square * true + chosen, 1)
    precision, recall = _ratio(xp, right, chosen), _ratio(xp, right, true)
    scores = [
        no_mean(_result(score + zero, y.dtype))
        for score in (precision, recall, f_score)
    ]
    return (*scores, as_variable(true))


def precision(
    y: VariableLike,
    t: VariableLike,
    label_num: int | None = None,
    ignore_label: int = -1,
) -> tuple[Variable, Variable]:
    """Of what was predicted as a class, the share that was right; also the support.

    See :func:`classification_summary`.
    """
    summary = classification_summary(y, t, label_num, 1.0, ignore_label)
    return summary[0], summary[3]


def recall(
    y: VariableLike,
    t: VariableLike,
    label_num: int | None = None,
    ignore_label: int = -1,
) -> tuple[Variable, Variable]:
    """Of what is of a class, the share that was found; also the support.

    See :func:`classification_summary`.
    """
    summary = classification_summary(y, t, label_num, 1.0, ignore_label)
    return summary[1], summary[3]


def f1_score(
    y: VariableLike,
    t: VariableLike,
    label_num: int | None = None,
    ignore_label: int = -1,
) -> tuple[Variable, Variable]:
    """Harmonic mean of precision and recall of each class; also the support.

    See :func:`classification_summary`.
    """
    summary = classification_summary(y, t, label_num, 1.0, ignore_label)
    return summary[2], summary[3]
