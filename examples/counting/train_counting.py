"""Count the ones in sequences of bits, with the simplest recurrent network there is.

The state is one number, and so are the two weights: ``s = x * wx + s * wRec``. Both
should become 1. They hardly move for hundreds of epochs, since the gradient flows
through ten products with wRec, and then they do: the cost surface has a cliff. RMSprop,
which divides the gradient by its size, walks along; Rprop reads its sign only.
"""

import argparse
from pathlib import Path

import numpy as np

import dyrnn
import dyrnn.functions as F
from dyrnn import command_line, extensions, optimizers, training
from dyrnn.iterators import SerialIterator

# Learning rates by default, and the rules; "rmsprop" is that of the published table.
OPTIMIZERS = {
    "sgd": (1e-5, optimizers.SGD),
    "rmsprop": (1e-3, optimizers.RMSpropNesterov),
    "rmsprop-plain": (1e-3, lambda lr: optimizers.RMSprop(lr, alpha=0.9)),
    "rprop": (1e-3, optimizers.Rprop),
}
COLORS = dict(zip(OPTIMIZERS, ("tab:red", "tab:blue", "tab:cyan", "gold"), strict=True))


class Counter(dyrnn.Chain):
    """The model and its loss: the sum of the squared errors of the last state."""

    def __init__(self, wx, wRec):
        super().__init__()
        with self.init_scope():
            self.wx = dyrnn.Parameter(wx, (1,))
            self.wRec = dyrnn.Parameter(wRec, (1,))

    def forward(self, x, t):
        s = 0.0
        for k in range(x.shape[1]):
            s = x[:, k] * self.wx + s * self.wRec
        cost = F.sum(F.square(t - s))
        dyrnn.report({"cost": cost, **self.weights()}, self)
        return cost

    def weights(self):
        """Return the weights by name, as numbers."""
        return {"wx": self.wx.item(), "wRec": self.wRec.item()}


def make_data(seed, sequences=20, length=10):
    """Return bits (B, T), their sums (B,), and two weights to start with."""
    generator = np.random.RandomState(seed)  # NumPy's first one: its numbers are fixed
    x = np.around(generator.rand(sequences, length)).astype(np.float32)
    start = generator.uniform(-0.1, 0.1, 2).astype(np.float32)
    return x, x.sum(axis=1), start


def train(name, args, lr=None, speaks=True):
    """Train with one of the optimizers; return the model and its log."""
    x, t, start = make_data(args.seed)
    model = Counter(*map(float, start))
    usual, make = OPTIMIZERS[name]
    optimizer = make(usual if lr is None else lr).setup(model)
    if name == "rmsprop":
        optimizer.add_hook(dyrnn.optimizer_hooks.GradientRescaling())
    iterator = SerialIterator(list(zip(x, t, strict=True)), len(x), shuffle=False)
    updater = training.StandardUpdater(iterator, optimizer, device=args.device)
    out = Path(args.out) / name
    trainer = training.Trainer(updater, (args.epoch, "epoch"), out)
    log = extensions.LogReport(trigger=(1, "epoch"))
    trainer.extend(log)
    trainer.extend(extensions.ProgressBar())
    if speaks:
        trainer.extend(print_cost, trigger=(100, "epoch"))
        args = argparse.Namespace(**{**vars(args), "out": out})
        every = 500, "epoch"
        command_line.extend_with_snapshots(trainer, args, every, settings=("lr",))
    trainer.run()
    return model, log.log


def print_cost(trainer):
    """Print a line of the table."""
    cost = float(trainer.observation["main/cost"])
    print(f"epoch[{trainer.updater.epoch:5d}] : cost ={cost:8.4f}", flush=True)


def draw_costs(figure, logs):
    """Plot the costs over the epochs."""
    axes = figure.add_subplot(xlabel="epoch", ylabel="cost", yscale="log")
    for name, log in logs.items():
        costs = [row["main/cost"] for row in log]
        axes.plot(range(1, len(costs) + 1), costs, color=COLORS[name], label=name)
    axes.grid(True, alpha=0.3)
    axes.legend()


def draw_surface(figure, logs, x, t):
    """Draw the cost over both weights, and the way that each optimizer took."""
    wx, wRec = np.meshgrid(np.linspace(-0.2, 2, 120), np.linspace(-0.2, 1.4, 120))
    s = np.zeros((*wx.shape, len(x)))
    for k in range(x.shape[1]):
        s = x[:, k] * wx[..., None] + s * wRec[..., None]
    cost = np.log10(((t - s) ** 2).sum(axis=-1))
    axes = figure.add_subplot(xlabel="wx", ylabel="wRec")
    levels = axes.contourf(wx, wRec, cost, levels=24, cmap="viridis")
    figure.colorbar(levels, label="log10 of the cost")
    for name, log in logs.items():
        path = np.array([[row["main/wx"], row["main/wRec"]] for row in log])
        axes.plot(*path.T, color=COLORS[name], lw=2, label=name)
        axes.plot(*path[::100].T, "o", color=COLORS[name], ms=3)
    axes.plot(1, 1, "*", color="white", ms=12)
    axes.legend(loc="upper right")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=command_line.HelpFormatter
    )
    number = command_line.number
    add = parser.add_argument
    add("--optimizer", choices=OPTIMIZERS, default="sgd", help="whose table is printed")
    add("--lr", type=number(float, 0), help="default: 1e-5 with sgd, else 1e-3")
    add("--epoch", "-e", type=number(int, 1), default=2001, help="updates")
    command_line.add_common_options(parser, "result/counting")
    parser.set_defaults(seed=1)
    args = parser.parse_args()
    if args.test:
        args.epoch = 200

    x, t, (wx, wRec) = make_data(args.seed)
    print(f"Initial weights: wx = {wx:8.4f}, wRec = {wRec:8.4f}")
    model, log = train(args.optimizer, args, args.lr)
    print(
        "Final weights : wx = {wx:8.4f}, wRec = {wRec:8.4f}".format(**model.weights())
    )

    logs = {args.optimizer: log}
    for other in ("sgd", "rmsprop"):
        if other not in logs:
            _, logs[other] = train(other, args, speaks=False)
    out = Path(args.out)
    costs, surface = out / "cost.png", out / "surface.png"
    if extensions.save_figure(costs, lambda f: draw_costs(f, logs), (6, 4), 80):
        extensions.save_figure(
            surface, lambda f: draw_surface(f, logs, x, t), (6, 4.5), 80
        )
        print(f"pictures: {costs}, {surface}")


if __name__ == "__main__":
    command_line.run(main)
