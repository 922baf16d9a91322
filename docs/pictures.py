"""Draw the pictures of windows.md: ``python docs/pictures.py docs/images``."""

import sys
from pathlib import Path

import numpy as np

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L

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


def main(folder):
    """Draw all pictures into a folder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "dyrnn"  # the same file each time
    pictures = {"windows": (draw_cutting, 2), "truncated": (draw_reach, 3)}
    for name, (draw, height) in pictures.items():
        figure, axes = plt.subplots(figsize=(7, height), layout="constrained")
        draw(axes)
        path = Path(folder) / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1])
