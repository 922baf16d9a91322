"""Small things that tests of the engine share."""

import numpy as np

from dyrnn.engine.core import Variable


def variable(*values, **options):
    """Return a variable of float64 numbers."""
    return Variable(np.array(values, dtype=np.float64), **options)
