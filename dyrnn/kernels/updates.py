"""What happens to gradients and parameters in an update."""

from dyrnn.backend import get_array_module
from dyrnn.kernels.dispatch import kernel


@kernel("x")
def squared_norm(x):
    """Return the sum of squares as a Python float (blocks are added up in float64)."""
    xp = get_array_module(x)
    return float(xp.sum(xp.square(x.astype(xp.float64))))


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
def update(rule, numbers, items):
    """Apply an optimizer's rule to all parameters at once, if that is faster here.

    Parameters
    ----------
    rule : str
        The class of the optimizer.
    numbers : tuple of float
        What its formula needs, see there.
    items : list of (array, gradient, rate, states)
        A parameter and its state arrays, changed in place, by ``rate * gradient``.

    Returns
    -------
    bool
        False if nothing was done: the optimizer's own rule is the definition.
    """
    return False
