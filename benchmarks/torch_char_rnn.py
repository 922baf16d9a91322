r"""Train the model of examples/char_rnn in PyTorch, for a fixed time.

    python benchmarks/torch_char_rnn.py --text tweets.txt --minutes 10 --threads 1
    OPENBLAS_NUM_THREADS=1 python examples/char_rnn/train_char_rnn.py \
        --text tweets.txt --minutes 10

Both have the same texts, vocabulary, windows, initial distributions, loss, clipping and
optimizer, evaluate every 500 updates, and test the best parameters they came by.
"""

import argparse
import copy
import math
import time

import torch
from torch import nn
from torch.nn import functional as F

import dyrnn
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

UNITS, WINDOW, OVERLAP, LONGEST, BATCH = (128, 256), 50, 25, 500, 64
RATE, CLIP = 3e-4, 5.0


class CharRNN(nn.Module):
    """Embedding, stacked GRUs, and a linear layer."""

    def __init__(self, n_vocab):
        super().__init__()
        self.embed = nn.Embedding(n_vocab + 1, UNITS[0], padding_idx=0)
        sizes = zip([UNITS[0], *UNITS], UNITS, strict=False)
        self.layers = nn.ModuleList(nn.GRU(*pair) for pair in sizes)
        self.out = nn.Linear(UNITS[-1], n_vocab)
        for name, parameter in self.named_parameters():
            if name == "embed.weight":
                nn.init.normal_(parameter)
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x):
        """Return the mean cross entropy of the tokens of windows (T, B)."""
        x, t = x[:-1], x[1:]
        h = self.embed(x)
        for layer in self.layers:
            h, _ = layer(h)
        is_token = t > 0
        return F.cross_entropy(self.out(h[is_token]), t[is_token] - 1)


def to_sequences(text, vocabulary):
    """Return the lines as ids, sorted by length, and bits per character of a nat."""
    lines = [line for line in text.split("\n") if line]
    sequences = [vocabulary.encode(f"\n{line}\n") + 1 for line in lines]
    tokens = sum(map(len, sequences)) - len(lines)
    characters = sum(map(len, lines)) + len(lines)
    return sorted(sequences, key=len), tokens / characters / math.log(2)


def to_batch(windows):
    x = concat_examples(windows).T
    return torch.from_numpy(x[: sequence_lengths(x).max()].astype("int64"))


def evaluate(model, sequences):
    """Return the mean loss of a token of whole lines."""
    windows = PaddedWindows(sequences, min(LONGEST, len(sequences[-1])), 1)
    total = count = 0
    with torch.no_grad():
        for batch in SerialIterator(windows, BATCH, repeat=False, shuffle=False):
            x = to_batch(batch)
            tokens = int((x[1:] > 0).sum())
            total += float(model(x)) * tokens
            count += tokens
    return total / count


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--text", help="a text file, one text a line; default: Python's own text")
    add("--minutes", type=float, default=10)
    add("--threads", type=int, default=1)
    add("--every", type=int, default=500, help="updates per evaluation")
    add("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    dyrnn.random.seed(args.seed)
    parts = split_text(python_text() if args.text is None else read_text(args.text))
    vocabulary = Vocabulary.from_text(parts[0], "char", None, 5, unk=True)
    (train, _), (valid, valid_bits), (test, test_bits) = (
        to_sequences(part, vocabulary) for part in parts
    )
    model = CharRNN(len(vocabulary))
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
    iterator = SerialIterator(PaddedWindows(train, WINDOW, OVERLAP), BATCH)
    best_loss, best, updates = math.inf, None, 0
    began, cpu_began = time.perf_counter(), time.process_time()

    def report(name, bits):
        print(
            f"{name}: {bits:.4f} bits per character after {updates:,} updates, "
            f"{time.perf_counter() - began:.0f} s, "
            f"{time.process_time() - cpu_began:.0f} s of CPU time",
            flush=True,
        )

    def validate():
        nonlocal best_loss, best
        loss = evaluate(model, valid)
        if loss < best_loss:
            best_loss, best = loss, copy.deepcopy(model.state_dict())
        report("validation", loss * valid_bits)

    while time.perf_counter() - began < 60 * args.minutes:
        loss = model(to_batch(iterator.next()))
        if updates == 0:
            print(f"first loss: {float(loss.detach()):.4f}")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        updates += 1
        if updates % args.every == 0:
            validate()
    validate()
    model.load_state_dict(best)
    report("test", evaluate(model, test) * test_bits)


if __name__ == "__main__":
    main()
