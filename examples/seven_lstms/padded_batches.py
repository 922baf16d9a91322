"""An LSTM written from Linear layers, and mini-batches padded by the label -1.

Lines of different lengths become the columns of one array, with -1 after the end of the
shorter ones. ``EmbedID(ignore_label=-1)`` gives zeros for it, and the cross entropy
leaves it out: neither the loss nor a gradient knows how much padding there was.
"""

import argparse
import math

from tqdm import tqdm

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, optimizers
from dyrnn.datasets import load_corpus, pad_sequences, split_lines
from dyrnn.iterators import BucketIterator


class MyLSTM(dyrnn.Chain):
    """Long short-term memory, gate by gate."""

    carried = ("c", "h")  # what reset_state() clears

    def __init__(self, in_size, out_size):
        super().__init__()
        self.c = self.h = None
        with self.init_scope():
            self.input = L.Linear(in_size + out_size, out_size)
            self.forget = L.Linear(in_size + out_size, out_size, initial_bias=1)
            self.update = L.Linear(in_size + out_size, out_size)
            self.output = L.Linear(in_size + out_size, out_size)

    def forward(self, x):
        if self.h is None:
            shape = (len(x), self.output.out_size)
            self.c = self.h = self.xp.zeros(shape, x.dtype)
        xh = F.concat((x, self.h), axis=1)
        remembered = F.sigmoid(self.forget(xh)) * self.c
        self.c = remembered + F.sigmoid(self.input(xh)) * F.tanh(self.update(xh))
        self.h = F.sigmoid(self.output(xh)) * F.tanh(self.c)
        return self.h


class LineModel(dyrnn.Chain):
    """The mean cross entropy of the words of padded lines (T, B)."""

    def __init__(self, n_vocab, n_units):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units, ignore_label=-1)
            self.rnn = MyLSTM(n_units, n_units)
            self.out = L.Linear(n_units, n_vocab)

    def forward(self, lines):
        self.reset_state()
        h = F.stack([self.rnn(self.embed(words)) for words in lines[:-1]])
        return F.softmax_cross_entropy(self.out(h), lines[1:], ignore_label=-1)


def train(model, optimizer, data, batch_size):
    """Go through the lines once, those of similar length together."""
    batches = BucketIterator(data, batch_size, repeat=False)
    for batch in tqdm(list(batches), leave=False, disable=None):
        lines, _ = pad_sequences(batch, padding=-1)
        loss = model(model.device.send(lines))
        model.cleargrads()
        loss.backward()
        optimizer.update()


def perplexity(model, data, batch_size=20):
    """Return exp(mean loss) over all words of the lines."""
    total = count = 0
    with dyrnn.using_config("train", False), dyrnn.no_backprop_mode():
        for batch in BucketIterator(data, batch_size, repeat=False, shuffle=False):
            lines, lengths = pad_sequences(batch, padding=-1)
            words = int(lengths.sum()) - len(batch)
            total += model(model.device.send(lines)).item() * words
            count += words
    return math.exp(total / count)


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
    command_line.add_common_options(parser, "result/padded_batches")
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
    model = LineModel(len(vocabulary), args.unit).to_device(device)
    optimizer = optimizers.Adam(0.003).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(5))
    settings = "unit", "batchsize"
    identity = {name: vars(args)[name] for name in settings}
    identity["vocabulary"] = vocabulary.sha256
    for epoch in command_line.epochs(args, optimizer, identity):
        train(model, optimizer, data, args.batchsize)
        print(f"epoch {epoch}: valid perplexity {perplexity(model, held_out):.1f}")


if __name__ == "__main__":
    command_line.run(main)
