"""Matrix products over all rows."""

import numpy as np

from dyrnn.backend import get_array_module
from dyrnn.kernels.dispatch import kernel


@kernel("a")
def matmul(a, b, out=None):
    """Multiply a (M, K) by b (K, N), on all threads if it is worth it.

    NumPy has no fast product of halves: they are multiplied as floats, and rounded.
    """
    xp = get_array_module(a)
    if xp is np and a.dtype == b.dtype == np.float16:
        product = np.matmul(a.astype(np.float32), b.astype(np.float32))
        if out is None:
            return product.astype(np.float16)
        out[...] = product
        return out
    return xp.matmul(a, b) if out is None else xp.matmul(a, b, out=out)


@kernel("x")
def linear(x, W, b=None):
    """Return x W^T + b for x (N, I), W (V, I), b (V,) or None, as a new (N, V)."""
    y = matmul(x, W.T)
    if b is not None:
        y += b
    return y


@kernel("gy")
def sum_rows(gy):
    """Sum the rows of gy (N, V), a bias' gradient (V,), as a product with ones."""
    return get_array_module(gy).ones(len(gy), gy.dtype) @ gy
