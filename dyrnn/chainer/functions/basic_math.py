"""Arithmetic of variables: operators, with numbers and arrays cast to their type."""

import functools
from typing import Any

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.functions.elementwise import floor
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import Variable, as_variable
from dyrnn.chainer.worlds import CoreNode, from_core, of_floats
from dyrnn.functions import arithmetic


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


def _preprocess_rhs(x, value):
    """Return the other operand, an array in the variable's type."""
    if isinstance(value, Variable):
        return value
    if not isinstance(value, (np.generic, *_backend.array_types())):
        raise TypeError(
            "Value must be a scalar, `numpy.ndarray`, `cupy.ndarray` or a `Variable`."
            f"\nActual: {type(value)}"
        )
    return value.astype(x.dtype, copy=False)


def _check_any(in_types):
    type_check._argname(in_types, ("x",))


def _check_two(in_types):
    type_check._argname(in_types, ("lhs", "rhs"))
    type_check.expect(in_types[0].dtype == in_types[1].dtype)
    type_check.expect_broadcast_shapes(in_types[0].shape, in_types[1].shape)


def _check_two_floats(in_types):
    type_check._argname(in_types, ("lhs", "rhs"))
    type_check.expect(in_types[0].dtype.kind == "f")
    _check_two(in_types)


Neg = from_core(arithmetic.Negative, _check_any, "__neg__", "Neg")
Absolute = from_core(arithmetic.Absolute, of_floats("x"), "|_|")
Add = from_core(arithmetic.Add, _check_two, "_ + _")
Sub = from_core(arithmetic.Subtract, _check_two, "_ - _", "Sub")
Mul = from_core(arithmetic.Multiply, _check_two_floats, "_ * _", "Mul")
Div = from_core(arithmetic.Divide, _check_two_floats, "_ / _", "Div")
PowVarVar = from_core(arithmetic.Power, _check_two_floats, "_ ** _", "PowVarVar")


class _WithConstant(CoreNode):
    """A variable and a number, which is on its left if ``first`` is 1."""

    pattern = ""

    def __init__(self, value):
        super().__init__()
        self.value = value

    @property
    def label(self):
        return self.pattern % _text(self.value)

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        if self.kind in (arithmetic.Divide, arithmetic.Power):
            type_check.expect(in_types[0].dtype.kind == "f")

    def forward(self, inputs):
        (x,) = inputs
        value = _preprocess_const(x, self.value).item()
        return self.run(value, x) if self.first else self.run(x, value)


def _with_constant(name, kind, pattern):
    first = int(pattern.startswith("%"))
    rules = {"kind": kind, "pattern": pattern, "first": first, "__module__": __name__}
    return type(name, (_WithConstant,), rules)


AddConstant = _with_constant("AddConstant", arithmetic.Add, "_ + %s")
SubFromConstant = _with_constant("SubFromConstant", arithmetic.Subtract, "%s - _")
MulConstant = _with_constant("MulConstant", arithmetic.Multiply, "_ * %s")
DivFromConstant = _with_constant("DivFromConstant", arithmetic.Divide, "%s / _")
PowVarConst = _with_constant("PowVarConst", arithmetic.Power, "_ ** %s")
PowConstVar = _with_constant("PowConstVar", arithmetic.Power, "%s ** _")


def neg(self):
    """-x."""
    return Neg().apply((self,))[0]


def absolute(self):
    """Elementwise absolute."""
    return Absolute().apply((self,))[0]


def _binary(with_number, with_variable, is_reversed=False):
    """Return an operator's method."""

    def operator(self, rhs):
        if np.isscalar(rhs):
            return with_number(rhs).apply((self,))[0]
        rhs = _preprocess_rhs(self, rhs)
        pair = (rhs, self) if is_reversed else (self, rhs)
        return with_variable().apply(pair)[0]

    return operator


_add = _binary(AddConstant, Add)
sub = _binary(lambda value: AddConstant(-value), Sub)
rsub = _binary(SubFromConstant, Sub, is_reversed=True)
mul = _binary(MulConstant, Mul)
div = _binary(lambda value: MulConstant(1.0 / value), Div)
rdiv = _binary(DivFromConstant, Div, is_reversed=True)
pow = _binary(PowVarConst, PowVarVar)
rpow = _binary(PowConstVar, PowVarVar, is_reversed=True)


def add(*xs):
    """Elementwise sum of two or more."""
    return functools.reduce(_add, xs[1:], as_variable(xs[0]))


def floordiv(self, rhs):
    """Quotient rounded down."""
    return floor(div(self, rhs))


def rfloordiv(self, rhs):
    """Quotient rounded down, of the other operand."""
    return floor(rdiv(self, rhs))


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
