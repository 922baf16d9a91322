"""Means count what was counted, by step or by window, in batches of any size."""

import math

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.backend import get_device
from dyrnn.datasets import pad_sequences
from dyrnn.engine.parameter import Parameter
from dyrnn.extensions import Evaluator, LogReport, WordsPerSecond
from dyrnn.extensions import perplexity as add_perplexity
from dyrnn.iterators import SerialIterator
from dyrnn.link import Chain, Sequential
from dyrnn.optimizers import SGD
from dyrnn.reporter import DictSummary, Observation, Reporter, report
from dyrnn.training import BPTTUpdater, StandardUpdater, Trainer
from tests.arrays import every_device, one_device, xp
from tests.training.toys import Scene

pytestmark = every_device

V = 5


class Model(Chain):
    """Logits from a table of words, so that all labels could be taken at once.

    ``says`` is what it does with its loss: report it as it is, report something made
    of it, or leave that to whoever calls it.
    """

    def __init__(self, says="loss", loss=F.softmax_cross_entropy):
        super().__init__()
        with self.init_scope():
            self.table = Parameter(xp.random.default_rng(1).normal(size=(V, V)))
        self.says = says
        self.loss = loss

    def forward(self, x, t, lengths=None):
        y = F.embed_id(xp.maximum(x, 0), self.table)
        loss = self.loss(y, t)
        if self.says == "loss":
            report({"loss": loss}, self)
        elif self.says == "made":
            loss = loss + 0.0
            report({"loss": loss.array, "accuracy": F.accuracy(y, t, -1)}, self)
        return loss


class Lines(Model):
    """Takes padded lines (T, B) only: what to predict is in them."""

    def forward(self, lines):
        return super().forward(lines[:-1], lines[1:])


class Text:
    """Batches from a list of windows, or of their steps, of any content."""

    repeat = False

    def __init__(self, batches):
        self.batches = batches
        self.reset()

    def reset(self):
        self.iteration = self.epoch = self.epoch_detail = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.iteration == len(self.batches):
            raise StopIteration
        self.iteration += 1
        return self.batches[self.iteration - 1]

    next = __next__


def draw_labels(rng, *shape):
    """Labels, of which some, sometimes all, are ignored."""
    t = rng.integers(0, V, shape).astype(np.int32)
    t[rng.random(shape) < rng.choice([0, 0.3, 0.9])] = -1
    if t.ndim == 2:
        t[rng.integers(len(t))] = -1
    return t


def losses_of(model, x, t):
    """The losses of single labels, in plain NumPy, without those ignored."""
    y = model.table.array[xp.maximum(x, 0)]
    log_p = y - xp.log(xp.exp(y).sum(axis=-1, keepdims=True))
    picked = xp.take_along_axis(log_p, xp.maximum(t, 0)[..., None], -1)[..., 0]
    return -picked[t != -1]


def trained_means(updater, updates):
    """The means of what is reported while nothing is learned, and the counts."""
    reporter, summary, counts = Reporter(), DictSummary(), []
    reporter.add_observer("main", updater.get_optimizer().target)
    for _ in range(updates):
        observation = Observation()
        with reporter.scope(observation):
            updater.update()
        summary.add(observation)
        counts.append(observation.weights["main/loss"])
        assert updater.label_count == counts[-1]
    return summary.compute_mean(), counts


@pytest.mark.parametrize("says", ["loss", "made", None])
@pytest.mark.parametrize("kind", ["(x, t)", "(x, t, lengths)", "dictionary", "lines"])
def test_means_depend_on_the_labels_only(says, kind):
    rng = xp.random.default_rng(7)
    lines = [rng.integers(0, V, rng.integers(2, 9)).astype(np.int32) for _ in range(11)]
    model = (Lines if kind == "lines" else Model)(says)

    def convert(batch, device=None):
        padded, lengths = pad_sequences(batch)
        x, t = padded[:-1], padded[1:]
        return {
            "lines": padded,
            "(x, t)": (x, t),
            "(x, t, lengths)": (x, t, lengths - 1),
            "dictionary": {"x": x, "t": t, "lengths": lengths - 1},
        }[kind]

    flat = xp.concatenate([losses_of(model, a[:-1], a[1:]) for a in lines])
    for batch_size in (1, 2, 3, 5, 11):
        options = {"repeat": False, "shuffle": False}
        iterator = SerialIterator(lines, batch_size, **options)
        means = Evaluator(iterator, model, convert)()
        assert means["validation/main/loss"] == pytest.approx(
            float(flat.mean()), rel=1e-12
        )
        iterator.reset()
        updater = StandardUpdater(iterator, SGD(lr=0.0).setup(model), convert)
        means, counts = trained_means(updater, -(-len(lines) // batch_size))
        assert means["main/loss"] == pytest.approx(float(flat.mean()), rel=1e-12)
        assert sum(counts) == len(flat)


def test_eight_labels_and_one():
    class Certain(Chain):
        def forward(self, y, t):
            loss = F.softmax_cross_entropy(y, t)
            report({"loss": loss}, self)
            return loss

    y = xp.zeros((16, 2), np.float32)
    y[:8, 0] = 100
    batches = list(zip(y, xp.array([0] * 9 + [-1] * 7), strict=True))
    for model in (Certain(), L.Classifier(lambda y: y)):
        iterator = SerialIterator(batches, 8, repeat=False, shuffle=False)
        found = Evaluator(iterator, model)()["validation/main/loss"]
        assert found == pytest.approx(math.log(2) / 9, rel=1e-6)


def window_pair(model, windows, **options):
    """Updaters of one model and data, by step and by window."""
    return [
        BPTTUpdater(Text(windows), SGD(lr=0.1).setup(each), 4, window=window, **options)
        for each, window in [(model, False), (model.copy("copy"), True)]
    ]


def params(updater):
    return updater.get_optimizer().target.params()


def classifier():
    model = Sequential(L.EmbedID(V, V, initialW=xp.eye(V, dtype=np.float64)))
    return L.Classifier(model)


@pytest.mark.parametrize("make", [Model, lambda: Model("made"), classifier])
def test_step_and_window_are_one_model(make):
    rng = xp.random.default_rng(8)
    for _ in range(4):
        T, B = rng.integers(1, 5), rng.integers(1, 4)
        windows = [
            (rng.integers(0, V, (T, B)).astype(np.int32), draw_labels(rng, T, B))
            for _ in range(3)
        ]
        step, window = window_pair(make(), windows)
        for _ in windows:
            means, counts = trained_means(step, 1)
            others, other_counts = trained_means(window, 1)
            xp.testing.assert_equal(set(means), set(others))
            for key, value in means.items():
                assert value == pytest.approx(others[key], rel=1e-12, nan_ok=True), key
            assert counts == other_counts
            for a, b in zip(params(step), params(window), strict=True):
                xp.testing.assert_allclose(a.grad, b.grad, 1e-12, 1e-15)
                xp.testing.assert_allclose(a.array, b.array, 1e-12, 1e-15)


def test_the_loss_of_a_window_is_steps_times_the_mean_per_label():
    class Plain(Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.y = Parameter(xp.zeros(2))

        def forward(self, x, t):
            y = F.broadcast_to(self.y, (*t.shape, 2))
            return F.softmax_cross_entropy(y, t)

    labels = xp.array([[0, 1], [0, -1]], np.int32)
    for t, gradient in [
        (labels, [-1 / 3, 1 / 3]),
        (labels * 0 - xp.array([[1], [0]]), [-1, 1]),
    ]:
        for updater in window_pair(Plain(), [(t, t)]):
            updater.update()
            xp.testing.assert_allclose(updater.get_optimizer().target.y.grad, gradient)
            assert float(updater.mean_loss) == pytest.approx(math.log(2))
            assert updater.label_count == (t != -1).sum()


@pytest.mark.parametrize("normalize", [True, False])
def test_losses_without_normalization_are_one_model_too(normalize):
    def loss(y, t):
        return F.softmax_cross_entropy(y, t, normalize)

    rng = xp.random.default_rng(9)
    windows = [(rng.integers(0, V, (4, 3)), draw_labels(rng, 4, 3)) for _ in range(2)]
    step, window = window_pair(Model(None, loss), windows)
    means = trained_means(step, 2)
    others = trained_means(window, 2)
    assert means[0]["main/loss"] == pytest.approx(others[0]["main/loss"], rel=1e-12)
    assert means[1] == others[1]
    for updater in (step, window):
        evaluator = Evaluator(Text(windows), updater.get_optimizer().target)
        found = evaluator()["validation/main/loss"]
        wholes = [losses_of(evaluator.get_target(), x, t).sum() for x, t in windows]
        count = sum(means[1]) if normalize else 24
        if normalize:
            count = sum(int((t != -1).sum()) for _, t in windows)
        assert float(found) == pytest.approx(float(sum(wholes)) / count, rel=1e-12)


def test_what_steps_report_is_their_mean():
    class Scores(Model):
        def forward(self, x, t):
            y = F.embed_id(x, self.table)
            report({"accuracy": F.accuracy(y, t), "steps": 1.0, "y": y}, self)
            report({"at": float(t[0])}, self, weight=float(t[0]))
            return F.softmax_cross_entropy(y, t)

    model = Scores()
    model.table.array[...] = xp.eye(V)
    x = xp.array([[1, 2], [3, 0]], np.int32)
    t = xp.array([[1, 2], [3, 4]], np.int32)
    updater = BPTTUpdater(Text([(x, t)]), SGD().setup(model), 2, window=False)
    means, _ = trained_means(updater, 1)
    assert means["main/accuracy"] == 0.75
    assert means["main/steps"] == 1
    assert means["main/at"] == pytest.approx((1 * 1 + 3 * 3) / 4)
    assert "main/y" not in means


@one_device("chooses its device")
def test_steps_do_not_wait_for_the_device(synchronisations):
    device = get_device("@strict")
    rng = xp.random.default_rng(3)
    x, t = rng.integers(0, V, (4, 3)).astype(np.int32), draw_labels(rng, 4, 3)
    found = {}
    for kind in (None, device):
        model = classifier()
        updater = BPTTUpdater(
            Text([(x, t)] * 2), SGD().setup(model), 4, kind, window=False
        )
        updater.update()
        reporter, observation = Reporter(), Observation()
        reporter.add_observers("main", model.namedlinks())
        with synchronisations() as count, reporter.scope(observation):
            updater.update()
        assert count() == 0
        found[kind] = {key: float(value) for key, value in observation.items()}
        assert float(updater.label_count) == (t != -1).sum()
    assert found[None] == pytest.approx(found[device], rel=1e-6)


def test_a_loss_of_ones_own_says_what_it_counts():
    def loss(y, t):
        error = F.square(F.sum(y, axis=-1)) * (t >= 0)
        loss = F.sum(error) / max(1, (t >= 0).sum())
        loss.count = (t >= 0).sum()
        return loss

    rng = xp.random.default_rng(4)
    windows = [(rng.integers(0, V, (4, 3)), draw_labels(rng, 4, 3)) for _ in range(3)]
    step, window = window_pair(Model(None, loss), windows)
    assert trained_means(step, 3)[1] == trained_means(window, 3)[1]
    for a, b in zip(params(step), params(window), strict=True):
        xp.testing.assert_allclose(a.array, b.array, 1e-12)


def shards(windows, machines):
    return [
        [tuple(xp.array_split(a, machines, axis=1)[m] for a in w) for w in windows]
        for m in range(machines)
    ]


def test_several_machines_need_one_exchange():
    rng = xp.random.default_rng(5)
    windows = [(rng.integers(0, V, (4, 6)), draw_labels(rng, 4, 6)) for _ in range(2)]
    for x, t in windows:
        t[0, 0] = x[0, 0]  # at least one
    for window in (False, True):

        def updater(batches, window=window):
            optimizer = SGD(lr=0.0).setup(Model(None))
            return BPTTUpdater(Text(batches), optimizer, 4, window=window)

        whole, parts = updater(windows), [updater(each) for each in shards(windows, 3)]
        for _ in windows:
            whole.update()
            sums = []
            for part in parts:
                seen = []

                def hook(optimizer, part=part, seen=seen):
                    n = part.label_count
                    gradient = optimizer.target.table.grad
                    seen += [gradient * n, part.mean_loss * n, n]

                part.get_optimizer().add_hook(hook, name="exchange")
                part.update()
                part.get_optimizer().remove_hook("exchange")
                sums = (
                    [a + b for a, b in zip(sums, seen, strict=True)] if sums else seen
                )
            gradient, loss, count = sums
            assert count == whole.label_count
            assert float(loss / count) == pytest.approx(float(whole.mean_loss))
            expected = whole.get_optimizer().target.table.grad
            xp.testing.assert_allclose(gradient / count, expected, 1e-12, 1e-15)


def test_words_and_perplexity_of_a_log(tmp_path):
    rng = xp.random.default_rng(6)
    lines = [rng.integers(0, V, rng.integers(2, 9)).astype(np.int32) for _ in range(10)]
    rows = []
    for batch_size in (1, 2, 5):
        model = Lines()
        iterator = SerialIterator(lines, batch_size, shuffle=False)
        updater = StandardUpdater(
            iterator, SGD(lr=0.0).setup(model), lambda batch, _: pad_sequences(batch)[0]
        )
        trainer = Trainer(updater, (1, "epoch"), tmp_path)
        trainer.extend(WordsPerSecond())
        trainer.extend(LogReport(postprocess=add_perplexity, filename=None))
        trainer.run()
        rows.append(trainer.get_extension("LogReport").log[0])
    losses = xp.concatenate([losses_of(model, a[:-1], a[1:]) for a in lines])
    for row in rows:
        assert row["perplexity"] == pytest.approx(math.exp(losses.mean()), rel=1e-12)
    scene = Scene()
    extension = WordsPerSecond()
    with scene.reporter.scope(scene.observation):
        report({"main/loss": 1.0}, weight=6)
        extension(scene)
    assert scene.observation["words_per_second"] == 12


@pytest.mark.parametrize(
    ("call", "count"),
    [
        (lambda y, t: F.softmax_cross_entropy(y, t), 4),
        (lambda y, t: F.softmax_cross_entropy(y, abs(t), ignore_label=2), 4),
        (lambda y, t: F.softmax_cross_entropy(y, t) / np.log(2), 4),
        (lambda y, t: F.softmax_cross_entropy(y, t, normalize=False), 6),
        (lambda y, t: F.accuracy(y, t, -1), 4),
        (lambda y, t: F.accuracy(y, abs(t)), 6),
        (lambda y, t: F.sigmoid_cross_entropy(y[..., 0], t.clip(-1, 1)), 4),
        (lambda y, t: F.binary_accuracy(y[..., 0], t.clip(-1, 1)), 4),
        (lambda y, t: F.negative_log_likelihood(y, abs(t)), 6),
        (lambda y, t: F.mean_squared_error(y, y), 18),
        (lambda y, t: F.mean_absolute_error(y, y), 18),
        (lambda y, t: F.gaussian_nll(y, y, y, reduce="mean"), 18),
        (lambda y, t: F.bernoulli_nll(y, y, reduce="mean"), 18),
        (lambda y, t: F.hinge(y.reshape(6, 3), abs(t).reshape(6)), 6),
        (lambda y, t: F.mean(y), 18),
        (lambda y, t: F.mean(y.astype(np.float16)), 18),
        (lambda y, t: F.crf1d(y[:, 0, 0][:1] * y[0], y, abs(t), [2, 1, 2]), 3),
        (
            lambda y, t: F.connectionist_temporal_classification(
                y, abs(t[:1]).T // 9 + 1, 0
            ),
            3,
        ),
        (
            lambda y, t: F.linear_softmax_cross_entropy(y, y[0], None, t),
            4,
        ),
        (lambda y, t: F.mean(y, axis=0), None),
        (lambda y, t: F.mean(F.mean(y, axis=0)), 18),
        (lambda y, t: F.sum(y), None),
    ],
)
def test_losses_and_scores_know_their_counts(call, count, xp):
    y = dyrnn.Variable(xp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3))))
    t = xp.asarray(np.array([[0, -1, 2], [2, 1, -1]], np.int32))
    found = call(y, t).count
    assert found is None if count is None else int(found) == count


def each(y, t):
    return F.softmax_cross_entropy(y, t, reduce="no")
