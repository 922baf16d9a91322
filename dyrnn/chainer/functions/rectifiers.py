"""Activations that know of channels: a parameter for each, or twice as many."""

from dyrnn.chainer.functions.elementwise import array_sigmoid
from dyrnn.chainer.functions.nodes import Formula, functions, is_float
from dyrnn.chainer.utils import type_check


class _OfChannels(Formula):
    """A formula of ``x`` and of a parameter as long as the axes after the first."""

    def check_type_forward(self, in_types):
        super().check_type_forward(in_types)
        x, w = in_types
        type_check.expect(
            x.ndim >= w.ndim + 1,
            x.shape[1 : 1 + type_check.eval(w.ndim)] == w.shape,
        )

    @staticmethod
    def wide(w, x):
        """Return an array or variable that broadcasts over the other axes."""
        return w.reshape((1,) + w.shape + (1,) * (x.ndim - w.ndim - 1))

    def backward(self, indexes, gys):
        x, w = self.get_retained_inputs()
        gx, gw = self.rule(gys[0], x, w)
        axes = (0, *range(1 + w.ndim, x.ndim))
        return gx, functions().sum(gw, axis=axes)


class PReLUFunction(_OfChannels):
    """Rectifier with a learned slope below zero."""

    names = ("x", "W")

    def compute(self, xp, x, w):
        return xp.where(x >= 0, x, x * self.wide(w, x))

    def rule(self, gy, x, w):
        F = functions()
        positive = x.array >= 0
        slope = F.broadcast_to(self.wide(w, x), x.shape)
        gx = F.where(positive, gy, gy * slope)
        return gx, F.where(positive, x.xp.zeros_like(x.array), gy * x)


def prelu(x, W):
    """Rectifier with a learned slope below zero."""
    return PReLUFunction().apply((x, W))[0]


class Swish(_OfChannels):
    """``x * sigmoid(beta x)``."""

    names = ("x", "beta")

    def compute(self, xp, x, beta):
        return x * array_sigmoid(xp, self.wide(beta, x) * x)

    def rule(self, gy, x, beta):
        beta = self.wide(beta, x)
        gate = functions().sigmoid(beta * x)
        slope = x * gate * (1 - gate)
        return gy * (gate + beta * slope), gy * x * slope


def swish(x, beta):
    """``x * sigmoid(beta x)``, beta as long as the axes after the first."""
    return Swish().apply((x, beta))[0]


class CReLU(Formula):
    """Rectified ``x`` and rectified ``-x``, side by side."""

    def __init__(self, axis=1):
        if not isinstance(axis, int):
            raise TypeError(f"axis must be an integer value, but is {axis!r}")
        self.axis = axis

    def check_type_forward(self, in_types):
        is_float(in_types, "x")
        type_check.expect(in_types[0].ndim > self.axis, in_types[0].ndim >= -self.axis)

    def compute(self, xp, x):
        y = xp.concatenate([x, -x], axis=self.axis)
        return xp.maximum(y, x.dtype.type(0))

    def rule(self, gy, x):
        x = x.array
        gy, negative_gy = functions().split_axis(gy, 2, axis=self.axis)
        return gy * (x > 0).astype(x.dtype) - negative_gy * (x < 0).astype(x.dtype)


def crelu(x, axis=1):
    """Rectified ``x`` and rectified ``-x``, side by side along ``axis``."""
    return CReLU(axis).apply((x,))[0]
