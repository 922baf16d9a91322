"""Comparison of arrays, and arrays that are not contiguous."""

import numpy as np

from dyrnn.chainer import _backend, backend
from dyrnn.chainer.utils.misc import force_array


def assert_allclose(x, y, atol=1e-5, rtol=1e-4, verbose=True):
    """Raise AssertionError unless ``|x - y| <= atol + rtol * |y|`` everywhere."""
    cpu = backend.CpuDevice()
    x, y = cpu.send(force_array(x)), cpu.send(force_array(y))
    try:
        np.testing.assert_allclose(x, y, atol=atol, rtol=rtol, verbose=verbose)
    except AssertionError as error:
        lines = [
            f"{error}\n",
            "assert_allclose failed:",
            f"  shape: {x.shape} {y.shape}",
            f"  dtype: {x.dtype} {y.dtype}",
        ]
        if x.shape == y.shape:
            lines += _worst(np.atleast_1d(x), np.atleast_1d(y), atol, rtol)
        with np.printoptions(threshold=10000):
            lines += [
                "x: " + np.array2string(x, prefix="x: "),
                "y: " + np.array2string(y, prefix="y: "),
            ]
        raise AssertionError("\n".join(lines) + "\n") from None


def _worst(x, y, atol, rtol):
    """Yield lines about the element that is furthest off."""
    x, y = (a.astype(np.float64) if a.dtype.kind in "biuf" else a for a in (x, y))
    error = np.abs(x - y)
    relative = rtol * np.abs(y)
    i = np.unravel_index(np.argmax(error - relative - atol), error.shape)
    return [
        f"  i: {tuple(map(int, i))}",
        f"  x[i]: {x[i]}",
        f"  y[i]: {y[i]}",
        f"  relative error[i]: {error[i] / np.abs(y[i]) if y[i] else 'inf'}",
        f"  absolute error[i]: {error[i]}",
        f"  relative tolerance * |y[i]|: {relative[i]}",
        f"  absolute tolerance: {atol}",
        f"  total tolerance: {relative[i] + atol}",
    ]


def _as_noncontiguous_array(array):
    """Return the array, or each of a list, with other strides than usual."""
    if isinstance(array, (list, tuple)):
        return type(array)([_as_noncontiguous_array(a) for a in array])
    if array is None or array.size <= 1:
        return array
    xp = _backend.get_array_module(array)
    slices = (slice(None, None, -2),) * array.ndim
    wide = xp.empty(tuple([n * 2 for n in array.shape]), dtype=array.dtype)
    wide[slices] = array
    assert not wide[slices].flags.c_contiguous
    return wide[slices]
