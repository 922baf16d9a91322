"""Parts of an array: by slices, integer arrays or masks, and where a condition holds.

An index array may name one element several times: the gradients of all its uses add up,
in the order of their positions, so that a result is the same in every run.
"""

import numpy as np

from dyrnn import backend
from dyrnn.engine.core import FunctionNode, Variable, as_array, as_variable
from dyrnn.engine.gradients import Part
from dyrnn.errors import ShapeError
from dyrnn.functions.arithmetic import fit
from dyrnn.functions.shape import (
    broadcast_to,
    expand_dims,
    flatten,
    moveaxis,
    reshape,
)


def _is_basic(key):
    """Whether an index has no arrays or lists, so that it names each element once."""
    keys = key if type(key) is tuple else (key,)
    return all(
        k is None or k is Ellipsis or isinstance(k, (int, np.integer, slice))
        for k in keys
    )


def _is_mask(key):
    return backend.is_array(key) and key.dtype.kind == "b"


class GetItem(FunctionNode):
    def __init__(self, key):
        self.key = key

    def forward(self, xp, x):
        self.x_shape = x.shape
        return x[self.key]

    def backward(self, xp, gy):
        if isinstance(gy, Variable):
            return PutItem(self.key, self.x_shape).apply(gy)
        if _is_basic(self.key):
            return Part(self.key, gy, self.x_shape)
        return _put(xp, gy, self.key, self.x_shape)


class PutItem(FunctionNode):
    """The adjoint of :class:`GetItem`: adds into zeros."""

    def __init__(self, key, shape):
        self.key = key
        self.shape = shape

    def forward(self, xp, x):
        return _put(xp, x, self.key, self.shape)

    def backward(self, xp, gy):
        return gy[self.key]


def _put(xp, gy, key, shape):
    gx = xp.zeros(shape, gy.dtype)
    if _is_basic(key) or _is_mask(key):
        gx[key] = gy
    elif backend.is_array(key):
        ids = key.reshape(-1).astype(np.int64, copy=False) % shape[0]
        backend.scatter_add(xp, gx, ids, gy.reshape(len(ids), *shape[1:]))
    else:
        places = xp.arange(gx.size).reshape(shape)[key].reshape(-1)
        flat = gx.reshape(-1)
        backend.scatter_add(xp, flat, places, gy.reshape(-1))
    return gx


class Where(FunctionNode):
    def forward(self, xp, condition, x, y):
        self.condition = condition
        self.kinds = [
            None if isinstance(v, (bool, int, float)) else (v.shape, v.dtype)
            for v in (x, y)
        ]
        # A number takes the type of the array beside it.
        if self.kinds[0] is None and self.kinds[1] is not None:
            x = xp.asarray(x, dtype=y.dtype)
        elif self.kinds[1] is None and self.kinds[0] is not None:
            y = xp.asarray(y, dtype=x.dtype)
        return xp.where(condition, x, y)

    def backward(self, xp, gy):
        zero = 0.0
        return (
            None,
            fit(xp.where(self.condition, gy, zero), self.kinds[0]),
            fit(xp.where(self.condition, zero, gy), self.kinds[1]),
        )


def get_item(x, key):
    """Return ``x[key]`` for slices, integers, integer arrays, masks and tuples of them.

    The gradients of an element that is named several times add up.
    """
    x = as_variable(x)
    if type(key) is tuple:
        key = tuple([_index(k, x) for k in key])
    else:
        key = _index(key, x)
    return GetItem(key).apply(x)


def _index(key, x):
    if isinstance(key, Variable):
        return key.array
    return x.xp.asarray(key) if isinstance(key, list) else key


def where(condition, x, y):
    """Take ``x`` where the condition holds, else ``y``; all broadcast together."""
    condition = as_array(condition)
    if condition.dtype != bool:
        raise TypeError(
            f"where: the condition is of type {condition.dtype}, not bool. "
            "Compare first, e.g. ids > 0."
        )
    return Where().apply(condition, x, y)


def select_item(x, t):
    """Return ``x[i, t[i]]`` for each row ``i`` of ``x`` (B, C): an array (B,)."""
    x, t = as_variable(x), as_array(t)
    if t.shape != x.shape[:1]:
        raise ShapeError(
            f"select_item: t has shape {t.shape}, expected {x.shape[:1]}, one column "
            f"for each row of x {x.shape}"
        )
    return get_item(x, (x.xp.arange(len(t)), t))


def permutate(x, indices, axis=0, inv=False):
    """Reorder along ``axis``: place ``i`` gets ``indices[i]``, or the other way round.

    Parameters
    ----------
    x : Variable
    indices : array of int, (x.shape[axis],)
        A permutation.
    axis : int
    inv : bool
        Whether place ``indices[i]`` gets ``i`` instead.
    """
    x, indices = as_variable(x), as_array(indices)
    if inv:
        indices = x.xp.argsort(indices)
    return get_item(x, (slice(None),) * (axis % x.ndim) + (indices,))


def flip(x, axis=None):
    """Reverse the order along ``axis``, or along all axes."""
    x = as_variable(x)
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis) % x.ndim
    reverse, keep = slice(None, None, -1), slice(None)
    return get_item(x, tuple([reverse if i in axes else keep for i in range(x.ndim)]))


def flipud(x):
    """Reverse the order of the rows."""
    return flip(x, 0)


def fliplr(x):
    """Reverse the order of the columns."""
    return flip(x, 1)


def repeat(x, repeats, axis=None):
    """Repeat each element along ``axis``, by default of the flattened array.

    ``repeats`` is one number or one for each element along the axis.
    """
    x = flatten(x) if axis is None else as_variable(x)
    axis = 0 if axis is None else axis % x.ndim
    if not isinstance(repeats, (int, np.integer)):
        ids = np.repeat(np.arange(x.shape[axis]), repeats)
        return permutate(x, x.xp.asarray(ids), axis)
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    n = x.shape[axis]
    wide = broadcast_to(expand_dims(x, axis + 1), (*before, n, repeats, *after))
    return reshape(wide, (*before, n * repeats, *after))


def diagonal(x, offset=0, axis1=0, axis2=1):
    """Return the diagonals of the matrices in two axes, as the last axis."""
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    i = max(0, -offset)
    n = max(0, min(rows - i, columns - i - offset))
    ids = x.xp.arange(n)
    return get_item(x, (Ellipsis, ids + i, ids + i + offset))
