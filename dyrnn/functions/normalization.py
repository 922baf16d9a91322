"""Functions that give activations mean 0 and variance 1."""

import numpy as np

from dyrnn.engine.core import (
    FunctionNode,
    Variable,
    VariableLike,
    as_array,
    as_variable,
)
from dyrnn.errors import ShapeError
from dyrnn.functions.arithmetic import fit
from dyrnn.functions.checks import check_floats
from dyrnn.functions.math import rsqrt
from dyrnn.typing import Array, Axis

# Of numbers of so many bytes, with squares that are no larger than the largest one.
_FRACTIONS = {4: 2.0**-64, 8: 2.0**-512}


class Standardize(FunctionNode):
    """``(x - mean) / sqrt(variance + eps)`` over some axes.

    A node: its gradient needs the input only, and half the passes of the composition.
    """

    def __init__(self, axis, eps):
        self.axis = axis
        self.eps = float(eps)

    def statistics(self, xp, x):
        """Return x less its mean, the variance, and one over the deviation.

        Those of halves are floats: squares of halves above 255 are infinite.
        """
        x = x.astype(np.float32) if x.dtype == np.float16 else x
        centred = x - x.mean(axis=self.axis, keepdims=True)
        with np.errstate(over="ignore"):
            variance = (centred * centred).mean(axis=self.axis, keepdims=True)
        inverse = 1.0 / xp.sqrt(variance + self.eps)
        is_huge = as_array(variance) == np.inf
        if type(is_huge) is np.ndarray and is_huge.any():
            # Squares above the largest number: those of a fraction, then.
            fraction = _FRACTIONS[centred.dtype.itemsize]
            part = centred * fraction
            part = (part * part).mean(axis=self.axis, keepdims=True)
            part = xp.where(is_huge, part, 1.0)
            inverse = xp.where(is_huge, fraction / xp.sqrt(part), inverse)
        return centred, variance, inverse

    def forward(self, xp, x):
        self.save(x)
        centred, self.variance, inverse = self.statistics(xp, x)
        self.mean = x.mean(axis=self.axis, keepdims=True)
        return fit(centred * inverse, (x.shape, x.dtype))

    def backward(self, xp, gy):
        (x,) = self.saved
        centred, _, inverse = self.statistics(xp, x)
        y = centred * inverse
        gy = gy if gy.dtype == y.dtype else gy.astype(y.dtype)
        mean_gy = gy.mean(axis=self.axis, keepdims=True)
        mean_gyy = (gy * y).mean(axis=self.axis, keepdims=True)
        return fit(inverse * (gy - mean_gy - y * mean_gyy), (x.shape, x.dtype))


def layer_normalization(
    x: VariableLike, gamma: VariableLike, beta: VariableLike, eps: float = 1e-5
) -> Variable:
    """Standardise each row of ``x``, then scale and shift its columns.

    Parameters
    ----------
    x : Variable, (B, H) or (T, B, H)
        The last axis is normalised.
    gamma, beta : Variable, (H,)
    eps : float
        Added to the variance.

    References
    ----------
    Ba, Kiros, Hinton, "Layer Normalization", arXiv:1607.06450, 2016.
    """
    check_floats("layer_normalization", x=x, gamma=gamma, beta=beta)
    if gamma.shape != x.shape[-1:] or beta.shape != x.shape[-1:]:
        raise ShapeError(
            f"layer_normalization: x has shape {x.shape}, but gamma {gamma.shape} and "
            f"beta {beta.shape}; they must have shape {x.shape[-1:]}."
        )
    return Standardize(-1, eps).apply(x) * gamma + beta


def _layout(name, x, gamma, axis, **others):
    """Return the axes to average over, and the shape in which parameters broadcast."""
    if axis is None:
        kept = tuple(range(1, 1 + gamma.ndim))
        axis = (0, *range(1 + gamma.ndim, x.ndim))
    else:
        axis = (axis,) if isinstance(axis, int) else tuple(axis)
        kept = tuple(i for i in range(x.ndim) if i not in axis)
    shape = tuple(x.shape[i] for i in kept)
    for key, parameter in {"gamma": gamma, **others}.items():
        if parameter is not None and parameter.shape != shape:
            raise ShapeError(
                f"{name}: {key} has shape {parameter.shape}, but with x {x.shape} and "
                f"the mean over axes {axis} it must be {shape}."
            )
    return axis, tuple(1 if i in axis else n for i, n in enumerate(x.shape))


def batch_normalization(
    x: VariableLike,
    gamma: VariableLike,
    beta: VariableLike,
    eps: float = 2e-5,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    decay: float = 0.9,
    axis: Axis = None,
) -> Variable:
    """Standardise each column of ``x`` over the batch, then scale and shift it.

    Parameters
    ----------
    x : Variable, (B, C) or (B, C, d1, ...)
    gamma, beta : Variable, (C,)
    eps : float
        Added to the variance.
    running_mean, running_var : array, (C,), optional
        Updated in place: ``decay`` of the old value, ``1 - decay`` of the batch's mean
        and unbiased variance.
    axis : int or tuple of int, optional
        Axes to average over; by default all but those of ``gamma``, which follow the
        first.

    References
    ----------
    Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
    Internal Covariate Shift", ICML 2015.
    """
    name = "batch_normalization"
    check_floats(name, x=x, gamma=gamma, beta=beta)
    given = {"beta": beta, "running_mean": running_mean, "running_var": running_var}
    axis, shape = _layout(name, x, gamma, axis, **given)
    count = x.size // int(np.prod(shape))
    if count < 2:
        raise ValueError(
            f"{name}: x has shape {x.shape}: the variance of {count} values per column "
            "says nothing. Use larger batches, or fixed_batch_normalization."
        )
    node = Standardize(axis, eps)
    y = node.apply(x)
    y = y * as_variable(gamma).reshape(shape) + as_variable(beta).reshape(shape)
    if running_mean is not None:
        running_mean *= decay
        running_mean += (1 - decay) * node.mean.reshape(gamma.shape)
    if running_var is not None:
        variance = node.variance.reshape(gamma.shape) * (count / (count - 1))
        running_var *= decay
        running_var += (1 - decay) * variance
    return y


def fixed_batch_normalization(
    x: VariableLike,
    gamma: VariableLike,
    beta: VariableLike,
    mean: VariableLike,
    var: VariableLike,
    eps: float = 2e-5,
    axis: Axis = None,
) -> Variable:
    """:func:`batch_normalization` with given statistics, for evaluation."""
    name = "fixed_batch_normalization"
    check_floats(name, x=x, gamma=gamma, beta=beta, mean=mean, var=var)
    axis, shape = _layout(name, x, gamma, axis, beta=beta, mean=mean, var=var)
    mean, var = as_variable(mean).reshape(shape), as_variable(var).reshape(shape)
    y = (as_variable(x) - mean) * rsqrt(var + eps)
    return y * as_variable(gamma).reshape(shape) + as_variable(beta).reshape(shape)
