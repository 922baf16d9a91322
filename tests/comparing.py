"""Comparisons of arrays and variables, wherever they are."""

import numpy as np

from dyrnn.backend import to_cpu
from dyrnn.engine.core import as_array


def host(x):
    """Return an array or variable as NumPy's array."""
    return np.asarray(to_cpu(as_array(x)))


def close(found, expected, rtol=1e-7, atol=0):
    """Compare as NumPy's assertion does, with its tolerances."""
    np.testing.assert_allclose(host(found), host(expected), rtol=rtol, atol=atol)
