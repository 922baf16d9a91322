"""Measure how fast processes train a language model together, and what they exchange.

    python -m tools.measure_processes                     # one process, all its threads
    mpiexec -n 2 python -m tools.measure_processes        # two, which share the cores

The model is the small one of the PTB example, on random words. One line of JSON:
words per second (the median update), milliseconds of an exchange when nobody waits for
anybody, and of one allreduce of as many bytes, bytes that a process sends in an
exchange, and those of dense gradients.
"""

import argparse
import json
import tempfile
import time

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import distributed, kernels, optimizers, training
from dyrnn.iterators import WindowIterator


class Words(dyrnn.Chain):
    """Embedding, two LSTM layers and a linear layer."""

    def __init__(self, vocabulary, unit):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(vocabulary, unit)
            self.first, self.second = L.LSTM(unit, unit), L.LSTM(unit, unit)
            self.out = L.Linear(unit, vocabulary)

    def forward(self, x, t):
        y = self.out(self.second(self.first(self.embed(x))))
        return F.softmax_cross_entropy(y, t)


def milliseconds(function, prepare, communicator, repeats=15):
    """Return the median time of a collective operation that all begin together."""
    times = []
    for _ in range(repeats):
        prepare()
        communicator.allgather(np.zeros(1), "a measurement")
        before = time.perf_counter()
        function()
        times.append(time.perf_counter() - before)
    return float(np.median(times)) * 1e3


def measure_exchange(communicator, optimizer, exchange, line):
    """Time the exchange of the gradients that the last update left."""
    params = [param for _, param in optimizer.target.namedparams()]
    kept = [(param, param.total.settled()[0]) for param in params]

    def prepare():
        for param, gradient in kept:
            param.total.replace(gradient)

    exchange.check_every = 1 << 60
    before, exchanges = communicator.sent, 15
    took = milliseconds(lambda: exchange(optimizer), prepare, communicator, exchanges)
    sent = (communicator.sent - before) / exchanges
    buffer = [np.ones(int(sent) // 4, np.float32)]
    plain = milliseconds(
        lambda: communicator.add_up(buffer, "a measurement"),
        lambda: buffer[0].fill(1),
        communicator,
    )
    dense = sum(param.array.nbytes for param in params)
    line.update(exchange_ms=round(took, 2), allreduce_ms=round(plain, 2))
    line.update(sent_MB=round(sent / 1e6, 2), dense_MB=round(dense / 1e6, 2))


def main():
    """Train for some seconds, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unit", type=int, default=200)
    parser.add_argument("--vocabulary", type=int, default=10_000)
    parser.add_argument("--batchsize", type=int, default=20, help="of all processes")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=8.0)
    args = parser.parse_args()
    communicator = distributed.create_communicator("mpi")
    # Words as frequent as those of a language, by Zipf's law.
    generator = np.random.default_rng(0)
    share = 1 / np.arange(1, args.vocabulary + 1)
    size = args.batchsize * (args.steps * 400 + 1)
    words = generator.choice(args.vocabulary, size, p=share / share.sum())
    dyrnn.random.seed(0)
    model = Words(args.vocabulary, args.unit)
    optimizer = optimizers.SGD(lr=0.1).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(5))
    iterator = WindowIterator(words.astype(np.int32), args.batchsize, args.steps)
    with tempfile.TemporaryDirectory() as out:
        updater = training.BPTTUpdater(iterator, optimizer)
        stop = training.triggers.TimeTrigger(args.seconds)
        trainer = training.Trainer(updater, stop, out)
        distributed.distribute(trainer, communicator)
        seconds = []
        trainer.extend(lambda trainer: seconds.append(trainer.updater.update_time))
        trainer.run()
    per_update = args.batchsize * args.steps
    line = {
        "processes": communicator.size,
        "threads": kernels.threads(),
        "batch": args.batchsize,
        "updates": len(seconds),
        "words_per_second": round(per_update / np.median(seconds[2:])),
        "fastest_ms": round(1e3 * min(seconds), 1),
    }
    if communicator.size > 1:
        exchange = distributed.Exchange(communicator)
        measure_exchange(communicator, optimizer, exchange, line)
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
