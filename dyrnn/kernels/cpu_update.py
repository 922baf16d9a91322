"""Embedding gradients, norms and SGD: passes over memory, cut to the cache."""

import numpy as np

from dyrnn.kernels.machine import parallel

_BLOCK = 1 << 15  # elements of a block: with its scratch, within the first two caches


def sum_rows_by_id(ids, rows):
    """Sort stably, then sum neighbours."""
    ids = ids.reshape(-1)
    rows = rows.reshape(len(ids), rows.shape[-1])
    if len(ids) == 0:
        return ids.copy(), rows.copy()
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    return ordered[first], np.add.reduceat(rows[order], first, axis=0)


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


def sgd(x, gradient, rate):
    """Work through blocks, with the product in the cache."""
    rate = x.dtype.type(rate)
    if not (x.flags.c_contiguous and gradient.flags.c_contiguous):
        x -= rate * gradient
        return
    flat, step = x.reshape(-1), gradient.reshape(-1)

    def run(part):
        scratch = np.empty(min(_BLOCK, part.stop - part.start), x.dtype)
        for first in range(part.start, part.stop, _BLOCK):
            block = slice(first, min(first + _BLOCK, part.stop))
            change = scratch[: block.stop - first]
            np.multiply(step[block], rate, out=change)
            np.subtract(flat[block], change, out=flat[block])

    parallel(run, flat.size, 4 * _BLOCK)


def sgd_rows(x, ids, rows, rate):
    """Update the rows of ``ids``."""
    x[ids] -= x.dtype.type(rate) * rows
