"""The same training step in PyTorch: nn.LSTM over a window, or nn.LSTMCell by steps.

Both have two biases per layer, as PyTorch's modules do.
"""

import harness

args, config = harness.arguments(__doc__)

import torch
from torch import nn
from torch.nn import functional as F

from dyrnn.datasets import load_corpus
from dyrnn.iterators import WindowIterator

torch.set_num_threads(args.threads)
torch.manual_seed(0)


class LanguageModel(nn.Module):
    def __init__(self, n_vocab, n_units, dropout, by_steps):
        super().__init__()
        self.by_steps, self.drop = by_steps, nn.Dropout(dropout)
        self.embed = nn.Embedding(n_vocab, n_units)
        if by_steps:
            self.cells = nn.ModuleList(nn.LSTMCell(n_units, n_units) for _ in range(2))
        else:
            self.rnn = nn.LSTM(n_units, n_units, 2, dropout=dropout)
        self.out = nn.Linear(n_units, n_vocab)
        self.state = None

    def forward(self, x):
        """Take a step (B,) or a window (T, B), keep the state."""
        h = self.drop(self.embed(x))
        if not self.by_steps:
            h, self.state = self.rnn(h, self.state)
            return self.out(self.drop(h))
        states = self.state or (None, None)
        self.state = []
        for cell, state in zip(self.cells, states, strict=True):
            self.state.append(cell(h, state))
            h = self.drop(self.state[-1][0])
        return self.out(h)

    def detach(self):
        if self.by_steps:
            self.state = [(h.detach(), c.detach()) for h, c in self.state]
        else:
            self.state = tuple(s.detach() for s in self.state)


def main():
    device = torch.device("cpu" if args.device == "-1" else f"cuda:{args.device}")
    by_steps = args.mode == "step"
    model = LanguageModel(
        harness.VOCABULARY, config["hidden"], config["dropout"], by_steps
    ).to(device, getattr(torch, args.dtype))
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -config["init"], config["init"])
    run = torch.compile(model) if args.compile else model
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    windows = WindowIterator(
        load_corpus(args.data).train, harness.BATCH, config["steps"]
    )

    def step():
        x, t = (
            torch.tensor(a, dtype=torch.int64, device=device) for a in windows.next()
        )
        if by_steps:
            loss = sum(F.cross_entropy(run(x[i]), t[i]) for i in range(len(x)))
        else:
            loss = F.cross_entropy(run(x).flatten(0, 1), t.flatten()) * len(x)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config["clip"])
        optimizer.step()
        model.detach()
        return loss.detach() / len(x)

    harness.run(f"torch:{args.mode}", args, step)


if __name__ == "__main__":
    main()
