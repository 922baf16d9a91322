"""Read digits row by row, or pixel by pixel, and say which they are.

scikit-learn's handwritten digits are pictures of 8 by 8 pixels: 8 steps of 8 numbers,
or with --by pixel 64 steps of one, as MNIST is read in papers about long dependencies.
The output of the last step is what the answer comes from.
"""

import argparse

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, extensions, optimizers, training
from dyrnn.datasets import time_major
from dyrnn.iterators import SerialIterator

CELLS = {"lstm": L.LSTM, "gru": L.GRU, "elman": L.ElmanRNN, "mgu": L.MGU}


class Reader(dyrnn.Chain):
    """Logits (B, 10) of pictures (T, B, I), a step a row or pixel."""

    def __init__(self, cell, n_units, bidirectional):
        super().__init__()
        self.bidirectional = bidirectional
        rnn = cell(n_units)
        with self.init_scope():
            self.rnn = L.Bidirectional(rnn, cell(n_units)) if bidirectional else rnn
            self.out = L.Linear(10)

    def forward(self, x):
        self.reset_state()
        y = self.rnn(x)
        if not self.bidirectional:
            return self.out(y[-1])
        ahead, back = F.split_axis(y, 2, axis=2)  # the way back ends at the first step
        return self.out(F.concat((ahead[-1], back[0]), axis=1))


def load(by: str) -> tuple[list, list]:
    """Return 1,347 pictures (T, I) with their digits to train with, and 450 to test.

    The writers of the last quarter wrote none of the others.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise FileNotFoundError(
            "the digits are part of scikit-learn: pip install scikit-learn, or "
            "pip install '.[digits]' in a checkout"
        ) from None
    digits = load_digits()
    pictures = (digits.images / 16).astype(np.float32)
    if by == "pixel":
        pictures = pictures.reshape(-1, 64, 1)
    examples = list(zip(pictures, digits.target.astype(np.int32), strict=True))
    return examples[:1347], examples[1347:]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--by", choices=("row", "pixel"), default="row", help="what a step reads")
    add("--cell", choices=CELLS, default="lstm", help="kind of layer")
    add("--bidirectional", action="store_true", help="read from the end, too")
    add("--unit", "-u", type=number(int, 1), default=64, help="size of the layer")
    add("--batchsize", "-b", type=number(int, 1), default=32, help="pictures")
    add("--epoch", "-e", type=number(int, 1), help="passes over the data; default: 20")
    command_line.add_common_options(parser, "result/digits")
    args = parser.parse_args()
    args.epoch = args.epoch or (2 if args.test else 20)

    dyrnn.random.seed(args.seed)
    device = dyrnn.get_device(args.device)
    device.use()
    data, held_out = load(args.by)
    reader = Reader(CELLS[args.cell], args.unit, args.bidirectional)
    model = L.Classifier(reader)
    optimizer = optimizers.Adam(0.003).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(1.0))
    iterator = SerialIterator(data, args.batchsize)
    updater = training.StandardUpdater(iterator, optimizer, time_major, device)
    trainer = training.Trainer(updater, (args.epoch, "epoch"), args.out)
    validation = SerialIterator(held_out, 150, repeat=False, shuffle=False)
    trainer.extend(extensions.Evaluator(validation, model, time_major, device))
    trainer.extend(extensions.LogReport())
    values = ["main/loss", "main/accuracy", "validation/main/accuracy", "elapsed_time"]
    trainer.extend(extensions.PrintReport(["epoch", *values]))
    trainer.extend(extensions.ProgressBar())
    settings = "by", "cell", "bidirectional", "unit", "batchsize"
    command_line.extend_with_snapshots(trainer, args, (1, "epoch"), settings=settings)
    trainer.run()

    means = extensions.Evaluator(validation, model, time_major, device)()
    print(f"accuracy: {100 * means['validation/main/accuracy']:.1f} % of 450 digits")


if __name__ == "__main__":
    command_line.run(main)
