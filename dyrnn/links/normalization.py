"""Layers that standardise what passes through them."""

import numpy as np

import dyrnn.functions as F
from dyrnn.config import config
from dyrnn.engine.core import Variable, VariableLike
from dyrnn.engine.parameter import Parameter
from dyrnn.initializers import InitializerLike, get_initializer
from dyrnn.link import Link


class LayerNormalization(Link):
    """Standardise each row, then scale and shift its columns.

    Parameters
    ----------
    size : int, optional
        Columns H; found at the first call without it.
    eps : float
        Added to the variance.
    initial_gamma, initial_beta : initializer, number or array
        1 and 0 by default.

    Attributes
    ----------
    gamma, beta : Parameter, (H,)

    References
    ----------
    Ba, Kiros, Hinton, "Layer Normalization", arXiv:1607.06450, 2016.
    """

    def __init__(
        self,
        size: int | None = None,
        eps: float = 1e-6,
        initial_gamma: InitializerLike = 1.0,
        initial_beta: InitializerLike = 0.0,
    ) -> None:
        super().__init__()
        self.eps = eps
        with self.init_scope():
            self.gamma = Parameter(get_initializer(initial_gamma), size)
            self.beta = Parameter(get_initializer(initial_beta), size)

    def forward(self, x: VariableLike) -> Variable:
        """Normalise the last axis of x (B, H) or (T, B, H)."""
        for param in (self.gamma, self.beta):
            if param.array is None:
                param.initialize(x.shape[-1:])
        return F.layer_normalization(x, self.gamma, self.beta, self.eps)


class BatchNormalization(Link):
    """Standardise each column over the batch; in evaluation by running statistics.

    Parameters
    ----------
    size : int
        Columns C.
    decay : float
        Of the running statistics.
    eps : float
        Added to the variance.
    initial_gamma, initial_beta : initializer, number or array
        1 and 0 by default.

    Attributes
    ----------
    gamma, beta : Parameter, (C,)
    avg_mean, avg_var : array, (C,)
        Running mean and variance, saved with the parameters.

    References
    ----------
    Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
    Internal Covariate Shift", ICML 2015.
    """

    takes_windows = False  # axis 1 of a window is the batch

    def __init__(
        self,
        size: int,
        decay: float = 0.9,
        eps: float = 2e-5,
        initial_gamma: InitializerLike = 1.0,
        initial_beta: InitializerLike = 0.0,
    ) -> None:
        super().__init__()
        self.decay = decay
        self.eps = eps
        with self.init_scope():
            self.gamma = Parameter(get_initializer(initial_gamma), size)
            self.beta = Parameter(get_initializer(initial_beta), size)
        self.avg_mean = np.zeros(size, self.gamma.dtype)
        self.avg_var = np.ones(size, self.gamma.dtype)
        self.register_persistent("avg_mean")
        self.register_persistent("avg_var")

    def forward(self, x: VariableLike) -> Variable:
        """Normalise axis 1 of x (B, C) or (B, C, d1, ...)."""
        if not config.train:
            return F.fixed_batch_normalization(
                x, self.gamma, self.beta, self.avg_mean, self.avg_var, self.eps
            )
        return F.batch_normalization(
            x,
            self.gamma,
            self.beta,
            self.eps,
            self.avg_mean,
            self.avg_var,
            self.decay,
        )
