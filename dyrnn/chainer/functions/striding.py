"""Other views of the memory that an array lies in: ``as_strided``, and diagonals.

For ``as_strided``, strides and offsets count elements, and offsets begin where the
memory begins, not where the array does. Gradients go through that memory, too: what the
output's elements get is added up at each place, and the input's elements read it there.
Elements of the input that share one place share what arrives.
"""

import math

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.backends import cuda
from dyrnn.chainer.functions.joining import add_at
from dyrnn.chainer.functions.nodes import Arrangement
from dyrnn.chainer.utils import type_check


def _memory(array):
    """Return an array's memory, flat, and its first element's place in there."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    flat = base.ravel(order="K").view(array.dtype)
    address = array.__array_interface__["data"][0]
    start = flat.__array_interface__["data"][0]
    return flat, (address - start) // array.itemsize


def _reach(shape, strides, offset):
    """Return the lowest and the highest place of a view."""
    spans = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    return offset + sum(min(s, 0) for s in spans), offset + sum(
        max(s, 0) for s in spans
    )


def _stride_array(array, shape, strides, storage_offset):
    """Return a view of the memory of ``array``; ValueError if it leaves that."""
    low, high = _reach(shape, strides, storage_offset)
    if low < 0:
        raise ValueError("Out of buffer: too small index was specified")
    size, steps = array.itemsize, tuple([s * array.itemsize for s in strides])
    if isinstance(array, np.ndarray):
        flat, _ = _memory(array)
        space = flat.size
    else:
        space = array.data.mem.size // size
    if high >= space:
        raise ValueError("Out of buffer: too large index was specified")
    if isinstance(array, np.ndarray):
        return np.ndarray(shape, array.dtype, flat, storage_offset * size, steps)
    cupy = cuda.cupy
    pointer = cupy.cuda.MemoryPointer(array.data.mem, storage_offset * size)
    return cupy.ndarray(shape, array.dtype, pointer, steps)


def _geometry(array):
    """Return an array's shape, strides and offset."""
    strides = tuple([s // array.itemsize for s in array.strides])
    if isinstance(array, np.ndarray):
        return array.shape, strides, _memory(array)[1]
    offset = (array.data.ptr - array.data.mem.ptr) // array.itemsize
    return array.shape, strides, offset


def _places(xp, geometry):
    """Return the place of each element of a view."""
    shape, strides, offset = geometry
    places = xp.full(shape, offset)
    for axis, (n, s) in enumerate(zip(shape, strides, strict=True)):
        places += (xp.arange(n) * s).reshape((n,) + (1,) * (len(shape) - axis - 1))
    return places


class AsStrided(Arrangement):
    """Another view of an array's memory."""

    def __init__(self, shape, strides, storage_offset=None):
        self.view = shape, strides, storage_offset

    def compute(self, xp, x):
        shape, strides, offset = self.view
        self.given = _geometry(x)
        self.view = shape, strides, self.given[2] if offset is None else offset
        return _stride_array(x, *self.view)

    def rule(self, gy):
        if gy.dtype.kind != "f":
            raise TypeError("Only float is supported for back propagation")
        gx = _Carry(self.view, self.given).apply((gy,))[0]
        shared = _carry(gx.xp.ones(gx.shape, gx.dtype), self.given, self.given)
        return gx / shared if (shared > 1).any() else gx


def _carry(values, source, target):
    """Add values up at the places of one view, and return those of another."""
    xp = _backend.get_array_module(values)
    reaches = [_reach(*view) for view in (source, target) if math.prod(view[0])]
    if not reaches:
        return xp.zeros(target[0], values.dtype)
    low = min(lowest for lowest, _ in reaches)
    memory = xp.zeros(max(highest for _, highest in reaches) - low + 1, values.dtype)
    add_at(memory, _places(xp, source) - low, values)
    return memory[_places(xp, target) - low]


class _Carry(Arrangement):
    """Values carried through the memory from one view to another."""

    def __init__(self, source, target):
        self.views = source, target

    def compute(self, xp, values):
        return _carry(values, *self.views)

    def rule(self, gy):
        return _Carry(*self.views[::-1]).apply((gy,))[0]


def as_strided(x, shape, strides, storage_offset=None):
    """Return a view of the memory of ``x``; strides and offset count elements."""
    return AsStrided(shape, strides, storage_offset).apply((x,))[0]


class Diagonal(Arrangement):
    """A diagonal of two axes."""

    def __init__(self, offset, axis1, axis2):
        self.places = offset, axis1, axis2

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        _, axis1, axis2 = self.places
        ndim = in_types[0].ndim
        type_check.expect(max(axis1, axis2) < ndim, -ndim <= min(axis1, axis2))

    def compute(self, xp, x):
        return x.diagonal(*self.places)

    def rule(self, gy):
        return DiagonalGrad(self.inputs[0].shape, *self.places).apply((gy,))[0]


class DiagonalGrad(Arrangement):
    """Zeros, but for a diagonal."""

    def __init__(self, shape, *places):
        self.shape = shape
        self.places = places

    def compute(self, xp, gy):
        flat = xp.arange(math.prod(self.shape)).reshape(self.shape)
        y = xp.zeros(flat.size, gy.dtype)
        y[flat.diagonal(*self.places)] = gy
        return y.reshape(self.shape)

    def rule(self, gy):
        return Diagonal(*self.places).apply((gy,))[0]


def diagonal(x, offset=0, axis1=0, axis2=1):
    """Return a diagonal of two axes, as the last axis."""
    return Diagonal(offset, axis1, axis2).apply((x,))[0]
