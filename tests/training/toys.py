"""A small recurrent model, its data, and trainers to try things on."""

import numpy as np

import dyrnn.functions as F
from dyrnn import random
from dyrnn.engine.parameter import Parameter
from dyrnn.iterators import ParallelSequentialIterator, SerialIterator
from dyrnn.link import Chain
from dyrnn.optimizers import SGD
from dyrnn.reporter import DictSummary, Observation, Reporter, report
from dyrnn.training import BPTTUpdater, StandardUpdater, Trainer
from tests.arrays import xp

VOCABULARY, HIDDEN = 7, 5


class Recurrent(Chain):
    """A language model with one tanh layer; takes a step (B,) or a window (T, B)."""

    carried = ("h",)

    def __init__(self, dropout=0.0, dtype=np.float64):
        super().__init__()
        generator = xp.random.default_rng(1)

        def draw(*shape):
            return Parameter(generator.normal(0, 0.4, shape).astype(dtype))

        with self.init_scope():
            self.E = draw(VOCABULARY, HIDDEN)
            self.W = draw(HIDDEN, HIDDEN)
            self.V = draw(VOCABULARY, HIDDEN)
        self.h = None
        self.dropout = dropout

    def step(self, x):
        y = F.embed_id(x, self.E)
        if self.h is not None:
            y = y + F.linear(self.h, self.W)
        self.h = F.tanh(y)
        return F.linear(F.dropout(self.h, self.dropout), self.V)

    def forward(self, x, t):
        if x.ndim == 1:
            return F.softmax_cross_entropy(self.step(x), t)
        ys = [self.step(x[i]) for i in range(len(x))]
        return F.softmax_cross_entropy(F.concat(ys, axis=0), t.reshape(-1))


class Regression(Chain):
    """One linear layer with the mean squared error; reports what it is told to."""

    def __init__(self, reports=True):
        super().__init__()
        with self.init_scope():
            self.W = Parameter(xp.full((1, 3), 0.5))
        self.reports = reports

    def forward(self, x, t):
        error = F.linear(x, self.W) - t
        loss = (error * error).mean()
        if self.reports:
            report({"loss": loss}, self)
        return loss


def text(length=61):
    return xp.random.default_rng(2).integers(0, VOCABULARY, length).astype(np.int32)


def points(count=10):
    rng = xp.random.default_rng(3)
    x = rng.normal(size=(count, 3))
    return list(zip(x, x @ [[1.0], [2.0], [3.0]], strict=True))


def regression_trainer(out, stop=(3, "epoch"), batch_size=4, updater=None, **options):
    model = Regression(**options)
    optimizer = SGD(lr=0.05).setup(model)
    iterator = SerialIterator(points(), batch_size)
    return Trainer(StandardUpdater(iterator, optimizer), stop, out)


def language_trainer(out, stop=(20, "iteration"), optimizer=None, **options):
    dropout = options.pop("dropout", 0.0)
    optimizer = (optimizer or SGD(lr=0.1)).setup(Recurrent(dropout))
    iterator = ParallelSequentialIterator(text(), 4)
    return Trainer(BPTTUpdater(iterator, optimizer, 3, **options), stop, out)


class FakeUpdater:
    """Progress without work: ``per_epoch`` iterations make an epoch."""

    update_time = 0.5

    def __init__(self, per_epoch=3, values=None):
        self.per_epoch = per_epoch
        self.values = values or (lambda iteration: {})
        self.iteration = 0
        self.previous_epoch_detail = 0.0
        self.optimizer = SGD(lr=1.0)
        self.optimizer.setup(Regression())

    epoch = property(lambda self: self.iteration // self.per_epoch)
    epoch_detail = property(lambda self: self.iteration / self.per_epoch)

    def get_all_optimizers(self):
        return {"main": self.optimizer}

    def get_optimizer(self, name):
        return self.get_all_optimizers()[name]

    def update(self):
        self.previous_epoch_detail = self.epoch_detail
        self.iteration += 1
        report(self.values(self.iteration))

    def finalize(self):
        pass

    def serialize(self, s):
        self.iteration = s("iteration", self.iteration)
        self.previous_epoch_detail = s("previous", self.previous_epoch_detail)
        self.optimizer.serialize(s["optimizer"])


class Scene:
    """What triggers and extensions see of a trainer, set by hand."""

    def __init__(self, updater=None):
        self.updater = updater or FakeUpdater()
        self.observation = Observation()
        self.elapsed_time = 0.0
        self.reporter = Reporter()

    def step(self, weight=None, **values):
        self.observation = Observation()
        self.updater.update()
        with self.reporter.scope(self.observation):
            report(values, weight=weight)
        return self


def fired(trigger, iterations, updater=None, **values):
    """The iterations at which a trigger fires; values are functions of those."""
    scene = Scene(updater)
    result = []
    for iteration in range(1, iterations + 1):
        scene.step(**{key: value(iteration) for key, value in values.items()})
        scene.elapsed_time += 1.0
        if trigger(scene):
            result.append(iteration)
    return result


def parameters(trainer):
    model = trainer.updater.get_optimizer("main").target
    return {name: param.array.copy() for name, param in model.namedparams()}


def seeded(number=0):
    random.seed(number)


class Lists:
    """An iterator that only has what the protocol demands: no windows."""

    def __init__(self, iterator):
        self.iterator = iterator
        self.steps_taken = 0

    epoch = property(lambda self: self.iterator.epoch)
    epoch_detail = property(lambda self: self.iterator.epoch_detail)

    def next(self):
        self.steps_taken += 1
        return self.iterator.next()

    def finalize(self):
        self.is_finalized = True

    def serialize(self, s):
        self.iterator.serialize(s)


def update(updater, times=1):
    """Do updates, and return the mean of what they reported."""
    reporter, summary = Reporter(), DictSummary()
    reporter.add_observer("main", updater.get_optimizer().target)
    for _ in range(times):
        observation = Observation()
        with reporter.scope(observation):
            updater.update()
        summary.add(observation)
    return summary.compute_mean()


def sequential(iterator=None, bprop_len=3, dtype=np.float64, model=None, **options):
    optimizer = SGD(lr=0.1).setup(model or Recurrent(dtype=dtype))
    iterator = iterator or ParallelSequentialIterator(text(), 4)
    return BPTTUpdater(iterator, optimizer, bprop_len, **options)
