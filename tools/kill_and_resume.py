"""Kill training at random moments: resumed, it must end as if nothing had happened.

``python -m tools.kill_and_resume`` starts ``tools.small_training`` in a process, kills
it (``kill -9``) at a random moment once it trains, and starts another one in the same
directory with ``--resume auto``, which goes on from the newest snapshot, and may be
killed, too. The SHA-256 of everything (parameters, state of the optimizer, random
numbers, rows of the log, less times) must be that of a run in one piece.
"""

import argparse
import os
import random
import sys
import tempfile
import time

from tools.small_training import finish, start

PAUSE = 0.005  # seconds in each iteration
LONGEST = 0.3  # seconds until the kill, counted from the first iteration
ARGUMENTS = ("--pause", PAUSE, "--every", 4)


def kill_once(folder, rng):
    """Start or go on; return the iteration reached, or None if it came to its end."""
    process = start(folder, *ARGUMENTS)
    first = process.stdout.readline()
    while first and not first.startswith("done"):
        first = process.stdout.readline()
    time.sleep(rng.uniform(0, LONGEST))
    process.kill()
    said = process.communicate()[0]
    if process.returncode == 0:
        return None
    if process.returncode != -9:
        raise RuntimeError(f"training ended with {process.returncode}: {first}{said}")
    # The last line may be torn.
    lines = [line for line in (first + said).split("\n")[:-1] if line[:5] == "done "]
    return int(lines[-1].split()[1])


def search(kills, seed=0):
    """Return in which iterations runs were killed, and what went wrong."""
    rng = random.Random(seed)
    reached, wrong = [], []
    with tempfile.TemporaryDirectory() as place:
        wanted = finish(os.path.join(place, "whole"), *ARGUMENTS)
        number = 0
        while len(reached) < kills:
            number += 1
            folder = os.path.join(place, f"killed-{number}")
            killed = []
            while len(reached) + len(killed) < kills:
                iteration = kill_once(folder, rng)
                if iteration is None:
                    break
                killed.append(iteration)
                if rng.random() < 0.7:
                    break
            if not killed:
                continue
            reached += killed
            found = finish(folder, *ARGUMENTS)
            if found != wanted:
                wrong.append(f"killed after {killed}: {found[-2000:]}")
    return reached, wrong


def main():
    """Print the figures; return 1 if a run ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    reached, wrong = search(options.kills, options.seed)
    print(
        f"{len(reached)} kills, in {len(set(reached))} different iterations from "
        f"{min(reached)} to {max(reached)}; {len(wrong)} runs not equal to the whole"
    )
    for problem in wrong[:20]:
        print(f"  {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
