"""The output layer and its loss in one."""

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
from dyrnn import testing
from dyrnn.errors import NonFiniteError, ShapeError
from tests.arrays import every_device, one_device, xp

pytestmark = every_device


@pytest.fixture
def problem(rng):
    x = rng.standard_normal((3, 4, 5))
    W, b = rng.standard_normal((300, 5)), rng.standard_normal(300)
    t = rng.integers(0, 300, (3, 4)).astype(np.int32)
    t[1, 2] = -1
    return x, W, b, t


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("has_bias", [True, False])
def test_it_agrees_with_linear_and_softmax_cross_entropy(problem, normalize, has_bias):
    x, W, b, t = problem
    results = []
    for fused in (True, False):
        inputs = [dyrnn.Variable(a) for a in (x, W, b)]
        bias = inputs[2] if has_bias else None
        if fused:
            loss = F.linear_softmax_cross_entropy(*inputs[:2], bias, t, normalize)
        else:
            y = F.linear(*inputs[:2], bias)
            loss = F.softmax_cross_entropy(y, t, normalize)
        (loss * 3.0).backward()
        used = inputs if has_bias else inputs[:2]
        results.append([loss.array, *(v.grad for v in used)])
    for fused, plain in zip(*results, strict=True):
        xp.testing.assert_allclose(fused, plain, rtol=1e-12, atol=1e-14)


def test_gradients_are_those_of_the_loss(problem):
    x, W, b, t = problem

    def loss(x, W, b):
        return F.linear_softmax_cross_entropy(x, W, b, t)

    testing.check_backward(loss, (x, W, b))
    testing.check_double_backward(loss, (x, W, b))


def test_backward_twice_gives_the_gradient_twice(problem):
    x, W, b, t = problem
    W = dyrnn.Variable(W)
    loss = F.linear_softmax_cross_entropy(x, W, b, t)
    loss.backward()
    once = W.grad.copy()
    loss.backward()
    xp.testing.assert_array_equal(W.grad, 2 * once)


def test_everything_ignored_gives_0(problem):
    x, W, b, t = problem
    loss = F.linear_softmax_cross_entropy(x, W, b, xp.full_like(t, -1))
    assert loss.array == 0


def test_extreme_logits_are_finite():
    x = xp.array([[1e3], [-1e3]])
    W = xp.array([[1.0], [-1.0], [0.5]])
    t = xp.array([0, 1])
    loss = F.linear_softmax_cross_entropy(x, W, None, t)
    assert 0 <= loss.array < 1e-6


PAIRS = {
    "fused": F.linear_softmax_cross_entropy,
    "pair": lambda x, W, b, t: F.softmax_cross_entropy(F.linear(x, W, b), t),
}
both = pytest.mark.parametrize("function", PAIRS.values(), ids=PAIRS)


def derivatives(function, *arrays, t):
    x, W, b = (dyrnn.Variable(a) for a in arrays)
    loss = function(x, W, b, t)
    loss.backward()
    return loss.array, x.grad, W.grad, b.grad


@both
@pytest.mark.parametrize("size", [5, 400])
def test_impossible_words_have_neither_share_nor_gradient(rng, function, size):
    # 400 words are several blocks, of which the first is all impossible.
    x, W, b = rng.normal(size=(3, 4)), rng.normal(size=(size, 4)), rng.normal(size=size)
    n, t = size // 2, xp.array([1, -1, 0])
    b[:n] = -np.inf
    found = derivatives(function, x, W, b, t=xp.where(t < 0, -1, t + n))
    loss, gx, gW, gb = derivatives(function, x, W[n:], b[n:], t=t)
    testing.assert_allclose(found[0], loss, rtol=1e-12)
    testing.assert_allclose(found[1], gx, rtol=1e-9)
    testing.assert_allclose(found[2][n:], gW, rtol=1e-9, atol=1e-15)
    testing.assert_allclose(found[3][n:], gb, rtol=1e-9, atol=1e-15)
    assert not found[2][:n].any() and not found[3][:n].any()


@both
def test_large_logits_keep_their_differences(function):
    W = 1e6 + xp.array([[0.0], [1], [2]])
    inputs = xp.ones((2, 1)), W, xp.zeros(3)
    t = xp.array([2, 0])
    loss, _, gW, gb = derivatives(function, *inputs, t=t)
    found = derivatives(function, *[a.astype(np.float32) for a in inputs], t=t)
    testing.assert_allclose(found[0], loss, rtol=1e-6)
    testing.assert_allclose(found[2], gW, rtol=1e-6)
    testing.assert_allclose(found[3], gb, rtol=1e-6)


@one_device("the CPU's products leave rows out")
@both
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_ignored_rows_hold_does_not_matter(rng, function, dtype):
    x, W, b = (rng.normal(size=s).astype(dtype) for s in ((4, 3), (6, 3), 6))
    x[0] *= 20  # a row that must be shifted, beside one that is not a number
    t = xp.array([2, -1, 5, 0])
    x[1] = 0
    expected = derivatives(function, x, W, b, t=t)
    for bad in (np.nan, np.inf, -np.inf):
        x[1] = bad
        with np.errstate(invalid="ignore"):
            found = derivatives(function, x, W, b, t=t)
        for y, desired in zip(found, expected, strict=True):
            testing.assert_allclose(y, desired, rtol=5e-3 if dtype == "f2" else 1e-5)


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_cross_entropy_is_negative(rng, function, dtype):
    for scale in (1, 10, 29, 31, 1000):
        x = (scale * xp.eye(8) + rng.normal(size=(8, 8))).astype(dtype)
        losses = [
            float(function(x[k : k + 1], xp.eye(8, dtype=dtype), None, t).array)
            for k, t in enumerate(xp.arange(8)[:, None])
        ]
        assert min(losses) >= 0
        if scale == 10:
            assert max(losses) > 0


@one_device("a device is not waited for")
def test_bad_input_is_refused(problem):
    x, W, b, t = problem
    with pytest.raises(ShapeError, match=r"x has shape \(3, 4, 5\)"):
        F.linear_softmax_cross_entropy(x, W, b, t[:2])
    with pytest.raises(ValueError, match="300"):
        F.linear_softmax_cross_entropy(x, W, b, xp.full_like(t, 300))
    x[0, 0, 0] = np.nan
    with pytest.raises(NonFiniteError):
        F.linear_softmax_cross_entropy(x, W, b, t)
