"""A run that is cut at any iteration and goes on equals one that is not.

All that has state takes part at once: optimizers with momentum, dropout, shuffling, the
carried state of a recurrent model, every kind of trigger, every extension that
remembers something. Compared are the bytes of all arrays of a snapshot, its values, and
the rows of the log, less what depends on the clock.
"""

import hashlib
import operator

import pytest

from dyrnn import extensions as E
from dyrnn import random
from dyrnn.errors import SnapshotError
from dyrnn.iterators import SerialIterator, WindowIterator
from dyrnn.optimizers import SGD, Adam
from dyrnn.optimizers.hooks import GradientClipping, WeightDecay
from dyrnn.serializers import capture, load_npz, save_npz
from dyrnn.training import StandardUpdater, Trainer
from dyrnn.training.triggers import (
    AnyTrigger,
    BestValueTrigger,
    EarlyStoppingTrigger,
    ManualScheduleTrigger,
    MaxValueTrigger,
    MinValueTrigger,
    OnceTrigger,
    TimeTrigger,
)
from tests.arrays import every_device
from tests.training.toys import Regression, language_trainer, points, text

pytestmark = every_device

LENGTH = 60
TIMES = ("elapsed_time", "words_per_second", "next_time", "update_time")


class Counting:
    """An extension that counts its calls: two runs fire alike if the counts agree."""

    priority = 50

    def __init__(self):
        self.count = 0

    def __call__(self, trainer):
        self.count += trainer.updater.iteration

    def serialize(self, s):
        self.count = s("count", self.count)


def extend(trainer):
    """Add every trigger and every extension with state."""
    validation = "validation/main/loss"
    stop = EarlyStoppingTrigger(
        (7, "iteration"), "main/loss", 50, max_trigger=(LENGTH, "iteration")
    )
    trainer.stop_trigger = stop
    for trigger in (
        (4, "iteration"),
        (0.7, "epoch"),
        ManualScheduleTrigger([3, 17, 44], "iteration"),
        ManualScheduleTrigger([0.5, 2.25], "epoch"),
        OnceTrigger(),
        AnyTrigger((9, "iteration"), OnceTrigger()),
        MinValueTrigger("main/loss", (3, "iteration")),
        MaxValueTrigger("main/loss", (1, "epoch")),
        MinValueTrigger(validation, (5, "iteration")),
        BestValueTrigger("main/loss", operator.gt, (2, "iteration")),
        EarlyStoppingTrigger((2, "iteration"), "main/loss", 4),
        TimeTrigger(1e9),
    ):
        trainer.extend(Counting(), trigger=trigger)
    shifts = [
        E.ExponentialShift("lr", 0.99),
        E.StepShift("lr", 0.9, 7),
        E.ReduceOnPlateau("lr", 0.9, "main/loss", 1, check_trigger=(2, "iteration")),
    ]
    optimizer = trainer.updater.get_optimizer()
    if isinstance(optimizer, Adam):
        shifts += [E.WarmupShift("lr", 1e-4, 30), E.InverseShift("beta1", 1e-3, 1)]
    for shift in shifts:
        trainer.extend(shift, trigger=(2, "iteration"))
    trainer.extend(E.MicroAverage("main/loss", "main/loss", "one", (8, "iteration")))
    trainer.extend(E.ParameterStatistics(optimizer.target, trigger=(6, "iteration")))
    trainer.extend(E.LogReport(trigger=(7, "iteration")))
    plot = E.PlotReport(["main/loss", validation], trigger=(6, "iteration"))
    plot._draw = lambda path: None
    trainer.extend(plot)


def language(out, make_optimizer, window):
    optimizer = make_optimizer()
    trainer = language_trainer(out, None, optimizer, dropout=0.3, window=window)
    optimizer.add_hook(GradientClipping(1.0))
    iterator = WindowIterator(text(23), 1, 5, repeat=False)
    trainer.extend(
        E.Evaluator(iterator, optimizer.target), trigger=(5, "iteration"), priority=400
    )
    extend(trainer)
    return trainer


def shuffled(out, make_optimizer, window):
    optimizer = make_optimizer().setup(Regression())
    updater = StandardUpdater(SerialIterator(points(10), 4), optimizer)
    trainer = Trainer(updater, None, out)
    iterator = SerialIterator(points(5), 2, repeat=False, shuffle=False)
    trainer.extend(
        E.Evaluator(iterator, optimizer.target), trigger=(5, "iteration"), priority=400
    )
    extend(trainer)
    return trainer


def digest(trainer):
    """What a snapshot would hold, less times; and the log."""
    contents = capture(trainer)
    hashes = {
        key: hashlib.sha256(array.tobytes()).hexdigest()
        for key, array in contents.arrays.items()
        if not key.endswith("/rows")  # of the log, with times
    }
    values = {
        key: value
        for key, value in contents.values.items()
        if not key.endswith((*TIMES, "/log"))
    }
    rows = [
        {key: value for key, value in row.items() if key not in TIMES}
        for row in trainer.get_extension("LogReport").log
    ]
    return hashes, values, rows


RUNS = {
    "language model by step, SGD": (language, lambda: SGD(lr=0.5), False),
    "language model by window, Adam": (language, Adam, True),
    "shuffled examples, SGD": (shuffled, lambda: SGD(lr=0.02), None),
}


class Notes:
    """An extension whose variables are no state of the training."""

    def __init__(self, function):
        self.function = function

    def __call__(self, trainer):
        self.function(trainer)

    def serialize(self, s):
        pass


def run(trainer, until, after_each=lambda trainer: None):
    trainer.extend(Notes(after_each), "last", (1, "iteration"), -1000)
    trainer.stop_trigger.max_trigger.period = until
    trainer.run()


@pytest.mark.parametrize("name", RUNS)
def test_resume_at_any_iteration_is_exact(tmp_path, name):
    """Two iterations after every other one; lost state shows when it is used."""
    make, make_optimizer, window = RUNS[name]
    random.seed(3)
    whole = make(tmp_path / "whole", make_optimizer, window)
    digests = {}

    def keep(trainer):
        iteration = trainer.updater.iteration
        digests[iteration] = digest(trainer)
        save_npz(tmp_path / f"{iteration}.npz", trainer)

    run(whole, LENGTH, keep)
    assert list(digests) == list(range(1, LENGTH + 1))
    fires = [each.count for each in whole.extensions.values() if type(each) is Counting]
    assert sum(count > 0 for count in fires) >= len(fires) - 2
    assert len(whole.get_extension("LogReport").log) == 9
    for iteration in range(1, LENGTH, 2):
        random.seed(99)
        resumed = make(tmp_path / "resumed", make_optimizer, window)
        load_npz(tmp_path / f"{iteration}.npz", resumed)
        stop = LENGTH if iteration in (1, 31) else min(iteration + 2, LENGTH)
        found = {}
        run(
            resumed, stop, lambda t, f=found: f.update({t.updater.iteration: digest(t)})
        )
        assert list(found) == list(range(iteration + 1, stop + 1))
        for number, state in found.items():
            for part, wanted in zip(state, digests[number], strict=True):
                assert part == wanted, f"{number} after a cut at {iteration}"


class Growing:
    """A hook with a number that it changes itself."""

    def __init__(self):
        self.calls = 0

    def __call__(self, optimizer):
        self.calls += 1
        for _, _, total in optimizer.updates:
            total.scale(1 / self.calls)


def changed_on_the_way(out, stop):
    random.seed(1)
    trainer = language_trainer(out, (stop, "iteration"), Adam(0.01))
    optimizer = trainer.updater.get_optimizer()
    for hook in (GradientClipping(5.0), WeightDecay(0.1), Growing()):
        optimizer.add_hook(hook)

    def change(trainer):
        if trainer.updater.iteration == 2:
            optimizer.hooks["GradientClipping"].threshold = 0.01
            optimizer.hooks["WeightDecay"].rate = 0.3
            optimizer.lazy_rows = True
            trainer.updater.bprop_len = 2

    trainer.extend(change, name="change")
    return trainer


def test_what_changes_on_the_way_is_saved(tmp_path):
    whole = changed_on_the_way(tmp_path, 6)
    whole.run()
    cut = changed_on_the_way(tmp_path, 4)
    cut.run()
    save_npz(tmp_path / "cut.npz", cut)
    resumed = changed_on_the_way(tmp_path, 6)
    load_npz(tmp_path / "cut.npz", resumed)
    resumed.run()
    for one, other in zip(*(params_of(t) for t in (whole, resumed)), strict=True):
        assert one.tobytes() == other.tobytes()


def params_of(trainer):
    return [p.array for p in trainer.updater.get_optimizer().target.params()]


def test_a_hook_added_on_the_way_is_missed_by_name(tmp_path):
    trainer = language_trainer(tmp_path, (1, "iteration"))
    trainer.run()
    trainer.updater.get_optimizer().add_hook(WeightDecay(0.1))
    save_npz(tmp_path / "cut.npz", trainer)
    with pytest.raises(SnapshotError, match="hooks WeightDecay, but here are none"):
        load_npz(tmp_path / "cut.npz", language_trainer(tmp_path, (1, "iteration")))
