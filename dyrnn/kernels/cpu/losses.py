"""The softmax cross entropy of rows of logits.

The softmax is one pass over the matrix, and its gradient is none: it stays a matrix and
a scale per row. Joined to the output layer, it never holds the matrix whole.
"""

import numpy as np

from dyrnn.kernels.cpu.products import BLOCK, by_rows
from dyrnn.kernels.machine import parallel

# Logits up to here need no shift: V * exp(30) is far from the largest float32.
_SAFE = 30


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
        # exp could overflow, or lose every entry; NaN is not safe, either
        if not abs(largest).max(initial=0.0) <= _SAFE:
            shift[rows] = largest
            x = np.subtract(x, largest[:, None], out=e[rows])
        np.exp(x, out=e[rows])
        np.matmul(e[rows], ones, out=total[rows])

    by_rows(run, e)
    # Where one class has it all, the logarithm of the sum may round below its logit.
    loss = np.maximum(np.log(total) + (shift - target), 0)
    loss = np.where(counted, loss, 0).astype(logits.dtype)
    e[rows, label] -= total
    is_sound = np.isfinite(total)
    if not is_sound.all():
        e[~is_sound & ~counted] = 0
    return loss, e, np.where(counted, 1 / total, 0).astype(logits.dtype)


def _column_blocks(N, part):
    """Cut ``part`` of the columns so that N rows of a block stay in the cache."""
    width = max(128, 4 * BLOCK // max(1, N) // 16 * 16)
    for first in range(part.start, part.stop, width):
        yield slice(first, min(first + width, part.stop))


def linear_softmax_cross_entropy(x, W, b, t, ignore_label=-1):
    """Keep a running maximum and sum of each row, block of columns by block."""
    N, V = len(x), len(W)
    target, sums = np.zeros(N, x.dtype), []

    def run(part):
        # Not -inf: of a block of impossible words the difference would be NaN.
        largest = np.full(N, np.finfo(x.dtype).min, x.dtype)
        total = np.zeros(N, x.dtype)
        for block in _column_blocks(N, part):
            e = _logits(x, W, b, block)
            here, label = _labels(t, block)
            target[here] = e[here, label]
            before, largest = largest, np.maximum(largest, e.max(axis=1))
            e -= largest[:, None]
            np.exp(e, out=e)
            total *= np.exp(before - largest)
            total += e.sum(axis=1)
        sums.append((part.start, largest, total))

    parallel(run, V, 128)
    sums.sort(key=_first)
    shifts = np.stack([largest for _, largest, _ in sums])
    totals = np.stack([total for _, _, total in sums])
    shift = shifts.max(axis=0)
    total = (totals * np.exp(shifts - shift)).sum(axis=0)
    loss = np.where(t != ignore_label, np.log(total) + (shift - target), 0)
    return loss.astype(x.dtype), shift, total


def _first(item):
    return item[0]


def _logits(x, W, b, block):
    y = x @ W[block].T
    if b is not None:
        y += b[block]
    return y


def _labels(t, block):
    """Return the rows whose labels are in a block of columns, and where they are."""
    here = np.flatnonzero((t >= block.start) & (t < block.stop))
    return here, t[here] - block.start


def linear_softmax_cross_entropy_backward(
    gy, x, W, b, t, shift, total, ignore_label=-1
):
    """Compute the exponentials again, block of columns by block."""
    N, V = len(x), len(W)
    counted = t != ignore_label
    is_lost = ~counted & ~np.isfinite(shift + total)
    if is_lost.any():
        x = np.where(is_lost[:, None], 0, x)
        shift = np.where(is_lost, np.inf, shift)
    scale = np.where(counted, gy / np.where(counted, total, 1), 0).astype(x.dtype)
    scaled_x = x * scale[:, None]
    gW, gb, sums = np.empty_like(W), np.empty(V, W.dtype), []

    def run(part):
        gx, product = np.zeros_like(x), np.empty_like(x)
        for block in _column_blocks(N, part):
            e = _logits(x, W, b, block)
            e -= shift[:, None]
            np.exp(e, out=e)
            here, label = _labels(t, block)
            e[here, label] -= total[here]
            gx += np.matmul(e, W[block], out=product)
            np.matmul(e.T, scaled_x, out=gW[block])
            np.matmul(scale, e, out=gb[block])
        sums.append((part.start, gx))

    parallel(run, V, 128)
    sums.sort(key=_first)
    gx = sums[0][1]
    for _, more in sums[1:]:
        gx += more
    gx *= scale[:, None]
    return gx, gW, gb
