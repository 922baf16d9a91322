"""The range test finds where losses rise, and leaves no trace."""

import pytest

import dyrnn.links as L
from dyrnn import random, training
from dyrnn.iterators import ParallelSequentialIterator, SerialIterator
from dyrnn.optimizers import SGD, AdaDelta, Adam
from tests.arrays import every_device, xp
from tests.training.toys import Recurrent, Regression, points, text

pytestmark = every_device


def trainings(kind):
    random.seed(3)
    if kind == "windows":
        optimizer = Adam(0.01).setup(Recurrent(dropout=0.3))
        return training.BPTTUpdater(ParallelSequentialIterator(text(), 4), optimizer, 3)
    optimizer = SGD(0.05).setup(Regression())
    return training.StandardUpdater(SerialIterator(points(), 4), optimizer)


@pytest.mark.parametrize("kind", ["windows", "examples"])
@pytest.mark.parametrize("before", [0, 2])
def test_a_training_goes_on_as_without_the_test(kind, before):
    def weights(tests):
        updater = trainings(kind)
        for _ in range(before):
            updater.update()
        if tests:
            training.lr_range_test(updater, 1e-3, 10, 8)
        for _ in range(5):
            updater.update()
        assert updater.iteration == before + 5
        return [param.array.copy() for param in updater.get_optimizer().target.params()]

    for ours, meant in zip(weights(True), weights(False), strict=True):
        xp.testing.assert_array_equal(ours, meant)


def test_rates_grow_evenly_and_the_losses_rise_in_the_end():
    found = training.lr_range_test(trainings("examples"), 1e-4, 100, 40)
    rates, losses = xp.array(found).T
    xp.testing.assert_allclose(rates[1:] / rates[:-1], 1e6 ** (1 / 39), rtol=1e-9)
    assert rates[0] == 1e-4 and len(found) < 40
    assert losses.min() < losses[0] and losses[-1] > 4 * losses[:-1].min()


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(ValueError, match="0 < lowest < highest"):
        training.lr_range_test(trainings("examples"), 1, 0.1)
    iterator = SerialIterator(points(), 4)
    updater = training.StandardUpdater(iterator, AdaDelta().setup(Regression()))
    with pytest.raises(AttributeError, match="AdaDelta has no 'lr'; it has: rho, eps"):
        training.lr_range_test(updater)
    lazy = L.Classifier(L.Linear(None, 1))
    updater = training.StandardUpdater(iterator, SGD().setup(lazy))
    with pytest.raises(ValueError, match="does not know all its sizes yet"):
        training.lr_range_test(updater)
