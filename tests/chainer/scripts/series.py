#!/usr/bin/env python
"""The next value of a sine: a cell of one's own, an updater of one's own for BPTT."""

import argparse

import numpy as np

import chainer
from chainer import Variable, cuda, optimizer, reporter, training
from chainer.training import extensions
import chainer.functions as F
import chainer.links as L


class Cell(chainer.Chain):
    """An LSTM of two Linear links, its gates one after the other."""

    def __init__(self, n_in, n_units):
        super(Cell, self).__init__(
            x=L.Linear(n_in, 4 * n_units), h=L.Linear(n_units, 4 * n_units, nobias=True)
        )
        self.n_units = n_units
        self.reset_state()

    def reset_state(self):
        self.c = self.last = None

    def __call__(self, x):
        if self.last is None:
            zeros = self.xp.zeros((x.shape[0], self.n_units), dtype=x.dtype)
            self.c, self.last = Variable(zeros), Variable(zeros)
        a, i, f, o = F.split_axis(self.x(x) + self.h(self.last), 4, axis=1)
        self.c = F.sigmoid(f) * self.c + F.sigmoid(i) * F.tanh(a)
        self.last = F.sigmoid(o) * F.tanh(self.c)
        return self.last


class Model(chainer.Chain):
    def __init__(self, n_units, ratio):
        super(Model, self).__init__(
            first=Cell(1, n_units),
            second=L.LSTM(n_units, n_units),
            out=L.Linear(n_units, 1),
        )
        self.ratio = ratio

    def reset_state(self):
        self.first.reset_state()
        self.second.reset_state()

    def __call__(self, x, t):
        h = self.second(F.dropout(self.first(x), ratio=self.ratio))
        loss = F.mean_squared_error(self.out(h), t)
        reporter.report({"loss": loss}, self)
        return loss


class Windows(chainer.dataset.Iterator):
    """Consecutive windows of a series; it knows no previous_epoch_detail."""

    def __init__(self, series, length, repeat=True):
        self.series, self.length, self.repeat = series, length, repeat
        self.reset()

    def reset(self):
        self.epoch, self.position, self.is_new_epoch = 0, 0, False

    def __next__(self):
        if self.epoch and not self.repeat:
            raise StopIteration
        window = self.series[self.position : self.position + self.length + 1]
        self.position += self.length
        self.is_new_epoch = self.position + self.length >= len(self.series)
        if self.is_new_epoch:
            self.epoch, self.position = self.epoch + 1, 0
        return window

    @property
    def epoch_detail(self):
        return self.epoch + float(self.position) / len(self.series)


def steps(window, device):
    window = np.asarray(window, dtype=np.float32)[:, :, None]
    if device >= 0:
        window = cuda.to_gpu(window, device)
    return zip(window[:-1], window[1:])


class BPTTUpdater(training.StandardUpdater):
    def update_core(self):
        loss = 0
        model = self.get_optimizer("main").target
        for x, t in steps(self.get_iterator("main").next(), self.device):
            loss += model(Variable(x), Variable(t))
        model.zerograds()
        loss.backward()
        loss.unchain_backward()
        self.get_optimizer("main").update()


class LongEvaluator(extensions.Evaluator):
    """Runs through the whole series, whose windows are no batches of pairs."""

    def evaluate(self):
        model, iterator = self.get_target("main"), self.get_iterator("main")
        iterator.reset()
        model.reset_state()
        summary = reporter.DictSummary()
        with chainer.no_backprop_mode():
            for window in iterator:
                for x, t in steps(window, self.device):
                    observation = {}
                    with reporter.report_scope(observation):
                        loss = model(Variable(x), Variable(t))
                    assert loss.creator is None
                    summary.add(observation)
        return summary.compute_mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpu", "-g", type=int, default=-1)
    parser.add_argument("--epoch", "-e", type=int, default=12)
    args = parser.parse_args()
    np.random.seed(0)

    model = Model(8, 0.1)
    if args.gpu >= 0:
        cuda.get_device(args.gpu).use()
        model.to_gpu()
    adam = chainer.optimizers.Adam(alpha=0.01)
    adam.setup(model)
    adam.add_hook(optimizer.GradientClipping(5.0))

    phase = np.arange(4) * 1.5
    series = np.sin(np.arange(101)[:, None] * 0.3 + phase)
    updater = BPTTUpdater(Windows(series, 10), adam, device=args.gpu)
    trainer = training.Trainer(updater, (args.epoch, "epoch"))
    windows = Windows(series, 10, repeat=False)
    trainer.extend(LongEvaluator(windows, model.copy(), device=args.gpu))
    trainer.extend(extensions.LogReport())

    @training.make_extension(trigger=(4, "epoch"), priority=training.PRIORITY_READER)
    def slow_down(trainer):
        trainer.updater.get_optimizer("main").alpha *= 0.8

    trainer.extend(slow_down)
    trainer.extend(
        extensions.PrintReport(["epoch", "main/loss", "validation/main/loss"])
    )
    trainer.run()
    assert abs(adam.alpha - 0.01 * 0.8**3) < 1e-9


if __name__ == "__main__":
    main()
