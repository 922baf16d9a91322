#!/usr/bin/env python
"""Functions of one's own: a FunctionNode, an old-style Function, hooks."""

import numpy as np

import chainer
from chainer import Function, FunctionNode, Variable, cuda, gradient_check
from chainer import functions as F
from chainer import links as L
from chainer import optimizers
from chainer.utils import type_check


class Labels(chainer.FunctionHook):
    name = "Labels"

    def __init__(self):
        self.seen = set()

    def forward_postprocess(self, function, in_data):
        self.seen.add(function.label)


class Swish(FunctionNode):
    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() == 1)
        (x_type,) = in_types
        type_check.expect(x_type.dtype.kind == "f")

    def forward(self, inputs):
        xp = cuda.get_array_module(*inputs)
        self.retain_inputs((0,))
        (x,) = inputs
        return (x / (1 + xp.exp(-x)),)

    def backward(self, indexes, grad_outputs):
        (x,) = self.get_retained_inputs()
        (gy,) = grad_outputs
        s = F.sigmoid(x)
        return (gy * (s + x * s * (1 - s)),)


class ScaledTanh(Function):
    def __init__(self, scale):
        self.scale = scale

    def forward_cpu(self, inputs):
        (x,) = inputs
        self.y = np.tanh(x)
        return (self.scale * self.y,)

    def backward_cpu(self, inputs, grad_outputs):
        (gy,) = grad_outputs
        return (self.scale * gy * (1 - self.y * self.y),)


def swish(x):
    return Swish().apply((x,))[0]


class Net(chainer.Chain):
    def __init__(self):
        super(Net, self).__init__(
            l1=L.Linear(2, 16), l2=L.Linear(16, 16), l3=L.Linear(16, 2)
        )

    def __call__(self, x):
        h = swish(self.l1(x))
        h = ScaledTanh(1.5)(self.l2(h))
        return self.l3(h)


random = np.random.RandomState(0)
x0 = random.uniform(-1, 1, (3, 4))
gy = random.uniform(-1, 1, (3, 4))
gradient_check.check_backward(swish, x0, gy, dtype=np.float64, atol=1e-4, rtol=1e-4)
gradient_check.check_double_backward(swish, x0, gy, random.uniform(-1, 1, (3, 4)))

x = random.uniform(-1, 1, (64, 2)).astype("f")
t = (x[:, 0] * x[:, 1] > 0).astype("i")
model = L.Classifier(Net())
optimizer = optimizers.Adam(0.02)
optimizer.setup(model)
losses = []
hook = Labels()
with hook:
    for _ in range(60):
        optimizer.update(model, Variable(x), Variable(t))
        losses.append(float(model.loss.data))
assert "Swish" in hook.seen
try:
    swish(Variable(np.arange(3)))
except type_check.InvalidType as e:
    assert "in_types[0].dtype.kind" in str(e) or "dtype" in str(e)
else:
    raise AssertionError("integers must be refused")
v = Variable(x)
(gx,) = chainer.grad([F.sum(swish(v))], [v])
assert gx.shape == x.shape and v.grad is None
print("loss %f %f" % (losses[0], losses[-1]))
