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
from dyrnn.iterators import ParallelSequentialIterator, WindowIterator
from plain_lstm import PlainLSTM
from tensorflow_progress import TensorflowProgress

# fmt: off
SMALL = {"unit": 200, "layers": 2, "bproplen": 20, "batchsize": 20, "keep": 1.0,
         "init": 0.1, "gradclip": 5, "batches": "cut",
         "lr": 1.0, "flat": 4,  # lr falls after the `flat` epochs
         "decay": 0.5, "epoch": 13}
MEDIUM = {**SMALL, "unit": 650, "bproplen": 35, "keep": 0.5, "init": 0.05,
          "flat": 6, "decay": 0.8, "epoch": 39}
CONFIGS = {
    "small": SMALL,
    "medium": MEDIUM,
    "large": {**MEDIUM, "unit": 1500, "keep": 0.35, "init": 0.04, "gradclip": 10,
              "flat": 14, "decay": 1 / 1.15, "epoch": 55},
    "chainer": {**MEDIUM, "init": 0.1, "flat": 39, "decay": 1.0,
                "batches": "ring"},
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
    batches = (
        "cut the text and begin anew each epoch, as TensorFlow's tutorial; "
        "or read it as a ring and carry the state on, as Chainer's example"
    )
    mode = "call the model once per window, or, much slower, once per time step"
    keep = "probability that dropout keeps"
    decay = "its factor in every epoch after them"
    add = parser.add_argument
    add("--config", choices=CONFIGS, default="chainer", help=size)
    add("--data", help="directory, zip or tgz with ptb.*.txt, a text file, or 'ptb'")
    add("--vocab-size", type=number(int, 2), help="words to keep; default: see --data")
    add("--batchsize", "-b", type=positive, help="sequences side by side")
    add("--batches", choices=("cut", "ring"), help=batches)
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

    options = {"device": device, "window": args.mode == "window"}
    if args.batches == "ring":  # as Chainer's example
        iterator = ParallelSequentialIterator(train, args.batchsize)
        updater = training.BPTTUpdater(iterator, optimizer, args.bproplen, **options)
    else:
        iterator = WindowIterator(train, args.batchsize, args.bproplen)
        updater = training.BPTTUpdater(
            iterator, optimizer, reset_at_epoch=True, **options
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
        trainer.extend(TensorflowProgress())
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
        decode=vocabulary.decode,
    )
    trainer.run()

    if not command_line.is_first():  # of several processes, see --distributed
        return
    valid_perplexity = perplexity(model, valid, device)
    as_there = args.progress == "tensorflow"  # which has printed it
    if not as_there:
        print(f"valid perplexity: {valid_perplexity:.3f}")
    if not math.isfinite(valid_perplexity):
        raise dyrnn.NonFiniteError(
            "training has diverged: its last validation perplexity is not finite, and "
            "no model was saved. Lower --lr or --gradclip"
        )
    test_perplexity = perplexity(model, test, device)
    print(
        f"{'Test Perplexity' if as_there else 'test perplexity'}: {test_perplexity:.3f}"
    )
    path = Path(args.out) / args.model
    metadata = {"vocabulary": vocabulary.to_json(), "model": shape}
    if as_there:
        print(f"Saving model to {path}.")
    serializers.save_npz(path, rnn, metadata=metadata)
    if not as_there:
        print(f"model saved: {path}")


if __name__ == "__main__":
    command_line.run(main)
