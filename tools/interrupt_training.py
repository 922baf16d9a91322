"""Send signals to training at random moments: it saves, ends, and resumes exactly.

``python -m tools.interrupt_training`` sends SIGINT or SIGTERM to
``tools.small_training``, again and again in new processes. Each must complete no more
than the iteration that it was in, leave a snapshot of it, and exit with 130 or 143; a
process that goes on from there must end with the SHA-256 of a run in one piece. Then it
sends two signals each, the second one at a random moment after the first, some in the
middle of a long iteration: the process must be gone within a second, and a resumed run
end as before.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time

from dyrnn.serializers import newest_valid
from tools.small_training import finish, start

PAUSE = 0.005  # seconds in each iteration
LONGEST = 0.2  # seconds until the first signal, counted from the first iteration
SECOND = 0.02  # seconds until the second one
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
ARGUMENTS = ("--pause", PAUSE)


def _wait_for(process, text):
    """Read lines until one starts with ``text``, and return them."""
    lines = []
    while not lines or not lines[-1].startswith(text):
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"training ended before {text!r}: {''.join(lines)}")
        lines.append(line)
    return lines


def interrupt(folder, signum, rng):
    """Send one signal; return the last iteration and problems, or None: too late."""
    process = start(folder, *ARGUMENTS)
    lines = _wait_for(process, "done")
    time.sleep(rng.uniform(0, LONGEST))
    process.send_signal(signum)
    lines += process.communicate()[0].splitlines(keepends=True)
    if process.returncode == 0:
        return None
    wrong = []
    if process.returncode != SIGNALS[signum]:
        wrong.append(f"exit code {process.returncode}: {''.join(lines)}")
    name = f"{signal.Signals(signum).name}: training ends"
    done = [i for i, line in enumerate(lines) if line.startswith("done")]
    last = int(lines[done[-1]].split()[1])
    noticed = [i for i, line in enumerate(lines) if line.startswith(name)]
    if len(noticed) != 1:
        wrong.append(f"the signal was noticed {len(noticed)} times: {''.join(lines)}")
    elif sum(i > noticed[0] for i in done) > 1:
        wrong.append(f"went on for more than one iteration: {''.join(lines)}")
    saved = newest_valid(folder)
    if saved is None or saved.iteration != last:
        wrong.append(f"ended after iteration {last}, but {saved} is the newest")
    return last, wrong


def interrupt_twice(folder, signum, rng, pause):
    """Send two signals; return seconds from the second one to the end, and problems."""
    process = start(folder, "--pause", pause)
    _wait_for(process, "done")
    time.sleep(rng.uniform(0, LONGEST))
    process.send_signal(signum)
    if pause > 1:
        _wait_for(process, signal.Signals(signum).name)
    time.sleep(rng.uniform(0, SECOND))
    begin = time.monotonic()
    process.send_signal(signum)
    said = process.communicate()[0]
    seconds = time.monotonic() - begin
    wrong = []
    # A short iteration may have ended, and the snapshot been saved, before the second.
    allowed = {-signum} if pause > 1 else {-signum, SIGNALS[signum], 0}
    if process.returncode not in allowed:
        wrong.append(f"exit code {process.returncode}: {said}")
    if seconds > 1:
        wrong.append(f"{seconds:.2f} s until the end")
    return seconds, wrong


def search(count, seed=0):
    """Return iterations of ``count`` signals, seconds after second ones, problems."""
    # A shell's background jobs ignore SIGINT, and so would the processes they start.
    before = {each: signal.signal(each, signal.SIG_DFL) for each in SIGNALS}
    try:
        return _search(count, random.Random(seed))
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _search(count, rng):
    reached, seconds, problems = [], [], []
    with tempfile.TemporaryDirectory() as place:
        wanted = finish(os.path.join(place, "whole"), *ARGUMENTS)
        number = 0
        while len(reached) < count:
            number += 1
            folder = os.path.join(place, f"one-{number}")
            signum = list(SIGNALS)[len(reached) % 2]
            outcome = interrupt(folder, signum, rng)
            if outcome is None:
                if number > 10 * count:
                    raise RuntimeError(f"{number} signals came after the end")
                continue
            reached.append(outcome[0])
            problems += outcome[1]
            if finish(folder, *ARGUMENTS) != wanted:
                problems.append(f"not equal to the whole after {outcome[0]}")
        for number in range(count):
            folder = os.path.join(place, f"two-{number}")
            signum = list(SIGNALS)[number % 2]
            pause = 60 if number % 4 < 2 else PAUSE
            taken, wrong = interrupt_twice(folder, signum, rng, pause)
            seconds.append(taken)
            problems += wrong
            if finish(folder, *ARGUMENTS) != wanted:
                problems.append("not equal to the whole after two signals")
    return reached, seconds, problems


def main():
    """Print the figures; return 1 if there was a problem."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--signals", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    reached, seconds, problems = search(options.signals, options.seed)
    print(
        f"{len(reached)} signals, in {len(set(reached))} different iterations from "
        f"{min(reached)} to {max(reached)}; {len(seconds)} second signals, at most "
        f"{max(seconds):.2f} s to the end; {len(problems)} problems"
    )
    for problem in problems[:20]:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
