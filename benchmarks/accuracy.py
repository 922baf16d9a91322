"""Validation perplexity after one epoch, with fast kernels or their plain definitions.

Runs examples/ptb/train_ptb.py --config small --epoch 1 for several seeds. The two
kinds round differently, so single runs differ; their means must not.
"""

import argparse
import re
import statistics
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "ptb" / "train_ptb.py"
START = """
import runpy, sys
sys.path.insert(0, {folder!r})
from dyrnn.kernels import dispatch
if {plain}:
    dispatch.place_of = lambda array: "plain"
sys.argv = {argv!r}
runpy.run_path({script!r}, run_name="__main__")
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", required=True, help="directory or zip with ptb.*.txt")
    add("--kernels", choices=("fast", "plain"), nargs="+", default=["fast", "plain"])
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--out", default="result/accuracy")
    args = parser.parse_args()
    for kind in args.kernels:
        found = []
        for seed in args.seeds:
            argv = [str(SCRIPT), "--config", "small", "--epoch", "1"]
            argv += ["--data", args.data, "--seed", str(seed)]
            argv += ["--out", f"{args.out}/{kind}{seed}"]
            program = START.format(
                folder=str(SCRIPT.parent),
                plain=kind == "plain",
                argv=argv,
                script=str(SCRIPT),
            )
            output = subprocess.run(
                [sys.executable, "-c", program],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout
            perplexity = re.search(r"valid perplexity: ([\d.]+)", output)
            found.append(float(perplexity.group(1)))
            print(f"{kind} kernels, seed {seed}: {found[-1]:.3f}", flush=True)
        print(f"{kind} kernels, mean: {statistics.mean(found):.3f}", flush=True)


if __name__ == "__main__":
    main()
