"""Labels and ids that are out of range or do not count.

On the CPU ids are compared with their range before a kernel sees them. A GPU would have
to be waited for, so there an id out of range makes its result NaN: neither silent nor
slow.
"""

import numpy as np

from dyrnn.backend import get_array_module


def outside(xp, ids, size):
    """Return which ids are out of range; None on the CPU, where they were checked."""
    return None if xp is np else (ids < 0) | (ids >= size)


def bounded(xp, ids, size):
    """Return ids within their range and, off the CPU, which were not (else None)."""
    is_bad = outside(xp, ids, size)
    return (ids if is_bad is None else xp.where(is_bad, 0, ids)), is_bad


def count_labels(t, ignored):
    """Return how many labels are not ``ignored`` (None: all), off the CPU an array."""
    if ignored is None:
        return t.size
    counts = t != ignored
    return int(np.count_nonzero(counts)) if type(t) is np.ndarray else counts.sum()


def divisor(t, normalize):
    """Return the batch size, or None: the number of labels that count."""
    return None if normalize else max(1, t.shape[-1])


def mean_factor(counts, divisor, dtype):
    """Return one over the divisor, by default the number of labels that count."""
    xp = get_array_module(counts)
    if divisor is not None:
        return 1.0 / divisor
    if xp is np:
        return 1.0 / max(1, int(np.count_nonzero(counts)))
    return (1.0 / xp.maximum(counts.sum(), 1)).astype(dtype)
