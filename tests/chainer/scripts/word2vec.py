#!/usr/bin/env python
"""Skip-gram with negative sampling, and an iterator without previous_epoch_detail."""

import argparse
import collections

import numpy as np

import chainer
import chainer.functions as F
import chainer.initializers as I
import chainer.links as L
import chainer.optimizers as O
from chainer import reporter
from chainer import training
from chainer.training import extensions


class SkipGram(chainer.Chain):
    def __init__(self, n_vocab, n_units, loss_func):
        super(SkipGram, self).__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units, initialW=I.Uniform(1.0 / n_units))
            self.loss_func = loss_func

    def forward(self, x, contexts):
        e = self.embed(contexts)
        batch_size, n_context, n_units = e.shape
        x = F.broadcast_to(x[:, None], (batch_size, n_context))
        e = F.reshape(e, (batch_size * n_context, n_units))
        x = F.reshape(x, (batch_size * n_context,))
        loss = self.loss_func(e, x)
        reporter.report({"loss": loss}, self)
        return loss


class WindowIterator(chainer.dataset.Iterator):
    def __init__(self, dataset, window, batch_size, repeat=True):
        self.dataset = np.array(dataset, np.int32)
        self.window = window
        self.batch_size = batch_size
        self._repeat = repeat
        self.order = np.random.permutation(len(dataset) - window * 2).astype(np.int32)
        self.order += window
        self.current_position = 0
        self.epoch = 0
        self.is_new_epoch = False

    def __next__(self):
        if not self._repeat and self.epoch > 0:
            raise StopIteration
        i = self.current_position
        i_end = i + self.batch_size
        position = self.order[i:i_end]
        w = np.random.randint(self.window - 1) + 1
        offset = np.concatenate([np.arange(-w, 0), np.arange(1, w + 1)])
        pos = position[:, None] + offset[None, :]
        contexts = self.dataset.take(pos)
        center = self.dataset.take(position)
        if i_end >= len(self.order):
            np.random.shuffle(self.order)
            self.epoch += 1
            self.is_new_epoch = True
            self.current_position = 0
        else:
            self.is_new_epoch = False
            self.current_position = i_end
        return center, contexts

    @property
    def epoch_detail(self):
        return self.epoch + float(self.current_position) / len(self.order)

    def serialize(self, serializer):
        self.current_position = serializer("current_position", self.current_position)
        self.epoch = serializer("epoch", self.epoch)
        self.is_new_epoch = serializer("is_new_epoch", self.is_new_epoch)
        if self.order is not None:
            serializer("order", self.order)


@chainer.dataset.converter()
def convert(batch, device):
    center, contexts = batch
    return device.send(center), device.send(contexts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epoch", "-e", default=8, type=int)
    parser.add_argument("--out", default="result")
    parser.add_argument("--out-type", "-o", choices=["hsm", "ns"], default="ns")
    args = parser.parse_args()
    device = chainer.get_device("-1")
    device.use()
    np.random.seed(0)

    phrases = ["the cat sat on a mat", "one dog ate all its food"]
    words = " ".join(phrases[i % 2] for i in range(60)).split()
    vocab = {}
    for word in words:
        vocab.setdefault(word, len(vocab))
    train = np.array([vocab[word] for word in words], np.int32)
    counts = collections.Counter(train)
    counts.update(collections.Counter(train))
    n_vocab = max(train) + 1
    n_units = 8

    if args.out_type == "hsm":
        HSM = L.BinaryHierarchicalSoftmax
        tree = HSM.create_huffman_tree(counts)
        loss_func = HSM(n_units, tree)
        loss_func.W.array[...] = 0
    else:
        cs = [counts[w] for w in range(len(counts))]
        loss_func = L.NegativeSampling(n_units, cs, 5)
        loss_func.W.array[...] = 0

    model = SkipGram(n_vocab, n_units, loss_func)
    model.to_device(device)
    optimizer = O.Adam(0.02)
    optimizer.setup(model)
    train_iter = WindowIterator(train, 3, 20)
    updater = training.updaters.StandardUpdater(
        train_iter, optimizer, converter=convert, device=device
    )
    trainer = training.Trainer(updater, (args.epoch, "epoch"), out=args.out)
    trainer.extend(extensions.LogReport())
    trainer.extend(extensions.PrintReport(["epoch", "main/loss"]))
    trainer.extend(extensions.ProgressBar())
    trainer.extend(
        extensions.snapshot(filename="snapshot_epoch_{.updater.epoch}"),
        trigger=(args.epoch, "epoch"),
    )
    trainer.run()
    with open("word2vec.model", "w") as f:
        f.write("%d %d\n" % (len(vocab), n_units))
        w = chainer.get_device("@numpy").send(model.embed.W.array)
        for i, wi in enumerate(w):
            v = " ".join(map(str, wi))
            f.write("%s %s\n" % (i, v))


if __name__ == "__main__":
    main()
