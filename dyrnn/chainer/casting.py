"""In unedited programs: float64 beside float32 is float32.

Before NumPy 2 the product of a float32 array with a float64 number was float32, which
is what functions and links accept beside their float32 parameters; now it is float64,
as in ``np.sqrt(2) * x``. So where inputs of a function are of both types, those of
float64 are cast, data in float64 included. A program that sets float64, by
``chainer.config.dtype`` or in a parameter, is left alone.
"""

import numpy as np

from dyrnn.chainer import _operations
from dyrnn.chainer.configuration import config

is_on = False


def is_mixed(arrays):
    """Return whether arrays are of float32 and of float64, and may not be."""
    kinds = [getattr(x, "dtype", None) for x in arrays]
    return np.float64 in kinds and np.float32 in kinds and config.dtype != np.float64


def of_one_type(inputs):
    """Return the inputs of a function, float64 cast to float32."""
    cast = _operations.functions.cast
    kinds = [getattr(x, "dtype", None) for x in inputs]
    return tuple(
        [
            cast(x, np.float32) if kind == np.float64 else x
            for x, kind in zip(inputs, kinds, strict=True)
        ]
    )


def fitting(*inputs):
    """Return inputs of a function that itself takes both types, cast where need be."""
    return of_one_type(inputs) if is_on and is_mixed(inputs) else inputs


def see_parameter(dtype):
    """Leave a program alone that has a parameter in float64."""
    global is_on
    is_on = is_on and dtype != np.float64
