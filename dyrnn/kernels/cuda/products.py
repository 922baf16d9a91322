"""Matrix products through cuBLAS.

``config.matmul_precision`` lets products of float32 round their factors.
"""

from dyrnn.kernels.cuda import device
from dyrnn.kernels.cuda.device import dense, is_known


def matmul(a, b, out=None):
    """Call cuBLAS, whose matrices are stored by columns: c^T = b^T a^T."""
    if not _is_product(a, b, out):
        return NotImplemented
    if out is None:
        out = device.machine().xp.empty((len(a), b.shape[1]), a.dtype)
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
    device.machine().multiply(shape, *factors, (y, y.shape[1]), keep)


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
        return NotImplemented
    y = device.machine().xp.empty((len(x), len(W)), x.dtype)
    y[...] = b
    _multiply(x, W.T, y, keep=1)
    return y
