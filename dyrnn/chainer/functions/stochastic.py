"""Noise, drawn from the global generator of NumPy or CuPy.

What a node has drawn stays in it (``mask``, ``flag_x``, ``eps``, ``r``): applied once
more, it uses the same values.
"""

from dyrnn.chainer import _backend
from dyrnn.chainer.configuration import config
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import Arrangement, are_alike, functions, is_float
from dyrnn.chainer.utils import argument, type_check
from dyrnn.chainer.utils.misc import force_array
from dyrnn.chainer.variable import Variable, as_variable


class Dropout(Arrangement):
    """Elements set to zero at random, the others scaled up."""

    def __init__(self, dropout_ratio, mask=None, return_mask=False):
        if not 0.0 <= dropout_ratio < 1.0:
            raise ValueError("dropout_ratio must be in the range [0, 1)")
        self.dropout_ratio = dropout_ratio
        self.mask = mask
        self.return_mask = return_mask

    def check_type_forward(self, in_types):
        is_float(in_types, "x")

    def compute(self, xp, x):
        if self.mask is None:
            scale = x.dtype.type(1.0 / (1 - self.dropout_ratio))
            self.mask = scale * xp.asarray(
                xp.random.rand(*x.shape) >= self.dropout_ratio
            )
        return xp.asarray(x * self.mask)

    def rule(self, gy):
        return gy * self.mask


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


class Gaussian(FunctionNode):
    """``mean + exp(ln_var / 2) eps``, eps from the standard normal distribution."""

    def __init__(self, eps=None):
        self.eps = eps

    def check_type_forward(self, in_types):
        are_alike(in_types, "mean", "ln_var")

    def forward(self, inputs):
        self.retain_inputs((1,))
        mean, ln_var = inputs
        xp = _backend.get_array_module(mean)
        if self.eps is None:
            eps = xp.random.standard_normal(ln_var.shape)
            self.eps = xp.asarray(eps).astype(mean.dtype, copy=False)
        self.noise = xp.exp(ln_var * mean.dtype.type(0.5)) * self.eps
        return (force_array(mean + self.noise),)

    def backward(self, indexes, gys):
        (ln_var,) = self.get_retained_inputs()
        noise = functions().exp(ln_var * 0.5) * self.eps
        return gys[0], gys[0] * noise * 0.5


def gaussian(mean, ln_var, **kwargs):
    """Draw from normal distributions, differentiably."""
    eps, return_eps = argument.parse_kwargs(
        kwargs, ("eps", None), ("return_eps", False)
    )
    node = Gaussian(eps)
    (y,) = node.apply((mean, ln_var))
    return (y, node.eps) if return_eps else y


def gumbel_softmax(log_pi, tau=0.1, axis=1):
    """Draw from categorical distributions, softly and differentiably."""
    log_pi = as_variable(log_pi)
    if not log_pi.ndim:
        return Variable(log_pi.xp.ones((), log_pi.dtype))
    noise = log_pi.xp.random.gumbel(size=log_pi.shape).astype(log_pi.dtype)
    return functions().softmax((log_pi + noise) / tau, axis=axis)


class RReLU(Arrangement):
    """Rectifier with random slopes below zero; their mean outside of training."""

    def __init__(self, lower=1.0 / 8, upper=1.0 / 3, r=None):
        for name, value in (("lower", lower), ("upper", upper)):
            if not 0.0 <= value < 1.0:
                raise ValueError(f"{name} must be in the range [0, 1)")
        if not lower < upper:
            raise ValueError("lower must be less than upper")
        self.lower = lower
        self.upper = upper
        self.r = r

    def check_type_forward(self, in_types):
        is_float(in_types, "x")
        if self.r is not None:
            type_check.expect(
                in_types[0].dtype == self.r.dtype, in_types[0].shape == self.r.shape
            )

    def compute(self, xp, x):
        if not config.train:
            self.r = xp.full(x.shape, (self.lower + self.upper) / 2, x.dtype)
        elif self.r is None:
            r = xp.random.uniform(self.lower, self.upper, x.shape)
            self.r = xp.asarray(r).astype(x.dtype, copy=False)
        y = xp.where(x >= 0, x, x * self.r)
        self.slope = xp.where(y >= 0, x.dtype.type(1), self.r)
        return y

    def rule(self, gy):
        return gy * self.slope


def rrelu(x, l=1.0 / 8, u=1.0 / 3, **kwargs):
    """Rectifier with slopes from ``l`` to ``u`` below zero, drawn for each element.

    Outside of training, all slopes are the mean of both.
    """
    r, return_r = argument.parse_kwargs(kwargs, ("r", None), ("return_r", False))
    node = RReLU(l, u, r)
    (y,) = node.apply((x,))
    return (y, node.r) if return_r else y


class SimplifiedDropconnect(FunctionNode):
    """Linear map of which weights are dropped at random, the others scaled up.

    The mask is one for each row of the batch, (B, O, I), or for all, (O, I).
    """

    def __init__(self, ratio, mask=None, use_batchwise_mask=True):
        if not 0.0 <= ratio < 1.0:
            raise ValueError("ratio must be in the range [0, 1)")
        self.ratio = ratio
        self.mask = mask
        self.use_batchwise_mask = use_batchwise_mask

    def check_type_forward(self, in_types):
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
        if self.mask is not None and self.use_batchwise_mask:
            type_check.expect(
                self.mask.shape[0] == x.shape[0], self.mask.shape[1:] == w.shape
            )
        elif self.mask is not None:
            type_check.expect(self.mask.shape == w.shape)

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        x, w = inputs[:2]
        xp = _backend.get_array_module(x)
        if self.mask is None:
            shape = (len(x), *w.shape) if self.use_batchwise_mask else w.shape
            self.mask = xp.random.rand(*shape) >= self.ratio
        self.mask = _backend.raw(self.mask)
        self.factor = self.mask * w.dtype.type(1.0 / (1 - self.ratio))
        y = xp.matmul(w * self.factor, x.reshape(len(x), -1, 1))[..., 0]
        y = y.astype(x.dtype, copy=False)
        return (y + inputs[2] if len(inputs) == 3 else y,)

    def backward(self, indexes, gys):
        F = functions()
        x, w = self.get_retained_inputs()
        (gy,) = gys

        def of_x():
            gx = F.matmul(F.expand_dims(gy, 1), w * self.factor)
            return F.cast(F.reshape(gx, x.shape), x.dtype)

        def of_w():
            rows = F.reshape(x, (len(x), 1, -1))
            gw = F.matmul(F.expand_dims(gy, 2), rows) * self.factor
            return F.cast(F.sum(gw, axis=0), w.dtype)

        rules = (of_x, of_w, lambda: F.sum(gy, axis=0))
        return tuple([rules[i]() for i in indexes])


def simplified_dropconnect(
    x, W, b=None, ratio=0.5, train=True, mask=None, use_batchwise_mask=True
):
    """Linear map of which weights are dropped with probability ``ratio``."""
    node = SimplifiedDropconnect(ratio if train else 0, mask, use_batchwise_mask)
    return node.apply((x, W) if b is None else (x, W, b))[0]
