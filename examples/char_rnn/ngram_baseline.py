"""Measure how well counts of n-grams predict a text: a baseline for the character RNN.

The text is read and split as train_char_rnn.py does it, so its bits per character can
be compared with these.

    ngram_baseline.py --text your.txt --order 6
    ngram_baseline.py --preset tweets --data tweets.txt
"""

import argparse
import math
from collections import defaultdict

from dyrnn import command_line
from train_char_rnn import ALPHABET, PRESETS, Text, make_vocabulary, read_parts


class NGrams:
    """Probabilities of the next token after up to ``order - 1`` tokens.

    After a context seen c times, with u kinds of tokens behind it, a token seen n times
    there has the probability (n + u q) / (c + u), where q is its probability after the
    context that is one token shorter; the shortest of all gives each token 1 / V
    (Witten and Bell, "The Zero-Frequency Problem", 1991, interpolated).
    """

    def __init__(self, order, n_vocab):
        self.order = order
        self.n_vocab = n_vocab
        self.counts = defaultdict(lambda: defaultdict(int))

    def fit(self, sequences):
        """Count the n-grams of sequences of ids; the first id of each is given."""
        for ids in sequences:
            for t in range(1, len(ids)):
                for start in range(max(0, t - self.order + 1), t + 1):
                    self.counts[ids[start:t]][ids[t]] += 1
        self.totals = {key: sum(row.values()) for key, row in self.counts.items()}

    def probability(self, context, token):
        """Return the probability of a token after a context, a tuple of ids."""
        p = 1 / self.n_vocab
        for start in range(len(context), max(-1, len(context) - self.order), -1):
            row = self.counts.get(context[start:])
            if row is None:
                break  # no longer context has been seen either
            n_kinds = len(row)
            total = self.totals[context[start:]]
            p = (row.get(token, 0) + n_kinds * p) / (total + n_kinds)
        return p

    def perplexity(self, sequences):
        """Return exp of the mean negative log-probability of a token."""
        nats = count = 0
        for ids in sequences:
            for t in range(1, len(ids)):
                context = ids[max(0, t - self.order + 1) : t]
                nats -= math.log(self.probability(context, ids[t]))
                count += 1
        return math.exp(nats / count)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--preset", choices=PRESETS, help="with the alphabet of this preset")
    add("--text", "--data", help="a text file, one text a line")
    add("--alphabet", help=ALPHABET)
    add("--min-count", type=number(int, 1), default=5, help="rarer ones are <unk>")
    add("--order", "-n", type=number(int, 1), default=5, help="the longest n-grams")
    args = parser.parse_args()
    if args.preset is not None and args.alphabet is None:
        args.alphabet = PRESETS[args.preset]["alphabet"]
    args.level = "char"
    return args


def main():
    args = parse_arguments()
    parts = read_parts(args)
    vocabulary = make_vocabulary(parts[0], args)
    texts = [Text(part, vocabulary) for part in parts]
    train, valid, test = (
        [tuple(ids.tolist()) for ids in text.sequences] for text in texts
    )
    print(" n  perplexity  bits per character  (validation, test)")
    for order in range(1, args.order + 1):
        model = NGrams(order, len(vocabulary))
        model.fit(train)
        found = [model.perplexity(sequences) for sequences in (valid, test)]
        bits = [
            math.log(value) * text.bits
            for value, text in zip(found, texts[1:], strict=True)
        ]
        print(
            f"{order:2}  {found[0]:.3f} {found[1]:.3f}  {bits[0]:.3f} {bits[1]:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    command_line.run(main)
