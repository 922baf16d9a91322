"""Measures of classifiers and of regressions: they have no gradients."""

import numpy as np

from dyrnn import functions as engine
from dyrnn.chainer import _backend, configuration
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import are_alike
from dyrnn.chainer.utils import type_check


class _OfClasses(FunctionNode):
    """A measure of numbers for each class, along axis 1, and labels."""

    def check_type_forward(self, in_types):
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


class Accuracy(_OfClasses):
    """The share of right answers."""

    def __init__(self, ignore_label=None):
        self.ignore_label = ignore_label

    def forward(self, inputs):
        y, t = inputs
        xp = _backend.get_array_module(y)
        right = y.argmax(axis=1).reshape(t.shape) == t
        if self.ignore_label is None:
            return (xp.asarray(right.mean(dtype=y.dtype)),)
        used = t != self.ignore_label
        total = max(int(used.sum()), 1)
        return (xp.asarray(float((right & used).sum()) / total, dtype=y.dtype),)


def accuracy(y, t, ignore_label=None):
    """The share of rows whose largest element is at ``t``."""
    return Accuracy(ignore_label=ignore_label).apply((y, t))[0]


class BinaryAccuracy(FunctionNode):
    """The share of right signs."""

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x", "t"))
        x, t = in_types
        type_check.expect(x.dtype.kind == "f", t.dtype.kind == "i", t.shape == x.shape)

    def forward(self, inputs):
        y, t = (x.ravel() for x in inputs)
        xp = _backend.get_array_module(y)
        used = t != -1
        right = ((y >= 0) == (t == 1)) & used
        total = max(int(used.sum()), 1)
        return (xp.asarray(float(right.sum()) / total, dtype=y.dtype),)


def binary_accuracy(y, t):
    """The share of signs that are labels 0 and 1; -1 is ignored."""
    return BinaryAccuracy().apply((y, t))[0]


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


class ClassificationSummary(_OfClasses):
    """Precision, recall, F score and support of each class."""

    def __init__(self, label_num, beta, ignore_label):
        self.label_num = label_num
        self.beta = beta
        self.ignore_label = ignore_label

    def forward(self, inputs):
        y, t = inputs
        xp = _backend.get_array_module(y, t)
        n = int(t.max()) + 1 if self.label_num is None else self.label_num
        if configuration.is_debug() and not (t < n).all():
            raise AssertionError(f"a label is not below {n}")
        kept = (t != self.ignore_label).ravel()
        t, guess = t.ravel()[kept], y.argmax(axis=1).ravel()[kept]
        support, relevant, right = [
            xp.bincount(ids, minlength=n)[:n] for ids in (t, guess, t[t == guess])
        ]
        beta_square = self.beta**2
        with np.errstate(divide="ignore", invalid="ignore"):
            precision, recall = right / relevant, right / support
            both = (1 + beta_square) * precision * recall
            score = both / (beta_square * precision + recall)
        return precision, recall, score, support


def classification_summary(y, t, label_num=None, beta=1.0, ignore_label=-1):
    """Return precision, recall, F score and support of each class."""
    return ClassificationSummary(label_num, beta, ignore_label).apply((y, t))


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
