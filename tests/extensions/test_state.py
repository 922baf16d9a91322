"""Whatever remembers something says so in ``serialize``.

Each public class of the training and extensions packages is put into a short run. If
its attributes differ after the run from those before, it has state: then ``serialize``
must be its own, and a second object that loads what the first one saved must become
equal to it.
"""

import inspect
import math

import numpy as np
import pytest

from dyrnn import backend, extensions, training
from dyrnn.iterators import ParallelSequentialIterator, SerialIterator
from dyrnn.links import GRU
from dyrnn.optimizers import SGD
from dyrnn.reporter import DictSummary, Summary
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import BPTTUpdater, StandardUpdater, Trainer, triggers, updaters
from tests.arrays import every_device, xp
from tests.training.toys import Recurrent, Regression, points, text

ITERATION = (1, "iteration")
LOSS = "main/loss"

MAKERS = {
    # triggers
    "AnyTrigger": lambda: triggers.AnyTrigger(triggers.OnceTrigger()),
    "BestValueTrigger": lambda: triggers.BestValueTrigger(
        LOSS, lambda a, b: True, ITERATION
    ),
    "EarlyStoppingTrigger": lambda: triggers.EarlyStoppingTrigger(ITERATION),
    "IntervalTrigger": lambda: triggers.IntervalTrigger(2, "epoch"),
    "ManualScheduleTrigger": lambda: triggers.ManualScheduleTrigger(2, "iteration"),
    "MaxValueTrigger": lambda: triggers.MaxValueTrigger(LOSS, ITERATION),
    "MinValueTrigger": lambda: triggers.MinValueTrigger(LOSS, (2, "iteration")),
    "NeverFire": triggers.NeverFire,
    "OnceTrigger": triggers.OnceTrigger,
    "StopTrigger": lambda: triggers.StopTrigger(9, "epoch"),
    "TimeTrigger": lambda: triggers.TimeTrigger(1e-9),
    # extensions
    "observe_lr": extensions.observe_lr,
    "observe_value": lambda: extensions.observe_value("one", lambda trainer: 1.0),
    "snapshot": lambda: extensions.snapshot(filename="other_{.updater.iteration}.npz"),
    "BestWeights": lambda: extensions.BestWeights(LOSS, check_trigger=ITERATION),
    "Evaluator": lambda: extensions.Evaluator(
        SerialIterator(points(), 4, repeat=False), Regression()
    ),
    "ExponentialShift": lambda: extensions.ExponentialShift("lr", 0.5),
    "FailOnNonNumber": extensions.FailOnNonNumber,
    "GateSaturation": lambda: extensions.GateSaturation(
        GRU(2, 3), xp.ones((4, 1, 2), np.float32), filename="own.png"
    ),
    "GradientNorms": lambda: extensions.GradientNorms(Regression(), ITERATION),
    "InverseShift": lambda: extensions.InverseShift("lr", 1, 1),
    "LinearShift": lambda: extensions.LinearShift("lr", (0.1, 0.2), (0, 9)),
    "LogReport": lambda: extensions.LogReport(trigger=(3, "iteration")),
    "MicroAverage": lambda: extensions.MicroAverage(LOSS, LOSS, "one"),
    "CsvReport": lambda: extensions.CsvReport(log_report=extensions.LogReport()),
    "CosineShift": lambda: extensions.CosineShift("lr", 4),
    "OneCycleShift": lambda: extensions.OneCycleShift("lr", 4),
    "MultistepShift": lambda: extensions.MultistepShift("lr", 0.5, [1]),
    "ParameterStatistics": lambda: extensions.ParameterStatistics(Regression()),
    "PlotReport": lambda: extensions.PlotReport(LOSS, trigger=(2, "iteration")),
    "PolynomialShift": lambda: extensions.PolynomialShift("lr", 1, 9),
    "PrintReport": extensions.PrintReport,
    "ProgressBar": extensions.ProgressBar,
    "ReduceOnPlateau": lambda: extensions.ReduceOnPlateau(
        "lr", 0.5, LOSS, 1, check_trigger=ITERATION
    ),
    "Snapshot": lambda: extensions.snapshot(),
    "StepShift": lambda: extensions.StepShift("lr", 0.5, 2),
    "WarmupShift": lambda: extensions.WarmupShift("lr", 0.1, 5),
    "WeightAverage": lambda: extensions.WeightAverage(Regression()),
    "WordsPerSecond": extensions.WordsPerSecond,
}

_OF_UPDATERS = {"update_time", "mean_loss", "loss_weights", "label_count", "_watch"}
_OF_UPDATERS |= {"_numbers", "own_state"}
# Set up anew from the trainer by ``initialize``: nothing to save.
DERIVED = {
    "BestWeights": {"target"},
    "CsvReport": {"_path", "_log_report", "_written", "_has_begun"},
    "GateSaturation": {"_draws"},
    "GradientNorms": {"_draws", "_seen", "_is_interval_over"},
    "LogReport": {"_path", "_seen", "_is_interval_over"},
    "PlotReport": {"_draws", "_seen", "_is_interval_over"},
    "PrintReport": {
        *("_log_report", "_printed", "_columns"),
        *("_seen", "_is_interval_over"),
    },
    "ProgressBar": {"_bar", "_trainer", "_unit"},
    "Evaluator": {"_iterators", "_targets", "_found"},  # started anew each time
    "ParameterStatistics": {"_links"},  # which the updater saves
    "Trainer": {"reporter"},
    "Snapshot": {"_to_rehearse"},  # of each run
    "StandardUpdater": _OF_UPDATERS,
    "BPTTUpdater": _OF_UPDATERS,
}
NOT_RUN = {
    "Tracker",
    "TensorBoardReport",
    "Extension",
    "Trigger",
    "Patience",
    "Trainer",
    "TrainingInterrupted",
}
NOT_RUN |= {"BPTTUpdater", "Doubts", "StandardUpdater", "Numbers", "Watch"}
NOT_RUN |= {"Fields", "OwnState"}


def public_classes():
    for module in (training, triggers, updaters, extensions):
        for name in dir(module):
            value = getattr(module, name)
            is_ours = getattr(value, "__module__", "").startswith("dyrnn.")
            if inspect.isclass(value) and is_ours and not name.startswith("_"):
                if value.__module__.split(".")[1] in ("training", "extensions"):
                    yield name, value


def state(value, known=()):
    """A comparable picture of an object's attributes."""
    if id(value) in known:
        return "itself"
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if backend.is_array(value):
        return value.tobytes()
    if isinstance(value, str | int | float | bytes | None):
        return value
    known = (*known, id(value))
    if isinstance(value, dict):
        # How a link's walk is known does not matter.
        return {str(k): state(v, known) for k, v in value.items() if str(k) != "_below"}
    if isinstance(value, list | tuple | set):
        return [state(each, known) for each in value]
    if hasattr(value, "__dict__") and not callable(value):
        return state(vars(value), known)
    if hasattr(value, "__dict__") and not inspect.isfunction(value):
        return state(vars(value) if not inspect.isclass(value) else {}, known)
    return type(value).__name__


def own_state(thing):
    if isinstance(thing, Summary | DictSummary):
        return state(thing)
    derived = DERIVED.get(type(thing).__name__, ())
    return {key: state(each) for key, each in vars(thing).items() if key not in derived}


def trainer_for(out, kind):
    optimizer = SGD(lr=0.01)
    if kind is BPTTUpdater:
        optimizer.setup(Recurrent())
        updater = BPTTUpdater(ParallelSequentialIterator(text(), 4), optimizer, 3)
    else:
        updater = StandardUpdater(
            SerialIterator(points(), 4), optimizer.setup(Regression())
        )
    trainer = Trainer(updater, (3, "iteration"), out)
    return trainer


def run_with(thing, out, run=True):
    trainer = trainer_for(out, None)
    if isinstance(thing, training.Extension):
        if isinstance(thing, extensions.PrintReport):
            trainer.extend(extensions.LogReport())
        trainer.extend(thing, trigger=ITERATION)
    else:
        trainer.extend(lambda trainer: None, trigger=thing)
    if run:
        trainer.run()
    return trainer


def test_each_public_class_is_looked_at():
    names = {name for name, _ in public_classes()}
    assert names <= MAKERS.keys() | NOT_RUN, names - MAKERS.keys() - NOT_RUN
    assert len(names) > 35


@pytest.mark.parametrize("name", MAKERS)
def test_what_changes_is_saved(tmp_path, name):
    thing = MAKERS[name]()
    before = own_state(thing)
    trainer = run_with(thing, tmp_path)
    after = own_state(thing)
    if after == before:
        return
    inherited = training.Extension.serialize
    assert getattr(type(thing), "serialize", inherited) is not inherited, name
    save_npz(tmp_path / "s.npz", trainer)
    other = MAKERS[name]()
    load_npz(tmp_path / "s.npz", run_with(other, tmp_path, run=False))
    found = own_state(other)
    for key, value in after.items():
        # BestWeights keeps what it replaced until the program's end.
        if key not in ("_trainer", "_ready", "_trained"):
            assert found[key] == value, key


@every_device
@pytest.mark.parametrize("kind", [StandardUpdater, BPTTUpdater])
def test_what_changes_in_an_updater_is_saved(tmp_path, kind):
    trainer = trainer_for(tmp_path, kind)
    before = own_state(trainer.updater)
    trainer.run()
    assert own_state(trainer.updater) != before
    save_npz(tmp_path / "s.npz", trainer)
    loaded = trainer_for(tmp_path, kind)
    load_npz(tmp_path / "s.npz", loaded)
    found = own_state(loaded.updater)
    for key, value in own_state(trainer.updater).items():
        if key not in ("_optimizers", "_iterators"):  # compared by what they save
            assert found[key] == value, key


def test_classes_with_state_are_recognised():
    stateful = extensions.LogReport()
    before = own_state(stateful)
    stateful._summary.add({"x": 1.0})
    assert own_state(stateful) != before


@every_device
@pytest.mark.parametrize(
    "make",
    [
        lambda once: extensions.LogReport(trigger=once),
        lambda once: extensions.PlotReport(LOSS, trigger=once),
        lambda once: extensions.MicroAverage(LOSS, LOSS, "one", trigger=once),
        lambda once: extensions.ReduceOnPlateau("lr", 0.5, LOSS, check_trigger=once),
        lambda once: triggers.MinValueTrigger(LOSS, once),
    ],
)
def test_trigger_within_is_saved(tmp_path, make):
    fired, fresh = triggers.OnceTrigger(), triggers.OnceTrigger()
    trainer = run_with(make(fired), tmp_path)
    assert fired.finished
    save_npz(tmp_path / "s.npz", trainer)
    load_npz(tmp_path / "s.npz", run_with(make(fresh), tmp_path, run=False))
    assert fresh.finished


@every_device
def test_stop_trigger_is_saved(tmp_path):
    def build():
        trainer = trainer_for(tmp_path, StandardUpdater)
        trainer.stop_trigger = triggers.EarlyStoppingTrigger(
            ITERATION, LOSS, mode="max", max_trigger=(3, "iteration")
        )
        return trainer

    trainer, loaded = build(), build()
    trainer.run()
    save_npz(tmp_path / "s.npz", trainer)
    load_npz(tmp_path / "s.npz", loaded)
    assert trainer.stop_trigger.best_value is not None
    assert loaded.stop_trigger.best_value == trainer.stop_trigger.best_value
    assert loaded.stop_trigger.count == trainer.stop_trigger.count
