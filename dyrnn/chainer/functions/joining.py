"""Parts: joining, splitting, indexing, choosing."""

import collections.abc
import itertools

import numpy as np

from dyrnn.chainer import _backend, configuration
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import Arrangement, functions, is_float
from dyrnn.chainer.functions.shaping import expect_axis
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.misc import force_array
from dyrnn.chainer.variable import Variable


def add_at(array, index, values):
    """Add at an index in place, repeated elements counted each time."""
    xp = _backend.get_array_module(array)
    xp.add.at(array, index, values)


def _boundaries(inputs, axis):
    return np.cumsum([x.shape[axis] for x in inputs[:-1]])


class Concat(FunctionNode):
    """Joined along an axis."""

    def __init__(self, axis=1):
        if not isinstance(axis, int):
            raise TypeError("axis must be int")
        self.axis = axis

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() > 0)
        first = in_types[0]
        type_check.expect(first.ndim > type_check.make_variable(self.axis, "axis"))
        type_check.expect(-first.ndim <= self.axis, self.axis < first.ndim)
        ndim = type_check.eval(first.ndim)
        _expect_same(in_types, [d for d in range(ndim) if d != self.axis % ndim])

    def forward(self, inputs):
        xp = _backend.get_array_module(*inputs)
        return (xp.concatenate(inputs, self.axis),)

    def backward(self, indexes, gys):
        if len(self.inputs) == 1:
            return gys
        places = _boundaries(self.inputs, self.axis)
        return split_axis(gys[0], places, self.axis)


def _expect_same(in_types, axes):
    """Expect types that differ from the first one's in other axes only."""
    first = in_types[0]
    for i in range(1, type_check.eval(in_types.size())):
        other = in_types[i]
        type_check.expect(first.dtype == other.dtype, first.ndim == other.ndim)
        for d in axes:
            type_check.expect(first.shape[d] == other.shape[d])


def concat(xs, axis=1):
    """Join along an axis."""
    return Concat(axis).apply(xs)[0]


class _NumpyStack(FunctionNode):
    """vstack, hstack, dstack: NumPy's rules for arrays of few axes."""

    name = ""
    axis = 0
    low_ndim = 1  # up to here arrays are given the axis first
    same_when_low = True
    names: tuple = ()

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() > 0)
        n = type_check.eval(in_types.size())
        if self.name != "vstack":
            for i in range(n):
                type_check._argname((in_types[i],), (f"x{i}",))
        ndim = type_check.eval(in_types[0].ndim)
        if ndim > max(self.low_ndim, 1):
            _expect_same(in_types, [d for d in range(ndim) if d != self.axis])
            return
        for i in range(1, n):
            type_check.expect(
                in_types[0].dtype == in_types[i].dtype,
                in_types[0].ndim == in_types[i].ndim,
            )
            if self.same_when_low:
                type_check.expect(in_types[0].shape == in_types[i].shape)

    def forward(self, inputs):
        xp = _backend.get_array_module(*inputs)
        return (getattr(xp, self.name)(inputs),)

    def backward(self, indexes, gys):
        (gy,) = gys
        shape = self.inputs[0].shape
        axis = min(self.axis, gy.ndim - 1)
        if len(self.inputs) == 1:
            return (functions().reshape(gy, shape),)
        if len(shape) <= self.low_ndim:
            parts = split_axis(gy, len(self.inputs), axis)
            reshape = functions().reshape
            return tuple([reshape(part, shape) for part in parts])
        return split_axis(gy, _boundaries(self.inputs, axis), axis)


class Vstack(_NumpyStack):
    """Joined row by row."""

    name = "vstack"


class Hstack(_NumpyStack):
    """Joined column by column."""

    name = "hstack"
    axis = 1
    low_ndim = 0
    same_when_low = False


class Dstack(_NumpyStack):
    """Joined along the third axis."""

    name = "dstack"
    axis = 2
    low_ndim = 2


def vstack(xs):
    """Join row by row."""
    return Vstack().apply(xs)[0]


def hstack(xs):
    """Join column by column."""
    return Hstack().apply(xs)[0]


def dstack(xs):
    """Join along the third axis."""
    return Dstack().apply(xs)[0]


class SplitAxis(FunctionNode):
    """Parts along an axis."""

    def __init__(self, indices_or_sections, axis):
        self.indices_or_sections = _checked_places(indices_or_sections)
        self.axis = axis

    @property
    def is_indices(self):
        return not isinstance(self.indices_or_sections, (int, np.integer))

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() == 1)
        type_check.expect(in_types[0].ndim > self.axis)
        places, size = self.indices_or_sections, in_types[0].shape[self.axis]
        if not self.is_indices:
            sections = type_check.make_variable(places, "sections")
            type_check.expect(size % sections == 0)
        elif len(places) > 0:
            last = type_check.make_variable(places[-1], "max_index")
            type_check.expect(size >= last)

    def forward(self, inputs):
        (x,) = inputs
        xp = _backend.get_array_module(x)
        ys = tuple(xp.split(x, self.indices_or_sections, self.axis))
        self._shapes = [y.shape for y in ys]
        return ys

    def backward(self, indexes, gys):
        return (concat(_filled(gys, self._shapes, self.inputs[0].dtype), self.axis),)


def _filled(gys, shapes, dtype):
    """Return gradients, zeros for those that are not there."""
    xp = next(gy.xp for gy in gys if gy is not None)
    return [
        xp.zeros(shape, dtype=dtype) if gy is None else gy
        for gy, shape in zip(gys, shapes, strict=True)
    ]


def _checked_places(places):
    if isinstance(places, np.ndarray):
        if places.dtype.kind != "i" and places.size > 0:
            raise TypeError("indices_or_sections must be integers")
        if places.ndim >= 2:
            raise TypeError("indices_or_sections must be 1-D sequence")
        if places.ndim == 0:
            return int(places)
    elif isinstance(places, collections.abc.Sequence):
        places = list(places)
    elif isinstance(places, int):
        return places
    else:
        raise TypeError(
            f"indices_or_sections must be integer or 1-D array.\nActual: {type(places)}"
        )
    if configuration.is_debug() and any(a > b for a, b in itertools.pairwise(places)):
        raise ValueError("indices_or_sections must be sorted")
    return places


def split_axis(x, indices_or_sections, axis, force_tuple=True):
    """Split into equal parts, or at indices."""
    parts = SplitAxis(indices_or_sections, axis).apply((x,))
    return parts if force_tuple or len(parts) != 1 else parts[0]


class Stack(FunctionNode):
    """Joined along a new axis."""

    def __init__(self, axis):
        self.axis = axis

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() > 0)
        first = in_types[0]
        type_check.expect(-first.ndim - 1 <= self.axis, self.axis <= first.ndim)
        for other in in_types[1:]:
            type_check.expect(other.dtype == first.dtype, other.shape == first.shape)

    def forward(self, inputs):
        xp = _backend.get_array_module(*inputs)
        return (xp.stack(inputs, axis=self.axis),)

    def backward(self, indexes, gys):
        return separate(gys[0], self.axis)


def stack(xs, axis=0):
    """Join along a new axis."""
    return Stack(axis).apply(xs)[0]


class Separate(FunctionNode):
    """The parts along an axis, without it."""

    def __init__(self, axis):
        self.axis = axis

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        if self.axis >= 0:
            type_check.expect(self.axis < in_types[0].ndim)
        else:
            type_check.expect(-self.axis <= in_types[0].ndim)

    def forward(self, inputs):
        (x,) = inputs
        xp = _backend.get_array_module(x)
        moved = xp.moveaxis(x, self.axis, 0)
        return tuple(
            [
                moved[i] if moved.ndim > 1 else moved[i : i + 1].reshape(())
                for i in range(len(moved))
            ]
        )

    def backward(self, indexes, gys):
        shape = list(self.inputs[0].shape)
        del shape[self.axis]
        shapes = [tuple(shape)] * len(gys)
        return (stack(_filled(gys, shapes, self.inputs[0].dtype), self.axis),)


def separate(x, axis=0):
    """Return the parts along an axis, without it."""
    return Separate(axis).apply((x,))


def _as_slices(slices):
    if isinstance(slices, list):
        if all(isinstance(s, int) for s in slices):
            slices = (slices,)
        slices = tuple(slices)
    elif not isinstance(slices, tuple):
        slices = (slices,)
    if configuration.is_debug() and sum(s is Ellipsis for s in slices) > 1:
        raise ValueError("Only one Ellipsis is allowed")
    return slices


class GetItem(Arrangement):
    """``x[slices]``."""

    def __init__(self, slices):
        self.slices = _as_slices(slices)

    def compute(self, xp, x):
        return force_array(x[self.slices])

    def rule(self, gy):
        return GetItemGrad(self.slices, self.inputs[0].shape).apply((gy,))[0]


class GetItemGrad(Arrangement):
    """Zeros, with values added at ``slices``."""

    def __init__(self, slices, in_shape):
        self.slices = slices
        self._in_shape = in_shape

    def compute(self, xp, gy):
        gx = xp.zeros(self._in_shape, gy.dtype)
        add_at(gx, self.slices, gy)
        return gx

    def rule(self, gy):
        return get_item(gy, self.slices)


def get_item(x, slices):
    """``x[slices]``."""
    return GetItem(slices).apply((x,))[0]


def install_variable_get_item():
    """Give variables their index operator."""
    Variable.__getitem__ = get_item


class ScatterAdd(FunctionNode):
    """``a``, with ``b`` added at ``slices``."""

    def __init__(self, slices):
        self.slices = _as_slices(slices)

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("a", "b"))
        n_axes = sum(s is not None for s in self.slices)
        type_check.expect(in_types[0].ndim >= n_axes)

    def forward(self, inputs):
        a, b = inputs
        y = a.copy()
        if y[self.slices].shape != b.shape:
            raise ValueError(
                "Chainer does not support automatic broadcasting of variables."
            )
        add_at(y, self.slices, b)
        return (y,)

    def backward(self, indexes, gys):
        (gy,) = gys
        return tuple([gy if i == 0 else gy[self.slices] for i in indexes])


def scatter_add(a, slices, b):
    """Return ``a`` with ``b`` added at ``slices``."""
    return ScatterAdd(slices).apply((a, b))[0]


class SelectItem(FunctionNode):
    """``x[i, t[i]]``."""

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x", "t"))
        x, t = in_types
        type_check.expect(
            t.dtype.kind == "i", x.ndim == 2, t.ndim == 1, x.shape[0] == t.shape[0]
        )

    def forward(self, inputs):
        self.retain_inputs((1,))
        x, t = inputs
        if configuration.is_debug() and not ((t >= 0) & (t < x.shape[1])).all():
            raise ValueError("Each label `t` need to satisfty `0 <= t < x.shape[1]`")
        rows = _backend.get_array_module(x).arange(t.size)
        return (x[rows, t],)

    def backward(self, indexes, gys):
        t = self.get_retained_inputs()[0].array
        slices = (gys[0].xp.arange(t.size), t)
        gx = GetItemGrad(slices, self.inputs[0].shape).apply(gys)[0]
        return gx, None


def select_item(x, t):
    """Return ``x[i, t[i]]`` for each row."""
    return SelectItem().apply((x, t))[0]


class Where(FunctionNode):
    """``x`` where the condition holds, else ``y``."""

    def __init__(self, condition):
        self.condition = condition

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x", "y"))
        x, y = in_types
        condition = type_check._make_variable_from_array(
            force_array(self.condition), "condition"
        )
        type_check.expect(condition.dtype == np.bool_, x.dtype == y.dtype)
        type_check.expect_broadcast_shapes(condition.shape, x.shape, y.shape)

    def forward(self, inputs):
        xp = _backend.get_array_module(*inputs)
        return (xp.where(self.condition, *inputs),)

    def backward(self, indexes, gys):
        (gy,) = gys
        zero = gy.xp.zeros((), dtype=gy.dtype)
        pairs = (gy, zero), (zero, gy)
        sum_to = functions().sum_to
        return tuple(
            [
                sum_to(Where(self.condition).apply(pairs[i])[0], self.inputs[i].shape)
                for i in indexes
            ]
        )


def where(condition, x, y):
    """Return ``x`` where the condition holds, else ``y``."""
    return Where(_backend.raw(condition)).apply((x, y))[0]


class Permutate(Arrangement):
    """Elements along an axis in another order."""

    def __init__(self, indices, axis, inv):
        self.indices = indices
        self.axis = axis
        self.inv = inv

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        if self.axis < 0:
            type_check.expect(in_types[0].ndim >= -self.axis)
        else:
            expect_axis(in_types[0].ndim, self.axis)

    def compute(self, xp, x):
        indices = self.indices
        if configuration.is_debug():
            _check_permutation(indices)
        if self.inv:
            indices = _backend.get_array_module(indices).argsort(indices)
        axis = self.axis % x.ndim
        return x[(slice(None),) * axis + (indices,)]

    def rule(self, gy):
        return permutate(gy, self.indices, self.axis, not self.inv)


def _check_permutation(indices):
    for i in indices:
        if not 0 <= i < len(indices):
            raise ValueError(f"Out of bounds index: {i}")
    values, counts = np.unique(indices, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"indices contains duplicate value: {values[counts > 1][0]}")


def permutate(x, indices, axis=0, inv=False):
    """Put elements along an axis in another order, or back."""
    if indices.dtype.kind != "i" or indices.ndim != 1:
        raise ValueError("indices should be a one-dimensional int array")
    return Permutate(_backend.raw(indices), axis, inv).apply((x,))[0]


class Pad(Arrangement):
    """Values around an array."""

    def __init__(self, pad_width, mode, **keywords):
        self.mode = mode
        self.keywords = keywords
        self.pad_width = pad_width

    def check_type_forward(self, in_types):
        is_float(in_types, "x")

    def compute(self, xp, x):
        return xp.pad(x, self.pad_width, mode=self.mode, **self.keywords)

    def rule(self, gy):
        shape = self.inputs[0].shape
        widths = np.broadcast_to(self.pad_width, (len(shape), 2))
        slices = [
            slice(int(w[0]), int(w[0]) + n) for n, w in zip(shape, widths, strict=True)
        ]
        return gy[tuple(slices)]


def pad(x, pad_width, mode, **keywords):
    """Put values around an array."""
    return Pad(pad_width, mode, **keywords).apply((x,))[0]


class PadSequence(FunctionNode):
    """Sequences of several lengths in one array."""

    def __init__(self, length, padding):
        self.length = length
        self.padding = padding

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() > 0)
        for i, in_type in enumerate(in_types):
            type_check._argname((in_type,), (f"x{i}",))
            type_check.expect(
                in_type.ndim > 0,
                in_type.shape[1:] == in_types[0].shape[1:],
                in_type.dtype == in_types[0].dtype,
            )
        if self.length is not None:
            for in_type in in_types:
                type_check.expect(in_type.shape[0] <= self.length)

    def forward(self, inputs):
        xp = _backend.get_array_module(*inputs)
        length = max(map(len, inputs)) if self.length is None else self.length
        shape = (len(inputs), length, *inputs[0].shape[1:])
        # As a cast does, so that -1 is the largest number of an unsigned type.
        padding = xp.asarray(self.padding).astype(inputs[0].dtype)
        y = xp.full(shape, padding, inputs[0].dtype)
        for row, x in zip(y, inputs, strict=True):
            row[: len(x)] = x
        return (y,)

    def backward(self, indexes, gys):
        return tuple([gys[0][i, : x.shape[0]] for i, x in enumerate(self.inputs)])


def pad_sequence(xs, length=None, padding=0):
    """Put sequences into one array, padded at their ends."""
    return PadSequence(length, padding).apply(xs)[0]


class TransposeSequence(FunctionNode):
    """From sequences, longest first, to batches per time step, and back."""

    def __init__(self, length):
        self._length = length

    def check_type_forward(self, in_types):
        for x, following in itertools.pairwise(in_types):
            type_check.expect(
                x.shape[0] >= following.shape[0], x.shape[1:] == following.shape[1:]
            )

    def forward(self, inputs):
        xp = _backend.get_array_module(*inputs)
        dtype = inputs[0].dtype
        empty = xp.empty((0, *inputs[0].shape[1:]), dtype)
        steps = [[x[t] for x in inputs if len(x) > t] for t in range(self._length)]
        return tuple(
            [xp.stack(r).astype(dtype, copy=False) if r else empty for r in steps]
        )

    def backward(self, indexes, gys):
        lengths = [x.shape[0] for x in self.inputs]
        unit = self.inputs[0].shape[1:]
        shapes = [(sum(n > t for n in lengths), *unit) for t in range(self._length)]
        gys = _filled(gys, shapes, self.inputs[0].dtype)
        return TransposeSequence(len(self.inputs)).apply(tuple(gys))


def transpose_sequence(xs):
    """Turn sequences, longest first, into batches per time step, or back."""
    if not xs:
        return ()
    return TransposeSequence(len(xs[0])).apply(tuple(xs))
