"""An LSTM learns two sequences by heart that differ at their ends only.

``A 0 1 2 ... X`` and ``B 0 1 2 ... Y`` share their middle. What comes last depends on
what came first, so the state must hold it all the way: the forget gates start open, or
learning takes ten times as long, and sometimes fails. Given the first symbol alone, the
network must then say the rest.
"""

import argparse
import sys

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, optimizers, sampling


def make_sequences(middle):
    """Return both sequences side by side, (T, 2), and the number of symbols."""
    shared = np.arange(4, 4 + middle)
    sequences = [[first, *shared, last] for first, last in ((0, 1), (2, 3))]
    return np.array(sequences, np.int32).T, 4 + middle


def make_model(n_symbols, n_units):
    """Return a network from symbols to logits of the next ones."""
    return dyrnn.Sequential(
        L.EmbedID(n_symbols, n_units),
        L.LSTM(n_units, n_units, forget_bias_init=3),
        L.Linear(n_units, n_symbols),
    )


def say(model, prime, length):
    """Return what the model holds for likeliest after ``prime``, (length, B)."""

    def predict(ids):
        return model(model.device.send(ids))

    return np.array(list(sampling.generate(predict, prime, length, temperature=0)))


def recall(model, sequences):
    """Return how many sequences the model continues rightly from their first symbol."""
    model.reset_state()
    prime, rest = sequences[:1], sequences[1:]
    return int((say(model, prime, len(rest)) == rest).all(axis=0).sum())


def learn(model, optimizer, sequences, limit):
    """Update until both sequences are known by heart; return the number of updates."""
    classifier = L.Classifier(model)
    optimizer.setup(classifier)
    x, t = (model.device.send(part) for part in (sequences[:-1], sequences[1:]))
    for updates in range(1, limit + 1):
        model.reset_state()
        loss = classifier(x, t)
        classifier.cleargrads()
        loss.backward()
        optimizer.update()
        if updates % 100 == 0:
            print(
                f"update {updates}: loss {loss.item():.4f}, "
                f"accuracy {classifier.accuracy.item():.3f}"
            )
        if updates % 10 == 0 and recall(model, sequences) == 2:
            return updates
    return None


def show(model, sequences):
    """Print what is to be said, what the model says, and how sure it is of the rest."""
    names = ["A", "X", "B", "Y", *map(str, range(sequences.max()))]
    model.reset_state()
    predictions = say(model, sequences[:1], len(sequences) - 1)
    model.reset_state()
    x, t = (model.device.send(part) for part in (sequences[:-1], sequences[1:]))
    with dyrnn.no_backprop_mode():
        losses = dyrnn.to_cpu(F.softmax_cross_entropy(model(x), t, reduce="no").array)
    for k, probability in enumerate(np.exp(-losses.sum(axis=0))):
        print("sequence:", *(names[i] for i in sequences[:, k]))
        print("prediction:", *(names[i] for i in predictions[:, k]))
        print(f"probability: {probability:.4f}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--middle", type=number(int, 1), default=20, help="its length")
    add("--unit", "-u", type=number(int, 1), default=40, help="LSTM units")
    add("--limit", type=number(int, 1), default=3000, help="updates")
    add("--device", "-d", default="-1", help="-1 for the CPU, 0 or cuda:0 for a GPU")
    add("--seed", type=number(int, 0), default=0, help="of all random numbers")
    add("--test", action="store_true", help="a middle of 5 symbols")
    args = parser.parse_args()

    dyrnn.random.seed(args.seed)
    device = dyrnn.get_device(args.device)
    device.use()
    sequences, n_symbols = make_sequences(5 if args.test else args.middle)
    model = make_model(n_symbols, args.unit).to_device(device)
    updates = learn(model, optimizers.Adam(0.01), sequences, args.limit)
    show(model, sequences)
    if updates is None:
        sys.exit(f"not known by heart after {args.limit} updates")
    print(f"both sequences known by heart after {updates} updates")


if __name__ == "__main__":
    command_line.run(main)
