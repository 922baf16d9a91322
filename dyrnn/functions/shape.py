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
from dyrnn.engine.counts import changed, passed_on
from dyrnn.engine.gradients import sum_to as _sum_to
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import place, places
from dyrnn.typing import Axis, Shape


class Reshape(FunctionNode):
    def __init__(self, shape):
        self.shape = shape

    def forward(self, xp, x):
        self.x_shape = x.shape
        return x.reshape(self.shape)

    def backward(self, xp, gy):
        return gy.reshape(self.x_shape)


def _shape(shape: Shape) -> tuple[int, ...]:
    """Return a shape, given as a number or several, as a tuple."""
    if isinstance(shape, (int, np.integer)):
        return (int(shape),)
    return tuple(shape)


def reshape(x: VariableLike, shape: Shape) -> Variable:
    """Return the elements in another shape; one size may be -1, to be found."""
    x = as_variable(x)
    sizes = _shape(shape)
    if sizes == x.array.shape:
        return x
    size = math.prod(sizes)
    if size != x.array.size and not (size < 0 and sizes.count(-1) == 1):
        raise ShapeError(
            f"reshape: x of shape {x.shape} has {x.size} elements, {sizes} has {size}"
        )
    y = Reshape(sizes).apply(x)
    return passed_on(x, y) if x.array.size == 1 else y


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
    x = as_variable(x)
    if axes is not None:
        given, axes = axes, places("transpose", tuple(axes), x.ndim)
        if len(axes) != x.ndim:
            raise ShapeError(
                f"transpose: axes {given} must name each axis of x {x.shape} once"
            )
    return Transpose(axes).apply(x)


def swapaxes(x: VariableLike, axis1: int, axis2: int) -> Variable:
    """Exchange two axes."""
    x = as_variable(x)
    i, j = (place("swapaxes", axis, x.ndim) for axis in (axis1, axis2))
    axes = list(range(x.ndim))
    axes[i], axes[j] = j, i
    return transpose(x, axes)


def moveaxis(
    x: VariableLike, source: int | Sequence[int], destination: int | Sequence[int]
) -> Variable:
    """Move axes to other places; the others keep their order."""
    x = as_variable(x)
    sources = places("moveaxis", source, x.ndim)
    goals = places("moveaxis", destination, x.ndim)
    if len(sources) != len(goals):
        raise ValueError(f"moveaxis: {len(sources)} sources, {len(goals)} destinations")
    axes = [i for i in range(x.ndim) if i not in sources]
    for goal, i in sorted(zip(goals, sources, strict=True)):
        axes.insert(goal, i)
    return transpose(x, axes)


def rollaxis(x: VariableLike, axis: int, start: int = 0) -> Variable:
    """Move ``axis`` backwards until it lies before axis ``start``."""
    x = as_variable(x)
    axis = place("rollaxis", axis, x.ndim)
    # One place more than there are axes: the end.
    start = start if start == x.ndim else place("rollaxis", start, x.ndim, "start")
    return moveaxis(x, axis, start - 1 if axis < start else start)


def expand_dims(x: VariableLike, axis: int | Sequence[int]) -> Variable:
    """Insert an axis of length 1 at ``axis``, or several at a tuple of places."""
    x = as_variable(x)
    n = x.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1)
    axes = places("expand_dims", axis, n)
    sizes = iter(x.shape)
    return reshape(x, tuple([1 if i in axes else next(sizes) for i in range(n)]))


def squeeze(x: VariableLike, axis: Axis = None) -> Variable:
    """Remove axes of length 1: all of them, or those of ``axis``."""
    x = as_variable(x)
    if axis is None:
        return reshape(x, tuple([n for n in x.shape if n != 1]))
    gone = places("squeeze", axis, x.ndim)
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


def broadcast_to(x: VariableLike, shape: Shape) -> Variable:
    """Repeat ``x`` along new axes and axes of length 1, without a copy."""
    x, sizes = as_variable(x), _shape(shape)
    if x.array.shape == sizes:
        return x
    lead = len(sizes) - x.ndim
    if lead < 0 or any(
        n not in (1, m) for n, m in zip(x.shape, sizes[lead:], strict=True)
    ):
        raise ShapeError(f"broadcast_to: x of shape {x.shape} does not fit {sizes}")
    return BroadcastTo(sizes).apply(x)


def broadcast(*xs: VariableLike) -> tuple[Variable, ...]:
    """Return all arrays in the shape to which they broadcast together."""
    xs = [as_variable(x) for x in xs]
    shapes = [x.shape for x in xs]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"broadcast: the shapes {shapes} do not fit") from None
    return tuple([broadcast_to(x, shape) for x in xs])


def tile(x: VariableLike, reps: int | Sequence[int]) -> Variable:
    """Repeat the whole of ``x`` along each axis ``reps`` times."""
    x = as_variable(x)
    counts = _shape(reps)
    n = max(x.ndim, len(counts))
    shape = (1,) * (n - x.ndim) + x.shape
    counts = (1,) * (n - len(counts)) + counts
    apart = [size for length in shape for size in (1, length)]
    wide = [size for pair in zip(counts, shape, strict=True) for size in pair]
    whole = tuple([r * length for r, length in zip(counts, shape, strict=True)])
    return reshape(broadcast_to(reshape(x, apart), wide), whole)


class SumTo(FunctionNode):
    def __init__(self, shape):
        self.shape = shape

    def forward(self, xp, x):
        self.x_shape = x.shape
        return _sum_to(x, self.shape)

    def backward(self, xp, gy):
        return xp.broadcast_to(gy, self.x_shape)


def sum_to(x: VariableLike, shape: Shape) -> Variable:
    """Sum over the axes along which an array of ``shape`` would be broadcast."""
    x, sizes = as_variable(x), _shape(shape)
    if x.array.shape == sizes:
        return x
    lead = x.ndim - len(sizes)
    if lead < 0 or any(
        n not in (1, m) for n, m in zip(sizes, x.shape[lead:], strict=True)
    ):
        raise ShapeError(f"sum_to: {sizes} does not broadcast to x of shape {x.shape}")
    return SumTo(sizes).apply(x)


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
    if x.array.dtype == dtype:
        return x
    return changed(lambda term: cast(term, dtype), x, Cast(dtype).apply(x))


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
