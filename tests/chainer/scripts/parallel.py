#!/usr/bin/env python
"""Data-parallel training with ChainerMN, as one process runs it."""

import numpy as np

import chainer
import chainer.links as L
import chainermn
from chainer import training
from chainer.training import extensions

comm = chainermn.create_communicator("naive")
np.random.seed(0)
if comm.rank == 0:
    x = np.random.rand(60, 3).astype("f")
    data = chainer.datasets.TupleDataset(x, (x.sum(axis=1) > 1.5).astype("i"))
    train, test = chainer.datasets.split_dataset_random(data, 40, seed=0)
else:
    train, test = None, None
train = chainermn.scatter_dataset(train, comm, shuffle=True)
test = chainermn.scatter_dataset(test, comm)

model = L.Classifier(L.Linear(3, 2))
optimizer = chainermn.create_multi_node_optimizer(chainer.optimizers.Adam(0.1), comm)
optimizer.setup(model)
train_iter = chainer.iterators.SerialIterator(train, 10)
test_iter = chainer.iterators.SerialIterator(test, 10, repeat=False, shuffle=False)
updater = training.StandardUpdater(train_iter, optimizer, device=-1)
trainer = training.Trainer(updater, (8, "epoch"))
evaluator = extensions.Evaluator(test_iter, model)
trainer.extend(chainermn.create_multi_node_evaluator(evaluator, comm))
if comm.rank == 0:
    trainer.extend(extensions.LogReport())
    trainer.extend(
        extensions.PrintReport(["epoch", "main/loss", "validation/main/loss"])
    )
trainer.run()
