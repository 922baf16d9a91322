"""Activation functions, elementwise unless an axis is named."""

import numpy as np

from dyrnn.engine.core import (
    FunctionNode,
    Operand,
    Variable,
    VariableLike,
    as_array,
    as_variable,
)
from dyrnn.errors import ShapeError
from dyrnn.functions.arithmetic import absolute
from dyrnn.functions.checks import floating, place
from dyrnn.functions.joining import concat
from dyrnn.functions.math import clip, elementwise
from dyrnn.functions.reduction import max as _max
from dyrnn.functions.shape import reshape

Tanh, tanh = elementwise(
    "tanh",
    "Hyperbolic tangent",
    of_y=lambda xp, gy, y: gy * (1 - y * y),
    module=__name__,
)


class Sigmoid(FunctionNode):
    """By ``exp(-|x|)``: exact to the last bits also at -20, where one tanh gives 0."""

    def forward(self, xp, x):
        e = xp.exp(-abs(x))
        y = xp.where(x >= 0, xp.ones_like(e), e) / (e + 1)
        self.save(y)
        return y

    def backward(self, xp, gy):
        (y,) = self.saved
        return gy * (y * (1 - y))


def sigmoid(x: VariableLike) -> Variable:
    """Logistic function ``1 / (1 + exp(-x))``, accurate for any ``x``."""
    return Sigmoid().apply(floating(x))


def hard_sigmoid(x: VariableLike) -> Variable:
    """Piecewise linear sigmoid, ``0.2 x + 0.5`` limited to 0 to 1."""
    return clip(as_variable(x) * 0.2 + 0.5, 0.0, 1.0)


class ReLU(FunctionNode):
    def forward(self, xp, x):
        y = xp.maximum(x, 0)
        self.save(y)
        return y

    def backward(self, xp, gy):
        (y,) = self.saved
        return gy * (as_array(y) > 0)


def relu(x: VariableLike) -> Variable:
    """Rectified linear unit, ``max(x, 0)``, with gradient 0 at 0."""
    return ReLU().apply(x)


def clipped_relu(x: VariableLike, z: float = 20.0) -> Variable:
    """Rectified linear unit limited to ``z``."""
    return clip(x, 0.0, z)


def relu6(x: VariableLike) -> Variable:
    """Rectified linear unit limited to 6."""
    return clip(x, 0.0, 6.0)


class LeakyReLU(FunctionNode):
    def __init__(self, slope):
        self.slope = float(slope)

    def forward(self, xp, x):
        is_high = x >= 0
        self.save(is_high)
        return xp.where(is_high, x, x * self.slope)

    def backward(self, xp, gy):
        (is_high,) = self.saved
        return xp.where(is_high, gy, gy * self.slope)


def leaky_relu(x: VariableLike, slope: float = 0.2) -> Variable:
    """``x`` where it is positive, ``slope * x`` elsewhere; with gradient 1 at 0."""
    return LeakyReLU(slope).apply(floating(x))


class ELU(FunctionNode):
    def __init__(self, alpha):
        self.alpha = float(alpha)

    def forward(self, xp, x):
        self.save(x)
        return xp.where(x >= 0, x, xp.expm1(xp.minimum(x, 0)) * self.alpha)

    def backward(self, xp, gy):
        (x,) = self.saved
        # Of x, since far below 0 the value no longer tells how far.
        is_high = as_array(x) >= 0
        slope = xp.exp(xp.where(is_high, 0.0, x)) * self.alpha
        return xp.where(is_high, gy, gy * slope)


def elu(x: VariableLike, alpha: float = 1.0) -> Variable:
    """Exponential linear unit: ``x`` where positive, else ``alpha * (exp(x) - 1)``.

    The gradient at 0 is 1.

    References
    ----------
    Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by
    Exponential Linear Units (ELUs)", ICLR 2016.
    """
    return ELU(alpha).apply(floating(x))


def selu(
    x: VariableLike,
    alpha: float = 1.6732632423543772,
    scale: float = 1.0507009873554805,
) -> Variable:
    """Self-normalizing linear unit ``scale * elu(x, alpha)``.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks",
    NIPS 2017.
    """
    return elu(x, alpha) * scale


def crelu(x: VariableLike, axis: int = -1) -> Variable:
    """Rectified ``x`` and rectified ``-x``, joined along ``axis``."""
    x = as_variable(x)
    x = x if x.dtype.kind in "fi" else floating(x)  # unsigned ones have no -x
    return concat([relu(x), relu(-x)], place("crelu", axis, x.ndim))


def prelu(x: VariableLike, W: VariableLike) -> Variable:
    """``x`` where it is positive, ``W * x`` elsewhere.

    Parameters
    ----------
    x : Variable, (B, ...)
    W : Variable
        Slopes for the axes of ``x`` after the first, as many as it has:
        ``W.shape == x.shape[1:1 + W.ndim]``. Without axes, it is one slope for all.
    """
    x, W = floating(x), as_variable(W)
    if W.shape != x.shape[1 : 1 + W.ndim]:
        raise ShapeError(
            f"prelu: W has shape {W.shape}, expected {x.shape[1 : 1 + W.ndim]}, the "
            f"axes of x {x.shape} from 1 on"
        )
    slopes = reshape(W, W.shape + (1,) * (x.ndim - 1 - W.ndim))
    return relu(x) - slopes * relu(-x)


class Softplus(FunctionNode):
    def __init__(self, beta):
        self.beta = float(beta)

    def forward(self, xp, x):
        y = xp.logaddexp(x * self.beta, xp.zeros_like(x)) / self.beta
        self.save(x, y)
        return y

    def backward(self, xp, gy):
        x, y = self.saved
        # The sigmoid, without a quotient; where both are infinite, it is 1.
        is_top = as_array(y) == np.inf
        x, y = xp.where(is_top, 0.0, x), xp.where(is_top, 0.0, y)
        return gy * xp.exp((x - y) * self.beta)


def softplus(x: VariableLike, beta: float = 1.0) -> Variable:
    """Smooth rectifier ``log(1 + exp(beta x)) / beta``, without overflow."""
    return Softplus(beta).apply(floating(x))


def softsign(x: VariableLike) -> Variable:
    """``x / (1 + |x|)``."""
    x = floating(x)
    return x / (absolute(x) + 1)


def swish(x: VariableLike, beta: Operand = 1.0) -> Variable:
    """``x * sigmoid(beta * x)``; ``beta`` is a number or an array that broadcasts."""
    x = floating(x)
    return x * sigmoid(x * beta)


# Chebyshev's coefficients of log(erfc(z) / t) + z * z over t = 2 / (2 + z).
_ERFC = (
    -0.6513268598908547, 0.6419697923564902, 0.019476473204185836,
    -0.009561514786808632, -0.0009465953444820369, 0.00036683949785276145,
    4.252332480690777e-05, -2.0278578112534242e-05, -1.6242900046470256e-06,
    1.3036558355805232e-06, 1.5626441722066142e-08, -8.523809591492654e-08,
    6.5290544390988515e-09, 5.059343495551469e-09, -9.91364156493033e-10,
    -2.273651222931836e-10, 9.647e-11, 2.394e-12, -6.886e-12, 8.945e-13, 3.131e-13,
    -1.127e-13, 3.811e-16, 7.106e-15, -1.523e-15, -9.457e-17,
)  # fmt: skip


def _normal_cdf(xp, x):
    """Return erfc(-x / sqrt(2)) / 2, to 1e-13 of its value on either side."""
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    z = abs(wide) * 0.5**0.5
    t = 2 / (z + 2)
    u, last, before = 4 * t - 2, 0.0, 0.0
    for c in _ERFC[:0:-1]:  # Clenshaw's recurrence
        last, before = u * last - before + c, last
    tail = t * xp.exp(u * last * 0.5 - before + _ERFC[0] - z * z) * 0.5
    return xp.where(wide < 0, tail, 1 - tail).astype(x.dtype, copy=False)


NormalCdf, normal_cdf = elementwise(
    "normal_cdf",
    "Share of a standard normal distribution below ``x``",
    of_x=lambda xp, gy, x: gy * (xp.exp(x * x * -0.5) * (0.5 / np.pi) ** 0.5),
    value=_normal_cdf,
    module=__name__,
)


def gelu(x: VariableLike, approximate: bool = False) -> Variable:
    """``x`` times the share of a standard normal distribution below it.

    Parameters
    ----------
    x : Variable
    approximate : bool
        By a tanh, as GPT-2 has it: up to 5e-4 off, and faster.

    References
    ----------
    Hendrycks, Gimpel, "Gaussian Error Linear Units (GELUs)", 2016.
    """
    x = floating(x)
    if approximate:
        return x * 0.5 * (tanh((x * x * x * 0.044715 + x) * (2 / np.pi) ** 0.5) + 1)
    return x * normal_cdf(x)


class Softmax(FunctionNode):
    def __init__(self, axis):
        self.axis = axis

    def forward(self, xp, x):
        wide = x.astype(np.float32) if x.dtype == np.float16 else x
        e = xp.exp(wide - wide.max(axis=self.axis, keepdims=True))
        y = (e / e.sum(axis=self.axis, keepdims=True)).astype(x.dtype, copy=False)
        self.save(y)
        return y

    def backward(self, xp, gy):
        (y,) = self.saved
        g = gy * y
        return g - y * g.sum(axis=self.axis, keepdims=True)


def softmax(x: VariableLike, axis: int = -1) -> Variable:
    """Exponentials divided by their sum over ``axis``, by default the features."""
    return _over_classes("softmax", Softmax, x, axis)


def _over_classes(name, node, x, axis):
    x = floating(x)
    axis = place(name, axis, x.ndim)
    return node(axis).apply(x) if x.size else x


class LogSoftmax(FunctionNode):
    def __init__(self, axis):
        self.axis = axis

    def forward(self, xp, x):
        wide = x.astype(np.float32) if x.dtype == np.float16 else x
        low = wide - wide.max(axis=self.axis, keepdims=True)
        total = xp.exp(low).sum(axis=self.axis, keepdims=True)
        y = (low - xp.log(total)).astype(x.dtype, copy=False)
        self.save(y)
        return y

    def backward(self, xp, gy):
        (y,) = self.saved
        return gy - xp.exp(y) * gy.sum(axis=self.axis, keepdims=True)


def log_softmax(x: VariableLike, axis: int = -1) -> Variable:
    """Logarithm of :func:`softmax`, accurate where that is nearly 0."""
    return _over_classes("log_softmax", LogSoftmax, x, axis)


def maxout(x: VariableLike, pool_size: int, axis: int = -1) -> Variable:
    """Maximum over groups of ``pool_size`` neighbours along ``axis``."""
    x = as_variable(x)
    axis = place("maxout", axis, x.ndim)
    if pool_size < 1:
        raise ValueError(f"maxout: pool_size={pool_size} must be at least 1")
    n, rest = divmod(x.shape[axis], pool_size)
    if rest:
        raise ShapeError(
            f"maxout: axis {axis} of shape {x.shape} is not divisible by the pool "
            f"size {pool_size}"
        )
    shape = (*x.shape[:axis], n, pool_size, *x.shape[axis + 1 :])
    return _max(reshape(x, shape), axis + 1)
