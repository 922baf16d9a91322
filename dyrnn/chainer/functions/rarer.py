"""Functions that few scripts call."""

import numpy as np

from dyrnn import functions as engine
from dyrnn.chainer import _backend
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.losses import check_reduce
from dyrnn.chainer.functions.nodes import functions, is_float
from dyrnn.chainer.functions.reduction import checked_axis
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import Variable, as_variable


class Diagonal(FunctionNode):
    """A diagonal of two axes."""

    def __init__(self, offset, axis1, axis2):
        self.places = offset, axis1, axis2

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        _, axis1, axis2 = self.places
        ndim = in_types[0].ndim
        type_check.expect(max(axis1, axis2) < ndim, -ndim <= min(axis1, axis2))

    def forward(self, inputs):
        return (inputs[0].diagonal(*self.places),)

    def backward(self, indexes, gys):
        return DiagonalGrad(self.inputs[0].shape, *self.places).apply(gys)


class DiagonalGrad(FunctionNode):
    """Zeros, but for a diagonal."""

    def __init__(self, shape, *places):
        self.shape = shape
        self.places = places

    def forward(self, inputs):
        (gy,) = inputs
        xp = _backend.get_array_module(gy)
        flat = xp.arange(int(np.prod(self.shape))).reshape(self.shape)
        y = xp.zeros(flat.size, gy.dtype)
        y[flat.diagonal(*self.places)] = gy
        return (y.reshape(self.shape),)

    def backward(self, indexes, gys):
        return Diagonal(*self.places).apply(gys)


def diagonal(x, offset=0, axis1=0, axis2=1):
    """Return a diagonal of two axes, as the last axis."""
    return Diagonal(offset, axis1, axis2).apply((x,))[0]


def _check_image(in_types):
    type_check._argname(in_types, ("x",))
    type_check.expect(in_types[0].dtype.kind == "f", in_types[0].ndim == 4)


class Depth2Space(FunctionNode):
    """Channels turned into pixels."""

    def __init__(self, r):
        self.r = r

    def check_type_forward(self, in_types):
        _check_image(in_types)

    def forward(self, inputs):
        (x,) = inputs
        n, c, h, w = x.shape
        r = self.r
        y = x.reshape(n, r, r, c // r**2, h, w).transpose(0, 3, 4, 1, 5, 2)
        return (y.reshape(n, c // r**2, h * r, w * r),)

    def backward(self, indexes, gys):
        return (space2depth(gys[0], self.r),)


class Space2Depth(Depth2Space):
    """Pixels turned into channels."""

    def forward(self, inputs):
        (x,) = inputs
        n, c, h, w = x.shape
        r = self.r
        y = x.reshape(n, c, h // r, r, w // r, r).transpose(0, 3, 5, 1, 2, 4)
        return (y.reshape(n, r**2 * c, h // r, w // r),)

    def backward(self, indexes, gys):
        return (depth2space(gys[0], self.r),)


def depth2space(X, r):
    """Turn channels into pixels."""
    return Depth2Space(r).apply((X,))[0]


def space2depth(X, r):
    """Turn pixels into channels."""
    return Space2Depth(r).apply((X,))[0]


class Prod(FunctionNode):
    """Product over axes."""

    keepdims = False

    def __init__(self, axis=None, keepdims=False):
        self.axis = checked_axis(axis)
        self.keepdims = keepdims

    def check_type_forward(self, in_types):
        is_float(in_types, "x")
        for axis in self.axis or ():
            if axis >= 0:
                type_check.expect(axis < in_types[0].ndim)
            else:
                type_check.expect(-axis - 1 < in_types[0].ndim)

    def forward(self, inputs):
        self.retain_inputs((0,))
        (x,) = inputs
        y = x.prod(axis=self.axis, keepdims=self.keepdims)
        return (_backend.get_array_module(x).asarray(y),)

    def backward(self, indexes, gys):
        F = functions()
        (x,) = self.get_retained_inputs()
        kept = range(x.ndim) if self.axis is None else [a % x.ndim for a in self.axis]
        kept = list(kept)
        rest = [a for a in range(x.ndim) if a not in kept]
        order = (*rest, *kept)
        moved = F.transpose(x, order) if x.ndim else x
        head = tuple([x.shape[a] for a in rest])
        flat = F.reshape(moved, (*head, -1))
        n = flat.shape[-1]
        # The product of all others, without a division by what may be zero.
        tall = F.broadcast_to(F.expand_dims(flat, -2), (*head, n, n))
        eye = x.xp.broadcast_to(x.xp.eye(n, dtype=bool), tall.shape)
        others = F.where(eye, x.xp.ones(tall.shape, x.dtype), tall)
        gx = _products(others) * F.broadcast_to(
            F.expand_dims(F.reshape(gys[0], head), -1), flat.shape
        )
        gx = F.reshape(gx, moved.shape)
        return (F.transpose(gx, tuple(np.argsort(order))) if x.ndim else gx,)


def _products(x):
    """Return the products along the last axis, factor by factor."""
    F = functions()
    y = None
    for part in F.separate(x, x.ndim - 1):
        y = part if y is None else y * part
    return y


def prod(x, axis=None, keepdims=False):
    """Return the product over axes."""
    return Prod(axis, keepdims).apply((x,))[0]


def cumprod(x, axis=None):
    """Return the products of all elements up to each."""
    if axis is not None and not isinstance(axis, int):
        raise TypeError("axis must be int or None")
    return bridge(
        lambda a: engine.cumprod(a, axis), x, name="Cumprod", check=_check_float
    )


def _check_float(in_types):
    is_float(in_types, "x")


def contrastive(x0, x1, y, margin=1, reduce="mean"):
    """Pull pairs of one kind together, push others apart."""
    if margin <= 0:
        raise ValueError("margin should be positive value.")
    check_reduce(reduce)
    F = functions()
    x0, x1 = as_variable(x0), as_variable(x1)
    t = _backend.raw(y).astype(x0.dtype)
    square = F.sum(F.square(x0 - x1), axis=1)
    gap = F.maximum(margin - F.sqrt(square), x0.xp.zeros_like(square.array))
    loss = (square * t + F.square(gap) * (1 - t)) * 0.5
    return F.sum(loss) / len(x0) if reduce == "mean" else loss


def triplet(anchor, positive, negative, margin=0.2, reduce="mean"):
    """Keep positives nearer than negatives."""
    if margin <= 0:
        raise ValueError("margin should be positive value.")
    check_reduce(reduce)
    F = functions()
    anchor = as_variable(anchor)
    near = F.sum(F.square(anchor - positive), axis=1)
    far = F.sum(F.square(anchor - negative), axis=1)
    loss = F.relu(near - far + margin)
    return F.sum(loss) / len(anchor) if reduce == "mean" else loss


_SUMS = ("sum", "mean", "no")


def _reduced(loss, reduce):
    if reduce not in _SUMS:
        raise ValueError(
            "only 'sum', 'mean' and 'no' are valid for 'reduce', but "
            f"'{reduce}' is given"
        )
    F = functions()
    return {"sum": F.sum, "mean": F.mean, "no": lambda v: v}[reduce](loss)


def gaussian_kl_divergence(mean, ln_var, reduce="sum"):
    """Divergence of normal distributions from the standard one."""
    F = functions()
    mean, ln_var = as_variable(mean), as_variable(ln_var)
    loss = (F.square(mean) + F.exp(ln_var) - ln_var - 1) * 0.5
    return _reduced(loss, reduce)


def bernoulli_nll(x, y, reduce="sum"):
    """Negative log-likelihood of bits whose logits are ``y``."""
    F = functions()
    return _reduced(F.softplus(as_variable(y)) - as_variable(x) * y, reduce)


def gaussian_nll(x, mean, ln_var, reduce="sum"):
    """Negative log-likelihood of normal distributions."""
    F = functions()
    x, ln_var = as_variable(x), as_variable(ln_var)
    square = F.square(x - mean) * F.exp(-ln_var)
    return _reduced((ln_var + square + float(np.log(2 * np.pi))) * 0.5, reduce)


def cross_covariance(y, z, reduce="half_squared_sum"):
    """Covariance of the columns of two matrices."""
    check_reduce(reduce, ("half_squared_sum", "no"))
    F = functions()
    y, z = as_variable(y), as_variable(z)
    y = y - F.broadcast_to(F.mean(y, axis=0, keepdims=True), y.shape)
    z = z - F.broadcast_to(F.mean(z, axis=0, keepdims=True), z.shape)
    covariance = F.matmul(y, z, transa=True) / len(y)
    if reduce == "no":
        return covariance
    return F.sum(F.square(covariance)) * 0.5


def decov(h, reduce="half_squared_sum"):
    """Covariances of the columns of a matrix."""
    check_reduce(reduce, ("half_squared_sum", "no"))
    F = functions()
    h = as_variable(h)
    h = h - F.broadcast_to(F.mean(h, axis=0, keepdims=True), h.shape)
    covariance = F.matmul(h, h, transa=True) / len(h)
    covariance = covariance * (1 - h.xp.eye(h.shape[1], dtype=h.dtype))
    if reduce == "no":
        return covariance
    return F.sum(F.square(covariance)) * 0.5


def _summary(y, t, label_num=None, beta=1.0, ignore_label=-1):
    y, t = _backend.raw(y), _backend.raw(t)
    xp = _backend.get_array_module(y)
    n = label_num if label_num is not None else int(xp.amax(t)) + 1
    kept = (t != ignore_label).ravel()
    t = t.ravel()[kept]
    guess = xp.argmax(y, axis=1).ravel()[kept]
    counts = xp.zeros((3, n), np.int64)
    for label in range(n):
        is_label, is_guess = t == label, guess == label
        counts[:, label] = is_label.sum(), is_guess.sum(), (is_label & is_guess).sum()
    support, relevant, right = counts
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = right / relevant
        recall = right / support
        both = (1 + beta**2) * precision * recall
        score = both / (beta**2 * precision + recall)
    found = (precision, recall, score, support)
    return tuple([Variable(a, requires_grad=False) for a in found])


def classification_summary(y, t, label_num=None, beta=1.0, ignore_label=-1):
    """Return precision, recall, F score and support of each class."""
    return _summary(y, t, label_num, beta, ignore_label)


def precision(y, t, label_num=None, ignore_label=-1):
    """Return precision and support of each class."""
    found = _summary(y, t, label_num, 1.0, ignore_label)
    return found[0], found[3]


def recall(y, t, label_num=None, ignore_label=-1):
    """Return recall and support of each class."""
    found = _summary(y, t, label_num, 1.0, ignore_label)
    return found[1], found[3]


def f1_score(y, t, label_num=None, ignore_label=-1):
    """Return F1 score and support of each class."""
    found = _summary(y, t, label_num, 1.0, ignore_label)
    return found[2], found[3]
