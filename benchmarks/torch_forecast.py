"""Train the model of examples/forecast in PyTorch, on the same file and windows.

    python examples/forecast/train_forecast.py --epoch 12
    python benchmarks/torch_forecast.py --data result/forecast/load.csv --epoch 12

The windows, the scaler, the sizes, the optimizer, the clipping and the loss are the
same; the initial weights are PyTorch's own. It prints what the example does.
"""

import argparse
import copy
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "forecast"))
import train_forecast as example
from dyrnn.datasets import concat_examples
from dyrnn.iterators import SerialIterator


class Forecaster(nn.Module):
    """The example's network."""

    def __init__(self, n_series, n_calendar, units):
        super().__init__()
        self.encoder = nn.LSTM(2 * n_series + n_calendar, units)
        self.decoder = nn.LSTM(n_calendar + 1, units)
        self.out = nn.Linear(units, 1)

    def forward(self, x, ahead):
        _, state = self.encoder(x)
        times = len(x) - 24 + torch.arange(len(ahead)) % 24
        before = x[times][..., :1]
        h, _ = self.decoder(torch.cat([ahead, before], -1), state)
        return before + self.out(h)


def batches(data, size, shuffle):
    for batch in SerialIterator(data, size, repeat=False, shuffle=shuffle):
        yield [
            torch.from_numpy(np.ascontiguousarray(a)) for a in concat_examples(batch)
        ]


def mean_error(model, data, power):
    total = count = 0.0
    with torch.no_grad():
        for x, ahead, t, weights in batches(data, 256, False):
            total += float(((model(x, ahead) - t).abs() ** power * weights).sum())
            count += float(weights.sum())
    return total / count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", default="result/forecast/load.csv")
    add("--epoch", type=int, default=12)
    add("--threads", type=int, default=1)
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    torch.manual_seed(0)
    args = argparse.Namespace(steps=168, horizon=24)
    start, step, names, series = example.read_csv(parsed.data)
    known = example.calendar(start, step, 0, len(series))
    slices = example.parts(len(series), args.steps)
    scaling = example.Forecaster(len(names), known.shape[1], 1, 1)
    scaling.scaler.fit(series[slices[0]])
    train, valid, test = (
        example.windows(series[part], known[part], scaling, [0], args, stride)
        for part, stride in zip(slices, (5, 5, 1), strict=True)
    )
    model = Forecaster(len(names), known.shape[1], 64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    best, kept, begun = np.inf, None, time.perf_counter()
    for epoch in range(parsed.epoch):
        for x, ahead, t, weights in batches(train, 64, True):
            loss = ((model(x, ahead) - t) ** 2 * weights).sum() / weights.sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        found = mean_error(model, valid, 2)
        if found < best:
            best, kept = found, copy.deepcopy(model.state_dict())
        print(f"{epoch + 1} {found:.5f} {time.perf_counter() - begun:.1f} s")
    model.load_state_dict(kept)
    error = float(scaling.scaler.scale[0]) * mean_error(model, test, 1)
    print(f"mean absolute error in the test part: {error:.3f}")


if __name__ == "__main__":
    main()
