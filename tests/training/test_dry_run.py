"""A dry run finds what fails late, and leaves nothing behind."""

import os

import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import extensions, iterators, optimizers, random, training
from dyrnn.serializers.protocol import capture
from dyrnn.training import triggers
from tests.arrays import every_device, xp
from tests.training.toys import language_trainer, regression_trainer, text

pytestmark = every_device


class Lazy(dyrnn.Chain):
    """Finds its sizes at the first call, normalizes, and drops."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(7, 4)
            self.norm = L.BatchNormalization(4)
            self.rnn = L.LSTM(None, 5)
            self.out = L.Linear(None, 7)
        self.calls = 0
        self.seen: list = []

    def forward(self, x, t):
        self.calls += 1
        self.seen.append(len(x))
        h = F.dropout(self.rnn(self.norm(self.embed(x))), 0.3)
        return F.softmax_cross_entropy(self.out(h), t)


def trainer_of(out, stop=(3, "epoch")):
    random.seed(0)
    model = Lazy()
    optimizer = optimizers.Adam(0.01).setup(model)
    optimizer.add_hook(dyrnn.optimizer_hooks.GradientNoise(1e-3))
    batches = iterators.WindowIterator(text(120), 4, steps=5)
    held_out = iterators.WindowIterator(text(90), 4, steps=5, repeat=False)
    trainer = training.Trainer(training.BPTTUpdater(batches, optimizer), stop, out)
    average = extensions.WeightAverage(model, 0.9)
    trainer.extend(average)
    trainer.extend(extensions.Evaluator(held_out, model))
    trainer.extend(extensions.Evaluator(held_out, average.model, name="mean"))
    trainer.extend(extensions.observe_lr())
    trainer.extend(extensions.LogReport())
    trainer.extend(extensions.PrintReport(["epoch", "mean/main/loss", "lr"]))
    trainer.extend(extensions.CsvReport())
    trainer.extend(extensions.BestWeights())
    trainer.extend(extensions.OneCycleShift("lr", 18), trigger=(1, "iteration"))
    trainer.extend(extensions.ReduceOnPlateau("lr"))
    trainer.extend(extensions.snapshot(autoload=True, background=True))
    best = triggers.MinValueTrigger("validation/main/loss")
    trainer.extend(extensions.snapshot_object(model, "best.npz"), trigger=best)
    return trainer


def contents(trainer):
    """All that a snapshot holds, but for the time."""
    found = capture(trainer, copy=True)
    values = {k: v for k, v in found.values.items() if k != "elapsed_time"}
    return values, {name: array.tobytes() for name, array in found.arrays.items()}


def parameters(trainer):
    return [p.array for p in trainer.updater.get_optimizer().target.params()]


def test_a_training_is_as_without_a_dry_run(tmp_path):
    meant, ours = (trainer_of(tmp_path / name) for name in "ab")
    random.seed(0)
    meant.run()
    random.seed(0)
    before = contents(ours)
    found = ours.dry_run()
    assert {"main/loss", "validation/main/loss", "mean/main/loss", "lr"} <= {*found}
    assert contents(ours) == before and ours.is_fresh and not ours.is_dry_run
    assert not (tmp_path / "b").exists()
    model = ours.updater.get_optimizer().target
    assert model.calls == 0 and model.seen == []
    assert model.out.W.array is None and model.out.W.grad is None
    ours.run()
    for mine, theirs in zip(*map(parameters, (ours, meant)), strict=True):
        xp.testing.assert_array_equal(mine, theirs)
    names = sorted(os.listdir(tmp_path / "a"))
    assert names == sorted(os.listdir(tmp_path / "b"))
    rows = [extensions.read_log(tmp_path / name / "log.jsonl") for name in "ab"]
    for row in rows[0] + rows[1]:
        del row["elapsed_time"]
    assert rows[0] == rows[1]


def test_a_training_may_be_tried_in_its_midst(tmp_path):
    meant, ours = (
        language_trainer(tmp_path / name, (9, "iteration"), dropout=0.3)
        for name in "ab"
    )
    for trainer in meant, ours:
        trainer.extend(extensions.LogReport(trigger=(4, "iteration")))
        random.seed(0)
        trainer.run()
        trainer.stop_trigger = triggers.StopTrigger(14, "iteration")
        if trainer is ours:
            files = {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}
            before = contents(ours)
            trainer.dry_run(5)
            assert contents(ours) == before
            assert files == {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}
        trainer.run()
    for mine, theirs in zip(*map(parameters, (ours, meant)), strict=True):
        xp.testing.assert_array_equal(mine, theirs)


def write_outside(trainer):
    trainer.own_out = trainer.out
    trainer.extend(writes_its_own)


def failing(trainer):
    raise OSError("no disk")


def writes_its_own(trainer):
    with open(os.path.join(trainer.own_out, "x.txt"), "w") as file:
        file.write("x")


class Forgetful(training.Extension):
    trigger = (1, "epoch")
    count = 0

    def __call__(self, trainer):
        self.count += 1

    def serialize(self, s):
        s("count", self.count)
        self.count = 0 if s.loading else self.count


LATE = {
    "a name that is never reported": (
        lambda t: setattr(
            t, "stop_trigger", triggers.EarlyStoppingTrigger(monitor="val/loss")
        ),
        (KeyError, "'val/loss' was not observed"),
    ),
    "an extension of a later epoch": (
        lambda t: t.extend(failing, trigger=(7, "epoch")),
        (OSError, "no disk"),
    ),
    "a trigger of points": (
        lambda t: t.extend(
            failing, trigger=triggers.ManualScheduleTrigger([90], "iteration")
        ),
        (OSError, "no disk"),
    ),
    "a trigger of one's own": (
        lambda t: t.extend(failing, trigger=lambda t: t.updater.iteration == 99),
        (OSError, "no disk"),
    ),
    "a file in the real directory": (
        write_outside,
        (PermissionError, "a replay or dry run leaves"),
    ),
    "a state that is lost": (
        lambda t: t.extend(Forgetful()),
        (dyrnn.SnapshotError, "extensions/Forgetful/count"),
    ),
    "a plot of nothing": (
        lambda t: t.extend(extensions.PlotReport(["main/los"])),
        (UserWarning, "never observed"),
    ),
}


@pytest.mark.parametrize("late", LATE)
def test_what_fails_late_fails_now_and_is_undone(tmp_path, late):
    change, (error, match) = LATE[late]
    trainer = regression_trainer(tmp_path / "out", (9, "epoch"))
    trainer.extend(extensions.LogReport())
    change(trainer)
    (tmp_path / "out").mkdir()
    before = contents(trainer)
    with pytest.raises(error, match=match):
        trainer.dry_run()
    assert contents(trainer) == before
    assert list((tmp_path / "out").iterdir()) == []


def test_extensions_that_never_fire_do_not(tmp_path):
    trainer = regression_trainer(tmp_path / "out")
    trainer.extend(failing, trigger=triggers.NeverFire())
    assert trainer.dry_run()["main/loss"] > 0
    assert not (tmp_path / "out").exists()


def test_evaluators_take_two_batches(tmp_path):
    trainer = regression_trainer(tmp_path / "out")
    seen = []

    class Held(iterators.SerialIterator):
        def __next__(self):
            batch = super().__next__()
            seen.append(len(batch))
            return batch

    data = Held(trainer.updater.get_iterator().dataset, 2, repeat=False)
    model = trainer.updater.get_optimizer().target
    trainer.extend(extensions.Evaluator(data, model))
    trainer.dry_run()
    assert seen == [2, 2]
    trainer.run()
    assert len(seen) == 2 + 3 * 5


def test_what_cannot_be_saved_is_told_first(tmp_path):
    class Plain:
        epoch, epoch_detail = 0, 0.0

        def next(self):
            return trainer.updater.get_iterator().dataset[:2]

    trainer = regression_trainer(tmp_path / "out")
    trainer.updater._iterators["other"] = Plain()
    with pytest.raises(TypeError, match="has no serialize"):
        trainer.dry_run()
    assert trainer.updater._settings is None
    with pytest.raises(ValueError, match="updates must be at least 1"):
        trainer.dry_run(0)
