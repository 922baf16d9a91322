"""A language model of lines of text, its iterator and updater written by the user.

The iterator needs ``__next__``, the numbers that the trainer reads, and ``serialize``;
the updater only ``update_core``. dyrnn comes with both, and more of them:
``dyrnn.iterators.ParallelSequentialIterator`` and ``dyrnn.training.BPTTUpdater``.
"""

import argparse

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, extensions, optimizers, training
from dyrnn.datasets import concat_examples, load_corpus
from dyrnn.iterators import Iterator, WindowIterator


class ParallelSequentialIterator(Iterator):
    """Gives the words at B places of a text, and the words that follow them."""

    def __init__(self, words, batch_size):
        self.words = words
        self.batch_size = batch_size
        self.offsets = [i * len(words) // batch_size for i in range(batch_size)]
        self.iteration = 0
        self.epoch = 0
        self.is_new_epoch = False

    @property
    def epoch_detail(self):
        """Passes over the text, with the fraction of the current one."""
        return self.iteration * self.batch_size / len(self.words)

    def __next__(self):
        x = self._words_now()
        self.iteration += 1
        t = self._words_now()
        self.is_new_epoch = int(self.epoch_detail) > self.epoch
        self.epoch = int(self.epoch_detail)
        return list(zip(x, t, strict=True))

    def _words_now(self):
        places = [offset + self.iteration for offset in self.offsets]
        return [self.words[place % len(self.words)] for place in places]

    def serialize(self, s):
        """Save or load the place."""
        self.iteration = s("iteration", self.iteration)
        self.epoch = s("epoch", self.epoch)
        self.is_new_epoch = s("is_new_epoch", self.is_new_epoch)


class BPTTUpdater(training.StandardUpdater):
    """Goes back through the last ``bprop_len`` calls of the model at each update."""

    def __init__(self, iterator, optimizer, bprop_len, device=None):
        super().__init__(iterator, optimizer, device=device)
        self.bprop_len = bprop_len

    def update_core(self):
        optimizer = self.get_optimizer()
        model = optimizer.target
        loss = 0
        for _ in range(self.bprop_len):
            batch = self.get_iterator().next()
            x, t = concat_examples(batch, self.device)
            loss += model(x, t)
        model.cleargrads()
        loss.backward()
        loss.unchain_backward()
        optimizer.update()


class RNNForLM(dyrnn.Chain):
    """Two LSTM layers with dropout around them."""

    def __init__(self, n_vocab, n_units):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            self.l1 = L.LSTM(n_units, n_units)
            self.l2 = L.LSTM(n_units, n_units)
            self.out = L.Linear(n_units, n_vocab)

    def forward(self, x):
        h = self.l1(F.dropout(self.embed(x), 0.3))
        h = self.l2(F.dropout(h, 0.3))
        return self.out(F.dropout(h, 0.3))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--data", help="a text file; default: Python's documentation")
    add("--epoch", "-e", type=number(int, 1), help="passes over the text; default: 4")
    add("--unit", "-u", type=number(int, 1), default=100, help="size of a layer")
    command_line.add_common_options(parser, "result/comments_bptt")
    args = parser.parse_args()
    args.epoch = args.epoch or (1 if args.test else 4)

    dyrnn.random.seed(args.seed)
    device = dyrnn.get_device(args.device)
    device.use()
    words, valid, _, vocabulary = load_corpus(args.data)
    if args.test:
        words, valid = words[:6000], valid[:1000]
    model = L.Classifier(RNNForLM(len(vocabulary), args.unit), accfun=None)
    optimizer = optimizers.Adam(0.005).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientClipping(5))
    updater = BPTTUpdater(ParallelSequentialIterator(words, 20), optimizer, 20, device)
    trainer = training.Trainer(updater, (args.epoch, "epoch"), args.out)
    validation = WindowIterator(valid, 1, len(valid) - 1, repeat=False)
    trainer.extend(extensions.Evaluator(validation, model, device=device))
    trainer.extend(extensions.LogReport(postprocess=extensions.perplexity))
    columns = ["epoch", "perplexity", "val_perplexity", "elapsed_time"]
    trainer.extend(extensions.PrintReport(columns))
    trainer.extend(extensions.ProgressBar())
    identity = {"vocabulary": vocabulary.sha256, "seed": args.seed}
    command_line.extend_with_snapshots(trainer, args, (1, "epoch"), identity)
    trainer.run()


if __name__ == "__main__":
    command_line.run(main)
