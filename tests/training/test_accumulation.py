"""Several batches make one update: that of the batches joined."""

import weakref

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import random
from dyrnn.datasets import concat_examples, time_major
from dyrnn.engine.gradients import Rows
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import NonFiniteError
from dyrnn.iterators import ParallelSequentialIterator, SerialIterator, WindowIterator
from dyrnn.link import Chain
from dyrnn.optimizers import SGD, Adam
from dyrnn.optimizers.hooks import GradientClipping, WeightDecay
from dyrnn.reporter import Observation, Reporter, report
from dyrnn.serializers import load_npz, save_npz
from dyrnn.training import BPTTUpdater, StandardUpdater, Trainer
from tests.arrays import every_device, here, one_device, xp
from tests.training.toys import Recurrent, Regression, language_trainer, points, text

pytestmark = every_device


class Tagger(Chain):
    """A bidirectional tagger over padded sequences, with its loss by a name."""

    def __init__(self, kind="mean"):
        super().__init__()
        rng = xp.random.default_rng(4)
        with self.init_scope():
            self.E = Parameter(rng.normal(size=(9, 4)))
            self.V = Parameter(rng.normal(size=(3, 4)))
        self.kind = kind

    def forward(self, x, t, lengths):
        y = F.linear(F.tanh(F.embed_id(x, self.E)), self.V)
        hits = F.accuracy(y.reshape(-1, 3), t.reshape(-1), ignore_label=-1)
        report({"accuracy": hits}, self)
        if self.kind in ("ratio", "sum", "own"):
            mask = (t >= 0).astype(np.float64)
            if self.kind == "own":
                loss = F.sum(F.sum(y * y, axis=2) * (mask / mask.sum()))
                loss.count = mask.sum()
                return loss
            loss = F.sum(F.sum(y * y, axis=2) * mask)
            return loss if self.kind == "sum" else loss / mask.sum()
        loss = F.softmax_cross_entropy(y, t)
        if self.kind == "terms":
            loss = loss + 0.5 * F.softmax_cross_entropy(-y, t)
        elif self.kind == "reported":
            report({"loss": loss}, self)
        return loss


def sentences(count=24):
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, 8, count)
    return [
        (
            rng.integers(0, 9, n).astype(np.int32),
            np.where(rng.random(n) < 0.3, -1, rng.integers(0, 3, n)).astype(np.int32),
        )
        for n in lengths
    ]


def padded(batch, device=None):
    return tuple(map(here, time_major(batch, device, padding=(0, -1))))


def observed(updater, updates):
    """Return what each update reported, with its weights, and the parameters."""
    found, reporter = [], Reporter()
    model = updater.get_optimizer().target
    reporter.add_observer("main", model)
    for _ in range(updates):
        observation = Observation()
        with reporter.scope(observation):
            updater.update()
        found.append(
            {key: (float(v), observation.weight(key)) for key, v in observation.items()}
        )
    return found, [param.array for param in model.params()]


def assert_same(ours, meant, rtol=1e-10):
    for mine, theirs in zip(ours[0], meant[0], strict=True):
        assert mine.keys() == theirs.keys()
        for key, pair in mine.items():
            xp.testing.assert_allclose(pair, theirs[key], rtol=rtol)
    for mine, theirs in zip(ours[1], meant[1], strict=True):
        xp.testing.assert_allclose(mine, theirs, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("kind", ["mean", "terms", "ratio", "sum", "reported", "own"])
@pytest.mark.parametrize("accumulate", [2, 3])
def test_an_update_is_that_of_the_batches_joined(kind, accumulate):
    def updater(batch_size, accumulate=1):
        optimizer = Adam(0.01).setup(Tagger(kind))
        optimizer.add_hook(GradientClipping(0.1))
        optimizer.add_hook(WeightDecay(0.01))
        iterator = SerialIterator(sentences(), batch_size, shuffle=False)
        return StandardUpdater(iterator, optimizer, padded, accumulate=accumulate)

    ours, meant = updater(4, accumulate), updater(4 * accumulate)
    assert_same(observed(ours, 5), observed(meant, 5))
    assert float(ours.label_count) == float(meant.label_count)
    assert float(ours.mean_loss) == pytest.approx(float(meant.mean_loss), rel=1e-12)
    assert ours.iteration == 5
    assert ours.epoch_detail == meant.epoch_detail


def sent(batch, device=None):
    return tuple(map(here, concat_examples(batch)))


class Windows:
    """Windows (T, B) in order: of two tracks each, or of the next ones beside them."""

    goes_on, epoch, epoch_detail = True, 0, 0.0

    def __init__(self, joined):
        rng = np.random.default_rng(6)
        ids = rng.integers(0, 7, (8, 3, 2)).astype(np.int32)
        t = np.where(rng.random(ids.shape) < 0.4, -1, ids).astype(np.int32)
        t[1] = -1  # without a label
        pairs = list(zip(ids, t, strict=True))
        if joined:
            pairs = [
                tuple(np.concatenate(part, axis=1) for part in zip(a, b, strict=True))
                for a, b in zip(pairs[::2], pairs[1::2], strict=True)
            ]
        self._pairs = iter(pairs)

    def next(self):
        return tuple(map(here, next(self._pairs)))


@pytest.mark.parametrize("window", [True, False])
def test_windows_are_joined_as_rows(window):
    class Forgetful(Recurrent):
        def forward(self, x, t):  # so that rows may stand beside each other
            if x.ndim == 2 or self.steps % 3 == 0:
                self.h = None
            self.steps += 1
            return super().forward(x, t)

    def updater(joined):
        model = Forgetful()
        model.steps = 0
        return BPTTUpdater(
            Windows(joined),
            SGD(0.1).setup(model),
            3,
            window=window,
            accumulate=1 if joined else 2,
        )

    assert_same(observed(updater(False), 4), observed(updater(True), 4))


def test_state_is_carried_through_the_windows_of_an_update():
    def updater(accumulate, lr):
        model = Recurrent()
        iterator = ParallelSequentialIterator(text(), 4)
        return BPTTUpdater(iterator, SGD(lr).setup(model), 3, accumulate=accumulate)

    single, ours = updater(1, 0.0), updater(4, 0.1)
    model = single.get_optimizer().target
    before = [param.array.copy() for param in model.params()]
    gradients = []
    for _ in range(4):
        single.update()
        gradients.append([param.grad.copy() for param in model.params()])
    ours.update()
    mine = ours.get_optimizer().target
    xp.testing.assert_array_equal(mine.h.array, model.h.array)
    for i, (param, first) in enumerate(zip(mine.params(), before, strict=True)):
        mean = sum(each[i] for each in gradients) / 4
        xp.testing.assert_allclose(param.array, first - 0.1 * mean, rtol=1e-10)


def test_a_resumed_run_goes_on_exactly(tmp_path):
    def trainer(name, updates, accumulate=3):
        random.seed(1)
        stop = updates, "iteration"
        return language_trainer(
            tmp_path / name,
            stop,
            Adam(0.01),
            dropout=0.3,
            accumulate=accumulate,
            reset_at_epoch=True,
        )

    whole = trainer("a", 9)
    whole.run()
    first = trainer("b", 4)
    first.run()
    save_npz(tmp_path / "s.npz", first)
    second = trainer("c", 9)
    load_npz(tmp_path / "s.npz", second)
    second.run()
    for ours, meant in zip(*map(parameters, (second, whole)), strict=True):
        xp.testing.assert_array_equal(ours, meant)
    other = trainer("d", 9, accumulate=2)
    with pytest.warns(UserWarning, match="accumulate is 2 in the program, but was 3"):
        load_npz(tmp_path / "s.npz", other)
    assert other.updater.accumulate == 3


def parameters(trainer):
    return [p.array for p in trainer.updater.get_optimizer().target.params()]


def test_files_without_the_number_take_one_batch(tmp_path):
    def updater(accumulate):
        iterator = SerialIterator(points(), 2, shuffle=False)
        optimizer = SGD(0.05).setup(Regression())
        return StandardUpdater(iterator, optimizer, accumulate=accumulate)

    save_npz(tmp_path / "s.npz", updater(1))
    with np.load(tmp_path / "s.npz") as file:
        assert not any("accumulate" in name for name in file.files)
    ours = updater(2)
    with pytest.warns(UserWarning, match="accumulate is 2"):
        load_npz(tmp_path / "s.npz", ours)
    assert ours.accumulate == 1


@one_device("a GPU tells of it later")
@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_part_that_is_not_finite_refuses_the_whole_update(kind):
    class Some(Chain):
        carried = ("h",)

        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.W = Parameter(xp.full(2, 0.5))
            self.h = None

        def forward(self, x):
            self.h = self.W * x
            if kind == "loss":
                return F.mean(self.h)
            return F.mean(F.sqrt(F.sum(self.h * self.h, axis=1)))

    bad = [1, 1, 1, 1, 1, np.nan if kind == "loss" else 0, 1, 1, 1, 1, 1, 1]
    data = [xp.array([x, x], dtype=np.float64) for x in bad]
    optimizer = Adam(0.1).setup(Some())
    iterator = SerialIterator(data, 2, shuffle=False, repeat=False)
    updater = StandardUpdater(iterator, optimizer, accumulate=3)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="iteration 1"):
        updater.update()
    model = optimizer.target
    xp.testing.assert_array_equal(model.W.array, [0.5, 0.5])
    assert model.h is None and updater.iteration == optimizer.t == 0
    assert iterator.current_position == 6
    updater.update()
    assert updater.iteration == 1 and (model.W.array < 0.5).all()


@one_device("a GPU alone knows the number")
def test_batches_without_a_label_count_nothing():
    class Masked(Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.W = Parameter(xp.array([0.5]))

        def forward(self, x, mask):
            return F.sum(self.W * x * mask) / mask.sum()

    def updater(masks, accumulate):
        data = [(xp.array([2.0]), xp.array([m])) for m in masks]
        iterator = SerialIterator(data, 1, shuffle=False)
        optimizer = SGD(1.0).setup(Masked())
        return StandardUpdater(iterator, optimizer, accumulate=accumulate)

    with np.errstate(all="ignore"):
        ours = updater([0.0, 1.0, 0.0], 3)
        ours.update()
        assert float(ours.mean_loss) == 1.0 and ours.label_count == 1
        xp.testing.assert_array_equal(ours.get_optimizer().target.W.array, [-1.5])
        with pytest.raises(NonFiniteError):
            updater([0.0, 0.0], 2).update()


def test_no_weight_for_all_is_refused():
    class Two(Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.W = Parameter(xp.ones((1, 3)))

        def forward(self, x, t, u):
            y = F.linear(x, self.W) * xp.ones((1, 2))
            return F.softmax_cross_entropy(y, t) + F.softmax_cross_entropy(y, u)

    def updater(t, u):
        data = [
            (xp.ones(3), np.int32(a), np.int32(b)) for a, b in zip(t, u, strict=True)
        ]
        iterator = SerialIterator(data, 2, shuffle=False)
        return StandardUpdater(iterator, SGD(0.1).setup(Two()), sent, accumulate=2)

    with pytest.raises(ValueError, match="2 and 1 in one batch and 1 and 1 in another"):
        updater([0, 1, -1, 1], [1, -1, 0, -1]).update()
    updater([0, 1, 1, 1], [1, -1, 0, -1]).update()


@one_device("rows stay sparse on the CPU")
def test_sparse_gradients_stay_sparse():
    seen = []
    optimizer = SGD(0.1).setup(L.EmbedID(100, 2))
    optimizer.add_hook(lambda o: seen.append(o.updates[0][2].settled()[0]), "look")
    iterator = SerialIterator(list(np.arange(8, dtype=np.int32)), 2, shuffle=False)
    model = optimizer.target
    StandardUpdater(
        iterator, optimizer, loss_func=lambda x: F.mean(model(x)), accumulate=2
    ).update()
    assert isinstance(seen[0], Rows) and seen[0].ids.tolist() == [0, 1, 2, 3]


def test_graphs_of_earlier_batches_are_gone():
    alive = weakref.WeakSet()

    class Watched(Regression):
        def forward(self, x, t):
            assert len(alive) == 0
            loss = super().forward(x, t)
            alive.add(loss.node)
            return loss

    iterator = SerialIterator(points(), 2)
    optimizer = SGD(0.05).setup(Watched())
    StandardUpdater(iterator, optimizer, accumulate=4).update()
    assert optimizer.t == 1


def test_a_number_that_is_none_is_refused():
    iterator, optimizer = SerialIterator(points(), 2), SGD().setup(Regression())
    with pytest.raises(ValueError, match="StandardUpdater: accumulate must be at lea"):
        StandardUpdater(iterator, optimizer, accumulate=0)
    with pytest.raises(TypeError, match="BPTTUpdater: accumulate must be an integer"):
        BPTTUpdater(WindowIterator(text(), 4, 3), optimizer, accumulate=2.5)

    class Own(StandardUpdater):
        def update_core(self):
            self.get_iterator().next()

    with pytest.raises(TypeError, match="its own update_core adds up nothing"):
        Own(iterator, optimizer, accumulate=2).update()


def test_several_optimizers_and_epochs_that_end_within(tmp_path):
    generator, critic = Regression(), Regression(reports=False)

    def loss(x, t):
        error = F.linear(x, generator.W) + F.linear(x, critic.W) - t
        return F.mean(error * error)

    def run(batch_size, accumulate):
        for model in generator, critic:
            model.W.array[...] = 0.5
        optimizers = {
            "main": SGD(0.05).setup(generator),
            "critic": SGD(0.02).setup(critic),
        }
        iterator = SerialIterator(points(10), batch_size, shuffle=False)
        updater = StandardUpdater(
            iterator, optimizers, loss_func=loss, accumulate=accumulate
        )
        trainer = Trainer(updater, (3, "epoch"), tmp_path / str(accumulate))
        ends = []
        trainer.extend(
            lambda trainer: ends.append(trainer.updater.iteration),
            name="ends",
            trigger=(1, "epoch"),
        )
        trainer.run()
        return ends, generator.W.array.copy(), critic.W.array.copy()

    ours, meant = run(2, 4), run(8, 1)
    assert ours[0] == meant[0] == [2, 3, 4]
    for mine, theirs in zip(ours[1:], meant[1:], strict=True):
        xp.testing.assert_allclose(mine, theirs, rtol=1e-12)
