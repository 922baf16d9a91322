"""Replay iterations of the examples, and of runs in which something went wrong.

``python -m tools.replay_runs`` trains four examples, notes the SHA-256 of the state
after each iteration, and replays random iterations, as ``--replay N`` does: the state
must be the same, the log must say so, and the run's directory must not have changed.
Then it plants NaN in the data, a parameter, or the gradient of an operation of small
programs, and replays the iteration in which they end: the replay must name the
iteration, the operation and the line.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import io
import os
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

import dyrnn
from dyrnn import command_line, extensions, optimizers, training
from dyrnn.engine.gradients import densify
from dyrnn.engine.hooks import user_line
from tools.small_training import digest, language_updater, shuffled_updater

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
RUNS = {
    "ptb/train_ptb.py": ["--test"],
    "char_rnn/train_char_rnn.py": ["--test", "--epoch", "0.2"],
    "sine/train_sine.py": ["-u", "8", "-b", "4", "-i", "100", "--steps", "20"],
    "counting/train_counting.py": ["--epoch", "700", "--optimizer", "rmsprop"],
}


def load(example):
    """Import an example as a module; what lies beside it is found, as in a run."""
    path = EXAMPLES / example
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Note:
    """Keeps the state after each iteration, and is itself no state of the training."""

    is_saved = False

    def __init__(self, digests):
        self._digests = digests

    def __call__(self, trainer):
        self._digests[trainer.updater.iteration] = digest(trainer, with_file=False)


def run(module, arguments, digests):
    """Run an example's main program, noting the state after each iteration."""
    extend = command_line.extend_with_snapshots

    def extend_and_note(trainer, *args, **kwargs):
        extend(trainer, *args, **kwargs)

        trainer.extend(Note(digests), priority=-1000)

    command_line.extend_with_snapshots = extend_and_note
    sys.argv = [module.__file__, *arguments]
    said = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            dyrnn.random.Streams(0),  # none are left of another run, as in a process
        ):
            module.main()
    except SystemExit as error:
        if error.code:
            raise RuntimeError(said.getvalue()) from None
    finally:
        command_line.extend_with_snapshots = extend
    return said.getvalue()


def contents(folder):
    """Return a SHA-256 of all files in a folder, with their names and times."""
    total = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        total.update(f"{path} {path.stat().st_mtime_ns}".encode())
        total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


def search_iterations(count, rng):
    """Return how many iterations were replayed, which ones, and problems."""
    replayed, problems = {}, []
    for example, arguments in RUNS.items():
        module = load(example)
        with tempfile.TemporaryDirectory() as out:
            arguments = [*arguments, "--out", out]
            wanted: dict[int, str] = {}
            run(module, arguments, wanted)
            before = contents(out)
            last = max(wanted)
            chosen = [rng.randint(1, last) for _ in range(count // len(RUNS))]
            for iteration in chosen:
                found: dict[int, str] = {}
                said = run(module, [*arguments, "--replay", str(iteration)], found)
                where = f"{example}, iteration {iteration}: "
                if found.get(iteration) != wanted[iteration]:
                    problems.append(f"{where}another state")
                if "the same run: " not in said and "is not known" not in said:
                    problems.append(f"{where}{said}")
                if contents(out) != before:
                    problems.append(f"{where}the directory has changed")
            replayed[example] = chosen
    return replayed, problems


class Fault(dyrnn.FunctionHook):
    """Lets the gradient of the n-th operation of an iteration be NaN.

    It also notes what it has planted: the operation, and the line.
    """

    def __init__(self, trainer, iteration, number):
        self.planted = None
        self._trainer = trainer
        self._iteration = iteration
        self._number = number

    def forward_after(self, node, arrays, outputs):
        if self._trainer.updater.iteration + 1 != self._iteration:
            return
        if not dyrnn.config.train:
            return
        self._number -= 1
        if self._number == 0:
            self.planted = type(node).__name__, user_line()
            backward, node.group = node.backward, None

            def broken(xp, *gys):
                gxs = backward(xp, *gys)
                gxs = gxs if isinstance(gxs, tuple | list) else (gxs,)
                return tuple(
                    None if gx is None else densify(gx) * np.float32("nan")
                    for gx in gxs
                )

            node.backward = broken


class FirstUse(dyrnn.FunctionHook):
    """Notes the first operation that is given an array with NaN, and the line."""

    def __init__(self):
        self.planted = None

    def forward_before(self, node, arrays):
        if self.planted is None and any(
            getattr(getattr(each, "dtype", None), "kind", "") == "f"
            and np.isnan(each).any()
            for each in arrays
        ):
            self.planted = type(node).__name__, user_line()


def make_program(kind, out):
    """Return a trainer of a small program."""
    dyrnn.random.seed(5)
    optimizer = optimizers.Adam(0.01)
    if kind == "shuffled":
        updater = shuffled_updater(optimizer)
    elif kind == "counting":
        module = load("counting/train_counting.py")
        x, t, start = module.make_data(1)
        optimizer.setup(module.Counter(*map(float, start)))
        data = [(bits.copy(), count) for bits, count in zip(x, t, strict=True)]
        iterator = dyrnn.iterators.SerialIterator(data, 5)
        updater = training.StandardUpdater(iterator, optimizer)
    else:
        updater = language_updater(optimizer, window=kind == "windows")
    trainer = training.Trainer(updater, (40, "iteration"), out)
    trainer.extend(extensions.LogReport(trigger=(5, "iteration")))
    trainer.extend(extensions.snapshot(), trigger=(7, "iteration"))
    return trainer


def plant(kind, place, out, rng):
    """Return a function that makes a trainer with a fault, and the hook that notes it.

    The fault is the same each time.
    """
    iteration, seed = rng.randint(2, 35), rng.random()

    def make():
        trainer = make_program(kind, out)
        own = random.Random(seed)
        if place == "gradient":
            return trainer, Fault(trainer, iteration, own.randint(1, 12))
        if place == "data":
            example = own.choice(trainer.updater.get_iterator().dataset)[0]
            example[own.randrange(len(example))] = np.nan
            return trainer, FirstUse()
        params = sorted(trainer.updater.get_optimizer().target.namedparams())
        _, param = own.choice(params)

        def spoil(trainer):
            if trainer.updater.iteration == iteration:
                param.array[..., 0] = np.nan

        trainer.extend(spoil, name="spoil")
        return trainer, FirstUse()

    return make


def call(hook, function, *args):
    """Call a function: what the library calls by itself is called from here."""
    with hook, np.errstate(all="ignore"):
        return function(*args)


def search_faults(count, rng):
    """Return how many runs ended at a planted NaN, by kind, and problems."""
    found, problems = {}, []
    places = ["data", "weights", "gradient"]
    while sum(found.values()) < count:
        place = places[sum(found.values()) % 3]
        kinds = ["shuffled", "counting", "windows", "steps"]
        kind = rng.choice(kinds[:2] if place == "data" else kinds)
        with tempfile.TemporaryDirectory() as out:
            make = plant(kind, place, out, rng)
            trainer, hook = make()
            try:
                call(hook, trainer.run)
            except dyrnn.NonFiniteError as error:
                iteration = error.iteration
            else:
                continue  # the gradient was one that nobody needs
            operation, line = hook.planted
            before = contents(out)
            trainer, hook = make()
            said = str(call(hook, trainer.replay, iteration))
            way = "backward" if place == "gradient" else "forward"
            of = "that of " if place == "gradient" else ""
            wanted = (
                f"the first NaN of the {way} pass: {of}{operation}, called at {line}"
            )
            for text in (f"the run ended: in iteration {iteration}:", wanted):
                if text not in said:
                    problems.append(f"{place} of {kind}: no {text!r} in:\n{said}")
            if contents(out) != before:
                problems.append(f"{place} of {kind}: the directory has changed")
        found[f"{place} of {kind}"] = found.get(f"{place} of {kind}", 0) + 1
    return found, problems


def main():
    """Print the figures; return 1 if there was a problem."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    os.environ.setdefault("MPLBACKEND", "agg")
    replayed, problems = {}, []
    if options.count:
        replayed, problems = search_iterations(options.count, rng)
    for example, chosen in replayed.items():
        print(
            f"{example}: {len(chosen)} iterations from {min(chosen)} to {max(chosen)}"
        )
    found, more = search_faults(options.faults, rng)
    for name, number in sorted(found.items()):
        print(f"NaN in the {name}: {number}")
    print(
        f"{sum(map(len, replayed.values()))} iterations, {len(problems)} problems; "
        f"{sum(found.values())} planted NaN, {len(more)} problems"
    )
    for problem in [*problems, *more][:20]:
        print(f"  {problem}")
    return 1 if problems or more else 0


if __name__ == "__main__":
    sys.exit(main())
