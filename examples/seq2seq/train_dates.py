"""Learn to write dates as people write them in ISO form, character by character.

A bidirectional LSTM reads "Tuesday, 4 May 1993", another LSTM writes "1993-05-04" and
attends to what was read; a beam search finds the likeliest answer.
"""

import argparse
from datetime import date, timedelta
from pathlib import Path

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import (
    command_line,
    extensions,
    optimizers,
    sampling,
    serializers,
    training,
)
from dyrnn.datasets import Dataset, pad_sequences
from dyrnn.iterators import SerialIterator

FORMS = (
    "{:%d/%m/%Y}",
    "{:%-d %B %Y}",
    "{:%A, %-d %B %Y}",
    "{:%B %-d, %Y}",
    "{:%a %-d %b %Y}",
    "{:%b %-d %Y}",
    "{:%-d.%-m.%Y}",
    "{:%Y年%-m月%-d日}",
)
START, STOP = "<", ">"
CHARACTERS = sorted(
    {
        c
        for d in range(400)
        for f in FORMS
        for c in f.format(date(2001, 1, 1) + timedelta(d))
    }
    | set("0123456789-" + START + STOP)
)
IDS = {character: i for i, character in enumerate(CHARACTERS)}


def encode(text):
    unknown = [c for c in text if c not in IDS]
    if unknown:
        raise ValueError(f"{text!r} has {unknown[0]!r}, which no date is written with")
    return np.array([IDS[c] for c in text], np.int32)


class Dates(Dataset):
    """Days from 1900 to 2099 in random forms, and in ISO form."""

    def __init__(self, n, seed):
        self.n, self.seed = n, seed

    def __len__(self):
        return self.n

    def get_example(self, i):
        rng = np.random.default_rng((self.seed, i))
        day = date(1900, 1, 1) + timedelta(int(rng.integers(73049)))
        return rng.choice(FORMS).format(day), day.isoformat()


def to_arrays(batch, device):
    """Return ids (T, B) and their lengths, and the targets (S, B) with their marks."""
    x, lengths = pad_sequences([encode(text) for text, _ in batch], padding=0)
    t, _ = pad_sequences([encode(START + iso + STOP) for _, iso in batch])
    if device is None:
        return x, lengths, t
    return tuple(device.send(array) for array in (x, lengths, t))


class Translator(dyrnn.Chain):
    """Reads with `read`, then says what follows each character that it wrote."""

    def __init__(self, n_characters, units):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_characters, units)
            half = units // 2
            self.encoder = L.Bidirectional(L.LSTM(units, half), L.LSTM(units, half))
            self.decoder = L.LSTM(units, units)
            self.attend = L.Attention(units, units, "general")
            self.out = L.Linear(2 * units, n_characters)

    def read(self, x, lengths):
        self.reset_state()
        self.attend.remember(self.encoder(self.embed(x), lengths), lengths=lengths)

    def write(self, t):
        """Return logits of what follows characters: a step (B,) or a window (S, B)."""
        h = self.decoder(self.embed(self.xp.asarray(t)))
        return self.out(F.concat([h, self.attend(h)], axis=-1))

    def forward(self, x, lengths, t):
        self.read(x, lengths)
        return F.softmax_cross_entropy(self.write(t[:-1]), t[1:])


def translate(model, texts, width=4):
    """Return the likeliest answer to each text."""
    x, lengths = pad_sequences([encode(text) for text in texts], padding=0)
    device = model.device
    with dyrnn.inference_mode():
        model.read(device.send(x), device.send(lengths))
        prime = np.full((1, len(texts)), IDS[START])
        found = sampling.beam_search(model.write, prime, 12, width, IDS[STOP])
    return ["".join(CHARACTERS[i] for i in best.ids).rstrip(STOP) for best, *_ in found]


def load(path):
    """Return the model that a training saved."""
    units = serializers.read_manifest(path)["metadata"].get("units")
    if type(units) is not int:
        raise ValueError(f"{path} is not a model that train_dates.py saved")
    model = Translator(len(CHARACTERS), units)
    serializers.load_npz(path, model)
    return model


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--unit", "-u", type=number(int, 2), default=64, help="LSTM units")
    add("--batchsize", "-b", type=number(int, 1), default=64, help="dates at once")
    add("--iteration", "-i", type=number(int, 1), default=1500, help="updates")
    add("--lr", type=number(float, 0), default=0.005, help="of Adam; it falls to 0")
    add("--say", help="a date to translate with the model in --out, and stop")
    command_line.add_common_options(parser, "result/seq2seq")
    args = parser.parse_args()
    path = Path(args.out) / "model.npz"
    if args.say is not None:
        print(translate(load(path), [args.say])[0])
        return
    if args.test:
        args.iteration, args.unit = 5, 8

    dyrnn.random.seed(args.seed)
    model = Translator(len(CHARACTERS), args.unit)
    optimizer = optimizers.Adam(args.lr).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(1.0))
    iterator = SerialIterator(Dates(50000, args.seed), args.batchsize)
    updater = training.StandardUpdater(iterator, optimizer, to_arrays, args.device)
    trainer = training.Trainer(updater, (args.iteration, "iteration"), args.out)
    decay = extensions.PolynomialShift("lr", 1.0, args.iteration)
    trainer.extend(decay, trigger=(1, "iteration"))
    every = (max(1, args.iteration // 10), "iteration")
    trainer.extend(extensions.LogReport(trigger=every))
    trainer.extend(extensions.PrintReport(["iteration", "main/loss", "elapsed_time"]))
    trainer.extend(extensions.ProgressBar())
    command_line.extend_with_snapshots(
        trainer, args, every, settings=("lr", "iteration")
    )
    trainer.run()

    serializers.save_npz(path, model, metadata={"units": args.unit})
    texts, answers = zip(*Dates(100, args.seed + 1)[:], strict=True)
    found = translate(model, texts)
    for text, iso in list(zip(texts, found, strict=True))[:8]:
        print(f"{text:30} {iso}")
    right = sum(a == b for a, b in zip(found, answers, strict=True))
    print(f"{right} of 100 new dates are right; model saved: {path}")


if __name__ == "__main__":
    command_line.run(main)
