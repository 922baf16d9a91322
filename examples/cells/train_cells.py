"""Which recurrent cell remembers the first symbol of a sequence?

Sequences of 2 to --length symbols are read, and at the end the network shall say which
symbol was the first one. What follows it is noise, so it must be kept all the way:
plain networks forget, gates remember, and a backward run reads it last.
"""

import argparse

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, extensions, optimizers, training
from dyrnn.datasets import pad_sequences
from dyrnn.iterators import BucketIterator, SerialIterator

SYMBOLS = 8
CELLS = {  # from the sizes of input and output
    "elman": L.ElmanRNN,
    "relu": lambda i, o: L.ElmanRNN(i, o, F.relu),
    "jordan": lambda i, o: L.JordanRNN(i, o, o, output_activation=F.tanh),
    "lstm": L.LSTM,
    "peephole": L.StatefulPeepholeLSTM,
    "zoneout": lambda i, o: L.StatefulZoneoutLSTM(i, o, 0.1, 0.1),
    "gru": L.GRU,
    "stateful-gru": L.StatefulGRU,
    "mgu": L.MGU,
}


class Stack(dyrnn.Chain):
    """Layers of a cell over padded sequences (T, B), in one direction or both.

    The output is that of the last step of each sequence, as classes.
    """

    def __init__(self, cell, n_units, n_layers, bidirectional, dropout):
        super().__init__()
        self.dropout = dropout
        n_outputs = n_units * (1 + bidirectional)
        sizes = [n_units] + [n_outputs] * (n_layers - 1)
        with self.init_scope():
            self.embed = L.EmbedID(SYMBOLS, n_units, ignore_label=-1)
            self.forwards = dyrnn.ChainList(*(cell(i, n_units) for i in sizes))
            self.backwards = dyrnn.ChainList(
                *(cell(i, n_units) for i in sizes if bidirectional)
            )
            self.out = L.Linear(n_outputs, SYMBOLS)

    def forward(self, x, lengths):
        self.reset_state()
        steps, batch = self.xp.arange(len(x))[:, None], self.xp.arange(x.shape[1])
        # What a sequence's steps are if it is read backward; padding stays at the end.
        turned = self.xp.where(steps < lengths, lengths - 1 - steps, steps)
        h = self.embed(x)
        for k, layer in enumerate(self.forwards):
            h = F.dropout(h, self.dropout)
            y = layer(h)
            last = y[lengths - 1, batch]
            if len(self.backwards):
                backward = self.backwards[k](h[turned, batch])
                # Its last step is the sequence's first.
                last = F.concat((last, backward[lengths - 1, batch]), axis=1)
                y = F.concat((y, backward[turned, batch]), axis=2)
            h = y
        return self.out(F.dropout(last, self.dropout))


def make_data(generator, n, length):
    """Return ``n`` pairs of a sequence of symbols and the symbol to remember."""
    lengths = generator.integers(2, length + 1, n)
    sequences = [generator.integers(0, SYMBOLS, k).astype(np.int32) for k in lengths]
    return [(sequence, sequence[0]) for sequence in sequences]


def padded(batch, device):
    """Return sequences (T, B) padded by -1, their lengths, and the labels (B,)."""
    sequences, labels = zip(*batch, strict=True)
    x, lengths = pad_sequences(sequences)
    return tuple(map(device.send, (x, lengths, np.array(labels, np.int32))))


def padding(iterator):
    """Return which share of the steps of an epoch's batches is padding."""
    steps = full = 0
    for batch in iterator:
        lengths = [len(sequence) for sequence, _ in batch]
        steps += sum(lengths)
        full += max(lengths) * len(lengths)
    return 1 - steps / full


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--cell", choices=CELLS, default="lstm", help="kind of layer")
    add("--layers", type=number(int, 1), default=1, help="layers on each other")
    add("--bidirectional", action="store_true", help="read in both directions")
    add("--bucket", action="store_true", help="batches of sequences of similar length")
    add("--dropout", type=number(float, 0, 0.9), default=0.0, help="around the cells")
    add("--length", type=number(int, 2), default=80, help="of the longest sequence")
    add("--unit", "-u", type=number(int, 1), default=32, help="size of a layer")
    add("--batchsize", "-b", type=number(int, 1), default=32, help="sequences")
    add("--epoch", "-e", type=number(int, 1), help="passes over the data; default: 10")
    command_line.add_common_options(parser, "result/cells")
    args = parser.parse_args()
    args.epoch = args.epoch or (2 if args.test else 10)

    dyrnn.random.seed(args.seed)
    device = dyrnn.get_device(args.device)
    device.use()
    sizes = (4000, 1000)
    if args.test:
        args.length, sizes = 6, (1000, 200)
    generator = np.random.default_rng(args.seed)
    data, held_out = (make_data(generator, n, args.length) for n in sizes)
    stack = Stack(
        CELLS[args.cell], args.unit, args.layers, args.bidirectional, args.dropout
    )
    model = L.Classifier(stack)
    optimizer = optimizers.Adam(0.003).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(1.0))
    iterator_of = BucketIterator if args.bucket else SerialIterator
    share = padding(iterator_of(data, args.batchsize, repeat=False))
    print(f"padding: {100 * share:.0f} % of the steps")

    iterator = iterator_of(data, args.batchsize)
    updater = training.StandardUpdater(iterator, optimizer, padded, device)
    trainer = training.Trainer(updater, (args.epoch, "epoch"), args.out)
    validation = BucketIterator(held_out, 100, repeat=False, shuffle=False)
    evaluator = extensions.Evaluator(validation, model, padded, device)
    trainer.extend(evaluator)
    trainer.extend(extensions.LogReport())
    values = ["main/loss", "main/accuracy", "validation/main/accuracy", "elapsed_time"]
    trainer.extend(extensions.PrintReport(["epoch", *values]))
    trainer.extend(extensions.ProgressBar())
    settings = "cell", "layers", "bidirectional", "bucket", "dropout", "length"
    command_line.extend_with_snapshots(trainer, args, (1, "epoch"), settings=settings)
    trainer.run()

    for name, low, high in (("short", 0, 0.5), ("long", 0.5, 1)):
        part = [d for d in held_out if low < len(d[0]) / args.length <= high]
        iterator = BucketIterator(part, len(part), repeat=False, shuffle=False)
        means = extensions.Evaluator(iterator, model, padded, device)()
        print(f"accuracy, {name} half: {100 * means['validation/main/accuracy']:.1f} %")


if __name__ == "__main__":
    command_line.run(main)
