"""Noise, drawn from the global generator of NumPy or CuPy.

What a node has drawn stays in it (``mask``, ``flag_x``): applied once more, it uses the
same values.
"""

from functools import partial

from dyrnn import functions as core
from dyrnn.chainer import _backend
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.configuration import config
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import (
    are_alike,
    functions,
    is_float,
)
from dyrnn.chainer.utils import argument, type_check
from dyrnn.chainer.variable import Variable, as_variable
from dyrnn.chainer.worlds import CoreNode, check_inputs
from dyrnn.functions import noise


class Dropout(CoreNode):
    """Elements set to zero at random, the others scaled up."""

    kind = noise.Dropout

    def __init__(self, dropout_ratio, mask=None, return_mask=False):
        if not 0.0 <= dropout_ratio < 1.0:
            raise ValueError("dropout_ratio must be in the range [0, 1)")
        super().__init__(dropout_ratio, mask)
        self.dropout_ratio = dropout_ratio

    @property
    def mask(self):
        return self.rule.mask

    def check_type_forward(self, in_types):
        is_float(in_types, "x")

    def forward(self, inputs):
        if self.mask is None:
            (x,) = inputs
            xp = _backend.get_array_module(x)
            scale = x.dtype.type(1.0 / (1 - self.dropout_ratio))
            is_kept = xp.random.rand(*x.shape) >= self.dropout_ratio
            self.rule.mask = scale * xp.asarray(is_kept)
        return self.run(*inputs)


def dropout(x, ratio=0.5, train=None, **kwargs):
    """Set elements to zero with probability ``ratio``; only in training.

    ``train`` is version 1's way to say that this is, or is not, training.
    """
    if train is None:
        train = config.train
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
        self.flag_x = None

    def check_type_forward(self, in_types):
        is_float(in_types, "h", "x")

    def forward(self, inputs):
        h, x = inputs
        if self.flag_x is None:
            xp = _backend.get_array_module(x)
            self.flag_x = xp.asarray(xp.random.rand(*x.shape) >= self.zoneout_ratio)
            self.flag_h = ~self.flag_x
        return (h * self.flag_h + x * self.flag_x,)

    def backward(self, indexes, gys):
        return gys[0] * self.flag_h, gys[0] * self.flag_x


def zoneout(h, x, ratio=0.5, **kwargs):
    """Keep elements of ``h`` with probability ``ratio``; only in training.

    ``train`` is version 1's way to say that this is, or is not, training.
    """
    train = kwargs.pop("train", config.train)
    argument.assert_kwargs_empty(kwargs)
    if train:
        return Zoneout(ratio).apply((h, x))[0]
    return as_variable(x)


def _check_gaussian(in_types):
    are_alike(in_types, "mean", "ln_var")


def gaussian(mean, ln_var, **kwargs):
    """Draw from normal distributions, differentiably."""
    eps, return_eps = argument.parse_kwargs(
        kwargs, ("eps", None), ("return_eps", False)
    )
    if eps is None:
        xp = _backend.get_array_module(_backend.raw(mean))
        eps = xp.asarray(xp.random.standard_normal(ln_var.shape), mean.dtype)
    function = partial(core.gaussian, eps=eps)
    y = bridge(function, mean, ln_var, name="Gaussian", check=_check_gaussian)
    return (y, eps) if return_eps else y


def gumbel_softmax(log_pi, tau=0.1, axis=1):
    """Draw from categorical distributions, softly and differentiably."""
    log_pi = as_variable(log_pi)
    if not log_pi.ndim:
        return Variable(log_pi.xp.ones((), log_pi.dtype))
    noise = log_pi.xp.random.gumbel(size=log_pi.shape).astype(log_pi.dtype)
    return functions().softmax((log_pi + noise) / tau, axis=axis)


def _check_dropconnect(in_types):
    n = in_types.size()
    type_check.expect(n >= 2, n <= 3)
    x, w = in_types[:2]
    type_check._argname((x, w), ("x", "W"))
    type_check.expect(
        x.dtype.kind == "f",
        w.dtype.kind == "f",
        x.ndim >= 2,
        w.ndim == 2,
        type_check.prod(x.shape[1:]) == w.shape[1],
    )
    if type_check.eval(n) == 3:
        b = in_types[2]
        type_check._argname((b,), ("b",))
        type_check.expect(b.dtype == x.dtype, b.ndim == 1, b.shape[0] == w.shape[0])


def _check_mask(mask, expected):
    mask = type_check.Variable(mask.shape, "mask.shape")
    type_check.expect(mask == expected)


def simplified_dropconnect(
    x, W, b=None, ratio=0.5, train=True, mask=None, use_batchwise_mask=True
):
    """Linear map of which weights are dropped with probability ``ratio``.

    The mask is one for each row of the batch, (B, O, I), or for all, (O, I).
    """
    if not 0.0 <= ratio < 1.0:
        raise ValueError("ratio must be in the range [0, 1)")
    ratio = ratio if train else 0
    inputs = (x, W) if b is None else (x, W, b)
    check_inputs("SimplifiedDropconnect", _check_dropconnect, *inputs)
    F = functions()
    W = as_variable(W)
    shape = (len(x), *W.shape) if use_batchwise_mask else W.shape
    if mask is None:
        mask = W.xp.random.rand(*shape) >= ratio
    elif config.type_check:
        _check_mask(mask, shape)
    W = W * (_backend.raw(mask) * W.dtype.type(1.0 / (1 - ratio)))
    if not use_batchwise_mask:
        return F.linear(x, W, b)
    y = F.matmul(W, F.reshape(x, (len(x), -1, 1)))
    y = F.cast(F.reshape(y, shape[:2]), x.dtype)
    return y if b is None else y + b
