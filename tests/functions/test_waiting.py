"""Functions do not make the host wait for a device."""

import pytest

from tests import strict
from tests.arrays import every_device
from tests.functions.running import run
from tests.functions.table import CASES

pytestmark = every_device

# The size of what a mask picks is known to the device only.
WAITING = {"get_item-mask", "get_item-mask_of_all"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_neither_outputs_nor_gradients_wait_for_the_device(case):
    inputs = [strict.DEVICE.send(x) for x in case.inputs]
    with strict.synchronisations() as count:
        run(case, inputs)
    assert bool(count()) == (str(case) in WAITING)
