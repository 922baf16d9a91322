"""Functions that few scripts call."""

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import Variable


class Diagonal(FunctionNode):
    """A diagonal of two axes."""

    def __init__(self, offset, axis1, axis2):
        self.places = offset, axis1, axis2

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        _, axis1, axis2 = self.places
        ndim = in_types[0].ndim
        type_check.expect(max(axis1, axis2) < ndim, -ndim <= min(axis1, axis2))

    def forward(self, inputs):
        return (inputs[0].diagonal(*self.places),)

    def backward(self, indexes, gys):
        return DiagonalGrad(self.inputs[0].shape, *self.places).apply(gys)


class DiagonalGrad(FunctionNode):
    """Zeros, but for a diagonal."""

    def __init__(self, shape, *places):
        self.shape = shape
        self.places = places

    def forward(self, inputs):
        (gy,) = inputs
        xp = _backend.get_array_module(gy)
        flat = xp.arange(int(np.prod(self.shape))).reshape(self.shape)
        y = xp.zeros(flat.size, gy.dtype)
        y[flat.diagonal(*self.places)] = gy
        return (y.reshape(self.shape),)

    def backward(self, indexes, gys):
        return Diagonal(*self.places).apply(gys)


def diagonal(x, offset=0, axis1=0, axis2=1):
    """Return a diagonal of two axes, as the last axis."""
    return Diagonal(offset, axis1, axis2).apply((x,))[0]


def _summary(y, t, label_num=None, beta=1.0, ignore_label=-1):
    y, t = _backend.raw(y), _backend.raw(t)
    xp = _backend.get_array_module(y)
    n = label_num if label_num is not None else int(xp.amax(t)) + 1
    kept = (t != ignore_label).ravel()
    t = t.ravel()[kept]
    guess = xp.argmax(y, axis=1).ravel()[kept]
    counts = xp.zeros((3, n), np.int64)
    for label in range(n):
        is_label, is_guess = t == label, guess == label
        counts[:, label] = is_label.sum(), is_guess.sum(), (is_label & is_guess).sum()
    support, relevant, right = counts
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = right / relevant
        recall = right / support
        both = (1 + beta**2) * precision * recall
        score = both / (beta**2 * precision + recall)
    found = (precision, recall, score, support)
    return tuple([Variable(a, requires_grad=False) for a in found])


def classification_summary(y, t, label_num=None, beta=1.0, ignore_label=-1):
    """Return precision, recall, F score and support of each class."""
    return _summary(y, t, label_num, beta, ignore_label)


def precision(y, t, label_num=None, ignore_label=-1):
    """Return precision and support of each class."""
    found = _summary(y, t, label_num, 1.0, ignore_label)
    return found[0], found[3]


def recall(y, t, label_num=None, ignore_label=-1):
    """Return recall and support of each class."""
    found = _summary(y, t, label_num, 1.0, ignore_label)
    return found[1], found[3]


def f1_score(y, t, label_num=None, ignore_label=-1):
    """Return F1 score and support of each class."""
    found = _summary(y, t, label_num, 1.0, ignore_label)
    return found[2], found[3]
