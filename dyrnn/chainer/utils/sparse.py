"""Sparse matrices as lists of entries."""

from dyrnn.chainer import _backend
from dyrnn.chainer.variable import Variable


class CooMatrix:
    """A sparse matrix, or a batch of them, as values with their rows and columns.

    Parameters
    ----------
    data, row, col : arrays, (entries,) or (batch, entries)
        An entry with row and column -1 is none: it fills up the array.
    shape : (int, int)
        Of the dense matrix.
    order : {"C", "F", "other"}, optional
        Whether the rows or the columns are sorted; found out by default.
    requires_grad : bool
        Whether ``data``, a variable then, shall have a gradient.
    """

    def __init__(self, data, row, col, shape, order=None, requires_grad=False):
        if not 1 <= data.ndim <= 2:
            raise ValueError("ndim of data must be 1 or 2.")
        if not data.ndim == row.ndim == col.ndim:
            raise ValueError("ndim of data, row and col must be the same.")
        if len(shape) != 2:
            raise ValueError("length of shape must be 2.")
        if not (shape[0] > 0 and shape[1] > 0):
            raise ValueError("numbers in shape must be greater than 0.")
        if order not in ("C", "F", "other", None):
            raise ValueError("order must be 'C', 'F', 'other' or None.")
        self.data = Variable(data, requires_grad=requires_grad)
        self.row = row
        self.col = col
        self.shape = shape
        self.order = get_order(row, col) if order is None else order

    def to_dense(self):
        """Return the matrix, or the batch, as an array."""
        data, row, col = self.data.array, self.row, self.col
        xp = _backend.get_array_module(data)
        entry = xp.nonzero(row >= 0)
        if data.ndim == 1:
            dense = xp.zeros(self.shape, dtype=data.dtype)
            place = row[entry], col[entry]
        else:
            dense = xp.zeros((len(data), *self.shape), dtype=data.dtype)
            place = entry[0], row[entry], col[entry]
        xp.add.at(dense, place, data[entry])
        return dense


def _fill(x, data, row, col):
    """Write a dense matrix's entries to the front of the arrays."""
    rows, cols = _backend.get_array_module(x).nonzero(x)
    n = len(rows)
    data[:n], row[:n], col[:n] = x[rows, cols], rows, cols


def to_coo(x, ldnz=None, requires_grad=False):
    """Return a dense matrix (or a batch) as a :class:`CooMatrix`.

    Parameters
    ----------
    x : array, (rows, columns) or (batch, rows, columns)
    ldnz : int, optional
        Least number of entries of each matrix; without it, as many as needed.
    requires_grad : bool
    """
    if x.ndim not in (2, 3):
        raise ValueError("ndim of x must be 2 or 3.")
    xp = _backend.get_array_module(x)
    matrices = x if x.ndim == 3 else x[None]
    size = max([int((matrix != 0).sum()) for matrix in matrices], default=0)
    shape = len(matrices), max(size, ldnz or 0)
    data = xp.zeros(shape, dtype=x.dtype)
    row = xp.full(shape, -1, dtype=xp.int32)
    col = xp.full(shape, -1, dtype=xp.int32)
    for i, matrix in enumerate(matrices):
        _fill(matrix, data[i], row[i], col[i])
    if x.ndim == 2:
        data, row, col = data[0], row[0], col[0]
    return CooMatrix(data, row, col, x.shape[-2:], requires_grad=requires_grad)


def get_order(row, col):
    """Return "C" if the entries are sorted by row, "F" if by column, or "other"."""
    if _is_sorted(row, col):
        return "C"
    return "F" if _is_sorted(col, row) else "other"


def _is_sorted(major, minor):
    """Return whether each matrix's entries are in the order of (major, minor)."""
    if major.shape != minor.shape:
        raise ValueError("shape of row and col must be the same.")
    if major.ndim > 1:
        return all(map(_is_sorted, major, minor))
    if ((major < 0) != (minor < 0)).any():
        raise ValueError("invalid index combination of row and col.")
    major, minor = major[major >= 0].astype("q"), minor[minor >= 0]
    if major.size <= 1:
        return True
    place = major * (int(minor.max()) + 1) + minor
    return bool((place[1:] >= place[:-1]).all())
