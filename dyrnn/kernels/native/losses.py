"""The softmax cross entropy of rows of logits, a row at a time in the cache."""

import numpy as np

from dyrnn.kernels.machine import parts
from dyrnn.kernels.native import dense, run


def softmax_cross_entropy(logits, t, ignore_label=-1, out=None):
    """Shift every row by its maximum."""
    N, V = logits.shape
    logits, t = dense(logits, t.astype(np.int64, copy=False))
    e = np.empty_like(logits) if out is None else out
    if not e.flags.c_contiguous:
        return NotImplemented
    loss, inverse = np.empty((2, N), logits.dtype)
    threads = parts(logits.size, N)
    name = "softmax_cross_entropy"
    run(name, threads, logits, t, e, loss, inverse, N, V, int(ignore_label))
    return loss, e, inverse
