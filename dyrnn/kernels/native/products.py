"""Products of matrices, on all threads."""

import numpy as np

from dyrnn.kernels import machine
from dyrnn.kernels.native import PACKED, run

_WORTH = 500_000  # multiplications that another thread pays for
_LEAST = 4  # columns of the packed matrix: a BLAS is as fast with fewer
_MANY = 64  # rows of the other one, that packing pays for


def matmul(a, b, out=None):
    """Leave what would have to be packed twice, as gy^T x, to the BLAS."""
    return _matmul(a, b, None, out)


def linear(x, W, b=None):
    """Begin the sums with the bias."""
    return _matmul(x, W.T, b, None)


def _matmul(a, b, bias, out):
    """Pack the matrix of fewer rows or columns, and read the other as it lies."""
    (M, K), N = a.shape, b.shape[1]
    c = out = np.empty((M, N), a.dtype) if out is None else out
    if M < N:
        a, b, c, M, N = b.T, a.T, c.T, N, M
    if N < _LEAST or M < _MANY or K == 0 or a.dtype != b.dtype:
        return NotImplemented
    if not (a.flags.c_contiguous and b.flags.forc and c.flags.forc):
        return NotImplemented
    threads = min(machine.threads(), max(1, M * N * K // _WORTH))
    packed = min(K, PACKED["terms"]) * min(N + 31, PACKED["columns"])
    room = np.empty(packed + 16, a.dtype)  # begins where a line of the cache does
    strides = [side // a.itemsize for each in (b, c) for side in each.strides]
    arrays = [each if each.flags.c_contiguous else each.T for each in (a, b, c)]
    run("matmul", threads, *arrays, bias, room, K, *strides, M, N, K)
    return out
