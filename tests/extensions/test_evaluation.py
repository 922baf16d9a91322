from types import SimpleNamespace as Namespace

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn.config import config
from dyrnn.datasets import concat_examples
from dyrnn.extensions import Evaluator
from dyrnn.iterators import ParallelSequentialIterator, SerialIterator, WindowIterator
from dyrnn.link import Chain
from dyrnn.reporter import Observation, Reporter, report
from dyrnn.training.undeclared import Watch
from tests.arrays import every_device, xp
from tests.training.toys import (
    Recurrent,
    Regression,
    language_trainer,
    parameters,
    points,
    text,
)

pytestmark = every_device


def serial(batch_size=4, count=10):
    return SerialIterator(points(count), batch_size, repeat=False, shuffle=False)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10])
@pytest.mark.parametrize("reports", [False, True])
def test_mean_does_not_depend_on_the_batches(batch_size, reports):
    model = Regression(reports)
    expected = float(model(*concat_examples(points(10))).array)
    found = Evaluator(serial(batch_size), model)()
    assert found["validation/main/loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "score",
    [
        lambda x, t: F.sqrt(F.mean_squared_error(x, t)),
        lambda x, t: F.exp(F.mean(x)) * 1.0,
        lambda x, t: F.r2_score(x, t),
        lambda x, t: F.f1_score(F.concat([x, -x], 1), (t[:, 0] > 0) * 1)[0][1],
        lambda x, t: F.mean(F.precision(F.concat([x, -x], 1), (t[:, 0] > 0) * 1)[0]),
    ],
)
def test_what_is_no_mean_over_examples_is_warned_of_once(score):
    class Scoring(Regression):
        def forward(self, x, t):
            report({"a": score(x, t), "b": F.mean_squared_error(x, t)}, self)

    data = [(xp.array([i % 3 - 1.0]), xp.array([i % 2 - 0.5])) for i in range(10)]
    iterator = SerialIterator(data, 4, repeat=False, shuffle=False)
    evaluator = Evaluator(iterator, Scoring())
    with pytest.warns(UserWarning, match="Evaluator: validation/main/a is no mean ov"):
        evaluator()
    evaluator()
    whole = SerialIterator(data, 10, repeat=False)
    Evaluator(whole, Scoring())()


def test_weights_of_the_model_count():
    class Weighing(Regression):
        def forward(self, x, t):
            report({"value": float(len(x))}, self, weight=1)

    found = Evaluator(serial(8), Weighing())()
    assert found == {"validation/main/value": 5.0}


def test_evaluation_is_reported_under_its_name():
    observation = Observation()
    model = Chain(part=Regression())
    model.forward = model.part.forward
    with Reporter().scope(observation):
        Evaluator(serial(), {"main": model.part}, name="test")()
    assert list(observation) == ["test/main/loss"]
    evaluator = Evaluator(serial(), model, eval_func=model.part)
    assert "validation/main/part/loss" in evaluator()


def test_evaluation_neither_trains_nor_keeps_a_graph():
    class Looking(Regression):
        def forward(self, x, t):
            assert not config.train
            loss = super().forward(x, t)
            assert loss.node is None
            return loss

    model = Looking()
    Evaluator(serial(), model)()
    assert config.train
    assert model.W.grad is None


def test_evaluations_can_be_repeated():
    evaluator = Evaluator(serial(), Regression())
    assert evaluator() == evaluator()


def test_iterator_without_reset_is_copied():
    class Plain:
        def __init__(self):
            self.batches = [points(4), points(6)]
            self.position = 0

        def __iter__(self):
            return self

        def __next__(self):
            if self.position == 2:
                raise StopIteration
            self.position += 1
            return self.batches[self.position - 1]

        def finalize(self):
            self.position = -1

    iterator = Plain()
    evaluator = Evaluator(iterator, Regression())
    assert evaluator() == evaluator()
    evaluator.finalize()
    assert iterator.position == -1
    del Plain.finalize
    evaluator.finalize()  # an iterator need not have it


def test_endless_iterator_is_refused():
    evaluator = Evaluator(SerialIterator(points(), 4), Regression())
    with pytest.raises(ValueError, match="SerialIterator never ends.*repeat=False"):
        evaluator()


def test_state_of_a_recurrent_model_is_set_aside():
    model = Recurrent()
    windows = WindowIterator(text(), 1, 7, repeat=False, remainder=True)
    fresh = Evaluator(windows, model)()
    assert model.h is None
    model(text()[:4], text()[1:5])
    state = model.h
    used = Evaluator(windows, model)()
    assert used == fresh
    assert model.h is state


def test_state_is_put_back_after_an_error():
    model = Recurrent()
    model(text()[:4], text()[1:5])
    state = model.h

    def fail(x, t):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        Evaluator(serial(), model, eval_func=fail)()
    assert model.h is state


def test_windows_and_steps_give_the_same_mean():
    model = Recurrent()
    steps = ParallelSequentialIterator(text(), 1, repeat=False)
    by_step = Evaluator(steps, model)()["validation/main/loss"]
    for length in (1, 7, 60):
        windows = WindowIterator(text(), 1, length, repeat=False, remainder=True)
        by_window = Evaluator(windows, model)()["validation/main/loss"]
        assert by_window == pytest.approx(by_step, rel=1e-12)


def test_hook_and_access():
    seen = []
    model, iterator = Regression(), serial()
    evaluator = Evaluator(iterator, model, eval_hook=seen.append)
    evaluator()
    assert seen == [evaluator]
    assert evaluator.get_iterator() is iterator
    assert evaluator.get_target() is model


def test_evaluation_does_not_wait_for_the_device(synchronisations):
    for iterator in (
        WindowIterator(text(), 1, 7, repeat=False, remainder=True),
        ParallelSequentialIterator(text(), 1, repeat=False),
    ):
        model = Recurrent(dtype=np.float32).to_device("@strict")
        evaluator = Evaluator(iterator, model, device="@strict")
        with synchronisations() as count:
            evaluator()
        assert count() <= 1


def test_training_goes_on_as_without_evaluation(tmp_path):
    results = []
    for evaluates in (False, True):
        trainer = language_trainer(tmp_path, dropout=0.3)
        if evaluates:
            model = trainer.updater.get_optimizer().target
            iterator = WindowIterator(text(), 1, 7, repeat=False)
            trainer.extend(Evaluator(iterator, model), trigger=(2, "iteration"))
        from dyrnn import random

        random.seed(5)
        trainer.run()
        results.append(parameters(trainer))
    for name, array in results[0].items():
        xp.testing.assert_array_equal(array, results[1][name])


class Own(Chain):
    """A model with state of its own, cleared by ``reset_state`` if it ``resets``."""

    def __init__(self):
        super().__init__()
        self.h, self.array, self.seen = F.sum(xp.ones(2)), xp.ones(2), [1]
        self.last = None  # to be looked at

    def forward(self, x):
        self.h = self.h + x.sum()
        self.array += 1
        self.seen.append(2)
        self.last = x
        return self.h


class OwnReset(Own):
    def reset_state(self):
        self.h = F.sum(xp.zeros(2))
        self.array[...] = 0
        self.seen.clear()


@pytest.mark.parametrize("kind", [Own, OwnReset])
def test_undeclared_state_is_put_back(kind):
    model = kind()
    array, seen = model.array, model.seen
    evaluator = Evaluator(SerialIterator(xp.ones(4), 2, False, False), model)
    trainer = Namespace(updater=Namespace(_watch=Watch([model])), extensions={})
    with trainer.updater._watch.update():
        model(xp.ones(1))
    h, content, items = model.h, array.copy(), [*seen]
    evaluator(trainer)
    assert model.h is h and model.array is array and model.seen is seen
    xp.testing.assert_array_equal(array, content)
    assert seen == items
    assert model.last.sum() == 2
