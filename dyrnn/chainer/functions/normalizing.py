"""Elements brought to mean 0 and variance 1, or rows to length 1."""

import itertools
import operator
import warnings
from functools import partial

import numpy as np

from dyrnn import functions as core
from dyrnn.chainer import casting
from dyrnn.chainer.bridging import bridge
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.utils import argument, type_check
from dyrnn.chainer.worlds import CoreNode, check_inputs, of_floats
from dyrnn.functions import normalization

_ZERO = "F.batch_normalization will always output a zero tensor for such batches."


class Standardize(CoreNode):
    """Elements brought to mean 0 and variance 1 over axes."""

    kind = normalization.Standardize


def _scaled(x, axis, eps, gamma, beta, columns):
    """Standardize, scale and shift; return the result and the core's node."""
    F = functions()
    x, gamma, beta = casting.fitting(x, gamma, beta)
    wide = np.promote_types(x.dtype, gamma.dtype)
    node = Standardize(axis, eps)
    (y,) = node.apply((F.cast(x, wide),))
    shape = tuple([n if i in columns else 1 for i, n in enumerate(x.shape)])
    gamma, beta = [F.cast(F.reshape(v, shape), wide) for v in (gamma, beta)]
    return F.cast(y * gamma + beta, x.dtype), node.rule


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
    axis = _ascending(axis)
    check_inputs("BatchNormalization", partial(_check_columns, axis), x, gamma, beta)
    axis = _axes(x.ndim, gamma.ndim, axis)
    _warn_of_single_elements(x.shape, axis)
    columns = [i for i in range(x.ndim) if i not in axis]
    y, rule = _scaled(x, axis, eps, gamma, beta, columns)
    n = x.size // max(gamma.size, 1)
    unbiased = rule.variance * (n / max(n - 1.0, 1.0))
    for average, of_batch in (running_mean, rule.mean), (running_var, unbiased):
        if average is not None:
            average *= decay
            average += (1 - decay) * of_batch.reshape(gamma.shape)
    return y


def _warn_of_single_elements(shape, axis):
    if any(shape[i] != 1 for i in axis):
        return
    if 0 in axis:
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
    warnings.warn(text, UserWarning, stacklevel=3)


def fixed_batch_normalization(x, gamma, beta, mean, var, eps=2e-5, axis=None):
    """Normalize by given means and variances."""
    F = functions()
    x, gamma, beta, mean, var = casting.fitting(x, gamma, beta, mean, var)
    axis, dtype = _ascending(axis), x.dtype
    inputs = x, gamma, beta, mean, var
    check_inputs("FixedBatchNormalization", partial(_check_columns, axis), *inputs)
    wide = np.promote_types(dtype, gamma.dtype)
    function = partial(core.fixed_batch_normalization, eps=eps, axis=axis)
    inputs = [F.cast(v, wide) for v in inputs]
    return F.cast(bridge(function, *inputs, name="FixedBatchNormalization"), dtype)


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


def _check_columns(axis, in_types):
    """Expect parameters as long as the axes of ``x`` that are not in ``axis``."""
    names = ("x", "gamma", "beta", "mean", "var")
    type_check._argname(in_types, names[: type_check.eval(in_types.size())])
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
    return _scaled(x, (1,), eps, gamma, beta, columns=(1,))[0]


def normalize(x, eps=1e-5, axis=1):
    """Divide by the Euclidean norm over axes."""
    function = partial(core.normalize, eps=eps, axis=axis)
    return bridge(function, x, name="NormalizeL2", check=of_floats("x"))
