"""A small language model that trains within a second, for the tools to interrupt.

It has all that an exact resume must bring back: shuffling or a carried state, dropout,
an optimizer with memory, a learning rate that falls, and a log. As a program,
``python -m tools.small_training --out DIRECTORY --resume auto``, it saves as the
examples do, writes the number of each iteration when it is done, and, at the end, a
digest of everything.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, extensions, iterators, optimizers, training
from dyrnn.serializers import capture

VOCABULARY = 7
LENGTH = 60
TIMES = ("elapsed_time", "_per_second", "next_time")


class SmallModel(dyrnn.Chain):
    """Embedding, LSTM, dropout and a linear layer; reads a step or a window."""

    def __init__(self, units=5, dropout=0.3):
        super().__init__()
        self.dropout = dropout
        with self.init_scope():
            self.embed = L.EmbedID(VOCABULARY, units)
            self.lstm = L.LSTM(units, units)
            self.out = L.Linear(units, VOCABULARY)

    def forward(self, x):
        """Return logits (B, V) of ids (B,), or (T, B, V) of a window (T, B)."""
        return self.out(F.dropout(self.lstm(self.embed(x)), self.dropout))


class StatelessModel(dyrnn.Chain):
    """Two linear layers with dropout in between."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.first = L.Linear(3, 4)
            self.second = L.Linear(4, 1)

    def forward(self, x):
        """Return y (B, 1) of x (B, 3)."""
        return self.second(F.dropout(F.tanh(self.first(x)), 0.3))


def text(length):
    """Return ids to learn, the same at each call."""
    return np.random.default_rng(2).integers(0, VOCABULARY, length).astype(np.int32)


def language_updater(optimizer, window, dropout=0.3, units=5):
    """Return an updater that carries its state along a text of 61 ids."""
    model = L.Classifier(SmallModel(units, dropout), accfun=None)
    optimizer.setup(model)
    iterator = iterators.ParallelSequentialIterator(text(61), 4)
    return training.BPTTUpdater(iterator, optimizer, 3, window=window)


def shuffled_updater(optimizer, processes=0):
    """Return an updater that shuffles ten examples, read in processes, each epoch."""
    x = np.random.default_rng(3).normal(size=(10, 3)).astype(np.float32)
    t = x @ np.array([[1.0], [2.0], [3.0]], np.float32)
    model = L.Classifier(StatelessModel(), F.mean_squared_error, accfun=None)
    optimizer.setup(model)
    examples = list(zip(x, t, strict=True))
    if processes:
        iterator = iterators.MultiprocessIterator(examples, 4, n_processes=processes)
    else:
        iterator = iterators.SerialIterator(examples, 4)
    return training.StandardUpdater(iterator, optimizer)


def timeless(value):
    """Return a value of a snapshot without what depends on the clock, at any depth."""
    if isinstance(value, dict):
        # A log is compared row by row; when a run last saved depends on interruptions.
        left_out = (*TIMES, "/log", "/rows", "saved_iteration")
        return {k: timeless(v) for k, v in value.items() if not k.endswith(left_out)}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def digest(trainer, with_file=True):
    """Return a SHA-256 of all that a snapshot would hold, and of the log; less times.

    The rows of the log are those in memory and, if there is one, in the file.
    """
    contents = capture(trainer)
    total = hashlib.sha256()
    for key, array in sorted(contents.arrays.items()):
        if key.endswith("/rows"):  # of the log, with times
            continue
        total.update(f"{key} {array.dtype} {array.shape}".encode() + array.tobytes())
    total.update(repr(sorted(timeless(contents.values).items())).encode())
    for extension in trainer.extensions.values():
        if isinstance(extension, extensions.LogReport):
            path = os.path.join(trainer.out, "log.jsonl")
            logs = [extension.log]
            if with_file and os.path.exists(path):
                logs.append(extensions.read_log(path))
            for row in (row for log in logs for row in log):
                total.update(repr(sorted(timeless(row).items())).encode())
    return total.hexdigest()


def start(out, *arguments):
    """Start this program in a process of its own, going on from what is in ``out``."""
    command = [sys.executable, "-W", "error", "-m", "tools.small_training"]
    return subprocess.Popen(
        [*command, "--out", out, "--resume", "auto", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # in one pipe, so that the order of lines is known
        text=True,
    )


def finish(out, *arguments):
    """Run this program to its end; return the digest, or what it said instead."""
    process = start(out, *arguments)
    said = process.communicate()[0]
    found = re.search("^digest ([0-9a-f]{64})$", said, re.MULTILINE)
    return found[1] if found and process.returncode == 0 else said


def main(arguments=None):
    """Train, and write the digest."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    command_line.add_common_options(parser)
    number = command_line.number
    parser.add_argument("--iterations", type=number(int, 1), default=LENGTH)
    parser.add_argument("--pause", type=number(float, 0), default=0.0)
    parser.add_argument("--every", type=number(int, 1), default=7)
    parser.add_argument("--processes", type=number(int, 0), default=0)
    parser.add_argument("--notes", help="file for what else goes to standard output")
    args = parser.parse_args(arguments)
    dyrnn.random.seed(args.seed)
    if args.processes:
        updater = shuffled_updater(optimizers.Adam(0.01), args.processes)
    else:
        updater = language_updater(optimizers.Adam(0.01), window=True)
    trainer = training.Trainer(updater, (args.iterations, "iteration"), args.out)
    trainer.extend(extensions.ExponentialShift("lr", 0.99), trigger=(5, "iteration"))
    trainer.extend(extensions.LogReport(trigger=(8, "iteration")))
    command_line.extend_with_snapshots(trainer, args, (args.every, "iteration"))

    def note(line):
        # Not print: what was written must be out when the process is killed.
        if args.notes is None:
            os.write(1, line.encode())
        else:
            with open(args.notes, "a") as file:
                file.write(line)

    def say(trainer):
        note(f"done {trainer.updater.iteration}\n")
        time.sleep(args.pause)

    # The pause is in the iteration, before anything of it is saved.
    trainer.extend(say, priority=training.PRIORITY_WRITER + 1)
    trainer.run()
    note("over\n")
    note(f"digest {digest(trainer)}\n")


if __name__ == "__main__":
    sys.exit(command_line.run(main))
