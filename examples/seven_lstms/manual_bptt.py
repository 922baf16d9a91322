"""Backpropagation through time by hand: every 30 words go back, then cut the graph.

The model takes one word of each of 20 places of the text at a time. The loss of 30
calls is added up; ``unchain_backward`` then forgets how the LSTM came to its state.
"""

import argparse
import math

from tqdm import tqdm

import dyrnn
import dyrnn.links as L
from dyrnn import command_line, optimizers
from dyrnn.datasets import concat_examples, load_corpus
from dyrnn.iterators import ParallelSequentialIterator


class RNN(dyrnn.Chain):
    """From words (B,) to logits (B, V) of the next ones, with what came before."""

    def __init__(self, n_vocab, n_units):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            self.mid = L.LSTM(n_units, n_units)
            self.out = L.Linear(n_units, n_vocab)

    def forward(self, word):
        return self.out(self.mid(self.embed(word)))


def train(model, optimizer, words, every=30):
    """Read the words once; update after so many steps, and after the last one."""
    model.predictor.reset_state()
    batches = ParallelSequentialIterator(words, 20, repeat=False)
    loss, steps = 0, 0
    with tqdm(total=len(words), unit=" words", leave=False, disable=None) as bar:
        for batch in batches:
            x, t = concat_examples(batch, model.device)
            loss += model(x, t)
            steps += 1
            bar.update(len(x))
            if steps == every:
                update(model, optimizer, loss)
                loss, steps = 0, 0
    if steps:
        update(model, optimizer, loss)


def update(model, optimizer, loss):
    """Go back through the graph, cut it, and change the parameters."""
    model.cleargrads()
    loss.backward()
    loss.unchain_backward()
    optimizer.update()


def perplexity(model, words):
    """Return exp(mean loss) over a text, read as one sequence."""
    model.predictor.reset_state()
    words = model.device.send(words)
    with dyrnn.using_config("train", False), dyrnn.no_backprop_mode():
        loss = model(words[:-1, None], words[1:, None])
    return math.exp(loss.item())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--data", help="a text file; default: Python's documentation")
    add("--epoch", "-e", type=number(int, 1), help="passes over the text; default: 3")
    add("--unit", "-u", type=number(int, 1), default=100, help="size of a layer")
    command_line.add_common_options(parser, "result/manual_bptt")
    args = parser.parse_args()
    args.epoch = args.epoch or (1 if args.test else 3)

    dyrnn.random.seed(args.seed)
    device = dyrnn.get_device(args.device)
    device.use()
    words, valid, _, vocabulary = load_corpus(args.data)
    if args.test:
        dyrnn.random.seed(args.seed)
    device = dyrnn.get_device(args.device)
    device.use()
    words, valid = words[:6000], valid[:1000]
    model = L.Classifier(RNN(len(vocabulary), args.unit), accfun=None)
    model.to_device(device)
    optimizer = optimizers.Adam(0.003).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(5))
    print(f"valid perplexity before: {perplexity(model, valid):.1f}")
    identity = {"vocabulary": vocabulary.sha256, "unit": args.unit}
    for epoch in command_line.epochs(args, optimizer, identity):
        train(model, optimizer, words)
        print(f"epoch {epoch}: valid perplexity {perplexity(model, valid):.1f}")


if __name__ == "__main__":
    command_line.run(main)
