"""Fixtures for every test: array modules, seeded random numbers, quiet surroundings."""

import os
import signal

if "PYTEST_XDIST_WORKER" in os.environ:  # one core per worker; before NumPy is imported
    for library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM"):
        os.environ.setdefault(f"{library}_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# A job in the background ignores Ctrl-C, and the programs that tests start would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import numpy as np
import pytest

import dyrnn.random
from dyrnn import backend
from dyrnn.config import config, using_config
from tests import strict, toys

hypothesis.settings.register_profile(
    "dyrnn", deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("dyrnn")


def pytest_collection_modifyitems(items):
    if not backend.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA device and CuPy")
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _seeded():
    """Start the random streams of dyrnn anew for each test."""
    dyrnn.random.seed(0)


@pytest.fixture(autouse=True)
def _kernels():
    """Undo that a snapshot, loaded, went on with the kernels that it was made with."""
    with using_config("native", config.native):
        yield


@pytest.fixture
def rng():
    """Random numbers for the test itself: a seeded ``numpy.random.Generator``."""
    return np.random.default_rng(0)


@pytest.fixture(
    params=["@numpy", pytest.param("@cupy:0", marks=pytest.mark.gpu), "@strict"]
)
def device(request):
    """Each device that the tests run on: the CPU, a GPU, the stand-in for one."""
    return backend.get_device(request.param)


@pytest.fixture
def xp(device):
    """The array module of each device."""
    return device.xp


@pytest.fixture
def on_every_device(device):
    """Variables of `tests.toys` on each device."""
    before = toys.make_variables_on(device)
    yield
    toys.make_variables_on(before)


@pytest.fixture
def synchronisations():
    """A block that counts host synchronisations on the stand-in device."""
    return strict.synchronisations
