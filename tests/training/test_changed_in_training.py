"""What programs change on the way: saved, or refused before training has gone far."""

import copy

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import extensions, random
from dyrnn.errors import SnapshotError
from dyrnn.iterators import ParallelSequentialIterator, SerialIterator
from dyrnn.optimizers import SGD, Adam
from dyrnn.serializers import capture, load_npz, save_npz, write_snapshot
from dyrnn.training import BPTTUpdater, StandardUpdater, Trainer
from dyrnn.training.own_state import NotStorable, _set_state, _state_of
from tests.arrays import every_device, xp
from tests.training.toys import Recurrent, Regression, text
from tools import resume_programs


def examples():
    return [(xp.arange(3.0) + n, xp.array([float(n % 3)])) for n in range(8)]


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
    return AddingUp(
        SerialIterator(examples(), 2), SGD(lr=0.01).setup(Regression(False))
    )


def trained(make, updates, tmp_path, snapshot=None):
    random.seed(0)
    trainer = Trainer(make(), (updates, "iteration"), out=tmp_path)
    if snapshot:
        load_npz(snapshot, trainer)
    trainer.run()
    return trainer


def weights(trainer):
    return [p.array for p in trainer.updater.get_optimizer().target.params()]


@every_device
@pytest.mark.parametrize("make", [counting, adding_up])
def test_a_resumed_run_is_equal_at_every_cut(tmp_path, make):
    whole = weights(trained(make, 12, tmp_path))
    path = tmp_path / "cut.npz"
    for cut in range(1, 12):
        save_npz(path, trained(make, cut, tmp_path))
        resumed = trained(make, 12, tmp_path, path)
        for array, expected in zip(weights(resumed), whole, strict=True):
            xp.testing.assert_array_equal(array, expected, err_msg=str(cut))


@every_device
def test_an_earlier_file_takes_changes_back(tmp_path):
    updater = counting()
    model = updater.get_optimizer().target
    save_npz(tmp_path / "first.npz", updater)
    updater.update()
    assert (model.calls, model.dropout) == (3, pytest.approx(0.3))
    load_npz(tmp_path / "first.npz", updater)
    assert (model.calls, model.dropout) == (0, 0.2)


@every_device
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
        self.add_persistent("seen", xp.zeros(1))

    def forward(self, x, t):
        self.seen = xp.append(self.seen, 1.0)
        return super().forward(x, t)


class ListOfStates(Recurrent):
    carried = ("h", "past")

    def forward(self, x, t):
        self.past = [self.h]
        return F.sum(self.W) * 0 + super().forward(x, t)


@every_device
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


@every_device
def test_an_iterator_that_cannot_be_saved_is_refused_before_training(tmp_path):
    class Endless:
        epoch, epoch_detail = 0, 0.0

        def next(self):
            return examples()[:2]

    updater = StandardUpdater(Endless(), SGD(lr=0.01).setup(Regression(False)))
    with pytest.raises(TypeError, match=r"Endless has no serialize\(self, s\)"):
        run(tmp_path, updater)
    assert updater.iteration == 0


class Keeps:
    """An extension that keeps a value; ``start`` is what it begins with."""

    def __init__(self, start, change):
        self.value = start
        self.change = change

    def __call__(self, trainer):
        self.value = self.change(self.value)


def kept(tmp_path, start, change, name="", updates=3):
    random.seed(0)
    extension = Keeps(copy.deepcopy(start), change)
    trainer = Trainer(adding_up(), (updates, "iteration"), out=tmp_path)
    trainer.extend(extension)
    if name:
        load_npz(tmp_path / name, trainer)
        trainer.stop_trigger = (4, "iteration")
    trainer.run()
    return trainer, extension


@every_device
@pytest.mark.parametrize(
    ("start", "change"),
    [
        (0, lambda value: value + 1),
        (None, lambda value: {"a": [*(value or {"a": []})["a"], (1, "x")]}),
        ((), lambda value: (*value, float("nan"))),
        (np.zeros(2, ">f4"), lambda value: value + 1),
        ({1: set()}, lambda value: {1: value[1] | {len(value[1])}}),
        (b"", lambda value: value + b"\0"),
        (np.float32(1), lambda value: value * 2),
    ],
)
def test_what_an_extension_keeps_is_saved(tmp_path, start, change):
    trainer, _ = kept(tmp_path, start, change)
    save_npz(tmp_path / "cut.npz", trainer)
    _, resumed = kept(tmp_path, start, change, "cut.npz")
    _, whole = kept(tmp_path, start, change, updates=4)
    assert repr(resumed.value) == repr(whole.value)
    assert getattr(resumed.value, "dtype", 0) == getattr(whole.value, "dtype", 0)


def test_what_an_extension_keeps_and_nothing_can_save_is_named(tmp_path):
    trainer, _ = kept(tmp_path, None, lambda value: (k for k in "ab"))
    with pytest.warns(UserWarning, match=r"Keeps\.value .* of type generator"):
        save_npz(tmp_path / "cut.npz", trainer)
    trainer, _ = kept(tmp_path, None, lambda value: xp.zeros(5 << 20, "f"))
    with pytest.warns(UserWarning, match=r"Keeps\.value .* more than 16 MiB"):
        save_npz(tmp_path / "cut.npz", trainer)


@every_device
@pytest.mark.parametrize(
    "own",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"extension:Keeps": {"value": "{"}}',
        b'{"extension:Keeps": {"value": 3}}',
        b'{"extension:Keeps": {"__class__": "3"}}',
        b'{"extension:Keeps": {"value": "{\\"generator\\": 3}"}}',
        b'{"extension:Keeps": {"value": "{\\"array\\": [\\"O\\", [1], \\"\\"]}"}}',
        b'{"extension:Keeps": {"value": "{\\"array\\": [\\"f4\\", [9], \\"\\"]}"}}',
        b'{"extension:Other": {"value": "3"}}',
    ],
)
def test_forged_attributes_are_refused(tmp_path, own):
    trainer, extension = kept(tmp_path, 0, lambda value: value + 1)
    contents = capture(trainer)
    contents.arrays["own"] = xp.frombuffer(own, np.uint8)
    write_snapshot(tmp_path / "forged.npz", contents)
    with pytest.raises(SnapshotError, match="Keeps|damaged|attribute"):
        load_npz(tmp_path / "forged.npz", trainer)
    assert extension.value == 3
    save_npz(tmp_path / "good.npz", trainer)


def test_the_state_of_a_generator_is_checked():
    for make in (np.random.RandomState, np.random.default_rng):
        generator = make(3)
        state = copy.deepcopy(_state_of(generator))
        _set_state(generator, state)
        inner = state["state"]
        inner["pos" if "pos" in inner else "inc"] = 10**40
        with pytest.raises(NotStorable, match="random generator"):
            _set_state(generator, state)


def test_programs_as_users_write_them_resume_equally():
    names = sorted(resume_programs.PROGRAMS)[::9]
    found = resume_programs.search(names, cuts=(3,))
    assert {name for name in found if found[name] not in ("equal", "refused")} == set()
