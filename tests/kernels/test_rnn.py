"""The recurrent kernels agree with their plain definitions and with differences."""

import numpy as np
import pytest

from dyrnn import kernels
from dyrnn.kernels import machine
from dyrnn.kernels.cpu import recurrent
from tests.kernels import plain

SHAPES = [(1, 1, 1), (3, 2, 5), (4, 7, 50), (3, 20, 200)]


WAYS = ["one thread", "two threads", "small products", "shared products"]


@pytest.fixture(params=WAYS, autouse=True)
def way(request, monkeypatch):
    """Every way that a kernel can take gives the same."""
    threads = 2 if request.param in ("two threads", "shared products") else 1
    grain = 100 if request.param == "shared products" else 1
    monkeypatch.setattr(machine, "threads", lambda: threads)
    monkeypatch.setattr(recurrent, "_SHARED", 1000)
    is_small = request.param == "small products"
    monkeypatch.setattr(machine, "has_small_products", lambda: is_small)
    monkeypatch.setattr(recurrent, "_sequences", lambda *sizes: grain)


def problem(rng, T, B, H, gates, dtype=np.float64):
    z, h0, W = (
        rng.normal(size=(T, B, gates * H)),
        rng.normal(size=(B, H)),
        rng.normal(size=(gates * H, H)) * H**-0.5,
    )
    return [a.astype(dtype) for a in (z, h0, W)]


def masks(rng, T, B):
    return [None, np.arange(T)[:, None] < rng.integers(0, T + 1, B)]


def close(actual, expected):
    tolerance = 3e-5 if actual.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(actual, expected, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_states_agree_with_plain_definitions(rng, shape, dtype):
    T, B, H = shape
    for mask in masks(rng, T, B):
        z, h0, W = problem(rng, T, B, H, 4, dtype)
        c0 = rng.normal(size=h0.shape).astype(dtype)
        h, c = kernels.lstm_forward(z.copy(), h0, c0, W, mask)
        assert h.dtype == c.dtype == dtype
        for ours, meant in zip((h, c), plain.lstm(z, h0, c0, W, mask), strict=True):
            close(ours, meant)
        z, h0, W = problem(rng, T, B, H, 3, dtype)
        b = rng.normal(size=H).astype(dtype)
        for bias, after in ((None, False), (None, True), (b, True)):
            h, _ = kernels.gru_forward(z.copy(), h0, W, bias, after, mask)
            assert h.dtype == dtype
            close(h, plain.gru(z, h0, W, bias, after, mask))
        z, h0, W = problem(rng, T, B, H, 1, dtype)
        for activation in ("tanh", "relu"):
            h = kernels.rnn_forward(z, h0, W, activation, mask)
            assert h.dtype == dtype
            close(h, plain.rnn(z, h0, W, activation, mask))


@pytest.mark.parametrize("shape", SHAPES)
def test_lstm_gradients_agree_with_differences(rng, shape):
    T, B, H = shape
    for mask in masks(rng, T, B):
        z, h0, W = problem(rng, T, B, H, 4)
        c0, gc = rng.normal(size=(2, B, H))
        gh, gates = rng.normal(size=(T, B, H)), z.copy()
        h, c = kernels.lstm_forward(gates, h0, c0, W, mask)
        kept = [a.copy() for a in (gh, gc, gates, c)]
        gz, gh0, gc0 = kernels.lstm_backward(gh, gc, gates, c, W, mask)
        for before, now in zip(kept, (gh, gc, gates, c), strict=True):
            np.testing.assert_array_equal(before, now)

        def loss(z, h0, c0, W, mask=mask, gh=gh, gc=gc):
            h, c = plain.lstm(z, h0, c0, W, mask)
            return (h[1:] * gh).sum() + (c[-1] * gc).sum()

        gW = np.einsum("tbi,tbj->ij", gz, h[:-1])
        plain.check_gradients(loss, (z, h0, c0, W), (gz, gh0, gc0, gW), rng)


def test_missing_lstm_gradients_mean_zero(rng):
    z, h0, W = problem(rng, 3, 4, 6, 4)
    h, c = kernels.lstm_forward(z, h0, h0, W)
    gh, gc = rng.normal(size=(3, 4, 6)), rng.normal(size=(4, 6))
    for given, meant in (((None, gc), (0 * gh, gc)), ((gh, None), (gh, 0 * gc))):
        for left, right in zip(
            kernels.lstm_backward(*given, z, c, W),
            kernels.lstm_backward(*meant, z, c, W),
            strict=True,
        ):
            np.testing.assert_array_equal(left, right)
    assert h.shape == (4, 4, 6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reset_after", [False, True])
def test_gru_gradients_agree_with_differences(rng, shape, reset_after):
    T, B, H = shape
    for mask in masks(rng, T, B):
        z, h0, W = problem(rng, T, B, H, 3)
        b = rng.normal(size=H) if reset_after else np.zeros(0)
        bias = b if reset_after else None
        gh, gates = rng.normal(size=(T, B, H)), z.copy()
        h, inner = kernels.gru_forward(gates, h0, W, bias, reset_after, mask)
        gz, gr, gh0 = kernels.gru_backward(gh, gates, inner, h, W, reset_after, mask)

        def loss(z, h0, W, b, mask=mask, gh=gh):
            b = b if reset_after else None
            return (plain.gru(z, h0, W, b, reset_after, mask)[1:] * gh).sum()

        if reset_after:
            gW = np.einsum("tbi,tbj->ij", gr, h[:-1])
            gb = gr[..., 2 * H :].sum(axis=(0, 1))
        else:
            gW = np.concatenate(
                [
                    np.einsum("tbi,tbj->ij", gz[..., : 2 * H], h[:-1]),
                    np.einsum("tbi,tbj->ij", gz[..., 2 * H :], inner),
                ]
            )
            gb = np.zeros(0)
        plain.check_gradients(loss, (z, h0, W, b), (gz, gh0, gW, gb), rng)


@pytest.mark.parametrize("shape", SHAPES[:3])  # few enough units to miss relu's kink
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn_gradients_agree_with_differences(rng, shape, activation):
    T, B, H = shape
    for mask in masks(rng, T, B):
        z, h0, W = problem(rng, T, B, H, 1)
        gh = rng.normal(size=(T, B, H))
        h = kernels.rnn_forward(z, h0, W, activation, mask)
        gz, gh0 = kernels.rnn_backward(gh, h, W, activation, mask)

        def loss(z, h0, W, mask=mask, gh=gh):
            return (plain.rnn(z, h0, W, activation, mask)[1:] * gh).sum()

        gW = np.einsum("tbi,tbj->ij", gz, h[:-1])
        plain.check_gradients(loss, (z, h0, W), (gz, gh0, gW), rng)


def test_big_recurrent_matrices_are_cut_along_both_sides(rng, monkeypatch):
    monkeypatch.setattr(machine, "has_small_products", lambda: True)
    W, x = rng.normal(size=(520, 130)), rng.normal(size=(20, 520))
    factor, out = recurrent._Factor(W, [slice(0, 20)], True), np.empty((20, 130))
    factor.into(out)(x)
    np.testing.assert_allclose(out, x @ W)
    factor = recurrent._Factor(W, [slice(0, 60)], True)
    assert factor.cuts[0] > 1
    x, out = rng.normal(size=(60, 520)), np.empty((60, 130))
    factor.into(out)(x)
    np.testing.assert_allclose(out, x @ W)
