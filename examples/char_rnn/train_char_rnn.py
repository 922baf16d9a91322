"""Train a GRU language model of short texts, such as tweets, one a line.

Lines are cut into overlapping windows, padded with id 0 at their ends; the loss is that
of the tokens alone. Every few hundred updates the model is evaluated and continues a
few beginnings. Without --text, the text is Python's own documentation.

    train_char_rnn.py --text your.txt
    train_char_rnn.py --sample-only --model result/char_rnn/best.npz --length 10000
    train_char_rnn.py --preset tweets --data tweets.txt

Samples are drawn from softmax(logits / temperature). The preset changes the defaults to
those of the program that this one is modelled on, which draws from
softmax(exp(logits / temperature)) and sees one-hot characters of a fixed alphabet.
"""

import argparse
import math
import sys
import time
from pathlib import Path

from tqdm import tqdm

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import (
    command_line,
    console,
    extensions,
    optimizers,
    sampling,
    serializers,
    training,
)
from dyrnn.datasets import (
    PaddedWindows,
    Vocabulary,
    concat_examples,
    python_text,
    read_text,
    sequence_lengths,
    split_text,
)
from dyrnn.iterators import SerialIterator
from dyrnn.training.triggers import MinValueTrigger, TimeTrigger

LOSS, VALIDATION = "main/loss", "validation/main/loss"
LEVEL = "what the tokens are"
UNIT = "sizes of the GRU layers, the first one on the embedding"
MASK = "padding is left out of the loss alone, or not computed at all; same results"
ALPHABET = "the characters to keep: others are dropped; default: those of the text"
DRAW = "samples are drawn from softmax(logits / temperature) or softmax(exp(...))"

PRESETS = {
    "tweets": {
        "alphabet": " $%'()+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        '"_abcdefghijklmnopqrstuvwxyz{|}#➡📈',
        "one_hot": True,
        "unit": [128, 256],
        "window": 50,
        "overlap": 25,
        "batchsize": 64,
        "loss": "sum",
        "lr": 3e-4,
        "gradclip": None,
        "prime": ["Hillary", *"IRT@NM.GAW"],
        "length": 200,
        "temperature": 1.5,
        "draw": "exp",
        "progress": "lines",
        "resume": "auto",
        "out": "result/tweets",
    }
}


class CharRNN(dyrnn.Chain):
    """Embedding or one-hot vectors, stacked GRUs, and a linear layer.

    Id 0 is the padding, and id i + 1 is token i of the vocabulary: ids (B,), or (T, B)
    for a window, give logits (B, V) or (T, B, V) of the next token.
    """

    def __init__(self, n_vocab, units=(128, 256), one_hot=False):
        super().__init__()
        self.n_ids = n_vocab + 1
        self.one_hot = one_hot
        with self.init_scope():
            if not one_hot:
                self.embed = L.EmbedID(self.n_ids, units[0], ignore_label=0)
            n_in = self.n_ids if one_hot else units[0]
            sizes = zip([n_in, *units], units, strict=False)
            self.layers = dyrnn.ChainList(*(L.GRU(*pair) for pair in sizes))
            self.out = L.Linear(units[-1], n_vocab)

    def forward(self, x):
        return self.out(self.states(x))

    def states(self, x, lengths=None):
        """Return the outputs of the last GRU; with lengths, 0 after each one's end."""
        h = F.one_hot(x, self.n_ids) if self.one_hot else self.embed(x)
        for layer in self.layers:
            if lengths is None:
                h = layer(h)
            else:
                up, lateral = layer.upward, layer.lateral
                layer.h, h = F.gru_window(
                    h, layer.h, up.W, lateral.W, up.b, lateral.b, lengths
                )
        return h


class MaskedLoss(dyrnn.Chain):
    """The mean or summed cross entropy of the tokens of padded windows (T, B).

    ``mask="loss"`` computes all steps, and leaves the padding out of the mean.
    ``mask="length"`` stops each sequence at its end, and computes logits of tokens
    only. Loss and gradients are the same. The mean is reported as "loss", whichever is
    returned; the sum as "sum".
    """

    def __init__(self, predictor, mask, reduce="mean"):
        super().__init__()
        self.mask = mask
        self.reduce = reduce
        with self.init_scope():
            self.predictor = predictor

    def forward(self, x):
        self.predictor.reset_state()
        x, t = x[:-1], x[1:]
        if self.mask == "loss":
            logits = self.predictor(x)
            labels = t - 1  # the padding becomes -1, which does not count
        else:
            h = self.predictor.states(x, sequence_lengths(t))
            logits = self.predictor.out(h[t > 0])
            labels = t[t > 0] - 1
        loss = F.softmax_cross_entropy(logits, labels)
        count = (t > 0).sum()
        dyrnn.report({"loss": loss}, self, weight=count)
        if self.reduce == "mean":
            return loss
        loss = loss * count
        dyrnn.report({"sum": loss}, self)
        return loss


class Text:
    """Lines as sequences of ids, each from a line end to the next one."""

    def __init__(self, text, vocabulary):
        lines = [line for line in text.split("\n") if line]
        if not lines:
            raise ValueError(
                "a part of the text, to train, validate or test with, has no lines: "
                "it is too short, or no character of it is in the --alphabet"
            )
        self.sequences = [vocabulary.encode(f"\n{line}\n") + 1 for line in lines]
        self.sequences.sort(key=len)  # lines of like lengths need little padding
        tokens = sum(map(len, self.sequences)) - len(lines)
        self.characters = sum(map(len, lines)) + len(lines)
        # Turns nats per token into bits per character.
        self.bits = tokens / self.characters / math.log(2)

    def whole_lines(self, limit=500):
        """Return windows as long as the longest line, if it is within the limit."""
        return PaddedWindows(self.sequences, min(limit, len(self.sequences[-1])), 1)


def to_batch(windows, device):
    """Make one array (T, B) of windows, without steps that are all padding."""
    x = concat_examples(windows).T
    return device.send(x[: sequence_lengths(x).max()])


class Sampler(training.Extension):
    """Continues several beginnings of lines, and prints what comes out."""

    def __init__(self, model, vocabulary, seeds, length, temperature, draw="softmax"):
        self.model = model
        self.vocabulary = vocabulary
        self.seeds = seeds
        self.length = length
        self.temperature = temperature
        self.draw = draw

    def __call__(self, trainer):
        tqdm.write(f"samples after iteration {trainer.updater.iteration}:")
        for seed in self.seeds:
            text = "".join(self.sample(seed)).rstrip("\n")
            tqdm.write("    " + text.replace("\n", "\n    "))

    def sample(self, seed):
        """Yield lines, the first one beginning with ``seed``."""
        if self.vocabulary.level == "char" and "<unk>" not in self.vocabulary:
            seed = "".join(c for c in seed if c in self.vocabulary)  # as in the text
        prime = self.vocabulary.encode("\n" + seed)
        line = [*prime[1:]]
        temperature = 1.0 if self.draw == "exp" else self.temperature
        for i in sampling.generate(self.predict, prime, self.length, temperature):
            line.append(i)
            if self.vocabulary.words[i] == "<eos>":
                yield console.harmless(self.vocabulary.decode(line))
                line = []
        yield console.harmless(self.vocabulary.decode(line))

    def predict(self, ids):
        """Return logits; the state is carried, but each line starts from a fresh one.

        That is how it was in training.
        """
        if self.vocabulary.words[ids[0]] == "<eos>":
            self.model.reset_state()
        logits = self.model(self.model.device.send(ids + 1))
        return F.exp(logits / self.temperature) if self.draw == "exp" else logits


def is_described(units, n_vocab, arrays):
    """Whether the arrays of a file are of this model: nothing larger is made."""
    if not (isinstance(units, list) and units and all(type(n) is int for n in units)):
        return False
    shapes = {key: list(array["shape"]) for key, array in arrays.items()}
    layers = {key.split("/")[1] for key in arrays if key.startswith("layers/")}
    return (
        # One-hot vectors need no embedding.
        shapes.get("embed/W", [n_vocab + 1, units[0]]) == [n_vocab + 1, units[0]]
        and shapes.get("out/W", [])[:1] == [n_vocab]
        and len(layers) == len(units)
        and all(
            shapes.get(f"layers/{i}/lateral/W", [])[-1:] == [n]
            for i, n in enumerate(units)
        )
    )


def load_model(path):
    """Return the model and the vocabulary that a training run saved."""
    if not Path(path).exists():
        raise FileNotFoundError(
            f"there is no model {path}: train one first, with "
            "python examples/char_rnn/train_char_rnn.py, or name another one with "
            "--model"
        )
    manifest = serializers.read_manifest(path)
    metadata = manifest["metadata"]
    if not {"vocabulary", "units"} <= metadata.keys():
        raise ValueError(
            f"{path} is not a model that train_char_rnn.py saved: give --model the "
            "best.npz in its --out"
        )
    vocabulary = Vocabulary.from_json(metadata["vocabulary"])
    if not is_described(metadata["units"], len(vocabulary), manifest["arrays"]):
        raise ValueError(
            f"{path} describes its model as units {metadata['units']!r:.200}, of "
            f"{len(vocabulary)} tokens, which its arrays are not of"
        )
    one_hot = metadata.get("one_hot", False)
    model = CharRNN(len(vocabulary), metadata["units"], one_hot)
    serializers.load_npz(path, model)
    return model, vocabulary


def sample_only(args, device):
    """Print text from a saved model, and how fast it came."""
    model, vocabulary = load_model(args.model or Path(args.out) / "best.npz")
    model.to_device(device)
    sampler = Sampler(
        model, vocabulary, args.prime, args.length, args.temperature, args.draw
    )
    start, count = time.perf_counter(), 0
    for seed in args.prime:
        for text in sampler.sample(seed):
            print(text, end="", flush=True)
            count += len(text)
        print()
    seconds = time.perf_counter() - start
    print(
        f"{count:,} characters in {seconds:.1f} s: {count / seconds:,.0f} characters/s",
        file=sys.stderr,
    )


def read_parts(args):
    """Return the texts to train, validate and test with."""
    text = python_text() if args.text is None else read_text(args.text)
    if args.alphabet is not None:
        kept = {"\n", *args.alphabet}
        text = "".join(character for character in text if character in kept)
    return split_text(text)


def make_vocabulary(text, args):
    """Return the fixed alphabet, or the vocabulary of the training text."""
    if args.alphabet is not None:
        return Vocabulary(["<eos>", *dict.fromkeys(args.alphabet)], "char")
    if args.level == "subword":
        sizes = {"size": args.words, "syllables": args.syllables}
        return Vocabulary.from_text(text, "subword", **sizes)
    size = args.words if args.level == "word" else None
    return Vocabulary.from_text(text, args.level, size, args.min_count, unk=True)


class PrintLoss(training.Extension):
    """Prints the loss of the last batch, and the seconds so far, in one line."""

    def __init__(self, reduce):
        self.key = "main/sum" if reduce == "sum" else LOSS

    def __call__(self, trainer):
        loss = float(trainer.observation[self.key])
        iteration = trainer.updater.iteration
        tqdm.write(f"Iter {iteration}. Loss {loss}. Time {trainer.elapsed_time}")


def draw(figure, log):
    """Plot the bits per character over the iterations."""
    axes = figure.add_subplot(xlabel="iteration", ylabel="bits per character")
    for name, label in (("bpc", "training"), ("val_bpc", "validation")):
        rows = [row for row in log if name in row]
        x, y = ([row[key] for row in rows] for key in ("iteration", name))
        axes.plot(x, y, marker=".", label=label)
    axes.grid(True, alpha=0.3)
    axes.legend()


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--preset", choices=PRESETS, help="other defaults than those named here")
    add("--text", "--data", help="a text file, one text a line")
    add("--level", choices=("char", "word", "subword"), default="char", help=LEVEL)
    add("--words", type=number(int, 2), default=5000, help="most frequent words kept")
    add("--syllables", type=number(int, 0), default=2000, help="... and syllables")
    add("--min-count", type=number(int, 1), default=5, help="rarer ones are <unk>")
    add("--unit", "-u", type=number(int, 1), nargs="+", default=[128, 256], help=UNIT)
    add("--alphabet", help=ALPHABET)
    add("--one-hot", action="store_true", help="one-hot input, not an embedding")
    add("--window", type=number(int, 2), default=50, help="tokens of a window")
    add(
        "--overlap", type=number(int, 1), default=25, help="tokens shared with the next"
    )
    add("--batchsize", "-b", type=number(int, 1), default=64, help="windows")
    add("--mask", choices=("loss", "length"), default="length", help=MASK)
    add("--loss", choices=("mean", "sum"), default="mean", help="over a batch's tokens")
    add("--epoch", "-e", type=number(float, 0), default=10, help="passes over the text")
    add(
        "--minutes",
        type=number(float, above=0),
        help="train so long, whatever the epoch",
    )
    add("--lr", type=number(float, 0), default=3e-4, help="of Adam")
    add(
        "--decay",
        type=number(float, None, 1, above=0),
        default=1.0,
        help="of the learning rate",
    )
    add("--decay-steps", type=number(int, 1), default=1000, help="updates per decay")
    add("--staircase", action="store_true", help="decay all at once, not bit by bit")
    add(
        "--gradclip",
        "-c",
        type=number(float, above=0),
        default=5.0,
        help="largest norm",
    )
    add("--every", type=number(int, 1), default=500, help="updates per table row")
    add("--prime", "-p", nargs="+", default=["the", "a", "it"], help="for samples")
    add("--length", "-n", type=number(int, 0), default=100, help="tokens to sample")
    add("--temperature", type=number(float, 0), default=0.8, help="0: likeliest tokens")
    add("--draw", choices=("softmax", "exp"), default="softmax", help=DRAW)
    add("--progress", choices=("table", "lines"), default="table", help="what to print")
    add("--sample-only", action="store_true", help="train nothing: sample a model")
    add("--model", "-m", help="the model to sample; default: best.npz in --out")
    command_line.add_common_options(parser, "result/char_rnn")
    preset = parser.parse_known_args()[0].preset
    if preset is not None:
        parser.set_defaults(**PRESETS[preset])
    args = parser.parse_args()
    if args.test:
        args.unit, args.epoch, args.every, args.length = [16, 16], 0.2, 10, 20
        args.batchsize, args.lr = 20, 3e-3
    if args.overlap >= args.window:
        parser.error("--overlap must be less than --window")
    if args.alphabet is not None and args.level != "char":
        parser.error("argument --alphabet: is for --level char")
    if args.draw == "exp" and args.temperature == 0:
        parser.error("argument --temperature: must be more than 0 with --draw exp")
    if args.model and not args.sample_only:
        parser.error("argument --model: is for --sample-only; training writes to --out")
    return args


def main():
    args = parse_arguments()
    dyrnn.random.seed(args.seed)
    device = dyrnn.get_device(args.device)
    device.use()
    if args.sample_only:
        sample_only(args, device)
        return
    parts = read_parts(args)
    vocabulary = make_vocabulary(parts[0], args)
    train, valid, test = (Text(part, vocabulary) for part in parts)
    print(
        f"{train.characters:,} / {valid.characters:,} / {test.characters:,} characters "
        f"to train on,\nvalidate and test with; vocabulary of {len(vocabulary):,}"
    )

    rnn = CharRNN(len(vocabulary), args.unit, args.one_hot)
    model = MaskedLoss(rnn, args.mask, args.loss)
    optimizer = optimizers.Adam(args.lr).setup(model)
    if args.gradclip is not None:
        optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(args.gradclip))
    windows = PaddedWindows(train.sequences, args.window, args.overlap)
    iterator = SerialIterator(windows, args.batchsize)
    updater = training.StandardUpdater(iterator, optimizer, to_batch, device)
    stop = (args.epoch, "epoch")
    if args.minutes is not None:
        stop = TimeTrigger(60 * args.minutes)
    trainer = training.Trainer(updater, stop, args.out)

    def evaluator(text):
        batches = SerialIterator(text.whole_lines(), args.batchsize, False, False)
        return extensions.Evaluator(batches, model, to_batch, device)

    def add_bits(row):
        for name, key, text in (("bpc", LOSS, train), ("val_bpc", VALIDATION, valid)):
            if key in row:
                row[name] = row[key] * text.bits

    every = (args.every, "iteration")
    trainer.extend(evaluator(valid), trigger=every)
    trainer.extend(extensions.observe_lr())
    trainer.extend(extensions.WordsPerSecond("tokens_per_second"))
    log = extensions.LogReport(trigger=every, postprocess=add_bits)
    trainer.extend(log)
    if args.progress == "table":
        columns = "epoch iteration lr bpc val_bpc tokens_per_second elapsed_time"
        trainer.extend(extensions.PrintReport(columns.split()))
    else:
        trainer.extend(PrintLoss(args.loss), trigger=every)
    trainer.extend(
        Sampler(rnn, vocabulary, args.prime, args.length, args.temperature, args.draw),
        trigger=every,
    )
    trainer.extend(extensions.ProgressBar())
    steps = args.decay_steps if args.staircase else 1
    rate = args.decay ** (steps / args.decay_steps)
    trainer.extend(
        extensions.ExponentialShift("lr", rate), trigger=(steps, "iteration")
    )
    metadata = {
        "vocabulary": vocabulary.to_json(),
        "units": args.unit,
        "one_hot": args.one_hot,
    }
    is_best = MinValueTrigger(VALIDATION, every)
    best = extensions.snapshot_object(rnn, "best.npz", metadata=metadata)
    trainer.extend(best, "best", is_best)
    command_line.extend_with_snapshots(
        trainer,
        args,
        trigger=every,
        identity={"vocabulary": vocabulary.sha256, "units": args.unit},
        settings="window overlap mask loss lr decay decay_steps gradclip".split(),
        decode=lambda ids: vocabulary.decode(ids[ids > 0] - 1),
    )
    trainer.run()

    path = Path(args.out) / "best.npz"
    best_loss, last_loss = is_best.best_value, evaluator(valid)()[VALIDATION]
    if best_loss is None or last_loss < best_loss:
        serializers.save_npz(path, rnn, metadata=metadata)
    serializers.load_npz(path, rnn)
    bits = evaluator(test)()[VALIDATION] * test.bits
    print(f"test: {bits:.4f} bits per character, with {path}")
    picture = Path(args.out) / "bpc.png"
    if extensions.save_figure(picture, lambda f: draw(f, log.log), (6, 3.6), 80):
        print(f"picture: {picture}")


if __name__ == "__main__":
    command_line.run(main)
