"""Runs of Chainer's API that are saved in the middle, for later versions to finish.

``python -m tests.golden.make_chainer_runs FOLDER`` does for ``dyrnn.chainer`` what
``make_runs.py`` does for the library; ``tests/golden/4fe7486-chainer`` has the files of
that commit, which stay as they are. Such snapshots hold no random numbers: the runs
are seeded where they were cut.
"""

import os
import sys
import tempfile

import numpy as np

import dyrnn.chainer as chainer
import dyrnn.chainer.functions as F
import dyrnn.chainer.links as L
from dyrnn.chainer import serializers, training
from dyrnn.chainer.training import extensions, triggers
from dyrnn.serializers import Contents, environment, write_snapshot
from tests.golden.make_runs import arithmetic

CUT, LENGTH, UNITS = 8, 20, 4
LOSS = "main/loss"


class Model(chainer.Chain):
    """An LSTM over three steps, and a linear layer."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(7, UNITS)
            self.lstm = L.LSTM(UNITS, UNITS)
            self.norm = L.BatchNormalization(UNITS)
            self.out = L.Linear(UNITS, 7)

    def forward(self, x):
        """Return logits for words (B, 3)."""
        self.lstm.reset_state()
        for step in range(x.shape[1]):
            h = self.lstm(self.embed(x[:, step]))
        return self.out(F.tanh(self.norm(h)))


RUNS = {
    "SGD": ("lr", lambda: chainer.optimizers.SGD(0.5)),
    "MomentumSGD": ("lr", lambda: chainer.optimizers.MomentumSGD(0.1)),
    "NesterovAG": ("lr", lambda: chainer.optimizers.NesterovAG(0.1)),
    "AdaGrad": ("lr", lambda: chainer.optimizers.AdaGrad(0.05)),
    "AdaDelta": ("rho", lambda: chainer.optimizers.AdaDelta()),
    "RMSprop": ("lr", lambda: chainer.optimizers.RMSprop(0.01)),
    "RMSpropGraves": ("lr", lambda: chainer.optimizers.RMSpropGraves(0.001)),
    "Adam": ("alpha", lambda: chainer.optimizers.Adam(0.02)),
    "AdamW": ("alpha", lambda: chainer.optimizers.AdamW(0.02)),
    "AMSGrad": ("alpha", lambda: chainer.optimizers.AMSGrad(0.02)),
    "SMORMS3": ("lr", lambda: chainer.optimizers.SMORMS3(0.01)),
}


def make_trainer(name, out):
    """Return the trainer of a run."""
    rate, rule = RUNS[name]
    random = np.random.RandomState(3)
    data = [
        (random.randint(0, 7, 3).astype("i"), random.randint(0, 7)) for _ in range(25)
    ]
    optimizer = rule().setup(L.Classifier(Model()))
    optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(1e-3))
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(1.0))
    iterator = chainer.iterators.SerialIterator(data, 4)
    updater = training.StandardUpdater(iterator, optimizer)
    stop = triggers.EarlyStoppingTrigger(
        (3, "iteration"), LOSS, 50, max_trigger=(LENGTH, "iteration")
    )
    trainer = training.Trainer(updater, stop, out)
    trainer.extend(extensions.LogReport(trigger=(5, "iteration")))
    every = (3, "iteration")
    trainer.extend(extensions.ExponentialShift(rate, 0.97), trigger=every)
    trainer.extend(extensions.observe_value("t", lambda _: 1.0), trigger=every)
    best = triggers.MinValueTrigger(LOSS, (2, "iteration"))
    trainer.extend(extensions.snapshot_object(optimizer.target, "best"), trigger=best)
    schedule = triggers.ManualScheduleTrigger([3, 12], "iteration")
    trainer.extend(extensions.observe_value("u", lambda _: 1.0), "u", schedule)
    return trainer


def result(trainer):
    """Return the parameters and the rows of the log that a run came to."""
    model = trainer.updater.get_optimizer("main").target
    arrays = {path.strip("/"): p.array.copy() for path, p in model.namedparams()}
    rows = trainer.get_extension("LogReport").log
    return arrays, [[row["iteration"], float(row[LOSS])] for row in rows]


def main():
    """Make the files in the folder named on the command line."""
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    arrays, values = {}, {}
    for name in RUNS:
        np.random.seed(6)
        with tempfile.TemporaryDirectory() as out:
            trainer = make_trainer(name, out)

            def save(trainer, path=os.path.join(folder, f"{name}.npz")):
                if trainer.updater.iteration == CUT:
                    serializers.save_npz(path, trainer)
                    np.random.seed(7)

            trainer.extend(save, "last", (1, "iteration"), priority=-1000)
            trainer.run()
            found, values[name] = result(trainer)
        arrays.update({f"{name}/{key}": array for key, array in found.items()})
    write_snapshot(
        os.path.join(folder, "results.npz"),
        Contents(arrays, values),
        {"arithmetic": arithmetic()},
        environment(),
    )


if __name__ == "__main__":
    main()
