"""Functions that join layers: linear maps, biases and embeddings.

Their weight gradients are promises (see :mod:`dyrnn.engine.gradients`), so that T time
steps cost one matrix product, and the input gradients of all steps that wait at once
are one product, too.
"""

import math

import numpy as np

from dyrnn import backend, kernels
from dyrnn.engine import gradients
from dyrnn.engine.core import (
    FunctionNode,
    Variable,
    VariableLike,
    as_array,
    as_variable,
)
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import (
    check_arrays,
    check_batch,
    check_floats,
    check_ids,
    variable,
)


def _rows(x, size):
    """Return ``x`` as a matrix whose rows have ``size`` elements."""
    return x if x.ndim == 2 else x.reshape((math.prod(x.shape[:-1]), size))


def column_sums(gy):
    """Sum the rows of a matrix, an array or a variable: a bias' gradient."""
    return kernels.sum_rows(gy) if backend.is_array(gy) else gy.sum(axis=0)


def times(xp, gy, W):
    """Multiply the gradient of a linear map's output by its weight."""
    return kernels.matmul(gy, W) if hasattr(xp, "ndarray") else xp.matmul(gy, W)


class Linear(FunctionNode):
    """``x @ W.T + b`` on the last axis.

    A node rather than a composition: the weight's gradient waits for those of the other
    time steps, and so do the input gradients.
    """

    def forward(self, xp, x, W, b=None):
        self.save(x, W)
        y = kernels.linear(_rows(x, W.shape[1]), W, b)
        return y if x.ndim == 2 else y.reshape((*x.shape[:-1], len(W)))

    def backward(self, xp, gy):
        x, W = self.saved
        size = W.shape[1]
        gy = _rows(gy, W.shape[0])
        gx = gW = gb = None
        if self.wants(0):
            gx = times(xp, gy, W)
            if x.ndim != 2:
                gx = gx.reshape(x.shape)
        if self.wants(1):
            gW = gradients.product(xp, gy, _rows(x, size))
        if len(self.edges) == 2:
            return gx, gW
        if self.wants(2):
            gb = column_sums(gy)
        return gx, gW, gb

    def group(self):
        return (Linear, id(self.saved[1]), *self.edges[1:])

    @staticmethod
    def backward_group(xp, nodes, gys):
        W = nodes[0].saved[1]
        xs = [node.saved[0] for node in nodes]
        gy = xp.concatenate([_rows(gy, len(W)) for (gy,) in gys])
        gxs = [None] * len(nodes)
        if any(node.wants(0) for node in nodes):
            gx = times(xp, gy, W)
            start = 0
            for i, x in enumerate(xs):
                stop = start + x.size // W.shape[1]
                gxs[i] = gx[start:stop].reshape(x.shape)
                start = stop
        # The weight and the bias are the same for all: one node answers for them.
        shared = [None] * (len(nodes[0].edges) - 1)
        if nodes[0].wants(1):
            x = xp.concatenate([_rows(x, W.shape[1]) for x in xs])
            shared[0] = gradients.product(xp, gy, x)
        if len(shared) == 2 and nodes[0].wants(2):
            shared[1] = column_sums(gy)
        rest = [None] * len(shared)
        return [(gx, *(rest if i else shared)) for i, gx in enumerate(gxs)]


def linear(
    x: VariableLike,
    W: VariableLike,
    b: VariableLike | None = None,
    n_batch_axes: int | None = None,
) -> Variable:
    """Affine map of the last axis, ``y = x @ W.T + b``.

    Parameters
    ----------
    x : Variable, (B, I) or (T, B, I)
        Any number of leading axes.
    W : Variable, (O, I), same dtype
    b : Variable, (O,), optional
    n_batch_axes : int, optional
        Axes of ``x`` from this one on are flattened into one of I features. By default
        only the last axis holds features.

    Returns
    -------
    Variable, (B, O) or (T, B, O)

    Raises
    ------
    ShapeError
        If ``x`` does not have as many features as ``W`` has columns.

    Examples
    --------
    >>> W = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    >>> linear(np.array([[1.0, 1.0]]), W).array
    array([[3., 1., 3.]])
    """
    x = variable("linear", "x", x)
    shape, dtype = x.shape, x.dtype
    if n_batch_axes is not None and n_batch_axes != len(shape) - 1:
        if not 0 < n_batch_axes < len(shape):
            raise ValueError(
                f"linear: n_batch_axes={n_batch_axes}, but x has shape {shape}; use 1 "
                f"to {len(shape) - 1}"
            )
        size = 1
        for n in shape[n_batch_axes:]:
            size *= n
        x = x.reshape((*shape[:n_batch_axes], size))
        shape = x.shape
    if len(shape) < 2 or shape[-1] != W.shape[1]:
        raise ShapeError(
            f"linear: x has shape {shape}, but W {W.shape} takes {W.shape[1]} "
            f"features. Reshape x to (batch, {W.shape[1]}), or create the link with "
            f"in_size={shape[-1] if shape else 1}."
        )
    if dtype != W.dtype or dtype.kind != "f":
        check_floats("linear", x=x, W=W)
    if shape[-2] == 0:
        check_batch("linear", x, -2)
    if b is None:
        return Linear().apply(x, W)
    if b.shape != W.shape[:1] or b.dtype != W.dtype:
        check_floats("linear", W=W, b=b)
        raise ShapeError(
            f"linear: b has shape {b.shape}, but W {W.shape} has {W.shape[0]} outputs; "
            f"b must have shape ({W.shape[0]},)."
        )
    return Linear().apply(x, W, b)


def bias(x: VariableLike, y: VariableLike, axis: int = 1) -> Variable:
    """Add ``y`` to ``x``, its axes beside those of ``x`` from ``axis`` on.

    Parameters
    ----------
    x : Variable
    y : Variable
        ``y.shape == x.shape[axis:axis + y.ndim]``.
    axis : int
        Negative: counted from the end.
    """
    start = axis + x.ndim if axis < 0 else axis
    if x.shape[start : start + y.ndim] != y.shape:
        raise ShapeError(
            f"bias: x has shape {x.shape}, which from axis {axis} on does not go with "
            f"y of shape {y.shape}."
        )
    shape = (1,) * start + y.shape + (1,) * (x.ndim - start - y.ndim)
    return as_variable(x) + as_variable(y).reshape(shape)


class EmbedID(FunctionNode):
    """Rows of a matrix, picked by ids; the gradient keeps only the rows picked."""

    def __init__(self, ignore_label):
        self.ignore_label = ignore_label

    def forward(self, xp, ids, W):
        self.shape = W.shape
        self.ids = ids
        return kernels.take_rows(W, ids, self.ignore_label)

    def backward(self, xp, gy):
        ids = self.ids.reshape(-1)
        gy = gy.reshape((len(ids), self.shape[1]))
        if self.ignore_label is not None:
            is_ignored = ids == self.ignore_label
            if isinstance(ids, np.ndarray):
                ids, gy = ids[~is_ignored], gy[~is_ignored]
            else:  # the host would have to wait for the number of rows
                zeros = backend.get_array_module(ids).where(is_ignored, 0, ids)
                ids, gy = zeros, xp.where(is_ignored[:, None], 0, gy)
        if backend.is_array(gy):
            return None, gradients.Rows(ids, gy, self.shape)
        return None, xp.scatter_add(gy.xp.zeros(self.shape, gy.dtype), ids, gy)


def embed_id(
    x: VariableLike,
    W: VariableLike | list[VariableLike] | tuple[VariableLike, ...],
    ignore_label: int | None = None,
) -> Variable:
    """Rows of ``W`` that the ids ``x`` pick: ``y[..., :] = W[x[...]]``.

    The gradient of ``W`` is sparse: :class:`dyrnn.engine.gradients.Rows`.

    Parameters
    ----------
    x : array of integers, any shape
    W : Variable, (V, D), or list of N of them
        Shards of a matrix: id ``i`` is in row ``i // N`` of shard ``i % N``.
    ignore_label : int, optional
        This id, in the range or not, gives a row of zeros and no gradient.

    Returns
    -------
    Variable, (*x.shape, D)

    Raises
    ------
    ValueError
        If an id is not within 0 <= id < V. A GPU would have to be waited for: there
        such an id gives NaN.
    """
    x = as_array(x)
    if isinstance(W, (list, tuple)):
        return _embed_in_shards(x, W, ignore_label)
    if W.ndim != 2:
        raise ShapeError(f"embed_id: W has shape {W.shape}; it must be (V, D).")
    check_ids("embed_id", "id", x, W.shape[0], ignore_label)
    return EmbedID(ignore_label).apply(x, W)


def _embed_in_shards(x, shards, ignore_label):
    shapes = [shard.shape for shard in shards]
    if any(len(shape) != 2 for shape in shapes):
        raise ShapeError(f"embed_id: the shards have shapes {shapes}, not (rows, D)")
    if len({width for _, width in shapes}) > 1:
        raise ShapeError(f"embed_id: shards {shapes} must have as many columns each")
    n, rows = len(shards), [len(shard) for shard in shards]
    size = sum(rows)
    if n == 0 or rows != [len(range(k, size, n)) for k in range(n)]:
        raise ShapeError(
            f"embed_id: {n} shards have {rows} rows; all must have as many, or the "
            "first ones one more"
        )
    check_ids("embed_id", "id", x, size, ignore_label)
    xp = backend.get_array_module(x)
    x = x.astype(np.int64)  # which -1 and any size fit in
    is_id = True if ignore_label is None else x != ignore_label
    if xp is not np:  # an id out of range is beyond the rows of a shard, too
        x = xp.where(is_id & ((x < 0) | (x >= size)), size, x)
    # What is in another shard is ignored by this one.
    return sum(
        embed_id(xp.where(is_id & (x % n == k), x // n, -1), shard, -1)
        for k, shard in enumerate(shards)
    )


def bilinear(
    e1: VariableLike,
    e2: VariableLike,
    W: VariableLike,
    V1: VariableLike | None = None,
    V2: VariableLike | None = None,
    b: VariableLike | None = None,
) -> Variable:
    """A product of two vectors, ``y[n, l] = e1[n] @ W[:, :, l] @ e2[n] + ...``.

    Parameters
    ----------
    e1 : Variable, (B, J)
    e2 : Variable, (B, K)
    W : Variable, (J, K, L)
    V1, V2, b : Variable, (J, L), (K, L), (L,), optional
        Linear terms ``e1 @ V1 + e2 @ V2 + b``.

    Returns
    -------
    Variable, (B, L)
    """
    check_arrays("bilinear", e1=e1, e2=e2, W=W)
    if len(W.shape) != 3:
        raise ShapeError(f"bilinear: W has shape {W.shape}; it must be (J, K, L).")
    J, K, L = W.shape
    if e1.shape[1:] != (J,) or e2.shape[1:] != (K,) or e1.shape[0] != e2.shape[0]:
        raise ShapeError(
            f"bilinear: e1 has shape {e1.shape} and e2 {e2.shape}, but W {W.shape} "
            f"takes (B, {J}) and (B, {K})."
        )
    check_floats("bilinear", e1=e1, e2=e2, W=W)
    check_batch("bilinear", e1, 0)
    e1, e2 = as_variable(e1), as_variable(e2)
    y = e1 @ as_variable(W).reshape((J, K * L))
    y = (y.reshape((-1, K, L)) * e2.reshape((-1, K, 1))).sum(axis=1)
    for term, V in ((e1, V1), (e2, V2)):
        if V is not None:
            y = y + term @ V
    return y if b is None else y + b
