"""Losses of classifiers and of regressions."""

import numpy as np

from dyrnn import functions as engine
from dyrnn.chainer import _backend, configuration
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import Formula, are_alike, functions
from dyrnn.chainer.functions.reduction import array_log_softmax, array_softmax
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import Variable, as_variable


def check_reduce(reduce, choices=("mean", "no")):
    """Raise ValueError for an unknown reduction."""
    if reduce not in choices:
        names = " and ".join(map(repr, choices))
        raise ValueError(
            f"only {names} are valid for 'reduce', but '{reduce}' is given"
        )


def _check_class_weight(weight):
    if weight is None:
        return
    if weight.ndim != 1:
        raise ValueError("class_weight.ndim should be 1")
    if weight.dtype.kind != "f":
        raise ValueError("The dtype of class_weight should be 'f'")
    if isinstance(weight, Variable):
        raise ValueError(
            "class_weight should be a numpy.ndarray or cupy.ndarray, "
            "not a chainer.Variable"
        )


def _wide_weight(weight, x):
    """Return the weights of the classes, in the type of ``x``, to broadcast."""
    wide = weight.reshape(1, -1, *(1,) * (x.ndim - 2))
    return wide.astype(x.dtype, copy=False)


def _check_labels(x, t, ignore_label):
    x, t = _backend.raw(x), _backend.raw(t)
    if not (((t >= 0) & (t < x.shape[1])) | (t == ignore_label)).all():
        raise ValueError(
            "Each label `t` need to satisfy "
            f"`0 <= t < x.shape[1] or t == {ignore_label}`"
        )


class SoftmaxCrossEntropy(FunctionNode):
    """Cross entropy of the softmax; not to be differentiated twice."""

    y = None
    soft_target = False
    eps = 1e-7
    _coeff = None

    def __init__(
        self,
        normalize=True,
        cache_score=True,
        class_weight=None,
        ignore_label=-1,
        reduce="mean",
        soft_target_loss="cross-entropy",
    ):
        _check_class_weight(class_weight)
        check_reduce(reduce)
        self.normalize = normalize
        self.cache_score = cache_score
        self.class_weight = class_weight
        self.ignore_label = ignore_label
        self.reduce = reduce
        self.soft_target_loss = soft_target_loss

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x", "t"))
        x, t = in_types
        type_check.expect(x.dtype.kind == "f")
        if t.dtype.kind == "i":
            type_check.expect(
                t.ndim == x.ndim - 1,
                x.shape[0] == t.shape[0],
                x.shape[2:] == t.shape[1:],
            )
        else:
            type_check.expect(t.dtype.kind == "f", x.shape == t.shape)

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        x, t = inputs
        xp = _backend.get_array_module(x)
        self.soft_target = t.dtype.kind == "f" and x.shape == t.shape
        if configuration.is_debug() and not self.soft_target:
            _check_labels(x, t, self.ignore_label)
        log_y = array_log_softmax(x)
        if self.cache_score:
            self.y = xp.exp(log_y)
        if self.soft_target:
            return self._soft(xp, x, t, log_y)
        if self.class_weight is not None:
            log_y = log_y * self._weights(xp, x)
        is_used = t != self.ignore_label
        index = xp.expand_dims(xp.where(is_used, t, 0), 1)
        self._check_range(index, x.shape[1])
        log_p = xp.take_along_axis(log_y, index, 1).squeeze(1) * is_used
        if self.reduce == "no":
            return (-log_p.astype(x.dtype, copy=False),)
        count = is_used.sum() if self.normalize else len(x)
        self._coeff = 1.0 / max(int(count), 1)
        wide = np.float32 if x.dtype == np.float16 else x.dtype
        loss = log_p.sum(dtype=wide) * -self._coeff
        return (xp.asarray(loss, dtype=x.dtype),)

    @staticmethod
    def _check_range(index, n):
        if index.size and isinstance(index, np.ndarray):
            bad = (index < -n) | (index >= n)
            if bad.any():
                raise IndexError(
                    f"label {index[bad][0]} is out of bounds for {n} classes"
                )

    def _weights(self, xp, x):
        return _wide_weight(xp.asarray(self.class_weight), x)

    def _soft(self, xp, x, t, log_y):
        if self.soft_target_loss == "kl-divergence":
            loss = (t * (xp.log(t + self.eps) - log_y)).sum(axis=1)
        else:
            loss = -(t * log_y).sum(axis=1)
        if self.reduce == "no":
            return (loss.astype(x.dtype, copy=False),)
        self._coeff = 1.0 / (x.size / x.shape[1])
        return (xp.asarray(loss.sum() * self._coeff, dtype=x.dtype),)

    def backward(self, indexes, gys):
        x, t = self.get_retained_inputs()
        gx = _SoftmaxCrossEntropyGrad(self).apply((x, t, gys[0]))[0]
        return gx, None


class _SoftmaxCrossEntropyGrad(FunctionNode):
    """The gradient, as an end of the graph."""

    def __init__(self, forward):
        self.origin = forward

    def forward(self, inputs):
        x, t, gy = inputs
        origin = self.origin
        xp = _backend.get_array_module(x)
        y = array_softmax(x) if origin.y is None else origin.y
        if origin.soft_target:
            gx = y - t
        else:
            is_used = xp.expand_dims(t != origin.ignore_label, 1)
            index = xp.where(is_used, xp.expand_dims(t, 1), 0)
            gx = y.copy()
            hit = xp.take_along_axis(gx, index, 1) - 1
            xp.put_along_axis(gx, index, hit, 1)
            if origin.class_weight is not None:
                weights = xp.broadcast_to(origin._weights(xp, x), x.shape)
                gx = gx * xp.take_along_axis(weights, index, 1)
            gx = gx * is_used
        scale = gy[:, None] if origin._coeff is None else gy * origin._coeff
        return ((gx * scale).astype(x.dtype, copy=False),)

    def backward(self, indexes, gys):
        raise RuntimeError(
            "F.softmax_cross_entropy was called with 'enable_double_backprop=False' "
            "argument, but double-backprop is actually being performed. Please specify "
            "'enable_double_backprop=True' explicitly."
        )


def _double_softmax_cross_entropy(x, t, normalize, class_weight, ignore_label, reduce):
    _check_class_weight(class_weight)
    check_reduce(reduce)
    t = _backend.raw(t)
    if configuration.is_debug():
        _check_labels(x, t, ignore_label)
    F = functions()
    x = as_variable(x)
    loss = -F.log_softmax(x)
    if class_weight is not None:
        loss = loss * F.broadcast_to(_wide_weight(class_weight, x), x.shape)
    in_use = (t != ignore_label).astype(x.dtype)
    loss = F.rollaxis(loss, 1, loss.ndim)
    loss = F.reshape(loss, (-1, loss.shape[-1]))
    picked = F.select_item(loss, t.clip(0, loss.shape[1] - 1).ravel())
    loss = F.reshape(picked, t.shape) * in_use
    if reduce == "no":
        return loss
    count = float(in_use.astype(np.float32).sum()) if normalize else len(x)
    count = max(count, 1.0)
    if x.dtype == np.float16:
        return F.cast(F.sum(F.cast(loss, np.float32) / count), x.dtype)
    return F.sum(loss / count)


def softmax_cross_entropy(
    x,
    t,
    normalize=True,
    cache_score=True,
    class_weight=None,
    ignore_label=-1,
    reduce="mean",
    enable_double_backprop=False,
    soft_target_loss="cross-entropy",
    *,
    use_cudnn=True,
):
    """Cross entropy of the softmax of ``x`` and labels (or probabilities) ``t``.

    ``use_cudnn`` of version 1 does nothing.
    """
    if soft_target_loss not in ("cross-entropy", "kl-divergence"):
        raise ValueError("soft_target_loss must be 'cross-entropy' or 'kl-divergence'.")
    if enable_double_backprop:
        return _double_softmax_cross_entropy(
            x, t, normalize, class_weight, ignore_label, reduce
        )
    return SoftmaxCrossEntropy(
        normalize, cache_score, class_weight, ignore_label, reduce, soft_target_loss
    ).apply((x, t))[0]


class SigmoidCrossEntropy(Formula):
    """Cross entropy of the sigmoid."""

    names = ("x", "t")
    ignore_label = -1

    def __init__(self, normalize=True, reduce="mean"):
        check_reduce(reduce)
        self.normalize = normalize
        self.reduce = reduce
        self.count = None

    def check_type_forward(self, in_types):
        type_check._argname(in_types, self.names)
        x, t = in_types
        type_check.expect(x.dtype.kind == "f", t.dtype.kind == "i", x.shape == t.shape)

    def compute(self, xp, x, t):
        self.mask = (t != self.ignore_label).astype(x.dtype)
        loss = -self.mask * (x * (t - (x >= 0)) - xp.log1p(xp.exp(-abs(x))))
        if self.reduce == "no":
            return loss
        self.count = max(1, int(self.mask.sum()) if self.normalize else len(x))
        return xp.asarray(loss.sum() / self.count)

    def rule(self, gy, x, t):
        F = functions()
        gx = (F.sigmoid(x) - t.array.astype(x.dtype)) * self.mask
        gy = gy if self.count is None else gy / self.count
        return gx * F.broadcast_to(gy, gx.shape), None


def sigmoid_cross_entropy(x, t, normalize=True, reduce="mean", *, use_cudnn=True):
    """Cross entropy of the sigmoid of ``x`` and labels 0, 1 or -1 (ignored).

    ``use_cudnn`` of version 1 does nothing.
    """
    return SigmoidCrossEntropy(normalize, reduce).apply((x, t))[0]


class _PairLoss(Formula):
    names = ("x0", "x1")

    def check_type_forward(self, in_types):
        are_alike(in_types, *self.names)


class MeanSquaredError(_PairLoss):
    """Mean of squared differences."""

    def compute(self, xp, a, b):
        d = (a - b).ravel()
        wide = d.astype(np.float64) if d.dtype == np.float16 else d
        return xp.asarray(wide.dot(wide) / d.size)

    def rule(self, gy, a, b):
        d = a - b
        g = functions().broadcast_to(gy * (2.0 / d.size), d.shape) * d
        return g, -g


class MeanAbsoluteError(_PairLoss):
    """Mean of absolute differences."""

    def compute(self, xp, a, b):
        d = abs(a - b)
        wide = d.astype(np.float32) if d.dtype == np.float16 else d
        return xp.asarray(wide.sum() / a.size)

    def rule(self, gy, a, b):
        sign = a.xp.sign(a.array - b.array)
        g = functions().broadcast_to(gy / a.size, a.shape) * sign
        return g, -g


class AbsoluteError(_PairLoss):
    """Absolute differences."""

    is_elementwise = True

    def compute(self, xp, a, b):
        return abs(a - b)

    def rule(self, gy, a, b):
        g = gy * a.xp.sign(a.array - b.array)
        return g, -g


class SquaredError(_PairLoss):
    """Squared differences."""

    is_elementwise = True

    def compute(self, xp, a, b):
        return (a - b) ** 2

    def rule(self, gy, a, b):
        g = gy * 2 * (a - b)
        return g, -g


def mean_squared_error(x0, x1):
    """Mean of squared differences."""
    return MeanSquaredError().apply((x0, x1))[0]


def mean_absolute_error(x0, x1):
    """Mean of absolute differences."""
    return MeanAbsoluteError().apply((x0, x1))[0]


def absolute_error(x0, x1):
    """Absolute differences."""
    return AbsoluteError().apply((x0, x1))[0]


def squared_error(x0, x1):
    """Squared differences."""
    return SquaredError().apply((x0, x1))[0]


squared_difference = squared_error


def huber_loss(x, t, delta, reduce="sum_along_second_axis"):
    """Squared near zero, linear from ``delta`` on."""
    check_reduce(reduce, ("sum_along_second_axis", "no"))
    return bridge(
        lambda a, b: engine.huber_loss(a, b, delta, reduce),
        x,
        t,
        name="HuberLoss",
        check=lambda in_types: are_alike(in_types, "x", "t"),
    )


class Hinge(Formula):
    """``max(0, 1 - x)`` for the right class, ``max(0, 1 + x)`` for others."""

    names = ("x", "t")

    def __init__(self, norm="L1", reduce="mean"):
        if norm not in ("L1", "L2"):
            raise NotImplementedError("norm should be either 'L1' or 'L2'")
        check_reduce(reduce)
        self.norm = norm
        self.reduce = reduce

    def check_type_forward(self, in_types):
        type_check._argname(in_types, self.names)
        x, t = in_types
        type_check.expect(
            x.dtype.kind == "f",
            t.dtype.kind == "i",
            x.ndim == 2,
            t.ndim == 1,
            x.shape[0] == t.shape[0],
        )

    @staticmethod
    def _signs(xp, x, t):
        signs = xp.ones_like(x)
        signs[xp.arange(len(t)), t] = -1
        return signs

    def compute(self, xp, x, t):
        loss = xp.maximum(0, 1 + self._signs(xp, x, t) * x)
        if self.norm == "L2":
            loss = loss**2
        return xp.asarray(loss.sum() / len(x)) if self.reduce == "mean" else loss

    def rule(self, gy, x, t):
        F = functions()
        signs = self._signs(x.xp, x.array, t.array)
        loss = F.relu(1 + x * signs)
        inside = (loss.array > 0).astype(x.dtype) * signs
        g = loss * 2 * inside if self.norm == "L2" else inside
        gy = gy / len(x) if self.reduce == "mean" else gy
        return F.broadcast_to(gy, x.shape) * g, None


def hinge(x, t, norm="L1", reduce="mean"):
    """``max(0, 1 - x)`` for the right class, ``max(0, 1 + x)`` for others."""
    return Hinge(norm, reduce).apply((x, t))[0]


def black_out(x, t, W, samples, reduce="mean"):
    """Cross entropy of labels among samples, which are to be unlikely themselves.

    Parameters
    ----------
    x : Variable, (B, I)
    t : Variable or array, (B,), int
        The right labels.
    W : Variable, (V, I)
    samples : Variable or array, (B, S), int
        Wrong labels.
    reduce : {"mean", "no"}

    References
    ----------
    Ji, Vishwanathan, Satish, Anderson, Dubey, "BlackOut: Speeding up Recurrent Neural
    Network Language Models With Very Large Vocabularies", 2016.
    """
    check_reduce(reduce)
    F = functions()
    xp = _backend.get_array_module(_backend.raw(x))
    ids = xp.concatenate([_backend.raw(t)[:, None], _backend.raw(samples)], axis=1)
    scores = F.matmul(F.embed_id(ids, W), F.expand_dims(x, 2))
    log_p = F.log_softmax(F.reshape(scores, ids.shape))
    others = F.log1p(-F.exp(log_p[:, 1:]))
    loss = -(log_p[:, 0] + F.sum(others, axis=1))
    return F.mean(loss) if reduce == "mean" else loss
