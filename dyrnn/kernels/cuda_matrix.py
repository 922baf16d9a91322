"""CUDA kernels of the output layer: products through cuBLAS, softmax cross entropy.

``config.matmul_precision`` lets products of float32 round their factors.
"""

import numpy as np

from dyrnn.kernels import cuda_device, plain
from dyrnn.kernels.cuda_device import dense, integers, is_known, launch, wide, works_on


def matmul(a, b, out=None):
    """Call cuBLAS, whose matrices are stored by columns: c^T = b^T a^T."""
    if not _is_product(a, b, out):
        return plain.matmul(a, b, out)
    if out is None:
        out = cuda_device.machine().xp.empty((len(a), b.shape[1]), a.dtype)
    _multiply(a, b, out)
    return out


def _is_product(a, b, out=None):
    """Whether cuBLAS multiplies such arrays."""
    is_typed = a.dtype == b.dtype and is_known(a.dtype)
    is_sound = a.ndim == b.ndim == 2 and a.shape[1] == len(b) and a.size and b.size
    into = out is None or (out.flags.c_contiguous and out.dtype == a.dtype)
    return is_typed and is_sound and into


def _multiply(a, b, y, keep=0):
    shape = b.shape[1], len(a), len(b)
    factors = _by_columns(b), _by_columns(a)
    cuda_device.machine().multiply(shape, *factors, (y, y.shape[1]), keep)


def _by_columns(x):
    """Return an array, whether it is its transpose by columns, and their stride."""
    rows, columns = x.shape
    down, across = (stride // x.itemsize for stride in x.strides)
    if x.flags.c_contiguous:
        return x, False, columns
    if x.flags.f_contiguous:
        return x, True, rows
    if across == 1 and down >= columns:
        return x, False, down
    if down == 1 and across >= rows:
        return x, True, across
    (x,) = dense(x)
    return x, False, columns


def linear(x, W, b=None):
    """Add the product to the bias."""
    if b is None or not _is_product(x, W.T):
        return matmul(x, W.T) if b is None else plain.linear(x, W, b)
    y = cuda_device.machine().xp.empty((len(x), len(W)), x.dtype)
    y[...] = b
    _multiply(x, W.T, y, keep=1)
    return y


def product_input(gy, W, scale=None):
    """Scale the small result."""
    gx = matmul(gy, W)
    if scale is not None:
        gx *= scale[:, None]
    return gx


def product_weight(gy, x, scale=None):
    """Scale the small operand."""
    return matmul(gy.T, x if scale is None else x * scale[:, None])


def softmax_cross_entropy(logits, t, ignore_label=-1, out=None):
    """One kernel, a block for each row."""
    xp = cuda_device.machine().xp
    if not logits.size or not works_on(logits, *([] if out is None else [out])):
        return plain.softmax_cross_entropy(logits, t, ignore_label, out)
    N, V = logits.shape
    t, is_wide = integers(t)
    e = xp.empty_like(logits) if out is None else out
    loss, inverse = xp.empty(N, logits.dtype), xp.empty(N, logits.dtype)
    args = V, np.int64(ignore_label), is_wide, logits, t, e, loss, inverse
    shared = 32 * wide(logits.dtype).itemsize
    launch("loss", "softmax_cross_entropy", logits.dtype, N, 512, args, shared)
    return loss, e, inverse


def mean_loss(loss, inverse, t, ignore_label=-1, divisor=None):
    """One kernel of one block."""
    if not works_on(loss, inverse):
        return plain.mean_loss(loss, inverse, t, ignore_label, divisor)
    xp, dtype = cuda_device.machine().xp, loss.dtype
    mean, scale = xp.empty((), dtype), xp.empty_like(inverse)
    t, is_wide = integers(t)
    labels = np.int64(len(loss)), np.int64(ignore_label), is_wide, float(divisor or 0)
    args = *labels, t, loss, inverse, mean, scale
    launch("loss", "mean_loss", dtype, 1, 512, args, 256)
    return mean, scale
