"""Random masks."""

import numpy as np

from dyrnn.backend import get_array_module
from dyrnn.kernels.dispatch import kernel


@kernel("like")
def dropout_mask(like, generator, ratio):
    """Draw a mask of 0 and 1 / (1 - p), p being ``ratio`` to the nearest 1 / 65536.

    Some elements are dropped, and some kept, whatever the ratio rounds to.

    Each element compares 16 random bits with a threshold.

    Parameters
    ----------
    like : array
        The mask has its shape and dtype, and is where it is.
    generator : numpy.random.Generator
        Over Philox. Every device draws the same numbers, and goes on with the same.
    """
    words = generator.integers(0, 2**64, -(-like.size // 4), np.uint64, endpoint=False)
    bits = words.astype("<u8", copy=False).view("<u2")[: like.size]
    threshold = drop_threshold(ratio, like.dtype)
    keep = (2**16 - threshold) / 2**16
    mask = np.empty(like.shape, like.dtype)
    is_kept = bits.reshape(like.shape) >= threshold
    np.multiply(is_kept, mask.dtype.type(1 / keep), out=mask)
    return mask if type(like) is np.ndarray else get_array_module(like).asarray(mask)


def drop_threshold(ratio, dtype):
    """Return how many of 65536 values stand for a dropped element.

    What is kept is scaled to its mean: halves hold a factor of 32768, but not 65536.
    """
    most = 2**16 - (2 if dtype == np.float16 else 1)
    return min(max(1, round(ratio * 2**16)), most)
