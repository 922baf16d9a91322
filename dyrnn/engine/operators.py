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


class Operators:
    """Operators and methods as NumPy's, for a class that has an ``array``."""

    __slots__ = ()
    array: Any

    # NumPy must leave `array + variable` and the like to our reflected operators.
    __array_ufunc__ = None
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
        # np.mean(v) would silently drop the graph.
        name = func.__name__
        theirs = f"{func.__module__.replace('numpy', 'np')}.{name}"
        is_ours = callable(getattr(functions, name, None))  # not F.shape, a module
        ours = f"F.{name}(v), or " if is_ours else ""
        raise TypeError(
            f"{theirs} on a Variable would lose its gradient; use {ours}"
            f"{theirs}(v.array) without one"
        )

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()
