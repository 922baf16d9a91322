"""Mathematical functions, elementwise."""

import math

from dyrnn import backend
from dyrnn.engine.core import FunctionNode, as_array, as_variable
from dyrnn.functions.arithmetic import fit


class Exp(FunctionNode):
    def forward(self, xp, x):
        y = xp.exp(x)
        self.save(y)
        return y

    def backward(self, xp, gy):
        (y,) = self.saved
        return gy * y


class Expm1(FunctionNode):
    """``exp(x) - 1``, accurate for small x."""

    def forward(self, xp, x):
        y = xp.expm1(x)
        self.save(y)
        return y

    def backward(self, xp, gy):
        (y,) = self.saved
        return gy * (y + 1)


class Log(FunctionNode):
    """To base e, "2" or "10": a quotient of logarithms is not exact at powers of 10."""

    def __init__(self, base=""):
        self.base = base

    def forward(self, xp, x):
        self.save(x)
        return getattr(xp, "log" + self.base)(x)

    def backward(self, xp, gy):
        (x,) = self.saved
        return gy / (x * math.log(float(self.base)) if self.base else x)


class Log1p(FunctionNode):
    """``log(1 + x)``, accurate for small x."""

    def forward(self, xp, x):
        self.save(x)
        return xp.log1p(x)

    def backward(self, xp, gy):
        (x,) = self.saved
        return gy / (x + 1)


class Sqrt(FunctionNode):
    def forward(self, xp, x):
        y = xp.sqrt(x)
        self.save(y)
        return y

    def backward(self, xp, gy):
        (y,) = self.saved
        return gy / (y * 2)


class Square(FunctionNode):
    def forward(self, xp, x):
        self.save(x)
        return x * x

    def backward(self, xp, gy):
        (x,) = self.saved
        return gy * (x * 2)


class Sin(FunctionNode):
    def forward(self, xp, x):
        self.save(x)
        return xp.sin(x)

    def backward(self, xp, gy):
        (x,) = self.saved
        return gy * xp.cos(x)


class Cos(FunctionNode):
    def forward(self, xp, x):
        self.save(x)
        return xp.cos(x)

    def backward(self, xp, gy):
        (x,) = self.saved
        return -gy * xp.sin(x)


class Tan(FunctionNode):
    def forward(self, xp, x):
        y = xp.tan(x)
        self.save(y)
        return y

    def backward(self, xp, gy):
        (y,) = self.saved
        return gy * (y * y + 1)


class Arcsin(FunctionNode):
    def forward(self, xp, x):
        self.save(x)
        return xp.arcsin(x)

    def backward(self, xp, gy):
        (x,) = self.saved
        return gy / xp.sqrt(1 - x * x)


class Arccos(FunctionNode):
    def forward(self, xp, x):
        self.save(x)
        return xp.arccos(x)

    def backward(self, xp, gy):
        (x,) = self.saved
        return -gy / xp.sqrt(1 - x * x)


class Arctan(FunctionNode):
    def forward(self, xp, x):
        self.save(x)
        return xp.arctan(x)

    def backward(self, xp, gy):
        (x,) = self.saved
        return gy / (x * x + 1)


class Sinh(FunctionNode):
    def forward(self, xp, x):
        self.save(x)
        return xp.sinh(x)

    def backward(self, xp, gy):
        (x,) = self.saved
        return gy * xp.cosh(x)


class Cosh(FunctionNode):
    def forward(self, xp, x):
        self.save(x)
        return xp.cosh(x)

    def backward(self, xp, gy):
        (x,) = self.saved
        return gy * xp.sinh(x)


class Arctanh(FunctionNode):
    def forward(self, xp, x):
        self.save(x)
        return xp.arctanh(x)

    def backward(self, xp, gy):
        (x,) = self.saved
        return gy / (1 - x * x)


class Arctan2(FunctionNode):
    def forward(self, xp, x1, x2):
        self.kinds = (x1.shape, x1.dtype), (x2.shape, x2.dtype)
        self.save(x1, x2)
        return xp.arctan2(x1, x2)

    def backward(self, xp, gy):
        x1, x2 = self.saved
        g = gy / (x1 * x1 + x2 * x2)
        return fit(g * x2, self.kinds[0]), fit(-g * x1, self.kinds[1])


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


def exp(x):
    """Exponential function, elementwise."""
    return Exp().apply(x)


def expm1(x):
    """``exp(x) - 1``, elementwise, accurate for small ``x``."""
    return Expm1().apply(x)


def log(x):
    """Natural logarithm, elementwise."""
    return Log().apply(x)


def log1p(x):
    """``log(1 + x)``, elementwise, accurate for small ``x``."""
    return Log1p().apply(x)


def log2(x):
    """Logarithm to base 2, elementwise."""
    return Log("2").apply(x)


def log10(x):
    """Logarithm to base 10, elementwise."""
    return Log("10").apply(x)


def sqrt(x):
    """Square root, elementwise; its gradient at 0 is infinite."""
    return Sqrt().apply(x)


def rsqrt(x):
    """``1 / sqrt(x)``, elementwise."""
    return 1.0 / sqrt(x)


def square(x):
    """Square, elementwise."""
    return Square().apply(x)


def sin(x):
    """Sine, elementwise."""
    return Sin().apply(x)


def cos(x):
    """Cosine, elementwise."""
    return Cos().apply(x)


def tan(x):
    """Tangent, elementwise."""
    return Tan().apply(x)


def arcsin(x):
    """Inverse sine, elementwise."""
    return Arcsin().apply(x)


def arccos(x):
    """Inverse cosine, elementwise."""
    return Arccos().apply(x)


def arctan(x):
    """Inverse tangent, elementwise."""
    return Arctan().apply(x)


def arctan2(x1, x2):
    """Angle of the point ``(x2, x1)`` with the positive x axis, elementwise."""
    return Arctan2().apply(x1, x2)


def sinh(x):
    """Hyperbolic sine, elementwise."""
    return Sinh().apply(x)


def cosh(x):
    """Hyperbolic cosine, elementwise."""
    return Cosh().apply(x)


def arctanh(x):
    """Inverse hyperbolic tangent, elementwise."""
    return Arctanh().apply(x)


def clip(x, a_min, a_max):
    """Limit the values to a range; the gradient is 0 where a value was changed."""
    if a_min is not None and a_max is not None and a_min > a_max:
        raise ValueError(f"clip: a_min {a_min} is greater than a_max {a_max}")
    return Clip(a_min, a_max).apply(as_variable(x))


def _constant(name, x):
    x = as_array(x)
    return as_variable(getattr(backend.get_array_module(x), name)(x))


def sign(x):
    """Return -1, 0 or 1, elementwise, as a constant: the gradient is 0."""
    return _constant("sign", x)


def floor(x):
    """The largest integer not above, elementwise, as a constant."""
    return _constant("floor", x)


def ceil(x):
    """The smallest integer not below, elementwise, as a constant."""
    return _constant("ceil", x)
