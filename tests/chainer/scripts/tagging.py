#!/usr/bin/env python
"""Tags of words: embedding, NStepBiLSTM and a conditional random field."""

import argparse
import collections

import numpy

import chainer
from chainer import datasets
import chainer.links as L
from chainer import reporter
from chainer import training
from chainer.training import extensions

LEXICON = {
    "article": ["the", "a"],
    "noun": ["dog", "cat", "run", "saw"],
    "verb": ["sees", "saw", "run"],
}


class Tagger(chainer.Chain):
    def __init__(self, n_vocab, n_units, n_tags):
        super(Tagger, self).__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            self.rnn = L.NStepBiLSTM(1, n_units, n_units, 0.0)
            self.out = L.Linear(2 * n_units, n_tags)
            self.crf = L.CRF1d(n_tags)

    def features(self, xs):
        _, _, hs = self.rnn(None, None, [self.embed(x) for x in xs])
        return [self.out(h) for h in hs]

    def forward(self, xs, ys):
        hs = self.features(xs)
        loss = self.crf(hs, ys, transpose=True)
        _, predicted = self.crf.argmax(hs, transpose=True)
        correct = sum(self.xp.sum(y == p) for y, p in zip(ys, predicted))
        reporter.report({"loss": loss}, self)
        reporter.report({"correct": correct, "total": sum(map(len, ys))}, self)
        return loss

    def argmax(self, xs):
        return self.crf.argmax(self.features(xs), transpose=True)


@chainer.dataset.converter()
def convert(batch, device):
    return {
        "xs": [chainer.dataset.to_device(device, x) for x, _ in batch],
        "ys": [chainer.dataset.to_device(device, y) for _, y in batch],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epoch", "-e", type=int, default=5)
    parser.add_argument("--device", "-d", type=str, default="-1")
    args = parser.parse_args()
    device = chainer.get_device(args.device)
    device.use()

    numpy.random.seed(0)
    vocab = collections.defaultdict(lambda: len(vocab))
    tags = collections.defaultdict(lambda: len(tags))
    data = []
    for _ in range(88):
        clause = ["article", "noun", "verb"]
        words = [(numpy.random.choice(LEXICON[tag]), tag) for tag in clause]
        if numpy.random.rand() < 0.5:
            words += [(numpy.random.choice(LEXICON[tag]), tag) for tag in clause[:2]]
        data.append(
            (
                numpy.array([vocab[word] for word, _ in words], numpy.int32),
                numpy.array([tags[tag] for _, tag in words], numpy.int32),
            )
        )

    model = Tagger(len(vocab), 8, len(tags))
    model.to_device(device)
    optimizer = chainer.optimizers.Adam(0.02)
    optimizer.setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(0.0001))

    test, train = datasets.split_dataset_random(data, 8, seed=0)
    train_iter = chainer.iterators.SerialIterator(train, 10)
    test_iter = chainer.iterators.SerialIterator(test, 10, repeat=False, shuffle=False)
    updater = training.updaters.StandardUpdater(
        train_iter, optimizer, converter=convert, device=device
    )
    trainer = training.Trainer(updater, (args.epoch, "epoch"), out="result")
    trainer.extend(
        extensions.Evaluator(test_iter, model, device=device, converter=convert),
        trigger=(8, "iteration"),
    )
    trainer.extend(
        extensions.LogReport(trigger=(8, "iteration")), trigger=(8, "iteration")
    )
    for prefix in ("main", "validation/main"):
        names = [prefix + "/" + name for name in ("correct", "total", "accuracy")]
        trainer.extend(extensions.MicroAverage(*names))
    trainer.extend(
        extensions.PrintReport(
            ["epoch", "main/loss", "main/accuracy", "validation/main/accuracy"]
        ),
        trigger=(8, "iteration"),
    )
    trainer.extend(extensions.ProgressBar(update_interval=10))
    trainer.run()

    # "saw" after an article is a noun, after a noun a verb.
    sentence = [vocab[word] for word in ("the", "saw", "saw")]
    with chainer.using_config("train", False), chainer.no_backprop_mode():
        _, (predicted,) = model.argmax([model.xp.array(sentence, numpy.int32)])
    assert list(predicted) == [tags[tag] for tag in ("article", "noun", "verb")]


if __name__ == "__main__":
    main()
