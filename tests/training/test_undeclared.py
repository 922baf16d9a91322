import copy
import json
import pickle
import random
from collections import deque

import numpy as np
import pytest

import dyrnn.links as L
from dyrnn.iterators import ParallelSequentialIterator
from dyrnn.link import Chain, Sequential
from dyrnn.optimizers import SGD
from dyrnn.serializers import load_npz, read_manifest, save_npz
from dyrnn.training import BPTTUpdater
from dyrnn.training.own_state import _state_of
from dyrnn.training.undeclared import Watch
from tests.arrays import every_device, xp
from tests.training.toys import Recurrent, text

pytestmark = every_device


def sequential(model, **options):
    optimizer = SGD(lr=0.1).setup(model)
    return BPTTUpdater(ParallelSequentialIterator(text(), 4), optimizer, 3, **options)


def train(tmp_path, model, updates=3):
    """Train and save twice."""
    updater = sequential(model, window=False)
    save_npz(tmp_path / "none.npz", updater)  # no state yet
    for _ in range(updates):
        updater.update()
    for name in ("first", "second"):
        save_npz(tmp_path / f"{name}.npz", updater)


class Model(Recurrent):
    """A model with one more attribute, changed by ``change``."""

    def __init__(self, start=None):
        super().__init__()
        self.thing = start

    def forward(self, x, t):
        self.change()
        return super().forward(x, t)


def count(self):
    self.thing += 1


def in_place(self):
    self.thing += 1.0


def append(self):
    self.thing.append(1)


def key(self):
    self.thing["calls"] = self.thing.get("calls", 0) + 1


def draw(self):
    self.thing.normal()


class Counter:
    def __init__(self):
        self.n = 0

    def step(self):
        self.n += 1


def shown(thing):
    if isinstance(thing, xp.random.Generator | random.Random):
        return repr(_state_of(thing))
    return repr(vars(thing) if isinstance(thing, Counter) else thing)


@pytest.mark.parametrize("updates", [1, 3])
@pytest.mark.parametrize(
    ("start", "change"),
    [
        (lambda: np.zeros(3), in_place),
        (list, append),
        (lambda: deque(maxlen=99), append),
        (dict, key),
        (lambda: np.random.default_rng(0), draw),
        (lambda: random.Random(0), lambda self: self.thing.random()),
        (Counter, lambda self: self.thing.step()),
    ],
)
def test_state_of_any_type_is_saved(tmp_path, start, change, updates):
    def make():
        model = Model(start())
        model.change = change.__get__(model)
        return model

    trained, loaded = make(), make()
    first = shown(loaded.thing)
    train(tmp_path, trained, updates)
    updater = sequential(loaded, window=False)
    load_npz(tmp_path / "first.npz", updater)
    assert shown(loaded.thing) == shown(trained.thing) != first
    load_npz(tmp_path / "none.npz", updater)
    assert shown(loaded.thing) == first


def test_a_variable_must_be_declared(tmp_path):
    class Own(Recurrent):
        carried = ()

    with pytest.raises(TypeError, match=r"out its h, .* carried = \('h',\)"):
        train(tmp_path, Own())


def test_what_nothing_can_save_is_refused_by_name(tmp_path):
    def advance(self):
        self.thing = iter(list(self.thing))

    model = Model(iter([1, 2]))
    model.change = advance.__get__(model)
    with pytest.raises(TypeError, match="Model has a state of its own.* its thing,"):
        train(tmp_path, model)


def test_what_is_set_up_once_or_written_first_is_no_state(tmp_path):
    class Handing(Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.model = Recurrent()
            self.loss = self.scale = None
            self.first = 0

        def forward(self, x, t):
            if self.scale is None:
                self.scale = xp.ones(1)
            self.first = len(x)
            self.loss = self.model(x, t) * self.scale[0]
            return self.loss

        def reset_state(self):
            self.model.reset_state()

    train(tmp_path, Handing())
    saved = np.load(tmp_path / "second.npz")["own"].tobytes().decode()
    assert list(json.loads(saved)["model:main/"]) == ["scale"]  # set up, and read


def test_what_reset_state_clears_is_state(tmp_path):
    class Late(Recurrent):
        calls = 0

        def __init__(self):
            super().__init__()
            self.words = []
            self.note = None

        def forward(self, x, t):
            Late.calls += 1
            if Late.calls > 15:  # after the updates that are watched
                self.words.append(1)
                self.note = 3
            return super().forward(x, t)

        def reset_state(self):
            super().reset_state()
            self.words.clear()
            self.note = None

    model = Late()
    train(tmp_path, model, updates=9)
    twin = Late()
    load_npz(tmp_path / "first.npz", sequential(twin, window=False))
    assert (twin.words, twin.note) == (model.words, 3)
    assert model.words  # tried on a copy
    assert model.note == 3
    assert model.h is not None


def test_what_a_class_saves_itself_is_its_affair(tmp_path):
    class Own(Model):
        change = count

        def serialize(self, s):
            super().serialize(s)
            self.thing = s("thing", self.thing)

    train(tmp_path, Own(0))
    persistent = Model(0)
    persistent.change = count.__get__(persistent)
    persistent.register_persistent("thing")
    train(tmp_path, persistent)
    assert "own" not in read_manifest(tmp_path / "second.npz")["arrays"]


def test_layers_of_the_library_declare_their_state(tmp_path):
    kinds = [L.LSTM, L.GRU, L.StatefulGRU, L.StatefulPeepholeLSTM, L.ElmanRNN]
    for kind in kinds:
        layers = [L.EmbedID(7, 4), kind(4, 5), L.Linear(None, 7)]
        train(tmp_path, L.Classifier(Sequential(*layers)))


def test_watching_ends_with_the_update():
    model = Recurrent()
    watch = Watch([model])
    with pytest.raises(ZeroDivisionError), watch.update():
        assert type(model) is not Recurrent
        assert type(model).__name__ == "Recurrent"
        raise ZeroDivisionError
    assert type(model) is Recurrent
    assert not watch.is_over
    with watch.update():
        pass
    assert watch.is_over


def test_watching_leaves_copies_and_subclasses_alone():
    kinds = []

    class Registered(Recurrent):
        def __init_subclass__(cls, *, kind, **options):
            super().__init_subclass__(**options)
            kinds.append(kind)

    class Own(Registered, kind="own"):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.rnn = L.LSTM(2, 2)

        def forward(self, x, t):
            self.twin = copy.deepcopy(self.rnn)
            assert type(pickle.loads(pickle.dumps(self.rnn))) is type(self.twin)
            return super().forward(x, t)

    model = Own()
    optimizer = SGD().setup(model)
    BPTTUpdater(ParallelSequentialIterator(text(), 4), optimizer, 3).update()
    assert kinds == ["own"]
    assert type(model.twin) is type(model.rnn) is L.LSTM


def test_a_resumed_run_is_watched_anew(tmp_path):
    def make():
        model = Model(xp.zeros(3))
        model.change = in_place.__get__(model)
        return model

    train(tmp_path, make())
    updater = sequential(make())
    load_npz(tmp_path / "second.npz", updater)
    updater.update()
    save_npz(tmp_path / "again.npz", updater)
    last = make()
    load_npz(tmp_path / "again.npz", sequential(last, window=False))
    assert last.thing.tolist() == [12.0] * 3  # three steps in each of four updates
