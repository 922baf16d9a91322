"""Weights of losses: repeated examples, padding, and means of means."""

import functools

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import extensions, iterators, optimizers, training
from dyrnn.backend import to_cpu
from dyrnn.engine.core import Variable
from dyrnn.engine.counts import Tally
from dyrnn.errors import ShapeError
from tests.arrays import every_device, one_device, xp

pytestmark = every_device

B, C = 7, 4
WEIGHTS = np.array([2, 0, 1, 3, 0, 1, 1])
OUTPUT = np.random.default_rng(1).normal(size=(C, 3))


def floats(n):
    return lambda rng: [rng.normal(size=(B, 3)) for _ in range(n)]


def labels(size):
    return lambda rng: [rng.normal(size=(B, size)), rng.integers(0, C, B)]


def binary(rng):
    return rng.normal(size=(B, 3)), rng.integers(0, 2, (B, 3))


def linear_cross_entropy(x, t, **options):
    W = x.xp.asarray(OUTPUT)
    return F.linear_softmax_cross_entropy(x, W, None, t, **options)


# Name -> function, its inputs, and what its unweighted mean is called.
LOSSES = {
    "softmax": (F.softmax_cross_entropy, labels(C), {}),
    "smoothed": (
        functools.partial(F.softmax_cross_entropy, label_smoothing=0.2),
        labels(C),
        {},
    ),
    "linear": (linear_cross_entropy, labels(3), {}),
    "sigmoid": (F.sigmoid_cross_entropy, binary, {}),
    "likelihood": (F.negative_log_likelihood, labels(C), {}),
    "hinge": (F.hinge, labels(C), {}),
    "squared": (F.mean_squared_error, floats(2), {}),
    "absolute": (F.mean_absolute_error, floats(2), {}),
    "gaussian": (F.gaussian_nll, floats(3), {"reduce": "mean"}),
    "divergence": (F.gaussian_kl_divergence, floats(2), {"reduce": "mean"}),
    "bernoulli": (F.bernoulli_nll, floats(2), {"reduce": "mean"}),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def run(function, xp, inputs, **options):
    """Return the loss, what it counts, and the gradients of its floats."""
    inputs = [xp.asarray(x) for x in inputs]
    inputs = [Variable(x) if x.dtype.kind == "f" else x for x in inputs]
    with Tally() as tally:
        loss = function(*inputs, **options)
    ((mean, count),) = tally.parts_of(loss)
    assert mean is loss
    loss.backward()
    gradients = [to_cpu(x.grad) for x in inputs if isinstance(x, Variable)]
    return loss.item(), float(count), gradients, tally


@every_loss
@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_a_weight_is_a_number_of_repetitions(name, dtype, rng, xp):
    function, make, options = LOSSES[name]
    inputs = make(rng)
    weights = xp.asarray(WEIGHTS.astype(dtype))
    loss, count, gradients, tally = run(
        function, xp, inputs, weights=weights, **options
    )
    repeated = [np.repeat(x, WEIGHTS, axis=0) for x in inputs]
    expected, _, parts, _ = run(function, xp, repeated, **options)
    assert loss == pytest.approx(expected, rel=1e-12)
    starts = np.cumsum(WEIGHTS) - WEIGHTS
    for found, part in zip(gradients, parts, strict=True):
        summed = [
            part[i : i + n].sum(axis=0) for i, n in zip(starts, WEIGHTS, strict=True)
        ]
        np.testing.assert_allclose(found, summed, rtol=1e-10, atol=1e-14)
    # Elements count, not rows, where each has a loss of its own.
    per_row = 1 if inputs[1].ndim == 1 else 3
    assert count == 8 * per_row == float(tally.labels)


@every_loss
def test_what_a_mask_leaves_out_is_not_read(name, rng, xp):
    function, make, options = LOSSES[name]
    inputs, mask = make(rng), WEIGHTS > 0
    alone, n, parts, _ = run(function, xp, [x[mask] for x in inputs], **options)
    for x in inputs:
        x[~mask] = np.nan if x.dtype.kind == "f" else -1
    loss, count, gradients, _ = run(
        function, xp, inputs, weights=xp.asarray(mask), **options
    )
    assert loss == pytest.approx(alone, rel=1e-12) and count in (n, 5, 15)
    for found, part in zip(gradients, parts, strict=True):
        np.testing.assert_allclose(found[mask], part, rtol=1e-10)
        assert not found[~mask].any()
    loss, _, gradients, _ = run(
        function, xp, inputs, weights=xp.zeros(B, bool), **options
    )
    assert loss == 0 and not any(g.any() for g in gradients)


@every_loss
def test_means_of_batches_are_put_together_by_what_they_count(name, rng, xp):
    function, make, options = LOSSES[name]
    inputs, weights = make(rng), rng.random(B)
    whole = run(function, xp, inputs, weights=xp.asarray(weights), **options)[0]
    parts = []
    for part in (slice(0, 2), slice(2, None)):
        given = [x[part] for x in inputs]
        result = run(function, xp, given, weights=xp.asarray(weights[part]), **options)
        parts.append(result[:2])
    total = sum(count for _, count in parts)
    mean = sum(loss * count for loss, count in parts) / total
    assert mean == pytest.approx(whole, rel=1e-12)


@every_loss
def test_single_losses_are_multiplied(name, rng, xp):
    function, make, _ = LOSSES[name]
    if name in ("linear", "squared", "absolute"):
        pytest.skip("has no reduce")
    inputs = [xp.asarray(x) for x in make(rng)]
    weights = rng.normal(size=B)
    each = to_cpu(function(*inputs, reduce="no").array)
    found = function(*inputs, reduce="no", weights=xp.asarray(weights))
    expected = each * weights.reshape((-1,) + (1,) * (each.ndim - 1))
    np.testing.assert_allclose(to_cpu(found.array), expected, rtol=1e-12)


def test_huber_loss_and_sums_are_weighted(rng, xp):
    x, t = rng.normal(size=(2, 5, 3, 2))
    weights = rng.random((5, 3))
    arrays = [xp.asarray(a) for a in (x, t)]
    each = to_cpu(F.huber_loss(*arrays, 0.7, "no").array)
    y = F.huber_loss(*arrays, 0.7, weights=xp.asarray(weights))
    expected = (each * weights[..., None]).sum(axis=1)
    np.testing.assert_allclose(to_cpu(y.array), expected, rtol=1e-12)
    y = F.gaussian_kl_divergence(*arrays, weights=xp.asarray(weights))
    each = to_cpu(F.gaussian_kl_divergence(*arrays, reduce="no").array)
    assert y.item() == pytest.approx((each * weights[..., None]).sum(), rel=1e-12)


def test_ignored_labels_have_no_weight(rng, xp):
    x, t = rng.normal(size=(5, 3, C)), rng.integers(-1, C, (5, 3))
    weights, on = rng.random((5, 3)), t >= 0
    given = [xp.asarray(a) for a in (x[on], t[on])]
    expected = F.softmax_cross_entropy(*given, weights=xp.asarray(weights[on]))
    W = xp.asarray(np.eye(C))
    x, t, weights = (xp.asarray(a) for a in (x, t, weights))
    for y in (
        F.softmax_cross_entropy(x, t, weights=weights),
        F.sequence_loss(x, t, weights),
        F.linear_softmax_cross_entropy(x, W, None, t, weights=weights),
    ):
        assert y.item() == pytest.approx(expected.item(), rel=1e-12)
        assert float(y.count) == pytest.approx(float(weights[xp.asarray(on)].sum()))
    by_batch = F.softmax_cross_entropy(x, t, False, weights=weights).item()
    assert by_batch == pytest.approx(expected.item() * float(y.count) / 3, rel=1e-12)
    also = F.linear_softmax_cross_entropy(x, W, None, t, False, weights=weights)
    assert also.item() == pytest.approx(by_batch, rel=1e-12)


def test_second_gradients_know_the_weights(rng):
    x, W = Variable(rng.normal(size=(6, 3))), Variable(rng.normal(size=(C, 3)))
    t, weights = rng.integers(0, C, 6), rng.random(6)
    results = []
    for loss in (
        F.linear_softmax_cross_entropy(x, W, None, t, weights=weights),
        F.softmax_cross_entropy(F.linear(x, W), t, weights=weights),
        F.average(
            F.softmax_cross_entropy(F.linear(x, W), t, reduce="no"), weights=weights
        ),
    ):
        (gW,) = dyrnn.grad([loss], [W], create_graph=True)
        (ggW,) = dyrnn.grad([F.sum(gW**2)], [W])
        results.append(ggW.array)
    xp.testing.assert_allclose(results[0], results[2], rtol=1e-10)
    xp.testing.assert_allclose(results[1], results[2], rtol=1e-10)


@one_device("a device is not waited for")
def test_wrong_weights_are_refused(rng):
    x, t = rng.normal(size=(5, C)), rng.integers(0, C, 5)
    with pytest.raises(ShapeError, match=r"weights have shape \(4,\).* have \(5,\)"):
        F.softmax_cross_entropy(x, t, weights=xp.ones(C))
    with pytest.raises(ShapeError, match=r"have \(5, 4\).*, or its first axes"):
        F.mean_squared_error(x, x, weights=xp.ones((1, C)))
    with pytest.raises(ValueError, match="weights go from -1; a mean has weights of 0"):
        F.softmax_cross_entropy(x, t, weights=-xp.ones(5))
    with pytest.raises(TypeError, match="weights is a list"):
        F.hinge(x, t, weights=[1] * 5)
    with pytest.raises(TypeError, match="constants, but these were computed"):
        F.softmax_cross_entropy(x, t, weights=F.exp(Variable(xp.ones(5))))
    with pytest.raises(TypeError, match="labels must be an array of integers"):
        F.softmax_cross_entropy(x, x[:, 0], weights=xp.ones(5))


class Model(dyrnn.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(C, 2)
            self.rnn = L.GRU(2, 3)
            self.out = L.Linear(3, C)

    def forward(self, x, t):
        y = self.out(self.rnn(self.embed(x)))
        weights = xp.array([0, 0.3, 1, 2], np.float32)[t]
        return F.softmax_cross_entropy(y, t, weights=weights)


def test_steps_and_windows_give_one_update(rng):
    text = rng.integers(0, C, (3, 24))
    text[:, 4:6] = 0  # steps of which nothing counts
    results = []
    for window in (True, False):
        dyrnn.random.seed(3)
        model = Model()
        optimizer = optimizers.SGD(lr=0.1).setup(model)
        iterator = iterators.ParallelSequentialIterator(text.reshape(-1), 3)
        updater = training.BPTTUpdater(iterator, optimizer, 6, window=window)
        for _ in range(4):
            updater.update()
        results.append([param.array for param in model.params()])
    for one, other in zip(*results, strict=True):
        xp.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_an_evaluation_weighs_batches_by_their_weights(rng):
    class Each(dyrnn.Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.model = Model()

        def forward(self, x, t):
            self.model.reset_state()
            loss = self.model(x.T, t.T)
            dyrnn.report({"loss": loss}, self)
            return loss

    each, examples = Each(), list(rng.integers(0, C, (24, 2, 5)))
    iterator = iterators.SerialIterator(
        [tuple(example) for example in examples], 7, repeat=False, shuffle=False
    )
    with dyrnn.using_config("train", False):
        found = extensions.Evaluator(iterator, each)()["validation/main/loss"]
        expected = each(*xp.stack(examples, axis=1)).item()
    assert found == pytest.approx(expected, rel=1e-5)
