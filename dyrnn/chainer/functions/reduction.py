"""Many elements to few: extremes, logarithms of sums, products, norms; softmax."""

import math
from functools import partial

import numpy as np

from dyrnn import functions as engine
from dyrnn.chainer import _backend
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import (
    Arrangement,
    OfOutput,
    check_inputs,
    functions,
    is_float,
)
from dyrnn.chainer.functions.shaping import Reduction, checked_axis, expect_axis
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import as_variable


class SelectorBase(Reduction):
    """An extreme over axes; all elements that are it share the gradient."""

    method = ""

    def forward(self, inputs):
        self.retain_inputs((0,))
        self.retain_outputs((0,))
        (x,) = inputs
        xp = _backend.get_array_module(x)
        y = getattr(x, self.method)(axis=self.axis, keepdims=self.keepdims)
        return (xp.asarray(y),)

    def backward(self, indexes, gys):
        x, y = self.get_retained_inputs()[0], self.get_retained_outputs()[0]
        is_it = x.array == self.wide(y, x.shape).array
        return (self.wide(gys[0], x.shape) * is_it.astype(x.dtype),)


class Max(SelectorBase):
    """The largest."""

    method = "max"


class Min(SelectorBase):
    """The smallest."""

    method = "min"


def max(x, axis=None, keepdims=False):
    """Return the largest elements."""
    return Max(axis, keepdims).apply((x,))[0]


def min(x, axis=None, keepdims=False):
    """Return the smallest elements."""
    return Min(axis, keepdims).apply((x,))[0]


class IndexSelectorBase(FunctionNode):
    """Where an extreme is."""

    method = ""

    def __init__(self, axis=None):
        if axis is not None and not isinstance(axis, int):
            raise TypeError("None or int are required")
        self.axis = axis

    def check_type_forward(self, in_types):
        is_float(in_types, "x")
        if self.axis is not None:
            expect_axis(in_types[0].ndim, self.axis)

    def forward(self, inputs):
        (x,) = inputs
        y = getattr(x, self.method)(self.axis)
        return (_backend.get_array_module(x).asarray(y).astype(np.int32),)

    def backward(self, indexes, gys):
        return (None,)


class ArgMax(IndexSelectorBase):
    """Where the largest is."""

    method = "argmax"


class ArgMin(IndexSelectorBase):
    """Where the smallest is."""

    method = "argmin"


def argmax(x, axis=None):
    """Return where the largest element is."""
    return ArgMax(axis).apply((x,))[0]


def argmin(x, axis=None):
    """Return where the smallest element is."""
    return ArgMin(axis).apply((x,))[0]


class LogSumExp(Reduction):
    """Logarithm of the sum of exponentials."""

    def __init__(self, axis=None):
        super().__init__(axis)

    def forward(self, inputs):
        self.retain_inputs((0,))
        self.retain_outputs((0,))
        (x,) = inputs
        xp = _backend.get_array_module(x)
        top = x.max(axis=self.axis, keepdims=True)
        y = xp.log(xp.exp(x - top).sum(axis=self.axis))
        return (xp.asarray(y + top.reshape(y.shape)).astype(x.dtype),)

    def backward(self, indexes, gys):
        x, y = self.get_retained_inputs()[0], self.get_retained_outputs()[0]
        weights = functions().exp(x - self.wide(y, x.shape))
        return (self.wide(gys[0], x.shape) * weights,)


def logsumexp(x, axis=None):
    """Return the logarithm of the sum of exponentials."""
    return LogSumExp(axis).apply((x,))[0]


class Softmax(OfOutput):
    """Exponentials divided by their sum."""

    def __init__(self, axis=1):
        self.axis = axis

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        type_check.expect(
            in_types[0].dtype.kind == "f",
            -in_types[0].ndim <= self.axis,
            self.axis < in_types[0].ndim,
        )

    def compute(self, xp, x):
        return array_softmax(x, self.axis)

    def rule(self, gy, y):
        F = functions()
        gx = y * gy
        total = F.sum(gx, axis=self.axis, keepdims=True)
        return gx - y * F.broadcast_to(total, gx.shape)


def array_softmax(x, axis=1):
    """Softmax of an array."""
    xp = _backend.get_array_module(x)
    if not x.size:
        return x.copy()
    y = xp.exp(x - x.max(axis=axis, keepdims=True))
    return y / y.sum(axis=axis, keepdims=True)


def array_log_softmax(x, axis=1):
    """Logarithm of the softmax of an array."""
    xp = _backend.get_array_module(x)
    if not x.size:
        return x.copy()
    x = x - x.max(axis=axis, keepdims=True)
    return x - xp.log(xp.exp(x).sum(axis=axis, keepdims=True))


def _log_softmax(x, axis=1):
    """Chainer's name, for losses of scripts; version 1 has ``use_cudnn`` there."""
    return array_log_softmax(x, 1 if isinstance(axis, bool) else axis)


class LogSoftmax(Softmax):
    """Logarithm of the softmax."""

    def compute(self, xp, x):
        return array_log_softmax(x, self.axis)

    def rule(self, gy, y):
        F = functions()
        total = F.sum(gy, axis=self.axis, keepdims=True)
        return gy - F.exp(y) * F.broadcast_to(total, y.shape)


def softmax(x, axis=1, *, use_cudnn=True):
    """Exponentials divided by their sum; ``use_cudnn`` of version 1 does nothing."""
    return Softmax(axis).apply((x,))[0]


def log_softmax(x, axis=1, *, use_cudnn=True):
    """Logarithm of the softmax; ``use_cudnn`` of version 1 does nothing."""
    return LogSoftmax(axis).apply((x,))[0]


class Mean(Reduction):
    """Mean over axes: half precision is added up in single precision."""

    def compute(self, xp, x):
        return xp.asarray(x.mean(axis=self.axis, keepdims=self.keepdims))

    def rule(self, gy):
        shape = self.inputs[0].shape
        kept = range(len(shape)) if self.axis is None else self.axis
        n = math.prod([shape[a] for a in kept])
        return self.wide(gy * (1 / (n or 1)), shape)


def average(x, axis=None, weights=None, keepdims=False):
    """Weighted mean over axes."""
    if weights is None:
        return Mean(axis, keepdims).apply((x,))[0]
    F = functions()
    x, weights = as_variable(x), as_variable(weights)
    axes = checked_axis(axis)
    if axes is not None and len(axes) > 1:
        raise ValueError("tuple axis is not supported when weights is given")
    if axes is not None and weights.ndim == 1:
        wide = [1] * x.ndim
        wide[axes[0]] = weights.size
        weights = F.reshape(weights, tuple(wide))
    weights = F.broadcast_to(weights, x.shape)
    total, divisor = F.sum(x * weights, axes, keepdims), F.sum(weights, axes, keepdims)
    return total / divisor


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
    shape = (*x.shape[:axis], size // pool_size, pool_size, *x.shape[axis + 1 :])
    return max(functions().reshape(x, shape), axis=axis + 1)


def check_batch(in_types):
    """Expect rows of float."""
    is_float(in_types, "x")
    type_check.expect(in_types[0].ndim >= 2)


def batch_l2_norm_squared(x):
    """Squared norm of each row."""
    check_inputs("BatchL2NormSquared", check_batch, x)
    F = functions()
    x = F.reshape(x, (len(x), -1)) if x.ndim != 2 else x
    return F.sum(F.square(x), axis=1)


def cumsum(x, axis=None):
    """Sums of all elements up to each."""
    return Cumsum(axis).apply((x,))[0]


def _check_cumulative(axis, in_types):
    is_float(in_types, "x")
    if axis is not None:
        expect_axis(in_types[0].ndim, axis)


def _cumulative_axis(axis):
    if axis is not None and not isinstance(axis, int):
        raise TypeError("axis must be int or None")
    return axis


class Cumsum(Arrangement):
    """Sums of all elements up to each."""

    def __init__(self, axis=None):
        self.axis = _cumulative_axis(axis)

    def check_type_forward(self, in_types):
        _check_cumulative(self.axis, in_types)

    def compute(self, xp, x):
        return xp.cumsum(x, self.axis)

    def rule(self, gy):
        F = functions()
        axis = 0 if self.axis is None else self.axis
        gx = F.flip(cumsum(F.flip(gy, axis), axis), axis)
        return F.reshape(gx, self.inputs[0].shape)


def cumprod(x, axis=None):
    """Products of all elements up to each."""
    check = partial(_check_cumulative, _cumulative_axis(axis))
    return bridge(lambda a: engine.cumprod(a, axis), x, name="Cumprod", check=check)


class Prod(Reduction):
    """Product over axes."""

    def forward(self, inputs):
        self.retain_inputs((0,))
        (x,) = inputs
        y = x.prod(axis=self.axis, keepdims=self.keepdims)
        return (_backend.get_array_module(x).asarray(y),)

    def backward(self, indexes, gys):
        F = functions()
        (x,) = self.get_retained_inputs()
        axes = range(x.ndim) if self.axis is None else [a % x.ndim for a in self.axis]
        order = (*axes, *[a for a in range(x.ndim) if a not in axes])
        moved = F.transpose(x, order)
        rest = moved.shape[len(axes) :]
        n = math.prod(moved.shape[: len(axes)])
        flat = F.reshape(moved, (n, *rest))
        # The product of all others, without a division by what may be zero.
        after = F.flip(_products_before(F.flip(flat, 0)), 0)
        others = F.reshape(_products_before(flat) * after, moved.shape)
        others = F.transpose(others, tuple(np.argsort(order).tolist()))
        return (others * self.wide(gys[0], x.shape),)


def _products_before(x):
    """Return the products along the first axis of all before each."""
    if not len(x):
        return x
    F = functions()
    one = x.xp.ones((1, *x.shape[1:]), x.dtype)
    return cumprod(F.concat([one, x[:-1]], axis=0), 0)


def prod(x, axis=None, keepdims=False):
    """Product over axes."""
    return Prod(axis, keepdims).apply((x,))[0]
