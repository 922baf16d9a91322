"""Kernels are tested one form at a time: `kernels.NAME` is NumPy's."""

import pytest

from dyrnn.config import using_config


@pytest.fixture(autouse=True)
def _numpy(_kernels):
    with using_config("native", False):
        yield
