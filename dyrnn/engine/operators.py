"""Operators and methods that let programs treat a variable as an array.

They call :mod:`dyrnn.functions`, which is a floor above and cannot be imported here: it
passes itself to :func:`use_functions` when it is imported.
"""

from typing import Any

import numpy as np

functions: Any = None  # dyrnn.functions


def use_functions(module):
    """Take the differentiable functions that operators on variables call."""
    global functions
    functions = module


_OPERATORS = {  # what NumPy calls for `array + variable`, and our function
    "add": "add",
    "subtract": "subtract",
    "multiply": "multiply",
    "divide": "divide",
    "true_divide": "divide",
    "power": "power",
    "matmul": "matmul",
}
_COMPARISONS = set("equal not_equal less less_equal greater greater_equal".split())
# NumPy's names of functions that have another one here.
_OURS = {"dot": "matmul", "abs": "absolute", "amax": "max", "amin": "min"}


class _ArrayUfunc:
    """None of a variable, and of its class what NumPy is to call.

    CuPy asks the variable whether ``array + variable`` is left to it; NumPy asks the
    class, and would say of None that it knows no ``sqrt``, but not what to write.
    """

    def __get__(self, variable, owner):
        return None if variable is not None else _operate


def _operate(variable, ufunc, method, *inputs, **options):
    """Do what an operator between an array and a variable stands for."""
    name = ufunc.__name__
    if method == "__call__" and not options:
        if name in _OPERATORS:
            return getattr(functions, _OPERATORS[name])(*inputs)
        if name == "floor_divide":
            return functions.floor(functions.divide(*inputs))
        if name in _COMPARISONS:
            return variable._compare(None)
    if "out" in options and method == "__call__":
        raise TypeError(
            f"np.{name} cannot write a Variable into an array, as in `a += v`: its "
            "gradient would be lost. Write `a = a + v`, or `a += v.array` without one"
        )
    _refuse(ufunc, inputs, options, "" if method == "__call__" else f".{method}")


def _refuse(function, args, kwargs, method=""):
    """Raise an error that says what to call instead of a function of NumPy's."""
    # A ufunc has no module in older versions.
    module = getattr(function, "__module__", None) or "numpy"
    name = function.__name__
    theirs = f"{module.replace('numpy', 'np')}.{name}{method}"
    ours = _OURS.get(name, name)
    instead = ""
    if callable(getattr(functions, ours, None)) and not method:  # F.shape is a module
        instead = f"F.{ours}({_written(args, kwargs, '')}), or "
    raise TypeError(
        f"{theirs} on a Variable would lose its gradient; use {instead}"
        f"{theirs}({_written(args, kwargs, '.array')}) without one"
    )


def _written(args, kwargs, suffix):
    """Write a call's arguments: v, w, ... for variables, with a suffix."""
    names = iter("vwxyz")
    seen: dict[int, str] = {}

    def one(value):
        if isinstance(value, Operators):
            if id(value) not in seen:
                seen[id(value)] = next(names, "...")
            return seen[id(value)] + (suffix if seen[id(value)] != "..." else "")
        if isinstance(value, list | tuple):
            body = ", ".join(map(one, value[:3])) + (", ..." if value[3:] else "")
            return f"[{body}]"
        return repr(value) if isinstance(value, int | float | str | None) else "..."

    words = [one(value) for value in args]
    return ", ".join(words + [f"{key}={one(value)}" for key, value in kwargs.items()])


class Operators:
    """Operators and methods as NumPy's, for a class that has an ``array``."""

    __slots__ = ()
    array: Any

    __array_ufunc__ = _ArrayUfunc()
    __array_priority__ = 200

    def __add__(self, other):
        return functions.add(self, other)

    __radd__ = __add__

    def __sub__(self, other):
        return functions.subtract(self, other)

    def __rsub__(self, other):
        return functions.subtract(other, self)

    def __mul__(self, other):
        return functions.multiply(self, other)

    __rmul__ = __mul__

    def __truediv__(self, other):
        return functions.divide(self, other)

    def __rtruediv__(self, other):
        return functions.divide(other, self)

    def __floordiv__(self, other):
        return functions.floor(functions.divide(self, other))

    def __rfloordiv__(self, other):
        return functions.floor(functions.divide(other, self))

    def __pow__(self, other):
        return functions.power(self, other)

    def __rpow__(self, other):
        return functions.power(other, self)

    def __matmul__(self, other):
        return functions.matmul(self, other)

    def __rmatmul__(self, other):
        return functions.matmul(other, self)

    def _compare(self, other):
        raise TypeError(
            "a Variable is not compared, as its gradient would end there; compare its "
            "array: `v.array > 0`, or `is` for the same variable"
        )

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _compare
    __hash__ = object.__hash__  # by identity, since nothing else is equal

    def __pos__(self):
        return self

    def __neg__(self):
        return functions.negative(self)

    def __abs__(self):
        return functions.absolute(self)

    def __getitem__(self, key):
        return functions.get_item(self, key)

    def reshape(self, *shape):
        nested = len(shape) == 1 and isinstance(shape[0], (tuple, list))
        return functions.reshape(self, tuple(shape[0]) if nested else shape)

    def transpose(self, *axes):
        if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list))):
            axes = axes[0]
        return functions.transpose(self, axes or None)

    @property
    def T(self):
        return functions.transpose(self)

    def astype(self, dtype):
        return functions.cast(self, dtype)

    def sum(self, axis=None, keepdims=False):
        return functions.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis=None, keepdims=False):
        return functions.mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis=None, keepdims=False):
        return functions.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis=None, keepdims=False):
        return functions.min(self, axis=axis, keepdims=keepdims)

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        if not self.array.shape:
            raise TypeError("a Variable without axes has no elements to iterate over")
        return iter(functions.separate(self))

    def __float__(self):
        return float(self.array)

    def __array__(self, dtype=None, copy=None):
        if not isinstance(self.array, np.ndarray):
            raise TypeError(
                "this variable lives on a GPU; copy it explicitly with "
                "dyrnn.backend.to_cpu(variable.array)"
            )
        if copy:
            return np.array(self.array, dtype=dtype)
        return np.asarray(self.array, dtype=dtype)

    def __array_function__(self, func, types, args, kwargs):
        _refuse(func, args, kwargs)

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()
