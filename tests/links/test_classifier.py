"""The classifier: loss, accuracy, labels, and what it reports."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.backend import get_device
from dyrnn.links.classifier import count_labels
from dyrnn.reporter import Reporter
from tests.arrays import every_device, xp


@pytest.fixture
def x(rng):
    return rng.normal(size=(4, 3)).astype(np.float32)


@pytest.fixture
def t():
    return xp.array([0, 1, -1, 1])


def reported(model, *args, **kwargs):
    reporter = Reporter()
    observation = {}
    reporter.add_observer("main", model)
    with reporter.scope(observation):
        model(*args, **kwargs)
    return observation


@every_device
def test_reports_loss_and_accuracy_of_labels_that_count(x, t):
    model = L.Classifier(L.Linear(3, 2))
    observation = reported(model, x, t)
    assert set(observation) == {"main/loss", "main/accuracy"}
    expected = F.softmax_cross_entropy(model.predictor(x), t)
    assert float(observation["main/loss"]) == float(expected) == float(model.loss)
    assert model.y.shape == (4, 2)


def test_accuracy_is_optional(x, t):
    model = L.Classifier(L.Linear(3, 2), accfun=None)
    assert set(reported(model, x, t)) == {"main/loss"}
    assert model.accuracy is None


@pytest.mark.parametrize("name", ["compute_accuracy", "ignore_label"])
def test_a_setting_that_nothing_would_read_is_refused(name):
    class Own(L.Classifier):
        def forward(self, x, t):
            return self.lossfun(self.predictor(x), t)

    setattr(Own(L.Linear(3, 2)), name, 0)
    with pytest.raises(AttributeError, match=f"Classifier has no {name}: .*accfun"):
        setattr(L.Classifier(L.Linear(3, 2)), name, 0)


@every_device
def test_loss_and_accuracy_functions_can_be_chosen(x, t):
    t = xp.ones((4, 2), np.float32)
    model = L.Classifier(L.Linear(3, 2), F.mean_squared_error, F.mean_absolute_error)
    observation = reported(model, x, t)
    assert float(observation["main/loss"]) == pytest.approx(
        float(F.mean_squared_error(model.y, t))
    )
    assert float(model.accuracy) == float(F.mean_absolute_error(model.y, t))


def test_labels_by_position_or_name(x, t):
    plain = float(L.Classifier(lambda x: x)(x, t))
    assert float(L.Classifier(lambda x: x, label_key=0)(t, x)) == plain
    model = L.Classifier(lambda x: x, label_key="labels")
    assert float(model(x=x, labels=t)) == plain
    with pytest.raises(ValueError, match="label_key is 'labels', but .* are: x$"):
        model(x=x)
    with pytest.raises(ValueError, match="label_key is 2, but there are 1 positional"):
        L.Classifier(lambda x: x, label_key=2)(x)
    with pytest.raises(TypeError, match="label_key is an int or a str, not 1.5"):
        L.Classifier(lambda x: x, label_key=1.5)


def test_counting_labels_does_not_wait_for_a_device(synchronisations):
    t = get_device("@strict").send(np.array([0, 1, -1, 1]))
    with synchronisations() as count:
        number = count_labels(t)
    assert count() == 0
    assert int(number) == 3
    assert count_labels(xp.ones((5, 2))) == 10
