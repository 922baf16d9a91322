"""Sparse sums, norms and dropout masks agree with plain NumPy."""

import numpy as np
import pytest

from dyrnn import kernels

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (1,), (7, 5), (20, 20)])
def test_rows_are_summed_by_id(rng, shape, dtype):
    ids = rng.integers(0, 9, shape)
    rows = rng.normal(size=(*shape, 3)).astype(dtype)
    dense = np.zeros((9, 3))
    np.add.at(dense, ids, rows)
    unique, sums = kernels.sum_rows_by_id(ids, rows)
    np.testing.assert_array_equal(unique, np.unique(ids))
    assert sums.dtype == dtype
    np.testing.assert_allclose(sums, dense[unique], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_norms_agree_with_plain_numpy(rng, size, dtype):
    gradient = rng.normal(size=size).astype(dtype)
    norm = (gradient.astype(float) ** 2).sum()
    np.testing.assert_allclose(kernels.squared_norms([gradient]), [norm], rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_mask_keeps_the_mean(rng, dtype):
    mask = kernels.dropout_mask(np.empty((100, 31, 7), dtype), rng, 0.3)
    assert mask.dtype == dtype and mask.shape == (100, 31, 7)
    assert abs((mask == 0).mean() - 0.3) < 0.02
    assert abs(mask.mean() - 1) < 0.03
    assert len(np.unique(mask)) == 2
