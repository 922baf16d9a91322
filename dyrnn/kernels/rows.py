"""Rows of a matrix by their ids: taken, added to, and summed."""

import numpy as np

from dyrnn.backend import get_array_module
from dyrnn.kernels.dispatch import kernel
from dyrnn.kernels.labels import outside


@kernel("W")
def take_rows(W, ids, ignore_label=None):
    """Return rows of W (V, D) as (..., D), for ids of any shape (...).

    ``ignore_label`` takes a row of zeros. Ids are in 0..V-1; on a device, any other
    takes a row of NaN.
    """
    xp = get_array_module(W)
    is_ignored = None if ignore_label is None else ids == ignore_label
    is_bad = outside(xp, ids, len(W))
    if is_bad is not None:
        ids = xp.where(is_bad, 0, ids)
    elif is_ignored is not None:
        ids = xp.where(is_ignored, 0, ids)
    y = W[ids]
    if is_bad is not None:
        y = xp.where(is_bad[..., None], xp.nan, y)
    if is_ignored is not None:
        y = xp.where(is_ignored[..., None], 0, y)
    return y


def _sums(ids, rows):
    """Return each id once, ascending, and the sums of the rows of each, on the CPU."""
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    first = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    return ids[first], np.add.reduceat(rows[order], first, axis=0)


@kernel("rows")
def sum_rows_by_id(ids, rows):
    """Sum the rows (N, H) that have the same id; any shape of ids with N elements.

    Returns
    -------
    ids : (M,)
        Each id once, ascending.
    rows : (M, H)
        Sums in the order of the rows, so that a run can be repeated bit by bit.
    """
    xp = get_array_module(rows)
    ids = ids.reshape(-1)
    rows = rows.reshape(len(ids), rows.shape[-1])
    if len(ids) == 0:
        return ids.copy(), rows.copy()
    if xp is np:
        return _sums(ids, rows)
    unique, inverse = xp.unique(ids, return_inverse=True)
    sums = xp.zeros((len(unique), rows.shape[1]), rows.dtype)
    add_rows_by_id(sums, inverse, rows)
    return unique, sums


@kernel("target")
def add_rows_by_id(target, ids, rows):
    """Add rows (N, ...) to ``target[ids]`` in place, several to one id included.

    The order of the additions does not change from run to run, and a device is not
    waited for: there, rows of ids that are not in 0..V-1 are left out.
    """
    xp = get_array_module(target)
    if len(ids) == 0:
        return
    if xp is np:
        ids, sums = _sums(ids, rows)
        target[ids] += sums.astype(target.dtype)
        return
    is_bad = outside(xp, ids, len(target))
    ids = xp.where(is_bad, 0, ids)
    rows = xp.where(is_bad.reshape(-1, *(1,) * (rows.ndim - 1)), 0, rows)
    order = xp.argsort(ids)
    ids, rows = ids[order], rows[order]
    # How many ids differ is not asked, as the host would wait for the answer: each
    # position gets the sum of its id, and positions of one id write the same row.
    cumulated = xp.zeros((len(ids) + 1, *rows.shape[1:]), xp.float64)
    cumulated[1:] = xp.cumsum(rows, axis=0, dtype=xp.float64)
    start = xp.searchsorted(ids, ids, side="left")
    end = xp.searchsorted(ids, ids, side="right")
    sums = cumulated[end] - cumulated[start]
    target[ids] = target[ids] + sums.astype(target.dtype)
