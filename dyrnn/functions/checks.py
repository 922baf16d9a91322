"""Checks of arguments that several functions share.

On the CPU integer ids are compared with their range at once; for a GPU see
:mod:`dyrnn.kernels.labels`.
"""

import operator

import numpy as np

from dyrnn import backend
from dyrnn.engine.core import Variable, VariableLike, as_array, as_variable
from dyrnn.errors import ShapeError


def check_arrays(name, **inputs):
    """Raise unless all inputs that are not None are variables or arrays."""
    for key, x in inputs.items():
        array = as_array(x)
        if x is not None and not backend.is_array(array):
            if array is None:
                _ = x.shape  # a parameter without values says what is missing
            raise TypeError(
                f"{name}: {key} is a {type(x).__name__}, but a Variable or an array is "
                f"needed. Convert it, e.g. np.asarray({key}, dtype=np.float32), or "
                "np.int32 for ids and labels."
            )


def variable(name: str, key: str, x: VariableLike) -> Variable:
    """Return input ``key`` of a function as a variable; a list is refused."""
    if isinstance(x, Variable):
        return x
    check_arrays(name, **{key: x})
    return as_variable(x)


def place(name, axis, n, key="axis"):
    """Return an axis, or another place among ``n``, counted from the front.

    NumPy's integers are as good as Python's; what is out of range is refused, since
    ``axis % n`` would take another axis in silence.
    """
    try:
        i = operator.index(axis)
    except TypeError:
        raise TypeError(f"{name}: {key}={axis!r} is not an integer") from None
    if not -n <= i < n:
        known = f"use {-n} to {n - 1}" if n else "there are none"
        raise ShapeError(f"{name}: {key} {i} is out of range of {n} axes; {known}")
    return i + n if i < 0 else i


def places(name, axis, n, key="axis"):
    """Return axes as a tuple of different :func:`place`; None stands for all."""
    if axis is None:
        return tuple(range(n))
    if not isinstance(axis, (tuple, list)) and np.ndim(axis) == 0:
        return (place(name, axis, n, key),)
    axes = tuple([place(name, i, n, key) for i in axis])
    if len(set(axes)) < len(axes):
        raise ShapeError(f"{name}: {key} {axis} names an axis twice")
    return axes


def floating(x: VariableLike) -> Variable:
    """Return ``x`` as a variable of floats: integers in a type that holds their values.

    That is float32 for those of up to 16 bits, else float64, as NumPy adds them to
    float32; NumPy's own functions make halves of bytes.
    """
    x = as_variable(x)
    if x.array.dtype.kind == "f":
        return x
    dtype = np.result_type(x.array.dtype, np.float32)
    return Variable(x.array.astype(dtype), requires_grad=False)


def type_for(dtype, number):
    """Return the type of an array that shall hold a number, too.

    Floats take any; integers that cannot hold the number become wider, or floats.
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "biu" or isinstance(number, (bool, np.bool)):
        return dtype
    if number != number or number in (np.inf, -np.inf) or number != int(number):
        return np.result_type(dtype, np.float32)
    return np.result_type(dtype, np.min_scalar_type(int(number)))


def check_floats(name, **inputs):
    """Raise unless all inputs that are not None have one and the same float type."""
    first = None
    for key, x in inputs.items():
        if x is None:
            continue
        dtype = getattr(getattr(x, "array", x), "dtype", None)
        if not isinstance(dtype, np.dtype) or dtype.kind != "f":
            check_arrays(name, **{key: x})
            raise TypeError(
                f"{name}: {key} has type {dtype}, but real floating-point numbers "
                f"are needed. Convert it, e.g. {key}.astype(np.float32)."
            )
        if first is None:
            first = key, dtype
        elif dtype != first[1]:
            raise TypeError(
                f"{name}: {first[0]} has type {first[1]}, but {key} {dtype}. Convert "
                f"one of them, e.g. {first[0]}.astype({key}.dtype)."
            )


def check_batch(name, x, axis):
    """Raise if there is no example in the batch."""
    if x.shape[axis] == 0:
        raise ValueError(
            f"{name}: x has shape {x.shape}: a batch of 0 examples. Leave out empty "
            "batches."
        )


def check_same_shape(name, **inputs):
    """Raise unless two inputs have the same shape."""
    (a, x), (b, y) = inputs.items()
    if variable(name, a, x).shape != variable(name, b, y).shape:
        raise ShapeError(
            f"{name}: {a} has shape {x.shape}, but {b} {y.shape}. They must be equal; "
            "reshape or broadcast one of them."
        )


def check_ratio(name, ratio, key="ratio"):
    """Raise unless ``ratio`` is a share that may be dropped."""
    try:
        is_share = 0 <= ratio < 1
    except TypeError:
        is_share = False
    if not is_share:
        raise ValueError(
            f"{name}: {key}={ratio!r}, but the share that is dropped must be a number "
            "of at least 0 and less than 1."
        )


def check_choice(name, key, value, choices):
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name}: {key}={value!r} is unknown; use one of {choices}")


def as_ids(name, ids):
    """Return ids, a list or an array of integers, as int32, none of them changed."""
    ids = np.asarray(ids)
    if ids.size and ids.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: ids must be integers, not {ids.dtype}. Convert them, e.g. "
            "np.asarray(ids, dtype=np.int32)."
        )
    if ids.size and not -(2**31) <= ids.min() <= ids.max() < 2**31:
        raise ValueError(
            f"{name}: ids go from {ids.min()} to {ids.max()}, but must fit into int32"
        )
    return ids.astype(np.int32)


def check_ids(name, what, ids, size, ignored=None, x=None):
    """Raise unless ``ids``, where x is, are integers within ``0 <= id < size``."""
    ids = getattr(ids, "array", ids)
    is_array = type(ids) is np.ndarray or backend.is_array(ids)
    if not is_array or ids.dtype.kind not in "iu":
        kind = ids.dtype if is_array else type(ids).__name__
        raise TypeError(
            f"{name}: {what}s must be an array of integers, not {kind}. Convert them, "
            "e.g. np.asarray(ids, dtype=np.int32)."
        )
    if x is not None:
        backend.get_array_module(as_array(x), ids)
    if type(ids) is not np.ndarray or ids.size == 0:
        return
    if ids.min() >= 0 and ids.max() < size:
        return
    is_bad = (ids < 0) | (ids >= size)
    if ignored is not None:
        is_bad &= ids != ignored
    if is_bad.any():
        position = tuple(int(i) for i in np.argwhere(is_bad)[0])
        hint = "" if ignored is None else f", or {ignored}, which is ignored"
        raise ValueError(
            f"{name}: {what} {ids[position]} at position {position} is out of range: "
            f"use 0 to {size - 1} ({size} in all){hint}."
        )
