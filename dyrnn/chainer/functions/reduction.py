"""Many elements to few: extremes, logarithms of sums, products, norms; softmax."""

import numpy as np

from dyrnn import functions as engine
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.functions.nodes import functions, is_float
from dyrnn.chainer.functions.shaping import expect_axis
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import as_variable
from dyrnn.chainer.worlds import CoreNode
from dyrnn.functions import activation, reduction


def checked_axis(axis):
    """Return an axis as None or a tuple."""
    if axis is None:
        return None
    if isinstance(axis, int):
        return (axis,)
    if isinstance(axis, tuple) and all(isinstance(a, int) for a in axis):
        if len(set(axis)) != len(axis):
            raise ValueError(f"duplicate value in axis: ({', '.join(map(str, axis))})")
        return axis
    raise TypeError("None, int or tuple of int are required")


def _of_axes(axis):
    """Return a check of a float array that must have these axes."""

    def check(in_types):
        is_float(in_types, "x")
        for a in (axis,) if isinstance(axis, int) else axis or ():
            expect_axis(in_types[0].ndim, a)

    return check


class _OverAxes(CoreNode):
    """A function over axes."""

    def __init__(self, axis=None, keepdims=False):
        self.axis = checked_axis(axis)
        super().__init__(self.axis, keepdims)

    def check_type_forward(self, in_types):
        _of_axes(self.axis)(in_types)


class Sum(_OverAxes):
    """Sum over axes."""

    kind = reduction.Sum


def sum(x, axis=None, keepdims=False):
    """Sum over axes."""
    return Sum(axis, keepdims).apply((x,))[0]


class SelectorBase(_OverAxes):
    """An extreme over axes; of equal elements each has the whole gradient."""

    def forward(self, inputs):
        ys = self.run(*inputs)
        if self.rule.edges:
            self.rule.share = self.rule.share != 0
        return ys


class Max(SelectorBase):
    """The largest."""

    kind = reduction.Max


class Min(SelectorBase):
    """The smallest."""

    kind = reduction.Min


def max(x, axis=None, keepdims=False):
    """Return the largest elements."""
    return Max(axis, keepdims).apply((x,))[0]


def min(x, axis=None, keepdims=False):
    """Return the smallest elements."""
    return Min(axis, keepdims).apply((x,))[0]


def _index(function, x, axis):
    if axis is not None and not isinstance(axis, int):
        raise TypeError("None or int are required")

    def index(x):
        return function(x, axis).astype(np.int32)

    return bridge(index, x, name=function.__name__, check=_of_axes(axis))


def argmax(x, axis=None):
    """Return where the largest element is, as 32-bit integers."""
    return _index(engine.argmax, x, axis)


def argmin(x, axis=None):
    """Return where the smallest element is, as 32-bit integers."""
    return _index(engine.argmin, x, axis)


class LogSumExp(_OverAxes):
    """Logarithm of the sum of exponentials."""

    kind = reduction.LogSumExp


def logsumexp(x, axis=None):
    """Return the logarithm of the sum of exponentials."""
    return LogSumExp(axis).apply((x,))[0]


class _OverAxis(CoreNode):
    def check_type_forward(self, in_types):
        ndim = in_types[0].ndim
        is_float(in_types, "x")
        type_check.expect(-ndim <= self.rule.axis, self.rule.axis < ndim)


class Softmax(_OverAxis):
    """Exponentials divided by their sum."""

    kind = activation.Softmax


class LogSoftmax(_OverAxis):
    """Logarithm of the softmax."""

    kind = activation.LogSoftmax


def array_softmax(x, axis=1):
    """Softmax of an array."""
    return Softmax(axis).forward((x,))[0]


def array_log_softmax(x, axis=1):
    """Logarithm of the softmax of an array."""
    return LogSoftmax(axis).forward((x,))[0]


def _log_softmax(x, axis=1):
    """Chainer's name, for losses of scripts; version 1 has ``use_cudnn`` there."""
    return array_log_softmax(x, 1 if isinstance(axis, bool) else axis)


def softmax(x, axis=1, *, use_cudnn=True):
    """Exponentials divided by their sum; ``use_cudnn`` of version 1 does nothing."""
    return Softmax(axis).apply((x,))[0]


def log_softmax(x, axis=1, *, use_cudnn=True):
    """Logarithm of the softmax; ``use_cudnn`` of version 1 does nothing."""
    return LogSoftmax(axis).apply((x,))[0]


def average(x, axis=None, weights=None, keepdims=False):
    """Weighted mean over axes."""
    axes = checked_axis(axis)
    check = _of_axes(axes)
    if weights is None:
        return bridge(
            lambda x: engine.mean(x, axes, keepdims), x, name="Mean", check=check
        )
    x, weights = as_variable(x), as_variable(weights)
    if axes is not None and len(axes) > 1:
        raise ValueError("tuple axis is not supported when weights is given")
    if axes is not None and weights.ndim == 1:
        wide = [1] * x.ndim
        wide[axes[0]] = weights.size
        weights = functions().reshape(weights, tuple(wide))
    weights = functions().broadcast_to(weights, x.shape)
    return bridge(
        lambda x, weights: engine.average(x, axes, weights, keepdims),
        x,
        weights,
        name="Average",
    )


mean = average


def maxout(x, pool_size, axis=1):
    """Maximum over groups of ``pool_size`` along an axis."""
    if pool_size <= 0:
        raise ValueError("pool_size must be a positive integer.")
    size = x.shape[axis]
    if size % pool_size:
        raise type_check.InvalidType(
            f"x.shape[axis] % pool_size == 0: {size} % {pool_size}",
            f"{size} % {pool_size} == {size % pool_size}",
            "axis dimension must be divided by pool_size",
        )
    return bridge(lambda x: engine.maxout(x, pool_size, axis), x, name="Maxout")


def check_batch(in_types):
    """Expect rows of float."""
    is_float(in_types, "x")
    type_check.expect(in_types[0].ndim >= 2)


def batch_l2_norm_squared(x):
    """Squared norm of each row."""
    function = engine.batch_l2_norm_squared
    return bridge(function, x, name="BatchL2NormSquared", check=check_batch)


def _checked_cumulative(axis):
    if axis is not None and not isinstance(axis, int):
        raise TypeError("axis must be int or None")
    return _of_axes(axis)


def cumsum(x, axis=None):
    """Sums of all elements up to each."""
    check = _checked_cumulative(axis)
    return bridge(lambda x: engine.cumsum(x, axis), x, name="Cumsum", check=check)


def cumprod(x, axis=None):
    """Products of all elements up to each."""
    check = _checked_cumulative(axis)
    return bridge(lambda x: engine.cumprod(x, axis), x, name="Cumprod", check=check)


def prod(x, axis=None, keepdims=False):
    """Product over axes."""
    axes = checked_axis(axis)
    return bridge(
        lambda x: engine.prod(x, axes, keepdims), x, name="Prod", check=_of_axes(axes)
    )
