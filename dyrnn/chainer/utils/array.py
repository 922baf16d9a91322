"""Arrays and shapes."""

import math


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
