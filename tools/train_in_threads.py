"""Train in four threads at once: each ends as it does alone, bit by bit.

``python -m tools.train_in_threads`` draws four of twelve small programs (two recurrent
ones by window and by step, one that shuffles and one that attends, with three
optimizers), trains them one after the other and then at once, each within random
streams of its own, and compares all that their snapshots would hold. Threads take turns
every few microseconds, and arrays are large enough for the threads of the kernels, too.
"""

import argparse
import collections
import random
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import extensions, iterators, optimizers, training
from tools.small_training import digest, language_updater, shuffled_updater

OPTIMIZERS = (optimizers.Adam, optimizers.RMSprop, optimizers.MomentumSGD)


class Attending(dyrnn.Chain):
    """Reads sequences (B, T, 3) in both directions, and attends to all steps."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.read = L.Bidirectional(L.LSTM(3, 8), L.LSTM(3, 8))
            self.attend = L.Attention(16, 16, "additive")
            self.out = L.Linear(32, 1)

    def forward(self, x):
        """Return y (B, 1)."""
        self.reset_state()
        h = F.dropout(self.read(x.swapaxes(0, 1)), 0.2)
        self.attend.remember(h)
        return self.out(F.concat([h[-1], self.attend(h[-1])], axis=-1))


def attending_updater(optimizer):
    """Return an updater of sums over sequences."""
    x = np.random.default_rng(3).normal(size=(24, 6, 3)).astype(np.float32)
    model = L.Classifier(Attending(), F.mean_squared_error, accfun=None)
    optimizer.setup(model)
    examples = list(zip(x, x.sum(axis=(1, 2))[:, None], strict=True))
    return training.StandardUpdater(iterators.SerialIterator(examples, 8), optimizer)


KINDS = {
    "windows": lambda optimizer: language_updater(optimizer, window=True, units=160),
    "steps": lambda optimizer: language_updater(optimizer, window=False),
    "shuffled": shuffled_updater,
    "attention": attending_updater,
}
PROGRAMS = [(kind, optimizer) for kind in KINDS for optimizer in OPTIMIZERS]


def train(program, seed, out):
    """Train a program with a seed of its own, and return the digest of its state."""
    kind, make_optimizer = program
    with dyrnn.random.Streams(seed):
        optimizer = make_optimizer(lr=0.01)
        updater = KINDS[kind](optimizer)
        optimizer.add_hook(dyrnn.optimizer_hooks.GradientNoise(1e-3))
        trainer = training.Trainer(updater, (20, "iteration"), out)
        trainer.extend(extensions.LogReport(trigger=(3, "iteration")))
        trainer.extend(extensions.snapshot(n_retains=1), trigger=(8, "iteration"))
        trainer.run()
        return digest(trainer)


def compare(programs, seeds, folder):
    """Return the places of those programs that end differently in threads."""
    names = [Path(folder, str(place)) for place in range(len(programs))]
    jobs = list(zip(programs, seeds, names, strict=True))
    alone = [train(*job) for job in jobs]
    together: dict[int, object] = {}

    def work(place, program, seed, out):
        try:
            together[place] = train(program, seed, out / "together")
        except Exception as error:
            together[place] = error

    threads = [
        threading.Thread(target=work, args=(place, *job))
        for place, job in enumerate(jobs)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return [place for place, wanted in enumerate(alone) if together[place] != wanted]


def search(count, seed=0):
    """Return how often each program was trained, and problems."""
    rng, done, problems = random.Random(seed), collections.Counter(), []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    before, dyrnn.config.threads = dyrnn.config.threads, 2  # of each kernel
    try:
        for number in range(count):
            programs = [rng.choice(PROGRAMS) for _ in range(4)]
            seeds = [rng.randrange(1000) for _ in programs]
            with tempfile.TemporaryDirectory() as folder:
                different = compare(programs, seeds, folder)
            done.update((kind, optimizer.__name__) for kind, optimizer in programs)
            for place in different:
                problems.append(f"{number}: {programs[place]}, seed {seeds[place]}")
    finally:
        sys.setswitchinterval(interval)
        dyrnn.config.threads = before
    return done, problems


def main():
    """Print the figures; return 1 if there was a problem."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    done, problems = search(options.count, options.seed)
    print(
        f"{options.count} times four threads, {sum(done.values())} trainings of "
        f"{len(done)} programs; {len(problems)} problems"
    )
    for problem in problems[:20]:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
