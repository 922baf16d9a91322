"""What old scripts expect of NumPy and NumPy 2 no longer has.

Only ``python -m dyrnn.chainer`` changes anything, in its own process and for unedited
programs: names that went away come back, arrays of sequences of several lengths become
arrays of objects, as before NumPy 1.24, and numbers in lists are printed without their
types. An edited program does without. What the text of a program has to be changed for
is in ``modernize``.
"""

import functools

import numpy as np

_RENAMED = {
    **{"int": int, "float": float, "object": object, "str": str, "complex": complex},
    **{"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_},
    **{"string_": np.bytes_, "cfloat": np.complex128, "singlecomplex": np.complex64},
    **{"unicode": str, "Inf": np.inf, "Infinity": np.inf, "infty": np.inf},
    **{"PINF": np.inf, "NINF": -np.inf, "NaN": np.nan, "NAN": np.nan},
    **{"PZERO": 0.0, "NZERO": -0.0},
    **{"product": np.prod, "cumproduct": np.cumprod, "round_": np.round},
    **{"sometrue": np.any, "alltrue": np.all, "mat": np.asmatrix},
    **{"trapz": getattr(np, "trapezoid", None), "row_stack": np.vstack},
    "asscalar": lambda a: a.item(),
    "asfarray": lambda a, dtype=np.float64: np.asarray(a, dtype),
    "rank": np.ndim,
    "in1d": lambda a, b, **options: np.isin(np.ravel(a), b, **options),
    "msort": lambda a: np.sort(a, axis=0),
    "find_common_type": lambda arrays, scalars: np.result_type(*arrays, *scalars),
}


def revive_names():
    """Give NumPy its old names back."""
    for name, value in _RENAMED.items():
        if name not in vars(np) and value is not None:
            setattr(np, name, value)


def revive():
    """Give NumPy its old names, tolerance and prints back."""
    revive_names()
    for module, name in (
        (np, "array"),
        (np, "asarray"),
        (np, "asanyarray"),
        (np, "atleast_1d"),
        (np.random, "permutation"),
    ):
        setattr(module, name, _tolerant(getattr(module, name)))
    for name in ("vstack", "hstack", "dstack", "stack"):
        setattr(np, name, _of_any_iterable(getattr(np, name)))
    np.fromstring = _of_bytes(np.fromstring)
    np.set_printoptions(legacy="1.25")  # [0.5], not [np.float64(0.5)]


def number_of(x):
    """Return the number in an array of one, anything else as it is."""
    is_one = isinstance(x, np.ndarray) and x.ndim > 0 and x.size == 1
    return x.reshape(()) if is_one else x


def _is_number(x):
    return np.isscalar(x) or getattr(x, "ndim", None) == 0


def _tolerant(function):
    """Return a function that makes an array of objects where rows differ in length."""

    @functools.wraps(function)
    def call(x, *args, **kwargs):
        if kwargs.get("copy", True) is False:
            kwargs["copy"] = None  # where it can be avoided, as before NumPy 2
        try:
            return function(x, *args, **kwargs)
        except ValueError as error:
            if "inhomogeneous" not in str(error):
                raise
            rows = [number_of(row) for row in x]
            are_numbers = all(_is_number(row) for row in rows)
            if args or kwargs or are_numbers:
                return function(rows, *args, **kwargs)
        rows = _objects(x)
        return rows if "array" in function.__name__ else function(rows)

    return call


def _objects(x):
    """Return a sequence as an array of objects, of two axes where rows are alike."""
    rows = list(x)
    lengths = {len(row) if isinstance(row, (list, tuple)) else None for row in rows}
    if len(lengths) == 1 and lengths != {None}:
        array = np.empty((len(rows), *lengths), object)
        for index in np.ndindex(array.shape):
            array[index] = rows[index[0]][index[1]]
        return array
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def _of_any_iterable(function):
    """Return a function that takes its arrays from ``map`` and the like, too."""

    @functools.wraps(function)
    def call(arrays, *args, **kwargs):
        is_iterator = hasattr(arrays, "__next__")
        return function(list(arrays) if is_iterator else arrays, *args, **kwargs)

    return call


def _of_bytes(fromstring):
    """Return ``fromstring`` that reads bytes where no separator is given."""

    @functools.wraps(fromstring)
    def call(text, dtype=float, count=-1, *, sep="", **options):
        if sep:
            return fromstring(text, dtype, count, sep=sep, **options)
        return np.frombuffer(text, dtype, count).copy()

    return call
