"""How much of an error at the last step reaches the steps before it.

Each curve is the norm of the gradient of one loss, taken at the end of a sequence, by
the state at each step, relative to that by the last state before it. In a plain
recurrent network it is multiplied at each step by the recurrent weights and by the
slope of the activation: it vanishes exponentially (Hochreiter, 1991; Bengio, Simard,
Frasconi, 1994). The cell of an LSTM is added to, not multiplied: with its forget gate
open, the error goes round in a "constant error carousel" (Hochreiter, Schmidhuber,
1997).
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import command_line, extensions, initializers, random

ACTIVATIONS = {
    "tanh": F.tanh,
    "sigmoid": F.sigmoid,
    "relu": F.relu,
    "relu6": F.relu6,
    "crelu": F.crelu,
    "elu": F.elu,
    "softplus": F.softplus,
    "softsign": F.softsign,
}
FORGET_BIASES = {"LSTM, forget bias 1": 1.0, "LSTM, forget gate open": 30.0}


class PlainRNN(dyrnn.Chain):
    """``h = f(W x + U h)``; returns the states before the last, and the last."""

    def __init__(self, in_size, units, f, gain):
        super().__init__()
        self.f = f
        # crelu gives twice as many values as it takes.
        self.width = f(np.zeros((1, units))).shape[1]
        draw = initializers.LeCunNormal(gain)
        with self.init_scope():
            self.upward = L.Linear(in_size, units)
            self.lateral = L.Linear(self.width, units, nobias=True, initialW=draw)

    def forward(self, x):
        states = []
        h = np.zeros((x.shape[1], self.width))
        for t in range(len(x)):
            h = self.f(self.upward(x[t]) + self.lateral(h))
            states.append(h)
        return states[:-1], h


class CellsOfLSTM(dyrnn.Chain):
    """An LSTM; returns the cells ``c`` before the last, and the last output ``h``."""

    def __init__(self, in_size, units, forget_bias):
        super().__init__()
        with self.init_scope():
            self.rnn = L.LSTM(in_size, units, forget_bias_init=forget_bias)

    def forward(self, x):
        cells = []
        for t in range(len(x)):
            h = self.rnn(x[t])
            cells.append(self.rnn.c)
        return cells[:-1], h


def gradient_norms(model, x):
    """Return the norm of the gradient by each state, relative to the latest one's."""
    states, output = model(x)
    direction = random.stream("direction").generator.normal(size=output.shape)
    gradients = dyrnn.grad([output], states, [direction])
    norms = np.array([np.linalg.norm(gradient.array) for gradient in gradients])
    return norms / norms[-1]


def draw(figure, curves):
    """Plot the norms over the time steps, on a logarithmic scale."""
    axes = figure.add_subplot(xlabel="time step", ylabel="gradient norm, last step: 1")
    for number, (name, norms) in enumerate(curves.items()):
        is_lstm = name.startswith("LSTM")
        style = {"lw": 3} if is_lstm else {"ls": "-" if number < 4 else "--"}
        axes.semilogy(range(1, len(norms) + 1), norms, label=name, **style)
    axes.set_ylim(1e-16, 1e2)
    axes.grid(True, alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--steps", type=number(int, 2), default=100, help="length of the sequences")
    add("--unit", "-u", type=number(int, 1), default=64, help="size of the state")
    add("--batchsize", "-b", type=number(int, 1), default=20, help="sequences")
    add("--gain", type=number(float, 0), default=1.0, help="of the recurrent weights")
    add("--out", "-o", default="result/gradients", help="directory of the picture")
    add("--seed", type=number(int, 0), default=0, help="of all random numbers")
    add("--test", action="store_true", help="a tiny run of a few seconds")
    args = parser.parse_args()
    if args.test:
        args.steps, args.unit = 50, 48

    picture = Path(args.out) / "gradients.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    dyrnn.random.seed(args.seed)
    dyrnn.config.dtype = np.float64
    shape = (args.steps, args.batchsize, 8)
    x = random.stream("input").generator.normal(size=shape)
    models = {
        name: PlainRNN(8, args.unit, f, args.gain) for name, f in ACTIVATIONS.items()
    }
    for name, bias in FORGET_BIASES.items():
        models[name] = CellsOfLSTM(8, args.unit, bias)
    curves = {
        name: gradient_norms(model, x)
        for name, model in tqdm(models.items(), disable=None)
    }

    print(f"{'':24}{'first / last step':>20}{'factor per step':>18}")
    for name, norms in curves.items():
        factor = norms[0] ** (1 / (len(norms) - 1))
        print(f"{name:24}{norms[0]:20.2e}{factor:18.3f}")
    if extensions.save_figure(picture, lambda f: draw(f, curves), (7, 4), 80):
        print(f"picture: {picture}")


if __name__ == "__main__":
    command_line.run(main)
