"""Draw the pictures of bptt.md: ``python docs/pictures.py docs/images``."""

import sys
from pathlib import Path

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import optimizers

INK, BLUE, RED, GREY = "#333333", "#2962c8", "#c0392b", "#b8bfc6"


def draw_cutting(axes):
    """A text of 24 characters as a batch of 2 rows, read in windows of 4 steps."""
    text = "recurrent nets read on.."
    for row in range(2):
        for step in range(12):
            is_even = step // 4 % 2 == 0
            box = dict(
                boxstyle="square,pad=0.35", fc="#dfe9fb" if is_even else "#fdeccd"
            )
            axes.text(
                step,
                -row,
                text[12 * row + step],
                ha="center",
                va="center",
                family="monospace",
                bbox={**box, "ec": GREY},
            )
        axes.text(-1, -row, f"row {row}", ha="right", va="center", color=INK)
    for window in range(3):
        axes.text(4 * window + 1.5, 0.8, f"update {window + 1}", ha="center", color=INK)
        if window:
            for row in range(2):
                arrow = dict(arrowstyle="->", color=BLUE, lw=1.5)
                end, start = (
                    (4 * window - 0.28, -row - 0.45),
                    (4 * window - 0.72, -row - 0.45),
                )
                axes.annotate("", end, start, arrowprops=arrow)
    axes.text(5.5, -1.9, "arrows: the state is carried, without its graph", ha="center")
    axes.set(xlim=(-3, 12), ylim=(-2.2, 1.3))
    axes.axis("off")


def reach(cut):
    """How much the state at each of 12 steps moves the last output: |d y / d x_t|.

    The numbers come from backpropagation through an Elman network, cut every ``cut``
    steps.
    """
    with dyrnn.random.Streams(0):
        rnn = L.ElmanRNN(1, 32)
        inputs = [dyrnn.Parameter(np.ones((1, 1), np.float32)) for _ in range(12)]
        for step, x in enumerate(inputs):
            if cut and step and step % cut == 0:
                rnn.h.unchain_backward()
            y = rnn(x)
        F.sum(y * y).backward()
    return [0.0 if x.grad is None else float(abs(x.grad).sum()) for x in inputs]


def draw_reach(axes):
    """Which steps get a gradient from the last one, with windows of 4 steps."""
    steps = np.arange(12)
    axes.bar(steps - 0.2, reach(0), 0.4, color=GREY, label="all steps in one graph")
    axes.bar(steps + 0.2, reach(4), 0.4, color=BLUE, label="windows of 4 steps")
    for cut in (3.5, 7.5):
        axes.axvline(cut, color=RED, ls="--", lw=1)
    axes.set(xlabel="time step", ylabel="gradient of the last output", xticks=steps)
    axes.set_yscale("log")
    axes.legend(frameon=False)


def recalled(delay, steps, carries=True, updates=600):
    """Train to name the symbol of ``delay`` steps ago: the share of right answers.

    A stream of random zeros and ones is read in windows of ``steps``; ``carries`` says
    whether the LSTM's state goes on from one window to the next.
    """
    bits = np.random.default_rng(0).integers(0, 2, ((updates + 50) * steps + delay, 32))
    right = []
    with dyrnn.random.Streams(0):
        model = dyrnn.Sequential(L.EmbedID(2, 4), L.LSTM(4, 24), L.Linear(24, 2))
        optimizer = optimizers.Adam(0.02).setup(model)
        for begin in range(0, len(bits) - delay, steps):
            if not carries:
                model.reset_state()
            t = bits[begin : begin + steps]
            y = model(bits[begin + delay : begin + delay + steps])
            loss = F.softmax_cross_entropy(y, t)
            right.append((y.array.argmax(-1) == t).mean())
            model.cleargrads()
            (steps * loss).backward()
            loss.unchain_backward()
            optimizer.update()
    return np.mean(right[updates:])


def draw_recall(axes, delays=range(11), updates=600):
    """How far back a network learns to look, by the length of its windows."""
    for label, steps, carries, color in (
        ("windows of 20 steps", 20, True, GREY),
        ("windows of 5 steps", 5, True, BLUE),
        ("... and the state reset for each", 5, False, RED),
    ):
        shares = [recalled(delay, steps, carries, updates) for delay in delays]
        axes.plot(delays, shares, "o-", color=color, label=label)
    axes.set(xlabel="steps ago", ylabel="right answers", ylim=(0.45, 1.03))
    axes.legend(frameon=False, loc="center right")


def main(folder, **recall):
    """Draw all pictures into a folder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "dyrnn"  # the same file each time
    pictures = {
        "windows": (draw_cutting, 2),
        "truncated": (draw_reach, 3),
        "recall": (lambda axes: draw_recall(axes, **recall), 3),
    }
    for name, (draw, height) in pictures.items():
        figure, axes = plt.subplots(figsize=(7, height), layout="constrained")
        draw(axes)
        path = Path(folder) / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1])
