"""The softmax cross entropy of rows of logits."""

import numpy as np

from dyrnn.kernels.cuda import device
from dyrnn.kernels.cuda.device import integers, launch, wide, works_on


def softmax_cross_entropy(logits, t, ignore_label=-1, out=None):
    """One kernel, a block for each row."""
    xp = device.machine().xp
    if not logits.size or not works_on(logits, *([] if out is None else [out])):
        return NotImplemented
    N, V = logits.shape
    t, is_wide = integers(t)
    e = xp.empty_like(logits) if out is None else out
    loss, inverse = xp.empty(N, logits.dtype), xp.empty(N, logits.dtype)
    args = V, np.int64(ignore_label), is_wide, logits, t, e, loss, inverse
    shared = 32 * wide(logits.dtype).itemsize
    launch("losses", "softmax_cross_entropy", logits.dtype, N, 512, args, shared)
    return loss, e, inverse


def mean_loss(loss, inverse, t, ignore_label=-1, divisor=None):
    """One kernel of one block."""
    if not works_on(loss, inverse):
        return NotImplemented
    xp, dtype = device.machine().xp, loss.dtype
    mean, scale = xp.empty((), dtype), xp.empty_like(inverse)
    t, is_wide = integers(t)
    labels = np.int64(len(loss)), np.int64(ignore_label), is_wide, float(divisor or 0)
    args = *labels, t, loss, inverse, mean, scale
    launch("losses", "mean_loss", dtype, 1, 512, args, 256)
    return mean, scale
