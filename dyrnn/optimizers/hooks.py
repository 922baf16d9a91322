"""Hooks: what is done to the gradients between ``backward`` and the update.

A hook is a function of the optimizer, added by ``optimizer.add_hook(hook)``. Those that
only scale gradients leave a factor for the update to apply, and keep the sparse
gradient of an embedding sparse; weight decay and noise reach every row.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dyrnn import random
from dyrnn.arguments import check_number, check_whole
from dyrnn.backend import get_array_module
from dyrnn.description import Shown
from dyrnn.errors import NonFiniteError
from dyrnn.kernels.updates import working_dtype
from dyrnn.optimizers.norms import (
    DeviceFlags,
    are_on_cpu,
    norm,
    refuse_non_finite,
    values_of,
)


class GradientClipping(Shown):
    """Scale all gradients so that their common L2 norm is at most ``threshold``.

    The norm is summed in float64. One that is NaN or infinite raises
    :class:`NonFiniteError` before anything is changed; on a GPU, where nothing waits
    for the device, such gradients are set to zero there, so the parameters stay sound,
    and the error comes within ``check_interval`` updates.

    Parameters
    ----------
    threshold : float
        Greatest norm, > 0.
    check_interval : int
        On a GPU, the number of updates after which non-finite norms are asked for.
    """

    name = "GradientClipping"

    def __init__(self, threshold: float, check_interval: int = 100) -> None:
        self.threshold = threshold
        check_whole(f"{type(self).__name__}: check_interval", check_interval)
        self._flags = DeviceFlags(check_interval)

    @property
    def threshold(self):
        return self._threshold

    @threshold.setter
    def threshold(self, value):
        check_number(f"{type(self).__name__}: threshold", value)
        if not 0 < value < math.inf:
            raise ValueError(
                f"{type(self).__name__}: threshold is {value}; use a number > 0"
            )
        self._threshold = value

    def __call__(self, optimizer):
        updates = optimizer.updates
        if not updates:
            return
        if not are_on_cpu(updates):
            self._flags.clip(updates, optimizer.t, self.threshold)
            return
        rate = self.rate(norm(updates), self.threshold)
        if rate < 1:
            for _, _, total in updates:
                total.scale(rate)

    @staticmethod
    def rate(norm, threshold):
        """Return the factor that makes a norm ``threshold`` at most."""
        return threshold / norm if norm > threshold else 1.0


class GradientRescaling(GradientClipping):
    """Divide all gradients by ``sqrt(norm) / threshold`` where that is above 1.

    So their common L2 norm becomes ``threshold * sqrt(norm)``: long gradients stay
    longer than short ones. Programs for Theano do so together with
    :class:`~dyrnn.optimizers.RMSpropNesterov`; the norm is in the gradients' own type,
    as there.
    """

    name = "GradientRescaling"

    def __init__(self, threshold: float = 5.0) -> None:
        self.threshold = threshold

    def __call__(self, optimizer):
        updates = optimizer.updates
        if not updates:
            return
        if are_on_cpu(updates):
            refuse_non_finite(updates)
        arrays = [values_of(total.value()) for _, _, total in updates]
        xp = get_array_module(arrays[0])
        squares = [xp.sum(xp.square(a.astype(working_dtype(a.dtype)))) for a in arrays]
        root = xp.sqrt(xp.sqrt(sum(squares)))
        rate = self.threshold / xp.maximum(root, self.threshold)
        for array in arrays:
            array *= rate.astype(array.dtype)


def clip_by_global_norm(arrays: Sequence[Any], limit: float) -> tuple[list[Any], float]:
    """Return arrays scaled so that their common L2 norm is at most ``limit``.

    Parameters
    ----------
    arrays : sequence of arrays, or None for an absent gradient
        Not changed.
    limit : float
        Greatest norm, > 0.

    Returns
    -------
    list of arrays
        New ones; None stays None.
    float
        The norm before, summed in float64.

    Raises
    ------
    NonFiniteError
        If the norm is NaN or infinite.
    TypeError
        If the arrays are not a sequence of arrays of floating-point numbers.
    """
    if not isinstance(limit, (int, float)) and getattr(limit, "ndim", 1) != 0:
        raise TypeError(f"clip_by_global_norm: limit is {limit!r}; use a number > 0")
    if not 0 < limit < math.inf:
        raise ValueError(f"clip_by_global_norm: limit is {limit}; use a number > 0")
    if isinstance(arrays, dict) or hasattr(arrays, "dtype"):
        raise TypeError(
            f"clip_by_global_norm: arrays is a {type(arrays).__name__}, but must be a "
            "list of arrays; give [x] for one alone, or list(x.values())"
        )
    arrays = list(arrays)
    for a in arrays:
        if a is not None and getattr(a, "dtype", np.dtype(object)).kind != "f":
            kind = getattr(a, "dtype", type(a).__name__)
            raise TypeError(
                f"clip_by_global_norm: an array of {kind} was given; scaled ones are "
                "no integers, so use floating-point numbers"
            )
    squares = [float((a.astype(float) ** 2).sum()) for a in arrays if a is not None]
    norm = math.sqrt(math.fsum(squares))
    if not math.isfinite(norm):
        raise NonFiniteError(f"clip_by_global_norm: the norm of the arrays is {norm}")
    rate = GradientClipping.rate(norm, float(limit))
    return [None if a is None else (a * rate).astype(a.dtype) for a in arrays], norm


class GradientHardClipping(Shown):
    """Limit each element of the gradients to ``[lower, upper]``."""

    name = "GradientHardClipping"

    def __init__(self, lower: float, upper: float) -> None:
        check_number("GradientHardClipping: lower", lower)
        check_number("GradientHardClipping: upper", upper)
        if not lower <= upper:
            raise ValueError(
                f"GradientHardClipping: lower {lower} must not be above upper {upper}"
            )
        self.lower = lower
        self.upper = upper

    def __call__(self, optimizer):
        if optimizer.updates and are_on_cpu(optimizer.updates):
            refuse_non_finite(optimizer.updates)  # a limit would hide an infinity
        # A zero outside of the limits would move; so would all absent rows.
        keeps_zero = self.lower <= 0 <= self.upper
        for _, _, total in optimizer.updates:
            array = values_of(total.value()) if keeps_zero else total.dense()
            self.limit(array, self.lower, self.upper)

    @staticmethod
    def limit(array, lower, upper):
        """Change an array in place."""
        get_array_module(array).clip(array, lower, upper, out=array)


class Penalty(Shown):
    """Adds ``slope(p, rate)``, a penalty's gradient, to that of each parameter."""

    def __init__(self, rate: float) -> None:
        self.rate = _checked_rate(self, rate)

    def __call__(self, optimizer):
        for _, param, total in optimizer.updates:
            gradient = total.dense()
            gradient += self.slope(param.array, self.rate)

    @staticmethod
    def slope(p, rate):
        """Return the gradient of the penalty at ``p``."""
        raise NotImplementedError


class WeightDecay(Penalty):
    """Add ``rate * p`` to the gradient of each parameter: an L2 penalty of rate / 2."""

    name = "WeightDecay"

    @staticmethod
    def slope(p, rate):
        return rate * p


class Lasso(Penalty):
    """Add ``rate * sign(p)`` to the gradient of each parameter: an L1 penalty."""

    name = "Lasso"

    @staticmethod
    def slope(p, rate):
        return rate * get_array_module(p).sign(p)


class GradientNoise(Shown):
    """Add normal noise of variance ``eta / (1 + t) ** 0.55`` to every gradient.

    References
    ----------
    Neelakantan et al., "Adding gradient noise improves learning for very deep
    networks", arXiv:1511.06807, 2015.
    """

    name = "GradientNoise"

    def __init__(self, eta: float) -> None:
        self.eta = _checked_rate(self, eta)

    def __call__(self, optimizer):
        deviation = self.deviation(self.eta, optimizer.t)
        generator = random.stream("gradient_noise").generator
        for _, param, total in optimizer.updates:
            gradient = total.dense()
            noise = generator.normal(0.0, deviation, gradient.shape)
            gradient += param.device.send(noise.astype(gradient.dtype))

    @staticmethod
    def deviation(eta, t):
        """Return the standard deviation after ``t`` updates."""
        return math.sqrt(eta / (1 + t) ** 0.55)


def _checked_rate(hook, rate):
    check_number(f"{type(hook).__name__}: the rate", rate)
    if not 0 <= rate < math.inf:
        raise ValueError(f"{type(hook).__name__}: {rate} was given; use a number >= 0")
    return float(rate)
