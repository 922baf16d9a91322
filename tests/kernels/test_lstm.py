"""The fused LSTM agrees with its plain definition and with numerical gradients."""

import numpy as np
import pytest

from dyrnn import kernels
from tests.kernels import plain


def problem(rng, T, B, H, dtype=np.float64):
    arrays = (
        rng.normal(size=(T, B, 4 * H)),
        rng.normal(size=(B, H)),
        rng.normal(size=(B, H)),
        rng.normal(size=(4 * H, H)) * 0.3,
    )
    return [a.astype(dtype) for a in arrays]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (4, 7, 50), (5, 20, 200)])
def test_lstm_agrees_with_plain_definition(rng, shape, dtype):
    z, h0, c0, W = problem(rng, *shape, dtype)
    hs, cs = plain.lstm(*(a.astype(float) for a in (z, h0, c0, W)))
    h, c = kernels.lstm_forward(z.copy(), h0, c0, W)
    assert h.dtype == c.dtype == dtype
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(h, hs, atol=tolerance)
    np.testing.assert_allclose(c, cs, atol=tolerance)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (4, 20, 200)])
def test_lstm_gradients_agree_with_differences(rng, shape):
    arrays = problem(rng, *shape)
    directions = problem(rng, *shape)
    z, h0, c0, W = arrays
    gates = z.copy()
    h, c = kernels.lstm_forward(gates, h0, c0, W)
    gh, gc = rng.normal(size=h[1:].shape), rng.normal(size=c0.shape)

    def loss(*arrays):
        hs, cs = plain.lstm(*arrays)
        return (hs[1:] * gh).sum() + (cs[-1] * gc).sum()

    before = gates.copy(), c.copy(), gh.copy(), gc.copy()
    gz, gh0, gc0 = kernels.lstm_backward(gh, gc, gates, c, W)
    gW = np.einsum("tbi,tbj->ij", gz, h[:-1])
    ours = sum(
        np.vdot(g, d) for g, d in zip((gz, gh0, gc0, gW), directions, strict=True)
    )
    expected = plain.directional_derivative(loss, arrays, directions)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    for kept, now in zip(before, (gates, c, gh, gc), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_missing_lstm_gradients_mean_zero(rng):
    z, h0, c0, W = problem(rng, 3, 4, 6)
    gates = z.copy()
    h, c = kernels.lstm_forward(gates, h0, c0, W)
    gc, none = rng.normal(size=c0.shape), np.zeros_like(h[1:])
    for left, right in zip(
        kernels.lstm_backward(None, gc, gates, c, W),
        kernels.lstm_backward(none, gc, gates, c, W),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)
    for left, right in zip(
        kernels.lstm_backward(none + 1, None, gates, c, W),
        kernels.lstm_backward(none + 1, 0 * gc, gates, c, W),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)
