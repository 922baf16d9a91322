"""Matrix products over all rows, cut between threads.

The matrix of logits (rows, V) is by far the largest array of a language model, so every
pass over it counts: the bias is added while a block of the product is in the cache.
"""

import numpy as np

from dyrnn.kernels import machine
from dyrnn.kernels.machine import parallel

BLOCK = 1 << 17  # elements of a block that stays in the cache over a few passes
_FEW = 32  # rows: one time step of a batch


def matmul(a, b, out=None):
    """Multiply a (M, K) by b (K, N), cut along the longer side of the result."""
    (M, K), N = a.shape, b.shape[1]
    if out is None:
        out = np.empty((M, N), np.result_type(a, b))
    if M * K * N < 5_000_000:
        np.matmul(a, b, out=out)
    elif M >= N:
        parallel(lambda part: np.matmul(a[part], b, out=out[part]), M, 16)
    else:
        parallel(lambda part: np.matmul(a, b[:, part], out=out[:, part]), N, 16)
    return out


def linear(x, W, b=None):
    """Multiply, then add the bias to rows in the cache."""
    if 1 < len(x) <= _FEW and len(W) >= 2048 and machine.has_small_products():
        return _linear_of_few(x, W, b)
    y = matmul(x, W.T)
    if b is not None:
        by_rows(lambda rows: np.add(y[rows], b, out=y[rows]), y)
    return y


def _linear_of_few(x, W, b):
    """Multiply W by few columns, which AVX-512 kernels do at twice the speed."""
    y = np.empty((len(x), len(W)), W.dtype)

    def run(part):
        for first in range(part.start, part.stop, 512):
            block = slice(first, min(first + 512, part.stop))
            np.add((W[block] @ x.T).T, 0 if b is None else b[block], out=y[:, block])

    parallel(run, len(W), 512)
    return y


def by_rows(function, y):
    """Call ``function`` on slices of rows of ``y``, in blocks that fit the cache."""
    if 0 < y.size <= BLOCK:
        function(slice(0, len(y)))
        return
    height = max(1, BLOCK // max(1, y.shape[1]))

    def run(part):
        for first in range(part.start, part.stop, height):
            function(slice(first, min(first + height, part.stop)))

    parallel(run, len(y), height)


def sum_rows(gy):
    """Sum rows as a product with ones."""
    ones = np.ones(len(gy), gy.dtype)
    if gy.size <= BLOCK:
        return np.matmul(ones, gy)
    total = np.empty(gy.shape[1], gy.dtype)
    parallel(
        lambda part: np.matmul(ones, gy[:, part], out=total[part]),
        len(total),
        max(16, BLOCK // max(1, len(gy))),
    )
    return total
