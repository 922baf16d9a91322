"""Channels made uncorrelated, of mean 0 and variance 1."""

from dyrnn.chainer.functions.nodes import Arrangement, check_inputs, functions
from dyrnn.chainer.functions.reduction import check_batch
from dyrnn.chainer.utils import argument, type_check
from dyrnn.chainer.variable import as_variable


def _groups_first(ndim):
    return (1, 0, *range(2, ndim))


def _grouped(x, groups):
    """Return an array or variable (B, channels, ...) as (groups, channels, B...)."""
    y = x.transpose(_groups_first(x.ndim))
    return y.reshape((groups, x.shape[1] // groups, -1))


def _ungrouped(y, shape):
    """Undo ``_grouped``."""
    y = y.reshape((shape[1], shape[0], *shape[2:]))
    return y.transpose(_groups_first(len(shape)))


class DecorrelatedBatchNormalization(Arrangement):
    """``W (x - mean)``, W the inverse root of the covariance within each group."""

    def __init__(self, groups=16, eps=2e-5, mean=None, projection=None, decay=0.9):
        self.groups = groups
        self.running_mean = mean
        self.running_projection = projection
        self.eps = eps
        self.decay = decay

    def check_type_forward(self, in_types):
        check_batch(in_types)
        type_check.expect(in_types[0].shape[1] % self.groups == 0)

    def compute(self, xp, x):
        rows = _grouped(x, self.groups)
        mean = rows.mean(axis=2, keepdims=True)
        self.rows = rows = rows - mean
        n = rows.shape[2]
        covariance = rows @ rows.swapaxes(1, 2) / x.dtype.type(n)
        covariance += x.dtype.type(self.eps) * xp.eye(rows.shape[1], dtype=x.dtype)
        values, self.vectors = xp.linalg.eigh(covariance)
        self.roots = xp.sqrt(values)[:, None]
        self.projection = self.vectors / self.roots @ self.vectors.swapaxes(1, 2)
        rest = 1 - self.decay
        if self.running_mean is not None:
            self.running_mean *= self.decay
            self.running_mean += rest * mean[..., 0]
        if self.running_projection is not None:
            unbiased = self.projection * (n / max(n - 1.0, 1.0))
            self.running_projection *= self.decay
            self.running_projection += rest * unbiased
        return _ungrouped(self.projection @ rows, x.shape)

    def rule(self, gy):
        return _WhiteningGradient(self).apply((gy,))[0]


class _WhiteningGradient(Arrangement):
    def __init__(self, whitening):
        self.whitening = whitening

    def compute(self, xp, gy):
        node = self.whitening
        rows, vectors, roots = node.rows, node.vectors, node.roots
        back = vectors.swapaxes(1, 2)
        gy_rows = _grouped(gy, node.groups)
        # Among the eigenvectors, a change of the covariance changes its inverse root
        # by as much, times (1/r_i - 1/r_j) / (r_i^2 - r_j^2), which is:
        columns = roots.swapaxes(1, 2)
        slope = -1 / (roots * columns * (roots + columns))
        change = back @ (gy_rows @ rows.swapaxes(1, 2)) @ vectors
        change = slope * (change + change.swapaxes(1, 2))
        gx = node.projection @ gy_rows
        gx += vectors @ change @ back @ rows / gy.dtype.type(rows.shape[2])
        gx -= gx.mean(axis=2, keepdims=True)
        return _ungrouped(gx, gy.shape)

    def rule(self, gy):
        raise NotImplementedError(
            "Double backward is not implemented for decorrelated batch normalization."
        )


def decorrelated_batch_normalization(x, **kwargs):
    """Make the channels of each group uncorrelated over the batch."""
    arguments = argument.parse_kwargs(
        kwargs,
        ("groups", 16),
        ("eps", 2e-5),
        ("running_mean", None),
        ("running_projection", None),
        ("decay", 0.9),
    )
    return DecorrelatedBatchNormalization(*arguments).apply((x,))[0]


def _check_projection(in_types):
    type_check._argname(in_types, ("x", "mean", "projection"))
    x, mean, projection = in_types
    type_check.expect(
        x.dtype.kind == "f",
        mean.dtype == x.dtype,
        projection.dtype == x.dtype,
        x.ndim >= 2,
    )


def fixed_decorrelated_batch_normalization(x, mean, projection, groups=16):
    """Multiply the channels of each group, less their means, by a matrix."""
    inputs = (x, mean, projection)
    check_inputs("FixedDecorrelatedBatchNormalization", _check_projection, *inputs)
    F = functions()
    x, mean, projection = [as_variable(v) for v in inputs]
    rows = _grouped(x, groups) - F.expand_dims(mean, 2)
    return _ungrouped(F.matmul(projection, rows), x.shape)
