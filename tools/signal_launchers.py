"""Send signals to training under launchers: each saves, ends, and resumes exactly.

``python -m tools.signal_launchers`` starts ``tools.small_training`` by a shell: with
its output in a pipe to ``tee`` or to a reader that goes, with descriptors closed, under
``timeout`` and ``nohup``, with and without worker processes. It sends SIGINT or SIGTERM
to the process, to its whole group, as a terminal and batch systems do, or to the
launcher, at a random moment between the first update and the end. The process must
leave a snapshot of its last iteration and the exit code 130 or 143, and a run resumed
from there must end as one in one piece.
"""

import argparse
import collections
import contextlib
import io
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dyrnn.errors import SnapshotError
from dyrnn.serializers import list_snapshots, verify_npz
from tools import small_training

LONGEST = 0.5  # seconds until the signal, counted from the first iteration
PAUSE = "0.005"
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
# The shell's line, and whom to signal; "launcher" is the parent of the process.
LAUNCHERS = {
    "alone": ("{}", ("process", "group")),
    "tee": ("{} 2>&1 | tee log", ("process", "group")),
    "no reader": ("{} 2>&1 | (read line; exit)", ("process", "group")),
    "no stderr": ("{} 2>&-", ("process", "group")),
    "no descriptors": ("{} <&- >&- 2>&-", ("process", "group")),
    "full": ("{} >/dev/full 2>&1", ("process", "group")),
    "timeout": ("timeout 600 {}", ("process", "group", "launcher")),
    "nohup": ("nohup {} >log 2>&1", ("process", "group")),
}
CASES = [
    (launcher, target, processes)
    for launcher, (_, targets) in LAUNCHERS.items()
    for target in targets
    for processes in (0, 2)
]


def _arguments(folder, processes):
    names = {"--out": folder / "result", "--notes": folder / "notes"}
    given = {**names, "--processes": processes, "--pause": PAUSE, "--resume": "auto"}
    return [str(each) for pair in given.items() for each in pair]


def finish(folder, processes):
    """Run the training to its end, in this process, and return the digest."""
    with contextlib.redirect_stderr(io.StringIO()):
        small_training.main(_arguments(folder, processes))
    return (folder / "notes").read_text().split()[-1]


def _process_of(folder):
    """Return the number of the process that trains, once it has done an iteration."""
    notes, owner = folder / "notes", folder / "result" / ".owner"
    for _ in range(6000):
        if notes.exists() and notes.read_text().startswith("done"):
            return int(re.search(r'"process": (\d+)', owner.read_text())[1])
        time.sleep(0.01)
    raise RuntimeError(f"no iteration within a minute: {folder}")


def _parent_of(process):
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"^PPid:\s+(\d+)$", status, re.MULTILINE)[1])


def interrupt(folder, case, signum, seconds):
    """Send one signal; return the last iteration and problems, or None: too late."""
    launcher, target, processes = case
    folder.mkdir()
    command = [sys.executable, "-m", "tools.small_training"]
    line = LAUNCHERS[launcher][0].format(
        " ".join([*command, *_arguments(folder, processes)])
    )
    # The shell itself waits for what it has started, whatever comes.
    shell = subprocess.Popen(
        ["bash", "-c", f"trap : INT TERM; {line}; exit ${{PIPESTATUS[0]}}"],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process = _process_of(folder)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if target == "group":
                os.killpg(os.getpgid(process), signum)
            else:
                is_launcher = target == "launcher"
                os.kill(_parent_of(process) if is_launcher else process, signum)
        code = shell.wait(60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    notes = (folder / "notes").read_text().splitlines()
    if not notes[-1].startswith("done"):  # it came after the return of run()
        return None
    last = int(notes[-1].split()[1])
    wrong = []
    if code != SIGNALS[signum]:
        wrong.append(f"exit code {code}")
    for saved in list_snapshots(folder / "result"):
        try:
            verify_npz(saved.path)
        except SnapshotError as error:
            wrong.append(str(error))
    found = [saved.iteration for saved in list_snapshots(folder / "result")]
    if max(found, default=None) != last:
        wrong.append(f"ended after iteration {last}, saved are {found}")
    if list((folder / "result").glob("*.corrupt")):
        wrong.append("a file was damaged")
    return last, wrong


def search(count, seed=0, cases=CASES):
    """Return the number of signals by case, iterations, late ones, and problems."""
    # A shell's background jobs ignore SIGINT, and so would the processes they start.
    before = {each: signal.signal(each, signal.SIG_DFL) for each in SIGNALS}
    try:
        return _search(count, random.Random(seed), cases)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _search(count, rng, cases):
    done, reached, late, problems = collections.Counter(), [], 0, []
    with tempfile.TemporaryDirectory() as place:
        wanted = {
            processes: finish(_made(Path(place, f"whole-{processes}")), processes)
            for processes in sorted({case[2] for case in cases})
        }
        while len(reached) < count:
            number = len(reached)
            folder = Path(place, f"{number}-{late}")
            case = cases[number % len(cases)]
            signum = list(SIGNALS)[(number // len(cases) + number) % 2]
            outcome = interrupt(folder, case, signum, rng.uniform(0, LONGEST))
            if outcome is None:
                late += 1
                if late > 10 * count:
                    raise RuntimeError(f"{late} signals came after the end")
                continue
            reached.append(outcome[0])
            done[case] += 1
            wrong = outcome[1]
            if finish(folder, case[2]) != wanted[case[2]]:
                wrong.append("resumed, not equal to the whole")
            what = f"{case}, {signum.name}, iteration {outcome[0]}"
            problems += [f"{what}: {text}" for text in wrong]
            for text in wrong:
                print(f"{what}: {text}", file=sys.stderr, flush=True)
    return done, reached, late, problems


def _made(folder):
    folder.mkdir()
    return folder


def main():
    """Print the figures; return 1 if there was a problem."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--signals", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    done, reached, late, problems = search(options.signals, options.seed)
    print(
        f"{len(reached)} signals in {len(done)} cases and {len(set(reached))} "
        f"iterations, {late} more after the end; {len(problems)} problems"
    )
    for problem in problems[:20]:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
