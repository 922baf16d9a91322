"""Run one row of the table of functions; needs NumPy and dyrnn only."""

import numpy as np

from dyrnn.engine.core import Variable
from dyrnn.engine.higher_order import grad


def sequence(outputs):
    return [outputs] if isinstance(outputs, Variable) else list(outputs)


def is_float(x):
    return x.dtype.kind == "f"


def run(case, inputs):
    """Return the outputs, and the gradients of the inputs for fixed weights."""
    xs = [Variable(x, requires_grad=is_float(x)) for x in inputs]
    ys = sequence(case.function(*xs))
    if not case.has_gradient:
        return [y.array for y in ys], []
    rng = np.random.default_rng(5)
    gys = [
        y.device.send(rng.uniform(-1, 1, y.shape).astype(y.dtype))
        for y in ys
        if y.requires_grad
    ]
    for gy in gys:
        if isinstance(gy, np.ndarray):
            gy.flags.writeable = False
    wanted = [x for x in xs if x.requires_grad]
    gxs = grad([y for y in ys if y.requires_grad], wanted, gys)
    return [y.array for y in ys], [None if g is None else g.array for g in gxs]


def in_type(inputs, dtype):
    return [x.astype(dtype) if is_float(x) else x for x in inputs]
