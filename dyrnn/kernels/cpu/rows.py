"""Embedding gradients."""

import numpy as np


def sum_rows_by_id(ids, rows):
    """Sort stably, then sum neighbours."""
    ids = ids.reshape(-1)
    rows = rows.reshape(len(ids), rows.shape[-1])
    if len(ids) == 0:
        return ids.copy(), rows.copy()
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    return ordered[first], np.add.reduceat(rows[order], first, axis=0)
