"""Several arrays to one and one to several; sequences of different lengths."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.engine.core import FunctionNode, Variable, VariableLike, as_variable
from dyrnn.engine.counts import stacked
from dyrnn.errors import ShapeError
from dyrnn.functions.arithmetic import fit
from dyrnn.functions.checks import place, type_for
from dyrnn.functions.indexing import get_item
from dyrnn.functions.shape import expand_dims, reshape
from dyrnn.typing import Array


class Concat(FunctionNode):
    def __init__(self, axis):
        self.axis = axis

    def forward(self, xp, *xs):
        self.kinds = [(x.shape, x.dtype) for x in xs]
        return xp.concatenate(xs, axis=self.axis)

    def backward(self, xp, gy):
        gxs, start = [], 0
        for kind in self.kinds:
            end = start + kind[0][self.axis]
            gxs.append(fit(gy[_along(self.axis, slice(start, end))], kind))
            start = end
        return tuple(gxs)


def concat(xs: Sequence[VariableLike], axis: int = -1) -> Variable:
    """Join arrays along an axis they have; the other sizes are equal.

    The default axis joins features: (B, I1), (B, I2) of a step to (B, I1 + I2), and
    (T, B, I1), (T, B, I2) of a window likewise.
    """
    xs = _variables("concat", xs)
    first = xs[0]
    axis = place("concat", axis, first.ndim)
    for x in xs:
        if (
            x.ndim != first.ndim
            or x.shape[:axis] + x.shape[axis + 1 :]
            != first.shape[:axis] + first.shape[axis + 1 :]
        ):
            raise ShapeError(
                f"concat: shapes {first.shape} and {x.shape} differ in an axis other "
                f"than {axis}"
            )
    return Concat(axis).apply(*xs)


def concatenate(xs: Sequence[VariableLike], axis: int = 0) -> Variable:
    """Join arrays along an axis: :func:`concat` with NumPy's name and default."""
    return concat(xs, axis)


def hstack(xs: Sequence[VariableLike]) -> Variable:
    """Join arrays along the second axis, vectors along their only one."""
    xs = _variables("hstack", xs)
    xs = [reshape(x, (1,)) if x.ndim == 0 else x for x in xs]
    return concat(xs, 0 if xs[0].ndim == 1 else 1)


def vstack(xs: Sequence[VariableLike]) -> Variable:
    """Join arrays along the first axis; a vector is a row."""
    xs = _variables("vstack", xs)
    return concat([reshape(x, (1, -1)) if x.ndim < 2 else x for x in xs], 0)


def dstack(xs: Sequence[VariableLike]) -> Variable:
    """Join arrays along the third axis; a matrix gets one of length 1."""
    xs = _variables("dstack", xs)
    xs = [reshape(x, (1, -1)) if x.ndim < 2 else x for x in xs]
    return concat([expand_dims(x, 2) if x.ndim == 2 else x for x in xs], 2)


class Stack(FunctionNode):
    def __init__(self, axis):
        self.axis = axis

    def forward(self, xp, *xs):
        self.kinds = [(x.shape, x.dtype) for x in xs]
        return xp.stack(xs, axis=self.axis)

    def backward(self, xp, gy):
        parts = [gy[_along(self.axis, i)] for i in range(len(self.kinds))]
        return tuple(map(fit, parts, self.kinds))


def stack(xs: Sequence[VariableLike], axis: int = 0) -> Variable:
    """Join arrays of one shape along a new axis."""
    xs = _variables("stack", xs)
    for x in xs:
        if x.shape != xs[0].shape:
            raise ShapeError(f"stack: shapes {xs[0].shape} and {x.shape} differ")
    y = Stack(place("stack", axis, xs[0].ndim + 1)).apply(*xs)
    return y if xs[0].ndim else stacked(xs, y)


class SplitAxis(FunctionNode):
    """Views of consecutive parts; one gradient for all, without a big zero for each."""

    def __init__(self, bounds, axis):
        self.bounds = bounds
        self.axis = axis

    def forward(self, xp, x):
        self.dtype = x.dtype
        ends = self.bounds[1:] + [x.shape[self.axis]]
        parts = [
            x[_along(self.axis, slice(start, end))]
            for start, end in zip(self.bounds, ends, strict=True)
        ]
        self.shapes = [part.shape for part in parts]
        return tuple(parts)

    def backward(self, xp, *gys):
        gys = _without_gaps(gys, self.shapes, self.dtype)
        return xp.concatenate(gys, axis=self.axis)


def split_axis(
    x: VariableLike, indices_or_sections: int | Sequence[int] | Array, axis: int
) -> tuple[Variable, ...]:
    """Cut an array into parts along an axis.

    Parameters
    ----------
    x : Variable
    indices_or_sections : int or sequence of int
        The number of equal parts, or where all parts but the first begin.
    axis : int

    Returns
    -------
    tuple of Variable
    """
    x = as_variable(x)
    axis = place("split_axis", axis, x.ndim)
    if isinstance(indices_or_sections, (int, np.integer)):
        if indices_or_sections < 1:
            raise ValueError(
                f"split_axis: {indices_or_sections} parts; give a number from 1 on"
            )
        n, rest = divmod(x.shape[axis], indices_or_sections)
        if rest:
            raise ShapeError(
                f"split_axis: axis {axis} of shape {x.shape} cannot be cut into "
                f"{indices_or_sections} equal parts"
            )
        bounds = [n * i for i in range(indices_or_sections)]
    else:
        bounds = [0, *[int(i) for i in indices_or_sections]]
        if bounds != sorted(bounds) or bounds[-1] > x.shape[axis]:
            raise ValueError(
                f"split_axis: {bounds[1:]} must ascend within axis {axis} of shape "
                f"{x.shape}"
            )
    return SplitAxis(bounds, axis).apply(x)


class Separate(FunctionNode):
    def __init__(self, axis):
        self.axis = axis

    def forward(self, xp, x):
        self.dtype = x.dtype
        self.shape = x.shape[: self.axis] + x.shape[self.axis + 1 :]
        return tuple([x[_along(self.axis, i)] for i in range(x.shape[self.axis])])

    def backward(self, xp, *gys):
        gys = _without_gaps(gys, [self.shape] * len(gys), self.dtype)
        return xp.stack(gys, axis=self.axis)


def separate(x: VariableLike, axis: int = 0) -> tuple[Variable, ...]:
    """Return the slices along an axis, without that axis, as a tuple."""
    x = as_variable(x)
    axis = place("separate", axis, x.ndim)
    return Separate(axis).apply(x) if x.shape[axis] else ()


class Pad(FunctionNode):
    """Puts a constant around an array."""

    def __init__(self, pad_width, value):
        self.pad_width = pad_width
        self.value = value

    def forward(self, xp, x):
        self.inside = tuple(
            [
                slice(before, before + size)
                for (before, _), size in zip(self.pad_width, x.shape, strict=True)
            ]
        )
        x = x.astype(type_for(x.dtype, self.value), copy=False)
        return xp.pad(x, self.pad_width, constant_values=self.value)

    def backward(self, xp, gy):
        return gy[self.inside]


def pad(
    x: VariableLike,
    pad_width: int | Sequence[Any],
    mode: str = "constant",
    constant_values: float = 0.0,
) -> Variable:
    """Put elements around an array, as ``numpy.pad`` does.

    Parameters
    ----------
    x : Variable
    pad_width : int, (int, int) or sequence of (int, int)
        How many before and after: everywhere, or for each axis.
    mode : str
        ``"constant"``, or a mode of ``numpy.pad`` that repeats elements: ``"edge"``,
        ``"reflect"``, ``"symmetric"``, ``"wrap"``.
    constant_values : float
    """
    x = as_variable(x)
    if not x.ndim:
        return x
    widths = np.asarray(pad_width)
    if widths.dtype.kind not in "iu" or widths.min(initial=0) < 0:
        raise ValueError(f"pad: pad_width={pad_width}; give integers of at least 0")
    try:
        widths = np.broadcast_to(widths, (x.ndim, 2)).tolist()
    except ValueError:
        raise ShapeError(
            f"pad: pad_width={pad_width} does not fit the {x.ndim} axes of x {x.shape};"
            " give a number, a pair, or a pair for each axis"
        ) from None
    if mode == "constant":
        return Pad(tuple(map(tuple, widths)), constant_values).apply(x)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ValueError(
            f"pad: unknown mode {mode!r}; there are constant, edge, reflect, "
            "symmetric and wrap"
        )
    for axis, width in enumerate(widths):
        if x.shape[axis] == 0 and any(width):
            raise ShapeError(f"pad: axis {axis} of x {x.shape} has nothing to repeat")
        ids = np.pad(np.arange(x.shape[axis]), width, mode=mode)
        x = get_item(x, _along(axis, x.xp.asarray(ids)))
    return x


class PadSequence(FunctionNode):
    def __init__(self, length, padding):
        self.length = length
        self.padding = padding

    def forward(self, xp, *xs):
        self.kinds = [(x.shape, x.dtype) for x in xs]
        shape = (len(xs), self.length, *xs[0].shape[1:])
        dtype = type_for(np.result_type(*[x.dtype for x in xs]), self.padding)
        y = xp.full(shape, self.padding, dtype=dtype)
        for i, x in enumerate(xs):
            y[i, : len(x)] = x
        return y

    def backward(self, xp, gy):
        parts = [gy[i, : shape[0]] for i, (shape, _) in enumerate(self.kinds)]
        return tuple(map(fit, parts, self.kinds))


def pad_sequence(
    xs: Sequence[VariableLike], length: int | None = None, padding: float = 0
) -> Variable:
    """Stack sequences of different lengths (T_i, ...) to one array (B, T, ...).

    ``length`` is T, by default the longest; ``padding`` fills the ends.
    """
    xs = _sequences("pad_sequence", xs)
    longest = max(len(x) for x in xs)
    if length is None:
        length = longest
    elif length < longest:
        raise ValueError(
            f"pad_sequence: a sequence has {longest} elements, more than {length}"
        )
    return PadSequence(length, padding).apply(*xs)


def transpose_sequence(xs: Sequence[VariableLike]) -> tuple[Variable, ...]:
    """Turn B sequences (T_i, ...), longest first, into T batches (B_t, ...).

    Batch ``t`` has element ``t`` of every sequence that is long enough. Batches to
    sequences is the same operation.
    """
    if not len(xs):
        return ()
    xs = _sequences("transpose_sequence", xs)
    lengths = [len(x) for x in xs]
    if lengths != sorted(lengths, reverse=True):
        raise ValueError(
            f"transpose_sequence: lengths {lengths} must not ascend; sort the "
            "sequences, longest first"
        )
    if lengths[0] == 0:
        return ()
    starts = np.cumsum([0, *lengths[:-1]])
    sizes = [sum(n > t for n in lengths) for t in range(lengths[0])]
    ids = np.concatenate([starts[:size] + t for t, size in enumerate(sizes)])
    rows = concat(xs, 0)
    rows = get_item(rows, rows.xp.asarray(ids))
    return split_axis(rows, np.cumsum(sizes[:-1]), 0)


def _along(axis, part):
    return (slice(None),) * axis + (part,)


def _without_gaps(gys, shapes, dtype):
    """Put zeros for the gradients of the outputs that nobody used."""
    used = next(gy for gy in gys if gy is not None)
    xp = backend.get_array_module(used) if backend.is_array(used) else used.xp
    return [
        xp.zeros(shape, dtype) if gy is None else gy
        for gy, shape in zip(gys, shapes, strict=True)
    ]


def _variables(name, xs):
    xs = [as_variable(x) for x in xs]
    if not xs:
        raise ValueError(f"{name}: expected one or more arrays, got an empty sequence")
    return xs


def _sequences(name, xs):
    """Return variables that differ in their first axis only."""
    xs = _variables(name, xs)
    for x in xs:
        if x.ndim == 0 or x.shape[1:] != xs[0].shape[1:]:
            raise ShapeError(
                f"{name}: a sequence has shape {x.shape}, the first {xs[0].shape}; "
                "they must be equal but for the first axis"
            )
    return xs
