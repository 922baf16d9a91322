"""Check and time everything on a GPU, beside PyTorch's cuDNN LSTM on the same one.

    python benchmarks/gpu.py [--device 0] [--data DIRECTORY] [--out FILE]

Needs CuPy, for CUDA 12 or 13; with PyTorch, its figures and the counts of launches are
there, too; with pytest and hypothesis, the tests. Each section is a process of its own,
so one that fails, or takes too long, is named and the others go on. All of them end
within nine minutes; without --data, whose training comes last, within seven.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("small", "medium", "large")
LIMIT = 530  # seconds for everything
TOLERANCE = 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--device", default="0", help="number of the GPU")
    add("--data", help="directory with ptb.*.txt: train small until perplexity 130")
    add("--out", help="write the table to this file, too")
    add("--section", choices=SECTIONS, help="do one of them in this process")
    args = parser.parse_args()
    if args.section:
        SECTIONS[args.section](args)
        return 0
    problem = missing()
    if problem:
        print(f"There is no GPU to measure: {problem}", file=sys.stderr)
        return 1
    began, rows = time.monotonic(), []
    for name, seconds in PLAN:
        left = LIMIT - (time.monotonic() - began)
        if name == "perplexity" and not args.data:
            continue
        for row in run_section(name, args, min(seconds, left)):
            rows.append(row)
            print(line(*row), flush=True)
    text = "\n".join([line("what", "figure", "asked"), *(line(*row) for row in rows)])
    print("\n" + text)
    if args.out:
        Path(args.out).write_text(text + "\n", encoding="utf-8")
    return 0 if all(row[1] != "failed" for row in rows) else 1


def line(what, figure, asked=""):
    return f"{what:58}  {figure:>24}  {asked}".rstrip()


def missing():
    """Return why no GPU can be used, or None."""
    try:
        import cupy
    except ImportError as error:
        return f"{error}. Install cupy-cuda12x or cupy-cuda13x."
    if not cupy.cuda.is_available():
        return "CuPy finds no CUDA device it can use (see nvidia-smi)."
    return None


class Failed(RuntimeError):
    """A program failed; ``output`` is what it had printed by then."""

    def __init__(self, reason, output=""):
        super().__init__(reason)
        self.output = output


def python(command, seconds, **environment):
    """Run a program of this folder; return what it prints, or raise Failed."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
    try:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            env=environment,
            timeout=max(1, seconds),
            capture_output=True,
            text=True,
        )
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode()
        raise Failed(f"took longer than {seconds:.0f} s", output) from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        raise Failed(reason, done.stdout)
    return done.stdout


def run_section(name, args, seconds):
    """Return the rows of a section; what failed is a row, too."""
    command = [__file__, "--section", name, "--device", args.device]
    if args.data:
        command += ["--data", os.path.abspath(args.data)]
    limit = str(time.time() + seconds)
    failures = []
    try:
        if seconds < 5:
            raise Failed("no time was left")
        output = python(command, seconds, DYRNN_BENCHMARK_UNTIL=limit)
    except Failed as error:
        output = error.output
        failures = [(f"{name}: {error}"[:400], "failed", "")]
    lines = [text for text in output.splitlines() if text.endswith("]")]
    return [json.loads(text) for text in lines if text.startswith("[")] + failures


def row(what, figure, asked=""):
    print(json.dumps([what, str(figure), asked]), flush=True)


def until():
    """Return the seconds that are left to this section."""
    return float(os.environ.get("DYRNN_BENCHMARK_UNTIL", time.time() + LIMIT)) - (
        time.time()
    )


def hardware(args):
    import cupy
    import numpy

    import dyrnn

    properties = cupy.cuda.runtime.getDeviceProperties(int(args.device))
    row("GPU", properties["name"].decode())
    row("CUDA runtime, driver", cupy.cuda.runtime.runtimeGetVersion())
    versions = dyrnn.__version__, cupy.__version__, numpy.__version__
    row("dyrnn, CuPy, NumPy", ", ".join(versions))
    try:
        import torch

        cudnn = torch.backends.cudnn.version()
        row("PyTorch, cuDNN", f"{torch.__version__}, {cudnn}")
    except ImportError as error:
        row("PyTorch", f"{error}")


def tests(args):
    command = "-m pytest -m gpu -q -p no:cacheprovider tests".split()
    try:
        output = python(command, until() - 3)
        row("tests that need a GPU", output.strip().splitlines()[-1][:60], "all pass")
    except Failed as error:
        row(f"tests that need a GPU: {error}"[:300], "failed", "all pass")


def relative_error(found, expected):
    import numpy as np

    from dyrnn import backend

    worst = 0.0
    for ours, meant in zip(found, expected, strict=True):
        if meant is not None and meant.size and meant.dtype.kind == "f":
            ours, meant = backend.to_cpu(ours).astype(float), meant.astype(float)
            error = np.abs(ours - meant).max() / max(1.0, np.abs(meant).max())
            worst = max(worst, float("inf") if np.isnan(error) else float(error))
    return worst


def agreement(args):
    """Compare every function and link, outputs and gradients, in float32."""
    import numpy as np

    import dyrnn
    from dyrnn import backend
    from tests.functions.running import in_type, run
    from tests.functions.table import CASES
    from tests.links import table

    device = backend.get_device(int(args.device))

    def of_function(case, place):
        dyrnn.random.seed(0)
        inputs = in_type(case.inputs, np.float32)
        outputs, gradients = run(case, [place.send(x) for x in inputs])
        return [*outputs, *gradients]

    kinds = {
        "functions": [(str(c), lambda d, c=c: of_function(c, d)) for c in CASES],
        "links": [(n, lambda d, n=n: table.run(n, d)) for n in table.LINKS],
    }
    for kind, items in kinds.items():
        errors = {}
        for name, compute in items:
            if until() < 5:  # CuPy's own kernels are compiled at their first use
                row(f"{kind}: no time from {name} on, repeat it", "failed")
                break
            try:
                errors[name] = relative_error(compute(device), compute(backend.CPU))
            except Exception as error:
                row(f"{kind}: {name}: {type(error).__name__}: {error}"[:300], "failed")
        worst = sorted(errors, key=errors.get)[-3:]
        names = ", ".join(f"{name} {errors[name]:.0e}" for name in worst)
        figure = f"{max(errors.values(), default=float('nan')):.1e}"
        row(f"{len(errors)} {kind}, GPU/CPU: {names}", figure, f"<= {TOLERANCE}")
        for name, error in errors.items():
            if not error <= TOLERANCE:
                row(f"{kind}: {name} differs", f"{error:.1e}", f"<= {TOLERANCE}")


def windows(args):
    """Compare windows of the sizes of the language models, and rounded products."""
    import numpy as np

    from dyrnn import backend, using_config
    from dyrnn.links import GRU, LSTM, ElmanRNN

    device = backend.get_device(int(args.device))
    device.use()
    rng = np.random.default_rng(0)
    bounds = {"float32": TOLERANCE, "tf32": 5e-3, "bfloat16": 5e-2}

    def outcome(link, place, x, gy):
        net = link(x.shape[2], gy.shape[2]).to_device(place)
        for param in net.params():
            scale = param.shape[-1] ** -0.5
            values = np.random.default_rng(1).uniform(-scale, scale, param.shape)
            param.array[...] = place.send(values.astype(np.float32))
        y = net(place.send(x))
        y.grad = place.send(gy)
        y.backward()
        return [y.array, *(param.grad for param in net.params())]

    for units in (200, 650, 1056, 1500):
        shape = 35, 20, units
        x, gy = (rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(2))
        for link in (LSTM, GRU, ElmanRNN):
            expected = [backend.to_cpu(a) for a in outcome(link, backend.CPU, x, gy)]
            for precision, bound in bounds.items():
                with using_config("matmul_precision", precision):
                    found = outcome(link, device, x, gy)
                error = relative_error(found, expected)
                what = f"{link.__name__}, {units} units, {precision}, GPU/CPU"
                row(what, f"{error:.1e}", f"<= {bound}")


def rate(program, size, mode, dtype, args, **environment):
    """Return words per second of a program, or None and a row that says why."""
    steps = {"window": 40, "step": 15}[mode]
    command = [ROOT / "benchmarks" / program, "--config", size, "--mode", mode]
    command += ["--dtype", dtype, "--device", args.device]
    command += ["--steps", steps, "--blocks", 3, "--warmup", 5]
    if args.data:
        command += ["--data", args.data]
    try:
        output = python(command, min(60, until() - 1), **environment)
    except Failed as error:
        row(f"{program} {size} {mode} {dtype}: {error}"[:300], "failed")
        return None
    return json.loads(output.strip().splitlines()[-1])["words_per_s"]


def speed(mode):
    def section(args):
        asked = {"small": ">= 1.0", "medium": ">= 0.9", "large": ">= 0.9"}
        for size in SIZES:
            ours = rate("ptb.py", size, mode, "float32", args)
            exact = {"NVIDIA_TF32_OVERRIDE": "0"}  # cuDNN rounds to TF32 by default
            torch = rate("torch_ptb.py", size, mode, "float32", args, **exact)
            goal = asked[size] if mode == "window" else ">= 1.5"
            for name, figure in (("dyrnn", ours), ("PyTorch", torch)):
                if figure:
                    row(f"words/s, {size}, {mode}, float32: {name}", f"{figure:,.0f}")
            if ours and torch:
                row(f"ratio, {size}, {mode}, float32", f"{ours / torch:.2f}", goal)
            if mode == "step":
                continue
            others = {
                "dyrnn, TF32": ("ptb.py", "tf32", {}),
                "dyrnn, bfloat16 products": ("ptb.py", "bfloat16", {}),
                "dyrnn, float16": ("ptb.py", "float16", {}),
                "PyTorch, TF32 in cuDNN": ("torch_ptb.py", "float32", {}),
                "PyTorch, bfloat16": ("torch_ptb.py", "bfloat16", {}),
            }
            for name, (program, dtype, environment) in others.items():
                figure = rate(program, size, mode, dtype, args, **environment)
                if figure:
                    row(f"words/s, {size}, {mode}: {name}", f"{figure:,.0f}")

    return section


def trainer(device, size="small", mode="window"):
    """Return an update of the language model on random words, and the model."""
    import harness
    import numpy as np

    import dyrnn
    import dyrnn.functions as F
    import dyrnn.links as L
    from dyrnn import optimizers
    from dyrnn.optimizers.hooks import GradientClipping

    dyrnn.random.seed(0)
    config = harness.CONFIGS[size]
    H, V, T = config["hidden"], harness.VOCABULARY, config["steps"]
    layers = L.EmbedID(V, H), L.LSTM(H, H), L.Dropout(0.5), L.LSTM(H, H), L.Linear(H, V)
    model = dyrnn.Sequential(*layers).to_device(device)
    optimizer = optimizers.SGD(1.0).setup(model)
    optimizer.add_hook(GradientClipping(config["clip"]))
    words = np.random.default_rng(0).integers(0, V, (T + 1, harness.BATCH))
    words = device.send(words.astype(np.int32))

    def forward():
        if mode == "window":
            return F.softmax_cross_entropy(model(words[:-1]), words[1:]) * T
        pairs = itertools.pairwise(words)
        return sum(F.softmax_cross_entropy(model(x), t) for x, t in pairs)

    def backward(loss):
        model.cleargrads()
        loss.backward()
        loss.unchain_backward()

    return forward, backward, optimizer.update, model


def parts(args):
    """Time the parts of an update between events on the device."""
    import cupy

    from dyrnn import backend

    device = backend.get_device(int(args.device))
    device.use()
    for size in SIZES:
        forward, backward, update, _ = trainer(device, size)
        totals, updates = [0.0, 0.0, 0.0], 20
        for i in range(updates + 5):
            marks = [cupy.cuda.Event() for _ in range(4)]
            marks[0].record()
            loss = forward()
            marks[1].record()
            backward(loss)
            marks[2].record()
            update()
            marks[3].record()
            marks[3].synchronize()
            if i >= 5:
                for k in range(3):
                    pair = marks[k], marks[k + 1]
                    totals[k] += cupy.cuda.get_elapsed_time(*pair)
        figures = " / ".join(f"{total / updates:.2f}" for total in totals)
        row(f"ms a window of {size}: forward / backward / update", figures)


def counts(args):
    """Count launches and waits of an update, as CUPTI reports them to PyTorch."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from dyrnn import backend

    device = backend.get_device(int(args.device))
    device.use()
    torch.zeros(1, device=f"cuda:{args.device}")
    for size, mode in (("small", "window"), ("medium", "window"), ("small", "step")):
        forward, backward, update, _ = trainer(device, size, mode)
        for _ in range(3):
            backward(forward())
            update()
        device.xp.cuda.Device().synchronize()
        activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
        with profile(activities=activities) as found:
            backward(forward())
            update()
        events = {event.key: event.count for event in found.key_averages()}
        launches = sum(n for key, n in events.items() if "Launch" in key)
        waits = {
            key: n
            for key, n in events.items()
            if "Synchronize" in key or key in ("cudaMemcpy", "cuMemcpyDtoH_v2")
        }
        # The profiler waits for the device itself when it ends.
        waits.pop("cudaDeviceSynchronize", None)
        row(f"launches an update, {size}, {mode}", launches)
        names = ", ".join(waits) or "none"
        row(f"waits an update, {size}, {mode}: {names}", sum(waits.values()), "0")


def repeats(args):
    """Train 20 times from the same seed; compare the bytes of the models."""
    from dyrnn import backend

    device = backend.get_device(int(args.device))
    device.use()
    digests = set()
    for _ in range(20):
        forward, backward, update, model = trainer(device)
        for _ in range(5):
            backward(forward())
            update()
        digest = hashlib.sha256()
        for param in model.params():
            digest.update(backend.to_cpu(param.array).tobytes())
        digests.add(digest.hexdigest())
    row("different models in 20 runs of 5 updates", len(digests), "1")


def perplexity(args):
    """Train the small model of the example until its validation perplexity is 130."""
    script = ROOT / "examples" / "ptb" / "train_ptb.py"
    with tempfile.TemporaryDirectory() as out:
        command = [script, "--config", "small", "--data", args.data, "--epoch", 8]
        command += ["--device", args.device, "--out", out]
        try:
            python(command, until() - 3)
        except Failed as error:
            row(f"training small on {args.data}: {error}"[:300], "failed")
        log = Path(out) / "log.jsonl"
        text = log.read_text(encoding="utf-8") if log.exists() else ""
    for entry in map(json.loads, text.splitlines()):
        found = [v for k, v in entry.items() if "val" in k and "perplexity" in k]
        if found and found[0] <= 130:
            row(
                f"s to validation perplexity {found[0]:.1f}, epoch {entry['epoch']}",
                f"{entry['elapsed_time']:.1f}",
                "<= 130",
            )
            return
    row("validation perplexity 130 was not reached", "failed", "<= 130")


SECTIONS = {
    "hardware": hardware,
    "agreement": agreement,
    "windows": windows,
    "window": speed("window"),
    "step": speed("step"),
    "counts": counts,
    "parts": parts,
    "repeats": repeats,
    "tests": tests,
    "perplexity": perplexity,
}
PLAN = [  # the seconds that each may take
    ("hardware", 20),
    ("agreement", 90),
    ("windows", 60),
    ("window", 200),
    ("step", 70),
    ("counts", 30),
    ("parts", 30),
    ("repeats", 30),
    ("tests", 70),
    ("perplexity", 120),
]

if __name__ == "__main__":
    sys.exit(main())
