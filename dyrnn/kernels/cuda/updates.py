"""Between a gradient and an update: clipping, and the rules.

Many small arrays share a launch, by a table of their addresses.
"""

import numpy as np

from dyrnn.kernels.cuda import device
from dyrnn.kernels.cuda.device import dense, launch, works_on

_MANY, _CHUNK, _STATES, _COUNT = 24, 4096, 3, 8  # as in many.cu and update.cu
_TABLE = np.dtype(
    [(name, np.int64, _MANY) for name in ("size", "p", "g")]
    + [("state", np.int64, (_STATES, _MANY))]
    + [("first", np.int32, _MANY + 1), ("count", "i4")],
    align=True,
)
_NUMBERS = np.dtype([("k", np.float64, _COUNT), ("rate", np.float64)])


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


def update(optimizer, numbers, rate, items):
    """One kernel for all parameters."""
    arrays = [array for array, _, _ in items]
    names = list(items[0][2])
    fits = optimizer.cuda and len(names) <= _STATES and len(numbers) <= _COUNT
    if not (fits and works_on(*arrays)):
        return NotImplemented
    gpu, dtype = device.machine(), arrays[0].dtype
    gradients = dense(*(g.astype(dtype, copy=False) for _, g, _ in items))
    values = np.zeros((), _NUMBERS)
    values["k"][: len(numbers)] = list(numbers.values())
    values["rate"] = rate
    texts = rule_constants(optimizer.cuda, names, numbers)
    for table, part, blocks in _tables(arrays):
        for i, n in enumerate(range(part.start, part.stop)):
            table["g"][i] = gpu.address(gradients[n])
            for k, name in enumerate(names):
                table["state"][k, i] = gpu.address(items[n][2][name])
        if blocks:
            launch("update", "update", dtype, blocks, 256, (table, values), **texts)
    return None


def rule_constants(text, states, numbers):
    """Return what makes a kernel of a rule's text, in which all have their names."""
    types = ["A& p", "A g", *(f"A& __restrict__ {name}" for name in states)]
    types += [f"A {name}" for name in numbers]
    places = [f"table.state[{k}][i][n]" for k in range(len(states))]
    places += [f"(A)numbers.k[{k}]" for k in range(len(numbers))]
    return {
        "PARAMETERS": ", ".join(types),
        "ARGUMENTS": ", ".join(["p", "g", *places]),
        "RULE": " ".join(text.split()),
    }
