"""Elements brought to mean 0 and variance 1, or rows to length 1."""

import itertools
import operator
import warnings

from dyrnn.chainer import _backend
from dyrnn.chainer.configuration import config
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import check_inputs, functions, is_float
from dyrnn.chainer.utils import argument, type_check
from dyrnn.chainer.utils.misc import force_array
from dyrnn.chainer.variable import as_variable

_TRAIN = "train argument is not supported anymore. Use chainer.using_config"
_ZERO = "F.batch_normalization will always output a zero tensor for such batches."


class BatchNormalization(FunctionNode):
    """Elements normalized over ``axis``, then scaled and shifted.

    Running averages are updated in place. The gradient needs no more than ``x``, its
    mean and its deviation, where a composition would keep seven arrays of its size.
    """

    mean = var = inv_std = None

    def __init__(self, eps=2e-5, mean=None, var=None, decay=0.9, axis=None):
        self.running_mean = mean
        self.running_var = var
        self.eps = eps
        self.decay = decay
        self.axis = _ascending(axis)

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x", "gamma", "beta"))
        _check_columns(in_types, self.axis)

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        x, gamma, beta = inputs
        xp = _backend.get_array_module(x)
        self.axis = _axes(x.ndim, gamma.ndim, self.axis)
        self._warn_of_single_elements(x.shape)
        dtype = xp.promote_types(x.dtype, gamma.dtype)
        self.mean = x.mean(axis=self.axis, dtype=dtype)
        self.var = x.var(axis=self.axis, dtype=dtype)
        self.inv_std = 1 / xp.sqrt(self.var + dtype.type(self.eps))
        self._update_averages(x.size // max(gamma.size, 1))

        def wide(v):
            return _wide(v, x, self.axis)

        y = (x - wide(self.mean)) * wide(self.inv_std) * wide(gamma) + wide(beta)
        return (y.astype(x.dtype, copy=False),)

    def _update_averages(self, n):
        if self.running_mean is not None:
            self.running_mean *= self.decay
            self.running_mean += (1 - self.decay) * self.mean
        if self.running_var is not None:
            unbiased = self.var * (n / max(n - 1.0, 1.0))
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

    def backward(self, indexes, gys):
        F = functions()
        given = (*self.get_retained_inputs(), *gys)
        x, gamma, gy = [F.cast(v, self.mean.dtype) for v in given]
        axis = self.axis
        mean, inv_std = self.mean, self.inv_std
        if config.enable_backprop:  # they depend on x
            mean = F.mean(x, axis)
            var = F.mean(F.square(x - _wide(mean, x, axis)), axis)
            inv_std = F.rsqrt(var + self.eps)
        normal = (x - _wide(mean, x, axis)) * _wide(inv_std, x, axis)
        gbeta = F.sum(gy, axis=axis)
        ggamma = F.sum(gy * normal, axis=axis)
        shared = normal * _wide(ggamma, x, axis) + _wide(gbeta, x, axis)
        shared = shared / (x.size // max(gamma.size, 1))
        gx = (gy - shared) * _wide(gamma * inv_std, x, axis)
        types = [given[i].dtype for i in (0, 1, 1)]
        found = zip((gx, ggamma, gbeta), types, strict=True)
        return tuple([F.cast(g, dtype) for g, dtype in found])


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
    node = BatchNormalization(eps, running_mean, running_var, decay, axis)
    return node.apply((x, gamma, beta))[0]


def fixed_batch_normalization(x, gamma, beta, mean, var, eps=2e-5, axis=None):
    """Normalize by given means and variances."""
    axis = _ascending(axis)

    def check(in_types):
        type_check._argname(in_types, ("x", "gamma", "beta", "mean", "var"))
        _check_columns(in_types, axis)

    inputs = (x, gamma, beta, mean, var)
    check_inputs("FixedBatchNormalization", check, *inputs)
    F = functions()
    x, gamma, beta, mean, var = [as_variable(v) for v in inputs]
    axis = _axes(x.ndim, gamma.ndim, axis)

    def wide(v):
        return F.cast(F.broadcast_to(_wide(v, x, axis), x.shape), x.dtype)

    return (x - wide(mean)) * wide(F.rsqrt(var + eps)) * wide(gamma) + wide(beta)


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


def _wide(v, x, axis):
    """Return an array or variable with single elements along ``axis``."""
    return v.reshape(tuple([1 if i in axis else n for i, n in enumerate(x.shape)]))


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


def _check_rows(in_types):
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


def layer_normalization(x, gamma, beta, eps=1e-5):
    """Normalize each row."""
    check_inputs("LayerNormalization", _check_rows, x, gamma, beta)
    F = functions()
    normal = _normal_rows(as_variable(x), eps)
    shape = normal.shape
    return normal * F.broadcast_to(gamma, shape) + F.broadcast_to(beta, shape)


def _normal_rows(x, eps):
    F = functions()

    def wide(v):
        return F.broadcast_to(F.expand_dims(v, 1), x.shape)

    centred = x - wide(F.average(x, axis=1))
    std = F.sqrt(F.average(F.square(centred), axis=1) + eps)
    return centred / wide(std)


def group_normalization(x, groups, gamma, beta, eps=1e-5):
    """Normalize each row within ``groups`` of its channels, then scale and shift."""
    if not isinstance(groups, int):
        raise TypeError(f"groups must be an int, but is {groups!r}")

    def check(in_types):
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

    check_inputs("GroupNormalization", check, x, gamma, beta)
    if x.shape[1] % groups:
        raise ValueError(f"{x.shape[1]} channels are not divisible by groups={groups}")
    F = functions()
    x, gamma, beta = as_variable(x), as_variable(gamma), as_variable(beta)
    rows = F.reshape(x, (len(x) * groups, -1))
    normal = F.reshape(_normal_rows(rows, eps), x.shape)
    others = (0, *range(2, x.ndim))

    def wide(v):
        return F.cast(F.broadcast_to(_wide(v, x, others), x.shape), x.dtype)

    return normal * wide(gamma) + wide(beta)


class NormalizeL2(FunctionNode):
    """Elements divided by the Euclidean norm over axes."""

    def __init__(self, eps=1e-5, axis=1):
        self.eps = eps
        self.axis = (axis,) if isinstance(axis, int) else axis

    def check_type_forward(self, in_types):
        is_float(in_types, "x")

    def forward(self, inputs):
        self.retain_inputs((0,))
        (x,) = inputs
        xp = _backend.get_array_module(x)
        norm = xp.sqrt(xp.square(x).sum(axis=self.axis, keepdims=True))
        return (force_array(x / (norm + x.dtype.type(self.eps)), x.dtype),)

    def backward(self, indexes, gys):
        F = functions()
        (x,) = self.get_retained_inputs()
        (gy,) = gys
        square = F.sum(F.square(x), axis=self.axis, keepdims=True)
        # The norm has no gradient at zero: there, take that of 1 and drop it.
        is_zero = square.array == 0
        norm = F.sqrt(square + is_zero.astype(x.dtype))
        total = (norm - is_zero.astype(x.dtype)) + self.eps
        along = F.sum(x * gy, axis=self.axis, keepdims=True) / norm
        along = along * (~is_zero).astype(x.dtype)
        return ((gy * total - along * x) / total**2,)


def normalize(x, eps=1e-5, axis=1):
    """Divide by the Euclidean norm over axes."""
    return NormalizeL2(eps, axis).apply((x,))[0]
