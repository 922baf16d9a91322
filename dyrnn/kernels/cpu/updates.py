"""Norms: a pass over memory, cut to the cache."""

import numpy as np

from dyrnn.kernels.machine import parallel

_BLOCK = 1 << 15  # elements of a block: with its scratch, within the first two caches


def squared_norm(x):
    """Use the dtype within a block, float64 across blocks."""
    flat = np.ravel(x, order="K")
    count = -(-flat.size // _BLOCK)
    sums = np.zeros(count)

    def run(part):
        for k in range(part.start, part.stop):
            block = flat[k * _BLOCK : (k + 1) * _BLOCK]
            sums[k] = np.dot(block, block)

    parallel(run, count, 8)
    return float(sums.sum())
