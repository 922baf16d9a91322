"""Arrays and shapes."""

import math
import warnings

from dyrnn.chainer import _backend


def _warn(name, advice):
    warnings.warn(
        f"chainer.utils.array.{name} is deprecated. Please refer to {advice}.",
        DeprecationWarning,
        stacklevel=1,
    )


def as_vec(x):
    """Flatten."""
    _warn("as_vec", "numpy.ravel or other array backend functions to flatten ndarrays")
    return x.ravel()


def as_mat(x):
    """Flatten all axes but the first."""
    _warn(
        "as_mat", "numpy.reshape or other array backend functions to reshape ndarrays"
    )
    return x if x.ndim == 2 else x.reshape(len(x), -1)


def empty_like(x):
    """Return an array of the same shape and type, not filled."""
    _warn(
        "empty_like",
        "numpy.empty_like or other array backend functions to initialize empty arrays",
    )
    return _backend.get_array_module(x).empty_like(x)


def size_of_shape(shape):
    """Return the number of elements."""
    return int(math.prod(shape))


def sum_to(x, shape):
    """Sum over the axes that broadcasting ``shape`` has stretched."""
    if x.shape == shape:
        return x
    if hasattr(x, "raw_array"):
        raise TypeError(
            "chainer.utils.sum_to does not support Variable input. "
            "Use chainer.functions.sum_to instead."
        )
    lead = x.ndim - len(shape)
    stretched = tuple([i + lead for i, size in enumerate(shape) if size == 1])
    return x.sum((*range(lead), *stretched), keepdims=True).reshape(shape)
