"""Functions and links that the tests of the engine need."""

import numpy as np

from dyrnn import chainer


class Product(chainer.FunctionNode):
    """Elementwise product; its backward is made of itself."""

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        a, b = inputs
        return (np.asarray(a * b),)

    def backward(self, indexes, gys):
        a, b = self.get_retained_inputs()
        return product(gys[0], b), product(gys[0], a)


class Exp(chainer.FunctionNode):
    """Exponential; it retains its output."""

    def forward(self, inputs):
        self.retain_outputs((0,))
        return (np.asarray(np.exp(inputs[0])),)

    def backward(self, indexes, gys):
        (y,) = self.get_retained_outputs()
        return (product(gys[0], y),)


class Split(chainer.FunctionNode):
    """Two outputs: once and twice the input."""

    def forward(self, inputs):
        return inputs[0].copy(), 2 * inputs[0]

    def backward(self, indexes, gys):
        self.seen = gys
        return (next(gy for gy in gys if gy is not None),)


class Square(chainer.Function):
    """Old style."""

    def forward(self, inputs):
        return (np.asarray(inputs[0] ** 2),)

    def backward(self, inputs, grad_outputs):
        return (2 * inputs[0] * grad_outputs[0],)


def product(a, b):
    return Product().apply((a, b))[0]


def exp(x):
    return Exp().apply((x,))[0]


def variable(*values, **kwargs):
    return chainer.Variable(np.array(values, np.float64), **kwargs)


class Scale(chainer.Link):
    """A factor."""

    def __init__(self, factor=2.0):
        super().__init__()
        with self.init_scope():
            self.factor = chainer.Parameter(factor, ())

    def forward(self, x):
        return product(x, self.factor)
