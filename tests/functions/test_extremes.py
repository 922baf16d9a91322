"""Values far from 1: what is impossible, large, small, or many."""

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
from dyrnn import kernels, sampling, testing
from dyrnn.datasets import PaddedWindows, concat_examples
from dyrnn.engine.core import Variable
from dyrnn.engine.higher_order import grad
from dyrnn.errors import NonFiniteError, ShapeError
from dyrnn.links import BlackOut, NegativeSampling
from tests.arrays import every_device, here, one_device, xp

pytestmark = every_device

FLOATS = [np.float16, np.float32, np.float64]
FAR = np.array([-1e4, -100, -30, -17.5, -15, -10, -1, 0, 1, 10, 15, 17.5, 30, 100, 1e4])
floats = pytest.mark.parametrize("dtype", FLOATS)


def close(y, desired, dtype, steps=8):
    """Compare with float64, up to some steps of the type, and its smallest numbers."""
    info = np.finfo(dtype)
    y = xp.asarray(y, np.float64)
    xp.testing.assert_allclose(y, desired, steps * info.eps, 8 * float(info.tiny))


def softplus(x):
    return xp.logaddexp(0, x)


def sigmoid(x):
    return xp.exp(-xp.logaddexp(0, -x))


@floats
@pytest.mark.parametrize("label", [0, 1])
def test_binary_cross_entropies_keep_small_losses(dtype, label):
    t, sign = xp.full(FAR.shape, label, np.int32), 1 - 2 * label
    logits = xp.asarray(FAR, dtype)
    exact = logits.astype(np.float64) * sign
    losses = {
        "sigmoid": lambda x: F.sigmoid_cross_entropy(x, t, reduce="no"),
        "bernoulli": lambda x: F.bernoulli_nll(t.astype(dtype), x, reduce="no"),
    }
    for loss in losses.values():
        x = Variable(logits)
        y = loss(x)
        close(y.array, softplus(exact), dtype)
        assert (y.array >= 0).all()
        (gx,) = grad(y, [x], [xp.ones(x.shape, dtype)], create_graph=True)
        close(gx.array, sign * sigmoid(exact), dtype, 64)
        (ggx,) = grad(gx, [x], [xp.ones(x.shape, dtype)])
        assert xp.isfinite(ggx.array).all()


def test_ignored_binary_labels_may_have_any_logit():
    x = Variable(xp.array([np.nan, 1.0, np.inf]))
    loss = F.sigmoid_cross_entropy(x, xp.array([-1, 1, -1]))
    loss.backward()
    testing.assert_allclose(loss, softplus(-1.0))
    testing.assert_allclose(x.grad, [0, -float(sigmoid(-1.0)), 0])


def test_many_halves_have_a_mean():
    x, t = xp.zeros(70_000, np.float16), xp.zeros(70_000, np.int32)
    testing.assert_allclose(F.sigmoid_cross_entropy(x, t), np.log(2), rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_units_keep_their_gradient_far_below_zero(dtype):
    below = xp.array([-80.0, -40, -17.5, -1], dtype)
    slopes = xp.exp(below.astype(np.float64))
    for function, scale in (
        (F.elu, 1.0),
        (F.selu, 1.6732632423543772 * 1.0507009873554805),
        (F.expm1, 1.0),
    ):
        x = Variable(below)
        ones = [xp.ones(x.shape, dtype)]
        (gx,) = grad(function(x), [x], ones, create_graph=True)
        (ggx,) = grad(gx, [x], ones)
        close(gx.array, scale * slopes, dtype, 100)
        close(ggx.array, scale * slopes, dtype, 100)


def test_divergence_is_not_negative(rng):
    ln_var = (rng.normal(size=1000) * 1e-4).astype(np.float32)
    y = F.gaussian_kl_divergence(ln_var * 0, ln_var, reduce="no").array
    assert (y >= 0).all()


@floats
def test_what_is_impossible_has_no_share(dtype):
    impossible = xp.full((2, 3), -np.inf, dtype)
    impossible[1] = xp.array([0, -np.inf, 1], dtype)
    x = Variable(impossible)
    y = F.logsumexp(x, axis=1)
    (gx,) = grad(y, [x], [xp.ones(2, dtype)], create_graph=True)
    expected = [[0, 0, 0], [sigmoid(-1.0), 0, sigmoid(1.0)]]
    close(gx.array, expected, dtype)
    (ggx,) = grad(gx, [x], [xp.ones((2, 3), dtype)])
    assert xp.isfinite(ggx.array).all()


@one_device("a device is not waited for")
def test_impossible_labels_of_sequences():
    # Label 2 can neither begin nor follow: as if there were two labels.
    xs, ys = xp.zeros((3, 1, 3)), [xp.array([0]), xp.array([1]), xp.array([1])]
    xs[:, :, 0] = 0.3
    xs[:, :, 2] = -np.inf
    cost = xp.array([[0.1, 0.2, -np.inf], [0.4, 0.3, -np.inf], [0.0, 0.0, -np.inf]])
    results = []
    for n in (3, 2):
        x, c = Variable(xs[:, :, :n].copy()), Variable(cost[:n, :n].copy())
        loss = F.crf1d(c, list(x), ys)
        loss.backward()
        results.append((loss.array, x.grad[:, :, :2], c.grad[:2, :2]))
        assert xp.isfinite(x.grad).all() and xp.isfinite(c.grad).all()
    for found, desired in zip(*results, strict=True):
        testing.assert_allclose(found, desired, rtol=1e-9)
    with pytest.raises(NonFiniteError, match="crf1d: the loss is NaN.* no label"):
        F.crf1d(cost, list(xp.full((2, 1, 3), -np.inf)), ys[:2])


@one_device("a device is not waited for")
def test_impossible_labels_in_alignments(rng):
    x = rng.normal(size=(4, 1, 4))
    x[:, :, 3] = -np.inf
    x[1, :, 2] = -np.inf  # the label, at one step
    results = []
    for n in (4, 3):
        v = Variable(x[:, :, :n].copy())
        loss = F.connectionist_temporal_classification(v, xp.array([[1, 2]]), 0)
        loss.backward()
        assert xp.isfinite(v.grad).all()
        results.append((loss.array, v.grad[:, :, :3]))
    for found, desired in zip(*results, strict=True):
        testing.assert_allclose(found, desired, rtol=1e-9, atol=1e-12)
    with pytest.raises(NonFiniteError, match="classification: the loss is NaN"):
        with np.errstate(invalid="ignore"):
            F.connectionist_temporal_classification(x * np.nan, xp.array([[1]]), 0)


@floats
@pytest.mark.parametrize("ratio", [2.0**-20, 1 - 2.0**-17, 1 - 2.0**-30])
def test_dropout_drops_and_keeps_something(dtype, ratio):
    with dyrnn.using_config("train", True):
        y = F.dropout(xp.ones(400_000, dtype), ratio).array
    assert xp.isfinite(y).all()
    assert 0 < int((y != 0).sum()) < y.size
    mean = y.astype(np.float64).mean()
    assert abs(mean - 1) < 0.6  # six elements are kept of 65536 times six


@one_device("the CPU adds in blocks")
@pytest.mark.parametrize("shape", [(40_000, 3), (200, 200, 2)])
def test_sums_of_many_rows_are_exact(rng, shape):
    x = rng.random(shape, np.float32)
    axes = tuple(range(x.ndim - 1))
    exact = x.sum(axis=axes, dtype=np.float64)
    for y in (F.sum(x, axes).array, F.sum_to(x, shape[-1:]).array):
        xp.testing.assert_allclose(y, exact, rtol=1e-7)
    half = (x / 1000).astype(np.float16)
    exact = half.sum(axis=axes, dtype=np.float64)
    xp.testing.assert_allclose(F.sum(half, axes).array, exact, rtol=6e-4)
    row = x.reshape(-1)
    xp.testing.assert_allclose(
        F.cumsum(row).array, xp.cumsum(row, dtype=np.float64), rtol=1e-7
    )


def test_few_rows_are_added_as_numpy_does(rng):
    x = rng.random((4000, 3), np.float32)
    xp.testing.assert_array_equal(F.sum(x, 0).array, x.sum(axis=0))


@floats
def test_equal_elements_share_the_gradient_of_an_extreme(dtype):
    x = Variable(xp.zeros(5000, dtype))
    F.max(x).backward()
    xp.testing.assert_allclose(x.grad.sum(dtype=np.float64), 1, rtol=1e-3)


def test_predictions_that_are_nan_have_no_quality():
    y, t = xp.array([[0.0, 1], [np.nan, 0]]), xp.array([1, 0])
    assert xp.isnan(F.accuracy(y, t).array)
    assert xp.isnan(F.binary_accuracy(y[:, 0], t).array)
    assert xp.isnan(F.f1_score(y, t)[0].array).all()
    ignored = xp.array([1, -1])
    assert F.accuracy(y, ignored, ignore_label=-1).array == 1
    assert F.binary_accuracy(y[:, 0], ignored).array == 1


def test_tokens_are_drawn_from_possible_ones_only():
    inf = np.inf
    with pytest.raises(ValueError, match="all 3 logits of row 1 are -inf"):
        sampling.draw(xp.array([[0.0, 1, 2], [-inf, -inf, -inf]]))
    for options in ({}, {"temperature": 0}, {"top_k": 2}):
        with pytest.raises(NonFiniteError, match="logits are infinite"):
            sampling.draw(xp.array([[0.0, inf]]), **options)
    with pytest.raises(ValueError, match="temperature must be 0 or more, got inf"):
        sampling.draw(xp.array([[0.0, -inf]]), temperature=inf)
    with pytest.raises(ShapeError, match=r"logits have shape \(2,\)"):
        sampling.draw(xp.zeros(2))
    logits = xp.tile(xp.array([-inf, 0, -inf]), (1000, 1))
    assert (sampling.draw(logits) == 1).all()
    assert (sampling.draw(logits, temperature=1e-320) == 1).all()


@one_device("no arrays")
def test_a_draw_that_rounds_up_to_the_total_is_possible(monkeypatch):
    class Almost:
        def random(self, shape):
            return np.full(shape, np.nextafter(1, 0))

    class Stream:
        generator = Almost()

    monkeypatch.setattr(sampling.random, "stream", lambda name: Stream)
    logits = np.log(np.tile([0.7, 0.2, 0.1, 1e-300], (5, 1)))
    logits[:, 3] = -np.inf
    assert (sampling.draw(logits) == 2).all()


@one_device("a device is not waited for")
@pytest.mark.parametrize("link", [NegativeSampling, BlackOut])
def test_labels_are_not_cut_to_their_type(link):
    model, x = link(3, [1, 2, 3], 2), xp.ones((2, 3), np.float32)
    with pytest.raises(TypeError, match="labels must be an array of integers"):
        model(x, xp.array([0, 1.7]))
    with pytest.raises(ValueError, match=r"label 4294967297 .* use 0 to 2"):
        model(x, xp.array([0, 2**32 + 1]))


@one_device("no arrays")
def test_ids_are_not_cut_to_their_type():
    with pytest.raises(TypeError, match="generate: ids must be integers, not float64"):
        next(sampling.generate(lambda ids: ids, [1.7], 1))
    with pytest.raises(ValueError, match="go from 0 to 4294967297, but must fit"):
        next(sampling.generate(lambda ids: ids, [0, 2**32 + 1], 1))
    with pytest.raises(TypeError, match="PaddedWindows: ids must be integers"):
        PaddedWindows([[1.5, 2.0]], 2)
    with pytest.raises(ValueError, match="PaddedWindows: ids go from 1 to 2147483648"):
        PaddedWindows([[1, 2**31]], 2)


@pytest.mark.parametrize(
    ("arrays", "padding"),
    [
        ([np.array([1, 2]), np.array([0.5])], 0),
        ([np.array([1, 2], np.uint8), np.array([300])], 0),
        ([np.array([1.0, 2], np.float32), np.array([1e300])], 0),
        ([np.array([1, 2]), np.array([np.nan])], 0),
        ([np.array([1, 2], np.uint8), np.array([3], np.uint8)], -1),
        ([np.array([1, 2], np.int8), np.array([3], np.int8)], 0.5),
        ([np.array([1, 2]), np.array([3])], np.nan),
        ([np.array([True, False]), np.array([True])], 7),
    ],
    ids=str,
)
def test_padding_keeps_all_values(arrays, padding):
    expected = np.array([arrays[0], [arrays[1][0], padding]], dtype=np.float64)
    arrays = [here(x) for x in arrays]
    found = concat_examples(arrays, padding=padding)
    xp.testing.assert_array_equal(found.astype(np.float64), expected)
    found = F.pad_sequence(arrays, padding=padding).array
    xp.testing.assert_array_equal(found.astype(np.float64), expected)


def test_padding_does_not_widen_floats():
    arrays = [xp.zeros(2, np.float32), xp.zeros(1, np.float32)]
    assert concat_examples(arrays, padding=0.1).dtype == np.float32
    assert concat_examples([xp.zeros((0, 2)), xp.zeros((0, 3))], padding=0).size == 0


def test_labels_of_a_hinge_have_its_shape():
    x = xp.zeros((3, 2))
    for t in (xp.zeros((3, 1), int), xp.zeros(1, int), xp.zeros(2, int)):
        with pytest.raises(ShapeError, match=r"hinge: x has shape \(3, 2\), but t"):
            F.hinge(x, t)


@one_device("a device is not waited for")
def test_a_product_takes_no_part_of_rows_without_a_gradient(rng):
    x, gy = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    gy[2], x[2, 1] = 0, np.nan
    v, W = Variable(x, requires_grad=False), Variable(rng.normal(size=(2, 3)))
    (F.linear(v, W) * gy).sum()  # the value is NaN: what counts is the gradient
    (gW,) = grad(F.linear(v, W), [W], [gy])
    rest = [0, 1, 3, 4]
    testing.assert_allclose(gW, kernels.matmul(gy[rest].T, x[rest]), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_large_numbers_are_normalised(dtype, xp):
    size = 1e20 if dtype == np.float32 else 1e200
    rows = xp.asarray(np.array([[3.0, 4.0], [3.0, -4.0], [0.0, 0.0]], dtype))
    gamma, beta = xp.ones(2, dtype), xp.zeros(2, dtype)
    large = Variable(rows * xp.asarray([[size], [1], [1]]).astype(dtype))
    for function in (F.normalize, lambda x: F.layer_normalization(x, gamma, beta)):
        if xp is not np and function is not F.normalize:
            continue  # on a GPU nobody looks
        y, expected = function(large), function(Variable(rows * 100))
        testing.assert_allclose(y, expected.array, rtol=1e-4)
        F.sum(y * rows).backward()
        assert bool(xp.isfinite(large.grad).all())
    expected = np.array([0.6, 0.8])
    testing.assert_allclose(F.normalize(large)[0], expected, rtol=1e-6)


def test_the_slope_of_softplus_at_infinity_is_1():
    x = Variable(xp.array([-np.inf, 0.0, np.inf]))
    (gx,) = grad(F.softplus(x), [x], [xp.ones(3)], create_graph=True)
    xp.testing.assert_array_equal(gx.array, [0, 0.5, 1])


def test_the_mean_of_blackout_is_over_the_labels_that_count():
    link = BlackOut(3, [1, 2, 3], 2)
    x, t = xp.ones((4, 3), np.float32), xp.array([0, -1, 2, -1])
    dyrnn.random.seed(0)
    losses = link(x, t, reduce="no").array
    dyrnn.random.seed(0)
    loss = link(x, t)
    testing.assert_allclose(loss, losses.sum() / 2, rtol=1e-6)
    assert loss.count == 2
