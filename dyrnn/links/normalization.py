"""Layers that standardise what passes through them."""

from typing import Any

import numpy as np

import dyrnn.functions as F
from dyrnn import backend
from dyrnn.config import config
from dyrnn.engine.core import Variable, VariableLike, as_array
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import variable
from dyrnn.initializers import InitializerLike, get_initializer
from dyrnn.link import Link
from dyrnn.typing import Array


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


class StandardScaler(Link):
    """Columns with mean 0 and standard deviation 1, and back; saved with the model.

    It has no parameters: ``fit`` measures, nothing trains.

    Parameters
    ----------
    size : int
        Columns F.

    Attributes
    ----------
    mean, scale : array, (F,), float64
        Of what ``fit`` saw; a column that is constant has the scale 1.

    Raises
    ------
    RuntimeError
        If it is called before ``fit``.

    Examples
    --------
    >>> scaler = StandardScaler(2)
    >>> scaler.fit(np.array([[1.0, 5.0], [3.0, np.nan], [5.0, 5.0]]))
    >>> scaler.mean
    array([3., 5.])
    >>> scaler.inverse(scaler(np.array([[9.0, 6.0]], np.float32))).array
    array([[9., 6.]], dtype=float32)
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean: Any = np.zeros(size)
        self.scale: Any = np.ones(size)
        self._unfit = self.mean  # `fit` puts another one there, a file other values
        for name in ("mean", "scale"):
            self.register_persistent(name)

    def fit(self, x: Array) -> None:
        """Measure the columns of x (..., F); missing values (NaN) do not count."""
        x = backend.to_cpu(as_array(x)).astype(np.float64)
        size = len(self.mean)
        if x.ndim < 1 or x.shape[-1] != size:
            raise ShapeError(
                f"StandardScaler: x has shape {x.shape}; it must be (..., {size})"
            )
        x = x.reshape(-1, size)
        missing = np.flatnonzero(np.isnan(x).all(axis=0))
        if len(missing) or np.isinf(x).any():
            found = f"no values in column {missing[0]}" if len(missing) else "inf"
            raise ValueError(f"StandardScaler: x of {len(x)} rows has {found}")
        mean, deviation = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
        is_constant = deviation <= 1e-12 * np.maximum(abs(mean), 1e-300)
        self.mean = self.device.send(mean)
        self.scale = self.device.send(np.where(is_constant, 1.0, deviation))

    def forward(self, x: VariableLike) -> Variable:
        """Return ``(x - mean) / scale`` in the type of x (..., F)."""
        return self._columns(x, lambda x, mean, scale: (x - mean) / scale)

    def inverse(self, y: VariableLike, columns: Any = slice(None)) -> Variable:
        """Return ``y * scale + mean``, of some columns where y has only those."""
        return self._columns(y, lambda y, mean, scale: y * scale + mean, columns)

    def _columns(self, x, function, columns=slice(None)):
        """Compute in float64: far from 0, halves and singles are too coarse."""
        x = variable(type(self).__name__, "x", x)
        mean, scale = self.mean[columns], self.scale[columns]
        if x.shape[-1:] != mean.shape:
            raise ShapeError(
                f"StandardScaler: x has shape {x.shape}; it must be (..., {len(mean)})"
            )
        is_new = self.mean is self._unfit and not self.mean.any()
        if is_new and (self.scale == 1).all():
            raise RuntimeError(
                "StandardScaler: it has not measured anything yet; call fit(x) with "
                "the data to train on, or load a model that has"
            )
        y = function(F.cast(x, np.float64), mean, scale)
        return F.cast(y, x.dtype if x.dtype.kind == "f" else config.dtype)
