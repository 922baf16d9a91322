"""Words per second of one training step of the Penn Treebank language model.

The model, optimizer and updater are those a user would write; nothing private is used.
Prints one JSON line, or with ``--serve`` answers each number of steps on standard input
with one, so that several programs can be timed in turn (see compare.py).
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time

CONFIGS = {
    "small": dict(hidden=200, steps=20, dropout=0.0, init=0.1, clip=5.0),
    "medium": dict(hidden=650, steps=35, dropout=0.5, init=0.05, clip=5.0),
    "large": dict(hidden=1500, steps=35, dropout=0.65, init=0.04, clip=10.0),
}
BATCH = 20


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--config", choices=CONFIGS, default="small")
    add("--mode", choices=("window", "step"), default="window")
    add("--threads", type=int, default=2)
    add("--steps", type=int, default=20, help="training steps per timed block")
    add("--blocks", type=int, default=5)
    add("--warmup", type=int, default=5)
    add("--data", help="directory or zip with ptb.*.txt; default: Python's own text")
    add("--device", default="-1")
    add("--serve", action="store_true", help="answer step counts on standard input")
    return parser.parse_args()


args = parse_arguments()
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(args.threads)  # before NumPy is imported

import dyrnn  # noqa: E402
import dyrnn.functions as F  # noqa: E402
import dyrnn.links as L  # noqa: E402
from dyrnn import optimizers  # noqa: E402
from dyrnn.datasets import load_corpus  # noqa: E402
from dyrnn.iterators import WindowIterator  # noqa: E402
from dyrnn.optimizer_hooks import GradientClipping  # noqa: E402
from dyrnn.training import BPTTUpdater  # noqa: E402


class LanguageModel(dyrnn.Chain):
    def __init__(self, n_vocab, n_units, dropout, scale):
        super().__init__()
        self.dropout = dropout
        initial = dyrnn.initializers.Uniform(scale)
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units, initial)
            self.l1 = L.LSTM(n_units, n_units, initial, initial, initial, initial)
            self.l2 = L.LSTM(n_units, n_units, initial, initial, initial, initial)
            self.out = L.Linear(n_units, n_vocab, False, initial, initial)

    def forward(self, x):
        h = F.dropout(self.embed(x), self.dropout)
        h = F.dropout(self.l1(h), self.dropout)
        h = F.dropout(self.l2(h), self.dropout)
        return self.out(h)

    def loss(self, x, t):
        return F.softmax_cross_entropy(self(x), t)


def main():
    config = CONFIGS[args.config]
    words = BATCH * config["steps"]
    corpus = load_corpus(args.data)
    model = LanguageModel(10_000, config["hidden"], config["dropout"], config["init"])
    model.to_device(args.device)
    optimizer = optimizers.SGD(lr=1.0).setup(model)
    optimizer.add_hook(GradientClipping(config["clip"]))
    updater = BPTTUpdater(
        WindowIterator(corpus.train, BATCH, config["steps"]),
        optimizer,
        config["steps"],
        device=args.device,
        window=args.mode == "window",
        loss_func=model.loss,
    )
    reporter = dyrnn.Reporter()
    reporter.add_observer("main", model)
    observation = {}

    def block(n):
        began = time.perf_counter()
        with reporter.scope(observation):
            for _ in range(n):
                updater.update()
        loss = float(observation["main/loss"])
        return n * words / (time.perf_counter() - began), loss

    def peak_mb():
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)

    _, first = block(1)
    block(max(1, args.warmup - 1))
    if args.serve:
        print(
            json.dumps(dict(ready="dyrnn:" + args.mode, loss=first, peak_mb=peak_mb())),
            flush=True,
        )
        for line in sys.stdin:
            rate, loss = block(int(line))
            print(json.dumps(dict(words_per_s=rate, loss=loss)), flush=True)
        return
    results = [block(args.steps) for _ in range(args.blocks)]
    rate = statistics.median(rate for rate, _ in results)
    print(
        json.dumps(
            dict(
                program="dyrnn:" + args.mode,
                config=args.config,
                threads=args.threads,
                words_per_s=round(rate, 1),
                ms_per_step=round(words / rate * 1e3, 2),
                loss_first=round(first, 4),
                loss_last=round(results[-1][1], 4),
                peak_mb=peak_mb(),
            )
        )
    )


if __name__ == "__main__":
    main()
