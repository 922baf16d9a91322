#!/usr/bin/env python
"""Models and optimizers saved and loaded, in the ways that scripts do it."""

import copy
import os
import pickle

import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L
from chainer import Chain, ChainList, Variable, optimizers, serializers


class Model(Chain):
    def __init__(self):
        super(Model, self).__init__(embed=L.EmbedID(5, 4), lstm=L.LSTM(4, 6))
        with self.init_scope():
            self.stack = ChainList(L.Linear(6, 6), L.Linear(6, 5))
            self.scale = chainer.Parameter(1.0, (5,))
        self.add_persistent("steps", 0)

    def __call__(self, x):
        h = self.lstm(self.embed(x))
        for layer in self.stack:
            h = layer(F.tanh(h))
        self.steps += 1
        return h * F.broadcast_to(self.scale, h.shape)


def loss(model):
    model.lstm.reset_state()
    total = 0
    for i in range(8):
        x = np.array([i % 5, (i + 2) % 5], np.int32)
        t = np.array([(i + 1) % 5, (i + 3) % 5], np.int32)
        total += F.softmax_cross_entropy(model(x), t)
    return total


np.random.seed(0)
model = Model()
optimizer = optimizers.MomentumSGD(0.05)
optimizer.setup(model)
first = float(loss(model).array)
for _ in range(30):
    optimizer.update(loss, model)
middle = float(loss(model).array)

serializers.save_npz("my.model", model)
serializers.save_npz("my.state", optimizer)
other = Model()
other_optimizer = optimizers.MomentumSGD(0.05)
other_optimizer.setup(other)
serializers.load_npz("my.model", other)
serializers.load_npz("my.state", other_optimizer)
assert other.steps == model.steps
assert other_optimizer.t == optimizer.t == 30
assert float(loss(other).array) == middle
for _ in range(5):
    optimizer.update(loss, model)
    other_optimizer.update(loss, other)
for (name, a), (_, b) in zip(sorted(model.namedparams()), sorted(other.namedparams())):
    assert (a.array == b.array).all(), name

with np.load("my.model") as npz:
    assert "lstm/upward/W" in npz.files and "stack/0/b" in npz.files
    W = npz["lstm/lateral/W"]
lateral = L.Linear(6, 24, nobias=True)
serializers.load_npz("my.model", lateral, path="lstm/lateral/")
assert (lateral.W.array == W).all()

pickled = pickle.loads(pickle.dumps(model))
deep = copy.deepcopy(model)
shared = model.copy()
assert shared.scale is not model.scale and shared.scale.array is model.scale.array
assert float(loss(pickled).array) == float(loss(deep).array) == float(loss(model).array)

try:
    import h5py  # NOQA
except ImportError:
    pass
else:
    serializers.save_hdf5("my.h5", model)
    again = Model()
    serializers.load_hdf5("my.h5", again)
    assert (again.scale.array == model.scale.array).all()
assert os.path.exists("my.model") and isinstance(loss(model), Variable)
print("loss %f %f" % (first, float(loss(model).array)))
