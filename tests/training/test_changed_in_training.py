"""What programs change on the way: saved, or refused before training has gone far."""

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import extensions, random
from dyrnn.errors import SnapshotError
from dyrnn.iterators import ParallelSequentialIterator, SerialIterator
from dyrnn.optimizers import SGD, Adam
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import BPTTUpdater, StandardUpdater, Trainer
from tests.training.toys import Recurrent, Regression, text

EXAMPLES = [(np.arange(3.0) + n, np.array([float(n % 3)])) for n in range(8)]


class Counting(Recurrent):
    def __init__(self):
        super().__init__(dropout=0.2)
        self.calls = 0

    def forward(self, x, t):
        self.calls += 1
        self.dropout = 0.1 * (self.calls % 7)
        return super().forward(x, t)


def counting():
    iterator = ParallelSequentialIterator(text(), 4)
    return BPTTUpdater(iterator, Adam().setup(Counting()), 3)


class AddingUp(StandardUpdater):
    def update_core(self):
        x, t = self.converter(self.get_iterator().next(), self.device)
        (self._loss((x, t)) / 4).backward()
        if self.iteration % 4 == 3:
            self.get_optimizer().update()
            self.get_optimizer().target.cleargrads()


def adding_up():
    return AddingUp(SerialIterator(EXAMPLES, 2), SGD(lr=0.01).setup(Regression(False)))


def trained(make, updates, tmp_path, snapshot=None):
    random.seed(0)
    trainer = Trainer(make(), (updates, "iteration"), out=tmp_path)
    if snapshot:
        load_npz(snapshot, trainer)
    trainer.run()
    return trainer


def weights(trainer):
    return [p.array for p in trainer.updater.get_optimizer().target.params()]


@pytest.mark.parametrize("make", [counting, adding_up])
def test_a_resumed_run_is_equal_at_every_cut(tmp_path, make):
    whole = weights(trained(make, 12, tmp_path))
    path = tmp_path / "cut.npz"
    for cut in range(1, 12):
        save_npz(path, trained(make, cut, tmp_path))
        resumed = trained(make, 12, tmp_path, path)
        for array, expected in zip(weights(resumed), whole, strict=True):
            np.testing.assert_array_equal(array, expected, err_msg=str(cut))


def test_an_earlier_file_takes_changes_back(tmp_path):
    updater = counting()
    model = updater.get_optimizer().target
    save_npz(tmp_path / "first.npz", updater)
    updater.update()
    assert (model.calls, model.dropout) == (3, pytest.approx(0.3))
    load_npz(tmp_path / "first.npz", updater)
    assert (model.calls, model.dropout) == (0, 0.2)


@pytest.mark.parametrize("value", [True, "0.5", None, [0.5], 10**40])
def test_a_forged_number_is_refused(tmp_path, value):
    updater = counting()
    updater.update()
    forged = {"main": {"/": {"dropout": value}}}
    updater._numbers._changed = lambda: forged
    save_npz(tmp_path / "forged.npz", updater)
    other = counting()
    with pytest.raises(SnapshotError, match="dropout"):
        load_npz(tmp_path / "forged.npz", other)
    assert other.get_optimizer().target.dropout == 0.2


def run(tmp_path, updater, extension=None, n=3):
    trainer = Trainer(updater, (n, "iteration"), out=tmp_path)
    trainer.extend(extensions.snapshot(), trigger=(1000, "iteration"))
    if extension is not None:
        trainer.extend(extension)
    trainer.run()


class Growing(Recurrent):
    def __init__(self):
        super().__init__()
        self.add_persistent("seen", np.zeros(1))

    def forward(self, x, t):
        self.seen = np.append(self.seen, 1.0)
        return super().forward(x, t)


class ListOfStates(Recurrent):
    carried = ("h", "past")

    def forward(self, x, t):
        self.past = [self.h]
        return F.sum(self.W) * 0 + super().forward(x, t)


@pytest.mark.parametrize(
    ("model", "message"),
    [(Growing, "Growing.seen had shape"), (ListOfStates, "past")],
)
def test_what_cannot_be_saved_is_refused_early(tmp_path, model, message):
    iterator = ParallelSequentialIterator(text(), 4)
    updater = BPTTUpdater(iterator, SGD(lr=0.1).setup(model()), 3)
    with pytest.raises((TypeError, ValueError), match=message):
        run(tmp_path, updater)
    assert updater.iteration <= 2


def test_an_iterator_that_cannot_be_saved_is_refused_before_training(tmp_path):
    class Endless:
        epoch, epoch_detail = 0, 0.0

        def next(self):
            return EXAMPLES[:2]

    updater = StandardUpdater(Endless(), SGD(lr=0.01).setup(Regression(False)))
    with pytest.raises(TypeError, match=r"Endless has no serialize\(self, s\)"):
        run(tmp_path, updater)
    assert updater.iteration == 0
