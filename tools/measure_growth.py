"""Whether training for long takes more and more memory.

``python -m tools.measure_growth`` trains a tiny recurrent model by truncated
backpropagation through time, without Python's garbage collector, so that a reference
circle or a graph that is not cut shows: after the first updates, neither the memory of
the process nor the number of live nodes and variables may grow.
"""

import argparse
import gc
import os
import sys
import tempfile
from pathlib import Path

from dyrnn import optimizer_hooks, optimizers, training
from dyrnn.engine.core import FunctionNode, Variable
from tools.small_training import language_updater

LIMIT = 1 << 20  # bytes


def resident():
    """Return the bytes of memory that the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def live():
    """Return how many nodes and how many variables there are."""
    objects = gc.get_objects()
    counts = [0, 0]
    for each in objects:
        counts[0] += isinstance(each, FunctionNode)
        counts[1] += isinstance(each, Variable)
    objects.clear()  # it holds this very frame: a circle, and nobody collects it
    return tuple(counts)


def measure(updates, first, window):
    """Return (iteration, resident bytes, live objects) after ``first`` and at the end.

    In between, some more are measured.
    """
    optimizer = optimizers.MomentumSGD(0.01)
    updater = language_updater(optimizer, window)
    optimizer.add_hook(optimizer_hooks.GradientClipping(1.0))
    measured = []
    points = {first + (updates - first) * part // 10 for part in range(11)}

    def look(trainer):
        iteration = trainer.updater.iteration
        if iteration in points:
            counts = live()
            measured.append((iteration, resident(), counts))

    gc.collect()
    gc.disable()
    try:
        with tempfile.TemporaryDirectory() as out:
            trainer = training.Trainer(updater, (updates, "iteration"), out)
            trainer.extend(look)
            trainer.run()
    finally:
        gc.enable()
    return measured


def main():
    """Print what was measured; return 1 if it grows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--updates", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=10_000)
    parser.add_argument("--mode", choices=("window", "step"), default="window")
    options = parser.parse_args()
    measured = measure(options.updates, options.first, options.mode == "window")
    for iteration, size, (nodes, variables) in measured:
        print(f"{iteration}: {size >> 10} KiB, {nodes} nodes, {variables} variables")
    growth = max(size for _, size, _ in measured) - measured[0][1]
    counts = {each for _, _, each in measured}
    print(
        f"by {options.mode}: {growth / 1024:.0f} KiB more at most after the first "
        f"{options.first} of {options.updates} updates; "
        f"{'constant' if len(counts) == 1 else 'changing'} numbers of live objects"
    )
    return 0 if growth <= LIMIT and len(counts) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
