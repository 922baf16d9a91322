"""The same elements in another shape, order of axes, type or place.

Only four nodes move data about: reshape, transpose, broadcast_to and cast (and copy
between devices). Everything else is put together from them.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from dyrnn import backend
from dyrnn.backend import DeviceLike
from dyrnn.engine.core import (
    FunctionNode,
    Variable,
    VariableLike,
    as_array,
    as_variable,
)
from dyrnn.engine.gradients import sum_to as _sum_to
from dyrnn.errors import ShapeError
from dyrnn.typing import Axis, Shape


class Reshape(FunctionNode):
    def __init__(self, shape):
        self.shape = shape

    def forward(self, xp, x):
        self.x_shape = x.shape
        return x.reshape(self.shape)

    def backward(self, xp, gy):
        return gy.reshape(self.x_shape)


def reshape(x: VariableLike, shape: Shape) -> Variable:
    """Return the elements in another shape; one size may be -1, to be found."""
    x = as_variable(x)
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if shape == x.array.shape:
        return x
    size = math.prod(shape)
    if size != x.array.size and not (size < 0 and shape.count(-1) == 1):
        raise ShapeError(
            f"reshape: x of shape {x.shape} has {x.size} elements, {shape} has {size}"
        )
    return Reshape(shape).apply(x)


def flatten(x: VariableLike) -> Variable:
    """Return the elements in one axis."""
    return reshape(x, (-1,)) if as_variable(x).size else reshape(x, (0,))


ravel = flatten


class Transpose(FunctionNode):
    def __init__(self, axes):
        self.axes = axes

    def forward(self, xp, x):
        return x.transpose(self.axes)

    def backward(self, xp, gy):
        if self.axes is None:
            return gy.transpose()
        n = len(self.axes)
        inverse = sorted(range(n), key=lambda i: self.axes[i] % n)
        return gy.transpose(tuple(inverse))


def transpose(x: VariableLike, axes: Sequence[int] | None = None) -> Variable:
    """Permute the axes: axis ``i`` of the result is axis ``axes[i]`` of ``x``."""
    return Transpose(None if axes is None else tuple(axes)).apply(as_variable(x))


def swapaxes(x: VariableLike, axis1: int, axis2: int) -> Variable:
    """Exchange two axes."""
    axes = list(range(as_variable(x).ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return transpose(x, axes)


def moveaxis(
    x: VariableLike, source: int | Sequence[int], destination: int | Sequence[int]
) -> Variable:
    """Move axes to other places; the others keep their order."""
    n = as_variable(x).ndim
    sources = (source,) if isinstance(source, int) else tuple(source)
    places = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(sources) != len(places):
        raise ValueError(
            f"moveaxis: {len(sources)} sources, {len(places)} destinations"
        )
    sources = [i % n for i in sources]
    axes = [i for i in range(n) if i not in sources]
    for place, i in sorted(zip([p % n for p in places], sources, strict=True)):
        axes.insert(place, i)
    return transpose(x, axes)


def rollaxis(x: VariableLike, axis: int, start: int = 0) -> Variable:
    """Move ``axis`` backwards until it lies before axis ``start``."""
    n = as_variable(x).ndim
    axis, start = axis % n, start + n if start < 0 else start
    return moveaxis(x, axis, start - 1 if axis < start else start)


def expand_dims(x: VariableLike, axis: int | Sequence[int]) -> Variable:
    """Insert an axis of length 1 at ``axis``, or several at a tuple of places."""
    x = as_variable(x)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    n = x.ndim + len(axes)
    places = {i % n for i in axes}
    sizes = iter(x.shape)
    return reshape(x, tuple([1 if i in places else next(sizes) for i in range(n)]))


def squeeze(x: VariableLike, axis: Axis = None) -> Variable:
    """Remove axes of length 1: all of them, or those of ``axis``."""
    x = as_variable(x)
    if axis is None:
        return reshape(x, tuple([n for n in x.shape if n != 1]))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    gone = {i % x.ndim for i in axes}
    if any(x.shape[i] != 1 for i in gone):
        raise ShapeError(f"squeeze: axis {axis} of shape {x.shape} has not length 1")
    return reshape(x, tuple([n for i, n in enumerate(x.shape) if i not in gone]))


class BroadcastTo(FunctionNode):
    def __init__(self, shape):
        self.shape = shape

    def forward(self, xp, x):
        self.x_shape = x.shape
        return xp.broadcast_to(x, self.shape)

    def backward(self, xp, gy):
        return _sum_to(gy, self.x_shape)


def broadcast_to(x: VariableLike, shape: Sequence[int]) -> Variable:
    """Repeat ``x`` along new axes and axes of length 1, without a copy."""
    x = as_variable(x)
    return x if x.array.shape == tuple(shape) else BroadcastTo(tuple(shape)).apply(x)


def broadcast(*xs: VariableLike) -> tuple[Variable, ...]:
    """Return all arrays in the shape to which they broadcast together."""
    xs = [as_variable(x) for x in xs]
    shape = np.broadcast_shapes(*[x.shape for x in xs])
    return tuple([broadcast_to(x, shape) for x in xs])


def tile(x: VariableLike, reps: int | Sequence[int]) -> Variable:
    """Repeat the whole of ``x`` along each axis ``reps`` times."""
    x = as_variable(x)
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    n = max(x.ndim, len(reps))
    shape = (1,) * (n - x.ndim) + x.shape
    reps = (1,) * (n - len(reps)) + reps
    apart = [size for length in shape for size in (1, length)]
    wide = [size for pair in zip(reps, shape, strict=True) for size in pair]
    whole = tuple([r * length for r, length in zip(reps, shape, strict=True)])
    return reshape(broadcast_to(reshape(x, apart), wide), whole)


class SumTo(FunctionNode):
    def __init__(self, shape):
        self.shape = shape

    def forward(self, xp, x):
        self.x_shape = x.shape
        return _sum_to(x, self.shape)

    def backward(self, xp, gy):
        return xp.broadcast_to(gy, self.x_shape)


def sum_to(x: VariableLike, shape: Sequence[int]) -> Variable:
    """Sum over the axes along which an array of ``shape`` would be broadcast."""
    x = as_variable(x)
    return x if x.array.shape == tuple(shape) else SumTo(tuple(shape)).apply(x)


class Cast(FunctionNode):
    def __init__(self, dtype):
        self.dtype = dtype

    def forward(self, xp, x):
        self.x_dtype = x.dtype
        return x.astype(self.dtype, copy=False)

    def backward(self, xp, gy):
        return gy.astype(self.x_dtype) if self.x_dtype.kind == "f" else None


def cast(x: VariableLike, dtype: DTypeLike) -> Variable:
    """Convert to ``dtype``; the gradient is converted back."""
    x, dtype = as_variable(x), np.dtype(dtype)
    return x if x.array.dtype == dtype else Cast(dtype).apply(x)


class Copy(FunctionNode):
    def __init__(self, device):
        self.device = backend.get_device(device)

    def forward(self, xp, x):
        self.source = backend.device_of(x)
        y = self.device.send(x)
        return x.copy() if y is x else y

    def backward(self, xp, gy):
        if backend.is_array(gy):
            return self.source.send(gy)
        return xp.copy(gy, self.source)


def copy(x: VariableLike, dst: DeviceLike | None = None) -> Variable:
    """Copy to device ``dst``, by default the one of ``x``; the gradient comes back."""
    x = as_variable(x)
    return Copy(x.device if dst is None else dst).apply(x)


def identity(*xs: VariableLike) -> Any:
    """Return the inputs, as variables."""
    results = tuple([as_variable(x) for x in xs])
    return results[0] if len(results) == 1 else results


def zeros_like(x: VariableLike) -> Variable:
    """Return zeros in the shape and type of ``x``, without a gradient."""
    array = as_array(x)
    return as_variable(backend.get_array_module(array).zeros_like(array))


def ones_like(x: VariableLike) -> Variable:
    """Return ones in the shape and type of ``x``, without a gradient."""
    array = as_array(x)
    return as_variable(backend.get_array_module(array).ones_like(array))
