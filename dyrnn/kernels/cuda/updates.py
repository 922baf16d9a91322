"""Between a gradient and an update: clipping, and the rules.

Many small arrays share a launch, by a table of their addresses.
"""

import numpy as np

from dyrnn.kernels.cuda import device
from dyrnn.kernels.cuda.device import dense, launch, wide, works_on
from dyrnn.kernels.cuda.sources import RULES

_MANY, _CHUNK = 24, 4096  # as in many.cu
_TABLE = np.dtype(
    [(name, np.int64, _MANY) for name in ("size", "p", "g", "s0", "s1", "s2")]
    + [("rate", np.float64, _MANY), ("first", np.int32, _MANY + 1), ("count", "i4")],
    align=True,
)
_NUMBERS = np.dtype([("k", np.float64, 8)])


def _tables(arrays):
    """Yield tables of addresses for up to 24 arrays each, and which ones they are."""
    address = device.machine().address
    for start in range(0, len(arrays), _MANY):
        part = slice(start, min(start + _MANY, len(arrays)))
        table, first = np.zeros((), _TABLE), 0
        for i, array in enumerate(arrays[part]):
            table["p"][i], table["size"][i] = address(array), array.size
            first += -(-array.size // _CHUNK)
            table["first"][i + 1 :] = first
        table["count"] = part.stop - part.start
        yield table, part, first


def clip(arrays, threshold):
    """Three kernels for all arrays."""
    if not works_on(*arrays):
        return NotImplemented
    xp, dtype = device.machine().xp, arrays[0].dtype
    squares = xp.empty(len(arrays), np.float64)
    bad = xp.empty(len(arrays), np.bool_)
    tables = list(_tables(arrays))
    for table, part, blocks in tables:
        parts = xp.empty(blocks, np.float64)
        if blocks:
            launch("many", "partial_squares", dtype, blocks, 256, (table, parts), 256)
        args, count = (table, parts, squares[part], bad[part]), int(table["count"])
        launch("many", "add_squares", dtype, count, 256, args, 256)
    for table, _, blocks in tables:
        args = table, float(threshold), len(arrays), squares
        if blocks:
            launch("many", "clip", dtype, blocks, 256, args)
    return bad


def update(rule, numbers, items):
    """One kernel for all parameters."""
    arrays = [array for array, *_ in items]
    states = [state for *_, state in items]
    dtype = arrays[0].dtype
    if rule not in RULES or not works_on(*arrays):
        return False
    if any(
        a.dtype != wide(dtype) or not a.flags.c_contiguous for s in states for a in s
    ):
        return False
    gpu = device.machine()
    gradients = dense(*(g.astype(dtype, copy=False) for _, g, *_ in items))
    k = np.zeros((), _NUMBERS)
    k["k"][: len(numbers)] = numbers
    for table, part, blocks in _tables(arrays):
        for i, n in enumerate(range(part.start, part.stop)):
            table["g"][i], table["rate"][i] = gpu.address(gradients[n]), items[n][2]
            for name, state in zip(("s0", "s1", "s2"), states[n], strict=False):
                table[name][i] = gpu.address(state)
        if blocks:
            text = " ".join(RULES[rule].split())
            launch("update", "update", dtype, blocks, 256, (table, k), RULE=text)
    return True
