"""Parts: joining, splitting, indexing, choosing."""

import collections.abc
import itertools
from functools import partial

import numpy as np

from dyrnn import functions as core
from dyrnn.chainer import _backend, configuration
from dyrnn.chainer.bridging import Bridge, bridge
from dyrnn.chainer.functions.shaping import expect_axis, is_one
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.misc import force_array
from dyrnn.chainer.variable import Variable
from dyrnn.chainer.worlds import CoreNode, check_inputs, from_core, of_floats
from dyrnn.functions import indexing, joining


def _expect_same(in_types, axes):
    """Expect types that differ from the first one's in other axes only."""
    first = in_types[0]
    for i in range(1, type_check.eval(in_types.size())):
        other = in_types[i]
        type_check.expect(first.dtype == other.dtype, first.ndim == other.ndim)
        for d in axes:
            type_check.expect(first.shape[d] == other.shape[d])


class Concat(CoreNode):
    """Joined along an axis."""

    kind = joining.Concat

    def __init__(self, axis=1):
        if not isinstance(axis, int):
            raise TypeError("axis must be int")
        super().__init__(axis)

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() > 0)
        first, axis = in_types[0], self.rule.axis
        type_check.expect(first.ndim > type_check.make_variable(axis, "axis"))
        type_check.expect(-first.ndim <= axis, axis < first.ndim)
        ndim = type_check.eval(first.ndim)
        _expect_same(in_types, [d for d in range(ndim) if d != axis % ndim])

    def forward(self, inputs):
        self.rule.axis %= inputs[0].ndim
        return self.run(*inputs)


def concat(xs, axis=1):
    """Join along an axis."""
    return Concat(axis).apply(xs)[0]


def _check_joined(in_types, axis, low_ndim, same_when_low, names):
    """Expect what NumPy's vstack, hstack or dstack joins.

    Arrays of up to ``low_ndim`` axes are given the axis first.
    """
    type_check.expect(in_types.size() > 0)
    if names:
        for i, in_type in enumerate(in_types):
            type_check._argname((in_type,), (f"x{i}",))
    ndim = type_check.eval(in_types[0].ndim)
    if ndim > max(low_ndim, 1):
        axes = [d for d in range(ndim) if d != axis]
    else:
        axes = range(ndim) if same_when_low else ()
    _expect_same(in_types, axes)


def vstack(xs):
    """Join row by row."""
    return _bridged(core.vstack, xs, 0, 1, True, False)


def hstack(xs):
    """Join column by column."""
    return _bridged(core.hstack, xs, 1, 0, False, True)


def dstack(xs):
    """Join along the third axis."""
    return _bridged(core.dstack, xs, 2, 2, True, True)


def _bridged(function, xs, *places):
    def check(in_types):
        _check_joined(in_types, *places)

    name = function.__name__.capitalize()
    return bridge(lambda *xs: function(xs), *xs, name=name, check=check)


class SplitAxis(CoreNode):
    """Parts along an axis."""

    kind = joining.SplitAxis

    def __init__(self, indices_or_sections, axis):
        self.indices_or_sections = _checked_places(indices_or_sections)
        self.axis = axis

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() == 1)
        type_check.expect(in_types[0].ndim > self.axis)
        places, size = self.indices_or_sections, in_types[0].shape[self.axis]
        if isinstance(places, int):
            sections = type_check.make_variable(places, "sections")
            type_check.expect(size % sections == 0)
        elif len(places) > 0:
            last = type_check.make_variable(places[-1], "max_index")
            type_check.expect(size >= last)

    def forward(self, inputs):
        places = self.indices_or_sections
        axis = self.axis % inputs[0].ndim
        if isinstance(places, int):
            size = inputs[0].shape[axis] // places
            places = [size * i for i in range(1, places)]
        self.rule = joining.SplitAxis([0, *map(int, places)], axis)
        return self.run(*inputs)


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
    elif isinstance(places, (int, np.integer)):
        return int(places)
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


class Stack(CoreNode):
    """Joined along a new axis."""

    kind = joining.Stack

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() > 0)
        first, axis = in_types[0], self.rule.axis
        type_check.expect(-first.ndim - 1 <= axis, axis <= first.ndim)
        for other in in_types[1:]:
            type_check.expect(other.dtype == first.dtype, other.shape == first.shape)

    def forward(self, inputs):
        self.rule.axis %= inputs[0].ndim + 1
        return self.run(*inputs)


def stack(xs, axis=0):
    """Join along a new axis."""
    return Stack(axis).apply(xs)[0]


class Separate(CoreNode):
    """The parts along an axis, without it."""

    kind = joining.Separate

    def check_type_forward(self, in_types):
        is_one(in_types)
        expect_axis(in_types[0].ndim, self.rule.axis)

    def forward(self, inputs):
        self.rule.axis %= inputs[0].ndim
        return self.run(*inputs)


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


GetItem = from_core(indexing.GetItem, is_one)


def get_item(x, slices):
    """``x[slices]``."""
    return GetItem(_as_slices(slices)).apply((x,))[0]


def install_variable_get_item():
    """Give variables their index operator."""
    Variable.__getitem__ = get_item


class ScatterAdd(CoreNode):
    """``a``, with ``b`` added at ``slices``."""

    kind = indexing.ScatterAdd

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("a", "b"))
        n_axes = sum(map(_count_axes, self.rule.key))
        type_check.expect(in_types[0].ndim >= n_axes)

    def forward(self, inputs):
        a, b = inputs
        if a[self.rule.key].shape != b.shape:
            raise ValueError(
                "Chainer does not support automatic broadcasting of variables."
            )
        return self.run(a, b)


def _count_axes(part):
    """Return how many axes a part of an index is for."""
    if part is None or part is Ellipsis:
        return 0
    if getattr(part, "dtype", None) == np.bool_:
        return part.ndim
    return not isinstance(part, bool)


def scatter_add(a, slices, b):
    """Return ``a`` with ``b`` added at ``slices``."""
    return ScatterAdd(_as_slices(slices)).apply((a, b))[0]


def _check_select(in_types):
    type_check._argname(in_types, ("x", "t"))
    x, t = in_types
    type_check.expect(
        t.dtype.kind == "i", x.ndim == 2, t.ndim == 1, x.shape[0] == t.shape[0]
    )


def select_item(x, t):
    """Return ``x[i, t[i]]`` for each row."""
    check_inputs("SelectItem", _check_select, x, t)
    t = _backend.raw(t)
    if configuration.is_debug() and not ((t >= 0) & (t < x.shape[1])).all():
        raise ValueError("Each label `t` need to satisfty `0 <= t < x.shape[1]`")
    return get_item(x, (_backend.get_array_module(t).arange(t.size), t))


class Where(CoreNode):
    """``x`` where the condition holds, else ``y``."""

    kind = indexing.Where

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("condition", "x", "y"))
        condition, x, y = in_types
        type_check.expect(condition.dtype == np.bool_, x.dtype == y.dtype)
        type_check.expect_broadcast_shapes(condition.shape, x.shape, y.shape)


def where(condition, x, y):
    """Return ``x`` where the condition holds, else ``y``."""
    return Where().apply((force_array(_backend.raw(condition)), x, y))[0]


class Permutate(CoreNode):
    """Elements along an axis in another order."""

    kind = indexing.GetItem

    def __init__(self, indices, axis, inv):
        self.indices = indices
        self.axis = axis
        self.inv = inv

    def check_type_forward(self, in_types):
        is_one(in_types)
        expect_axis(in_types[0].ndim, self.axis)

    def forward(self, inputs):
        indices = self.indices
        if configuration.is_debug():
            _check_permutation(indices)
        if self.inv:
            indices = _backend.get_array_module(indices).argsort(indices)
        axis = self.axis % inputs[0].ndim
        self.rule = indexing.GetItem((slice(None),) * axis + (indices,))
        return self.run(*inputs)


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


def pad(x, pad_width, mode, **keywords):
    """Put values around an array, as :func:`dyrnn.functions.pad` does."""
    padded = partial(core.pad, pad_width=pad_width, mode=mode, **keywords)
    return bridge(padded, x, name="Pad", check=of_floats("x"))


class PadSequence(CoreNode):
    """Sequences of several lengths in one array."""

    kind = joining.PadSequence

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() > 0)
        for i, in_type in enumerate(in_types):
            type_check._argname((in_type,), (f"x{i}",))
            type_check.expect(
                in_type.ndim > 0,
                in_type.shape[1:] == in_types[0].shape[1:],
                in_type.dtype == in_types[0].dtype,
            )
        if self.rule.length is not None:
            for in_type in in_types:
                type_check.expect(in_type.shape[0] <= self.rule.length)

    def forward(self, inputs):
        rule = self.rule
        if rule.length is None:
            rule.length = max(map(len, inputs))
        # As a cast does, so that -1 is the largest number of an unsigned type.
        rule.padding = np.asarray(rule.padding).astype(inputs[0].dtype)
        return self.run(*inputs)


def pad_sequence(xs, length=None, padding=0):
    """Put sequences into one array, padded at their ends."""
    return PadSequence(length, padding).apply(xs)[0]


def _check_sequences(in_types):
    for x, following in itertools.pairwise(in_types):
        type_check.expect(
            x.shape[0] >= following.shape[0], x.shape[1:] == following.shape[1:]
        )


def transpose_sequence(xs):
    """Turn sequences, longest first, into batches per time step, or back."""
    if not xs or not len(xs[0]):
        return ()
    node = Bridge(
        lambda *xs: core.transpose_sequence(xs), "TransposeSequence", _check_sequences
    )
    return node.apply(tuple(xs))
