"""A program that several processes run: ``mpiexec -n 2 python work.py CASES ...``.

Each case trains a tiny model; the first process writes the results, as JSON, into a
file. In one process alone, the batch is whole.
"""

import hashlib
import json
import sys
import tempfile

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import distributed, extensions, optimizers, training
from dyrnn.iterators import (
    BucketIterator,
    ParallelSequentialIterator,
    SerialIterator,
    WindowIterator,
)

TEXT = (np.cumsum(np.random.default_rng(0).integers(0, 7, 3001)) % 50).astype(np.int32)


class Words(dyrnn.Chain):
    """A language model of steps or windows; ids of -1 among the labels are ignored."""

    def __init__(self, cell="LSTM", size=50, dropout=0.0):
        super().__init__()
        self.dropout = dropout
        with self.init_scope():
            self.embed = L.EmbedID(size, 6)
            self.rnn = getattr(L, cell)(6, 5)
            self.out = L.Linear(5, size)

    def forward(self, x, t):
        h = F.dropout(self.rnn(self.embed(x)), self.dropout)
        return F.softmax_cross_entropy(self.out(h), t)


class Normalized(Words):
    """One with running statistics, of ids of single examples."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.norm = L.BatchNormalization(6)

    def forward(self, x, t):
        return F.softmax_cross_entropy(self.out(self.rnn(self.norm(self.embed(x)))), t)


def summed(model):
    """Return a loss that is the sum over all labels, not their mean."""

    def loss(x, t):
        y = model.out(model.rnn(model.embed(x)))
        return F.sum(F.softmax_cross_entropy(y, t, reduce="no"))

    return loss


def looped(model):
    """Return a loss that is added up in a loop, with a term of its own."""

    def loss(x, t):
        model.reset_state()
        total, y = 0, model.rnn(model.embed(x))
        for _ in range(6):
            total = total + F.softmax_cross_entropy(model.out(y), t)
        return total * 0.2 + 0.1 * F.mean(y**2)

    return loss


class Ignoring(WindowIterator):
    """Windows in which the labels of some tracks are ignored, so that counts differ."""

    def __next__(self):
        x, t = super().__next__()
        t = np.array(t)
        t[t % 5 == 0] = -1
        if self.part is None or self.part(self.batch_size).start == 0:
            t[:, 0] = -1
        return x, t


class IgnoringSteps(ParallelSequentialIterator):
    """Steps in which the labels of some tracks are ignored."""

    def __next__(self):
        return [(x, -1 if t % 5 == 0 else t) for x, t in super().__next__()]


def updater(case, optimizer="SGD", cell="LSTM", tracks=4):
    """Return an updater; the learning rate is high enough to see differences."""
    model = Words(cell, dropout=0.3 if case == "dropout" else 0.0)
    if case == "statistics":
        model = Normalized()
    rates = {"SGD": 0.5, "MomentumSGD": 0.1, "NesterovAG": 0.1}
    rule = getattr(optimizers, optimizer)
    names = rule.__init__.__annotations__
    rate = {"lr": rates.get(optimizer, 0.01)} if "lr" in names else {}
    rule = rule(**rate).setup(model)
    rule.add_hook(dyrnn.optimizer_hooks.GradientClipping(0.5))
    if case in ("window", "dropout"):
        return training.BPTTUpdater(WindowIterator(TEXT, tracks, 7), rule)
    if case == "sums":
        iterator = WindowIterator(TEXT, tracks, 7)
        return training.BPTTUpdater(
            iterator, rule, loss_func=summed(model), window=True
        )
    if case == "ignored":
        return training.BPTTUpdater(Ignoring(TEXT, tracks, 7), rule)
    if case in ("step", "ignored steps"):
        kind = ParallelSequentialIterator if case == "step" else IgnoringSteps
        iterator = kind(TEXT, tracks)
        return training.BPTTUpdater(iterator, rule, 3, window=False)
    examples = [(TEXT[i], TEXT[i + 1]) for i in range(0, 60)]
    if case == "loop":
        iterator = SerialIterator(examples, tracks)
        return training.StandardUpdater(iterator, rule, loss_func=looped(model))
    if case in ("examples", "statistics"):
        iterator = SerialIterator(examples, tracks)
    else:  # the last batch of an epoch is short: some processes have no example
        iterator = BucketIterator(examples[:49], tracks, length=lambda pair: pair[0])
    return training.StandardUpdater(iterator, rule, loss_func=Single(model))


class Single:
    """The loss of a model of a batch that follows no other."""

    def __init__(self, model):
        self.model = model

    def __call__(self, x, t):
        self.model.reset_state()
        loss = self.model(x, t)
        dyrnn.report({"loss": loss, "accuracy": (t % 3 == 0).mean()}, self.model)
        return loss


def train(communicator, case, updates=4, check_every=1, accumulate=1, **options):
    """Return the losses and parameters of a few updates."""
    dyrnn.random.seed(3)
    with tempfile.TemporaryDirectory() as out:
        trainer = training.Trainer(
            updater(case, **options), (updates, "iteration"), out
        )
        trainer.updater.accumulate = accumulate
        seen = []
        keys = ["main/loss", "main/accuracy", "validation/main/loss"]
        trainer.extend(lambda t: seen.append([t.observation.get(key) for key in keys]))
        trainer.extend(evaluator(trainer, case), trigger=(2, "iteration"), priority=500)
        if communicator is not None:
            distributed.distribute(trainer, communicator, check_every)
        trainer.run()
    model = trainer.updater.get_optimizer().target
    arrays = [p.array for _, p in sorted(model.namedparams())]
    if case == "statistics":
        arrays += [model.norm.avg_mean, model.norm.avg_var]
    seen = [[None if v is None else float(v) for v in row] for row in seen]
    return {
        "seen": seen,
        "parameters": np.concatenate([a.ravel() for a in arrays]).tolist(),
        "digest": hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest(),
        "count": float(trainer.updater.label_count),
    }


def evaluator(trainer, case):
    model = trainer.updater.get_optimizer().target
    if case in ("examples", "short", "statistics", "loop"):
        pairs = [(TEXT[i], TEXT[i + 1]) for i in range(100, 131)]
        iterator = SerialIterator(pairs, 7, repeat=False, shuffle=False)
        return extensions.Evaluator(iterator, model, eval_func=Single(model))
    return extensions.Evaluator(WindowIterator(TEXT[:300], 3, 7, False, True), model)


def main():
    cases, path = json.loads(sys.argv[1]), sys.argv[2]
    communicator = None
    if sys.argv[3:] != ["alone"]:
        communicator = distributed.create_communicator("mpi")
    results = []
    for case in cases:
        dyrnn.config.dtype = case.pop("dtype", "float64")
        result = train(communicator, **case)
        if communicator is not None:
            digests = communicator.allgather_object(result["digest"], "the test")
            result["digests"] = digests
        results.append(result)
    if communicator is None or communicator.rank == 0:
        with open(path, "w") as file:
            json.dump(results, file)


if __name__ == "__main__":
    main()
