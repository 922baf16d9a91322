#!/usr/bin/env python
"""A language model as scripts were written for version 1: no Trainer, no Chain."""

import math
import pickle

import numpy as np

import chainer
from chainer import cuda
import chainer.functions as F
import chainer.links as L
from chainer import FunctionSet, Variable
from chainer import optimizers

gpu = -1
n_units = 12
batchsize = 4
bprop_len = 6
grad_clip = 5

np.random.seed(0)
xp = cuda.cupy if gpu >= 0 else np

text = "to be or not to be that is the question " * 12
vocab = {}
for word in text.split():
    if word not in vocab:
        vocab[word] = len(vocab)
train_data = np.array([vocab[word] for word in text.split()], dtype=np.int32)

model = FunctionSet(
    embed=L.EmbedID(len(vocab), n_units),
    l1_x=L.Linear(n_units, 4 * n_units),
    l1_h=L.Linear(n_units, 4 * n_units),
    l3=L.Linear(n_units, len(vocab)),
)
for param in model.parameters:
    param[:] = np.random.uniform(-0.1, 0.1, param.shape)
if gpu >= 0:
    cuda.get_device(gpu).use()
    model.to_gpu()


def forward_one_step(x_data, y_data, state, train=True):
    x = Variable(x_data, volatile=not train)
    t = Variable(y_data, volatile=not train)
    h0 = model.embed(x)
    h1_in = model.l1_x(F.dropout(h0, ratio=0.1, train=train)) + model.l1_h(state["h1"])
    c1, h1 = F.lstm(state["c1"], h1_in)
    y = model.l3(F.dropout(h1, ratio=0.1, train=train))
    return {"c1": c1, "h1": h1}, F.softmax_cross_entropy(y, t)


def make_initial_state(train=True):
    return {
        name: Variable(
            xp.zeros((batchsize, n_units), dtype=np.float32), volatile=not train
        )
        for name in ("c1", "h1")
    }


optimizer = optimizers.SGD(lr=1.0)
optimizer.setup(model)

whole_len = train_data.shape[0]
jump = whole_len // batchsize
cur_log_perp = xp.zeros(())
perps = []
state = make_initial_state()
accum_loss = Variable(xp.zeros((), dtype=np.float32))

for i in range(jump * 12):
    x_batch = xp.array(
        [train_data[(jump * j + i) % whole_len] for j in range(batchsize)]
    )
    y_batch = xp.array(
        [train_data[(jump * j + i + 1) % whole_len] for j in range(batchsize)]
    )
    state, loss_i = forward_one_step(x_batch, y_batch, state)
    accum_loss += loss_i
    cur_log_perp += loss_i.data.reshape(())

    if (i + 1) % bprop_len == 0:
        optimizer.zero_grads()
        accum_loss.backward()
        accum_loss.unchain_backward()
        accum_loss = Variable(xp.zeros((), dtype=np.float32))
        optimizer.clip_grads(grad_clip)
        optimizer.weight_decay(1e-6)
        optimizer.update()

    if (i + 1) % jump == 0:
        perps.append(math.exp(float(cuda.to_cpu(cur_log_perp)) / jump))
        cur_log_perp.fill(0)
        if len(perps) >= 8:
            optimizer.lr /= 1.2

with open("model", "wb") as f:
    pickle.dump(model, f, -1)
with open("model", "rb") as f:
    loaded = pickle.load(f)
state, loss = forward_one_step(x_batch, y_batch, make_initial_state(False), train=False)
assert np.allclose(loaded.l3.W.data, model.l3.W.data)
assert chainer.__version__
print("loss %f %f" % (perps[0], perps[-1]))
