"""Which models are trained by windows, which by steps, and what says so."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import ShapeError, SnapshotError
from dyrnn.iterators import ParallelSequentialIterator, WindowIterator
from dyrnn.link import Chain, Sequential
from dyrnn.optimizers import SGD
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import BPTTUpdater, StandardUpdater
from tests.arrays import every_device, xp
from tests.training.toys import (
    HIDDEN,
    VOCABULARY,
    Lists,
    sequential,
    text,
    update,
)

pytestmark = every_device


class Cell(Chain):
    """A cell written by hand, for single steps, as a reader would; see its state."""

    def __init__(self):
        super().__init__()
        generator = xp.random.default_rng(1)
        with self.init_scope():
            self.E = Parameter(generator.normal(0, 0.4, (VOCABULARY, HIDDEN)))
            self.W = Parameter(generator.normal(0, 0.4, (HIDDEN, HIDDEN)))
            self.V = Parameter(generator.normal(0, 0.4, (VOCABULARY, HIDDEN)))
        self.h = None

    def forward(self, x, t):
        h = F.embed_id(x, self.E)
        if self.h is not None:
            h = h + F.linear(self.h, self.W)
        self.h = F.tanh(h)
        return F.softmax_cross_entropy(F.linear(self.h, self.V), t)


class DeclaredCell(Cell):
    carried = ("h",)


def test_a_cell_written_by_hand_equals_its_steps():
    for kind in (Cell, DeclaredCell):
        updater = sequential(WindowIterator(text(), 4, 3), None, model=kind())
        assert not updater.window
        losses = [update(updater)["main/loss"] for _ in range(5)]
        model, optimizer = kind(), SGD(lr=0.1)
        optimizer.setup(model)
        windows = WindowIterator(text(), 4, 3)
        for found in losses:
            x, t = windows.next()
            loss = model(x[0], t[0]) + model(x[1], t[1]) + model(x[2], t[2])
            model.cleargrads()
            loss.backward()
            loss.unchain_backward()
            optimizer.update()
            assert found == float(loss.array) / 3
        trained = updater.get_optimizer().target
        for ours, theirs in zip(trained.params(), model.params(), strict=True):
            assert ours.array.tobytes() == theirs.array.tobytes()


def test_windows_are_the_default_where_all_state_takes_them():
    class Own(L.LSTM):
        def forward(self, x):  # a forward of its own says so itself
            return super().forward(x)

    class Called(L.LSTM):
        def __call__(self, x):
            return super().__call__(x)

    class Both(Own):
        takes_windows = True

    def mode(*layers):
        model = L.Classifier(Sequential(L.EmbedID(VOCABULARY, 4), *layers))
        return sequential(WindowIterator(text(), 4, 3), None, model=model).window

    assert mode(L.LSTM(4, 4), L.GRU(4, 4), L.Linear(4, VOCABULARY))
    assert mode(L.LSTM(4, 4), Both(4, 4))
    assert not mode(L.LSTM(4, 4), Own(4, 4))
    assert not mode(L.LSTM(4, 4), Called(4, 4))
    assert not mode(L.LSTM(4, 4), L.BatchNormalization(4))  # along axis 1
    assert not mode(L.LSTM(4, 4), L.Scale(1, (4,)))
    assert not mode(L.Linear(4, VOCABULARY))  # no state that we know of


def test_all_models_and_the_loss_say_whether_they_take_windows():
    class Whole(DeclaredCell):
        def loss(self, x, t):
            return self(x, t)

    layers = Sequential(L.EmbedID(VOCABULARY, 4), L.LSTM(4, VOCABULARY))
    model, cell = L.Classifier(layers), Whole()
    main, other = (SGD().setup(each) for each in (model, cell))

    def window(optimizer, loss_func=None):
        iterator = WindowIterator(text(), 4, 3)
        return BPTTUpdater(iterator, optimizer, loss_func=loss_func).window

    assert window(main)
    assert window(main, lambda x, t: model(x, t))
    assert not window({"main": main, "other": other})
    assert not window(main, cell)
    assert not window(main, cell.loss)


def test_a_window_has_a_batch_axis():
    class Steps:
        epoch = epoch_detail = 0

        def next(self):
            return xp.zeros(4, np.int32), xp.zeros(4, np.int32)

    with pytest.raises(ShapeError, match=r"a Steps gave .* \(4,\), \(4,\), but those"):
        sequential(Steps(), 5).update()


def test_state_of_its_own_beside_layers_that_take_windows_is_refused():
    class Mixed(Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.embed = L.EmbedID(VOCABULARY, 4)
                self.rnn = L.LSTM(4, VOCABULARY)
            self.last = None

        def forward(self, x, t):
            y = self.rnn(self.embed(x))
            y = y if self.last is None else y + self.last
            self.last = y
            return F.softmax_cross_entropy(y, t)

    class Declared(Mixed):
        carried = ("last",)

    def make(model, **options):
        return sequential(WindowIterator(text(), 4, 3), None, model=model, **options)

    message = r"Mixed has a state of its own, last, .* carried = \('last',\)"
    with pytest.raises(TypeError, match=message):
        make(Mixed()).update()
    for model, options in [(Declared(), {}), (Mixed(), {"window": False})]:
        updater = make(model, **options)
        assert not updater.window
        update(updater, 3)
    make(Mixed(), window=True).update()  # as the user says


def test_a_step_that_meets_a_window_says_how_to_go_on():
    class Flat(Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.rnn = L.LSTM(1, 4)

        def forward(self, x, t):
            return F.sum(self.rnn(x.reshape(4, 1).astype(np.float32)))

    iterator = WindowIterator(text(), 4, 3)
    with pytest.raises(ValueError, match="reshape|cannot"):
        sequential(iterator, None, model=Flat()).update()
    assert update(sequential(iterator, None, model=Flat(), window=False))


def test_steps_are_said_once():
    assert sequential(WindowIterator(text(), 4, 3), None).bprop_len == 3
    assert sequential(WindowIterator(text(), 4, 3), 3).bprop_len == 3
    with pytest.raises(TypeError, match="ParallelSequentialIterator does not say how"):
        sequential(ParallelSequentialIterator(text(), 4), None)


def test_an_iterator_need_not_say_what_its_batches_are():
    class Windows(Lists):
        """Tuples of arrays, which are windows."""

    windows = sequential(Windows(WindowIterator(text(60), 4, 3)), 3)
    lists = sequential(Lists(ParallelSequentialIterator(text(60), 4)), 3)
    assert update(windows, 4) == update(lists, 4)


def test_an_iterator_may_say_that_its_tuples_are_examples():
    class Tuples(Lists):
        is_window = False

        def next(self):
            return tuple(self.iterator.next())

    plain = sequential(ParallelSequentialIterator(text(60), 4), 3)
    tuples = sequential(Tuples(ParallelSequentialIterator(text(60), 4)), 3)
    assert update(plain, 4) == update(tuples, 4)


def test_a_resumed_run_goes_on_by_windows_or_steps_as_it_was(tmp_path):
    def make(**options):
        model = L.Classifier(Sequential(L.EmbedID(VOCABULARY, 4), L.LSTM(4, 9)))
        return sequential(WindowIterator(text(), 4, 3), None, model=model, **options)

    for window in (True, False):
        save_npz(tmp_path / "mode.npz", make(window=window))
        default = make()
        load_npz(tmp_path / "mode.npz", default)
        assert default.window == window
        with pytest.raises(SnapshotError, match=f"made with window={window}"):
            load_npz(tmp_path / "mode.npz", make(window=not window))


def test_snapshots_without_a_mode_were_made_step_by_step(tmp_path):
    class Old(BPTTUpdater):
        def serialize(self, s):
            StandardUpdater.serialize(self, s)

    def make(kind=BPTTUpdater, **options):
        model = L.Classifier(Sequential(L.EmbedID(VOCABULARY, 4), L.LSTM(4, 9)))
        optimizer = SGD(lr=0.1).setup(model)
        return kind(WindowIterator(text(), 4, 3), optimizer, **options)

    save_npz(tmp_path / "old.npz", make(Old))
    for options, window in [({}, False), ({"window": True}, True)]:
        updater = make(**options)
        load_npz(tmp_path / "old.npz", updater)
        assert updater.window == window
