"""Mathematical functions, elementwise.

Most are a row of :func:`elementwise`: the function and the rule of its gradient.
"""

import math
from collections.abc import Callable

import numpy as np

from dyrnn import backend
from dyrnn.engine.core import (
    FunctionNode,
    Variable,
    VariableLike,
    as_array,
    as_variable,
)
from dyrnn.engine.counts import bent
from dyrnn.functions.arithmetic import Binary
from dyrnn.functions.checks import floating


def elementwise(
    name: str,
    doc: str,
    of_x: Callable | None = None,
    of_y: Callable | None = None,
    value: Callable | None = None,
    module: str = __name__,
    to_floats: bool = True,
) -> tuple[type[FunctionNode], Callable[[VariableLike], Variable]]:
    """Make the node class and the function of an elementwise function.

    Parameters
    ----------
    name : str
        NumPy's name of the function.
    doc : str
        What it is.
    of_x, of_y : callable
        One of them: the gradient, of ``(xp, gy, x)``, or of ``(xp, gy, y)`` where the
        value tells it.
    value : callable, optional
        Computes the value from ``(xp, x)``, by default NumPy's function.
    module : str
        Where they are assigned: pickle looks for them there.
    to_floats : bool
        Whether integers become floats.

    Returns
    -------
    type, callable
    """
    value = value or (lambda xp, x: getattr(xp, name)(x))
    rule = of_x or of_y

    def forward(self, xp, x):
        y = value(xp, x)
        self.save(y if of_x is None else x)
        return y

    def backward(self, xp, gy):
        return rule(xp, gy, *self.saved)

    def function(x: VariableLike) -> Variable:
        is_array = to_floats and backend.is_array(as_array(x))
        y = node().apply(floating(x) if is_array else x)
        return y if y.array.ndim else bent(x, y)

    rules = {"__module__": module, "forward": forward, "backward": backward}
    node = type(name.capitalize(), (FunctionNode,), rules)
    function.__name__ = function.__qualname__ = name
    function.__module__ = module
    function.__doc__ = f"{doc}, elementwise."
    return node, function


# fmt: off
Exp, exp = elementwise(
    "exp", "Exponential function", of_y=lambda xp, gy, y: gy * y)
Expm1, expm1 = elementwise(
    "expm1", "``exp(x) - 1``, accurate for small ``x``",
    of_x=lambda xp, gy, x: gy * xp.exp(x))
Log, log = elementwise(
    "log", "Natural logarithm", of_x=lambda xp, gy, x: gy / x)
Log1p, log1p = elementwise(
    "log1p", "``log(1 + x)``, accurate for small ``x``",
    of_x=lambda xp, gy, x: gy / (x + 1))
Log2, log2 = elementwise(
    "log2", "Logarithm to base 2", of_x=lambda xp, gy, x: gy / (x * math.log(2)))
Log10, log10 = elementwise(
    "log10", "Logarithm to base 10", of_x=lambda xp, gy, x: gy / (x * math.log(10)))
Sqrt, sqrt = elementwise(
    "sqrt", "Square root; its gradient at 0 is infinite",
    of_y=lambda xp, gy, y: gy / (y * 2))
Square, square = elementwise(
    "square", "Square", of_x=lambda xp, gy, x: gy * (x * 2), value=lambda xp, x: x * x,
    to_floats=False)
Sin, sin = elementwise(
    "sin", "Sine", of_x=lambda xp, gy, x: gy * xp.cos(x))
Cos, cos = elementwise(
    "cos", "Cosine", of_x=lambda xp, gy, x: -gy * xp.sin(x))
Tan, tan = elementwise(
    "tan", "Tangent", of_y=lambda xp, gy, y: gy * (y * y + 1))
Arcsin, arcsin = elementwise(
    "arcsin", "Inverse sine", of_x=lambda xp, gy, x: gy / xp.sqrt((1 - x) * (1 + x)))
Arccos, arccos = elementwise(
    "arccos", "Inverse cosine", of_x=lambda xp, gy, x: -gy / xp.sqrt((1 - x) * (1 + x)))
Arctan, arctan = elementwise(
    "arctan", "Inverse tangent", of_x=lambda xp, gy, x: gy / (x * x + 1))
Sinh, sinh = elementwise(
    "sinh", "Hyperbolic sine", of_x=lambda xp, gy, x: gy * xp.cosh(x))
Cosh, cosh = elementwise(
    "cosh", "Hyperbolic cosine", of_x=lambda xp, gy, x: gy * xp.sinh(x))
Arctanh, arctanh = elementwise(
    "arctanh", "Inverse hyperbolic tangent",
    of_x=lambda xp, gy, x: gy / ((1 - x) * (1 + x)))
# fmt: on


def rsqrt(x: VariableLike) -> Variable:
    """``1 / sqrt(x)``, elementwise."""
    return 1.0 / sqrt(x)


class Arctan2(Binary):
    def forward(self, xp, x1, x2):
        self.remember(x1, x2)
        self.save(x1, x2)
        return xp.arctan2(x1, x2)

    def backward(self, xp, gy):
        x1, x2 = self.saved
        g = gy / (x1 * x1 + x2 * x2)
        return self.fit(g * x2, -g * x1)


def arctan2(x1: VariableLike, x2: VariableLike) -> Variable:
    """Angle of the point ``(x2, x1)`` with the positive x axis, elementwise."""
    return Arctan2().apply(floating(x1), floating(x2))


class Clip(FunctionNode):
    def __init__(self, low, high):
        self.low = low
        self.high = high

    def forward(self, xp, x):
        y = xp.clip(x, self.low, self.high)
        self.is_inside = y == x
        return y

    def backward(self, xp, gy):
        return gy * self.is_inside


def clip(x: VariableLike, a_min: float | None, a_max: float | None) -> Variable:
    """Limit the values to a range; the gradient is 0 where a value was changed."""
    if a_min is not None and a_max is not None and a_min > a_max:
        raise ValueError(f"clip: a_min {a_min} is greater than a_max {a_max}")
    # A NumPy scalar must not widen the type.
    limits = [b.item() if isinstance(b, np.generic) else b for b in (a_min, a_max)]
    y = Clip(*limits).apply(as_variable(x))
    return y if y.array.ndim else bent(x, y)


def _steps(name: str, doc: str) -> Callable[[VariableLike], Variable]:
    """Make a function that is constant almost everywhere: its gradient is 0."""

    def function(x: VariableLike) -> Variable:
        x = as_array(x)
        return as_variable(getattr(backend.get_array_module(x), name)(x))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc}, elementwise, as a constant."
    return function


sign = _steps("sign", "-1, 0 or 1")
floor = _steps("floor", "The largest integer not above")
ceil = _steps("ceil", "The smallest integer not below")
