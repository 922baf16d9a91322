"""Update rules as one pass over memory."""

import numpy as np

from dyrnn.kernels import machine
from dyrnn.kernels.native import NUMBERS, run_each

_WORTH = 32768  # numbers that another thread pays for


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
    most, calls = machine.threads(), []
    for array, gradient, states in items:
        kept = [states[name] for name in names]
        kept += [None] * (3 - len(kept))
        gradient = np.ascontiguousarray(gradient, array.dtype)
        threads = max(1, min(most, array.size // _WORTH))
        arrays = array, gradient, *kept
        calls.append((rule, threads, *arrays, *values, array.size, float(rate)))
    run_each(calls)
    return None
