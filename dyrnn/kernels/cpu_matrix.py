"""Matrix products over all rows, the softmax cross entropy, and their gradients.

The matrix of logits (rows, V) is by far the largest array of a language model, so every
pass over it counts: the bias is added while a block of the product is in the cache, the
softmax is one pass, and its gradient is none: it stays a matrix and a scale per row.
"""

import numpy as np

from dyrnn.kernels import machine
from dyrnn.kernels.machine import parallel

_BLOCK = 1 << 17  # elements of a block that stays in the cache over a few passes
_FEW = 32  # rows: one time step of a batch
_SAFE = (
    30  # logits up to here need no shift: V * exp(30) is far from the largest float32
)


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
    if len(x) <= _FEW and len(W) >= 2048 and machine.has_small_products:
        return _linear_of_few(x, W, b)
    y = matmul(x, W.T)
    if b is not None:
        _by_rows(lambda rows: np.add(y[rows], b, out=y[rows]), y)
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


def _by_rows(function, y):
    """Call ``function`` on slices of rows of ``y``, in blocks that fit the cache."""
    height = max(1, _BLOCK // max(1, y.shape[1]))

    def run(part):
        for first in range(part.start, part.stop, height):
            function(slice(first, min(first + height, part.stop)))

    parallel(run, len(y), height)


def product_input(gy, W, scale=None):
    """Scale the small result."""
    gx = matmul(gy, W)
    if scale is not None:
        gx *= scale[:, None]
    return gx


def product_weight(gy, x, scale=None):
    """Scale the small operand."""
    return matmul(gy.T, x if scale is None else x * scale[:, None])


def sum_rows(gy, scale=None):
    """Sum rows as a product with their scale."""
    if scale is None:
        scale = np.ones(len(gy), gy.dtype)
    total = np.empty(gy.shape[1], gy.dtype)
    parallel(
        lambda part: np.matmul(scale, gy[:, part], out=total[part]),
        len(total),
        max(16, _BLOCK // max(1, len(gy))),
    )
    return total


def softmax_cross_entropy(logits, t, ignore_label=-1, out=None):
    """Shift by the maximum only where it matters; sum by a product with ones."""
    N, V = logits.shape
    counted = t != ignore_label
    rows, label = np.arange(N), np.where(counted, t, 0)
    target = logits[rows, label]  # copied now: ``out`` may be ``logits``
    e = np.empty(logits.shape, logits.dtype) if out is None else out
    total, shift = np.empty(N, logits.dtype), np.zeros(N, logits.dtype)
    ones = np.ones(V, logits.dtype)

    def run(rows):
        x = logits[rows]
        largest = x.max(axis=1)
        if abs(largest).max() > _SAFE:  # exp could overflow, or lose every entry
            shift[rows] = largest
            x = np.subtract(x, largest[:, None], out=e[rows])
        np.exp(x, out=e[rows])
        np.matmul(e[rows], ones, out=total[rows])

    _by_rows(run, e)
    loss = np.where(counted, np.log(total) + (shift - target), 0).astype(logits.dtype)
    e[rows, label] -= total
    return loss, e, np.where(counted, 1 / total, 0).astype(logits.dtype)


def _column_blocks(N, part):
    """Cut ``part`` of the columns so that N rows of a block stay in the cache."""
    width = max(128, 4 * _BLOCK // max(1, N) // 16 * 16)
    for first in range(part.start, part.stop, width):
        yield slice(first, min(first + width, part.stop))


def linear_softmax_cross_entropy(x, W, b, t, ignore_label=-1):
    """Keep a running maximum and sum of each row, block of columns by block."""
    N, V = len(x), len(W)
    counted = t != ignore_label
    label = np.where(counted, t, 0)
    sums = []

    def run(part):
        largest = np.full(N, -np.inf, x.dtype)
        total = np.zeros(N, x.dtype)
        for block in _column_blocks(N, part):
            e = _logits(x, W, b, block)
            before, largest = largest, np.maximum(largest, e.max(axis=1))
            e -= largest[:, None]
            np.exp(e, out=e)
            total *= np.exp(before - largest)
            total += e.sum(axis=1)
        sums.append((part.start, largest, total))

    parallel(run, V, 128)
    shifts = np.stack([largest for _, largest, _ in sorted(sums, key=_first)])
    totals = np.stack([total for _, _, total in sorted(sums, key=_first)])
    shift = shifts.max(axis=0)
    log_total = np.log((totals * np.exp(shifts - shift)).sum(axis=0)) + shift
    target = np.einsum("nh,nh->n", x, W[label]) + (0 if b is None else b[label])
    loss = np.where(counted, log_total - target, 0).astype(x.dtype)
    return loss, log_total


def _first(item):
    return item[0]


def _logits(x, W, b, block):
    y = x @ W[block].T
    if b is not None:
        y += b[block]
    return y


def linear_softmax_cross_entropy_backward(gy, x, W, b, t, log_total, ignore_label=-1):
    """Compute the probabilities again, block of columns by block."""
    N, V = len(x), len(W)
    scale = np.where(t != ignore_label, gy, 0).astype(x.dtype)
    scaled_x = x * scale[:, None]
    gW, gb, sums = np.empty_like(W), np.empty(V, W.dtype), []

    def run(part):
        gx, product = np.zeros_like(x), np.empty_like(x)
        for block in _column_blocks(N, part):
            p = _logits(x, W, b, block)
            p -= log_total[:, None]
            np.exp(p, out=p)
            here = np.flatnonzero((t >= block.start) & (t < block.stop))
            p[here, t[here] - block.start] -= 1
            gx += np.matmul(p, W[block], out=product)
            np.matmul(p.T, scaled_x, out=gW[block])
            np.matmul(scale, p, out=gb[block])
        sums.append((part.start, gx))

    parallel(run, V, 128)
    sums.sort(key=_first)
    gx = sums[0][1]
    for _, more in sums[1:]:
        gx += more
    gx *= scale[:, None]
    return gx, gW, gb
