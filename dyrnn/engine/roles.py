"""What the arrays are that a node saves: inputs, outputs, or neither.

They are told apart by identity when the node runs, for the sake of gradients of
gradients: an input or output stands for a variable of the graph.
"""

from dyrnn import backend


def distinct(inputs, arrays):
    """Give different variables that share one array different array objects.

    :func:`role` tells saved arrays apart by identity: it would take one for another.
    """
    seen = {}
    for i, array in enumerate(arrays):
        if backend.is_array(array):
            if seen.setdefault(id(array), inputs[i]) is not inputs[i]:
                arrays[i] = array.view()
    return arrays


def roles_of(saved, inputs, outputs):
    """Return the role of each array that was saved."""
    return [role(array, inputs, outputs) for array in saved]


def role(array, inputs, outputs):
    """Return what a saved array is: an input, an output, a constant, or None.

    Integers and booleans (ids, masks) are constants, whatever they were computed from:
    they do not change with small changes of the inputs.
    """
    if not hasattr(array, "dtype"):
        return ("number", 0)
    for i, x in enumerate(inputs):
        if array is x:
            return ("input", i)
    for i, y in enumerate(outputs):
        if array is y:
            return ("output", i)
    return ("constant", 0) if array.dtype.kind in "biu" else None
