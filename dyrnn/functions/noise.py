"""Functions that add randomness while training and none in evaluation.

Every draw comes from a named stream of :mod:`dyrnn.random`, so a run draws the same
numbers on every device and goes on with them after a resume.
"""

from typing import Any

import numpy as np

from dyrnn import kernels, random
from dyrnn.config import config
from dyrnn.engine.core import FunctionNode, Variable, VariableLike, as_variable
from dyrnn.functions.activation import softmax
from dyrnn.functions.checks import check_floats, check_ratio, check_same_shape
from dyrnn.functions.connection import linear
from dyrnn.functions.indexing import where
from dyrnn.functions.math import exp


class Dropout(FunctionNode):
    """A product with a random mask, which is drawn here unless it is given."""

    def __init__(self, ratio, mask=None):
        self.ratio = ratio
        self.mask = mask

    def forward(self, xp, x):
        if self.mask is None:
            generator = random.stream("dropout").generator
            self.mask = kernels.dropout_mask(x, generator, self.ratio)
        return x * self.mask

    def backward(self, xp, gy):
        return gy * self.mask


def dropout(x: VariableLike, ratio: float = 0.5) -> Variable:
    """Set a random share ``ratio`` to 0 and scale the others by ``1 / (1 - ratio)``.

    In evaluation (``config.train`` False) and with ratio 0 the input itself comes back
    and nothing is drawn.

    Raises
    ------
    ValueError
        If ``ratio`` is not within 0 <= ratio < 1.

    References
    ----------
    Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting", JMLR 15, 2014.
    """
    check_ratio("dropout", ratio)
    if ratio == 0 or not config.train:
        return as_variable(x)
    if not isinstance(x, Variable) or x.dtype.kind != "f":
        check_floats("dropout", x=x)
    return Dropout(ratio).apply(x)


def zoneout(h: VariableLike, x: VariableLike, ratio: float = 0.5) -> Variable:
    """Keep a random share ``ratio`` of the state ``h``, take the others from ``x``.

    In evaluation the mean of the two, weighted by the ratio.

    References
    ----------
    Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden
    Activations", ICLR 2017.
    """
    check_ratio("zoneout", ratio)
    check_same_shape("zoneout", h=h, x=x)
    check_floats("zoneout", h=h, x=x)
    h, x = as_variable(h), as_variable(x)
    if ratio == 0:
        return x
    if not config.train:
        return h * ratio + x * (1.0 - ratio)
    generator = random.stream("zoneout").generator
    is_kept = generator.random(h.shape, np.float32) < ratio
    return where(h.xp.asarray(is_kept), h, x)


def _normal(x, stream):
    """Draw standard normal numbers in the shape and type of ``x``."""
    eps = random.stream(stream).generator.standard_normal(x.shape)
    return x.xp.asarray(eps.astype(x.dtype))


def gaussian(
    mean: VariableLike,
    ln_var: VariableLike,
    eps: VariableLike | None = None,
    return_eps: bool = False,
) -> Any:
    """Draw from a normal distribution so that its parameters have gradients.

    Parameters
    ----------
    mean, ln_var : Variable
        ``ln_var`` is the logarithm of the variance.
    eps : array, optional
        Standard normal numbers; drawn without it.
    return_eps : bool
        Return them, too.

    References
    ----------
    Kingma, Welling, "Auto-Encoding Variational Bayes", ICLR 2014.
    """
    check_same_shape("gaussian", mean=mean, ln_var=ln_var)
    check_floats("gaussian", mean=mean, ln_var=ln_var)
    mean, ln_var = as_variable(mean), as_variable(ln_var)
    if eps is None:
        eps = _normal(mean, "gaussian")
    y = mean + exp(ln_var * 0.5) * eps
    return (y, eps) if return_eps else y


def gumbel_softmax(log_pi: VariableLike, tau: float = 0.1, axis: int = -1) -> Variable:
    """Draw from a categorical distribution, softened so that it has a gradient.

    Parameters
    ----------
    log_pi : Variable
        Logarithms of (unnormalised) probabilities along ``axis``.
    tau : float
        Temperature: near 0 the result is nearly one-hot.

    References
    ----------
    Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017.
    """
    check_floats("gumbel_softmax", log_pi=log_pi)
    if not tau > 0:
        raise ValueError(f"gumbel_softmax: tau={tau} must be positive")
    log_pi = as_variable(log_pi)
    noise = random.stream("gumbel").generator.gumbel(size=log_pi.shape)
    noise = log_pi.xp.asarray(noise.astype(log_pi.dtype))
    return softmax((log_pi + noise) * (1.0 / tau), axis=axis)


def simplified_dropconnect(
    x: VariableLike, W: VariableLike, b: VariableLike | None = None, ratio: float = 0.5
) -> Variable:
    """``linear(x, W, b)`` with a random share of the weights set to 0.

    The mask is one for the batch, and weights that stay are scaled by
    ``1 / (1 - ratio)``. In evaluation all weights are used.

    References
    ----------
    Wan et al., "Regularization of Neural Networks using DropConnect", ICML 2013.
    """
    return linear(x, dropout(W, ratio), b)
