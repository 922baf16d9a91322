"""Losses of distances, of distributions and of covariances."""

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.functions.losses import check_reduce
from dyrnn.chainer.functions.nodes import Formula, functions, is_float
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import as_variable


def _expect_alike(x, *others):
    """Expect one type and one shape, of a row at least."""
    type_check.expect(x.dtype.kind == "f")
    for other in others:
        type_check.expect(x.dtype == other.dtype, x.shape == other.shape)
    type_check.expect(x.shape[0] > 0)


class _WithMargin(Formula):
    def __init__(self, margin, reduce="mean"):
        if margin <= 0:
            raise ValueError("margin should be positive value.")
        check_reduce(reduce)
        self.margin = margin
        self.reduce = reduce


class Contrastive(_WithMargin):
    """Pairs of one kind pulled together, others pushed apart."""

    names = ("x0", "x1", "y")

    def check_type_forward(self, in_types):
        type_check._argname(in_types, self.names)
        x0, x1, y = in_types
        _expect_alike(x0, x1)
        type_check.expect(
            y.dtype.kind == "i", x1.shape[0] == y.shape[0], x0.ndim == 2, y.ndim == 1
        )

    def compute(self, xp, x0, x1, y):
        square = ((x0 - x1) ** 2).sum(axis=1)
        gap = xp.maximum(self.margin - xp.sqrt(square), 0)
        loss = xp.where(y == 1, square, gap**2) / 2
        return loss.sum() / len(x0) if self.reduce == "mean" else loss

    def rule(self, gy, x0, x1, y):
        F = functions()
        xp, dtype = x0.xp, x0.dtype
        # Pairs of no distance have no direction; its inverse has to be a float16.
        floor = 5e-3 if dtype == np.float16 else 1e-7
        d = x0 - x1
        distance = F.sqrt(F.sum(F.square(d), axis=1, keepdims=True))
        push = F.relu(self.margin - distance) / F.maximum(
            distance, xp.full(distance.shape, floor, dtype)
        )
        alike = (y.array == 1)[:, None]
        factor = F.where(alike, xp.ones(distance.shape, dtype), -push)
        gy = gy / len(x0) if self.reduce == "mean" else F.expand_dims(gy, 1)
        g = F.broadcast_to(F.broadcast_to(gy, factor.shape) * factor, d.shape) * d
        return g, -g, None


def contrastive(x0, x1, y, margin=1, reduce="mean"):
    """Pull pairs of one kind together, push others apart."""
    return Contrastive(margin, reduce).apply((x0, x1, y))[0]


class Triplet(_WithMargin):
    """Positives nearer than negatives, by a margin."""

    names = ("anchor", "positive", "negative")

    def check_type_forward(self, in_types):
        type_check._argname(in_types, self.names)
        _expect_alike(*in_types)

    def _gap(self, anchor, positive, negative):
        squares = (anchor - positive) ** 2 - (anchor - negative) ** 2
        return squares.sum(axis=1) + self.margin

    def compute(self, xp, *xs):
        loss = xp.maximum(self._gap(*xs), 0)
        return loss.sum() / len(xs[0]) if self.reduce == "mean" else loss

    def rule(self, gy, anchor, positive, negative):
        F = functions()
        gap = self._gap(anchor.array, positive.array, negative.array)
        factor = anchor.xp.expand_dims(gap > 0, 1) * anchor.dtype.type(2)
        gy = gy / len(anchor) if self.reduce == "mean" else F.expand_dims(gy, 1)
        g = F.broadcast_to(gy, anchor.shape)
        g = g * anchor.xp.broadcast_to(factor, anchor.shape)
        return (
            g * (negative - positive),
            g * (positive - anchor),
            g * (anchor - negative),
        )


def triplet(anchor, positive, negative, margin=0.2, reduce="mean"):
    """Keep positives nearer than negatives."""
    return Triplet(margin, reduce).apply((anchor, positive, negative))[0]


def discriminative_margin_based_clustering_loss(
    embeddings,
    labels,
    delta_v,
    delta_d,
    max_embedding_dim,
    norm=1,
    alpha=1.0,
    beta=1.0,
    gamma=0.001,
):
    """Losses of pixels' embeddings: near their cluster's mean, the means apart.

    Parameters
    ----------
    embeddings : Variable, (B, ``max_embedding_dim``, height, width)
    labels : array, (B, height, width), int
        The cluster of each pixel, from 1 to ``max_embedding_dim``.
    delta_v, delta_d : float
        How far from its mean a pixel may be, and half of how far apart means shall be.
    norm : {1, 2}
        Which distance is meant.
    alpha, beta, gamma : float
        Factors of the three losses.

    Returns
    -------
    tuple of Variable
        Losses of the variance within clusters, of the distance between them, and of
        the size of their means.

    References
    ----------
    De Brabandere, Neven, Van Gool, "Semantic Instance Segmentation with a
    Discriminative Loss Function", 2017.
    """
    n = max_embedding_dim
    if n <= 0:
        raise ValueError("Max number of embeddings has to be positive!")
    if norm not in (1, 2):
        raise ValueError(
            f"For discriminative loss, norm can only be 1 or 2. Obtained: {norm}"
        )
    F = functions()
    x = as_variable(embeddings)
    xp, batch = x.xp, len(x)
    if x.shape[1] != n:
        raise AssertionError(f"{x.shape[1]} embeddings, max_embedding_dim is {n}")

    def size(v, axis):
        return F.sum(abs(v), axis) if norm == 1 else F.sqrt(F.sum(v**2, axis))

    # Axes: cluster, image, embedding, height, width.
    clusters = xp.arange(1, n + 1).reshape(-1, 1, 1, 1)
    mask = (_backend.raw(labels) == clusters)[:, :, None].astype(x.dtype)
    shape = (n, *x.shape)
    x = F.broadcast_to(F.expand_dims(x, 0), shape)
    mask = xp.broadcast_to(mask, shape)
    area = mask[:, :, 0].sum((2, 3))
    means = F.sum(x * mask, axis=(3, 4))
    means = means / xp.broadcast_to(xp.maximum(area, 1)[:, :, None], means.shape)
    centres = F.broadcast_to(F.reshape(means, (n, batch, n, 1, 1)), shape)
    spread = F.sum(F.relu(size((centres - x) * mask, 2) - delta_v) ** 2, (1, 2, 3))
    variance = F.sum(spread / xp.maximum(area.sum(1), 1)) / n
    one, other = xp.triu_indices(n, 1)
    gap = size(means[one] - means[other], 2)
    distance = F.sum(F.relu(2 * delta_d - gap) ** 2) / max(len(one) * batch, 1)
    regular = F.sum(size(means, (1, 2))) / (n * batch)
    return alpha * variance, beta * distance, gamma * regular


def _reduced(loss, reduce):
    if reduce not in ("sum", "mean", "no"):
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


def _centred(x):
    """Return columns less their means."""
    F = functions()
    return x - F.broadcast_to(F.mean(x, axis=0, keepdims=True), x.shape)


class CrossCovariance(Formula):
    """Covariance of the columns of two matrices."""

    names: tuple = ("y", "z")

    def __init__(self, reduce="half_squared_sum"):
        check_reduce(reduce, ("half_squared_sum", "no"))
        self.reduce = reduce

    def check_type_forward(self, in_types):
        type_check._argname(in_types, self.names)
        y, z = in_types
        type_check.expect(
            y.dtype.kind == "f",
            y.dtype == z.dtype,
            y.ndim == 2,
            z.ndim == 2,
            y.shape[0] == z.shape[0],
        )

    def compute(self, xp, y, z):
        covariance = (y - y.mean(axis=0)).T.dot(z - z.mean(axis=0)) / len(y)
        return self._reduced(covariance)

    def _reduced(self, covariance):
        return covariance if self.reduce == "no" else (covariance**2).sum() / 2

    def rule(self, gy, y, z):
        F = functions()
        y, z = _centred(y), _centred(z)
        if self.reduce != "no":
            covariance = F.matmul(y, z, transa=True) / len(y)
            gy = F.broadcast_to(gy, covariance.shape) * covariance
        gy = gy / len(y)
        return F.matmul(z, gy, transb=True), F.matmul(y, gy)


def cross_covariance(y, z, reduce="half_squared_sum"):
    """Covariance of the columns of two matrices."""
    return CrossCovariance(reduce).apply((y, z))[0]


class DeCov(CrossCovariance):
    """Covariances of each column of a matrix with the others."""

    names = ("h",)

    def check_type_forward(self, in_types):
        is_float(in_types, "h")
        type_check.expect(in_types[0].ndim == 2)

    def compute(self, xp, h):
        centred = h - h.mean(axis=0)
        others = 1 - xp.eye(h.shape[1], dtype=h.dtype)
        return self._reduced(centred.T.dot(centred) / len(h) * others)

    def rule(self, gy, h):
        F = functions()
        others = 1 - h.xp.eye(h.shape[1], dtype=h.dtype)
        if self.reduce == "no":
            gy = gy * others
        else:
            gy = F.broadcast_to(gy, others.shape) * others
        left, right = super().rule(gy, h, h)
        return left + right


def decov(h, reduce="half_squared_sum"):
    """Covariances of each column of a matrix with the others."""
    return DeCov(reduce).apply((h,))[0]
