"""Cut a run after each of its 60 iterations: the rest must equal what never stopped.

``python -m tools.resume_everywhere`` does so for every optimizer, with each thing that
has state on its own and then with all of them together. Compared, at the end of the
run, is the SHA-256 of everything a snapshot holds (parameters, state of the optimizer,
random numbers, triggers, ...) and of the rows of the log, less times. Each trigger has
an extension that sums up the iterations it is called in, so one wrong firing shows.
"""

import argparse
import operator
import os
import sys
import tempfile

from dyrnn import extensions as E
from dyrnn import optimizers, random
from dyrnn.iterators import WindowIterator
from dyrnn.optimizers.hooks import GradientClipping, GradientNoise
from dyrnn.optimizers.optimizer import Optimizer
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import Trainer
from dyrnn.training.triggers import (
    AnyTrigger,
    BestValueTrigger,
    EarlyStoppingTrigger,
    IntervalTrigger,
    ManualScheduleTrigger,
    MaxValueTrigger,
    MinValueTrigger,
    NeverFire,
    OnceTrigger,
    StopTrigger,
    TimeTrigger,
)
from tools.small_training import (
    LENGTH,
    digest,
    language_updater,
    shuffled_updater,
    text,
)

LOSS, VALIDATION = "main/loss", "validation/main/loss"


class Calls:
    """An extension that sums up the iterations in which it is called."""

    priority = 50

    def __init__(self):
        self.total = 0

    def __call__(self, trainer):
        self.total += trainer.updater.iteration

    def serialize(self, s):
        """Save or load the sum."""
        self.total = s("total", self.total)


class PlotReport(E.PlotReport):
    """Collects its points, but draws nothing: that takes long, and has no state."""

    def initialize(self, trainer):
        self._draws = False


def _calls(make_trigger):
    return lambda trainer: trainer.extend(Calls(), trigger=make_trigger())


def _shift(make_shift):
    return lambda trainer: trainer.extend(make_shift(trainer), trigger=(2, "iteration"))


def _rate(trainer):
    """Return the name of the main hyperparameter of the optimizer in use."""
    return next(iter(trainer.updater.get_optimizer().ranges))


def _extension(make_extension, **options):
    return lambda trainer: trainer.extend(make_extension(trainer), **options)


def _evaluator(trainer):
    model = trainer.updater.get_optimizer().target
    evaluator = E.Evaluator(WindowIterator(text(23), 1, 5, repeat=False), model)
    trainer.extend(evaluator, trigger=(5, "iteration"), priority=400)


def _stop_early(trainer):
    trainer.stop_trigger = EarlyStoppingTrigger(
        (7, "iteration"), LOSS, 50, max_trigger=(LENGTH, "iteration")
    )


def _iterations(number=1):
    return number, "iteration"


TRIGGERS = {
    "IntervalTrigger, iterations": lambda: IntervalTrigger(4, "iteration"),
    "IntervalTrigger, epochs": lambda: IntervalTrigger(0.7, "epoch"),
    "ManualScheduleTrigger": lambda: ManualScheduleTrigger([3, 17, 44], "iteration"),
    "ManualScheduleTrigger, epochs": lambda: ManualScheduleTrigger([0.5, 2], "epoch"),
    "OnceTrigger": OnceTrigger,
    "AnyTrigger": lambda: AnyTrigger((9, "iteration"), OnceTrigger()),
    "StopTrigger": lambda: StopTrigger(40, "iteration"),
    "TimeTrigger": lambda: TimeTrigger(1e9),
    "NeverFire": NeverFire,
    "MinValueTrigger": lambda: MinValueTrigger(LOSS, _iterations(3)),
    "MaxValueTrigger": lambda: MaxValueTrigger(LOSS, (1, "epoch")),
    "BestValueTrigger": lambda: BestValueTrigger(LOSS, operator.gt, _iterations(2)),
    "EarlyStoppingTrigger": lambda: EarlyStoppingTrigger(_iterations(2), LOSS, 4),
}
SHIFTS = {
    "ExponentialShift": lambda t: E.ExponentialShift(_rate(t), 0.97),
    "LinearShift": lambda t: E.LinearShift(_rate(t), (0.01, 0.02), (3, 20)),
    "StepShift": lambda t: E.StepShift(_rate(t), 0.9, 7),
    "MultistepShift": lambda t: E.MultistepShift(_rate(t), 0.5, [3, 11]),
    "PolynomialShift": lambda t: E.PolynomialShift(_rate(t), 0.5, 40),
    "InverseShift": lambda t: E.InverseShift(_rate(t), 0.01, 1),
    "WarmupShift": lambda t: E.WarmupShift(_rate(t), 1e-4, 12),
    "ReduceOnPlateau": lambda t: E.ReduceOnPlateau(
        _rate(t), 0.9, LOSS, 1, check_trigger=_iterations(2)
    ),
}
EXTENSIONS = {
    "LogReport": _extension(lambda t: E.LogReport(trigger=_iterations(7))),
    "PlotReport": _extension(lambda t: PlotReport([LOSS], trigger=_iterations(6))),
    "MicroAverage": _extension(
        lambda t: E.MicroAverage(LOSS, LOSS, "one", _iterations(8))
    ),
    "early stop": _stop_early,
}
# What takes part, by name: a function that adds it to a trainer.
PARTS = {
    **{name: _calls(make) for name, make in TRIGGERS.items()},
    **{name: _shift(make) for name, make in SHIFTS.items()},
    **EXTENSIONS,
}
UPDATERS = {
    "BPTT by step": lambda optimizer: language_updater(optimizer, window=False),
    "BPTT by window": lambda optimizer: language_updater(optimizer, window=True),
    "BPTT without dropout": lambda optimizer: language_updater(optimizer, True, 0.0),
    "shuffled": shuffled_updater,
}
OPTIMIZERS = {
    name: getattr(optimizers, name)
    for name in dir(optimizers)
    if isinstance(getattr(optimizers, name), type)
    and issubclass(getattr(optimizers, name), Optimizer)
    and getattr(optimizers, name) is not Optimizer
}


def make_trainer(out, optimizer, updater, parts):
    """Return a trainer of an optimizer and updater, with the parts of these names."""
    rule = OPTIMIZERS[optimizer]()
    trainer = Trainer(UPDATERS[updater](rule), (LENGTH, "iteration"), out)
    rule.add_hook(GradientClipping(1.0))
    rule.add_hook(GradientNoise(1e-4))
    if len(parts) > 1 and updater != "shuffled":
        _evaluator(trainer)
    for name in parts:
        PARTS[name](trainer)
    return trainer


def check(folder, optimizer, updater, parts, cuts):
    """Return after which of the ``cuts`` a resumed run ended otherwise."""
    random.seed(3)
    whole = make_trainer(os.path.join(folder, "whole"), optimizer, updater, parts)
    paths = {cut: os.path.join(folder, f"{cut}.npz") for cut in cuts}

    def save(trainer):
        if trainer.updater.iteration in paths:
            save_npz(paths[trainer.updater.iteration], trainer)

    whole.extend(save, "last", _iterations(), priority=-1000)
    whole.run()
    if whole.updater.iteration != LENGTH:
        raise RuntimeError(f"the run ended after {whole.updater.iteration} iterations")
    wanted = digest(whole)
    wrong = []
    for cut, path in paths.items():
        random.seed(99)
        resumed = make_trainer(
            os.path.join(folder, "resumed"), optimizer, updater, parts
        )
        resumed.extend(lambda trainer: None, "last", _iterations(), priority=-1000)
        load_npz(path, resumed)
        resumed.run()
        if digest(resumed) != wanted:
            wrong.append(cut)
    return wrong


def search(optimizer_names=None, cuts=None, separately=True):
    """Return the number of resumed runs, and the cases that went wrong."""
    cuts = range(1, LENGTH + 1) if cuts is None else cuts
    runs, problems = 0, []
    for optimizer in optimizer_names or OPTIMIZERS:
        cases = [(updater, list(PARTS)) for updater in UPDATERS]
        if separately:
            cases += [(updater, []) for updater in UPDATERS]
            cases += [("BPTT by window", [part]) for part in PARTS]
        for updater, parts in cases:
            with tempfile.TemporaryDirectory() as folder:
                wrong = check(folder, optimizer, updater, parts, cuts)
            runs += len(cuts)
            if wrong:
                problems.append((optimizer, updater, parts, wrong))
    return runs, problems


def main():
    """Print the figures; return 1 if a resumed run was not equal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--optimizers", nargs="*", choices=OPTIMIZERS)
    options = parser.parse_args()

    total, problems = 0, []
    for optimizer in options.optimizers or OPTIMIZERS:
        runs, found = search([optimizer])
        wrong = sum(len(cuts) for *_, cuts in found)
        print(f"{optimizer}: {runs} resumed runs, {wrong} not equal", flush=True)
        total += runs
        problems += found
    print(
        f"{total} resumed runs, {len(PARTS)} parts and {len(UPDATERS)} ways to train, "
        f"cut after each of {LENGTH} iterations; {len(problems)} problems"
    )
    for optimizer, updater, parts, cuts in problems:
        what = parts[0] if len(parts) == 1 else f"{len(parts)} parts"
        print(f"  {optimizer}, {updater}, {what}: after {cuts}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
