"""Dropout masks."""

import numpy as np

from dyrnn.kernels.cuda import device
from dyrnn.kernels.cuda.device import is_known, launch
from dyrnn.kernels.masks import drop_threshold

_STREAM = np.dtype(
    [("counter", "u8", 4), ("key", "u8", 2), ("buffer", "u8", 4), ("left", "i8")]
)


def dropout_mask(like, generator, ratio):
    """Draw the same numbers from the same stream as the CPU, on the device."""
    dtype, size, state = like.dtype, like.size, generator.bit_generator.state
    if not is_known(dtype) or size == 0:
        return NotImplemented
    words = -(-size // 4)
    stream = np.zeros((), _STREAM)
    stream["counter"], stream["key"] = state["state"]["counter"], state["state"]["key"]
    stream["buffer"], left = state["buffer"], 4 - state["buffer_pos"]
    stream["left"] = left
    blocks = max(0, -(-(words - left) // 4))
    _skip(generator, state, words, left, blocks)
    threshold = drop_threshold(ratio, dtype)
    mask = device.machine().xp.empty(like.shape, dtype)
    args = np.int64(size), threshold, 2**16 / (2**16 - threshold), stream, mask
    launch("masks", "dropout_mask", dtype, -(-(blocks + 1) // 256), 256, args)
    return mask


def _skip(generator, state, words, left, blocks):
    """Move a generator over Philox on by ``words`` words: ``blocks`` new blocks."""
    bits = generator.bit_generator
    if blocks == 0:
        bits.random_raw(words)
        return
    counter = sum(int(c) << 64 * i for i, c in enumerate(state["state"]["counter"]))
    counter += blocks - 1
    state["state"]["counter"] = np.array(
        [counter >> 64 * i & (1 << 64) - 1 for i in range(4)], np.uint64
    )
    state["buffer_pos"] = 4
    bits.state = state
    bits.random_raw(words - left - 4 * (blocks - 1))
