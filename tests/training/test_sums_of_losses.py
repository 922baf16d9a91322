"""Losses that are sums, terms of sums or unclear: what they count, and what is told."""

import warnings
import weakref

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
from dyrnn.engine.counts import Tally
from dyrnn.extensions import Evaluator, LogReport
from dyrnn.optimizers import SGD
from dyrnn.reporter import Observation, Reporter
from dyrnn.training import StandardUpdater, Trainer
from tests.arrays import every_device, one_device, xp
from tests.training.test_means import (
    Model,
    Text,
    V,
    draw_labels,
    each,
    losses_of,
    params,
    trained_means,
    window_pair,
)

pytestmark = every_device


def masked(over):
    def loss(y, t):
        mask = (t >= 0).astype(y.dtype)
        return -F.sum(-each(y, xp.maximum(t, 0)) * mask) / over(mask)

    return loss


def labelled(normalize):
    def loss(y, t):
        shape = *t.shape, 1
        labels = xp.maximum(t, 0)[..., None] == xp.arange(V) + xp.zeros(shape, int)
        return F.sigmoid_cross_entropy(y, labels.astype(np.int32), normalize)

    return loss


SUMS = {
    "sum": lambda y, t: F.sum(each(y, t)),
    "minus": lambda y, t: -F.sum(-each(y, t)),
    "mask.sum()": masked(lambda mask: mask.sum()),
    "int": masked(lambda mask: max(1, int(mask.sum()))),
    "Variable": masked(lambda mask: F.sum(mask)),
    "shares": lambda y, t: F.sum(each(y, xp.maximum(t, 0)) * (t >= 0) / (t >= 0).sum()),
    "shares of a Variable": lambda y, t: (
        -F.sum(-each(y, xp.maximum(t, 0)) * (t >= 0) / F.sum((t >= 0) * 1.0))
    ),
    "shares of all": lambda y, t: F.sum(each(y, t) / t.size),
    "shares of the batch": lambda y, t: F.sum(each(y, t) / t.shape[-1]),
    "averaged losses": lambda y, t: F.average(
        F.stack([F.softmax_cross_entropy(y, t), auxiliary(y, t)]),
        weights=np.array([0.3, 0.7]),
    ),
    "bits": lambda y, t: F.softmax_cross_entropy(y, t) / np.log(2),
    "average": lambda y, t: F.average(
        each(y, t).reshape(-1), weights=(t.reshape(-1) >= 0) * 1.0
    ),
    "sigmoid": labelled(True),
    "sigmoid, normalize=False": labelled(False),
    "normalize=False": lambda y, t: (
        F.softmax_cross_entropy(y, t, normalize=False) * 0.5
    ),
    "terms": lambda y, t: F.softmax_cross_entropy(y, t) + 0.5 * auxiliary(y, t),
    "stacked": lambda y, t: F.sum(
        F.stack([F.softmax_cross_entropy(y, t), auxiliary(y, t) / 3])
    ),
    "terms, normalize=False": lambda y, t: (
        -(auxiliary(y, t) - F.softmax_cross_entropy(y, t, normalize=False))
    ),
    "mean / mean": lambda y, t: (
        F.mean(each(y, np.maximum(t, 0)) * (t >= 0)) / (t >= 0).mean()
    ),
    "sums": lambda y, t: (F.sum(each(y, t)) + F.sum(each(y, t))) / (t >= 0).sum(),
    "halves": lambda y, t: F.mean(each(y, t)).reshape(1).reshape(()) / 2,
    "feature sums": lambda y, t: F.mean(F.sum(F.square(y), axis=-1)),
}


def auxiliary(y, t):
    """A loss of other labels, of which some steps have none."""
    return F.softmax_cross_entropy(y, xp.where(t == 1, t, -1))


TERMS = [name for name in SUMS if "terms" in name or name == "stacked"]


@pytest.mark.parametrize("reports", [True, False])
@pytest.mark.parametrize("name", TERMS)
def test_each_term_of_a_loss_counts_its_own_labels(name, reports, tmp_path):
    rng = xp.random.default_rng(5)
    x, t = rng.integers(0, V, (12, 4)), draw_labels(rng, 12, 4)
    t[:2] = 1
    model = Model("loss" if reports else None, SUMS[name])
    expected = float(model(x, t))
    if "normalize" in name:  # which is a sum of the means of 12 steps
        ce = F.softmax_cross_entropy(F.embed_id(x, model.table), t, normalize=False)
        expected += float(ce) / 12 - float(ce)
    for size in (1, 5, 12):
        parts = [(x[i : i + size], t[i : i + size]) for i in range(0, 12, size)]
        found = Evaluator(Text(parts), model)()["validation/main/loss"]
        assert found == pytest.approx(expected, rel=1e-12)
        updater = StandardUpdater(
            Text(parts), SGD(lr=0.0).setup(model), lambda batch, _: batch
        )
        trainer = Trainer(updater, (len(parts), "iteration"), tmp_path)
        trainer.extend(LogReport(trigger=(len(parts), "iteration"), filename=None))
        trainer.run()
        log = trainer.get_extension("LogReport").log
        assert log[0]["main/loss"] == pytest.approx(expected, rel=1e-12)


def test_an_unclear_loss_is_warned_of_once_and_by_name():
    def loss(y, t):
        return F.sum(F.square(y)) * 0.1

    rng = xp.random.default_rng(5)
    batches = [(rng.integers(0, V, n), rng.integers(0, V, n)) for n in (4, 2)]
    for unclear in (
        loss,
        lambda y, t: F.sum(F.square(y)),
        lambda y, t: F.sum(F.square(y)) / 2,
        lambda y, t: F.sum(F.square(y)) / 2 + 0.1 * F.mean(y),
    ):
        with pytest.warns(UserWarning, match=r"Evaluator: .*loss\.count = n") as found:
            Evaluator(Text(batches), Model(None, unclear))()
        assert len(found) == 1
    optimizer = SGD(lr=0.0).setup(Model(None, loss))
    updater = StandardUpdater(Text(batches), optimizer, lambda batch, _: batch)
    with pytest.warns(UserWarning, match="StandardUpdater: the loss was comp") as found:
        updater.update()
        updater.update()
    assert len(found) == 1


def test_a_sum_that_the_model_reports_is_shared_between_the_steps():
    rng = xp.random.default_rng(3)
    windows = [(rng.integers(0, V, (4, 3)), draw_labels(rng, 4, 3)) for _ in range(2)]
    for name in ("sum", "sigmoid, normalize=False", "normalize=False"):
        found = [
            trained_means(updater, 2)
            for updater in window_pair(Model("loss", SUMS[name]), windows)
        ]
        (means, counts), (others, other_counts) = found
        assert means == pytest.approx(others, rel=1e-12), name
        assert counts == other_counts


@one_device("a device is not waited for")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:BPTTUpdater. the loss is a sum divided")
@pytest.mark.parametrize("name", SUMS)
def test_sums_are_one_model_by_steps_and_by_windows(name):
    rng = xp.random.default_rng(3)
    for _ in range(3):
        T, B = rng.integers(2, 6), rng.integers(2, 4)
        t = draw_labels(rng, T, B)
        t[0, 0] = 1
        if name == "int":
            t[:2] = 2  # no number of labels that is a length
            t[2:3] = 1
        windows = [(rng.integers(0, V, (T, B)), t)]
        step, window = window_pair(Model(None, SUMS[name]), windows)
        means, counts = trained_means(step, 1)
        others, other_counts = trained_means(window, 1)
        assert means["main/loss"] == pytest.approx(others["main/loss"], rel=1e-9)
        assert counts == other_counts
        for a, b in zip(params(step), params(window), strict=True):
            xp.testing.assert_allclose(a.grad, b.grad, 1e-9, 1e-12)


def test_masked_means_do_not_depend_on_batches():
    rng = xp.random.default_rng(5)
    x, t = rng.integers(0, V, (12, 4)), draw_labels(rng, 12, 4)
    model = Model(None, masked(lambda mask: mask.sum() + (mask.sum() == 0)))
    expected = float(losses_of(model, x, t).mean())
    for size in (1, 5, 12):
        parts = [(x[i : i + size], t[i : i + size]) for i in range(0, 12, size)]
        found = Evaluator(Text(parts), model)()["validation/main/loss"]
        assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        lambda y, t: F.sum(each(y, t)) / 3,
        lambda y, t: F.sum(each(y, t)) * 0.25,
        lambda y, t: F.sqrt(F.mean(F.square(y))),
        lambda y, t: 2 * F.exp(F.mean(each(y, t))),
        lambda y, t: F.mean(each(y, t)) + 0.25 * F.sum(each(y, t)),
        lambda y, t: sum(F.mean(each(y[i], t[i])) for i in range(len(t))),
        lambda y, t: F.sum(F.concat([F.mean(y).reshape(1), F.max(y).reshape(1)])) * 2,
        lambda y, t: F.mean(F.sum(each(y, t), axis=0).reshape(-1, 1)),
        lambda y, t: F.mean(F.sum(F.transpose(each(y, t)), axis=1)),
        lambda y, t: F.mean(F.stack([F.sum(each(y, t), axis=0)])),
        lambda y, t: F.mean(F.sum(each(y, t), axis=0)[:]) + 0.1 * F.mean(y),
    ],
)
def test_a_window_warns_of_a_sum_that_it_may_mistake_for_a_mean(loss):
    t = xp.zeros((2, 3), np.int32)
    _, window = window_pair(Model(None, loss), [(t, t)] * 2)
    with pytest.warns(UserWarning, match=r"loss\.count = n") as found:
        window.update()
        window.update()
    assert len(found) == 1


@pytest.mark.parametrize("count", [-1, np.nan, np.ones(3), "3", None])
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(ValueError, match=r"mask\.sum\(\)"):
        F.mean(xp.ones(2)).count = count


@pytest.mark.parametrize("window", [False, True])
def test_a_window_without_labels_reports_no_nan(window):
    t = xp.full((3, 2), -1, np.int32)
    updater = window_pair(Model("loss"), [(t, t)])[window]
    observation, reporter = Observation(), Reporter()
    reporter.add_observer("main", updater.get_optimizer().target)
    with reporter.scope(observation):
        updater.update()
    assert observation["main/loss"] == 0
    assert observation.weights["main/loss"] == 0


def one_loss(i):
    return F.mean(xp.full(1 + i % 3, i % 7, np.float64))


def test_terms_of_a_decaying_sum_of_many_losses_keep_factor_and_count():
    smooth = 0
    with Tally() as tally:
        for i in range(1000):
            smooth = smooth * 0.5 + one_loss(i) / 2
        parts = tally.parts_of(smooth / 4)
    assert [n for _, n in parts] == [1 + i % 3 for i in range(1000)]
    for i in (999, 998, 990):
        assert float(parts[i][0]) == pytest.approx(0.5 ** (1000 - i) / 4 * (i % 7))


@one_device("the stand-in has no weak references")
def test_a_sum_without_a_graph_does_not_keep_its_losses():
    with dyrnn.no_backprop_mode():
        first = total = one_loss(1)
        is_alive = weakref.ref(first.array)
        del first
        for i in range(2, 1000):
            total = total + one_loss(i)
    assert is_alive() is None
    assert total.count == 3


BENT = {
    "power": lambda loss: loss**2,
    "square": F.square,
    "product": lambda loss: loss * loss,
    "reciprocal": lambda loss: 1 / loss,
    "flood": lambda loss: abs(loss - 0.1) + 0.1,
    "floor": lambda loss: F.maximum(loss, 0.1),
    "ceiling": lambda loss: F.clip(loss, None, 9.0),
    "root": F.sqrt,
}
STRAIGHT = {
    "times": lambda loss: loss * 2,
    "negative": lambda loss: -loss,
    "power 1": lambda loss: loss**1,
    "learned weight": lambda loss: F.exp(-loss.xp.ones(())) * loss,
}


@pytest.mark.parametrize("name", [*BENT, *STRAIGHT])
def test_a_window_warns_of_a_function_of_a_mean_that_is_not_linear(name):
    function = (BENT | STRAIGHT)[name]
    t = xp.zeros((2, 3), np.int32)
    loss = Model(None, lambda y, t: function(F.mean(each(y, t))))
    _, window = window_pair(loss, [(t, t)])
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        window.update()
    told = ["of a mean" in str(one.message) for one in found]
    assert told == [True] * (name in BENT)
