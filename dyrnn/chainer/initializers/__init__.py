"""Chainer's names ``chainer.initializers``."""

import functools

import numpy as np

from dyrnn import initializers as core
from dyrnn.chainer import _backend, backend
from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.configuration import get_dtype
from dyrnn.chainer.initializer import Initializer
from dyrnn.chainer.initializers.constant import Constant, Identity, NaN, One, Zero
from dyrnn.chainer.initializers.random_values import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LeCunNormal,
    LeCunUniform,
    Normal,
    Orthogonal,
    Uniform,
)

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "LeCunNormal",
    "LeCunUniform",
    "NaN",
    "Normal",
    "One",
    "Orthogonal",
    "Uniform",
    "Zero",
    "generate_array",
]


def generate_array(initializer, shape, xp, dtype=None, device=None):
    """Return a new array filled by ``initializer``."""
    own = getattr(initializer, "dtype", None)
    if dtype is not None and own is not None and np.dtype(dtype) != np.dtype(own):
        raise ValueError(f"dtype mismatch: {dtype} != {own}")
    dtype = get_dtype(own if dtype is None else dtype)
    if device is None:
        device = backend.guess_device_from_array_module(xp)
    else:
        device = backend.get_device(device)
        if xp != device.xp:
            raise ValueError("xp and device arguments are inconsistent.")
    with backend.using_device(device):
        return core.generate_array(initializer, shape, dtype, xp)


def _get_initializer(initializer, scale=1.0, *, default=None):
    """Return an initializer; for None one of a constant, or LeCun's without it.

    Links of version 1 multiply the values by ``scale``.
    """
    if initializer is None:
        return LeCunNormal(scale) if default is None else Constant(default)
    if isinstance(initializer, _backend.array_types()) or np.isscalar(initializer):
        return Constant(initializer if scale == 1.0 else initializer * scale)
    if not callable(initializer):
        raise TypeError(f"invalid type of initializer: {type(initializer)}")
    if scale == 1.0:
        return initializer

    def fill(array):
        init_weight(array, initializer, scale)

    return fill


def init_weight(weights, initializer, scale=1.0):
    """Fill an array in place by an initializer and multiply it; version 1."""
    _get_initializer(initializer)(weights)
    weights *= scale


def _check_is_initializer_like(initializer):
    if not (
        initializer is None
        or isinstance(initializer, (Initializer, *_backend.array_types()))
        or callable(initializer)
        or np.isscalar(initializer)
    ):
        raise TypeError(
            f"Initializer is of wrong type: {type(initializer)}. "
            "Allowed types are Initializer, ndarray and scalar."
        )


__getattr__ = functools.partial(folder_or_raise, __name__)
