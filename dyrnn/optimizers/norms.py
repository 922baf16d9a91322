"""Norms of gradients: one pass for all who ask, and no update without a finite one.

A gradient that is NaN or infinite is told by its sum of squares, which clipping needs
anyway and leaves in the `Sum`. On a GPU nothing waits for the device: such gradients
are set to zero there, and the error comes some updates later.
"""

import math

import numpy as np

from dyrnn import kernels
from dyrnn.backend import get_array_module, to_cpu
from dyrnn.engine.gradients import Rows, settle
from dyrnn.errors import DeviceError, NonFiniteError
from dyrnn.kernels.updates import working_dtype

_HUGE = 1e300  # a threshold that no norm reaches, unless it is infinite


def values_of(gradient):
    """Return the array in which a settled gradient has its numbers."""
    return gradient.values if isinstance(gradient, Rows) else gradient


def squares(updates):
    """Return the sum of the squares of each gradient, without its waiting factor."""
    unknown = [total for _, _, total in updates if total.square is None]
    if unknown:
        arrays = [values_of(gradient) for gradient, _ in settle(unknown)]
        for total, square in zip(unknown, kernels.squared_norms(arrays), strict=True):
            total.square = square
    return [total.square for _, _, total in updates]


def norm(updates):
    """Return the L2 norm of all gradients together, those on the CPU.

    Raises
    ------
    NonFiniteError
        If one of them is NaN or infinite.
    """
    found = squares(updates)
    rates = [total.rate for _, _, total in updates]
    square = sum(each * rate * rate for each, rate in zip(found, rates, strict=True))
    if math.isfinite(square):
        return math.sqrt(square)
    refuse_non_finite(updates)
    # Finite all the same: the squares overflow, those of a share of the largest do not.
    arrays = [values_of(total.settled()[0]) for _, _, total in updates]
    largest = max(
        float(abs(array).max(initial=0.0)) * abs(rate)
        for array, rate in zip(arrays, rates, strict=True)
    )
    parts = [
        np.square(array.astype(np.float64) / largest * rate).sum()
        for array, rate in zip(arrays, rates, strict=True)
    ]
    return largest * math.sqrt(sum(parts))


def refuse_non_finite(updates, squares_are_kept=False):
    """Raise if a gradient on the CPU is NaN or infinite: nothing was updated then.

    Parameters
    ----------
    updates : list of (path, parameter, Sum)
    squares_are_kept : bool
        Whether the rule keeps squares of the gradients, which have to be finite, too.
    """
    for (path, param, total), square in zip(updates, squares(updates), strict=True):
        rate = total.rate
        limit = (
            _largest_square(working_dtype(param.dtype)) if squares_are_kept else _MAX
        )
        if square * rate * rate <= limit:
            continue
        values = values_of(total.settled()[0])
        if not math.isfinite(rate) or not bool(np.isfinite(values).all()):
            kind = "NaN" if bool(np.isnan(values).any()) else "infinity"
            raise NonFiniteError(
                f"the gradient of parameter {path} {param.shape} has {kind}; nothing "
                "was updated. Lower the learning rate, or look for the operation in "
                "debug mode (DYRNN_DEBUG=1)."
            )
        largest = float(abs(values).max()) * abs(rate)
        if squares_are_kept and largest * largest > limit:
            raise NonFiniteError(
                f"the gradient of parameter {path} {param.shape} has numbers up to "
                f"{largest:.3g}, of which the squares that the optimizer keeps would "
                "be infinite; nothing was updated. Clip the gradients."
            )


_MAX = float(np.finfo(np.float64).max)


def _largest_square(dtype):
    return _MAX if dtype == np.float64 else float(np.finfo(dtype).max)


class DeviceFlags:
    """Which gradients on a GPU were not finite, asked for once in ``interval`` updates.

    Parameters
    ----------
    interval : int
    """

    def __init__(self, interval: int = 100) -> None:
        self.interval = interval
        self._bad = None  # for each parameter whether its gradient ever was

    def clip(self, updates, t, threshold=_HUGE):
        """Scale gradients down to a norm; set them to zero where that is not finite."""
        bad = kernels.clip(
            [values_of(total.value()) for *_, total in updates], threshold
        )
        if self._bad is None or self._bad.shape != bad.shape:
            self._bad = bad
        else:
            self._bad |= bad
        if (t + 1) % self.interval == 0:
            flags = to_cpu(self._bad)
            self._bad = None
            for (path, param, _), is_bad in zip(updates, flags, strict=True):
                if is_bad:
                    raise NonFiniteError(
                        f"the gradient of parameter {path} {param.shape} was NaN or "
                        f"infinite within the last {self.interval} updates"
                    )


def are_on_cpu(updates):
    """Whether the parameters are NumPy's; those of one optimizer share a device."""
    try:
        return get_array_module(*[param.array for _, param, _ in updates]) is np
    except DeviceError:
        places = [f"{path} on {param.device}" for path, param, _ in updates]
        raise DeviceError(
            f"an optimizer updates the parameters of one device, but there are "
            f"{', '.join(places)}. Move the whole model with model.to_device, or give "
            "each part an optimizer of its own. An embedding gains nothing on the CPU: "
            "on a GPU, too, a step touches only the rows that its ids pick."
        ) from None
