"""Diagonals of arrays."""

import numpy as np

from dyrnn.chainer.functions.nodes import Arrangement
from dyrnn.chainer.utils import type_check


class Diagonal(Arrangement):
    """A diagonal of two axes."""

    def __init__(self, offset, axis1, axis2):
        self.places = offset, axis1, axis2

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        _, axis1, axis2 = self.places
        ndim = in_types[0].ndim
        type_check.expect(max(axis1, axis2) < ndim, -ndim <= min(axis1, axis2))

    def compute(self, xp, x):
        return x.diagonal(*self.places)

    def rule(self, gy):
        return DiagonalGrad(self.inputs[0].shape, *self.places).apply((gy,))[0]


class DiagonalGrad(Arrangement):
    """Zeros, but for a diagonal."""

    def __init__(self, shape, *places):
        self.shape = shape
        self.places = places

    def compute(self, xp, gy):
        flat = xp.arange(int(np.prod(self.shape))).reshape(self.shape)
        y = xp.zeros(flat.size, gy.dtype)
        y[flat.diagonal(*self.places)] = gy
        return y.reshape(self.shape)

    def rule(self, gy):
        return Diagonal(*self.places).apply((gy,))[0]


def diagonal(x, offset=0, axis1=0, axis2=1):
    """Return a diagonal of two axes, as the last axis."""
    return Diagonal(offset, axis1, axis2).apply((x,))[0]
