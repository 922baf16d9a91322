"""Rows of a matrix by their ids."""

import numpy as np

from dyrnn.kernels.cuda import device
from dyrnn.kernels.cuda.device import dense, integers, launch, works_on


def take_rows(W, ids, ignore_label=None):
    """A block for each row."""
    shape = *ids.shape, W.shape[1]
    if not works_on(W) or 0 in shape:
        return NotImplemented
    y = device.machine().xp.empty(shape, W.dtype)
    ids, is_wide = integers(ids)
    sizes = [np.int64(n) for n in W.shape]
    ignored = ignore_label is not None, np.int64(ignore_label or 0)
    args = *sizes, *ignored, is_wide, W, ids, y
    launch("rows", "take_rows", W.dtype, ids.size, _threads(W), args)
    return y


def _threads(rows):
    return min(256, -(-rows.shape[1] // 32) * 32)


def add_rows_by_id(target, ids, rows):
    """Sort, then a block for each row, of which the first one of an id adds up."""
    if len(ids) == 0:
        return None
    if not works_on(target) or target.ndim != 2:
        return NotImplemented
    order = device.machine().xp.argsort(ids).astype(np.int64, copy=False)
    ids, order, rows = dense(ids[order].astype(np.int64, copy=False), order, rows)
    sizes = [np.int64(n) for n in (len(rows), *target.shape)]
    args = *sizes, ids, order, rows, target
    launch("rows", "add_rows", target.dtype, len(rows), _threads(rows), args)
    return None
