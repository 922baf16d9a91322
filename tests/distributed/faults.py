"""A training in which something happens: ``mpiexec -n 2 python faults.py OPTIONS``."""

import argparse
import ctypes
import hashlib
import os
import signal
import sys
import time

import numpy as np

import dyrnn
from dyrnn import distributed, extensions, training
from dyrnn.distributed import compression
from tests.distributed.work import updater


class Fault(training.Extension):
    """Does something to one process after so many updates."""

    trigger = (1, "iteration")

    def __init__(self, args):
        self.kind, self.rank, self.iteration = args.kind, args.rank, args.at
        self.pause, self.mark = args.pause, os.path.join(args.out, "fault")

    def __call__(self, trainer):
        time.sleep(self.pause)
        own = distributed.current().rank
        if trainer.updater.iteration != self.iteration or own != self.rank:
            return
        with open(self.mark, "w"):  # of the moment
            pass
        if self.kind == "exception":
            raise ValueError("a fault of the test")
        if self.kind == "nan":
            trainer.updater.get_optimizer().target.out.b.array[0] = np.nan
        if self.kind == "exit":
            sys.exit(0)
        if self.kind == "quit":
            os._exit(3)
        if self.kind in ("kill", "stop", "term"):
            name = {"kill": "SIGKILL", "stop": "SIGSTOP", "term": "SIGTERM"}[self.kind]
            os.kill(os.getpid(), getattr(signal, name))
        if self.kind == "loop":
            while True:
                pass
        if self.kind == "segv":
            ctypes.string_at(0)


class Draws:
    """An extension that keeps something else in each process, and nothing saves it."""

    def __init__(self, rank):
        self.rng, self.total = np.random.default_rng(rank), 0.0

    def __call__(self, trainer):
        self.total += self.rng.normal()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--kind", default="none")
    parser.add_argument("--rank", type=int, default=1)
    parser.add_argument("--at", type=int, default=12)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--deadline", type=float, default=6.0)
    parser.add_argument("--tracks", type=int, default=4)
    parser.add_argument("--largest", type=float)
    args = parser.parse_args()
    if args.largest is not None:
        compression._SMALL = 0  # the model is tiny
    communicator = distributed.create_communicator("mpi", deadline=args.deadline)
    dyrnn.random.seed(1)
    made = updater("dropout", "Adam", tracks=args.tracks)
    trainer = training.Trainer(made, (args.updates, "iteration"), args.out)
    trainer.extend(Fault(args))
    draws = Draws(communicator.rank)
    trainer.extend(draws)
    trainer.extend(extensions.LogReport(trigger=(5, "iteration")))
    trainer.extend(
        extensions.snapshot(autoload=True, n_retains=2, on_signal=True),
        trigger=(5, "iteration"),
    )
    distributed.distribute(trainer, communicator, largest=args.largest)
    trainer.run()
    arrays = [p.array.tobytes() for _, p in made.get_optimizer().target.namedparams()]
    state = made.get_optimizer().target.rnn.h.array
    states = communicator.allgather_object(np.asarray(state), "the test")
    arrays.append(np.concatenate(states).tobytes())
    totals = communicator.allgather_object(draws.total, "the test")
    arrays.append(np.array(totals).tobytes())
    print(made.iteration, hashlib.sha256(b"".join(arrays)).hexdigest(), flush=True)


if __name__ == "__main__":
    main()
