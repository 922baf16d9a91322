"""Norms and rules: passes over memory, cut to the cache."""

import numpy as np

from dyrnn.kernels.machine import parallel

_BLOCK = 1 << 15  # elements of a block: with its scratch, within the first two caches
# Four arrays of float32 in a second-level cache of 1 MB, and work enough for a call of
# NumPy that two threads do not wait for each other's interpreter.
_RULE_BLOCK = 1 << 16


def squared_norms(arrays):
    """Use the dtype within a block, float64 across blocks.

    Where squares overflow or vanish in the dtype, all is done again in float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = [_squared_norm(array) for array in arrays]
        for k, square in enumerate(squares):
            if not 1e-30 < square < 1e38:
                squares[k] = float(np.sum(np.square(arrays[k], dtype=np.float64)))
    return squares


def _squared_norm(x):
    flat = np.ravel(x, order="K")
    if flat.dtype == np.float16:
        flat = flat.astype(np.float32)
    if flat.size <= _BLOCK:
        return float(np.dot(flat, flat))
    count = -(-flat.size // _BLOCK)
    sums = np.zeros(count)

    def run(part):
        for k in range(part.start, part.stop):
            block = flat[k * _BLOCK : (k + 1) * _BLOCK]
            sums[k] = np.dot(block, block)

    parallel(run, count, 8)
    return float(sums.sum())


def update(optimizer, numbers, rate, items):
    """Work through blocks of rows, which stay in the cache between passes."""
    for array, gradient, states in items:
        _update(optimizer.rule, numbers, rate, array, gradient, states)


def _update(rule, numbers, rate, array, gradient, states):
    is_ready = rate == 1.0 and gradient.dtype == array.dtype

    def apply(block):
        g = gradient[block]
        if not is_ready:
            g = np.multiply(g, rate, dtype=array.dtype)
        parts = {name: state[block] for name, state in states.items()}
        rule(array[block], g, **parts, **numbers)

    def run(part):
        for start in range(part.start, part.stop, step):
            apply(slice(start, min(start + step, part.stop)))

    if array.size <= _RULE_BLOCK:
        apply(...)
    else:
        rows = len(array)
        step = -(-_RULE_BLOCK * rows // array.size)
        parallel(run, rows, 4 * step)
