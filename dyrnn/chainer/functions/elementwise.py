"""Functions of single elements: the core's rules, with Chainer's names and checks."""

import functools
import importlib
from math import erf as python_erf
from math import pi

import numpy as np

from dyrnn import functions as engine
from dyrnn.chainer import _backend, configuration
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import are_alike, is_float
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.misc import force_array
from dyrnn.chainer.variable import as_variable
from dyrnn.chainer.worlds import from_core, of_floats
from dyrnn.functions import activation, arithmetic, math

one_float = of_floats("x")


def _unary(kind, label=None):
    """Return a node class and its function."""
    node = from_core(kind, one_float, label or kind.__name__.lower())
    node.is_elementwise = True

    def function(x, use_cudnn=True):
        return node().apply((x,))[0]

    function.__name__ = function.__qualname__ = node.__name__.lower()
    function.__doc__ = f"{node.__name__}, elementwise."
    return node, function


Exp, exp = _unary(math.Exp)
Expm1, expm1 = _unary(math.Expm1)
Log, log = _unary(math.Log)
Log1p, log1p = _unary(math.Log1p)
Log2, log2 = _unary(math.Log2)
Log10, log10 = _unary(math.Log10)
Sqrt, sqrt = _unary(math.Sqrt)
Square, square = _unary(math.Square)
Sin, sin = _unary(math.Sin)
Cos, cos = _unary(math.Cos)
Tan, tan = _unary(math.Tan)
Arcsin, arcsin = _unary(math.Arcsin)
Arccos, arccos = _unary(math.Arccos)
Arctan, arctan = _unary(math.Arctan)
Arctanh, arctanh = _unary(math.Arctanh, "Arctanh")
Sinh, sinh = _unary(math.Sinh)
Cosh, cosh = _unary(math.Cosh)
# The flag of these is version 1's, and does nothing.
Tanh, tanh = _unary(activation.Tanh, "Tanh")
Sigmoid, sigmoid = _unary(activation.Sigmoid, "Sigmoid")
ReLU, relu = _unary(activation.ReLU, "ReLU")


@functools.cache
def _array_erf(xp):
    """Return SciPy's function, or CuPy's; without SciPy, Python's of each number."""
    try:
        name = "scipy.special" if xp is np else "cupyx.scipy.special"
        return importlib.import_module(name).erf
    except ImportError:
        return np.vectorize(python_erf, otypes=[float])


_erf, _ = math.elementwise(
    "erf",
    "Error function",
    of_x=lambda xp, gy, x: gy * xp.exp(-(x * x)) * (2 / pi**0.5),
    value=lambda xp, x: _array_erf(xp)(x).astype(x.dtype),
)
Erf, erf = _unary(_erf)


def rsqrt(x):
    """``1 / sqrt(x)``, elementwise."""
    return bridge(engine.rsqrt, x, check=one_float)


def hard_sigmoid(x):
    """``clip(0.2 x + 0.5, 0, 1)``."""
    return bridge(engine.hard_sigmoid, x, name="HardSigmoid", check=one_float)


def _steps(function):
    """Return a function that is constant almost everywhere: it makes no node."""

    def steps(x):
        array = _backend.raw(x)
        return as_variable(force_array(function(array).array, array.dtype))

    steps.__name__ = steps.__qualname__ = function.__name__
    steps.__doc__ = function.__doc__
    return steps


floor, ceil, sign = map(_steps, (engine.floor, engine.ceil, engine.sign))


def fix(x):
    """The nearest integer towards zero, elementwise."""
    x = as_variable(x)
    return as_variable(x.xp.trunc(x.array).astype(x.dtype, copy=False))


class Clip(from_core(math.Clip, one_float)):
    """Values cut off at both ends."""

    def __init__(self, x_min, x_max):
        if x_min is None and x_max is None:
            raise ValueError("must set either max or min")
        if x_min is not None and x_max is not None and not x_min < x_max:
            raise ValueError("x_min must be less than x_max.")
        # Python's numbers: NumPy's would widen the type.
        super().__init__(*[None if x is None else float(x) for x in (x_min, x_max)])


def clip(x, x_min, x_max):
    """Cut values off at both ends."""
    return Clip(x_min, x_max).apply((x,))[0]


class ClippedReLU(Clip):
    """``min(max(x, 0), z)``, with gradient 0 at both ends."""

    def __init__(self, z):
        if not isinstance(z, float):
            raise TypeError("z must be float value")
        if z <= 0:
            raise ValueError("z must be positive")
        super().__init__(0, z)

    def forward(self, inputs):
        ys = self.run(*inputs)
        self.rule.is_inside = (inputs[0] > 0) & (inputs[0] < self.rule.high)
        return ys


def clipped_relu(x, z=20.0):
    """``min(max(x, 0), z)``."""
    return ClippedReLU(z).apply((x,))[0]


def relu6(x):
    """``min(max(x, 0), 6)``."""
    return clipped_relu(x, 6.0)


ELU = from_core(activation.ELU, one_float)
LeakyReLU = from_core(activation.LeakyReLU, one_float)
Softplus = from_core(activation.Softplus, one_float)


def elu(x, alpha=1.0):
    """Exponential linear unit."""
    return ELU(float(alpha)).apply((x,))[0]


def selu(x, alpha=1.6732632423543772, scale=1.0507009873554805):
    """Scaled exponential linear unit."""
    return scale * elu(x, alpha=alpha)


def leaky_relu(x, slope=0.2):
    """Rectifier with a slope below zero."""
    return LeakyReLU(float(slope)).apply((x,))[0]


def softplus(x, beta=1.0):
    """``log(1 + exp(beta x)) / beta``."""
    return Softplus(float(beta)).apply((x,))[0]


def _check_channels(in_types):
    """Expect ``x``, and a parameter as long as its axes after the first."""
    is_float(in_types, "x", "W")
    x, w = in_types
    n = type_check.eval(w.ndim)
    type_check.expect(x.ndim >= w.ndim + 1, x.shape[1 : 1 + n] == w.shape)


def prelu(x, W):
    """Rectifier with a learned slope below zero."""
    return bridge(engine.prelu, x, W, name="PReLUFunction", check=_check_channels)


def swish(x, beta):
    """``x * sigmoid(beta x)``, beta as long as the axes after the first."""

    def function(x, beta):
        wide = beta.reshape(beta.shape + (1,) * (x.ndim - beta.ndim - 1))
        return engine.swish(x, wide)

    return bridge(function, x, beta, name="Swish", check=_check_channels)


def crelu(x, axis=1):
    """Rectified ``x`` and rectified ``-x``, side by side along ``axis``."""
    if not isinstance(axis, int):
        raise TypeError(f"axis must be an integer value, but is {axis!r}")

    def check(in_types):
        is_float(in_types, "x")
        type_check.expect(in_types[0].ndim > axis, in_types[0].ndim >= -axis)

    return bridge(lambda x: engine.crelu(x, axis), x, name="CReLU", check=check)


def _two_that_broadcast(in_types):
    is_float(in_types, "x1", "x2")
    type_check.expect_broadcast_shapes(in_types[0].shape, in_types[1].shape)


Maximum = from_core(arithmetic.Maximum, _two_that_broadcast)
Minimum = from_core(arithmetic.Minimum, _two_that_broadcast)
Fmod = from_core(arithmetic.Fmod, of_floats("x", "divisor"), "fmod")


def _floats_of_any_type(in_types):
    type_check._argname(in_types, ("x1", "x2"))
    type_check.expect(*[x.dtype.kind == "f" for x in in_types])


Arctan2 = from_core(math.Arctan2, _floats_of_any_type, "arctan2")


def maximum(x1, x2):
    """The larger one."""
    return Maximum().apply((x1, x2))[0]


def minimum(x1, x2):
    """The smaller one."""
    return Minimum().apply((x1, x2))[0]


def arctan2(x1, x2):
    """The angle of a point."""
    return Arctan2().apply((x1, x2))[0]


def fmod(x, divisor):
    """The remainder, with the sign of ``x``."""
    return Fmod().apply((x, divisor))[0]


def linear_interpolate(p, x, y):
    """``p x + (1 - p) y``."""
    return bridge(
        engine.linear_interpolate,
        p,
        x,
        y,
        name="LinearInterpolate",
        check=lambda in_types: are_alike(in_types, "p", "x", "y"),
    )


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


def _stretched(function, name, x, y, axis):
    """Apply a function to ``x`` and to ``y``, the axes of ``x`` from ``axis`` on."""
    n = y.ndim
    axis = x.ndim - n if axis == -1 else axis
    if configuration.is_debug() and x.shape[axis : axis + n] != y.shape:
        raise AssertionError(
            f"y has shape {y.shape}, x has {x.shape[axis:]} from axis {axis}"
        )

    def check(in_types):
        type_check._argname(in_types, ("x", "y"))
        type_check.expect(in_types[0].shape[axis : axis + n] == in_types[1].shape)

    return bridge(lambda x, y: function(x, y, axis), x, y, name=name, check=check)


def bias(x, y, axis=1):
    """``x + y``, ``y`` stretched over the other axes of ``x``."""
    return _stretched(engine.bias, "Bias", x, y, axis)


def scale(x, y, axis=1):
    """``x * y``, ``y`` stretched over the other axes of ``x``."""
    return _stretched(engine.scale, "Scale", x, y, axis)
