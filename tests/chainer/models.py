"""A small model, its data and a trainer, for tests of optimizers and training."""

import io

import numpy as np

from dyrnn import chainer
from dyrnn.chainer import datasets, iterators, optimizers, training
from dyrnn.chainer.training import extensions


class SquaredError(chainer.FunctionNode):
    """Mean of ``(x W' + b - t) ** 2``."""

    def forward(self, inputs):
        self.retain_inputs((0, 1, 2, 3))
        return (np.asarray((self.error(*inputs) ** 2).mean()),)

    @staticmethod
    def error(x, W, b, t):
        return x @ W.T + b - t

    def backward(self, indexes, gys):
        x, W, b, t = (v.array for v in self.get_retained_inputs())
        d = self.error(x, W, b, t)
        g = 2 * d / d.size * gys[0].array
        return None, chainer.Variable(g.T @ x), chainer.Variable(g.sum(axis=0)), None


class Model(chainer.Chain):
    """Reports its loss."""

    def __init__(self, dtype=np.float32):
        super().__init__()
        rng = np.random.default_rng(7)
        with self.init_scope():
            self.l = chainer.Link()
            with self.l.init_scope():
                self.l.W = chainer.Parameter(rng.normal(size=(2, 3)).astype(dtype))
                self.l.b = chainer.Parameter(np.zeros(2, dtype))

    def forward(self, x, t):
        (loss,) = SquaredError().apply((x, self.l.W, self.l.b, t))
        chainer.report({"loss": loss}, self)
        return loss


def examples(n=20):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    t = (x @ rng.normal(size=(3, 2))).astype(np.float32)
    return datasets.TupleDataset(x, t)


def make_trainer(out, stop=(4, "epoch"), text=None):
    """Return a trainer with most extensions, and its model."""
    model = Model()
    train, test = datasets.split_dataset_random(examples(), 14, seed=0)
    # An order that follows from the one before, so that a snapshot decides it.
    shift = lambda order, position: np.roll(order, 3)
    iterator = iterators.SerialIterator(train, 4, order_sampler=shift)
    optimizer = optimizers.Adam(0.05).setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(1.0))
    updater = training.StandardUpdater(iterator, optimizer)
    trainer = training.Trainer(updater, stop, out=str(out))
    evaluation = iterators.SerialIterator(test, 4, repeat=False, shuffle=False)
    trainer.extend(extensions.Evaluator(evaluation, model))
    trainer.extend(extensions.LogReport(trigger=(3, "iteration")))
    trainer.extend(
        extensions.PrintReport(
            ["epoch", "main/loss", "validation/main/loss"], out=text or io.StringIO()
        )
    )
    trainer.extend(extensions.ExponentialShift("alpha", 0.9), trigger=(2, "iteration"))
    return trainer, model
