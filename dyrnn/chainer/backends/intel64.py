"""Intel's iDeep, which is no more: the names that say so."""

import numpy as np

from dyrnn.chainer import _backend


class mdarray:
    """Type of iDeep's arrays; none exists."""


class Intel64Device(_backend.Device):
    """Device of iDeep; making one says that it is not there."""

    name = "@intel64"
    xp = np
    supported_array_types = (np.ndarray, mdarray)
    __hash__ = _backend.Device.__hash__

    def __init__(self):
        check_ideep_available()

    @staticmethod
    def from_array(array):
        """Return None: no array is iDeep's."""

    def __eq__(self, other):
        return isinstance(other, Intel64Device)


def check_ideep_available():
    """Say that iDeep is not there."""
    raise RuntimeError(
        "iDeep is not available.\nReason: dyrnn computes with NumPy or CuPy only"
    )
