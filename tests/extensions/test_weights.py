"""The best weights and the average ones are those that their definition says."""

import os
import signal

import pytest

from dyrnn import extensions, random, training
from dyrnn.iterators import SerialIterator
from dyrnn.optimizers import SGD
from dyrnn.reporter import report
from dyrnn.serializers import load_npz
from tests.arrays import every_device, one_device, xp
from tests.training.toys import Regression, points

pytestmark = every_device

VALUES = [3.0, 1.0, 2.0, float("nan"), 1.5]


def trained(out, stop, add, snapshots=False):
    """Train by iterations; return the model and its weights after each."""
    random.seed(0)
    model = Regression()
    updater = training.StandardUpdater(
        SerialIterator(points(), 4), SGD(lr=0.05).setup(model)
    )
    trainer = training.Trainer(updater, (stop, "iteration"), out)
    history = []

    @training.make_extension(priority=training.PRIORITY_WRITER)
    def observe(trainer):
        report({"score_loss": VALUES[trainer.updater.iteration - 1]})
        history.append(model.W.array.copy())

    trainer.extend(observe)
    extension = add(trainer, model)
    if snapshots:
        trainer.extend(extensions.snapshot(autoload=True), trigger=(1, "iteration"))
    trainer.run()
    return model, history, extension


def best(trainer, model):
    extension = extensions.BestWeights("score_loss", check_trigger=(1, "iteration"))
    trainer.extend(extension)
    return extension


def test_the_best_weights_are_restored_in_the_end(tmp_path):
    model, history, extension = trained(tmp_path, 5, best)
    assert (extension.iteration, extension.best_value) == (2, 1.0)
    xp.testing.assert_array_equal(model.W.array, history[1])
    assert not xp.array_equal(history[1], history[4])


def test_a_resumed_run_goes_on_from_the_last_weights_and_knows_the_best(tmp_path):
    model, whole, _ = trained(tmp_path / "a", 5, best)
    first, _, _ = trained(tmp_path / "b", 3, best, snapshots=True)
    resumed, rest, extension = trained(tmp_path / "b", 5, best, snapshots=True)
    xp.testing.assert_array_equal(rest, whole)  # what a function collects is saved
    assert extension.iteration == 2
    for each in (first, resumed):
        xp.testing.assert_array_equal(each.W.array, model.W.array)


def test_an_error_leaves_the_weights_as_they_are(tmp_path):
    def add(trainer, model):
        extension = best(trainer, model)

        def fail(trainer):
            if trainer.updater.iteration == 4:
                raise RuntimeError("stop")

        trainer.extend(fail, priority=0)
        add.found = model, extension
        return extension

    with pytest.raises(RuntimeError, match="stop"):
        trained(tmp_path, 5, add)
    model, extension = add.found
    before = model.W.array.copy()
    extension.restore()
    assert not xp.array_equal(model.W.array, before)


@one_device("no arrays")
def test_there_is_nothing_to_restore_before_the_first_value():
    with pytest.raises(RuntimeError, match="there was no value yet"):
        extensions.BestWeights().restore()


@pytest.mark.parametrize(("decay", "start"), [(0.5, 0), (0.9, 0), (None, 0), (0.2, 2)])
def test_the_average_follows_its_formula_and_is_resumed(tmp_path, decay, start):
    def add(trainer, model):
        extension = extensions.WeightAverage(model, decay, start)
        trainer.extend(extension)
        return extension

    model, history, extension = trained(tmp_path / "a", 5, add)
    mean = xp.full((1, 3), 0.5)  # at first
    for i, weights in enumerate(history, 1):
        t = i - start
        if t <= 0:
            mean = weights
        else:
            d = 1 - 1 / t if decay is None else min(decay, t / (9 + t))
            mean = d * mean + (1 - d) * weights
    xp.testing.assert_allclose(extension.model.W.array, mean, rtol=1e-12)
    xp.testing.assert_array_equal(model.W.array, history[-1])
    if decay is None:
        xp.testing.assert_allclose(mean, xp.mean(history, axis=0), rtol=1e-12)
    trained(tmp_path / "b", 2, add, snapshots=True)
    _, _, resumed = trained(tmp_path / "b", 5, add, snapshots=True)
    xp.testing.assert_array_equal(resumed.model.W.array, extension.model.W.array)


def test_evaluators_and_files_take_the_averaged_model(tmp_path):
    found = {}

    def add(trainer, model):
        average = extensions.WeightAverage(model, 0.5)
        trainer.extend(average)
        iterator = SerialIterator(points(), 10, repeat=False, shuffle=False)
        trainer.extend(
            extensions.Evaluator(iterator, average.model), trigger=(1, "iteration")
        )
        save = extensions.snapshot_object(average.model, "average.npz")
        trainer.extend(save, trigger=(1, "iteration"))
        trainer.extend(lambda trainer: found.update(trainer.observation), priority=0)
        return average

    _, _, average = trained(tmp_path, 4, add)
    x, t = map(xp.stack, zip(*points(), strict=True))
    meant = float(((x @ average.model.W.array.T - t) ** 2).mean())
    assert float(found["validation/main/loss"]) == pytest.approx(meant)
    other = Regression()
    load_npz(tmp_path / "average.npz", other)
    xp.testing.assert_array_equal(other.W.array, average.model.W.array)


def test_a_decay_of_1_is_refused():
    with pytest.raises(ValueError, match=r"decay=1.0; use 0 to below 1, or None"):
        extensions.WeightAverage(Regression(), 1.0)


def test_a_signal_after_the_end_saves_the_weights_that_are_trained(tmp_path, capfd):
    def interrupted(trainer, model):
        signalling = training.make_extension(
            finalize=lambda: os.kill(os.getpid(), signal.SIGTERM)
        )
        trainer.extend(signalling(lambda trainer: None), name="signalling")
        saving = extensions.snapshot(on_signal=True)
        trainer.extend(saving, trigger=(100, "iteration"))
        made.append((trainer, model))
        return best(trainer, model)

    made = []
    with pytest.raises(training.TrainingInterrupted):
        trained(tmp_path, 5, interrupted)
    [(trainer, model)] = made
    last = model.W.array.copy()
    trainer.get_extension("BestWeights").restore()
    assert (model.W.array != last).any()
    load_npz(tmp_path / "snapshot_iter_00000005.npz", trainer)
    xp.testing.assert_array_equal(model.W.array, last)
