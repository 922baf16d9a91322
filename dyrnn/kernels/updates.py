"""What happens to gradients and parameters in an update."""

import numpy as np

from dyrnn.backend import get_array_module
from dyrnn.kernels.dispatch import kernel


@kernel("arrays")
def squared_norms(arrays):
    """Return the sum of the squares of each array: floats, NaN and inf too."""
    xp = get_array_module(*arrays)
    return [float(xp.sum(xp.square(a.astype(xp.float64)))) for a in arrays]


@kernel("arrays")
def clip(arrays, threshold):
    """Scale arrays in place so that their common L2 norm is at most ``threshold``.

    Where the norm is not finite they are all set to 0. A device is not waited for.

    Returns
    -------
    (len(arrays),) bool
        Which of the arrays have a norm that is not finite.
    """
    xp = get_array_module(arrays[0])
    squares = xp.stack([xp.sum(xp.square(a.astype(xp.float64))) for a in arrays])
    norm = xp.sqrt(xp.sum(squares))
    rate = threshold / xp.maximum(norm, threshold)
    is_sound = xp.isfinite(norm)
    for array in arrays:
        array *= rate.astype(array.dtype)
        array[...] = xp.where(is_sound, array, xp.zeros_like(array))
    return ~xp.isfinite(squares)


@kernel("items")
def update(optimizer, numbers, rate, items):
    """Apply an optimizer's rule to parameters of one type.

    Parameters
    ----------
    optimizer : object
        With the formula as ``rule(p, g, **states, **numbers)``, which changes ``p`` and
        the states in place, and its text for one element as ``cuda``, if there is one.
        Both have the names of ``states`` and ``numbers``.
    numbers : dict of float
    rate : float
        A factor of all gradients.
    items : list of (array, gradient, states)
        A parameter and its state arrays by name, changed in place.
    """
    for array, gradient, states in items:
        dtype = working_dtype(array.dtype)
        p = array.astype(dtype, copy=False)
        mine = {name: state.astype(dtype, copy=False) for name, state in states.items()}
        g = get_array_module(array).multiply(gradient, rate, dtype=dtype)
        optimizer.rule(p, g, **mine, **numbers)
        for name, state in states.items():
            if mine[name] is not state:
                state[...] = mine[name]
        if p is not array:
            array[...] = p


def working_dtype(dtype):
    """Return the type to compute in: squares of float16 gradients underflow."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype
