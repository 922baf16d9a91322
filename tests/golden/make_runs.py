"""Runs that are saved in the middle, for every later dyrnn to load and to finish.

``python -m tests.golden.make_runs FOLDER`` trains each of ``RUNS`` to its end, saves a
snapshot of the trainer on the way, and keeps what the run came to: the parameters, the
log, how often each trigger fired. ``model.npz`` is a model with layers of all kinds, of
which the outputs are kept. The files under ``tests/golden/4fe7486`` are those of commit
4fe7486; they stay as they are.
"""

import hashlib
import itertools
import os
import sys
import tempfile

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import extensions as E
from dyrnn import iterators, optimizer_hooks, optimizers, training
from dyrnn.serializers import Contents, environment, save_npz, write_snapshot
from dyrnn.training import triggers as T

VOCABULARY, UNITS, BATCH, STEPS = 7, 4, 3, 3
CUT, LENGTH = 11, 24  # iterations; an epoch has five of them, or a bit more
LOSS = "main/loss"
CELLS = [
    "LSTM",
    "GRU",
    "ElmanRNN",
    "JordanRNN",
    "StatefulPeepholeLSTM",
    "StatefulZoneoutLSTM",
    "StatefulGRU",
    "MGU",
]


def cell(name):
    """Return a recurrent layer of ``UNITS`` inputs and outputs."""
    sizes = (UNITS,) * (3 if name == "JordanRNN" else 2)
    return getattr(L, name)(*sizes)


class LanguageModel(dyrnn.Chain):
    """Embedding, recurrent layers, dropout, and a linear layer."""

    def __init__(self, cells, dropout):
        super().__init__()
        self.cells, self.dropout = cells, dropout
        with self.init_scope():
            self.embed = L.EmbedID(VOCABULARY, UNITS)
            for name in cells:
                setattr(self, name, cell(name))
            self.out = L.Linear(None, VOCABULARY)

    def forward(self, x):
        """Return logits (..., V) of ids (...,), a step or a window."""
        h = self.embed(x)
        for name in self.cells:
            h = self[name](h) + h
        return self.out(F.dropout(h, self.dropout))


class Regression(dyrnn.Chain):
    """Two linear layers with dropout and normalization in between."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.first = L.Linear(3, UNITS, nobias=True)
            self.norm = L.BatchNormalization(UNITS)
            self.second = L.Linear(UNITS, 1)

    def forward(self, x):
        """Return y (B, 1) of x (B, 3)."""
        return self.second(F.dropout(F.tanh(self.norm(self.first(x))), 0.3))


class Layers(dyrnn.Chain):
    """A layer of each kind that has parameters."""

    def __init__(self):
        super().__init__()
        stacks = ["NStepLSTM", "NStepBiLSTM", "NStepGRU", "NStepBiGRU"]
        stacks += ["NStepRNNTanh", "NStepBiRNNTanh", "NStepRNNReLU", "NStepBiRNNReLU"]
        self.stacks = stacks
        with self.init_scope():
            self.embed = L.EmbedID(VOCABULARY, UNITS)
            for name in CELLS:
                setattr(self, name, cell(name))
            for name in stacks:
                setattr(self, name, getattr(L, name)(2, UNITS, UNITS))
            self.stateless_lstm = L.StatelessLSTM(UNITS, UNITS)
            self.stateless_gru = L.StatelessGRU(UNITS, UNITS)
            self.child_sum = L.ChildSumTreeLSTM(UNITS, UNITS)
            self.n_ary = L.NaryTreeLSTM(UNITS, UNITS, 2)
            self.maxout = L.Maxout(UNITS, UNITS, 2)
            self.highway = L.Highway(UNITS)
            self.bilinear = L.Bilinear(UNITS, UNITS, UNITS)
            self.scale = L.Scale(1, (UNITS,), bias_term=True)
            self.norm = L.LayerNormalization(UNITS)
            self.batch_norm = L.BatchNormalization(UNITS)
            self.crf = L.CRF1d(UNITS)

    def outputs(self, x):
        """Return what each layer makes of ids (B,), by name."""
        e = self.embed(x)
        ys = {name: self[name](self[name](e)) for name in CELLS}
        for name in self.stacks:
            states = [None] * (2 if "LSTM" in name else 1)
            ys[name] = F.concat(self[name](*states, [e, e[:2]])[-1], axis=0)
        c, h = ys["stateless_lstm"], _ = self.stateless_lstm(e, e, e)
        ys["stateless_lstm"] = h
        ys["stateless_gru"] = self.stateless_gru(e, e)
        ys["child_sum"] = self.child_sum(c, e, h, e, e)[1]
        ys["n_ary"] = self.n_ary(c, e, h, e, e)[1]
        for name in ("maxout", "highway", "scale", "norm", "batch_norm"):
            ys[name] = self[name](e)
        ys["bilinear"] = self.bilinear(e, ys["maxout"])
        ys["crf"] = self.crf([e], [x % UNITS])
        return {name: y.array for name, y in ys.items()}


class Calls:
    """An extension that keeps the iterations in which it is called."""

    priority = 50

    def __init__(self):
        self.iterations = []

    def __call__(self, trainer):
        self.iterations.append(trainer.updater.iteration)

    def serialize(self, s):
        """Save or load the list."""
        self.iterations = list(s("iterations", self.iterations))


def language(optimizer, cells=("LSTM",), window=True, dropout=0.3):
    """Return an updater that carries the state of its model along a text."""
    model = L.Classifier(LanguageModel(list(cells), dropout))
    vars(model).update(compute_accuracy=False, accfun=None)  # one then, one now
    optimizer.setup(model)
    text = np.random.default_rng(2).integers(0, VOCABULARY, 50).astype(np.int32)
    iterator = iterators.ParallelSequentialIterator(text, BATCH)
    return training.BPTTUpdater(iterator, optimizer, STEPS, window=window)


def shuffled(optimizer):
    """Return an updater that shuffles ten examples anew in each epoch."""
    x = np.random.default_rng(3).normal(size=(10, 3)).astype(np.float32)
    t = x @ np.array([[1.0], [2.0], [3.0]], np.float32)
    model = L.Classifier(Regression(), F.mean_squared_error)
    vars(model).update(compute_accuracy=False, accfun=None)  # one then, one now
    optimizer.setup(model)
    iterator = iterators.SerialIterator(list(zip(x, t, strict=True)), 4)
    return training.StandardUpdater(iterator, optimizer)


def hooked(optimizer):
    """Give an optimizer that was set up hooks of all kinds."""
    optimizer.add_hook(optimizer_hooks.WeightDecay(1e-3))
    optimizer.add_hook(optimizer_hooks.Lasso(1e-4))
    optimizer.add_hook(optimizer_hooks.GradientNoise(1e-4))
    optimizer.add_hook(optimizer_hooks.GradientHardClipping(-0.5, 0.5))
    optimizer.add_hook(optimizer_hooks.GradientClipping(0.7))


def freeze(updater):
    """Freeze the embedding, as a snapshot remembers."""
    updater.get_optimizer().target.predictor.embed.disable_update()


def all_parts(trainer, rate):
    """Extend a trainer by triggers, schedules and reports of all kinds."""
    every = (2, "iteration")
    for trigger in (
        T.IntervalTrigger(4, "iteration"),
        T.IntervalTrigger(0.7, "epoch"),
        T.ManualScheduleTrigger([3, 17, 20], "iteration"),
        T.ManualScheduleTrigger([0.5, 3], "epoch"),
        T.OnceTrigger(),
        T.AnyTrigger((9, "iteration"), T.OnceTrigger()),
        T.MinValueTrigger(LOSS, (3, "iteration")),
        T.MaxValueTrigger(LOSS, (1, "epoch")),
    ):
        trainer.extend(Calls(), trigger=trigger)
    for shift in (
        E.ExponentialShift(rate, 0.97),
        E.LinearShift(rate, (0.01, 0.02), (3, 20)),
        E.StepShift(rate, 0.9, 3),
        E.MultistepShift(rate, 0.5, [2, 9]),
        E.PolynomialShift(rate, 0.5, 40),
        E.InverseShift(rate, 0.01, 1),
        E.WarmupShift(rate, 1e-4, 12),
        E.ReduceOnPlateau(rate, 0.9, LOSS, 1, check_trigger=every),
    ):
        trainer.extend(shift, trigger=every)
    trainer.extend(E.MicroAverage(LOSS, LOSS, "one", (8, "iteration")))
    trainer.stop_trigger = T.EarlyStoppingTrigger(
        (7, "iteration"), LOSS, 50, max_trigger=(LENGTH, "iteration")
    )


def optimizer_run(rule, rate=None, window=True, more=lambda updater: None):
    """Return a function that makes the trainer of a run, given its folder."""

    def make(out):
        optimizer = rule()
        updater = language(optimizer, window=window)
        more(updater)
        hooked(optimizer)
        return training.Trainer(updater, (LENGTH, "iteration"), out)

    return make


def parts_run(make_updater, rule, rate):
    """Return a function that makes a trainer with parts of all kinds."""

    def make(out):
        optimizer = rule()
        trainer = training.Trainer(make_updater(optimizer), (LENGTH, "iteration"), out)
        hooked(optimizer)
        all_parts(trainer, rate)
        return trainer

    return make


def cells_run(cells, window):
    """Return a function that makes a trainer of recurrent layers one after another."""

    def make(out):
        updater = language(optimizers.Adam(0.02), cells, window)
        return training.Trainer(updater, (LENGTH, "iteration"), out)

    return make


RUNS = {
    "SGD": optimizer_run(lambda: optimizers.SGD(0.5)),
    "ASGD": optimizer_run(lambda: optimizers.ASGD(0.5, 3)),
    "MomentumSGD": optimizer_run(lambda: optimizers.MomentumSGD(0.1), more=freeze),
    "NesterovAG": optimizer_run(lambda: optimizers.NesterovAG(0.1), window=False),
    "AdaGrad": optimizer_run(lambda: optimizers.AdaGrad(0.05)),
    "AdaDelta": optimizer_run(lambda: optimizers.AdaDelta()),
    "RMSprop": optimizer_run(lambda: optimizers.RMSprop(0.01)),
    "RMSpropGraves": optimizer_run(lambda: optimizers.RMSpropGraves(0.001)),
    "Adam": optimizer_run(lambda: optimizers.Adam(0.02), more=freeze),
    "AdamW": optimizer_run(lambda: optimizers.AdamW(0.02), window=False),
    "AMSGrad": optimizer_run(lambda: optimizers.Adam(0.02, amsgrad=True)),
    "SMORMS3": optimizer_run(lambda: optimizers.SMORMS3(0.01)),
    "window": parts_run(language, lambda: optimizers.MomentumSGD(0.1), "lr"),
    "step": parts_run(
        lambda optimizer: language(optimizer, ["GRU"], window=False),
        lambda: optimizers.Adam(0.02),
        "lr",
    ),
    "shuffled": parts_run(shuffled, lambda: optimizers.RMSprop(0.01), "lr"),
    "cells-window": cells_run(["LSTM", "GRU", "StatefulZoneoutLSTM", "ElmanRNN"], True),
    "cells-step": cells_run(CELLS, False),
}


def make_trainer(name, out):
    """Return the trainer of a run, with a log."""
    trainer = RUNS[name](out)
    trainer.extend(E.LogReport(trigger=(7, "iteration")))
    return trainer


def result(trainer):
    """Return what a run came to: arrays and values, as a snapshot has them."""
    model = trainer.updater.get_optimizer().target
    arrays = {path.strip("/"): p.array.copy() for path, p in model.namedparams()}
    log = trainer.get_extension("LogReport").log
    values = {
        "losses": [[row["iteration"], row[LOSS]] for row in log],
        "calls": [e.iterations for e in trainer.extensions.values() if is_calls(e)],
    }
    return arrays, values


def is_calls(extension):
    """Whether an extension is one of those that count."""
    return isinstance(extension, Calls)


def make_model(x):
    """Return layers of all kinds with running means and carried states behind them."""
    model = Layers()
    for _ in range(3):
        model.outputs(x)
    return model


def inputs(seed):
    """Return a batch of ids."""
    ids = np.random.default_rng(seed).integers(0, VOCABULARY, BATCH)
    return ids.astype(np.int32)


def outputs(model):
    """Return what a loaded model computes from its first step on."""
    for name in CELLS:
        model[name].reset_state()
    with dyrnn.using_config("train", False):
        return model.outputs(inputs(5))


def arithmetic():
    """Return a hash of what this machine makes of products and functions.

    Where it is another, so may be the last bits of a run.
    """
    generator = np.random.default_rng(4)
    total = hashlib.sha256()
    for m, k, n in itertools.product(range(1, 13), range(1, 13), (1, 3, 4, 7, 12, 16)):
        a = generator.normal(size=(m, k)).astype(np.float32)
        b = generator.normal(size=(k, n)).astype(np.float32)
        products = (
            a @ b,
            a.T.copy().T @ b,
            a @ b.T.copy().T,
            a.T.copy().T @ b.T.copy().T,
        )
        for y in (*products, np.exp(a), np.tanh(a), np.log(abs(b)), a.sum(0)):
            total.update(np.ascontiguousarray(y).tobytes())
    return total.hexdigest()


def main():
    """Make the files in the folder named on the command line."""
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    arrays, values = {}, {}
    for name in RUNS:
        dyrnn.random.seed(6)
        with tempfile.TemporaryDirectory() as out:
            trainer = make_trainer(name, out)

            def save(trainer, path=os.path.join(folder, f"{name}.npz")):
                if trainer.updater.iteration == CUT:
                    save_npz(path, trainer)

            trainer.extend(save, "last", (1, "iteration"), priority=-1000)
            trainer.run()
            found, values[name] = result(trainer)
        arrays.update({f"{name}/{key}": array for key, array in found.items()})
    dyrnn.random.seed(6)
    model = make_model(inputs(4))
    save_npz(os.path.join(folder, "model.npz"), model)
    arrays.update({f"model/{key}": array for key, array in outputs(model).items()})
    write_snapshot(
        os.path.join(folder, "results.npz"),
        Contents(arrays, values),
        {"arithmetic": arithmetic()},
        environment(),
    )


if __name__ == "__main__":
    main()
