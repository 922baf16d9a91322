import gc
import math
import threading
import weakref

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn.engine.core import Variable
from dyrnn.engine.counts import Tally, counted
from dyrnn.link import Chain, Link
from dyrnn.reporter import (
    DictSummary,
    Observation,
    Reporter,
    Summary,
    get_current_reporter,
    means_of,
    read_scalars,
    report,
    report_scope,
)
from dyrnn.serializers import load_npz, save_npz
from tests.arrays import every_device, xp


def reload(tmp_path, source, target):
    save_npz(tmp_path / "state.npz", source)
    load_npz(tmp_path / "state.npz", target)
    return target


def test_report_without_reporter_does_nothing():
    assert get_current_reporter() is None
    report({"loss": 1.0}, object())


@pytest.mark.parametrize("value", ["hello", None, [1.0]])
def test_what_has_no_mean_is_refused(value):
    reporter = Reporter()
    with reporter, pytest.raises(TypeError, match="report: 'a' is .* arrays or num"):
        report({"a": value})


def test_values_get_the_names_of_their_observers():
    model = Chain(predictor=Link())
    reporter = Reporter()
    reporter.add_observer("main", model)
    reporter.add_observers("main", model.namedlinks(skipself=True))
    with reporter.scope(Observation()):
        report({"loss": 1.0}, model)
        report({"size": 2.0}, model.predictor)
        report({"lr": 3.0})
        found = dict(reporter.observation)
    assert found == {"main/loss": 1.0, "main/predictor/size": 2.0, "lr": 3.0}


def test_unregistered_observer_is_an_error_that_lists_the_registered():
    reporter = Reporter()
    reporter.add_observer("main", Link())
    with (
        reporter.scope({}),
        pytest.raises(KeyError, match=r"Chain is not a registered .*registered: main"),
    ):
        report({"loss": 1.0}, Chain())


@every_device
def test_reported_variable_keeps_no_graph():
    x = Variable(xp.ones(3))
    y = F.sum(x * 2)
    node = weakref.ref(y.node)
    observation = {}
    with Reporter().scope(observation):
        report({"loss": y})
    del y
    gc.collect()
    assert isinstance(observation["loss"], xp.ndarray | np.generic)
    assert node() is None


def test_scopes_nest_and_are_restored():
    outer, inner = {}, {}
    reporter = Reporter()
    with reporter.scope(outer):
        with report_scope(inner):
            report({"a": 1})
        report({"b": 2})
    assert (outer, inner) == ({"b": 2}, {"a": 1})
    assert get_current_reporter() is None


def test_report_scope_needs_a_reporter():
    with (
        pytest.raises(RuntimeError, match="no reporter is in scope"),
        report_scope({}),
    ):
        pass


def test_reporter_belongs_to_its_thread():
    found = []
    with Reporter().scope({}):
        thread = threading.Thread(target=lambda: found.append(get_current_reporter()))
        thread.start()
        thread.join()
    assert found == [None]


@every_device
def test_a_value_counts_as_said_or_as_its_own_labels_or_as_all_of_the_call():
    observation = Observation()
    loss = Variable(xp.array(1.0))
    loss.count = 2
    with Reporter().scope(observation), Tally(5) as tally:
        report({"nothing yet": 1.0})
        report({"said": loss}, weight=9)
        counted(Variable(xp.ones(3)), 3)
        counted(Variable(xp.array(1.0)), 4)
        report({"own": loss, "scaled": loss * 2, "number": 1.0})
        report({"of the call": F.exp(loss)})
        with Tally(7):
            report({"inner": 1.0})
    report({"nobody listens": 1.0})
    assert tally.labels == 7
    assert observation.weights == {
        "nothing yet": 5,
        "said": 9,
        "own": 2,
        "scaled": 2,
        "of the call": 7,
        "number": 7,
        "inner": 7,
    }


def test_means_of_observations(xp):
    first, second = Observation(a=xp.asarray(1.0), b=2.0, c=math.nan), Observation()
    first.weights = {"a": xp.asarray(1), "c": 0}
    second.update(a=xp.asarray(4.0), c=xp.ones(2), d=math.nan)
    second.weights = {"a": 2, "d": 0}
    means = means_of([first, second])
    assert float(means["a"]) == 3 and int(means.weight("a")) == 3
    assert means["b"] == 2 and means.weight("b") == 1
    assert means["c"] is second["c"]
    assert math.isnan(means["d"]) and means.weight("d") == 0
    assert means_of([]) == {}


@pytest.mark.parametrize(
    ("values", "mean", "deviation"),
    [
        ([1, math.inf], math.inf, math.nan),
        ([math.inf, 1, 1], math.inf, math.nan),
        ([-math.inf, 1, -math.inf], -math.inf, math.nan),
        ([math.inf, 1, -math.inf, 1], math.nan, math.nan),
        ([1, math.nan, 1], math.nan, math.nan),
        ([1.5e308, -1.5e308, 0], 0.0, math.inf),
    ],
)
def test_mean_of_what_is_not_finite(values, mean, deviation):
    for order in (values, values[::-1]):
        summary = Summary()
        for value in order:
            summary.add(value, 2)
        np.testing.assert_array_equal(summary.make_statistics(), (mean, deviation))


def test_a_value_reported_anew_without_weight_loses_its_weight():
    observation = Observation()
    with Reporter().scope(observation):
        report({"a": 1.0}, weight=2)
        report({"a": 1.0})
    assert observation.weights == {}


@every_device
def test_mean_is_weighted():
    summary = Summary()
    for value, weight in ((0.1, 100), (8.0, 1), (np.float32(0.5), xp.array(3))):
        summary.add(value, weight)
    expected = (0.1 * 100 + 8.0 + 0.5 * 3) / 104
    assert summary.compute_mean() == pytest.approx(expected, rel=1e-15)


def test_statistics_do_not_cancel():
    values = 1e8 + xp.random.default_rng(0).normal(size=100)
    summary = Summary()
    for value in values:
        summary.add(value)
    mean, deviation = summary.make_statistics()
    assert mean == pytest.approx(values.mean(), rel=1e-15)
    assert deviation == pytest.approx(values.std(), rel=1e-6)


def test_mean_of_equal_values_is_that_value():
    summary = Summary()
    for _ in range(1000):
        summary.add(0.1)
    assert summary.compute_mean() == 0.1
    assert summary.make_statistics() == (0.1, 0.0)


def test_mean_of_nothing_is_nan():
    summary = Summary()
    assert math.isnan(summary.compute_mean())
    assert all(map(math.isnan, summary.make_statistics()))
    summary.add(math.nan, weight=0)
    summary.add(3.0, weight=2)
    assert summary.compute_mean() == 3.0


def test_values_on_a_device_wait_there(xp, device, synchronisations):
    summary = Summary()
    with synchronisations() as count:
        for number in range(100):
            summary.add(xp.asarray(np.float32(number)), weight=number)
    assert count() == 0
    with synchronisations() as count:
        mean = summary.compute_mean()
    assert count() <= 1
    host = Summary()
    for number in range(100):
        host.add(float(number), float(number))
    assert mean == host.compute_mean()


def test_waiting_values_stay_few(xp):
    summary = Summary()
    for _ in range(2100):
        summary.add(xp.asarray(2.0))
    assert len(summary._pending) < 1024
    assert summary.compute_mean() == 2.0


def test_scalars_of_all_kinds_are_read_in_order(xp):
    values = [1, xp.asarray(np.float32(2)), 3.5, xp.asarray(True), np.float64(5)]
    values += [
        xp.asarray(np.float16(6)),
        xp.asarray(np.float32(7)),
        Variable(xp.ones(())),
    ]
    assert read_scalars(values) == [1.0, 2.0, 3.5, 1.0, 5.0, 6.0, 7.0, 1.0]
    assert read_scalars([]) == []


@every_device
def test_summary_goes_on_exactly_when_loaded(tmp_path, rng):
    values, weights = rng.normal(size=50), rng.integers(1, 9, 50)
    whole, half = Summary(), Summary()
    for i in range(50):
        whole.add(values[i], weights[i])
        if i == 20:
            half = Summary()
            resumed = whole
            half = reload(tmp_path, resumed, half)
        elif i > 20:
            half.add(values[i], weights[i])
    assert half.make_statistics() == whole.make_statistics()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_means_are_saved(tmp_path, value):
    summary = Summary()
    summary.add(value)
    loaded = reload(tmp_path, summary, Summary()).compute_mean()
    assert loaded == value or (math.isnan(loaded) and math.isnan(value))


@every_device
def test_dict_summary_takes_scalars_with_their_weights(tmp_path):
    summary = DictSummary()
    for loss, weight in ((0.0, 3), (4.0, 1)):
        observation = Observation(note="text", vector=xp.zeros(3), count=2)
        with Reporter().scope(observation):
            report({"loss": loss}, weight=weight)
        summary.add(observation)
    summary.add({"loss": 1.0, "extra": np.float32(1)})
    means = {"count": 2.0, "loss": 1.0, "extra": 1.0}
    assert summary.compute_mean() == means
    loaded = reload(tmp_path, summary, DictSummary())
    assert loaded.make_statistics() == summary.make_statistics()
    assert list(loaded.compute_mean()) == list(means)
    assert loaded.make_statistics()["count.std"] == 0.0


def test_observation_is_saved_with_its_weights(tmp_path, xp):
    observation = Observation()
    with Reporter().scope(observation):
        report({"a": xp.asarray(np.float32(0.1)), "b": math.nan}, weight=xp.asarray(4))
        report({"several": xp.ones(2)})
    loaded = reload(tmp_path, observation, Observation({"old": 1.0}))
    assert loaded["a"] == np.float32(0.1)
    assert math.isnan(loaded["b"])
    assert list(loaded) == ["a", "b"]
    assert loaded.weights == {"a": 4.0, "b": 4.0}


def test_one_element_in_any_number_of_axes_is_a_number(xp):
    summary, observation = DictSummary(), Observation()
    values = xp.ones(1), Variable(xp.ones((1, 1))), xp.ones((1, 1), np.int32)
    with Reporter().scope(observation):
        report(dict(zip("abc", values, strict=True)), weight=xp.ones(1))
    summary.add(observation)
    assert summary.compute_mean() == {"a": 1, "b": 1, "c": 1}
