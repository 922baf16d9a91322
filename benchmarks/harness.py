"""What the benchmarks share: configurations, options, and blocks of timed steps.

A program makes ``step() -> loss per token`` and hands it to :func:`run`. It then prints
one JSON line, or with ``--serve`` answers each number of steps on standard input with
one, so that compare.py can time several programs in turn.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time

BATCH = 20
VOCABULARY = 10_000
CONFIGS = {  # of TensorFlow's tutorial; dropout is 1 - keep probability
    "small": dict(hidden=200, steps=20, dropout=0.0, init=0.1, clip=5.0),
    "medium": dict(hidden=650, steps=35, dropout=0.5, init=0.05, clip=5.0),
    "large": dict(hidden=1500, steps=35, dropout=0.65, init=0.04, clip=10.0),
}


def arguments(description, modes=("window", "step")):
    """Parse the command line and fix the number of threads before NumPy starts any."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--config", choices=CONFIGS, default="small")
    add("--mode", choices=modes, default=modes[0])
    add("--threads", type=int, default=2)
    add("--steps", type=int, default=20, help="training steps per timed block")
    add("--blocks", type=int, default=5)
    add("--warmup", type=int, default=5)
    add("--data", help="directory or zip with ptb.*.txt; default: Python's own text")
    add("--device", default="-1")
    add("--dtype", default="float32", help="float16; tf32, bfloat16: of products")
    add("--compile", action="store_true", help="PyTorch's model by torch.compile")
    add("--serve", action="store_true", help="answer step counts on standard input")
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    return args, CONFIGS[args.config]


def peak_mb():
    """Return the largest memory the process had so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def run(name, args, step):
    """Time ``step()``, which returns the loss per token when asked by float()."""
    words = BATCH * CONFIGS[args.config]["steps"]

    def block(n):
        began = time.perf_counter()
        for _ in range(n):
            loss = step()
        loss = float(loss)
        return n * words / (time.perf_counter() - began), loss

    _, first = block(1)
    block(max(1, args.warmup - 1))
    if args.serve:
        _print(ready=name, loss=first, peak_mb=peak_mb())
        for line in sys.stdin:
            rate, loss = block(int(line))
            _print(words_per_s=rate, loss=loss, peak_mb=peak_mb())
        return
    results = [block(args.steps) for _ in range(args.blocks)]
    rate = statistics.median(rate for rate, _ in results)
    _print(
        program=name,
        config=args.config,
        threads=args.threads,
        words_per_s=round(rate, 1),
        ms_per_step=round(words / rate * 1e3, 2),
        loss_first=round(first, 4),
        loss_last=round(results[-1][1], 4),
        peak_mb=peak_mb(),
    )


def _print(**row):
    print(json.dumps(row), flush=True)
