"""Constant values."""

import numpy as np

from dyrnn import initializers as core
from dyrnn.chainer import _backend
from dyrnn.chainer.initializer import Initializer


class Identity(Initializer, core.Identity):
    """The identity matrix, times ``scale``."""

    def __init__(self, scale=1.0, dtype=None):
        self.scale = scale
        super().__init__(dtype)

    def __call__(self, array):
        self._check(array)
        shape = array.shape
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(
                "Identity matrix initialization can only be used for 2D squared "
                "matrices."
            )
        core.Identity.__call__(self, array)


class _Constant(Initializer):
    fill_value = None

    def __init__(self, dtype=None):
        value = self.fill_value
        if not (isinstance(value, _backend.array_types()) or np.isscalar(value)):
            raise ValueError(
                "fill_value must be either scalar, numpy.ndarray, cupy.ndarray or "
                "chainerx.ndarray."
            )
        super().__init__(dtype)

    def __call__(self, array):
        self._check(array)
        value = self.fill_value
        if isinstance(value, _backend.array_types()):
            value = _backend.get_array_module(value).broadcast_to(value, array.shape)
        core.Constant(value)(array)


class Constant(_Constant):
    """A number, or an array's values."""

    def __init__(self, fill_value, dtype=None):
        self.fill_value = fill_value
        super().__init__(dtype)


class Zero(_Constant):
    """Zeros."""

    fill_value = 0.0


class One(_Constant):
    """Ones."""

    fill_value = 1.0


class NaN(_Constant):
    """NaN: shows if it is used."""

    fill_value = np.nan
