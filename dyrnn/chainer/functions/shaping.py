"""Shapes: reshape, transpose, broadcast, and their kin."""

import math
from functools import partial

import numpy as np

from dyrnn import functions as core
from dyrnn.chainer import _backend, backend, configuration
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.functions.nodes import is_float
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import as_variable
from dyrnn.chainer.worlds import CoreNode, check_inputs, from_core
from dyrnn.functions import indexing, shape


def is_one(in_types):
    """Expect one input."""
    type_check._argname(in_types, ("x",))


def expect_axis(ndim, axis):
    """Expect an axis to be one of ``ndim``."""
    type_check.expect(ndim > (axis if axis >= 0 else -axis - 1))


class Reshape(CoreNode):
    """Another shape."""

    kind = shape.Reshape

    def check_type_forward(self, in_types):
        is_one(in_types)
        size, wanted = type_check.prod(in_types[0].shape), self.rule.shape
        if min(wanted, default=0) >= 0:
            type_check.expect(size == type_check.prod(wanted))
            return
        assert len([n for n in wanted if n < 0]) == 1
        known = math.prod([n for n in wanted if n > 0])
        known = type_check.make_variable(known, f"known_size(={known})")
        type_check.expect(size % known == 0)


def reshape(x, shape):
    """Give another shape."""
    if x.shape == shape:
        return as_variable(x)
    return Reshape(shape).apply((x,))[0]


def flatten(x):
    """Give one axis."""
    return reshape(x, (x.size,))


class ExpandDims(CoreNode):
    """One more axis of length 1."""

    kind = shape.Reshape

    def __init__(self, axis):
        self.axis = int(axis)

    def check_type_forward(self, in_types):
        is_one(in_types)
        bound = self.axis if self.axis >= 0 else -self.axis - 1
        type_check.expect(in_types[0].ndim >= bound)

    def forward(self, inputs):
        sizes = list(inputs[0].shape)
        sizes.insert(self.axis if self.axis >= 0 else self.axis + len(sizes) + 1, 1)
        self.rule = shape.Reshape(tuple(sizes))
        return self.run(*inputs)


def expand_dims(x, axis):
    """Insert an axis of length 1."""
    return ExpandDims(axis).apply((x,))[0]


class Squeeze(CoreNode):
    """Axes of length 1 dropped."""

    kind = shape.Reshape

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
            expect_axis(in_types[0].ndim, axis)

    def forward(self, inputs):
        self.rule = shape.Reshape(inputs[0].squeeze(self.axis).shape)
        return self.run(*inputs)


def squeeze(x, axis=None):
    """Drop axes of length 1."""
    return Squeeze(axis).apply((x,))[0]


class Transpose(CoreNode):
    """Permuted axes."""

    kind = shape.Transpose

    def check_type_forward(self, in_types):
        is_one(in_types)


def transpose(x, axes=None):
    """Permute the axes; without ``axes`` reverse them."""
    return Transpose(axes).apply((x,))[0]


class _Moved(Transpose):
    """Axes put in other places, as a function of NumPy does."""

    def __init__(self, *places):
        self.places = places

    def forward(self, inputs):
        # Each axis is as long as its number.
        axes = np.empty(range(inputs[0].ndim), bool)
        self.rule = shape.Transpose(self.move(axes, *self.places).shape)
        return self.run(*inputs)


class Swapaxes(_Moved):
    """Two axes swapped."""

    move = staticmethod(np.swapaxes)


def swapaxes(x, axis1, axis2):
    """Swap two axes."""
    return Swapaxes(axis1, axis2).apply((x,))[0]


class Rollaxis(_Moved):
    """One axis put before another."""

    move = staticmethod(np.rollaxis)

    def __init__(self, axis, start):
        for name, value in (("axis", axis), ("start", start)):
            if not isinstance(value, int):
                raise TypeError(f"{name} must be int")
        super().__init__(axis, start)

    def check_type_forward(self, in_types):
        is_one(in_types)
        axis, start = self.places
        expect_axis(in_types[0].ndim, axis)
        type_check.expect(in_types[0].ndim >= (start if start >= 0 else -start))


def rollaxis(x, axis, start=0):
    """Put ``axis`` before ``start``."""
    return Rollaxis(axis, start).apply((x,))[0]


class Moveaxis(_Moved):
    """Axes put in other places."""

    move = staticmethod(np.moveaxis)

    def check_type_forward(self, in_types):
        is_float(in_types, "x")
        for axes in self.places:
            for axis in (axes,) if isinstance(axes, int) else axes or ():
                expect_axis(in_types[0].ndim, axis)


def moveaxis(x, source, destination):
    """Put the axes ``source`` in the places ``destination``."""
    return Moveaxis(source, destination).apply((x,))[0]


class BroadcastTo(CoreNode):
    """An array stretched to a shape."""

    kind = shape.BroadcastTo

    def check_type_forward(self, in_types):
        is_one(in_types)
        wanted = self.rule.shape
        ndim = type_check.make_variable(len(wanted), "len(shape)")
        type_check.expect(in_types[0].ndim <= ndim)
        given = type_check.eval(in_types[0].shape)
        for i in range(-1, -len(given) - 1, -1):
            if given[i] not in (wanted[i], 1):
                expected = f"in_type[0].shape[{i}] == {wanted[i]}"
                if wanted[i] != 1:
                    expected += f" or in_type[0].shape[{i}] == 1"
                raise type_check.InvalidType(expected, f"in_type[0].shape: {given}")


def broadcast_to(x, shape):
    """Stretch to a shape."""
    if x.shape == shape:
        return as_variable(x)
    return BroadcastTo(tuple(shape)).apply((x,))[0]


def _check_broadcast(in_types):
    type_check.expect(in_types.size() > 0)
    type_check.expect_broadcast_shapes(*[t.shape for t in in_types])


def broadcast(*args):
    """Stretch arrays to their common shape."""
    check_inputs("Broadcast", _check_broadcast, *args)
    shape = np.broadcast_shapes(*[x.shape for x in args])
    ys = tuple([broadcast_to(x, shape) for x in args])
    return ys if len(ys) > 1 else ys[0]


SumTo = from_core(shape.SumTo, is_one)


def sum_to(x, shape):
    """Sum over the axes that a broadcast has stretched."""
    if x.shape == shape:
        return as_variable(x)
    return SumTo(shape).apply((x,))[0]


class Cast(CoreNode):
    """Another type."""

    kind = shape.Cast

    def check_type_forward(self, in_types):
        is_one(in_types)


def cast(x, typ):
    """Give another type."""
    if x.dtype == typ and not configuration.config.enable_backprop:
        return as_variable(x)
    return Cast(typ).apply((x,))[0]


def copy(x, dst):
    """Copy to a device."""
    if getattr(dst, "id", None) == -1:
        dst = "@numpy"
    copied = partial(core.copy, dst=backend.get_device(dst).name)
    return bridge(copied, x, name="Copy", check=is_one)


def _checked_counts(name, counts):
    """Return one or several numbers of repetitions as a tuple."""
    if isinstance(counts, int):
        counts = (counts,)
    if not (isinstance(counts, tuple) and all(isinstance(n, int) for n in counts)):
        raise TypeError(f"{name} must be int or tuple of ints.\nActual: {type(counts)}")
    if any(n < 0 for n in counts):
        raise ValueError(f"all elements in {name} must be zero or larger")
    return counts


def tile(x, reps):
    """Repeat side by side."""
    reps = _checked_counts("reps", reps)
    return bridge(partial(core.tile, reps=reps), x, name="Tile", check=is_one)


def repeat(x, repeats, axis=None):
    """Repeat elements."""
    repeats = _checked_counts("repeats", repeats)
    if axis is not None and (not isinstance(axis, int) or isinstance(axis, bool)):
        raise TypeError("axis must be int or None")
    repeats = repeats[0] if len(repeats) == 1 else repeats
    repeated = partial(core.repeat, repeats=repeats, axis=axis)
    return bridge(repeated, x, name="Repeat", check=is_one)


def _flip(array, axis):
    return _backend.get_array_module(array).flip(array, axis)


class Flip(CoreNode):
    """One axis reversed."""

    kind = indexing.GetItem

    def __init__(self, axis):
        if not isinstance(axis, int):
            raise TypeError("axis must be int")
        self.axis = axis

    def check_type_forward(self, in_types):
        is_one(in_types)
        type_check.expect(in_types[0].ndim > 0)
        expect_axis(in_types[0].ndim, self.axis)

    def forward(self, inputs):
        axis = self.axis % inputs[0].ndim
        self.rule = indexing.GetItem((slice(None),) * axis + (slice(None, None, -1),))
        return self.run(*inputs)


def flip(x, axis):
    """Reverse an axis."""
    return Flip(axis).apply((x,))[0]


class FlipLR(Flip):
    """Columns reversed."""

    axis = 1

    def __init__(self):
        super().__init__(type(self).axis)

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("a",))
        type_check.expect(in_types[0].dtype.kind == "f", in_types[0].ndim > self.axis)


class FlipUD(FlipLR):
    """Rows reversed."""

    axis = 0


def fliplr(a):
    """Reverse the columns."""
    return FlipLR().apply((a,))[0]


def flipud(a):
    """Reverse the rows."""
    return FlipUD().apply((a,))[0]


def _check_diagonal(in_types, axis1, axis2):
    is_one(in_types)
    ndim = in_types[0].ndim
    type_check.expect(max(axis1, axis2) < ndim, -ndim <= min(axis1, axis2))


def diagonal(x, offset=0, axis1=0, axis2=1):
    """Return a diagonal of two axes, as the last axis."""
    places = {"axis1": axis1, "axis2": axis2}
    check = partial(_check_diagonal, **places)
    return bridge(
        partial(core.diagonal, offset=offset, **places), x, name="Diagonal", check=check
    )
