"""Train a recurrent language model, by default as Chainer's PTB example does.

``--config small|medium|large|test`` are the configurations of TensorFlow's tutorial
(Zaremba, Sutskever, Vinyals, "Recurrent Neural Network Regularization", 2014), quick is
one for small texts. Options given beside it win. Without --data, the text is Python's
own documentation.
"""

import argparse
import math
import os
from pathlib import Path

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, extensions, optimizers, serializers, training
from dyrnn.datasets import Vocabulary, load_corpus
from dyrnn.iterators import WindowIterator

# fmt: off
COLUMNS = ("init", "lr", "gradclip", "layers", "bproplen", "unit", "flat", "epoch",
           "keep", "decay", "batchsize")
CONFIGS = {  # flat: epochs before the learning rate starts to be multiplied by decay
    "chainer": (0.1,  1.0,  5, 2, 35,  650, 39, 39, 0.5,  1.0,      20),
    "small":   (0.1,  1.0,  5, 2, 20,  200,  4, 13, 1.0,  0.5,      20),
    "medium":  (0.05, 1.0,  5, 2, 35,  650,  6, 39, 0.5,  0.8,      20),
    "large":   (0.04, 1.0, 10, 2, 35, 1500, 14, 55, 0.35, 1 / 1.15, 20),
    "test":    (0.1,  1.0,  1, 1,  2,    2,  1,  1, 1.0,  0.5,      20),
    "quick":   (0.1,  1.0,  5, 2, 20,  256,  6, 10, 0.4,  0.5,      10),
}
# fmt: on
CONFIG = "sets --batchsize to --init, where they are not given; see README.md"
DTYPES = ("float16", "float32", "float64")
PRECISIONS = ("float32", "tf32", "bfloat16")
PRECISION = "what a GPU may round the factors of products to"
DTYPE_HELP = "of weights and activations; float16 halves memory, see README.md"
MODE_HELP = "call the model once per window, or, much slower, once per time step"
VALIDATION = "validation/main/loss"
TEST = {"unit": 32, "bproplen": 10, "batchsize": 10, "epoch": 2}


class RNNForLM(dyrnn.Chain):
    """Embedding, LSTM layers with dropout in between, and a linear layer.

    Ids (B,) of one time step give logits (B, V); ids (T, B) of a window (T, B, V).
    """

    def __init__(self, n_vocab, n_units, n_layers=2, dropout=0.5, cell="fused"):
        super().__init__()
        self.dropout = dropout
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            self.layers = dyrnn.ChainList(
                *(CELLS[cell](n_units, n_units) for _ in range(n_layers))
            )
            self.out = L.Linear(n_units, n_vocab)

    def forward(self, x):
        h = F.dropout(self.embed(x), self.dropout)
        for layer in self.layers:
            h = F.dropout(layer(h), self.dropout)
        return self.out(h)


class PlainLSTM(dyrnn.Chain):
    """An LSTM written out in elementary functions, to read and to compare with."""

    carried = ("c", "h")
    takes_windows = True

    def __init__(self, in_size, out_size):
        super().__init__()
        with self.init_scope():
            self.upward = L.Linear(in_size, 4 * out_size)
            self.lateral = L.Linear(out_size, 4 * out_size, nobias=True)
        self.out_size = out_size
        self.c = self.h = None

    def forward(self, x):
        if x.ndim == 3:
            return F.stack([self(x[t]) for t in range(len(x))])
        if self.h is None:
            zeros = self.xp.zeros((len(x), self.out_size), x.dtype)
            self.c = self.h = dyrnn.as_variable(zeros)
        gates = self.upward(x) + self.lateral(self.h)
        i, f, g, o = F.split_axis(gates, 4, axis=1)
        self.c = F.sigmoid(f) * self.c + F.sigmoid(i) * F.tanh(g)
        self.h = F.sigmoid(o) * F.tanh(self.c)
        return self.h


CELLS = {"fused": L.LSTM, "plain": PlainLSTM, "peephole": L.StatefulPeepholeLSTM}


def initialize(model, scale, forget_bias=0.0):
    """Draw all parameters from U(-scale, scale); add to the forget gates' biases."""
    draw = dyrnn.initializers.Uniform(scale)
    for parameter in model.params():
        array = np.empty(parameter.shape, parameter.dtype)
        draw(array)
        parameter.array[...] = parameter.device.send(array)
    for layer in model.layers:
        size = layer.upward.b.size // 4
        layer.upward.b.array[size : 2 * size] += forget_bias


def classifier(model):
    """Return the model with its loss, the cross entropy of the next word."""
    return L.Classifier(model, accfun=None)


def perplexity(model, ids, device):
    """Return exp(mean loss) over all words of a text, read as one sequence."""
    iterator = WindowIterator(ids, 1, min(500, len(ids) - 1), False, remainder=True)
    evaluator = extensions.Evaluator(iterator, model, device=device)
    means = evaluator()
    extensions.perplexity(means)
    return means["val_perplexity"]


def tensorflow_progress(trainer):
    """Print the newest row of the log as TensorFlow's tutorial does.

    Perplexity and speed are means over the epoch until now.
    """
    log = trainer.get_extension("LogReport").log
    windows = len(trainer.updater.get_iterator())
    epoch = (log[-1]["iteration"] - 1) // windows
    rows = [row for row in log if row["iteration"] > epoch * windows]
    steps = np.diff([epoch * windows, *(row["iteration"] for row in rows)])
    loss = np.average([row["main/loss"] for row in rows], weights=steps)
    speed = steps.sum() / sum(steps / [row["words_per_second"] for row in rows])
    if len(rows) == 1:
        print(f"Epoch: {epoch + 1} Learning rate: {log[-1]['lr']:.3f}")
    print(
        f"{steps.sum() / windows:.3f} perplexity: {np.exp(loss):.3f} "
        f"speed: {speed:.0f} wps",
        flush=True,
    )
    if steps.sum() == windows:
        print(f"Epoch: {epoch + 1} Train Perplexity: {np.exp(loss):.3f}")
        print(f"Epoch: {epoch + 1} Valid Perplexity: {log[-1]['val_perplexity']:.3f}")


def load_model(path):
    """Return the model and the vocabulary that a training run saved."""
    if not Path(path).exists():
        raise FileNotFoundError(
            f"there is no model {path}: train one first, with "
            "python examples/ptb/train_ptb.py, or name another one with --model"
        )
    metadata = serializers.read_manifest(path)["metadata"]
    if not {"vocabulary", "model"} <= metadata.keys():
        raise ValueError(
            f"{path} is not a model that train_ptb.py saved at its end: give --model "
            "the model.npz in its --out"
        )
    vocabulary = Vocabulary.from_json(metadata["vocabulary"])
    model = RNNForLM(len(vocabulary), **metadata["model"])
    serializers.load_npz(path, model)
    return model, vocabulary


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--config", choices=CONFIGS, default="chainer", help=CONFIG)
    add("--data", help="directory or zip with ptb.*.txt, a text file, or 'ptb'")
    add("--batchsize", "-b", type=number(int, 1), help="sequences side by side")
    add("--bproplen", "-l", type=number(int, 1), help="time steps per update")
    add("--epoch", "-e", type=number(int, 1), help="passes over the training text")
    add("--unit", "-u", type=number(int, 1), help="hidden units per layer")
    add("--layers", type=number(int, 1), help="LSTM layers")
    add("--gradclip", "-c", type=number(float, above=0), help="largest gradient norm")
    add("--lr", type=number(float, 0), help="learning rate of the first epochs")
    add("--flat", type=number(int, 1), help="epochs before the learning rate falls")
    add(
        "--decay",
        type=number(float, above=0),
        help="its factor in every epoch after them",
    )
    add(
        "--keep",
        type=number(float, None, 1, above=0),
        help="probability that dropout keeps",
    )
    add("--init", type=number(float, 0), help="first weights are from -init to init")
    add("--forget-bias", type=float, default=0.0, help="added to the forget gates")
    add("--cell", choices=CELLS, default="fused", help="kind of LSTM layer")
    add("--mode", choices=("window", "step"), default="window", help=MODE_HELP)
    add("--dtype", choices=DTYPES, default="float32", help=DTYPE_HELP)
    add("--matmul-precision", choices=PRECISIONS, default="float32", help=PRECISION)
    add("--progress", choices=("table", "tensorflow"), default="table", help="format")
    add("--model", "-m", default="model.npz", help="name of the final model's file")
    command_line.add_common_options(parser)
    args = parser.parse_args()
    chosen = dict(zip(COLUMNS, CONFIGS[args.config], strict=True))
    if args.test:
        chosen.update(TEST)
    for name, value in chosen.items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    path = Path(args.out) / args.model
    folder = path.parent
    is_ready = folder.is_dir() and os.access(folder, os.W_OK)
    if path.is_dir() or not (is_ready or folder == Path(args.out)):
        parser.error(
            f"argument --model: no file can be written at {path}; give the name of one "
            "in --out, or a path to a directory that is there"
        )
    return args


def main():
    args = parse_arguments()
    dyrnn.random.seed(args.seed)
    dyrnn.config.dtype = args.dtype
    dyrnn.config.matmul_precision = args.matmul_precision
    device = dyrnn.get_device(args.device)
    device.use()
    corpus = load_corpus(args.data)
    train, valid, test, vocabulary = corpus
    if args.test:
        train, valid, test = train[:4001], valid[:500], test[:500]
    print(
        f"words: {len(train):,} to train, {len(valid):,} to validate, "
        f"{len(test):,} to test; vocabulary: {len(vocabulary):,}"
    )

    shape = {"n_units": args.unit, "n_layers": args.layers, "dropout": 1 - args.keep}
    shape["cell"] = args.cell
    rnn = RNNForLM(len(vocabulary), **shape)
    initialize(rnn, args.init, args.forget_bias)
    model = classifier(rnn)
    model.to_device(device)

    optimizer = optimizers.SGD(args.lr).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(args.gradclip))
    iterator = WindowIterator(train, args.batchsize, args.bproplen)
    updater = training.BPTTUpdater(
        iterator,
        optimizer,
        device=device,
        window=args.mode == "window",
        reset_at_epoch=True,
    )
    trainer = training.Trainer(updater, (args.epoch, "epoch"), args.out)

    every = (0.1, "epoch")
    validation = WindowIterator(valid, 1, min(500, len(valid) - 1), False, True)
    trainer.extend(extensions.Evaluator(validation, model, device=device))
    trainer.extend(extensions.observe_lr())
    trainer.extend(extensions.WordsPerSecond())
    trainer.extend(
        extensions.LogReport(trigger=every, postprocess=extensions.perplexity)
    )
    if args.progress == "tensorflow":
        trainer.extend(tensorflow_progress, trigger=every)
    else:
        columns = "epoch iteration lr perplexity val_perplexity words_per_second"
        trainer.extend(extensions.PrintReport(columns.split()))
        trainer.extend(extensions.ProgressBar())
    trainer.extend(
        extensions.PlotReport(["main/loss", VALIDATION], "epoch", filename="loss.png")
    )
    if args.decay != 1:
        trainer.extend(
            extensions.ExponentialShift("lr", args.decay),
            trigger=training.triggers.ManualScheduleTrigger(
                [*range(args.flat, args.epoch)], "epoch"
            ),
        )
    command_line.extend_with_snapshots(
        trainer,
        args,
        trigger=(10, "iteration") if args.test else (1, "epoch"),
        identity={"vocabulary": vocabulary.sha256, "seed": args.seed},
        settings=("lr", "flat", "decay", "keep", "gradclip", "cell", "mode"),
    )
    trainer.run()

    valid_perplexity = perplexity(model, valid, device)
    print(f"valid perplexity: {valid_perplexity:.3f}")
    if not math.isfinite(valid_perplexity):
        raise dyrnn.NonFiniteError(
            "training has diverged: its last validation perplexity is not finite, and "
            "no model was saved. Lower --lr or --gradclip"
        )
    print(f"test perplexity: {perplexity(model, test, device):.3f}")
    path = Path(args.out) / args.model
    metadata = {"vocabulary": vocabulary.to_json(), "model": shape}
    serializers.save_npz(path, rnn, metadata=metadata)
    print(f"model saved: {path}")


if __name__ == "__main__":
    command_line.run(main)
