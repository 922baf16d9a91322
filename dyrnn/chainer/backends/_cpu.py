"""The CPU as a device."""

import numpy as np

from dyrnn import backend
from dyrnn.chainer import _backend


class CpuDevice(_backend.Device):
    """NumPy's arrays, in main memory."""

    name = "@numpy"
    xp = np
    supported_array_types = (np.ndarray,)
    __hash__ = _backend.Device.__hash__

    @staticmethod
    def from_array(array):
        """Return the device of a NumPy array, None for others."""
        return CpuDevice() if isinstance(array, np.ndarray) else None

    def __eq__(self, other):
        return isinstance(other, CpuDevice)

    def __repr__(self):
        return f"<{type(self).__name__} (numpy)>"

    def send_array(self, array):
        return _array_to_cpu(array)

    def is_array_supported(self, array):
        return isinstance(array, np.ndarray)


def _to_cpu(array):
    return _backend.convert_arrays(array, _array_to_cpu)


def _array_to_cpu(array):
    if array is None or isinstance(array, np.ndarray):
        return array
    if isinstance(array, _backend.array_types()):
        return backend.to_cpu(array)
    if np.isscalar(array):
        return np.asarray(array)
    raise TypeError(
        f"Array cannot be converted into an numpy.ndarray\nActual type: {type(array)}."
    )
