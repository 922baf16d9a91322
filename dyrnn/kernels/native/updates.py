"""Update rules as one pass over memory."""

import numpy as np

from dyrnn.kernels.native import NUMBERS, parts, run


def update(optimizer, numbers, rate, items):
    """Use the rule that has the optimizer's text; none: it is left to NumPy."""
    rule = " ".join((optimizer.cuda or "").split())
    if rule not in NUMBERS:
        return NotImplemented
    names = list(items[0][2])
    values = [float(number) for number in numbers.values()]
    values += [0.0] * (8 - len(values))
    is_apart = [
        (array, gradient, states)
        for array, gradient, states in items
        if not (
            array.flags.c_contiguous
            and all(states[name].flags.c_contiguous for name in names)
            and all(states[name].dtype == array.dtype for name in names)
        )
    ]
    if is_apart:
        return NotImplemented
    for array, gradient, states in items:
        kept = [states[name] for name in names]
        kept += [None] * (3 - len(kept))
        gradient = np.ascontiguousarray(gradient, array.dtype)
        threads = parts(array.size // 4)
        run(rule, threads, array, gradient, *kept, *values, array.size, float(rate))
    return None
