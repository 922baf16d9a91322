"""Sums and means over the steps of a window are the losses by steps, or warned of."""

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn.extensions import Evaluator
from tests.arrays import every_device, xp
from tests.training.test_means import (
    Model,
    Text,
    V,
    each,
    losses_of,
    params,
    trained_means,
    window_pair,
)

pytestmark = every_device


def features(y, t, n=4):
    """The losses, n times each, so that their number is one of steps, too."""
    return F.broadcast_to(each(y, t)[..., None], (*t.shape, n))


SUMS_OVER_TIME = {
    "as they are": lambda y, t: F.mean(F.sum(each(y, t), axis=0)),
    "times a number": lambda y, t: F.mean(F.sum(each(y, t), axis=0) * 0.5) * 2,
    "a number times": lambda y, t: 2 * F.mean(0.5 * F.sum(each(y, t), axis=0)),
    "over a number": lambda y, t: F.mean(F.sum(each(y, t), axis=0) / 5) * 5.0,
    "of NumPy": lambda y, t: F.mean(F.sum(each(y, t), axis=0) / np.float32(2)) / 0.5,
    "minus": lambda y, t: F.mean(-F.sum(-each(y, t), axis=0)),
    "minus outside": lambda y, t: -F.mean(F.sum(-each(y, t), axis=0)),
    "features": lambda y, t: F.mean(F.sum(features(y, t), axis=0) * 3) / 3,
    "axis by axis": lambda y, t: F.mean(F.mean(F.sum(features(y, t), 0), axis=-1)),
    "features summed": lambda y, t: (
        F.mean(F.sum(F.sum(features(y, t, 5), axis=0), axis=1)) / 5
    ),
}
MEANS = {
    "over the steps": lambda y, t: F.mean(F.sum(each(y, t), axis=0) / len(t)),
    "times": lambda y, t: F.mean(F.sum(each(y, t), axis=0) * (1 / len(t))),
    "outside": lambda y, t: -F.mean(F.sum(-each(y, t), axis=0)) / len(t),
    "time first": lambda y, t: F.mean(F.mean(each(y, t), axis=0)),
    "time last": lambda y, t: F.mean(F.mean(each(y, t), axis=1)),
    "features first": lambda y, t: F.mean(F.mean(features(y, t), axis=-1)),
}


@pytest.mark.parametrize("says", [None, "loss"])
@pytest.mark.parametrize("name", [*SUMS_OVER_TIME, *MEANS])
def test_sums_and_means_over_time_are_the_losses_by_steps(name, says):
    rng = xp.random.default_rng(3)
    windows = [(rng.integers(0, V, (4, 3)), rng.integers(0, V, (4, 3)))]
    loss = SUMS_OVER_TIME.get(name) or MEANS[name]
    step, _ = window_pair(Model(says), windows)
    _, window = window_pair(Model(says, loss), windows)
    means, _ = trained_means(step, 1)
    others, counts = trained_means(window, 1)
    assert means == pytest.approx(others, rel=1e-12)
    assert counts[0] % 12 == 0
    (a,), (b,) = params(step), params(window)
    xp.testing.assert_allclose(a.grad, b.grad, 1e-12, 1e-15)


@pytest.mark.parametrize("name", [*SUMS_OVER_TIME, *MEANS])
def test_sums_and_means_over_time_count_the_labels_of_each_window(name):
    loss = SUMS_OVER_TIME.get(name) or MEANS[name]
    rng = xp.random.default_rng(3)
    shapes = [(4, 3), (3, 3), (4, 2)]
    windows = [(rng.integers(0, V, s), rng.integers(0, V, s)) for s in shapes]
    model = Model(None, loss)
    found = Evaluator(Text(windows), model)()["validation/main/loss"]
    losses = xp.concatenate([losses_of(model, x, t) for x, t in windows])
    assert float(found) == pytest.approx(float(losses.mean()), rel=1e-12)


def test_what_may_be_half_of_sums_or_a_mean_of_two_steps_is_warned_of():
    t = xp.zeros((2, 3), np.int32)
    loss = Model(None, lambda y, t: F.mean(F.sum(each(y, t), axis=0)) / 2)
    _, window = window_pair(loss, [(t, t)])
    with pytest.warns(UserWarning, match=r"half of sums over 2 steps.*loss\.count"):
        window.update()
