"""How time and memory of training grow, one size at a time.

The model is the small language model: embedding, two LSTM layers, output layer; SGD
with clipping, windows. Every point is a process of its own: milliseconds of an update
(median), words a second, and the peak of its memory; beside them the power by which
time and memory grow from the point before.

    python benchmarks/scale.py [--only T,B,H,V,tokens] [--seconds 2]
"""

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time

BASE = {"T": 20, "B": 20, "H": 200, "V": 10_000, "tokens": 1_000_000}
POINTS = {
    "T": [35, 100, 300, 1000, 2000],
    "B": [1, 4, 16, 64, 256, 512],
    "H": [64, 128, 256, 512, 1024, 2048],
    "V": [100, 1000, 10_000, 100_000, 1_000_000],
    "tokens": [100_000, 1_000_000, 10_000_000, 100_000_000],
}
OUTPUTS = ["softmax", "in chunks", "sampled", "adaptive"]


def measure(sizes, output, seconds):
    """Train with these sizes; print a line of JSON."""
    import numpy as np

    import dyrnn
    import dyrnn.functions as F
    import dyrnn.links as L
    from dyrnn import optimizers
    from dyrnn.iterators import WindowIterator
    from dyrnn.optimizers.hooks import GradientClipping
    from dyrnn.training import BPTTUpdater

    T, B, H, V, tokens = (sizes[name] for name in ("T", "B", "H", "V", "tokens"))
    rng = np.random.default_rng(0)
    # words as frequent as in a language: the k-th with probability 1 / k
    ranks = np.exp(rng.random(tokens, np.float32) * math.log(V + 1)).astype(np.int32)
    text = np.minimum(ranks - 1, V - 1)
    del ranks

    class Model(dyrnn.Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.embed = L.EmbedID(V, H)
                self.l1, self.l2 = L.LSTM(H, H), L.LSTM(H, H)
                if output == "sampled":
                    self.out = L.BlackOut(H, np.bincount(text, minlength=V), 100)
                elif output == "adaptive":
                    cutoffs = [size for size in (2000, 20_000, 200_000) if size < V]
                    self.out = L.AdaptiveSoftmax(H, V, cutoffs or [V // 2])
                else:
                    self.out = L.Linear(H, V)

        def forward(self, x, t):
            h = self.l2(self.l1(self.embed(x)))
            if output == "softmax":
                return F.softmax_cross_entropy(self.out(h), t)
            if output == "in chunks":
                return F.linear_softmax_cross_entropy(h, self.out.W, self.out.b, t)
            if output == "sampled":
                return self.out(h.reshape((-1, H)), t.reshape(-1))
            return self.out(h, t)

    optimizer = optimizers.SGD(1.0).setup(Model())
    optimizer.add_hook(GradientClipping(5))
    updater = BPTTUpdater(WindowIterator(text, B, T), optimizer, window=True)
    updater.update()
    times = []
    while sum(times) < seconds or len(times) < 3:
        began = time.perf_counter()
        updater.update()
        times.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    middle = statistics.median(times)
    print(json.dumps({"ms": 1e3 * middle, "words": T * B / middle, "mb": peak}))


def main():
    """Measure all points, and print them as tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(POINTS), help="names of sizes")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a point")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        sizes, output = json.loads(args.point)
        measure(sizes, output, args.seconds)
        return
    for name in args.only.split(","):
        outputs = OUTPUTS if name == "V" else OUTPUTS[:1]
        print(f"\n| {name} | output | ms | words/s | MB | power: time | memory |")
        print("|---|---|---|---|---|---|---|")
        for output in outputs:
            before = None
            for size in POINTS[name]:
                point = json.dumps([{**BASE, name: size}, output])
                command = [sys.executable, __file__, "--point", point]
                command += ["--seconds", str(args.seconds)]
                run = subprocess.run(command, capture_output=True, text=True)
                if run.returncode:
                    reason = run.stderr.strip().rpartition("\n")[2] or run.returncode
                    print(f"| {size:,} | {output} | {reason} |", flush=True)
                    continue
                found = json.loads(run.stdout)
                powers = ["", ""]
                if before is not None:
                    growth = math.log(size / before[0])
                    powers = [
                        f"{math.log(found[key] / before[1][key]) / growth:.2f}"
                        for key in ("ms", "mb")
                    ]
                before = size, found
                cells = (
                    f"{found['ms']:.4g} | {found['words']:,.0f} | {found['mb']:,.0f}"
                )
                print(
                    f"| {size:,} | {output} | {cells} | {' | '.join(powers)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
