"""Sums, products, powers and comparisons of two arrays, with NumPy's broadcasting.

A Python number among the operands stays one, so that it never widens the type. Each
rule ends by fitting the gradient to its operand: summed over the axes that were
broadcast and in the operand's type.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dyrnn.engine.core import (
    FunctionNode,
    Operand,
    Variable,
    as_array,
    as_variable,
)
from dyrnn.engine.counts import (
    added,
    bent,
    changed,
    divided,
    kind_of,
    multiplied,
    scaled_sums,
    shared,
)
from dyrnn.engine.gradients import sum_to
from dyrnn.errors import ShapeError

_NUMBERS = int, float, np.generic


def _kind(x):
    """Return shape and type of an operand, None of a number."""
    return None if isinstance(x, (bool, int, float)) else (x.shape, x.dtype)


def fit(gy, kind):
    """Sum a gradient to the shape of its operand and convert it to the same type."""
    if kind is None or (gy.shape == kind[0] and gy.dtype == kind[1]):
        return gy
    gx = sum_to(gy, kind[0])
    return gx if gx.dtype == kind[1] else gx.astype(kind[1])


class Binary(FunctionNode):
    """An operation on two arrays that remembers how to :func:`fit` the gradients."""

    def remember(self, a, b):
        self.kinds = _kind(a), _kind(b)

    def fit(self, ga, gb):
        a, b = self.kinds
        return None if ga is None else fit(ga, a), None if gb is None else fit(gb, b)


class Add(Binary):
    def forward(self, xp, a, b):
        self.remember(a, b)
        return a + b

    def backward(self, xp, gy):
        return self.fit(gy, gy)


def add(*xs: Operand) -> Variable:
    """Sum of two or more arrays, elementwise."""
    if len(xs) < 2:
        raise ValueError(f"add takes two or more arrays, but {len(xs)} was given")
    y: Any = xs[0]
    for x in xs[1:]:
        a, y = y, Add().apply(y, x)
        if y.array.ndim == 0:
            added(a, x, y)
    return y


class Subtract(Binary):
    def forward(self, xp, a, b):
        self.remember(a, b)
        return a - b

    def backward(self, xp, gy):
        return self.fit(gy, -gy if self.wants(1) else None)


def subtract(a: Operand, b: Operand) -> Variable:
    """Difference ``a - b``, elementwise."""
    y = Subtract().apply(a, b)
    if y.array.ndim == 0 and (kind_of(a) or kind_of(b)):
        added(a, -b, y)
    return y


class Multiply(Binary):
    def forward(self, xp, a, b):
        self.remember(a, b)
        # What multiplies a number is not needed again: do not keep it alive.
        of_a, of_b = self.kinds
        self.save(None if of_b is None else a, None if of_a is None else b)
        return a * b

    def backward(self, xp, gy):
        a, b = self.saved
        return self.fit(
            gy * b if self.wants(0) else None, gy * a if self.wants(1) else None
        )


def multiply(a: Operand, b: Operand) -> Variable:
    """Product ``a * b``, elementwise."""
    y = Multiply().apply(a, b)
    if y.array.ndim == 0:
        return multiplied(a, b, y)
    return scaled_sums(a, b, y) if isinstance(b, _NUMBERS) else y


class Divide(Binary):
    def forward(self, xp, a, b):
        self.remember(a, b)
        y = a / b
        self.save(b, None if self.kinds[1] is None else y)
        return y

    def backward(self, xp, gy):
        b, y = self.saved
        ga = gy / b
        return self.fit(ga, -ga * y if self.wants(1) else None)


def divide(a: Operand, b: Operand) -> Variable:
    """Quotient ``a / b``, elementwise."""
    y = Divide().apply(a, b)
    if y.array.ndim == 0:
        return divided(a, b, y)
    return shared(a, b, y)


class Power(Binary):
    def forward(self, xp, a, b):
        self.remember(a, b)
        y = a**b
        self.save(a, b, y)
        return y

    def backward(self, xp, gy):
        a, b, y = self.saved
        ga = gb = None
        if self.wants(0):
            if self.kinds[1] is None:
                # A constant has gradient 0, also at a = 0.
                ga = gy * 0.0 if b == 0 else gy * (a if b == 2 else a ** (b - 1)) * b
            else:
                # So is 0 ** 0 where the exponent stays, but 0 ** -1 is infinite.
                is_constant = (as_array(a) == 0) & (as_array(b) == 0)
                ga = gy * b * a ** xp.where(is_constant, 1.0, b - 1)
        if self.wants(1):
            if self.kinds[0] is None:
                gb = gy * y * (float(np.log(a)) if a > 0 else 0.0)
            else:
                # 0 ** b is constant for b > 0: log 1 stands for log 0.
                gb = gy * y * xp.log(xp.where(as_array(a) > 0, a, 1.0))
        return self.fit(ga, gb)


def power(a: Operand, b: Operand) -> Variable:
    """Power ``a ** b``, elementwise; the exponent's gradient is 0 where ``a <= 0``."""
    y = Power().apply(a, b)
    return y if y.array.ndim or (type(b) in (int, float) and b == 1) else bent(a, y)


class Negative(FunctionNode):
    def forward(self, xp, x):
        return -x

    def backward(self, xp, gy):
        return -gy


def negative(x: Operand) -> Variable:
    """The values with the other sign, elementwise."""
    return changed(negative, x, Negative().apply(x))


class Absolute(FunctionNode):
    def forward(self, xp, x):
        self.save(x)
        return abs(x)

    def backward(self, xp, gy):
        (x,) = self.saved
        return gy * xp.sign(x)


def absolute(x: Operand) -> Variable:
    """Absolute value, elementwise, with gradient 0 at 0."""
    y = Absolute().apply(x)
    return y if y.array.ndim else bent(x, y)


class _Choice(Binary):
    """Takes each element from one of two arrays; the first where they are equal."""

    compare: Callable
    choose: Callable

    def forward(self, xp, a, b):
        self.remember(a, b)
        self.is_first = self.compare(a, b)
        return self.choose(xp)(a, b)

    def backward(self, xp, gy):
        return self.fit(gy * self.is_first, gy * ~self.is_first)


class Maximum(_Choice):
    compare = staticmethod(lambda a, b: a >= b)
    choose = staticmethod(lambda xp: xp.maximum)


def maximum(a: Operand, b: Operand) -> Variable:
    """The larger of two values, elementwise; of equal ones ``a`` has the gradient."""
    y = Maximum().apply(a, b)
    return y if y.array.ndim else bent(a, bent(b, y))


class Minimum(_Choice):
    compare = staticmethod(lambda a, b: a <= b)
    choose = staticmethod(lambda xp: xp.minimum)


def minimum(a: Operand, b: Operand) -> Variable:
    """The smaller of two values, elementwise; of equal ones ``a`` has the gradient."""
    y = Minimum().apply(a, b)
    return y if y.array.ndim else bent(a, bent(b, y))


class Fmod(Binary):
    def forward(self, xp, x, divisor):
        self.remember(x, divisor)
        self.quotient = xp.trunc(x / divisor)
        return xp.fmod(x, divisor)

    def backward(self, xp, gy):
        return self.fit(gy, -gy * self.quotient)


def fmod(x: Operand, divisor: Operand) -> Variable:
    """Remainder of ``x / divisor`` with the sign of ``x``, elementwise."""
    return Fmod().apply(x, divisor)


def linear_interpolate(p: Operand, x: Operand, y: Operand) -> Variable:
    """Weighted mean ``p * x + (1 - p) * y``, elementwise."""
    p = as_variable(p)
    return p * x + (1 - p) * y


def scale(x: Operand, y: Operand, axis: int = 1) -> Variable:
    """Multiply ``x`` by ``y``, whose axes are those of ``x`` from ``axis`` on."""
    x, y = as_variable(x), as_variable(y)
    end = axis + y.ndim
    if y.shape != x.shape[axis:end]:
        raise ShapeError(
            f"scale: y has shape {y.shape}, but x {x.shape} has {x.shape[axis:end]} "
            f"from axis {axis} on"
        )
    return x * y.reshape(y.shape + (1,) * (x.ndim - end))
