"""Products, softmax cross entropy and their gradients agree with plain definitions."""

import numpy as np
import pytest

from dyrnn import kernels
from dyrnn.kernels import machine
from dyrnn.kernels.cpu import losses, products
from tests.kernels import plain

DTYPES = [np.float32, np.float64]


def close(actual, expected):
    assert actual.shape == expected.shape
    tolerance = 3e-5 if actual.dtype == np.float32 else 1e-11
    scale = max(1, abs(expected).max(initial=0))
    np.testing.assert_allclose(actual, expected, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 4, 5), (400, 200, 30), (60, 50, 900)])
def test_products_agree_with_plain_definition(rng, sizes, dtype):
    N, V, size = sizes
    x, W = rng.normal(size=(N, size)).astype(dtype), rng.normal(size=(V, size))
    W, b = W.astype(dtype), rng.normal(size=V).astype(dtype)
    gy = rng.normal(size=(N, V)).astype(dtype)
    close(kernels.linear(x, W, b), x @ W.T + b)
    close(kernels.linear(x, W), x @ W.T)
    close(kernels.matmul(W, x.T), W @ x.T)
    close(kernels.matmul(gy, W), gy @ W)
    close(kernels.matmul(gy.T, x), gy.T @ x)
    close(kernels.sum_rows(gy), gy.sum(axis=0))


def test_products_of_halves_are_those_of_floats_rounded(rng):
    x, W = rng.normal(size=(30, 20)), rng.normal(size=(40, 20))
    x, W = x.astype(np.float16), W.astype(np.float16)
    expected = (x.astype(np.float32) @ W.T.astype(np.float32)).astype(np.float16)
    out = np.empty((30, 40), np.float16)
    assert kernels.matmul(x, W.T, out) is out
    for y in (out, kernels.matmul(x, W.T), kernels.linear(x, W)):
        assert y.dtype == np.float16
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (300, 1000)])
@pytest.mark.parametrize("spread", [1, 100])
def test_softmax_cross_entropy_agrees_with_plain_definition(rng, size, spread, dtype):
    logits = (rng.normal(size=size) * spread).astype(dtype)
    t = rng.integers(0, size[1], size[0])
    gy = rng.normal(size=size[0]).astype(dtype)
    exact = logits.astype(float)
    kept = logits.copy()
    loss, e, inverse = kernels.softmax_cross_entropy(logits, t)
    np.testing.assert_array_equal(logits, kept)
    close(loss, plain.softmax_cross_entropy(exact, t))
    gradient = e * (inverse * gy)[:, None]
    close(gradient, plain.softmax_cross_entropy_gradient(exact, t, gy))
    assert loss.dtype == gradient.dtype == dtype
    in_place = kernels.softmax_cross_entropy(logits, t, out=logits)
    assert in_place[1] is logits
    for left, right in zip(in_place, (loss, e, inverse), strict=True):
        np.testing.assert_array_equal(left, right)


def test_ignored_rows_have_neither_loss_nor_gradient(rng):
    logits = rng.normal(size=(4, 6))
    t = np.array([2, -1, 5, -1])
    loss, _, inverse = kernels.softmax_cross_entropy(logits, t)
    assert (loss[[1, 3]] == 0).all() and (inverse[[1, 3]] == 0).all()
    close(loss[[0, 2]], plain.softmax_cross_entropy(logits[[0, 2]], t[[0, 2]]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_logit_makes_its_own_loss_bad(rng, bad):
    logits = rng.normal(size=(3, 5)).astype(np.float32)
    logits[1, 2] = bad
    with np.errstate(invalid="ignore"):
        loss, _, _ = kernels.softmax_cross_entropy(logits, np.array([0, 1, 2]))
    assert np.isnan(loss[1]) and np.isfinite(loss[[0, 2]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [1, 100])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("has_bias", [True, False])
def test_fused_output_layer_agrees_with_plain_definition(
    rng, monkeypatch, dtype, spread, threads, has_bias
):
    monkeypatch.setattr(machine, "threads", lambda: threads)
    monkeypatch.setattr(products, "BLOCK", 1 << 10)
    monkeypatch.setattr(losses, "BLOCK", 1 << 10)
    x, W = rng.normal(size=(30, 8)), spread * rng.normal(size=(1000, 8))
    x, W, b, gy = (a.astype(dtype) for a in (x, W, rng.normal(size=1000), x[:, 0]))
    if not has_bias:
        b = None
    t = rng.integers(0, 1000, 30)
    t[[3, 7]] = -1
    logits = x.astype(float) @ W.T + (0 if b is None else b)
    factors = np.where(t < 0, 0, gy).astype(float)
    gradient = plain.softmax_cross_entropy_gradient(logits, t, factors)
    loss, *sums = kernels.linear_softmax_cross_entropy(x, W, b, t)
    close(loss, np.where(t < 0, 0, plain.softmax_cross_entropy(logits, t)))
    gradients = kernels.linear_softmax_cross_entropy_backward(gy, x, W, b, t, *sums)
    expected = gradient @ W, gradient.T @ x, gradient.sum(axis=0)
    for ours, meant in zip(gradients, expected, strict=True):
        assert ours.dtype == dtype
        close(ours, meant)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_of_few_rows_agrees_with_linear(rng, dtype):
    x = rng.standard_normal((7, 30)).astype(dtype)
    W, b = (rng.standard_normal(s).astype(dtype) for s in ((2500, 30), 2500))
    expected = x.astype(np.float64) @ W.T + b
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    for bias, shift in ((b, 0), (None, b)):
        y = products._linear_of_few(x, W, bias)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected - shift, atol=tolerance)
