"""Small things that tests of the engine share."""

import numpy as np
import pytest

from dyrnn.backend import get_device
from dyrnn.engine.core import Variable

every_device = pytest.mark.usefixtures("on_every_device")
_device = get_device("@numpy")


def variable(*values, **options):
    """Return a variable of float64 numbers, on the device of the test."""
    return Variable(_device.send(np.array(values, dtype=np.float64)), **options)


def make_variables_on(device):
    """Choose where `variable` makes arrays; return where it did."""
    global _device
    before, _device = _device, device
    return before
