"""Products of matrices, and rows picked by ids."""

import warnings

import numpy as np

from dyrnn import functions as engine
from dyrnn import kernels
from dyrnn.chainer import _backend, configuration
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.joining import add_at
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.misc import force_array
from dyrnn.chainer.variable import as_variable


def dot(a, b):
    """Multiply matrices on all threads, which ``a.dot(b)`` does not."""
    return kernels.matmul(a, b) if a.dtype == b.dtype else a.dot(b)


class LinearFunction(FunctionNode):
    """``x W^T + b``."""

    def check_type_forward(self, in_types):
        n_in = in_types.size()
        type_check.expect(n_in >= 2, n_in <= 3)
        n = type_check.eval(n_in)
        x, w = in_types[:2]
        type_check._argname((x, w), ("x", "W"))
        type_check.expect(
            x.dtype.kind == "f",
            w.dtype.kind == "f",
            x.ndim == 2,
            w.ndim == 2,
            x.shape[1] == w.shape[1],
        )
        if n == 3:
            type_check._argname((in_types[2],), ("b",))
            type_check.expect(
                in_types[2].dtype == x.dtype,
                in_types[2].ndim == 1,
                in_types[2].shape[0] == w.shape[0],
            )

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        x, w = inputs[:2]
        y = dot(x, w.T).astype(x.dtype, copy=False)
        if len(inputs) == 3:
            y += inputs[2]
        return (y,)

    def backward(self, indexes, gys):
        x, w = self.get_retained_inputs()
        (gy,) = gys
        F = functions()
        rules = (
            lambda: F.cast(LinearGradData().apply((w, gy))[0], x.dtype),
            lambda: LinearGradWeight(w.dtype).apply((x, gy))[0],
            lambda: F.sum(gy, axis=0),
        )
        return tuple([rules[i]() for i in indexes])


class LinearGradData(FunctionNode):
    """``gy W``, the gradient of a linear function's input."""

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        w, gy = inputs
        return (dot(gy, w).astype(gy.dtype, copy=False),)

    def backward(self, indexes, gys):
        w, gy = self.get_retained_inputs()
        (ggx,) = gys
        rules = (
            lambda: LinearGradWeight(w.dtype).apply((ggx, gy))[0],
            lambda: functions().cast(linear(ggx, w), gy.dtype),
        )
        return tuple([rules[i]() for i in indexes])


class LinearGradWeight(FunctionNode):
    """``gy^T x``, the gradient of a linear function's weights."""

    def __init__(self, w_dtype):
        self._w_dtype = w_dtype

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        x, gy = inputs
        return (dot(gy.T, x).astype(self._w_dtype, copy=False),)

    def backward(self, indexes, gys):
        x, gy = self.get_retained_inputs()
        (ggw,) = gys
        cast = functions().cast
        rules = (
            lambda: cast(LinearGradData().apply((ggw, gy))[0], x.dtype),
            lambda: cast(linear(x, ggw), gy.dtype),
        )
        return tuple([rules[i]() for i in indexes])


def linear(x, W, b=None, n_batch_axes=1):
    """``x W^T + b`` over the axes from ``n_batch_axes`` on."""
    if n_batch_axes <= 0:
        raise ValueError("n_batch_axes should be greater than 0.")
    F = functions()
    if n_batch_axes > 1:
        batch_shape = x.shape[:n_batch_axes]
        x = F.reshape(x, (int(np.prod(batch_shape)), -1))
    elif x.ndim > 2:
        x = F.reshape(x, (x.shape[0], -1))
    args = (x, W) if b is None else (x, W, b)
    (y,) = LinearFunction().apply(args)
    return F.reshape(y, (*batch_shape, -1)) if n_batch_axes > 1 else y


class MatMul(FunctionNode):
    """Matrix product."""

    def __init__(self, transa=False, transb=False):
        self.transa = transa
        self.transb = transb

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("a", "b"))
        a, b = in_types
        type_check.expect(a.dtype.kind == "f", b.dtype.kind == "f")
        a_ndim, b_ndim = type_check.eval(a.ndim), type_check.eval(b.ndim)
        if b_ndim == 0 or a_ndim == 0:
            type_check.expect(a.ndim > 0, b.ndim > 0)
        a_axis = -1 if a_ndim == 1 or not self.transa else -2
        b_axis = -1 if b_ndim == 1 or self.transb else -2
        type_check.expect(a.shape[a_axis] == b.shape[b_axis])
        if a_ndim > 2 and b_ndim > 2:
            type_check.expect_broadcast_shapes(a.shape[:-2], b.shape[:-2])

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        a, b = inputs
        if self.transa and a.ndim > 1:
            a = a.swapaxes(-1, -2)
        if self.transb and b.ndim > 1:
            b = b.swapaxes(-1, -2)
        xp = _backend.get_array_module(a, b)
        dtype = xp.promote_types(a.dtype, b.dtype)
        return (force_array(xp.matmul(a, b), dtype),)

    def backward(self, indexes, gys):
        a, b = self.get_retained_inputs()
        (gy,) = gys
        F = functions()
        transa, transb = self.transa, self.transb
        wide_a = F.reshape(a, (1, a.size)) if a.ndim == 1 else a
        wide_b = F.reshape(b, (b.size, 1)) if b.ndim == 1 else b
        transa, transb = transa and a.ndim > 1, transb and b.ndim > 1
        if a.ndim == 1 or b.ndim == 1:
            shape = list(np.broadcast_shapes(wide_a.shape[:-2], wide_b.shape[:-2]))
            shape.append(wide_a.shape[-1 if transa else -2])
            shape.append(wide_b.shape[-2 if transb else -1])
            gy = F.reshape(gy, tuple(shape))
        found = []
        for i in indexes:
            if i == 0:
                gx = (
                    _matmul(wide_b, gy, transb, True)
                    if transa
                    else _matmul(gy, wide_b, False, not transb)
                )
                x, wide = a, wide_a
            else:
                gx = (
                    _matmul(gy, wide_a, True, transa)
                    if transb
                    else _matmul(wide_a, gy, not transa, False)
                )
                x, wide = b, wide_b
            gx = F.reshape(F.sum_to(gx, wide.shape), x.shape)
            found.append(F.cast(gx, x.dtype))
        return tuple(found)


def _matmul(a, b, transa, transb):
    return MatMul(transa, transb).apply((a, b))[0]


def matmul(a, b, transa=False, transb=False):
    """Matrix product, of transposed ones if so wished."""
    return _matmul(a, b, transa, transb)


def batch_matmul(a, b, transa=False, transb=False):
    """Matrix products, one for each of a batch; ``matmul`` can do that, too."""
    warnings.warn(
        "batch_matmul is deprecated. Use matmul instead.",
        DeprecationWarning,
        stacklevel=1,
    )
    F = functions()
    a = F.reshape(a, (*a.shape, 1)) if a.ndim == 2 else as_variable(a)
    b = F.reshape(b, (*b.shape, 1)) if b.ndim == 2 else as_variable(b)
    return _matmul(a, b, transa, transb)


class EmbedIDFunction(FunctionNode):
    """Rows of ``W`` picked by ids."""

    def __init__(self, ignore_label=None):
        self.ignore_label = ignore_label

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() == 2)
        x, w = in_types
        type_check.expect(x.dtype.kind == "i", x.ndim >= 1)
        type_check.expect(w.dtype.kind == "f", w.ndim == 2)

    def forward(self, inputs):
        self.retain_inputs((0,))
        x, w = inputs
        xp = _backend.get_array_module(x, w)
        if configuration.is_debug():
            is_valid = (x >= 0) & (x < len(w))
            if self.ignore_label is not None:
                is_valid |= x == self.ignore_label
            if not is_valid.all():
                raise ValueError(
                    "Each not ignored `x` value need to satisfy `0 <= x < len(W)`"
                )
        if self.ignore_label is None:
            return (w[x],)
        ignored = x == self.ignore_label
        y = w[xp.where(ignored, 0, x)]
        return (xp.where(ignored[..., None], w.dtype.type(0), y),)

    def backward(self, indexes, gys):
        inputs = self.get_retained_inputs()
        node = EmbedIDGrad(self.inputs[1].shape, self.ignore_label)
        return None, node.apply(inputs + gys)[0]


class EmbedIDGrad(FunctionNode):
    """Gradients added to the rows picked by ids."""

    def __init__(self, w_shape, ignore_label=None):
        self.w_shape = w_shape
        self.ignore_label = ignore_label

    def forward(self, inputs):
        self.retain_inputs((0,))
        x, gy = inputs
        gw = _backend.get_array_module(gy).zeros(self.w_shape, dtype=gy.dtype)
        if self.ignore_label is not None:
            kept = x != self.ignore_label
            x, gy = x[kept], gy[kept]
        add_at(gw, x.ravel(), gy.reshape(-1, self.w_shape[1]))
        return (gw,)

    def backward(self, indexes, gys):
        (x,) = self.get_retained_inputs()
        return None, embed_id(x, gys[0], self.ignore_label)


def embed_id(x, W, ignore_label=None):
    """Rows of ``W`` picked by ids; zeros for ``ignore_label``."""
    return EmbedIDFunction(ignore_label=ignore_label).apply((x, W))[0]


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
    return bridge(
        engine.bilinear, *args, name="BilinearFunction", check=_check_bilinear
    )
