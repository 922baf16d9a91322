"""Shapes: reshape, transpose, broadcast, and their kin."""

import numpy as np

from dyrnn.chainer import _backend, backend, configuration
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import Arrangement, functions, is_float
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.array import size_of_shape
from dyrnn.chainer.utils.array import sum_to as sum_array_to
from dyrnn.chainer.variable import as_variable


class Reshape(Arrangement):
    """Another shape."""

    def __init__(self, shape):
        self.shape = shape
        self._unknown = len([n for n in shape if n < 0])
        assert self._unknown <= 1

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        size = type_check.prod(in_types[0].shape)
        if not self._unknown:
            type_check.expect(size == type_check.prod(self.shape))
            return
        known = size_of_shape([n for n in self.shape if n > 0])
        known = type_check.make_variable(known, f"known_size(={known})")
        type_check.expect(size % known == 0)

    def compute(self, xp, x):
        return x.reshape(self.shape)

    def rule(self, gy):
        return reshape(gy, self.inputs[0].shape)


def reshape(x, shape):
    """Give another shape."""
    if x.shape == shape:
        return as_variable(x)
    return Reshape(shape).apply((x,))[0]


def flatten(x):
    """Give one axis."""
    return reshape(x, (x.size,))


class Transpose(Arrangement):
    """Permuted axes."""

    label = "Transpose"

    def __init__(self, axes=None):
        self.axes = axes

    def compute(self, xp, x):
        return x.transpose(self.axes)

    def rule(self, gy):
        axes = self.axes
        if axes:
            axes = tuple(np.argsort([axis % len(axes) for axis in axes]))
        return transpose(gy, axes)


def transpose(x, axes=None):
    """Permute the axes; without ``axes`` reverse them."""
    return Transpose(axes).apply((x,))[0]


class Swapaxes(Arrangement):
    """Two axes swapped."""

    label = "Swapaxes"

    def __init__(self, axis1, axis2):
        self.axis1 = axis1
        self.axis2 = axis2

    def compute(self, xp, x):
        return x.swapaxes(self.axis1, self.axis2)

    def rule(self, gy):
        return swapaxes(gy, self.axis1, self.axis2)


def swapaxes(x, axis1, axis2):
    """Swap two axes."""
    return Swapaxes(axis1, axis2).apply((x,))[0]


def expect_axis(ndim, axis):
    """Expect an axis to be one of ``ndim``."""
    type_check.expect(ndim > (axis if axis >= 0 else -axis - 1))


class Rollaxis(Arrangement):
    """One axis put before another."""

    def __init__(self, axis, start):
        for name, value in (("axis", axis), ("start", start)):
            if not isinstance(value, int):
                raise TypeError(f"{name} must be int")
        self.axis = axis
        self.start = start

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        ndim = in_types[0].ndim
        expect_axis(ndim, self.axis)
        if self.start >= 0:
            type_check.expect(ndim >= self.start)
        else:
            type_check.expect(ndim > -self.start - 1)

    def compute(self, xp, x):
        return xp.rollaxis(x, self.axis, self.start)

    def rule(self, gy):
        ndim = gy.ndim
        axis, start = self.axis % ndim, self.start
        if start < 0:
            start += ndim
        if axis > start:
            axis += 1
        elif axis < start:
            start -= 1
        return rollaxis(gy, start, axis)


def rollaxis(x, axis, start=0):
    """Put ``axis`` before ``start``."""
    return Rollaxis(axis, start).apply((x,))[0]


class Moveaxis(Arrangement):
    """Axes put in other places."""

    def __init__(self, source, destination):
        self.source = (source,) if isinstance(source, int) else source
        self.destination = (
            (destination,) if isinstance(destination, int) else destination
        )

    def check_type_forward(self, in_types):
        is_float(in_types, "x")
        for axes in (self.source, self.destination):
            for axis in axes or ():
                expect_axis(in_types[0].ndim, axis)

    def compute(self, xp, x):
        return xp.moveaxis(x, self.source, self.destination)

    def rule(self, gy):
        return moveaxis(gy, self.destination, self.source)


def moveaxis(x, source, destination):
    """Put the axes ``source`` in the places ``destination``."""
    return Moveaxis(source, destination).apply((x,))[0]


class ExpandDims(Arrangement):
    """One more axis of length 1."""

    def __init__(self, axis):
        self.axis = int(axis)

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        bound = self.axis if self.axis >= 0 else -self.axis - 1
        type_check.expect(in_types[0].ndim >= bound)

    def compute(self, xp, x):
        return xp.expand_dims(x, self.axis)

    def rule(self, gy):
        return reshape(gy, self.inputs[0].shape)


def expand_dims(x, axis):
    """Insert an axis of length 1."""
    return ExpandDims(axis).apply((x,))[0]


class Squeeze(Arrangement):
    """Axes of length 1 dropped."""

    def __init__(self, axis=None):
        if isinstance(axis, int):
            axis = (axis,)
        if axis is not None and not (
            isinstance(axis, tuple) and all(isinstance(a, int) for a in axis)
        ):
            raise TypeError("axis must be None, int or tuple of ints")
        self.axis = axis

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() == 1)
        for axis in self.axis or ():
            if axis >= 0:
                type_check.expect(axis < in_types[0].ndim)
            else:
                type_check.expect(-in_types[0].ndim <= axis)

    def compute(self, xp, x):
        return x.squeeze(self.axis)

    def rule(self, gy):
        return reshape(gy, self.inputs[0].shape)


def squeeze(x, axis=None):
    """Drop axes of length 1."""
    return Squeeze(axis).apply((x,))[0]


class Broadcast(FunctionNode):
    """Several arrays stretched to one shape."""

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() > 0)
        type_check.expect_broadcast_shapes(*[t.shape for t in in_types])

    def forward(self, inputs):
        xp = _backend.get_array_module(*inputs)
        return tuple(xp.broadcast_arrays(*inputs))

    def backward(self, indexes, gys):
        sum_to = functions().sum_to
        return tuple(
            [
                None if gys[i] is None else sum_to(gys[i], self.inputs[i].shape)
                for i in indexes
            ]
        )


def broadcast(*args):
    """Stretch arrays to their common shape."""
    if len(args) == 1:
        return as_variable(args[0])
    return Broadcast().apply(args)


class BroadcastTo(Arrangement):
    """An array stretched to a shape."""

    def __init__(self, shape):
        self._shape = tuple(shape)

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        ndim = type_check.make_variable(len(self._shape), "len(shape)")
        type_check.expect(in_types[0].ndim <= ndim)
        shape = type_check.eval(in_types[0].shape)
        for i in range(-1, -len(shape) - 1, -1):
            wanted = self._shape[i]
            if shape[i] not in (wanted, 1):
                expected = f"in_type[0].shape[{i}] == {wanted}"
                if wanted != 1:
                    expected += f" or in_type[0].shape[{i}] == 1"
                raise type_check.InvalidType(expected, f"in_type[0].shape: {shape}")

    def compute(self, xp, x):
        return xp.broadcast_to(x, self._shape)

    def rule(self, gy):
        return functions().sum_to(gy, self.inputs[0].shape)


def broadcast_to(x, shape):
    """Stretch to a shape."""
    if x.shape == shape:
        return as_variable(x)
    return BroadcastTo(shape).apply((x,))[0]


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


class Reduction(Arrangement):
    """A number for the elements along axes; not always a linear one."""

    keepdims = False

    def __init__(self, axis=None, keepdims=False):
        self.axis = checked_axis(axis)
        self.keepdims = keepdims

    def check_type_forward(self, in_types):
        is_float(in_types, "x")
        for axis in self.axis or ():
            if axis >= 0:
                type_check.expect(axis < in_types[0].ndim)
            else:
                type_check.expect(-axis - 1 < in_types[0].ndim)

    def wide(self, y, shape):
        """Return a result, or its gradient, stretched to the input's shape."""
        if self.axis is not None:
            kept = list(shape)
            for axis in self.axis:
                kept[axis] = 1
            y = reshape(y, tuple(kept))
        return broadcast_to(y, shape)


class Sum(Reduction):
    """Sum over axes."""

    def compute(self, xp, x):
        return xp.asarray(x.sum(axis=self.axis, keepdims=self.keepdims))

    def rule(self, gy):
        return self.wide(gy, self.inputs[0].shape)


def sum(x, axis=None, keepdims=False):
    """Sum over axes."""
    return Sum(axis, keepdims).apply((x,))[0]


class SumTo(Arrangement):
    """Sum over the axes that a broadcast has stretched."""

    def __init__(self, shape):
        self._shape = shape

    def compute(self, xp, x):
        return sum_array_to(x, self._shape)

    def rule(self, gy):
        return broadcast_to(gy, self.inputs[0].shape)


def sum_to(x, shape):
    """Sum over the axes that a broadcast has stretched."""
    if x.shape == shape:
        return as_variable(x)
    return SumTo(shape).apply((x,))[0]


class Cast(Arrangement):
    """Another type."""

    def __init__(self, typ):
        self.type = typ

    def compute(self, xp, x):
        return x.astype(self.type, copy=False)

    def rule(self, gy):
        dtype = self.inputs[0].dtype
        return cast(gy, dtype) if dtype.kind == "f" else None


def cast(x, typ):
    """Give another type."""
    if x.dtype == typ and not configuration.config.enable_backprop:
        return as_variable(x)
    return Cast(typ).apply((x,))[0]


class Copy(Arrangement):
    """The same on another device."""

    def __init__(self, in_device, out_device):
        self._in_device = in_device
        self.out_device = out_device

    def compute(self, xp, x):
        return self.out_device.send(x)

    def rule(self, gy):
        return Copy(self.out_device, self._in_device).apply((gy,))[0]


def copy(x, dst):
    """Copy to a device."""
    if getattr(dst, "id", None) == -1:
        dst = "@numpy"
    source = backend.get_device_from_array(_backend.raw(x))
    return Copy(source, backend.get_device(dst)).apply((x,))[0]


class Tile(Arrangement):
    """Repeated side by side."""

    def __init__(self, reps):
        if isinstance(reps, int):
            reps = (reps,)
        if not (isinstance(reps, tuple) and all(isinstance(n, int) for n in reps)):
            raise TypeError(f"reps must be int or tuple of ints.\nActual: {type(reps)}")
        if any(n < 0 for n in reps):
            raise ValueError("All elements in reps must be zero or larger")
        self.reps = reps

    def compute(self, xp, x):
        return xp.tile(x, self.reps)

    def rule(self, gy):
        shape = self.inputs[0].shape
        ndim = max(len(shape), len(self.reps))
        reps = (1,) * (ndim - len(self.reps)) + self.reps
        sizes = (1,) * (ndim - len(shape)) + shape
        split = [n for pair in zip(reps, sizes, strict=True) for n in pair]
        gx = sum(reshape(gy, tuple(split)), axis=tuple(range(0, 2 * ndim, 2)))
        return reshape(gx, shape)


def tile(x, reps):
    """Repeat side by side."""
    return Tile(reps).apply((x,))[0]


class Repeat(Arrangement):
    """Elements repeated."""

    def __init__(self, repeats, axis=None):
        if isinstance(repeats, int):
            repeats = (repeats,)
        if not (
            isinstance(repeats, tuple) and all(isinstance(n, int) for n in repeats)
        ):
            raise TypeError("repeats must be int or tuple of ints")
        if any(n < 0 for n in repeats):
            raise ValueError("all elements in repeats must be zero or larger")
        if axis is not None and (not isinstance(axis, int) or isinstance(axis, bool)):
            raise TypeError("axis must be int or None")
        self.repeats = repeats
        self.axis = axis

    def _sources(self, shape):
        """Return where along the axis each output element comes from."""
        n = size_of_shape(shape) if self.axis is None else shape[self.axis]
        repeats = self.repeats if len(self.repeats) > 1 else self.repeats[0]
        return np.repeat(np.arange(n), repeats)

    def compute(self, xp, x):
        repeats = list(self.repeats) if len(self.repeats) > 1 else self.repeats[0]
        return xp.repeat(x, repeats, self.axis)

    def rule(self, gy):
        shape = self.inputs[0].shape
        index = gy.xp.asarray(self._sources(shape))
        flat = (size_of_shape(shape),) if self.axis is None else shape
        axis = 0 if self.axis is None else self.axis % len(shape)
        zeros = gy.xp.zeros(flat, gy.dtype)
        slices = (slice(None),) * axis + (index,)
        return reshape(functions().scatter_add(zeros, slices, gy), shape)


def repeat(x, repeats, axis=None):
    """Repeat elements."""
    return Repeat(repeats, axis).apply((x,))[0]


def _flip(array, axis):
    return _backend.get_array_module(array).flip(array, axis)


class Flip(Arrangement):
    """One axis reversed."""

    def __init__(self, axis):
        if not isinstance(axis, int):
            raise TypeError("axis must be int")
        self.axis = axis

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        ndim = in_types[0].ndim
        type_check.expect(ndim > 0)
        if self.axis >= 0:
            type_check.expect(ndim > self.axis)
        else:
            type_check.expect(ndim >= -self.axis)

    def compute(self, xp, x):
        return xp.flip(x, self.axis)

    def rule(self, gy):
        return flip(gy, self.axis)


def flip(x, axis):
    """Reverse an axis."""
    return Flip(axis).apply((x,))[0]


class FlipLR(Arrangement):
    """Columns reversed."""

    axis = 1

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("a",))
        type_check.expect(
            in_types[0].dtype.kind == "f", in_types[0].ndim >= self.axis + 1
        )

    def compute(self, xp, x):
        return xp.flip(x, self.axis)

    def rule(self, gy):
        return type(self)().apply((gy,))[0]


class FlipUD(FlipLR):
    """Rows reversed."""

    axis = 0


def fliplr(a):
    """Reverse the columns."""
    return FlipLR().apply((a,))[0]


def flipud(a):
    """Reverse the rows."""
    return FlipUD().apply((a,))[0]
