"""Noise, drawn from NumPy's global generator; and what is kept from memory."""

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer._backprop import backward
from dyrnn.chainer.configuration import (
    config,
    force_backprop_mode,
    no_backprop_mode,
)
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import check_inputs, functions
from dyrnn.chainer.utils import argument, type_check
from dyrnn.chainer.variable import Variable, as_variable

_TRAIN = "train argument is not supported anymore. Use chainer.using_config"


class Dropout(FunctionNode):
    """Elements set to zero at random, the others scaled up."""

    def __init__(self, dropout_ratio, mask=None, return_mask=False):
        if not 0.0 <= dropout_ratio < 1.0:
            raise ValueError("dropout_ratio must be in the range [0, 1)")
        self.dropout_ratio = dropout_ratio
        self.mask = mask
        self.return_mask = return_mask

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        type_check.expect(in_types[0].dtype.kind == "f")

    def forward(self, inputs):
        (x,) = inputs
        if self.mask is None:
            xp = _backend.get_array_module(x)
            scale = x.dtype.type(1.0 / (1 - self.dropout_ratio))
            self.mask = scale * xp.asarray(
                xp.random.rand(*x.shape) >= self.dropout_ratio
            )
        xp = _backend.get_array_module(x)
        return (xp.asarray(x * self.mask),)

    def backward(self, indexes, gys):
        return (gys[0] * self.mask,)


def dropout(x, ratio=0.5, **kwargs):
    """Set elements to zero with probability ``ratio``; only in training.

    ``train`` is version 1's way to say that this is, or is not, training.
    """
    train = kwargs.pop("train", config.train)
    mask, return_mask = argument.parse_kwargs(
        kwargs, ("mask", None), ("return_mask", False)
    )
    if train:
        node = Dropout(ratio, mask, return_mask)
        y, mask = node.apply((x,))[0], node.mask
    else:
        y, mask = as_variable(x), None
    return (y, mask) if return_mask else y


class Zoneout(FunctionNode):
    """Elements of the new state, at random those of the old one."""

    def __init__(self, zoneout_ratio):
        if not 0.0 <= zoneout_ratio <= 1.0:
            raise ValueError("zoneout_ratio must be in the range [0, 1]")
        self.zoneout_ratio = zoneout_ratio
        self.flag_h = None

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("h", "x"))
        h, x = in_types
        type_check.expect(h.dtype.kind == "f", x.dtype.kind == "f", h.dtype == x.dtype)

    def forward(self, inputs):
        h, x = inputs
        if self.flag_h is None:
            xp = _backend.get_array_module(x)
            flag = xp.random.rand(*x.shape) < self.zoneout_ratio
            self.flag_h = xp.asarray(flag).astype(x.dtype)
            self.flag_x = 1 - self.flag_h
        return (h * self.flag_h + x * self.flag_x,)

    def backward(self, indexes, gys):
        return gys[0] * self.flag_h, gys[0] * self.flag_x


def zoneout(h, x, ratio=0.5, **kwargs):
    """Keep elements of ``h`` with probability ``ratio``; only in training."""
    if kwargs:
        argument.check_unexpected_kwargs(kwargs, train=_TRAIN)
        argument.assert_kwargs_empty(kwargs)
    if config.train:
        return Zoneout(ratio).apply((h, x))[0]
    return as_variable(x)


def gaussian(mean, ln_var, **kwargs):
    """Draw from normal distributions, differentiably."""
    eps, return_eps = argument.parse_kwargs(
        kwargs, ("eps", None), ("return_eps", False)
    )
    F = functions()
    mean, ln_var = as_variable(mean), as_variable(ln_var)
    if eps is None:
        eps = mean.xp.random.standard_normal(ln_var.shape)
        eps = mean.xp.asarray(eps).astype(mean.dtype)
    y = mean + F.exp(ln_var * 0.5) * eps
    return (y, eps) if return_eps else y


def gumbel_softmax(log_pi, tau=0.1, axis=1):
    """Draw from categorical distributions, softly and differentiably."""
    log_pi = as_variable(log_pi)
    noise = log_pi.xp.random.gumbel(size=log_pi.shape).astype(log_pi.dtype)
    return functions().softmax((log_pi + noise) / tau, axis=axis)


class Forget(FunctionNode):
    """A function computed again in backward instead of kept."""

    def __init__(self, func):
        if not callable(func):
            raise TypeError("func must be callable")
        self.func = func

    def forward(self, inputs):
        self.retain_inputs(tuple(range(len(inputs))))
        with no_backprop_mode():
            ys = _as_tuple(self.func(*map(as_variable, inputs)))
        return tuple([y.array for y in ys])

    def backward(self, indexes, gys):
        if config.enable_backprop:
            raise RuntimeError(
                "double backpropagation in functions.forget is not allowed."
            )
        xs = [
            Variable(x.array, requires_grad=x.requires_grad)
            for x in self.get_retained_inputs()
        ]
        with force_backprop_mode():
            ys = _as_tuple(self.func(*xs))
        pairs = [(y, gy) for y, gy in zip(ys, gys, strict=True) if gy is not None]
        backward([y for y, _ in pairs], [gy for _, gy in pairs])
        return tuple([x.grad_var for x in xs])


def _as_tuple(ys):
    if isinstance(ys, tuple):
        if not all(hasattr(y, "raw_array") for y in ys):
            raise RuntimeError("func must return a Variable or a tuple of them")
        return ys
    if not hasattr(ys, "raw_array"):
        raise RuntimeError("func must return a Variable or a tuple of them")
    return (ys,)


def forget(func, *xs):
    """Compute ``func(*xs)`` keeping nothing; it runs again in backward."""
    if not callable(func):
        raise TypeError("func must be callable")
    ys = Forget(func).apply(tuple(map(as_variable, xs)))
    return ys[0] if len(ys) == 1 else ys


def batch_normalization(x, gamma, beta, **kwargs):
    """Normalize over the batch; running averages are updated in place."""
    eps, running_mean, running_var, decay, axis = argument.parse_kwargs(
        kwargs,
        ("eps", 2e-5),
        ("running_mean", None),
        ("running_var", None),
        ("decay", 0.9),
        ("axis", None),
        train=_TRAIN,
    )
    F = functions()
    x = as_variable(x)
    axis = _batch_axes(x, axis, gamma)
    mean = F.mean(x, axis)
    centred = x - F.broadcast_to(_wide(mean, x, axis), x.shape)
    var = F.mean(F.square(centred), axis)
    if running_mean is not None:
        n = x.size // max(gamma.size, 1)
        adjust = n / max(n - 1.0, 1.0)
        running_mean *= decay
        running_mean += (1 - decay) * mean.array.astype(running_mean.dtype)
        running_var *= decay
        running_var += (1 - decay) * adjust * var.array.astype(running_var.dtype)
    return _scaled(x, gamma, beta, mean, var, eps, axis)


def fixed_batch_normalization(x, gamma, beta, mean, var, eps=2e-5, axis=None):
    """Normalize by given means and variances."""
    x = as_variable(x)
    axis = _batch_axes(x, axis, gamma)
    return _scaled(x, gamma, beta, as_variable(mean), as_variable(var), eps, axis)


def _batch_axes(x, axis, gamma):
    if axis is None:
        return (0, *range(gamma.ndim + 1, x.ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def _wide(v, x, axis):
    shape = [1 if i in axis else n for i, n in enumerate(x.shape)]
    return functions().reshape(as_variable(v), tuple(shape))


def _scaled(x, gamma, beta, mean, var, eps, axis):
    F = functions()

    def wide(v):
        return F.cast(F.broadcast_to(_wide(v, x, axis), x.shape), x.dtype)

    return (x - wide(mean)) * wide(F.rsqrt(var + eps)) * wide(gamma) + wide(beta)


def _check_rows(in_types):
    x, gamma, beta = in_types
    type_check.expect(
        x.dtype.kind == "f",
        gamma.dtype.kind == "f",
        beta.dtype.kind == "f",
        x.ndim == 2,
        gamma.ndim == 1,
        beta.ndim == 1,
        gamma.shape[0] == beta.shape[0],
        x.shape[1] == gamma.shape[0],
    )


def _check_words(in_types):
    type_check._argname(in_types, ("x", "t", "W"))
    x, t, w = in_types
    type_check.expect(
        x.dtype.kind == "f",
        x.ndim == 2,
        t.dtype == np.int32,
        t.ndim == 1,
        x.shape[0] == t.shape[0],
        w.dtype == x.dtype,
        w.ndim == 2,
    )


def layer_normalization(x, gamma, beta, eps=1e-5):
    """Normalize each row."""
    check_inputs("LayerNormalization", _check_rows, x, gamma, beta)
    F = functions()
    x = as_variable(x)

    def wide(v):
        return F.broadcast_to(F.expand_dims(v, 1), x.shape)

    centred = x - wide(F.average(x, axis=1))
    std = F.sqrt(F.average(F.square(centred), axis=1) + eps)
    normal = centred / wide(std)
    return normal * F.broadcast_to(gamma, x.shape) + F.broadcast_to(beta, x.shape)


def negative_sampling(x, t, W, sampler, sample_size, reduce="sum", **kwargs):
    """Tell words from noise drawn by ``sampler``."""
    if reduce not in ("sum", "no"):
        raise ValueError(
            f"only 'sum' and 'no' are valid for 'reduce', but '{reduce}' is given"
        )
    (return_samples,) = argument.parse_kwargs(kwargs, ("return_samples", False))
    check_inputs("NegativeSamplingFunction", _check_words, x, t, W)
    F = functions()
    x, t = as_variable(x), _backend.raw(t)
    xp = x.xp
    samples = sampler((t.shape[0], sample_size + 1))
    samples = xp.asarray(samples).astype(np.int32, copy=False)
    ignored = t == -1
    samples[:, 0] = xp.where(ignored, 0, t)
    w = F.embed_id(samples, W)
    score = F.sum(F.broadcast_to(F.expand_dims(x, 1), w.shape) * w, axis=2)
    sign = xp.full(score.shape, 1, x.dtype)
    sign[:, 0] = -1
    loss = F.sum(F.softplus(score * sign), axis=1) * (~ignored).astype(x.dtype)
    loss = F.sum(loss) if reduce == "sum" else loss
    return (loss, samples) if return_samples else loss
