"""Checks of arguments that are numbers, with errors that name them."""

import math
import numbers
import operator


def check_number(name, value):
    """Raise unless a value is a number, and not NaN; ``name`` is the argument's."""
    is_number = isinstance(value, numbers.Real) or (
        getattr(value, "shape", None) == () and hasattr(value, "__float__")
    )
    if not is_number or isinstance(value, bool):
        raise TypeError(
            f"{name} is {value!r:.60}, of type {type(value).__name__}; give a number"
        )
    if math.isnan(value):
        raise ValueError(f"{name} is nan; use a number")


def check_whole(name, value):
    """Raise unless a value is a whole number; ``name`` is the argument's."""
    try:
        if isinstance(value, bool):
            raise TypeError
        operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} is {value!r:.60}, of type {type(value).__name__}; give a whole "
            "number"
        ) from None
