"""Functions of single elements: a formula, and one for the gradient, for each.

The tables have rules of the functions ``F``, of ``gy`` and of ``x``, or ``y`` in the
second one, by the nodes' names. The formulas are NumPy's of the same name, or below.
"""

import math

import numpy as np

from dyrnn.chainer import _backend, configuration
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import Formula, OfOutput, are_alike, functions
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.misc import force_array
from dyrnn.chainer.variable import as_variable

LN2, LN10 = math.log(2), math.log(10)
SELU = 1.0507009873554805, 1.6732632423543772

_OF_INPUT = {
    "Log": lambda F, gy, x: gy / x,
    "Log2": lambda F, gy, x: gy / x * (1 / LN2),
    "Log10": lambda F, gy, x: gy / x * (1 / LN10),
    "Log1p": lambda F, gy, x: gy / (x + 1),
    "Sin": lambda F, gy, x: gy * F.cos(x),
    "Cos": lambda F, gy, x: gy * -F.sin(x),
    "Tan": lambda F, gy, x: gy / F.square(F.cos(x)),
    "Arcsin": lambda F, gy, x: gy / F.sqrt(1 - F.square(x)),
    "Arccos": lambda F, gy, x: -gy / F.sqrt(1 - F.square(x)),
    "Arctan": lambda F, gy, x: gy / (1 + F.square(x)),
    "Arctanh": lambda F, gy, x: gy / (1 - F.square(x)),
    "Sinh": lambda F, gy, x: gy * F.cosh(x),
    "Cosh": lambda F, gy, x: gy * F.sinh(x),
    "Square": lambda F, gy, x: gy * 2.0 * x,
}
_OF_OUTPUT = {
    "Exp": lambda F, gy, y: y * gy,
    "Expm1": lambda F, gy, y: (y + 1) * gy,
    "Sqrt": lambda F, gy, y: gy / (y * 2.0),
    "Rsqrt": lambda F, gy, y: gy * -0.5 * y**3,
    "Tanh": lambda F, gy, y: gy * (1 - y * y),
    "Sigmoid": lambda F, gy, y: gy * y * (1 - y),
    "ReLU": lambda F, gy, y: gy * (y.array > 0).astype(y.dtype),
}


def array_sigmoid(xp, x):
    """Return the sigmoid of an array."""
    half = x.dtype.type(0.5)
    return xp.tanh(x * half) * half + half


_COMPUTE = {
    "Rsqrt": lambda xp, x: 1 / xp.sqrt(x),
    "Sigmoid": array_sigmoid,
    "ReLU": lambda xp, x: xp.maximum(x, 0),
}


def _make_node(name, rule, base):
    def by_name(xp, x):
        return getattr(xp, name.lower())(x)

    compute = _COMPUTE.get(name, by_name)
    return type(
        name,
        (base,),
        {
            "__doc__": f"{name}, elementwise.",
            "__module__": __name__,
            "is_elementwise": True,
            "label": name if name == "ReLU" else name.lower(),
            "compute": lambda self, xp, x: compute(xp, x),
            "rule": lambda self, gy, x: rule(functions(), gy, x),
        },
    )


_NODES = {name: _make_node(name, rule, Formula) for name, rule in _OF_INPUT.items()}
_NODES |= {name: _make_node(name, rule, OfOutput) for name, rule in _OF_OUTPUT.items()}
globals().update(_NODES)
for _name in ("Tanh", "Sigmoid", "Arctanh"):
    _NODES[_name].label = _name


def _unary(name):
    node = _NODES[name]

    def function(x):
        return node().apply((x,))[0]

    function.__name__ = function.__qualname__ = name.lower()
    function.__doc__ = f"{name}, elementwise."
    return function


log, log2, log10, log1p = map(_unary, "Log Log2 Log10 Log1p".split())
sin, cos, tan = map(_unary, "Sin Cos Tan".split())
arcsin, arccos, arctan, arctanh = map(_unary, "Arcsin Arccos Arctan Arctanh".split())
sinh, cosh, square, sqrt, rsqrt = map(_unary, "Sinh Cosh Square Sqrt Rsqrt".split())
exp, expm1 = map(_unary, "Exp Expm1".split())


def _activation(name):
    node = _NODES[name]

    def function(x, use_cudnn=True):
        return node().apply((x,))[0]

    function.__name__ = function.__qualname__ = name.lower()
    function.__doc__ = f"{name}, elementwise; ``use_cudnn`` of version 1 does nothing."
    return function


tanh, sigmoid, relu = map(_activation, "Tanh Sigmoid ReLU".split())


def _steps(name):
    """Return a function that is constant almost everywhere: it makes no node."""

    def function(x):
        array = _backend.raw(x)
        y = getattr(_backend.get_array_module(array), name)(array)
        return as_variable(force_array(y, array.dtype))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name.capitalize()}, elementwise, of floats or integers."
    return function


floor, ceil, fix, sign = map(_steps, "floor ceil fix sign".split())


class Clip(Formula):
    """Values cut off at both ends."""

    def __init__(self, x_min, x_max):
        if x_min is None and x_max is None:
            raise ValueError("must set either max or min")
        if x_min is not None and x_max is not None and not x_min < x_max:
            raise ValueError("x_min must be less than x_max.")
        self.x_min = x_min
        self.x_max = x_max

    def compute(self, xp, x):
        return xp.clip(x, self.x_min, self.x_max)

    def rule(self, gy, x):
        a = x.array
        inside = True
        if self.x_min is not None:
            inside = inside & (self.x_min <= a)
        if self.x_max is not None:
            inside = inside & (a <= self.x_max)
        return gy * inside.astype(a.dtype)


def clip(x, x_min, x_max):
    """Cut values off at both ends."""
    return Clip(x_min, x_max).apply((x,))[0]


class ClippedReLU(Formula):
    """``min(max(x, 0), z)``."""

    def __init__(self, z):
        if not isinstance(z, float):
            raise TypeError("z must be float value")
        if z <= 0:
            raise ValueError("z must be positive")
        self.cap = z

    def compute(self, xp, x):
        return xp.clip(x, 0, x.dtype.type(self.cap))

    def rule(self, gy, x):
        inside = (x.array > 0) & (x.array < self.cap)
        return gy * inside.astype(x.dtype)


def clipped_relu(x, z=20.0):
    """``min(max(x, 0), z)``."""
    return ClippedReLU(z).apply((x,))[0]


def relu6(x):
    """``min(max(x, 0), 6)``."""
    return clipped_relu(x, 6.0)


class ELU(Formula):
    """Exponential linear unit."""

    def __init__(self, alpha=1.0):
        self.alpha = float(alpha)

    def compute(self, xp, x):
        low = x.dtype.type(self.alpha) * xp.expm1(xp.minimum(x, 0))
        return xp.where(x >= 0, x, low)

    def rule(self, gy, x):
        F = functions()
        low = self.alpha * F.exp(F.minimum(x, x.xp.zeros_like(x.array)))
        return gy * F.where(x.array >= 0, x.xp.ones_like(x.array), low)


def elu(x, alpha=1.0):
    """Exponential linear unit."""
    return ELU(alpha).apply((x,))[0]


def selu(x, alpha=SELU[1], scale=SELU[0]):
    """Scaled exponential linear unit."""
    return scale * elu(x, alpha=alpha)


class LeakyReLU(Formula):
    """Rectifier with a slope below zero."""

    def __init__(self, slope=0.2):
        self.slope = slope

    def compute(self, xp, x):
        return xp.where(x >= 0, x, x * x.dtype.type(self.slope))

    def rule(self, gy, x):
        one = x.dtype.type(1)
        return gy * x.xp.where(x.array >= 0, one, x.dtype.type(self.slope))


def leaky_relu(x, slope=0.2):
    """Rectifier with a slope below zero."""
    return LeakyReLU(slope).apply((x,))[0]


class HardSigmoid(Formula):
    """``clip(0.2 x + 0.5, 0, 1)``."""

    def compute(self, xp, x):
        return xp.clip(x * x.dtype.type(0.2) + x.dtype.type(0.5), 0, 1)

    def rule(self, gy, x):
        inside = (x.array > -2.5) & (x.array < 2.5)
        return gy * 0.2 * inside.astype(x.dtype)


def hard_sigmoid(x):
    """``clip(0.2 x + 0.5, 0, 1)``."""
    return HardSigmoid().apply((x,))[0]


class Softplus(Formula):
    """``log(1 + exp(beta x)) / beta``."""

    def __init__(self, beta=1.0):
        self.beta = float(beta)

    def compute(self, xp, x):
        z = x * x.dtype.type(self.beta)
        y = xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.fabs(z)))
        return y * x.dtype.type(1 / self.beta)

    def rule(self, gy, x):
        return gy * functions().sigmoid(self.beta * x)


def softplus(x, beta=1.0):
    """``log(1 + exp(beta x)) / beta``."""
    return Softplus(beta).apply((x,))[0]


class _Extreme(Formula):
    names = ("x1", "x2")
    is_elementwise = True

    def check_type_forward(self, in_types):
        super().check_type_forward(in_types)
        type_check.expect_broadcast_shapes(in_types[0].shape, in_types[1].shape)

    def rule(self, gy, a, b):
        first = self.is_first(a.array, b.array)
        dtype = gy.dtype
        return gy * first.astype(dtype), gy * (~first).astype(dtype)


class Maximum(_Extreme):
    """The larger one."""

    def compute(self, xp, a, b):
        return xp.maximum(a, b)

    @staticmethod
    def is_first(a, b):
        return a >= b


class Minimum(_Extreme):
    """The smaller one."""

    def compute(self, xp, a, b):
        return xp.minimum(a, b)

    @staticmethod
    def is_first(a, b):
        return a <= b


def maximum(x1, x2):
    """The larger one."""
    return Maximum().apply((x1, x2))[0]


def minimum(x1, x2):
    """The smaller one."""
    return Minimum().apply((x1, x2))[0]


class Arctan2(Formula):
    """The angle of a point."""

    names = ("x1", "x2")
    label = "arctan2"

    def check_type_forward(self, in_types):
        type_check._argname(in_types, self.names)
        type_check.expect(*[x.dtype.kind == "f" for x in in_types])

    def output_type(self, *xs):
        return np.result_type(*[x.dtype for x in xs])

    def compute(self, xp, a, b):
        return xp.arctan2(a, b)

    def rule(self, gy, a, b):
        F = functions()
        x, y = F.cast(a, gy.dtype), F.cast(b, gy.dtype)
        scaled = gy / (F.square(x) + F.square(y))
        return F.cast(scaled * y, a.dtype), F.cast(scaled * -x, b.dtype)


def arctan2(x1, x2):
    """The angle of a point."""
    return Arctan2().apply((x1, x2))[0]


class Fmod(Formula):
    """The remainder, with the sign of ``x``."""

    names = ("x", "divisor")
    label = "fmod"

    def compute(self, xp, x, divisor):
        return xp.fmod(x, divisor)

    def rule(self, gy, x, divisor):
        return gy, -functions().fix(x / divisor) * gy


def fmod(x, divisor):
    """The remainder, with the sign of ``x``."""
    return Fmod().apply((x, divisor))[0]


class LinearInterpolate(Formula):
    """``p x + (1 - p) y``."""

    names = ("p", "x", "y")
    is_elementwise = True

    def check_type_forward(self, in_types):
        are_alike(in_types, *self.names)

    def compute(self, xp, p, x, y):
        return p * x + (p.dtype.type(1) - p) * y

    def rule(self, gy, p, x, y):
        return gy * (x - y), gy * p, gy * (1 - p)


def linear_interpolate(p, x, y):
    """``p x + (1 - p) y``."""
    return LinearInterpolate().apply((p, x, y))[0]


class Identity(FunctionNode):
    """The inputs as they are."""

    def forward(self, inputs):
        return inputs

    def backward(self, indexes, gys):
        return gys


def identity(*inputs):
    """Return the inputs."""
    ys = Identity().apply(inputs)
    return ys[0] if len(ys) == 1 else ys


def _stretched(y, x, axis):
    """Stretch ``y`` over the other axes of ``x``, from ``axis`` on."""
    x, y = as_variable(x), as_variable(y)
    shape = x.shape
    if axis != -1 or y.ndim:
        n_before = x.ndim - y.ndim if axis == -1 else axis
        is_part = x.shape[n_before : n_before + y.ndim] == y.shape
        if configuration.is_debug() and not is_part:
            raise AssertionError(
                f"y has shape {y.shape}, x has {x.shape[n_before:]} from axis {axis}"
            )
        wide = (1,) * n_before + y.shape + (1,) * (x.ndim - n_before - y.ndim)
        y = functions().reshape(y, wide)
    return functions().broadcast_to(y, shape)


def bias(x, y, axis=1):
    """``x + y``, ``y`` stretched over the other axes of ``x``."""
    return x + _stretched(y, x, axis)


def scale(x, y, axis=1):
    """``x * y``, ``y`` stretched over the other axes of ``x``."""
    return x * _stretched(y, x, axis)
