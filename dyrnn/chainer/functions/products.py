"""Products of matrices, and rows picked by ids."""

import warnings
from functools import partial

import numpy as np

from dyrnn import functions as core
from dyrnn.chainer import casting, configuration
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.worlds import CoreNode
from dyrnn.functions import connection


class LinearFunction(CoreNode):
    """``x W^T + b``."""

    kind = connection.Linear

    def check_type_forward(self, in_types):
        n_in = in_types.size()
        type_check.expect(n_in >= 2, n_in <= 3)
        x, w = in_types[:2]
        type_check._argname((x, w), ("x", "W"))
        type_check.expect(
            x.dtype.kind == "f",
            w.dtype.kind == "f",
            x.ndim == 2,
            w.ndim == 2,
            x.shape[1] == w.shape[1],
        )
        if type_check.eval(n_in) == 3:
            b = in_types[2]
            type_check._argname((b,), ("b",))
            type_check.expect(b.dtype == x.dtype, b.ndim == 1, b.shape[0] == w.shape[0])


def linear(x, W, b=None, n_batch_axes=1):
    """``x W^T + b`` over the axes from ``n_batch_axes`` on."""
    if n_batch_axes <= 0:
        raise ValueError("n_batch_axes should be greater than 0.")
    F = functions()
    x, W = casting.fitting(x, W)
    batch_shape = x.shape[:n_batch_axes]
    if n_batch_axes > 1:
        x = F.reshape(x, (int(np.prod(batch_shape)), -1))
    elif x.ndim > 2:
        x = F.reshape(x, (x.shape[0], -1))
    dtype = x.dtype
    if W.dtype != dtype:
        # Computed in the wider type, to a result of the type of x.
        wide = np.promote_types(dtype, W.dtype)
        x, W = F.cast(x, wide), F.cast(W, wide)
        b = None if b is None else F.cast(b, wide)
    (y,) = LinearFunction().apply((x, W) if b is None else (x, W, b))
    y = F.cast(y, dtype) if y.dtype != dtype else y
    return F.reshape(y, (*batch_shape, -1)) if n_batch_axes > 1 else y


def _check_matmul(in_types, transa, transb):
    type_check._argname(in_types, ("a", "b"))
    a, b = in_types
    type_check.expect(a.dtype.kind == "f", b.dtype.kind == "f")
    a_ndim, b_ndim = type_check.eval(a.ndim), type_check.eval(b.ndim)
    if b_ndim == 0 or a_ndim == 0:
        type_check.expect(a.ndim > 0, b.ndim > 0)
    a_axis = -1 if a_ndim == 1 or not transa else -2
    b_axis = -1 if b_ndim == 1 or transb else -2
    type_check.expect(a.shape[a_axis] == b.shape[b_axis])
    if a_ndim > 2 and b_ndim > 2:
        type_check.expect_broadcast_shapes(a.shape[:-2], b.shape[:-2])


def matmul(a, b, transa=False, transb=False):
    """Matrix product, of transposed ones if so wished."""
    turns = {"transa": transa, "transb": transb}
    check = partial(_check_matmul, **turns)
    return bridge(partial(core.matmul, **turns), a, b, name="MatMul", check=check)


def batch_matmul(a, b, transa=False, transb=False):
    """Matrix products, one for each of a batch; ``matmul`` can do that, too."""
    warnings.warn(
        "batch_matmul is deprecated. Use matmul instead.",
        DeprecationWarning,
        stacklevel=1,
    )
    product = partial(core.batch_matmul, transa=transa, transb=transb)
    return bridge(product, a, b, name="MatMul")


class EmbedIDFunction(CoreNode):
    """Rows of ``W`` picked by ids."""

    kind = connection.EmbedID

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() == 2)
        x, w = in_types
        type_check.expect(x.dtype.kind == "i", x.ndim >= 1)
        type_check.expect(w.dtype.kind == "f", w.ndim == 2)

    def forward(self, inputs):
        x, w = inputs
        ignored = self.rule.ignore_label
        if configuration.is_debug():
            is_used = x != ignored
            if (is_used & ((x < 0) | (x >= len(w)))).any():
                raise ValueError(
                    "Each not ignored `x` value need to satisfy `0 <= x < len(W)`"
                )
        return self.run(checked_ids(x, len(w), ignored), w)


def checked_ids(ids, n, ignored, kinds=("id", "rows")):
    """Return ids below ``n``, those that count from the end as Chainer's do."""
    if not isinstance(ids, np.ndarray) or not ids.size:
        return ids
    if ids.min() >= 0 and ids.max() < n:
        return ids
    is_used = ids != ignored
    is_bad = is_used & ((ids < -n) | (ids >= n))
    if is_bad.any():
        one, many = kinds
        raise IndexError(f"{one} {ids[is_bad][0]} is out of bounds for {n} {many}")
    return np.where(is_used & (ids < 0), ids + n, ids)


def embed_id(x, W, ignore_label=None):
    """Rows of ``W`` picked by ids; zeros for ``ignore_label``."""
    return EmbedIDFunction(ignore_label).apply((x, W))[0]


def _check_bilinear(in_types):
    n = type_check.eval(in_types.size())
    e1, e2, w = in_types[:3]
    type_check._argname((e1, e2, w), ("e1", "e2", "W"))
    type_check.expect(
        e1.dtype.kind == "f",
        e1.dtype == e2.dtype,
        e1.ndim >= 2,
        e2.ndim >= 2,
        e1.shape[0] == e2.shape[0],
        e1.dtype == w.dtype,
        w.ndim == 3,
        type_check.prod(e1.shape[1:]) == w.shape[0],
        type_check.prod(e2.shape[1:]) == w.shape[1],
    )
    if n == 6:
        v1, v2, b = in_types[3:]
        type_check._argname((v1, v2, b), ("V1", "V2", "b"))
        type_check.expect(
            v1.ndim == 2,
            v1.shape[1] == w.shape[2],
            v2.ndim == 2,
            v2.shape[1] == w.shape[2],
            b.ndim == 1,
            b.shape[0] == w.shape[2],
        )


def bilinear(e1, e2, W, V1=None, V2=None, b=None):
    """``e1 W e2``, and linear terms if ``V1``, ``V2`` and ``b`` are given."""
    extra = [v is not None for v in (V1, V2, b)]
    if any(extra) and not all(extra):
        raise ValueError(
            "All coefficients and bias for bilinear() must be None, if at least one of "
            "them is None."
        )
    F = functions()
    e1, e2 = (F.reshape(e, (len(e), -1)) if e.ndim > 2 else e for e in (e1, e2))
    args = (e1, e2, W, V1, V2, b) if all(extra) else (e1, e2, W)
    return bridge(core.bilinear, *args, name="BilinearFunction", check=_check_bilinear)
