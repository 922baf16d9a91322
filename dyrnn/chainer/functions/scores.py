"""Measures of classifiers and of regressions: they have no gradients."""

import numpy as np

from dyrnn import functions as engine
from dyrnn.chainer import configuration
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.functions.nodes import are_alike
from dyrnn.chainer.utils import type_check
from dyrnn.engine.core import as_variable
from dyrnn.functions.evaluation import class_counts, share


def _check_classes(in_types):
    """Expect numbers for each class, along axis 1, and labels."""
    type_check._argname(in_types, ("x", "t"))
    x, t = in_types
    type_check.expect(x.dtype.kind == "f", t.dtype.kind == "i")
    t_ndim = type_check.eval(t.ndim)
    type_check.expect(
        x.ndim >= t.ndim,
        x.shape[0] == t.shape[0],
        x.shape[2 : t_ndim + 1] == t.shape[1:],
    )
    for i in range(t_ndim + 1, type_check.eval(x.ndim)):
        type_check.expect(x.shape[i] == 1)


def accuracy(y, t, ignore_label=None):
    """The share of rows whose largest element is at ``t``."""

    def function(y, t):
        t = t.array
        is_right = y.array.argmax(axis=1).reshape(t.shape) == t
        counts = None if ignore_label is None else t != ignore_label
        return share(is_right, counts, y.dtype)

    return bridge(function, y, t, name="Accuracy", check=_check_classes)


def _check_signs(in_types):
    type_check._argname(in_types, ("x", "t"))
    x, t = in_types
    type_check.expect(x.dtype.kind == "f", t.dtype.kind == "i", t.shape == x.shape)


def binary_accuracy(y, t):
    """The share of signs that are labels 0 and 1; -1 is ignored."""

    def function(y, t):
        return share((y.array >= 0) == (t.array == 1), t.array != -1, y.dtype)

    return bridge(function, y, t, name="BinaryAccuracy", check=_check_signs)


def r2_score(pred, true, sample_weight=None, multioutput="uniform_average"):
    """The share of the variance that is explained."""
    if multioutput not in ("uniform_average", "raw_values"):
        raise ValueError("invalid multioutput argument")
    if sample_weight is not None:
        raise NotImplementedError("r2_score: sample_weight must be None")
    return bridge(
        lambda p, t: engine.r2_score(p, t, None, multioutput),
        pred,
        true,
        name="R2_score",
        check=lambda in_types: are_alike(in_types, "pred", "true"),
    )


def classification_summary(y, t, label_num=None, beta=1.0, ignore_label=-1):
    """Return precision, recall, F score and support of each class.

    NaN where a class was never chosen, or never true.
    """

    def function(y, t):
        y, t = y.array, t.array
        n = int(t.max()) + 1 if label_num is None else label_num
        if configuration.is_debug() and not (t < n).all():
            raise AssertionError(f"a label is not below {n}")
        chosen = y.argmax(axis=1).reshape(t.shape)
        right, relevant, support = class_counts(chosen, t, t != ignore_label, n)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision, recall = right / relevant, right / support
            both = (1 + beta**2) * precision * recall
            score = both / (beta**2 * precision + recall)
        return tuple(map(as_variable, (precision, recall, score, support)))

    return bridge(function, y, t, name="ClassificationSummary", check=_check_classes)


def precision(y, t, label_num=None, ignore_label=-1):
    """Return precision and support of each class."""
    found = classification_summary(y, t, label_num, 1.0, ignore_label)
    return found[0], found[3]


def recall(y, t, label_num=None, ignore_label=-1):
    """Return recall and support of each class."""
    found = classification_summary(y, t, label_num, 1.0, ignore_label)
    return found[1], found[3]


def f1_score(y, t, label_num=None, ignore_label=-1):
    """Return F1 score and support of each class."""
    found = classification_summary(y, t, label_num, 1.0, ignore_label)
    return found[2], found[3]
