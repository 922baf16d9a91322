"""Time several programs side by side: all alive at once, one block each, in turn.

    python benchmarks/compare.py                       dyrnn beside PyTorch, all cases
    python benchmarks/compare.py NAME=COMMAND ...      the first one is the reference

COMMAND gets ``--config C --threads N --serve`` added, prints a line with "ready", then
answers each number of steps on its standard input with a line with "words_per_s".
``M:NAME=COMMAND`` runs with glibc told to keep large blocks, which spares page faults.
A ratio is the median over the rounds of the rate over the reference's in that round.
"""

import argparse
import importlib.util
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

KEEP = dict(
    MALLOC_MMAP_THRESHOLD_="1000000000",
    MALLOC_TRIM_THRESHOLD_="4000000000",
    MALLOC_TOP_PAD_="500000000",
)
HERE = Path(__file__).resolve().parent
CASES = [  # config, mode, threads
    ("small", "window", 2),
    ("small", "step", 2),
    ("medium", "window", 2),
    ("medium", "step", 2),
    ("small", "window", 1),
]


class Program:
    """A child process that does training steps on demand."""

    def __init__(self, spec, config, threads):
        name, command = spec.split("=", 1)
        tuned = name.startswith("M:")
        self.name = name.removeprefix("M:") + (" (malloc tuned)" if tuned else "")
        self.process = subprocess.Popen(
            [
                *shlex.split(command),
                *("--config", config, "--threads", str(threads), "--serve"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(KEEP if tuned else {})},
        )
        self.ready = self._answer()
        self.rates = []
        self.steps = 2

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with code {self.process.wait()}")
        return json.loads(line)

    def block(self):
        """Do ``steps`` steps; return words per second."""
        self.process.stdin.write(f"{self.steps}\n")
        self.process.stdin.flush()
        return self._answer()["words_per_s"]

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def compare(specs, config, threads, rounds, seconds):
    """Return a row of results for each program."""
    words = {"small": 400, "medium": 700, "large": 700}[config]
    programs = [Program(spec, config, threads) for spec in specs]
    for program in programs:
        program.steps = max(1, round(seconds * program.block() / words))
    for _ in range(rounds):
        for program in programs:
            time.sleep(0.15)  # until spinning threads of the one before sleep
            program.rates.append(program.block())
    rows = []
    for program in programs:
        pairs = zip(program.rates, programs[0].rates, strict=True)
        ratios = sorted(rate / reference for rate, reference in pairs)
        rows.append(
            dict(
                program=program.name,
                config=config,
                threads=threads,
                words_per_s=round(statistics.median(program.rates)),
                ratio=round(statistics.median(ratios), 3),
                lowest=round(ratios[0], 3),
                highest=round(ratios[-1], 3),
                peak_mb=program.ready.get("peak_mb"),
            )
        )
        program.stop()
    return rows


def default_specs(mode):
    """Return what to compare by default: PyTorch, if it is there, is the reference."""
    run = f"{sys.executable} {HERE}"
    specs = []
    if importlib.util.find_spec("torch"):
        specs = [f"torch={run}/torch_ptb.py --mode {mode}"]
        specs.append("M:" + specs[0])
    specs.append(f"dyrnn={run}/ptb.py --mode {mode}")
    if mode == "window":
        specs.append(f"products alone={run}/gemm.py")
    return specs


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("programs", nargs="*", metavar="NAME=COMMAND")
    add("--config", default="small")
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=8)
    add("--seconds", type=float, default=1.0, help="length of one block")
    add("--data", default="", help="of the default programs; see ptb.py")
    add("--json", action="store_true", help="print rows as JSON lines")
    args = parser.parse_args()
    cases = [(args.config, None, args.threads)] if args.programs else CASES
    if not args.json:
        print(
            "program                 config  mode   threads  words/s  ratio (min-max)"
        )
    for config, mode, threads in cases:
        specs = args.programs or default_specs(mode)
        if args.data and not args.programs:
            specs = [s if "gemm" in s else f"{s} --data {args.data}" for s in specs]
        for row in compare(specs, config, threads, args.rounds, args.seconds):
            if args.json:
                print(json.dumps(row), flush=True)
                continue
            text = "{program:23} {config:7} {mode:6} {threads:7}  {words_per_s:7}  "
            text += "{ratio:5.2f} ({lowest:.2f}-{highest:.2f})  {peak_mb} MB"
            print(text.format(mode=mode or "", **row), flush=True)


if __name__ == "__main__":
    main()
