"""One training step of the Penn Treebank language model in dyrnn.

Model, optimizer and updater are those a user would write; nothing private is used.
"""

import harness

args, config = harness.arguments(__doc__)

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import optimizers
from dyrnn.datasets import load_corpus
from dyrnn.iterators import WindowIterator
from dyrnn.optimizers.hooks import GradientClipping
from dyrnn.training import BPTTUpdater


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
    corpus = load_corpus(args.data)
    if args.dtype in ("tf32", "bfloat16"):
        dyrnn.config.matmul_precision = args.dtype
    else:
        dyrnn.config.dtype = np.dtype(args.dtype)
    model = LanguageModel(
        harness.VOCABULARY, config["hidden"], config["dropout"], config["init"]
    )
    optimizer = optimizers.SGD(lr=1.0).setup(model)
    optimizer.add_hook(GradientClipping(config["clip"]))
    updater = BPTTUpdater(
        WindowIterator(corpus.train, harness.BATCH, config["steps"]),
        optimizer,
        device=args.device,
        window=args.mode == "window",
        loss_func=model.loss,
    )
    reporter = dyrnn.Reporter()
    reporter.add_observer("main", model)
    observation = {}

    def step():
        with reporter.scope(observation):
            updater.update()
        return observation["main/loss"]

    harness.run(f"dyrnn:{args.mode}", args, step)


if __name__ == "__main__":
    main()
