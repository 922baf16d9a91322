"""Train a recurrent language model, by default as Chainer's PTB example does.

``--config small|medium|large|test`` are the configurations of TensorFlow's tutorial
(Zaremba, Sutskever, Vinyals, "Recurrent Neural Network Regularization", 2014), quick is
one for small texts. Options given beside it win. Without --data, the text is Python's
own documentation.
"""

import argparse
import math
from pathlib import Path

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, extensions, optimizers, serializers, training
from dyrnn.datasets import load_corpus
from dyrnn.iterators import WindowIterator
from plain_lstm import PlainLSTM
from tensorflow_progress import tensorflow_progress

# fmt: off
SMALL = {"unit": 200, "layers": 2, "bproplen": 20, "batchsize": 20, "keep": 1.0,
         "init": 0.1, "gradclip": 5, "lr": 1.0,  # lr falls after the `flat` epochs
         "flat": 4, "decay": 0.5, "epoch": 13}
MEDIUM = {**SMALL, "unit": 650, "bproplen": 35, "keep": 0.5, "init": 0.05,
          "flat": 6, "decay": 0.8, "epoch": 39}
CONFIGS = {
    "small": SMALL,
    "medium": MEDIUM,
    "large": {**MEDIUM, "unit": 1500, "keep": 0.35, "init": 0.04, "gradclip": 10,
              "flat": 14, "decay": 1 / 1.15, "epoch": 55},
    "chainer": {**MEDIUM, "init": 0.1, "flat": 39, "decay": 1.0},
    "quick": {**SMALL, "unit": 256, "keep": 0.4, "batchsize": 10, "flat": 6,
              "epoch": 10},
    "test": {**SMALL, "unit": 2, "layers": 1, "bproplen": 2, "gradclip": 1,
             "flat": 1, "epoch": 1},
}
# fmt: on
TEST = {"unit": 32, "bproplen": 10, "batchsize": 10, "epoch": 2}  # --test


CELLS = {"fused": L.LSTM, "plain": PlainLSTM, "peephole": L.StatefulPeepholeLSTM}


class RNNForLM(dyrnn.Chain):
    """Embedding, LSTM layers with dropout in between, and a linear layer.

    Ids (B,) of one time step give logits (B, V); ids (T, B) of a window (T, B, V).
    """

    def __init__(self, n_vocab, n_units, n_layers=2, dropout=0.5, cell="fused"):
        super().__init__()
        self.dropout = dropout
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            layers = [CELLS[cell](n_units, n_units) for _ in range(n_layers)]
            self.layers = dyrnn.ChainList(*layers)
            self.out = L.Linear(n_units, n_vocab)

    def forward(self, x):
        h = F.dropout(self.embed(x), self.dropout)
        for layer in self.layers:
            h = F.dropout(layer(h), self.dropout)
        return self.out(h)

    def initialize(self, scale, forget_bias=0.0):
        """Draw all parameters from U(-scale, scale); open the forget gates."""
        for parameter in self.params():
            dyrnn.initializers.Uniform(scale)(parameter.array)
        for layer in self.layers:
            size = layer.upward.b.size // 4
            layer.upward.b.array[size : 2 * size] += forget_bias


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number, positive = command_line.number, command_line.number(int, 1)
    size = "sets --batchsize to --init, where they are not given; see README.md"
    half = "of weights and activations; float16 halves memory, see README.md"
    rounding = "what a GPU may round the factors of products to"
    mode = "call the model once per window, or, much slower, once per time step"
    keep = "probability that dropout keeps"
    decay = "its factor in every epoch after them"
    add = parser.add_argument
    add("--config", choices=CONFIGS, default="chainer", help=size)
    add("--data", help="directory, zip or tgz with ptb.*.txt, a text file, or 'ptb'")
    add("--vocab-size", type=number(int, 2), help="words to keep; default: see --data")
    add("--batchsize", "-b", type=positive, help="sequences side by side")
    add("--bproplen", "-l", type=positive, help="time steps per update")
    add("--epoch", "-e", type=positive, help="passes over the training text")
    add("--unit", "-u", type=positive, help="hidden units per layer")
    add("--layers", type=positive, help="LSTM layers")
    add("--gradclip", "-c", type=number(float, above=0), help="largest gradient norm")
    add("--lr", type=number(float, 0), help="learning rate of the first epochs")
    add("--flat", type=positive, help="epochs before the learning rate falls")
    add("--decay", type=number(float, above=0), help=decay)
    add("--keep", type=number(float, None, 1, above=0), help=keep)
    add("--init", type=number(float, 0), help="first weights are from -init to init")
    add("--forget-bias", type=float, default=0.0, help="added to the forget gates")
    add("--cell", choices=CELLS, default="fused", help="kind of LSTM layer")
    add("--mode", choices=("window", "step"), default="window", help=mode)
    dtypes = ("float16", "float32", "float64")
    precisions = ("float32", "tf32", "bfloat16")
    add("--dtype", choices=dtypes, default="float32", help=half)
    add("--matmul-precision", choices=precisions, default="float32", help=rounding)
    add("--progress", choices=("table", "tensorflow"), default="table", help="format")
    add("--model", "-m", default="model.npz", help="name of the final model's file")
    command_line.add_common_options(parser)
    args = parser.parse_args()
    parser.set_defaults(**{**CONFIGS[args.config], **(TEST if args.test else {})})
    args = parser.parse_args()  # again, with the configuration's defaults
    command_line.check_output(parser, "--model", args.out, args.model)
    return args


def perplexity(model, ids, device):
    """Return exp(mean loss) over all words of a text, read as one sequence."""
    iterator = WindowIterator(ids, 1, min(500, len(ids) - 1), False, remainder=True)
    means = extensions.Evaluator(iterator, model, device=device)()
    extensions.perplexity(means)
    return means["val_perplexity"]


def main():
    args = parse_arguments()
    dyrnn.random.seed(args.seed)
    dyrnn.config.dtype = args.dtype
    dyrnn.config.matmul_precision = args.matmul_precision
    device = dyrnn.get_device(args.device)
    device.use()
    train, valid, test, vocabulary = load_corpus(args.data, size=args.vocab_size)
    if args.test:
        train, valid, test = train[:4001], valid[:500], test[:500]
    print(
        f"words: {len(train):,} to train, {len(valid):,} to validate, "
        f"{len(test):,} to test; vocabulary: {len(vocabulary):,}"
    )

    shape = {"n_units": args.unit, "n_layers": args.layers, "dropout": 1 - args.keep}
    shape["cell"] = args.cell
    rnn = RNNForLM(len(vocabulary), **shape)
    rnn.initialize(args.init, args.forget_bias)
    model = L.Classifier(rnn, accfun=None).to_device(device)
    optimizer = optimizers.SGD(args.lr).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(args.gradclip))

    iterator = WindowIterator(train, args.batchsize, args.bproplen)
    is_window = args.mode == "window"
    updater = training.BPTTUpdater(
        iterator, optimizer, device=device, window=is_window, reset_at_epoch=True
    )
    trainer = training.Trainer(updater, (args.epoch, "epoch"), args.out)

    every = (0.1, "epoch")
    validation = WindowIterator(valid, 1, min(500, len(valid) - 1), False, True)
    trainer.extend(extensions.Evaluator(validation, model, device=device))
    trainer.extend(extensions.observe_lr())
    trainer.extend(extensions.WordsPerSecond())
    log = extensions.LogReport(trigger=every, postprocess=extensions.perplexity)
    trainer.extend(log)
    if args.progress == "tensorflow":
        trainer.extend(tensorflow_progress, trigger=every)
    else:
        columns = "epoch iteration lr perplexity val_perplexity words_per_second"
        trainer.extend(extensions.PrintReport(columns.split()))
        trainer.extend(extensions.ProgressBar())
    losses = ["main/loss", "validation/main/loss"]
    trainer.extend(extensions.PlotReport(losses, "epoch", filename="loss.png"))
    if args.decay != 1:
        later = training.triggers.ManualScheduleTrigger(
            [*range(args.flat, args.epoch)], "epoch"
        )
        trainer.extend(extensions.ExponentialShift("lr", args.decay), trigger=later)
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
