"""A recurrent language model from EmbedID and Linear alone, its state kept by hand.

``h = tanh(upward(embed(word)) + lateral(h))`` is the whole network, and ``h`` a plain
attribute. It gives the joint log-probability of a sentence, the sum of those of its
words given the ones before. Sentences of one length make a mini-batch. What was learnt
shows in how often a sentence is likelier than the same words in another order.
"""

import argparse
import itertools

import numpy as np
from tqdm import tqdm

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, optimizers
from dyrnn.datasets import load_corpus, split_lines
from dyrnn.iterators import BucketIterator


class LanguageModel(dyrnn.Chain):
    """A simple recurrent network over words."""

    def __init__(self, n_vocab, n_units):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            self.upward = L.Linear(n_units, n_units)
            self.lateral = L.Linear(n_units, n_units, nobias=True)
            self.out = L.Linear(n_units, n_vocab)
        self.h = None

    def step(self, word):
        """Return logits (B, V) of what follows words (B,)."""
        z = self.upward(self.embed(word))
        if self.h is not None:
            z += self.lateral(self.h)
        self.h = F.tanh(z)
        return self.out(self.h)

    def log_probability(self, words):
        """Return the joint log-probabilities (B,) of sentences (T, B).

        The first word, ``<eos>``, is given, and ends the sentence, too.
        """
        self.h = None
        total = 0
        for word, following in itertools.pairwise(words):
            total -= F.softmax_cross_entropy(self.step(word), following, reduce="no")
        return total


def by_length(batch):
    """Yield arrays (T, B) of the sentences of each length in a batch."""
    for length in sorted({len(sentence) for sentence in batch}):
        yield np.stack([s for s in batch if len(s) == length], axis=1)


def train(model, optimizer, data):
    """Make the sentences likelier, about 20 at a time."""
    batches = BucketIterator(data, 20, repeat=False, pool=len(data))
    for batch in tqdm(list(batches), leave=False, disable=None):
        for words in by_length(batch):
            loss = -F.mean(model.log_probability(model.device.send(words)))
            model.cleargrads()
            loss.backward()
            optimizer.update()


def measure(model, data, generator):
    """Return log-probability per word, and how often order beats disorder."""
    total = count = 0
    wins = []
    with dyrnn.using_config("train", False), dyrnn.no_backprop_mode():
        for sentence in data:
            shuffled = sentence.copy()
            shuffled[1:-1] = generator.permutation(shuffled[1:-1])
            both = model.device.send(np.stack([sentence, shuffled], axis=1))
            own, other = dyrnn.to_cpu(model.log_probability(both).array)
            if (sentence != shuffled).any():
                wins.append(own > other)
            total += own
            count += len(sentence) - 1
    return total / count, 100 * np.mean(wins)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--data", help="a text file; default: Python's documentation")
    add("--epoch", "-e", type=number(int, 1), help="passes over the text; default: 3")
    add("--unit", "-u", type=number(int, 1), default=100, help="size of a layer")
    command_line.add_common_options(parser, "result/joint_probability")
    args = parser.parse_args()
    args.epoch = args.epoch or (1 if args.test else 3)

    dyrnn.random.seed(args.seed)
    device = dyrnn.get_device(args.device)
    device.use()
    words, valid, _, vocabulary = load_corpus(args.data)
    eos = vocabulary.ids.get("<eos>")
    data, held_out = (
        [line for line in split_lines(part, eos) if 4 < len(line) <= 40]
        for part in (words, valid)
    )
    if args.test:
        data, held_out = data[:150], held_out[:30]
    model = LanguageModel(len(vocabulary), args.unit).to_device(device)
    optimizer = optimizers.Adam(0.002).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(5))
    identity = {"vocabulary": vocabulary.sha256, "unit": args.unit}
    for epoch in command_line.epochs(args, optimizer, identity):
        train(model, optimizer, data)
        mean, wins = measure(model, held_out, np.random.default_rng(0))
        print(
            f"epoch {epoch}: log-probability {mean:.3f} per word; "
            f"likelier than shuffled: {wins:.1f} % of {len(held_out)} sentences"
        )
    sentence = device.send(held_out[0][:, None])
    print(f"the sentence: {vocabulary.decode(held_out[0][1:-1])}")
    print(f"joint log-probability: {model.log_probability(sentence).item():.2f}")


if __name__ == "__main__":
    command_line.run(main)
