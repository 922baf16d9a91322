"""Rows of a matrix by their ids: taken, added to, and summed."""

from dyrnn import backend
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
    unique, inverse = xp.unique(ids, return_inverse=True)
    sums = xp.zeros((len(unique), rows.shape[-1]), rows.dtype)
    backend.scatter_add(xp, sums, inverse, rows.reshape(len(ids), rows.shape[-1]))
    return unique, sums


@kernel("target")
def add_rows_by_id(target, ids, rows):
    """Add rows (N, D) to ``target[ids]`` (V, D) in place, several to one id included.

    The order of the additions does not change from run to run, and a device is not
    waited for: there, rows of ids that are not in 0..V-1 are left out.
    """
    xp = get_array_module(rows)
    is_bad = outside(xp, ids, len(target))
    if is_bad is not None:
        ids, rows = xp.where(is_bad, 0, ids), xp.where(is_bad[:, None], 0, rows)
    backend.scatter_add(xp, target, ids, rows)
