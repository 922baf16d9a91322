"""Every link computes the same on a device as on the CPU, and does not wait for it."""

import numpy as np
import pytest

import dyrnn.links as L
from dyrnn import backend
from tests import strict
from tests.links.table import LINKS, NOT_LINKS, run

WAITS = {"AdaptiveSoftmax": 2}  # how many labels are in each cluster


def test_every_link_has_a_row():
    assert set(L.__all__) - NOT_LINKS <= {name.partition(" ")[0] for name in LINKS}


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize(
    "place", [pytest.param("@cupy:0", marks=pytest.mark.gpu), "@strict"]
)
def test_a_link_agrees_between_devices(name, place):
    device = backend.get_device(place)
    with strict.synchronisations() as count:
        found = run(name, device)
    assert count() == WAITS.get(name, 0)
    for ours, meant in zip(found, run(name, backend.CPU), strict=True):
        assert (ours is None) == (meant is None)
        if ours is not None:
            assert backend.device_of(ours) == device
            scale = max(1.0, float(abs(meant).max(initial=0)))
            error = abs(backend.to_cpu(ours) - meant).max(initial=0) / scale
            assert error <= 1e-5, error
            assert np.isfinite(meant).all()
