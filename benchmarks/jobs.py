"""Jobs that people have, in dyrnn and in PyTorch, side by side.

Forecasting, tagging, classification, ragged lists, one step at batch 1: milliseconds of
a training step with Adam and of inference. All programs are alive at once and take
blocks in turn; a ratio is the median over rounds of PyTorch's time over dyrnn's.

    python benchmarks/jobs.py --torch PYTHON-WITH-TORCH --threads 2
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

WINDOWS = {  # cell, T, B, inputs, units, layers, is bidirectional, outputs
    "forecast LSTM T168 B64 I8 H64": ("LSTM", 168, 64, 8, 64, 1, False, 1),
    "forecast GRU T168 B64 I8 H64": ("GRU", 168, 64, 8, 64, 1, False, 1),
    "tagger BiLSTM T30 B32 I100 H128": ("LSTM", 30, 32, 100, 128, 1, True, 20),
    "classifier LSTM x2 T100 B128 I64 H256": ("LSTM", 100, 128, 64, 256, 2, False, 10),
    "RNN T50 B32 I32 H128": ("RNN", 50, 32, 32, 128, 1, False, 10),
    "GRU T50 B64 I128 H512": ("GRU", 50, 64, 128, 512, 1, False, 10),
    "LSTM T35 B64 I512 H1024": ("LSTM", 35, 64, 512, 1024, 1, False, 10),
}
RAGGED = "ragged LSTM 2x200, 20 lists of 5-35"
ONE = {f"one step, batch 1, 2x200, {V} words": V for V in (90, 10_000)}
JOBS = [*WINDOWS, RAGGED, *ONE]


def in_torch(rng, threads):
    """Yield (job, training step or None, inference) in PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)

    def floats(*shape):
        return torch.from_numpy(rng.standard_normal(shape, dtype="float32"))

    def window(cell, T, B, size, H, layers, both, out):
        net = getattr(nn, cell)(size, H, layers, bidirectional=both)
        head = nn.Linear(H * (1 + both), out)
        adam = torch.optim.Adam([*net.parameters(), *head.parameters()], 1e-3)
        x, t = floats(T, B, size), floats(T, B, out)

        def train():
            adam.zero_grad()
            nn.functional.mse_loss(head(net(x)[0]), t).backward()
            adam.step()

        def infer():
            with torch.no_grad():
                head(net(x)[0])

        return train, infer

    for name, shape in WINDOWS.items():
        yield name, lambda shape=shape: window(*shape)

    def ragged():
        lists = [floats(n, 200) for n in rng.integers(5, 36, 20)]
        net = nn.LSTM(200, 200, 2)
        sgd = torch.optim.SGD(net.parameters(), 0.1)

        def train():
            sgd.zero_grad()
            packed = nn.utils.rnn.pack_sequence(lists, enforce_sorted=False)
            net(packed)[0].data.pow(2).mean().backward()
            sgd.step()

        return train, None

    yield RAGGED, ragged

    def one(V):
        embed, net, head = nn.Embedding(V, 200), nn.LSTM(200, 200, 2), nn.Linear(200, V)
        ids, state = torch.zeros(1, 1, dtype=torch.long), [None]

        def infer():
            with torch.no_grad():
                y, state[0] = net(embed(ids), state[0])
                head(y)

        return None, infer

    for name, V in ONE.items():
        yield name, lambda V=V: one(V)


def in_dyrnn(rng, threads):
    """Yield (job, training step or None, inference) in dyrnn."""
    import numpy as np

    import dyrnn
    import dyrnn.functions as F
    import dyrnn.links as L
    from dyrnn import optimizers

    dyrnn.config.threads = threads
    cells = {"LSTM": L.LSTM, "GRU": L.GRU, "RNN": L.ElmanRNN}

    def floats(*shape):
        return rng.standard_normal(shape, dtype="float32")

    class Window(dyrnn.Chain):
        def __init__(self, cell, size, H, layers, both, out):
            super().__init__()
            sizes = [size, *[H] * (layers - 1)]
            with self.init_scope():
                self.forth = dyrnn.ChainList(*[cells[cell](n, H) for n in sizes])
                self.back = cells[cell](size, H) if both else dyrnn.ChainList()
                self.head = L.Linear(H * (1 + both), out)
            self.both = both

        def forward(self, x):
            h = x
            for layer in self.forth:
                h = layer(h)
            if self.both:
                h = F.concat((h, self.back(x[::-1])[::-1]), axis=2)
            return self.head(h)

    def inferring(model, *args):
        with dyrnn.using_config("train", False), dyrnn.no_backprop_mode():
            return model(*args)

    def window(cell, T, B, size, H, layers, both, out):
        model = Window(cell, size, H, layers, both, out)
        adam = optimizers.Adam(1e-3).setup(model)
        x, t = floats(T, B, size), floats(T, B, out)

        def train():
            model.reset_state()
            adam.update(lambda: F.mean_squared_error(model(x), t))

        def infer():
            model.reset_state()
            inferring(model, x)

        return train, infer

    for name, shape in WINDOWS.items():
        yield name, lambda shape=shape: window(*shape)

    def ragged():
        lists = [floats(n, 200) for n in rng.integers(5, 36, 20)]
        net = L.NStepLSTM(2, 200, 200, 0.0)
        sgd = optimizers.SGD(0.1).setup(net)

        def loss():
            return F.mean(F.square(F.concat(net(None, None, lists)[2], axis=0)))

        return lambda: sgd.update(loss), None

    yield RAGGED, ragged

    def one(V):
        layers = L.EmbedID(V, 200), L.LSTM(200, 200), L.LSTM(200, 200), L.Linear(200, V)
        model, ids = dyrnn.Sequential(*layers), np.zeros(1, np.int32)
        return None, lambda: inferring(model, ids)

    for name, V in ONE.items():
        yield name, lambda V=V: one(V)


def serve(library, threads, seconds):
    """Time blocks of a job, as asked for on standard input."""
    import numpy as np

    jobs = (in_torch if library == "torch" else in_dyrnn)(
        np.random.default_rng(0), threads
    )
    jobs = dict(jobs)
    name, steps = None, ()
    for line in sys.stdin:
        wanted, kind = line.rstrip("\n").split("\t")
        if wanted != name:
            name, steps = wanted, jobs[wanted]()
        step = steps[kind == "inference"]
        if step is None:
            print("nan", flush=True)
            continue
        step()
        times = []
        while sum(times) < seconds or len(times) < 3:
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
        print(1e3 * statistics.median(times), flush=True)


def main():
    """Compare, job by job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", default=sys.executable, help="a Python with torch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a block")
    parser.add_argument("--jobs", default="", help="a part of the names of jobs")
    parser.add_argument("--serve", help="torch or dyrnn: answer on standard output")
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.threads, args.seconds)
    programs = {
        "torch": (args.torch, "torch", "1"),
        "numpy": (sys.executable, "dyrnn", "0"),
        "native": (sys.executable, "dyrnn", "1"),
    }
    number = str(args.threads)
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    running = {}
    for name, (python, library, native) in programs.items():
        command = [python, __file__, "--serve", library, "--threads", number]
        command += ["--seconds", str(args.seconds)]
        environment = {**os.environ, **dict.fromkeys(names, number)}
        environment["DYRNN_NATIVE"] = native
        running[name] = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    print("| job | | PyTorch ms | NumPy kernels ms | native ms | NumPy | native |")
    print("|---|---|---|---|---|---|---|")
    for job in JOBS:
        if args.jobs not in job:
            continue
        for kind in ("training", "inference"):
            times: dict[str, list[float]] = {name: [] for name in running}
            for _ in range(args.rounds):
                for name, process in running.items():
                    process.stdin.write(f"{job}\t{kind}\n")
                    process.stdin.flush()
                    times[name].append(float(process.stdout.readline()))
            if times["torch"][0] != times["torch"][0]:
                continue
            cells = [f"{statistics.median(each):.3g}" for each in times.values()]
            for name in ("numpy", "native"):
                pairs = zip(times["torch"], times[name], strict=True)
                ratios = sorted(a / b for a, b in pairs)
                middle = statistics.median(ratios)
                cells.append(f"{middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
            print(f"| {job} | {kind} | {' | '.join(cells)} |", flush=True)
    for process in running.values():
        process.stdin.close()
    return None


if __name__ == "__main__":
    main()
