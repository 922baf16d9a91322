"""Debug mode, and functions that see every operation."""

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn.config import using_config
from dyrnn.engine.hooks import FunctionHook
from dyrnn.errors import NonFiniteError
from tests.arrays import every_device, xp
from tests.toys import variable

pytestmark = every_device


def test_debug_mode_names_the_line_of_a_nan():
    x = variable(-1.0)
    with using_config("debug", True), np.errstate(invalid="ignore"):
        with pytest.raises(NonFiniteError, match=r"Log, called at .*test_hooks.py:\d+"):
            F.log(x)
    with np.errstate(invalid="ignore"):
        assert xp.isnan(F.log(x).array)


def test_debug_mode_finds_a_saved_array_changed_in_place():
    x = variable(1.0, 2.0)
    with using_config("debug", True):
        y = F.sum(F.square(x))
        y.backward()
        x.array[0] = 5
        with pytest.raises(RuntimeError, match="Square, .*changed in place afterwards"):
            y.backward()


def test_hooks_see_every_operation():
    seen = []

    class Recorder(FunctionHook):
        def forward_before(self, node, arrays):
            seen.append(("forward", type(node).__name__, len(arrays)))

        def forward_after(self, node, arrays, outputs):
            seen.append(("done", type(node).__name__, len(outputs)))

        def backward_before(self, node):
            seen.append(("backward", type(node).__name__))

        def backward_after(self, node):
            seen.append(("done", type(node).__name__))

    x = variable(1.0)
    with Recorder():
        (-F.exp(x)).backward()
    F.exp(x).backward()
    assert seen == [
        ("forward", "Exp", 1),
        ("done", "Exp", 1),
        ("forward", "Negative", 1),
        ("done", "Negative", 1),
        ("backward", "Negative"),
        ("done", "Negative"),
        ("backward", "Exp"),
        ("done", "Exp"),
    ]
