"""Count how often processes that train together all end when one has a fault.

Each run trains a tiny model in several processes (``tests/distributed/faults.py``) and
lets one of them fail at a random update: an exception, a loss that is not finite, an
early exit, SIGKILL, SIGSTOP, an endless loop, SIGTERM to it or to the launcher. What
counts: all processes are gone within the limit, the exit code is not 0, and the output
names the process and the cause. ``--resume`` counts instead how often a run that was
killed, and started again, ends with the bytes of one that was not.

    python -m tools.fault_processes --runs 5
    python -m tools.fault_processes --resume --runs 10
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

CAUSES = {
    "exception": "rank 1 of .* failed: ValueError",
    "nan": "rank 1: .*NaN",
    "exit": "rank 1 of .* ended after",
    # The launcher names the process, whose rank was printed at the start.
    "kill": r"(?is)by rank: \d+ (\d+).*(rank 1\b|PID \1).*signal 9",
    "stop": "rank 1 of .* has been silent",
    "loop": "rank 1 of .* has computed",
    "term": "SIGTERM",
    "launcher": "SIGTERM|signal 15|terminated by",
}


def alive(out):
    """Return the processes whose command line has the output directory."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if out.encode() in file.read() and int(name) != os.getpid():
                    found.append(int(name))
        except OSError:
            pass
    return found


def run(launcher, processes, out, kind, at, limit):
    """Run once; return the exit code, seconds from the fault on, output, what is left.

    The moment of the fault is that at which its file appears.
    """
    command = [*launcher, "-n", str(processes), sys.executable, "-m"]
    command += ["tests.distributed.faults", "--out", out, "--at", str(at)]
    command += ["--kind", kind if kind != "launcher" else "none"]
    command += ["--updates", "200" if kind == "launcher" else "60", "--pause", "0.02"]
    with tempfile.TemporaryFile("w+") as output:
        started = subprocess.Popen(command, stdout=output, stderr=output)
        moment = None
        while started.poll() is None:
            if moment is None and os.path.exists(os.path.join(out, "fault")):
                moment = time.monotonic()
                if kind == "launcher":
                    started.send_signal(signal.SIGTERM)
            if moment is not None and time.monotonic() - moment > 3 * limit:
                break
            time.sleep(0.02)
        while alive(out) and time.monotonic() - (moment or 0) < 3 * limit:
            time.sleep(0.02)
        seconds = time.monotonic() - moment if moment else 0.0
        left = alive(out)
        for process in left:
            os.kill(process, signal.SIGKILL)
        code = started.wait()
        output.seek(0)
        return code, seconds, output.read(), left


def main():
    """Run the faults, or the resumed runs, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--launcher", default="mpiexec", help="with its options")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kinds", nargs="*", default=list(CAUSES), choices=CAUSES)
    parser.add_argument("--runs", type=int, default=3, help="of each kind")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    launcher = args.launcher.split()
    if args.resume:
        sys.exit(resume(args, launcher, chance))
    failures = 0
    for kind in args.kinds:
        ended, named, slowest = 0, 0, 0.0
        for _ in range(args.runs):
            with tempfile.TemporaryDirectory() as out:
                at = chance.randint(4, 50)
                code, seconds, text, left = run(
                    launcher, args.processes, out, kind, at, args.limit
                )
            is_named = re.search(CAUSES[kind], text) is not None
            slowest = max(slowest, seconds)
            had_fault = seconds > 0  # a run that ended before it, shows nothing
            is_over = had_fault and code != 0 and seconds <= args.limit and not left
            is_named = is_named and had_fault
            ended, named = ended + is_over, named + is_named
            if not (is_over and is_named):
                print(f"{kind} at {at}: exit code {code}, {seconds:.1f} s, {left}")
                print(text)
        failures += 2 * args.runs - ended - named
        print(
            f"{kind}: {ended} of {args.runs} ended, {named} named, at most "
            f"{slowest:.1f} s",
            flush=True,
        )
    sys.exit(failures > 0)


def resume(args, launcher, chance):
    """Kill runs and go on; count those whose last line is that of an unkilled one."""
    folder = tempfile.mkdtemp()
    try:
        whole = os.path.join(folder, "whole")
        _, _, text, _ = run(launcher, args.processes, whole, "none", 1, args.limit)
        expected = [line for line in text.splitlines() if line.startswith("60 ")]
        equal = 0
        for number in range(args.runs):
            out = os.path.join(folder, str(number))
            at = chance.randint(6, 58)
            run(launcher, args.processes, out, "kill", at, args.limit)
            os.unlink(os.path.join(out, "fault"))
            _, _, text, _ = run(launcher, args.processes, out, "none", at, args.limit)
            found = [line for line in text.splitlines() if line.startswith("60 ")]
            equal += found == expected != []
            if found != expected:
                print(f"killed at {at}:\n{text}")
        print(f"resumed with the same bytes: {equal} of {args.runs}")
        return equal != args.runs
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
