"""The output layer with its loss, for 200,000 words: chunked beside plain.

Time and peak extra memory (above inputs and results) of forward and backward, of
F.linear_softmax_cross_entropy and of F.linear with F.softmax_cross_entropy, in turn.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time


def measure(kind, args):
    """Print time and memory of one kind; memory is that of this process."""
    import numpy as np

    import dyrnn
    import dyrnn.functions as F

    rng = np.random.default_rng(0)
    x = dyrnn.Parameter(rng.standard_normal((args.rows, args.units), np.float32))
    W = dyrnn.Parameter(rng.standard_normal((args.words, args.units), np.float32) * 0.1)
    b = dyrnn.Parameter(np.zeros(args.words, np.float32))
    t = rng.integers(0, args.words, args.rows).astype(np.int32)
    parameters = (x, W, b)

    def run():
        if kind == "chunked":
            loss = F.linear_softmax_cross_entropy(x, W, b, t)
        else:
            loss = F.softmax_cross_entropy(F.linear(x, W, b), t)
        loss.backward()
        gradients = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.cleargrad()
        return gradients

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096 / 2**20

    before, peak, stop = resident(), [0.0], threading.Event()

    def watch():
        while not stop.wait(0.0005):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    results = run()
    stop.set()
    watcher.join()
    kept = sum(gradient.nbytes for gradient in results) / 2**20
    del results
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            run()
        seconds = (time.perf_counter() - began) / int(line)
        row = {"seconds": seconds, "extra_mb": peak[0] - before - kept}
        print(json.dumps(row), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--words", type=int, default=200_000)
    add("--rows", type=int, default=700)
    add("--units", type=int, default=200)
    add("--rounds", type=int, default=8)
    add("--kind", choices=("chunked", "plain"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.kind:
        measure(args.kind, args)
        return
    rows = {}
    processes = {
        kind: subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--kind", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for kind in ("plain", "chunked")
    }
    for _ in range(args.rounds):
        for kind, process in processes.items():
            process.stdin.write("1\n")
            process.stdin.flush()
            rows.setdefault(kind, []).append(json.loads(process.stdout.readline()))
    for kind, process in processes.items():
        process.stdin.close()
        seconds = sorted(row["seconds"] for row in rows[kind])
        middle = statistics.median(seconds)
        print(
            f"{kind:8} {seconds[0]:.3f} {middle:.3f} {seconds[-1]:.3f} s (min, median, "
            f"max), {rows[kind][0]['extra_mb']:.0f} MB extra"
        )
    pairs = zip(rows["chunked"], rows["plain"], strict=True)
    ratio = statistics.median(c["seconds"] / p["seconds"] for c, p in pairs)
    memory = rows["chunked"][0]["extra_mb"] / rows["plain"][0]["extra_mb"]
    print(f"chunked / plain: time {ratio:.2f}, extra memory {memory:.3f}")


if __name__ == "__main__":
    main()
