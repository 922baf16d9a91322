"""Sums, means, extremes and products over axes, and those that accumulate.

``axis`` is an int, a tuple of them, or None for all axes. Half precision is accumulated
in single precision.
"""

import math

import numpy as np

from dyrnn import backend
from dyrnn.engine.core import (
    FunctionNode,
    Variable,
    VariableLike,
    as_array,
    as_variable,
)
from dyrnn.engine.counts import (
    SUM_OVER_FIRST,
    averaged,
    summed,
    summed_further,
    weighed,
)
from dyrnn.engine.gradients import add_up
from dyrnn.errors import ShapeError
from dyrnn.functions.arithmetic import maximum
from dyrnn.functions.checks import floating, place, places
from dyrnn.functions.joining import concat
from dyrnn.functions.math import sqrt, square
from dyrnn.functions.shape import broadcast_to, cast, moveaxis, reshape
from dyrnn.typing import Axis


def _kept(shape, axis):
    """Return ``shape`` with the reduced axes of length 1."""
    if axis is None:
        return (1,) * len(shape)
    axes = axis if type(axis) is tuple else (axis,)
    kept = list(shape)
    for i in axes:
        kept[i] = 1
    return tuple(kept)


class _Reduction(FunctionNode):
    shape: tuple[int, ...]  # of the input

    def __init__(self, axis, keepdims):
        self.axis = tuple(axis) if isinstance(axis, list) else axis
        self.keepdims = keepdims

    def spread(self, xp, y):
        """Return a reduced array with its axes kept, to broadcast against the input."""
        return y if self.keepdims else y.reshape(_kept(self.shape, self.axis))


class Sum(_Reduction):
    def forward(self, xp, x):
        self.shape = x.shape
        return add_up(x, self.axis, self.keepdims)

    def backward(self, xp, gy):
        return xp.broadcast_to(self.spread(xp, gy), self.shape)


def sum(x: VariableLike, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Sum over ``axis``."""
    x = as_variable(x)
    axes = None if axis is None else places("sum", axis, x.ndim)
    y = Sum(axes, keepdims).apply(x)
    if y.array.ndim == 0:
        return summed(x, y)
    if axes is not None and 0 in axes:
        y._count = SUM_OVER_FIRST
        return y
    return summed_further(x, y)


def _some(name, x, axis):
    """Return checked axes, which have elements."""
    axes = places(name, axis, x.ndim)
    if _count(x.shape, axes) == 0:
        raise ValueError(f"{name} over axis {axis} of shape {x.shape}: no elements")
    return None if axis is None else axes


def _count(shape, axes):
    return math.prod([shape[i] for i in axes])


def mean(x: VariableLike, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Arithmetic mean over ``axis``."""
    x = as_variable(x)
    axes = _some("mean", x, axis)
    n = x.size if axes is None else _count(x.shape, axes)
    if x.array.dtype == np.float16:  # the sum may exceed the largest half
        y = cast(mean(cast(x, np.float32), axis, keepdims), np.float16)
    else:
        y = Sum(axes, keepdims).apply(x) * (1.0 / n)
    return averaged(x, y, n)


def average(
    x: VariableLike,
    axis: Axis = None,
    weights: VariableLike | None = None,
    keepdims: bool = False,
) -> Variable:
    """Mean over ``axis``, with weights of the shape of ``x`` or of the one axis."""
    if weights is None:
        return mean(x, axis, keepdims)
    x, weights = floating(x), as_variable(weights)
    _some("average", x, axis)
    axes = places("average", axis, x.ndim)
    if weights.shape != x.shape:
        if len(axes) != 1 or weights.shape != (x.shape[axes[0]],):
            raise ValueError(
                f"average: weights have shape {weights.shape}, expected {x.shape}, or "
                "one axis and a weight for each element along it"
            )
        weights = reshape(weights, (-1,) + (1,) * (x.ndim - 1 - axes[0]))
        weights = broadcast_to(weights, x.shape)
    y = sum(x * weights, axis, keepdims) / sum(weights, axis, keepdims)
    is_known = isinstance(weights.array, np.ndarray) and not weights.requires_grad
    return weighed(x, weights.array, y) if is_known else y


class _Extreme(_Reduction):
    """The elements equal to the extreme share its gradient."""

    name: str  # of the array's method

    def forward(self, xp, x):
        self.shape = x.shape
        y = getattr(x, self.name)(axis=self.axis, keepdims=True)
        is_extreme = x == y
        if self.edges:
            # Halves count to 2048 only.
            dtype = np.float32 if x.dtype == np.float16 else x.dtype
            n = is_extreme.sum(axis=self.axis, keepdims=True, dtype=dtype)
            self.share = (is_extreme / n).astype(x.dtype, copy=False)
        return y if self.keepdims else xp.squeeze(y, axis=self.axis)

    def backward(self, xp, gy):
        return self.spread(xp, gy) * self.share


class Max(_Extreme):
    name = "max"


def max(x: VariableLike, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Maximum over ``axis``; equal elements share the gradient."""
    x = as_variable(x)
    return Max(_some("max", x, axis), keepdims).apply(x)


class Min(_Extreme):
    name = "min"


def min(x: VariableLike, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Minimum over ``axis``; equal elements share the gradient."""
    x = as_variable(x)
    return Min(_some("min", x, axis), keepdims).apply(x)


def argmax(x: VariableLike, axis: int | None = None) -> Variable:
    """Index of the maximum along ``axis``, or in the flattened array; no gradient."""
    return _index_of("argmax", x, axis)


def argmin(x: VariableLike, axis: int | None = None) -> Variable:
    """Index of the minimum along ``axis``, or in the flattened array; no gradient."""
    return _index_of("argmin", x, axis)


def _index_of(name, x, axis):
    array = as_variable(x).array
    i = None if axis is None else place(name, axis, array.ndim)
    _some(name, array, i)
    return as_variable(getattr(array, name)(axis=i))


class CumSum(FunctionNode):
    def __init__(self, axis):
        self.axis = axis

    def forward(self, xp, x):
        if not backend.is_array(x) or x.dtype.kind != "f":
            return xp.cumsum(x, axis=self.axis)
        dtype = np.result_type(x.dtype, np.float32)
        if x.shape[self.axis] > 4096:  # too often to round to single precision
            dtype = np.float64
        return xp.cumsum(x, axis=self.axis, dtype=dtype).astype(x.dtype, copy=False)

    def backward(self, xp, gy):
        return xp.flip(self.forward(xp, xp.flip(gy, self.axis)), self.axis)


def cumsum(x: VariableLike, axis: int | None = None) -> Variable:
    """Sums of the elements up to each along ``axis``, or of the flattened array."""
    x = as_variable(x)
    if axis is None:
        return CumSum(0).apply(reshape(x, x.size))
    return CumSum(place("cumsum", axis, x.ndim)).apply(x)


def cumprod(x: VariableLike, axis: int | None = None) -> Variable:
    """Products of the elements up to each along ``axis``, or of the flattened array."""
    x = _wide(x)
    if axis is None:
        x, axis = reshape(x, x.size), 0
    axis = place("cumprod", axis, x.ndim)
    n, reach, before = x.shape[axis], 1, (slice(None),) * axis
    while reach < n:  # each element takes in the products that end `reach` before it
        head = x[(*before, slice(reach))]
        tail = x[(*before, slice(reach, None))] * x[(*before, slice(n - reach))]
        x = concat([head, tail], axis)
        reach *= 2
    return x


def _wide(x: VariableLike) -> Variable:
    """Return a variable; small integers as NumPy's products and sums have them."""
    x = as_variable(x)
    if x.array.dtype.kind == "f":
        return x
    kind = np.uint if x.array.dtype.kind == "u" else np.int_
    return cast(x, np.result_type(x.array.dtype, kind))


def prod(x: VariableLike, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Product over ``axis``, with the right gradient also where elements are 0."""
    x = _wide(x)
    axes = places("prod", axis, x.ndim)
    kept = _kept(x.shape, axes)
    if axis is None:
        y = reshape(x, (1, x.size))
    else:
        moved = moveaxis(x, axes, tuple(range(-len(axes), 0)))
        y = reshape(moved, (math.prod(kept), _count(x.shape, axes)))
    while y.shape[1] > 1:  # halves times halves: log2 n products of whole arrays
        half = y.shape[1] // 2
        rest = y[:, 2 * half :]
        y = y[:, :half] * y[:, half : 2 * half]
        y = concat([y, rest], 1) if rest.size else y
    if y.shape[1] == 0:
        y = sum(y, 1, keepdims=True) + 1
    shape = kept if keepdims else [n for i, n in enumerate(x.shape) if i not in axes]
    return reshape(y, shape)


class LogSumExp(_Reduction):
    def forward(self, xp, x):
        self.shape = x.shape
        wide = x.astype(np.float32) if x.dtype == np.float16 else x
        top = wide.max(axis=self.axis, keepdims=True)
        # Where all is -inf, or one is inf, so is the result: subtract 0.
        top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        total = xp.exp(wide - top).sum(axis=self.axis, keepdims=True)
        with np.errstate(divide="ignore"):
            y = (xp.log(total) + top).astype(x.dtype)
        y = y if self.keepdims else xp.squeeze(y, axis=self.axis)
        self.save(x, y)
        return y

    def backward(self, xp, gy):
        x, y = self.saved
        # Where all is -inf nothing has a share: subtract 0 again.
        y = xp.where(as_array(y) == -np.inf, 0.0, y)
        return self.spread(xp, gy) * xp.exp(x - self.spread(xp, y))


def logsumexp(x: VariableLike, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Logarithm of the sum of ``exp(x)`` over ``axis``, without overflow."""
    x = floating(x)
    return LogSumExp(_some("logsumexp", x, axis), keepdims).apply(x)


def batch_l2_norm_squared(x: VariableLike) -> Variable:
    """Sum of the squares of each row: (B, ...) to (B,)."""
    x = floating(x)
    if x.ndim == 0:
        raise ShapeError("batch_l2_norm_squared: x has no axes; it must be (B, ...)")
    return sum(square(reshape(x, (len(x), math.prod(x.shape[1:])))), 1)


def normalize(x: VariableLike, eps: float = 1e-5, axis: Axis = -1) -> Variable:
    """Divide by the Euclidean norm along ``axis`` plus ``eps``; zeros stay zeros."""
    x = floating(x)
    if x.array.dtype == np.float16:  # squares exceed, or fall below, what a half holds
        return cast(normalize(cast(x, np.float32), eps, axis), np.float16)
    # The root of 0 has no gradient: the smallest normal number stands for 0.
    tiny = float(np.finfo(x.dtype).tiny)
    # Squares of large numbers, too, must not exceed the largest one.
    scale = 1.0
    axes, eps = places("normalize", axis, x.ndim), float(eps)
    if x.size:
        top = abs(x.array).max(axis=axes, keepdims=True)
        scale = x.xp.where((top > 2.0**40) & (top < np.inf), top, 1).astype(x.dtype)
    x = x / scale
    norm = sqrt(maximum(sum(square(x), axes, keepdims=True), tiny))
    return x / (norm + eps / scale)
