"""Comparison of arrays."""

import numpy as np

from dyrnn.chainer import backend
from dyrnn.chainer.utils.misc import force_array


def assert_allclose(x, y, atol=1e-5, rtol=1e-4, verbose=True):
    """Raise AssertionError unless ``|x - y| <= atol + rtol * |y|`` everywhere."""
    cpu = backend.CpuDevice()
    x, y = cpu.send(force_array(x)), cpu.send(force_array(y))
    try:
        np.testing.assert_allclose(x, y, atol=atol, rtol=rtol, verbose=verbose)
    except AssertionError as error:
        with np.printoptions(threshold=10000):
            raise AssertionError(
                f"{error}\nassert_allclose failed:\n"
                f"  shape: {x.shape} {y.shape}\n  dtype: {x.dtype} {y.dtype}\n"
                f"x: {np.array2string(x, prefix='x: ')}\n"
                f"y: {np.array2string(y, prefix='y: ')}\n"
            ) from None
