"""Elements brought to mean 0 and variance 1, or rows to length 1."""

import itertools
import math
import operator
import warnings

from dyrnn.chainer import _backend
from dyrnn.chainer.configuration import config
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import Formula, check_inputs, functions
from dyrnn.chainer.functions.reduction import check_batch
from dyrnn.chainer.utils import argument, type_check
from dyrnn.chainer.variable import as_variable

_ZERO = "F.batch_normalization will always output a zero tensor for such batches."


class _Normalization(FunctionNode):
    """Elements brought to mean 0 and variance 1, then scaled and shifted.

    The gradient needs no more than ``x``, its means and its deviations, where a
    composition of functions would keep seven arrays of its size.
    """

    mean = var = inv_std = None

    def __init__(self, eps):
        self.eps = eps

    def layout(self, x_shape, gamma_shape):
        """Return a shape to see ``x`` in, the axes to normalize, the columns' shape."""
        raise NotImplementedError

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        x, gamma, beta = inputs
        xp = _backend.get_array_module(x)
        shape, axis, wide = self.layout(x.shape, gamma.shape)
        dtype = xp.promote_types(x.dtype, gamma.dtype)
        rows = x.reshape(shape)
        self.mean = rows.mean(axis=axis, dtype=dtype, keepdims=True)
        self.var = rows.var(axis=axis, dtype=dtype, keepdims=True)
        self.inv_std = 1 / xp.sqrt(self.var + dtype.type(self.eps))
        y = (rows - self.mean) * self.inv_std * gamma.reshape(wide) + beta.reshape(wide)
        return (y.reshape(x.shape).astype(x.dtype, copy=False),)

    def backward(self, indexes, gys):
        F = functions()
        x, gamma = given = self.get_retained_inputs()
        shape, axis, wide = self.layout(x.shape, gamma.shape)
        shapes = (shape, wide, shape)
        arrays = zip((*given, *gys), shapes, strict=True)
        rows, scale, gy = [F.cast(v.reshape(s), self.mean.dtype) for v, s in arrays]
        mean, inv_std = self.mean, self.inv_std
        if config.enable_backprop:  # they depend on x
            mean = F.mean(rows, axis, keepdims=True)
            var = F.mean(F.square(rows - mean), axis, keepdims=True)
            inv_std = F.rsqrt(var + self.eps)
        normal = (rows - mean) * inv_std
        ggamma = F.sum_to(gy * normal, wide)
        gbeta = F.sum_to(gy, wide)
        g = gy * scale
        common = F.sum(g, axis, keepdims=True)
        common = common + normal * F.sum(g * normal, axis, keepdims=True)
        gx = (g - common / (x.size // max(mean.size, 1))) * inv_std
        found = zip((gx, ggamma, gbeta), (x, gamma, gamma), strict=True)
        return tuple([F.cast(g.reshape(v.shape), v.dtype) for g, v in found])


class BatchNormalization(_Normalization):
    """Elements normalized over the batch; running averages are updated in place."""

    def __init__(self, eps=2e-5, mean=None, var=None, decay=0.9, axis=None):
        super().__init__(eps)
        self.running_mean = mean
        self.running_var = var
        self.decay = decay
        self.axis = _ascending(axis)

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x", "gamma", "beta"))
        _check_columns(in_types, self.axis)

    def layout(self, x_shape, gamma_shape):
        axis = _axes(len(x_shape), len(gamma_shape), self.axis)
        return x_shape, axis, _wide(x_shape, axis)

    def forward(self, inputs):
        x, gamma, _ = inputs
        self.axis = _axes(x.ndim, gamma.ndim, self.axis)
        self._warn_of_single_elements(x.shape)
        outputs = super().forward(inputs)
        self._update_averages(x.size // max(gamma.size, 1), gamma.shape)
        return outputs

    def _update_averages(self, n, shape):
        if self.running_mean is not None:
            self.running_mean *= self.decay
            self.running_mean += (1 - self.decay) * self.mean.reshape(shape)
        if self.running_var is not None:
            unbiased = self.var.reshape(shape) * (n / max(n - 1.0, 1.0))
            self.running_var *= self.decay
            self.running_var += (1 - self.decay) * unbiased

    def _warn_of_single_elements(self, shape):
        if any(shape[i] != 1 for i in self.axis):
            return
        if 0 in self.axis:
            text = (
                "A batch with no more than one sample has been given to "
                f"F.batch_normalization. {_ZERO} Was chainer.config.train left on in "
                "an evaluation, or is the last batch of an iterator this small?"
            )
        else:
            text = (
                "F.batch_normalization received a batch with single dimensions along "
                f"all axes that are used for aggregating statistics. {_ZERO}"
            )
        warnings.warn(text, UserWarning, stacklevel=4)


def batch_normalization(x, gamma, beta, **kwargs):
    """Normalize over the batch; running averages are updated in place."""
    eps, running_mean, running_var, decay, axis = argument.parse_kwargs(
        kwargs,
        ("eps", 2e-5),
        ("running_mean", None),
        ("running_var", None),
        ("decay", 0.9),
        ("axis", None),
        train=argument.moved_to_config("train"),
    )
    node = BatchNormalization(eps, running_mean, running_var, decay, axis)
    return node.apply((x, gamma, beta))[0]


class FixedBatchNormalization(FunctionNode):
    """Elements normalized by given means and variances."""

    def __init__(self, eps=2e-5, axis=None):
        self.eps = eps
        self.axis = _ascending(axis)

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x", "gamma", "beta", "mean", "var"))
        _check_columns(in_types, self.axis)

    def forward(self, inputs):
        self.retain_inputs((0, 1, 3, 4))
        x, gamma = inputs[:2]
        xp = _backend.get_array_module(x)
        self.axis = _axes(x.ndim, gamma.ndim, self.axis)
        wide = _wide(x.shape, self.axis)
        gamma, beta, mean, var = [v.reshape(wide) for v in inputs[1:]]
        y = (x - mean) / xp.sqrt(var + var.dtype.type(self.eps)) * gamma + beta
        return (y.astype(x.dtype, copy=False),)

    def backward(self, indexes, gys):
        F = functions()
        given = self.get_retained_inputs()
        x, gamma, mean, var = given
        dtype = _backend.get_array_module(x.array).promote_types(x.dtype, gamma.dtype)
        wide = _wide(x.shape, self.axis)
        x, gy = F.cast(x, dtype), F.cast(gys[0], dtype)
        gamma, mean, var = [F.cast(v.reshape(wide), dtype) for v in (gamma, mean, var)]
        inv_std = F.rsqrt(var + self.eps)
        gbeta = F.sum_to(gy, wide)
        ggamma = F.sum_to(gy * ((x - mean) * inv_std), wide)
        slope = gamma * inv_std
        gvar = slope * inv_std * ggamma * -0.5
        found = (gy * slope, ggamma, gbeta, -slope * gbeta, gvar)
        like = (given[0], given[1], given[1], given[2], given[3])
        pairs = zip(found, like, strict=True)
        return tuple([F.cast(g.reshape(v.shape), v.dtype) for g, v in pairs])


def fixed_batch_normalization(x, gamma, beta, mean, var, eps=2e-5, axis=None):
    """Normalize by given means and variances."""
    node = FixedBatchNormalization(eps, axis)
    return node.apply((x, gamma, beta, mean, var))[0]


def batch_renormalization(
    x,
    gamma,
    beta,
    rmax,
    dmax,
    eps=2e-5,
    running_mean=None,
    running_var=None,
    decay=0.9,
    update_statistics=False,
):
    """Normalize over the batch, then correct towards the running averages.

    The correction, a factor from ``1 / rmax`` to ``rmax`` and a shift up to ``dmax``,
    counts as constant in the gradient.
    """
    if running_mean is None:
        raise TypeError("running_mean is required")
    if running_var is None:
        raise TypeError("running_var is required")
    x, gamma, beta = as_variable(x), as_variable(gamma), as_variable(beta)
    xp, axis = x.xp, _axes(x.ndim, gamma.ndim, None)
    mean = x.array.mean(axis=axis, dtype=gamma.dtype)
    std = xp.sqrt(x.array.var(axis=axis, dtype=gamma.dtype) + gamma.dtype.type(eps))
    running_std = xp.sqrt(running_var + running_var.dtype.type(eps))
    r = xp.clip(std / running_std, 1.0 / rmax, rmax)
    d = xp.clip((mean - running_mean) / running_std, -dmax, dmax)
    averages = (running_mean, running_var) if update_statistics else (None, None)
    node = BatchNormalization(eps, *averages, decay)
    return node.apply((x, gamma * r, beta + gamma * d))[0]


def fixed_batch_renormalization(x, gamma, beta, mean, var, eps=2e-5):
    """Normalize by given means and variances: ``fixed_batch_normalization``."""
    warnings.warn(
        "fixed_batch_renormalization is deprecated. "
        "Use fixed_batch_normalization instead.",
        DeprecationWarning,
        stacklevel=1,
    )
    return fixed_batch_normalization(x, gamma, beta, mean, var, eps)


def _ascending(axis):
    """Return an argument as None or a tuple of ascending axes."""
    if axis is None:
        return None
    if isinstance(axis, (tuple, list)):
        if any(b <= a for a, b in itertools.pairwise(axis)):
            raise RuntimeError("numbers in axis must be sorted in ascending order")
        return tuple(axis)
    try:
        return (operator.index(axis),)
    except TypeError:
        raise RuntimeError("axis must be int, tuple of int or None") from None


def _axes(ndim, n_columns, axis):
    """Return the axes to normalize over: all but the columns'."""
    return (0, *range(n_columns + 1, ndim)) if axis is None else axis


def _wide(shape, axis):
    """Return a shape with single elements along ``axis``."""
    return tuple([1 if i in axis else n for i, n in enumerate(shape)])


def _check_columns(in_types, axis):
    """Expect parameters as long as the axes of ``x`` that are not in ``axis``."""
    x, gamma, *others = in_types
    type_check.expect(x.dtype.kind == "f", gamma.dtype.kind == "f")
    for other in others:
        type_check.expect(gamma.dtype == other.dtype, gamma.shape == other.shape)
    ndim = type_check.eval(x.ndim)
    axis = _axes(ndim, type_check.eval(gamma.ndim), axis)
    type_check.expect(x.ndim >= len(axis))
    columns = [i for i in range(ndim) if i not in axis]
    type_check.expect(gamma.ndim == len(columns))
    for i, column in enumerate(columns):
        type_check.expect(x.shape[column] == gamma.shape[i])


class LayerNormalization(_Normalization):
    """Rows normalized, their columns scaled and shifted."""

    def __init__(self, eps=1e-5):
        super().__init__(eps)

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x", "gamma", "beta"))
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

    def layout(self, x_shape, gamma_shape):
        return x_shape, (1,), (1, x_shape[1])


def layer_normalization(x, gamma, beta, eps=1e-5):
    """Normalize each row."""
    return LayerNormalization(eps).apply((x, gamma, beta))[0]


class GroupNormalization(_Normalization):
    """Rows normalized within groups of channels, their channels scaled and shifted."""

    def __init__(self, groups, eps=1e-5):
        if not isinstance(groups, int):
            raise TypeError(f"groups must be an int, but is {groups!r}")
        super().__init__(eps)
        self.groups = groups

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x", "gamma", "beta"))
        x, gamma, beta = in_types
        type_check.expect(
            x.dtype.kind == "f",
            x.ndim >= 2,
            gamma.ndim == 1,
            beta.ndim == 1,
            gamma.dtype.kind == "f",
            gamma.dtype == beta.dtype,
            gamma.shape == beta.shape,
            x.shape[1] == gamma.shape[0],
        )

    def layout(self, x_shape, gamma_shape):
        n, channels = x_shape[:2]
        if channels % self.groups:
            raise ValueError(
                f"{channels} channels are not divisible by groups={self.groups}"
            )
        columns = (self.groups, channels // self.groups)
        rest = math.prod(x_shape[2:])
        return (n, *columns, rest), (2, 3), (1, *columns, 1)


def group_normalization(x, groups, gamma, beta, eps=1e-5):
    """Normalize each row within ``groups`` of its channels, then scale and shift."""
    return GroupNormalization(groups, eps).apply((x, gamma, beta))[0]


class NormalizeL2(Formula):
    """Elements divided by the Euclidean norm over axes."""

    def __init__(self, eps=1e-5, axis=1):
        self.eps = eps
        self.axis = (axis,) if isinstance(axis, int) else axis

    def compute(self, xp, x):
        norm = xp.sqrt(xp.square(x).sum(axis=self.axis, keepdims=True))
        return x / (norm + x.dtype.type(self.eps))

    def rule(self, gy, x):
        F = functions()
        square = F.sum(F.square(x), axis=self.axis, keepdims=True)
        # The norm has no gradient at zero: there, take that of 1 and drop it.
        is_zero = square.array == 0
        norm = F.sqrt(square + is_zero.astype(x.dtype))
        total = (norm - is_zero.astype(x.dtype)) + self.eps
        along = F.sum(x * gy, axis=self.axis, keepdims=True) / norm
        along = along * (~is_zero).astype(x.dtype)
        return (gy * total - along * x) / total**2


def normalize(x, eps=1e-5, axis=1):
    """Divide by the Euclidean norm over axes."""
    return NormalizeL2(eps, axis).apply((x,))[0]


def local_response_normalization(x, n=5, k=2, alpha=1e-4, beta=0.75):
    """Divide by ``(k + alpha s) ** beta``, s the squares of ``n`` channels around."""
    check_inputs("LocalResponseNormalization", check_batch, x)
    F = functions()
    x = as_variable(x)
    half, channels = n // 2, x.shape[1]
    widths = [(0, 0), (half, half)] + [(0, 0)] * (x.ndim - 2)
    square = F.pad(F.square(x), widths, "constant")
    total = sum([square[:, i : i + channels] for i in range(2 * half + 1)])
    return x * (k + alpha * total) ** -beta
