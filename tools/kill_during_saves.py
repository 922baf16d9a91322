"""Kill a process that saves all the time: what it acknowledged must be there.

``python -m tools.kill_during_saves`` starts a process that saves snapshots, prunes old
ones, and says so after each save; it is killed (``kill -9``) at a random moment, and
the next one goes on from the newest valid snapshot. After each kill, every file under a
final name must be whole, and the newest at least as new as the last one acknowledged.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

from dyrnn.errors import SnapshotError
from dyrnn.serializers import (
    Contents,
    newest_valid,
    prune,
    remove_leftovers,
    verify_npz,
    write_snapshot,
)

SLOWEST = 0.15  # seconds until the kill, counted from the first save


def save_forever(folder):
    """Save one snapshot after the other, and print the iteration of each."""
    newest = newest_valid(folder)
    iteration = newest.iteration if newest else 0
    print("ready", flush=True)
    while True:
        iteration += 1
        arrays = {
            name: np.full(size, iteration, np.float32)
            for name, size in (("embed/W", 300_000), ("l1/W", 100_000), ("l1/b", 700))
        }
        path = os.path.join(folder, f"snapshot_{iteration:08}.npz")
        write_snapshot(path, Contents(arrays, {}), {"iteration": iteration})
        print(iteration, flush=True)
        prune(folder, n_retains=2)


def kill_once(folder, rng):
    """Start a process, kill it, and return (acknowledged, left behind, problems)."""
    command = [sys.executable, "-W", "error", "-m", "tools.kill_during_saves"]
    process = subprocess.Popen(
        [*command, "--save-in", folder], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    time.sleep(rng.uniform(0, SLOWEST))
    process.kill()
    # A last line may be torn by the kill; only whole ones were acknowledged.
    said = process.communicate()[0].split("\n")[:-1]
    acknowledged = int(said[-1]) if said else 0
    if process.returncode != -9:
        return 0, 0, [f"the process ended by itself: {process.returncode}"]
    wrong = []
    for name in os.listdir(folder):
        if name.endswith(".npz"):
            try:
                verify_npz(os.path.join(folder, name))
            except SnapshotError as error:
                wrong.append(f"unreadable: {error}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        newest = newest_valid(folder)
    if acknowledged and (newest is None or newest.iteration < acknowledged):
        wrong.append(f"{acknowledged} was acknowledged, but {newest} is the newest")
    return len(said), len(remove_leftovers(folder)), wrong


def search(kills, seed=0):
    """Return the numbers of saves and of interrupted ones, and all problems."""
    rng = random.Random(seed)
    saves, interrupted, wrong = 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(kills):
            acknowledged, leftovers, problems = kill_once(folder, rng)
            saves += acknowledged
            interrupted += leftovers
            wrong += problems
    return saves, interrupted, wrong


def main():
    """Print the figures; return 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-in", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.save_in:
        save_forever(options.save_in)
    saves, interrupted, wrong = search(options.kills, options.seed)
    print(
        f"{options.kills} kills, {saves} acknowledged saves, {interrupted} interrupted "
        f"ones; {len(wrong)} files unreadable or lost"
    )
    for problem in wrong[:20]:
        print(f"  {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
