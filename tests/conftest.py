"""Fixtures for every test: array modules, seeded random numbers, quiet surroundings."""

import inspect
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
from tests import strict
from tests.arrays import made_on, xp

hypothesis.settings.register_profile(
    "dyrnn", deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("dyrnn")


def pytest_collection_modifyitems(config, items):
    """Leave out devices that a test is not for, skip those that are not here."""

    def is_left_out(item):
        device = getattr(item, "callspec", None) and item.callspec.params.get("device")
        return item.get_closest_marker("one_device") and device not in (None, "@numpy")

    left_out = [item for item in items if is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not is_left_out(item)]
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
def rng(request):
    """Random numbers for the test itself: a seeded ``numpy.random.Generator``."""
    if "on_every_device" in request.fixturenames:
        return xp.random.default_rng(0)
    return np.random.default_rng(0)


@pytest.fixture(
    params=["@numpy", pytest.param("@cupy:0", marks=pytest.mark.gpu), "@strict"]
)
def device(request):
    """Each device that the tests run on: the CPU, a GPU, the stand-in for one."""
    return backend.get_device(request.param)


@pytest.fixture(name="xp")
def _xp(device):
    """The array module of each device."""
    return device.xp


@pytest.fixture
def on_every_device(request, device):
    """Let `xp` of `tests.arrays` be each device, if the test does not name one."""
    names = inspect.signature(request.function).parameters
    with made_on(backend.CPU if {"device", "xp"} & names.keys() else device):
        yield


@pytest.fixture
def synchronisations():
    """A block that counts host synchronisations on the stand-in device."""
    return strict.synchronisations
