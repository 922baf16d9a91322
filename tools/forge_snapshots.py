"""Forge snapshots with right hashes: each is refused, and the process stays intact.

``python -m tools.forge_snapshots`` takes the snapshots of a small training and of one
with all triggers, schedules and other extensions that have a state, changes one to
three of the values, arrays or keys, and writes a valid file. Loading it must
work or raise ``SnapshotError``; after that error, the trainer must be as it was, bit by
bit, and be saved and loaded again. A file that loads must be able to be saved again.
"""

import argparse
import collections
import contextlib
import json
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import dyrnn
from dyrnn import extensions
from dyrnn.errors import SnapshotError
from dyrnn.optimizers import Adam
from dyrnn.serializers import Contents, capture, load_npz, save_npz, write_snapshot
from dyrnn.training import Trainer
from tools import resume_everywhere
from tools.fuzz_npz import memory_folder
from tools.small_training import language_updater

HOSTILE = [
    *(None, True, -1, 0, 2.5, 10**400, -(10**400), 2**63, 2**64, 1e308, -0.0, ""),
    *("\0", "/", "..", "x" * 3000, "\ud800", [], {}, [[]], {"a": 1}, [None], ["\0"]),
    *(-1.5, 1 << 40, "1" * 5000, [0] * 40, [[[[[]]]]] * 3, {"a": {"b": {"c": [{}]}}}),
    *({"$float": "nan"}, {"$float": "inf"}, [""], ["x"], [0.5, "y"]),
]


def make_trainer(out):
    """Return a trainer that has done three updates."""
    dyrnn.random.seed(4)
    optimizer = Adam()
    updater = language_updater(optimizer, window=True)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientNoise(1e-4))
    trainer = Trainer(updater, (3, "iteration"), out)
    trainer.extend(extensions.LogReport(trigger=(2, "iteration")))
    trainer.extend(extensions.ExponentialShift("lr", 0.9), trigger=(2, "iteration"))
    trainer.extend(Keeping())
    trainer.extend(extensions.snapshot(), trigger=(100, "iteration"))
    trainer.run()
    return trainer


def make_full_trainer(out):
    """Return a trainer with everything that has a state, after nine updates."""
    dyrnn.random.seed(4)
    parts = list(resume_everywhere.PARTS)
    trainer = resume_everywhere.make_trainer(out, "RMSprop", "BPTT by window", parts)
    stop = trainer.stop_trigger
    trainer.stop_trigger = lambda trainer: (
        stop(trainer) or trainer.updater.iteration > 8
    )
    model = trainer.updater.get_optimizer().target
    best = extensions.BestWeights("main/loss", check_trigger=(2, "iteration"))
    trainer.extend(best)
    trainer.extend(extensions.WeightAverage(model, 0.9))
    trainer.run()
    trainer.stop_trigger = stop
    return trainer


class Keeping:
    """An extension with a state that its class does not save."""

    def __init__(self):
        self.rng, self.seen = np.random.RandomState(1), {"calls": [0], 1: (None, "a")}

    def __call__(self, trainer):
        self.seen["calls"].append(self.rng.randint(9))


def inside(value, rng):
    """Return a copy of a value with a hostile one somewhere in it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        return {**value, key: inside(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return [*value[:place], inside(value[place], rng), *value[place + 1 :]]
    return rng.choice(HOSTILE)


def inside_own(array, rng):
    """Return the bytes of what a program keeps with a hostile value somewhere in it."""
    found = json.loads(array.tobytes())
    place = rng.choice(list(found))
    name = rng.choice(list(found[place]))
    found[place][name] = json.dumps(inside(json.loads(found[place][name]), rng))
    if rng.random() < 0.2:
        found = inside(found, rng)
    return np.frombuffer(json.dumps(found).encode(), np.uint8)


def forge(contents, rng):
    """Return contents with one to three changes."""
    arrays, values = dict(contents.arrays), dict(contents.values)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = rng.randrange(7)
        if kind < 3:
            values[rng.choice(list(values))] = rng.choice(HOSTILE)
        elif kind == 5:
            key = rng.choice(list(values))
            values[key] = inside(values[key], rng)
        elif kind == 6:
            with contextlib.suppress(
                ValueError, LookupError, AttributeError, TypeError
            ):
                arrays["own"] = inside_own(arrays["own"], rng)
        elif kind == 3:
            key = rng.choice(list(arrays))
            values.pop(key, None)
            arrays[key] = rng.choice(
                [
                    *(np.zeros((0, 3)), np.array(1), arrays[key].astype(np.float16)),
                    *(np.full(arrays[key].shape, np.nan), arrays[key].ravel()[:-1]),
                    np.frombuffer(rng.randbytes(99), np.uint8),
                ]
            )
        else:
            values.pop(rng.choice(list(values)))
    return Contents(arrays, values)


def state(trainer):
    """Return what a snapshot would hold, comparable."""
    contents = capture(trainer)
    arrays = {key: array.tobytes() for key, array in contents.arrays.items()}
    values = {k: v for k, v in contents.values.items() if k != "elapsed_time"}
    return arrays, repr(values)


def search(count, seed=0, make=make_trainer):
    """Return outcomes and their numbers, problems, and the slowest load."""
    rng = random.Random(seed)
    outcomes, problems, slowest = collections.Counter(), [], 0.0
    place = tempfile.TemporaryDirectory(dir=memory_folder())
    with place as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = make(folder)
        good, forged = Path(folder) / "good.npz", Path(folder) / "forged.npz"
        save_npz(good, trainer)
        original, before = capture(trainer, copy=True), state(trainer)
        for number in range(count):
            where = f"{make.__name__}, seed {seed}, {number}"
            try:
                write_snapshot(forged, forge(original, rng))
            except (ValueError, TypeError):
                continue  # not a file at all
            start = time.perf_counter()
            try:
                load_npz(forged, trainer)
                outcome = "loaded"
            except SnapshotError:
                outcome = "refused"
            except Exception as error:
                outcome = f"raised {type(error).__name__}: {error!s:.200}"
            slowest = max(slowest, time.perf_counter() - start)
            outcomes[outcome] += 1
            if outcome not in ("loaded", "refused"):
                problems.append(f"{where}: {outcome}")
            try:
                if outcome == "refused" and state(trainer) != before:
                    problems.append(f"{where}: not as it was")
                save_npz(forged, trainer)
                load_npz(good, trainer)
                if state(trainer) != before:
                    problems.append(f"{where}: not as in the file")
            except Exception as error:
                problems.append(f"{where}: afterwards {error!r:.300}")
                trainer = make(folder)
                load_npz(good, trainer)
    return outcomes, problems, slowest


def main():
    """Print the figures; return 1 if there was a problem."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes, problems, slowest = collections.Counter(), [], 0.0
    for make in (make_trainer, make_full_trainer):
        found, wrong, seconds = search(options.count // 2, options.seed, make)
        outcomes, problems = outcomes + found, problems + wrong
        slowest = max(slowest, seconds)
    for outcome, number in outcomes.most_common():
        print(f"{number:8} {outcome}")
    print(f"slowest: {slowest:.3f} s; {len(problems)} problems")
    for problem in problems[:20]:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
