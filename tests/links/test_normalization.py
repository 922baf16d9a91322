"""Layer and batch normalisation."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.backend import to_cpu
from dyrnn.config import using_config
from dyrnn.serializers import load_npz, save_npz
from tests.arrays import every_device, xp
from tests.links.checks import check_parameter_gradients, randomize

pytestmark = every_device


@pytest.fixture(autouse=True)
def _double():
    with using_config("dtype", np.float64):
        yield


def test_layer_normalization_standardises_rows(rng, device):
    link = L.LayerNormalization()
    for shape in ((4, 5), (3, 4, 5)):
        x = rng.normal(size=shape) * 3 + 1
        y = to_cpu(link.to_device(device)(device.send(x)).array)
        np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-12)
        np.testing.assert_allclose(y.std(axis=-1), 1, rtol=1e-5)
    link = randomize(L.LayerNormalization(5), rng)
    check_parameter_gradients(link, lambda: F.tanh(link(x)).sum(), rng)


def test_batch_normalization_standardises_columns_and_keeps_statistics(rng, device):
    link = L.BatchNormalization(3, decay=0.5).to_device(device)
    x = rng.normal(size=(50, 3)) * 2 + 5
    y = to_cpu(link(device.send(x)).array)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-4)
    link.to_cpu()
    np.testing.assert_allclose(link.avg_mean, 0.5 * x.mean(axis=0))
    np.testing.assert_allclose(link.avg_var, 0.5 + 0.5 * x.var(axis=0, ddof=1))
    with using_config("train", False):
        z = link(x).array
    expected = (x - link.avg_mean) / np.sqrt(link.avg_var + link.eps)
    np.testing.assert_allclose(z, expected)
    check_parameter_gradients(link, lambda: F.tanh(link(x)).sum(), rng)


def test_statistics_are_saved_and_shared_by_copies(rng, tmp_path):
    link, other = L.BatchNormalization(3), L.BatchNormalization(3)
    copy = link.copy()
    link(rng.normal(size=(50, 3)) + 5)
    assert copy.avg_mean is link.avg_mean
    save_npz(tmp_path / "file", link)
    load_npz(tmp_path / "file", other)
    assert xp.array_equal(other.avg_mean, link.avg_mean)
    assert xp.array_equal(other.avg_var, link.avg_var)
