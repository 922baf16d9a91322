#!/usr/bin/env python
"""Classes of texts by three encoders; the best model is kept and used later."""

import argparse
import json
import os
import sys

import numpy

import chainer
from chainer import cuda
import chainer.functions as F
import chainer.links as L
from chainer import training
from chainer.training import extensions

embed_init = chainer.initializers.Uniform(0.25)
OPINIONS = [["good", "great", "fine"], ["bad", "poor", "awful"]]
OTHERS = ["the", "film", "is", "a", "plot", "with", "its"]


class RNNEncoder(chainer.Chain):
    def __init__(self, n_vocab, n_units, dropout):
        super(RNNEncoder, self).__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units, initialW=embed_init)
            self.encoder = L.NStepLSTM(1, n_units, n_units, dropout)
        self.out_units = n_units
        self.dropout = dropout

    def forward(self, xs):
        sections = numpy.cumsum([len(x) for x in xs[:-1]])
        ex = F.dropout(self.embed(F.concat(xs, axis=0)), ratio=self.dropout)
        last_h, _, _ = self.encoder(None, None, F.split_axis(ex, sections, 0))
        return last_h[-1]


class MLP(chainer.ChainList):
    def __init__(self, n_layers, n_units, dropout):
        super(MLP, self).__init__()
        for _ in range(n_layers):
            self.add_link(L.Linear(None, n_units))
        self.dropout = dropout

    def forward(self, x):
        for link in self.children():
            x = F.relu(link(F.dropout(x, ratio=self.dropout)))
        return x


class BlockEncoder(chainer.Chain):
    """Embeds a padded block, as an image one pixel wide."""

    def __init__(self, n_vocab, n_units, dropout):
        super(BlockEncoder, self).__init__()
        with self.init_scope():
            self.embed = L.EmbedID(
                n_vocab, n_units, ignore_label=-1, initialW=embed_init
            )
            self.mlp = MLP(1, n_units, dropout)
        self.out_units = n_units
        self.dropout = dropout

    def block(self, xs):
        x = chainer.dataset.convert.concat_examples(xs, padding=-1)
        e = F.transpose(F.dropout(self.embed(x), ratio=self.dropout), (0, 2, 1))
        return e[:, :, :, None]


class CNNEncoder(BlockEncoder):
    def __init__(self, n_vocab, n_units, dropout):
        super(CNNEncoder, self).__init__(n_vocab, n_units, dropout)
        with self.init_scope():
            for n in (2, 3):
                convolution = L.Convolution2D(
                    n_units, n_units, ksize=(n, 1), stride=1, pad=(n - 1, 0)
                )
                setattr(self, "cnn_w%d" % n, convolution)

    def forward(self, xs):
        e = self.block(xs)
        hs = [F.max(convolve(e), axis=2) for convolve in (self.cnn_w2, self.cnn_w3)]
        return self.mlp(F.dropout(F.relu(F.concat(hs, axis=1)), ratio=self.dropout))


class BOWEncoder(BlockEncoder):
    def forward(self, xs):
        n = self.xp.array([len(x) for x in xs], numpy.int32)[:, None, None]
        return self.mlp(F.sum(self.block(xs), axis=2) / n)


class Classifier(L.Classifier):
    """Takes lists of texts and of classes, and says how sure it is."""

    def __init__(self, encoder, n_class):
        super(Classifier, self).__init__(L.Linear(encoder.out_units, n_class))
        with self.init_scope():
            self.encoder = encoder

    def forward(self, xs, ys):
        h = F.dropout(self.encoder(xs), ratio=0.1)
        return super(Classifier, self).forward(h, F.concat(ys, axis=0))

    def predict(self, xs):
        with chainer.using_config("train", False), chainer.no_backprop_mode():
            return F.softmax(self.predictor(self.encoder(xs))).array


def convert_seq(batch, device=None):
    def send(arrays):
        if device is None:
            return arrays
        elif device < 0:
            return [chainer.dataset.to_device(device, x) for x in arrays]
        xp = cuda.cupy
        sections = numpy.cumsum([len(x) for x in arrays[:-1]], dtype=numpy.int32)
        concat = chainer.dataset.to_device(device, numpy.concatenate(arrays, axis=0))
        return xp.split(concat, sections)

    return {"xs": send([x for x, _ in batch]), "ys": send([y for _, y in batch])}


def read(n, vocab):
    for i in range(n):
        words = numpy.random.choice(OTHERS, numpy.random.randint(2, 6)).tolist()
        words.append(numpy.random.choice(OPINIONS[i % 2]))
        numpy.random.shuffle(words)
        for word in words:
            vocab.setdefault(str(word), len(vocab))
        yield (
            numpy.array([vocab[word] for word in words], numpy.int32),
            numpy.array([i % 2], numpy.int32),
        )


def build(setup):
    encoder = {"rnn": RNNEncoder, "cnn": CNNEncoder, "bow": BOWEncoder}[setup["model"]]
    return Classifier(encoder(setup["n_vocab"], setup["unit"], setup["dropout"]), 2)


def use(out):
    """Classify the lines of the standard input by the model that was kept."""
    with open(os.path.join(out, "args.json")) as f:
        setup = json.load(f)
    model = build(setup)
    chainer.serializers.load_npz(os.path.join(out, "best_model.npz"), model)
    for line in sys.stdin:
        ids = [setup["vocab"].get(word, 0) for word in line.split()]
        prob = model.predict([model.xp.array(ids, numpy.int32)])[0]
        answer = int(model.xp.argmax(prob))
        print("{}\t{:.4f}\t{}".format(answer, float(prob[answer]), line.strip()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epoch", "-e", type=int, default=5)
    parser.add_argument("--gpu", "-g", type=int, default=-1)
    parser.add_argument("--out", "-o", default="result")
    parser.add_argument("--unit", "-u", type=int, default=12)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--model", default="cnn", choices=["cnn", "rnn", "bow"])
    parser.add_argument("--resume", "-r", default="")
    parser.add_argument("--use", action="store_true")
    args = parser.parse_args()
    if args.use:
        return use(args.out)

    numpy.random.seed(0)
    vocab = {"<unk>": 0}
    train, test = list(read(120, vocab)), list(read(40, vocab))
    setup = dict(args.__dict__, vocab=vocab, n_vocab=len(vocab))
    model = build(setup)
    if args.gpu >= 0:
        chainer.backends.cuda.get_device_from_id(args.gpu).use()
        model.to_gpu()
    optimizer = chainer.optimizers.Adam(0.01)
    optimizer.setup(model)
    optimizer.add_hook(chainer.optimizer.WeightDecay(1e-4))

    train_iter = chainer.iterators.SerialIterator(train, 12)
    test_iter = chainer.iterators.SerialIterator(test, 12, repeat=False, shuffle=False)
    updater = training.updaters.StandardUpdater(
        train_iter, optimizer, converter=convert_seq, device=args.gpu
    )
    trainer = training.Trainer(updater, (args.epoch, "epoch"), out=args.out)
    trainer.extend(
        extensions.Evaluator(test_iter, model, converter=convert_seq, device=args.gpu)
    )
    best = training.triggers.MaxValueTrigger("validation/main/accuracy", (1, "epoch"))
    trainer.extend(extensions.snapshot_object(model, "best_model.npz"), trigger=best)
    trainer.extend(extensions.snapshot(), trigger=(2, "epoch"))
    trainer.extend(extensions.LogReport())
    trainer.extend(
        extensions.PrintReport(["epoch", "main/loss", "validation/main/accuracy"])
    )
    if not os.path.isdir(args.out):
        os.mkdir(args.out)
    with open(os.path.join(args.out, "args.json"), "w") as f:
        json.dump(setup, f)
    if args.resume:
        chainer.serializers.load_npz(args.resume, trainer)
    trainer.run()


if __name__ == "__main__":
    main()
