"""Parts of an array: by slices, integer arrays or masks, and where a condition holds.

An index array may name one element several times: the gradients of all its uses add up,
in the order of their positions, so that a result is the same in every run.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from dyrnn import backend, kernels
from dyrnn.config import config
from dyrnn.engine.core import (
    FunctionNode,
    Operand,
    Variable,
    VariableLike,
    as_array,
    as_variable,
)
from dyrnn.engine.counts import chosen
from dyrnn.engine.gradients import Part
from dyrnn.errors import ShapeError
from dyrnn.functions.arithmetic import fit
from dyrnn.functions.checks import check_ids, place, places, type_for
from dyrnn.functions.shape import (
    broadcast_to,
    expand_dims,
    flatten,
    moveaxis,
    reshape,
)
from dyrnn.typing import Axis


class GetItem(FunctionNode):
    def __init__(self, key):
        self.key = key

    def forward(self, xp, x):
        self.x_shape = x.shape
        return x[self.key]

    def backward(self, xp, gy):
        if not backend.is_array(gy):
            zeros = gy.xp.zeros(self.x_shape, gy.dtype)
            return xp.scatter_add(zeros, self.key, gy)
        if _is_basic(self.key):
            return Part(self.key, gy, self.x_shape)
        gx = xp.zeros(self.x_shape, gy.dtype)
        _add_at(xp, gx, self.key, gy)
        return gx


def get_item(x: VariableLike, key: Any) -> Variable:
    """Return ``x[key]`` for slices, integers, integer arrays, masks and tuples of them.

    The gradients of an element that is named several times add up.
    """
    x = as_variable(x)
    y = GetItem(_indices(key, x)).apply(x)
    return y if y.array.ndim else chosen(x, y)


class ScatterAdd(FunctionNode):
    """The adjoint of :class:`GetItem`."""

    def __init__(self, key):
        self.key = key

    def forward(self, xp, x, values):
        self.kinds = (x.shape, x.dtype), (values.shape, values.dtype)
        y = x.copy()
        _add_at(xp, y, self.key, values)
        return y

    def backward(self, xp, gy):
        return gy, fit(gy[self.key], self.kinds[1])


def scatter_add(x: VariableLike, key: Any, values: Operand) -> Variable:
    """Return ``x`` with ``values`` added at ``key``, of the shape of ``x[key]``.

    What is added to an element that is named several times adds up.
    """
    x, values = as_variable(x), as_variable(values)
    key = _indices(key, x)
    shape = x.array[key].shape
    if values.shape != shape:
        raise ShapeError(
            f"scatter_add: values have shape {values.shape}, but x[key] {shape}"
        )
    return ScatterAdd(key).apply(x, values)


class Where(FunctionNode):
    def forward(self, xp, condition, x, y):
        self.condition = xp.asarray(condition)
        self.kinds = [
            None if isinstance(v, (bool, int, float)) else (v.shape, v.dtype)
            for v in (x, y)
        ]
        # A number takes the type of the array beside it, if that holds it.
        if self.kinds[0] is None and self.kinds[1] is not None:
            x = xp.asarray(x, dtype=type_for(y.dtype, x))
        elif self.kinds[1] is None and self.kinds[0] is not None:
            y = xp.asarray(y, dtype=type_for(x.dtype, y))
        return xp.where(condition, x, y)

    def backward(self, xp, gy):
        zero = 0.0
        return (
            None,
            fit(xp.where(self.condition, gy, zero), self.kinds[0]),
            fit(xp.where(self.condition, zero, gy), self.kinds[1]),
        )


def where(condition: VariableLike, x: Operand, y: Operand) -> Variable:
    """Take ``x`` where the condition holds, else ``y``; all broadcast together."""
    condition = as_array(condition)
    if isinstance(condition, bool):
        condition = np.asarray(condition)
    kind = getattr(condition, "dtype", type(condition).__name__)
    if kind != "bool":
        raise TypeError(
            f"where: the condition is of type {kind}, not bool. "
            "Compare first, e.g. ids > 0."
        )
    return Where().apply(condition, x, y)


def select_item(x: VariableLike, t: VariableLike) -> Variable:
    """Return ``x[i, t[i]]`` for each row ``i`` of ``x`` (B, C): an array (B,)."""
    x, t = as_variable(x), as_array(t)
    if t.shape != x.shape[:1]:
        raise ShapeError(
            f"select_item: t has shape {t.shape}, expected {x.shape[:1]}, one column "
            f"for each row of x {x.shape}"
        )
    if x.ndim != 2:
        raise ShapeError(f"select_item: x has shape {x.shape}; it must be (B, C)")
    check_ids("select_item", "column", t, x.shape[1], x=x)
    return get_item(x, (x.xp.arange(len(t)), t))


def permutate(
    x: VariableLike, indices: VariableLike, axis: int = 0, inv: bool = False
) -> Variable:
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
    axis = place("permutate", axis, x.ndim)
    if indices.shape != x.shape[axis : axis + 1]:
        raise ShapeError(
            f"permutate: indices have shape {indices.shape}, but axis {axis} of x "
            f"{x.shape} needs ({x.shape[axis]},)"
        )
    check_ids("permutate", "index", indices, len(indices), x=x)
    if inv:
        indices = x.xp.argsort(indices)
    return get_item(x, (slice(None),) * axis + (indices,))


def flip(x: VariableLike, axis: Axis = None) -> Variable:
    """Reverse the order along ``axis``, or along all axes."""
    x = as_variable(x)
    axes = places("flip", axis, x.ndim)
    reverse, keep = slice(None, None, -1), slice(None)
    return get_item(x, tuple([reverse if i in axes else keep for i in range(x.ndim)]))


def flipud(x: VariableLike) -> Variable:
    """Reverse the order of the rows."""
    return flip(x, 0)


def fliplr(x: VariableLike) -> Variable:
    """Reverse the order of the columns."""
    return flip(x, 1)


def repeat(
    x: VariableLike, repeats: int | Sequence[int], axis: int | None = None
) -> Variable:
    """Repeat each element along ``axis``, by default of the flattened array.

    ``repeats`` is one number or one for each element along the axis.
    """
    x = flatten(x) if axis is None else as_variable(x)
    axis = 0 if axis is None else place("repeat", axis, x.ndim)
    if not isinstance(repeats, (int, np.integer)):
        if np.shape(repeats) not in ((), (1,), x.shape[axis : axis + 1]):
            raise ShapeError(
                f"repeat: repeats have shape {np.shape(repeats)}, but axis {axis} of x "
                f"{x.shape} needs ({x.shape[axis]},)"
            )
        ids = np.repeat(np.arange(x.shape[axis]), repeats)
        return get_item(x, (slice(None),) * axis + (x.xp.asarray(ids),))
    if repeats < 0:
        raise ValueError(f"repeat: repeats={repeats} must not be negative")
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    n = x.shape[axis]
    wide = broadcast_to(expand_dims(x, axis + 1), (*before, n, repeats, *after))
    return reshape(wide, (*before, n * repeats, *after))


def diagonal(
    x: VariableLike, offset: int = 0, axis1: int = 0, axis2: int = 1
) -> Variable:
    """Return the diagonals of the matrices in two axes, as the last axis."""
    x = as_variable(x)
    axes = places("diagonal", (axis1, axis2), x.ndim)
    x = moveaxis(x, axes, (-2, -1))
    rows, columns = x.shape[-2:]
    i = max(0, -offset)
    n = max(0, min(rows - i, columns - i - offset))
    ids = x.xp.arange(n)
    return get_item(x, (Ellipsis, ids + i, ids + i + offset))


def _indices(key, x):
    """Return an index in which variables and lists are arrays, where ``x`` is."""
    if type(key) is tuple:
        return tuple([_indices(k, x) for k in key])
    key = as_array(key)
    return x.xp.asarray(key) if isinstance(key, list) else key


def _is_basic(key):
    """Whether an index has no arrays or lists, so that it names each element once."""
    keys = key if type(key) is tuple else (key,)
    return all(
        k is None or k is Ellipsis or isinstance(k, (int, np.integer, slice))
        for k in keys
    )


def _add_at(xp, target, key, values):
    """Add values at ``key`` in place, the repeated ones in the order of positions."""
    if type(key) is tuple and len(key) == 1:
        (key,) = key
    is_array = backend.is_array(key)
    if _is_basic(key) or (is_array and key.dtype.kind == "b"):
        target[key] += values
    elif is_array:
        ids = key.reshape(-1).astype(np.int64, copy=False) % len(target)
        rows = values.reshape(len(ids), *target.shape[1:])
        kernels.add_rows_by_id(target, ids, rows)
    else:
        places = xp.arange(target.size).reshape(target.shape)[key].reshape(-1)
        kernels.add_rows_by_id(target.reshape(-1), places, values.reshape(-1))


def one_hot(x: VariableLike, size: int, dtype: DTypeLike = None) -> Variable:
    """Return rows of zeros with a 1 at each id; the id -1 gives zeros only.

    Parameters
    ----------
    x : array of integers, any shape
    size : int
        Number of classes C.
    dtype : dtype, optional
        That of the configuration by default.

    Returns
    -------
    Variable, (*x.shape, C)
        Without gradient.

    Raises
    ------
    ValueError
        If an id is out of range. A GPU would have to be waited for: there such an id
        gives NaN, if the type has it.

    Examples
    --------
    >>> one_hot(np.array([1, -1, 0]), 2).array.tolist()
    [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    """
    ids = as_array(x)
    check_ids("one_hot", "id", ids, size, -1)
    xp = backend.get_array_module(ids)
    rows = (ids[..., None] == xp.arange(size)).astype(dtype or config.dtype)
    if xp is not np and rows.dtype.kind == "f":  # nobody has looked at the ids yet
        is_bad = (ids >= size) | (ids < -1)
        rows = xp.where(is_bad[..., None], xp.asarray(np.nan, rows.dtype), rows)
    return Variable(rows)
