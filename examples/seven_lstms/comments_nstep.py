"""A language model of lines of text of any length, each from a fresh state: NStepLSTM.

A mini-batch is a list of arrays, one for each line, in no order and without padding.
The network runs them side by side, and its output rows, put below each other, are
compared with the words that come next, all in one softmax.
"""

import argparse

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, extensions, optimizers, training
from dyrnn.datasets import load_corpus, split_lines
from dyrnn.iterators import SerialIterator


class LineModel(dyrnn.Chain):
    """The mean cross entropy of the words of lines, given the words before them."""

    def __init__(self, n_vocab, n_units, n_layers=2):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            self.rnn = L.NStepLSTM(n_layers, n_units, n_units, dropout=0.3)
            self.out = L.Linear(n_units, n_vocab)

    def forward(self, lines):
        xs = [F.dropout(self.embed(line[:-1]), 0.3) for line in lines]
        _, _, ys = self.rnn(None, None, xs)
        y = self.out(F.dropout(F.concat(ys, axis=0), 0.3))
        t = self.xp.concatenate([line[1:] for line in lines])
        loss = F.softmax_cross_entropy(y, t)
        dyrnn.report({"loss": loss}, self, weight=len(t))
        return loss


def to_arrays(batch, device):
    """Return the arguments of the model: one, a list of arrays."""
    return ([device.send(line) for line in batch],)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--data", help="a text file; default: Python's documentation")
    add("--epoch", "-e", type=number(int, 1), help="passes over the text; default: 4")
    add("--unit", "-u", type=number(int, 1), default=100, help="size of a layer")
    add("--batchsize", "-b", type=number(int, 1), default=20, help="lines")
    command_line.add_common_options(parser, "result/comments_nstep")
    args = parser.parse_args()
    args.epoch = args.epoch or (1 if args.test else 4)

    dyrnn.random.seed(args.seed)
    device = dyrnn.get_device(args.device)
    device.use()
    words, valid, _, vocabulary = load_corpus(args.data)
    eos = vocabulary.ids.get("<eos>")
    data, held_out = split_lines(words, eos), split_lines(valid, eos)
    if args.test:
        data, held_out = data[:300], held_out[:50]
    model = LineModel(len(vocabulary), args.unit)
    optimizer = optimizers.Adam(0.005).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(5))
    iterator = SerialIterator(data, args.batchsize)
    updater = training.StandardUpdater(iterator, optimizer, to_arrays, device)
    trainer = training.Trainer(updater, (args.epoch, "epoch"), args.out)
    validation = SerialIterator(held_out, 20, repeat=False, shuffle=False)
    trainer.extend(extensions.Evaluator(validation, model, to_arrays, device))
    trainer.extend(extensions.LogReport(postprocess=extensions.perplexity))
    columns = ["epoch", "perplexity", "val_perplexity", "elapsed_time"]
    trainer.extend(extensions.PrintReport(columns))
    trainer.extend(extensions.ProgressBar())
    identity = {"vocabulary": vocabulary.sha256, "seed": args.seed}
    command_line.extend_with_snapshots(trainer, args, (1, "epoch"), identity)
    trainer.run()


if __name__ == "__main__":
    command_line.run(main)
