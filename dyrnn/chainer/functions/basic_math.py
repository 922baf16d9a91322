"""Arithmetic of variables: operators, with numbers and arrays cast to their type."""

import math
from typing import Any

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import Formula, OfOutput, functions
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.misc import force_array
from dyrnn.chainer.variable import Variable


def _text(value: Any) -> str:
    """Return a constant as it stands in a label."""
    value = _backend.raw(value)
    if np.isscalar(value):
        return "(" + str(value) + ")" if value < 0 else str(value)
    if isinstance(value, _backend.array_types()):
        return "constant array"
    raise ValueError(
        f"Value must be a Variable, scalar or array. Actual: {type(value)}"
    )


_convert_value_to_string = _text


def _preprocess_const(x, value):
    return x.dtype.type(value)


def _preprocess_rhs(x, value: Any):
    """Return the other operand, an array in the variable's type."""
    if isinstance(value, Variable):
        return value
    if not isinstance(value, (np.generic, *_backend.array_types())):
        raise TypeError(
            "Value must be a scalar, `numpy.ndarray`, `cupy.ndarray` or a `Variable`."
            f"\nActual: {type(value)}"
        )
    return value.astype(x.dtype, copy=False)


class _Unary(Formula):
    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))


class Neg(_Unary):
    """Negative."""

    is_elementwise = True
    label = "__neg__"
    needs_inputs = False

    def compute(self, xp, x):
        return -x

    def rule(self, gy):
        return -gy


def neg(self):
    """-x."""
    return Neg().apply((self,))[0]


class Absolute(Formula):
    """Absolute value."""

    is_elementwise = True
    label = "|_|"

    def compute(self, xp, x):
        return abs(x)

    def rule(self, gy, x):
        return gy * x.xp.sign(x.array)


def absolute(self):
    """Elementwise absolute."""
    return Absolute().apply((self,))[0]


class _Binary(Formula):
    is_elementwise = True
    names = ("lhs", "rhs")
    takes_integers = False

    def check_type_forward(self, in_types):
        type_check._argname(in_types, self.names)
        if not self.takes_integers:
            type_check.expect(in_types[0].dtype.kind == "f")
        type_check.expect(in_types[0].dtype == in_types[1].dtype)
        type_check.expect_broadcast_shapes(in_types[0].shape, in_types[1].shape)


class Add(_Binary):
    """Sum of two."""

    label = "_ + _"
    needs_inputs = False
    takes_integers = True

    def compute(self, xp, a, b):
        return a + b

    def rule(self, gy):
        return gy, gy


class Sub(_Binary):
    """Difference."""

    label = "_ - _"
    needs_inputs = False
    takes_integers = True

    def compute(self, xp, a, b):
        return a - b

    def rule(self, gy):
        return gy, -gy


class Mul(_Binary):
    """Product."""

    label = "_ * _"

    def compute(self, xp, a, b):
        return a * b

    def rule(self, gy, a, b):
        return gy * b, gy * a


class Div(_Binary):
    """Quotient."""

    label = "_ / _"

    def compute(self, xp, a, b):
        return a / b

    def rule(self, gy, a, b):
        ga = gy / b
        return ga, -ga * a / b


class PowVarVar(_Binary):
    """Power of two variables."""

    label = "_ ** _"

    def compute(self, xp, a, b):
        return a**b

    def rule(self, gy, a, b):
        return b * a ** (b - 1) * gy, functions().log(a) * a**b * gy


class _WithConstant(_Unary):
    """A variable and a number."""

    is_elementwise = True
    pattern = ""
    needs_float = False

    def __init__(self, value):
        self.value = value

    @property
    def label(self):
        return self.pattern % _text(self.value)

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        if self.needs_float:
            type_check.expect(in_types[0].dtype.kind == "f")

    def constant(self, x):
        """Return the number in the variable's type."""
        return _preprocess_const(x, self.value)


class AddConstant(_WithConstant):
    """Sum with a number."""

    pattern = "_ + %s"
    needs_inputs = False

    def compute(self, xp, x):
        return x + self.constant(x)

    def rule(self, gy):
        return gy


class SubFromConstant(_WithConstant):
    """A number minus a variable."""

    pattern = "%s - _"
    needs_inputs = False

    def compute(self, xp, x):
        return self.constant(x) - x

    def rule(self, gy):
        return -gy


class MulConstant(_WithConstant):
    """Product with a number."""

    pattern = "_ * %s"
    needs_inputs = False

    def compute(self, xp, x):
        return self.constant(x) * x

    def rule(self, gy):
        return self.value * gy


class DivFromConstant(_WithConstant):
    """A number divided by a variable."""

    pattern = "%s / _"
    needs_float = True

    def compute(self, xp, x):
        return self.constant(x) / x

    def rule(self, gy, x):
        return -self.value * gy / x**2


class PowVarConst(_WithConstant):
    """A variable to the power of a number."""

    pattern = "_ ** %s"
    needs_float = True

    def compute(self, xp, x):
        return x ** self.constant(x)

    def rule(self, gy, x):
        return self.value * x ** (self.value - 1) * gy


class PowConstVar(_WithConstant, OfOutput):
    """A number to the power of a variable."""

    pattern = "%s ** _"
    needs_float = True

    def compute(self, xp, x):
        return self.constant(x) ** x

    def rule(self, gy, y):
        return math.log(self.value) * y * gy


class MultiAdd(FunctionNode):
    """Sum of any number of variables."""

    is_elementwise = True

    def check_type_forward(self, in_types):
        for i, in_type in enumerate(in_types):
            type_check._argname((in_type,), (f"x{i}",))
            type_check.expect(in_types[0].dtype == in_type.dtype)

    def forward(self, inputs):
        if len(inputs) == 1:
            return inputs
        y = inputs[0] + inputs[1]
        for x in inputs[2:]:
            y = y + x
        return (force_array(y),)

    def backward(self, indexes, gys):
        sum_to = functions().sum_to
        return tuple([sum_to(gys[0], x.shape) for x in self.inputs])


def _binary(with_number, with_variable, is_reversed=False):
    """Return an operator's method."""

    def operator(self, rhs):
        if np.isscalar(rhs):
            return with_number(rhs).apply((self,))[0]
        rhs = _preprocess_rhs(self, rhs)
        pair = (rhs, self) if is_reversed else (self, rhs)
        return with_variable().apply(pair)[0]

    return operator


def add(*xs):
    """Elementwise sum of two or more."""
    if len(xs) != 2:
        return MultiAdd().apply(xs)[0]
    return _add(*xs)


_add = _binary(AddConstant, Add)
sub = _binary(lambda value: AddConstant(-value), Sub)
rsub = _binary(SubFromConstant, Sub, is_reversed=True)
mul = _binary(MulConstant, Mul)
div = _binary(lambda value: MulConstant(1.0 / value), Div)
rdiv = _binary(DivFromConstant, Div, is_reversed=True)
pow = _binary(PowVarConst, PowVarVar)
rpow = _binary(PowConstVar, PowVarVar, is_reversed=True)


def floordiv(self, rhs):
    """Quotient rounded down."""
    return functions().floor(div(self, rhs))


def rfloordiv(self, rhs):
    """Quotient rounded down, of the other operand."""
    return functions().floor(rdiv(self, rhs))


def matmul(self, rhs):
    """Matrix product."""
    return functions().matmul(self, _preprocess_rhs(self, rhs))


def rmatmul(self, rhs):
    """Matrix product, from the left."""
    return functions().matmul(_preprocess_rhs(self, rhs), self)


def install_variable_arithmetics():
    """Give variables their operators."""
    methods = {
        "neg": neg,
        "abs": absolute,
        "add": add,
        "radd": add,
        "sub": sub,
        "rsub": rsub,
        "mul": mul,
        "rmul": mul,
        "div": div,
        "truediv": div,
        "rdiv": rdiv,
        "rtruediv": rdiv,
        "floordiv": floordiv,
        "rfloordiv": rfloordiv,
        "pow": pow,
        "rpow": rpow,
        "matmul": matmul,
        "rmatmul": rmatmul,
    }
    for name, method in methods.items():
        setattr(Variable, f"__{name}__", method)
