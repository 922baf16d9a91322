"""How a variable is shown, and what it says where it is not to be used."""

import numpy as np

from dyrnn.chainer.backends import _cpu


def variable_repr(var):
    """Return ``variable name([...])``, commas between elements."""
    return _text(var, ", ")


def variable_str(var):
    """Return ``variable name([...])``, spaces between elements."""
    return _text(var, " ")


def _text(var, separator):
    array = _cpu._to_cpu(var.array)
    prefix = f"variable {var.name}" if var.name else "variable"
    if array is None:
        body = "None"
    elif separator == ", " and array.size == 0 and array.shape != (0,):
        body = f"[], shape={array.shape!r}"
    else:
        body = np.array2string(array, separator=separator, prefix=prefix + "(")
    return f"{prefix}({body})"


def debug_print(var):
    """Return a text with the array's and the gradient's statistics."""
    array, grad = var.array, var.grad
    device = kind = shape = dtype = stats = None
    if array is not None:
        device = "CPU" if isinstance(array, np.ndarray) else array.device
        kind, shape, dtype = type(array), array.shape, array.dtype
        stats = _statistics(array)
    if grad is not None:
        grad = 0 if (grad == 0).all() else _statistics(grad)
    return (
        f"{var.summary()}\n- device: {device}\n- backend: {kind}\n"
        f"- shape: {shape}\n- dtype: {dtype}\n- statistics: {stats}\n- grad: {grad}"
    )


def _statistics(array):
    return f"mean={float(array.mean()):.8f}, std={float(array.std()):.8f}"


class NoComparisons:
    """What is neither compared nor true nor hashed."""

    __hash__ = None

    def __bool__(self):
        raise TypeError("Variables cannot be evaluated as Python bool.")

    __nonzero__ = __bool__


def _refuse(symbol):
    def operator(self, other):
        raise TypeError(
            f"Variables do not support {symbol} operator. "
            "You could use `array` attribute instead."
        )

    return operator


for _row in "lt <, le <=, eq ==, ne !=, gt >, ge >=".split(", "):
    _name, _symbol = _row.split()
    setattr(NoComparisons, f"__{_name}__", _refuse(_symbol))
