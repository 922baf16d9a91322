"""A loop over time as one call, after Theano's ``scan``."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.config import config
from dyrnn.engine.core import as_array, as_variable
from dyrnn.errors import ShapeError
from dyrnn.functions.joining import stack


def _several(x):
    """Return the values of a tuple or list, one value alone, or none."""
    if x is None:
        return []
    return list(x) if isinstance(x, (tuple, list)) else [x]


def _variable(x, device=backend.CPU):
    """Return a variable; numbers and lists of numbers become arrays on the device."""
    if hasattr(x, "node") or backend.is_array(x):
        return as_variable(x)
    if x is None or isinstance(x, dict):
        raise TypeError(
            f"scan: a value is {'None' if x is None else 'a dict'}, but must be a "
            "variable, array or number; give or return several as a tuple"
        )
    array = np.asarray(x)
    array = array.astype(config.dtype) if array.dtype.kind == "f" else array
    return as_variable(device.send(array) if array.dtype.kind in "biuf" else array)


def _device_of(values):
    """Return the device of the first variable or array, else the CPU."""
    arrays = [as_array(x) for x in values]
    return next(
        (backend.device_of(x) for x in arrays if backend.is_array(x)), backend.CPU
    )


def _number_of_steps(n_steps, counts):
    if n_steps is None:
        if not counts:
            raise ValueError("scan: give sequences or n_steps, to know when to stop")
        n_steps = min(counts)
    if not isinstance(n_steps, (int, np.integer)):
        raise TypeError(f"scan: n_steps must be an integer, not {n_steps!r}")
    if n_steps < 1 or (counts and n_steps > min(counts)):
        raise ValueError(
            f"scan: n_steps={n_steps}, but there must be at least one step, and "
            f"sequences are {counts} long"
        )
    return n_steps


def scan(
    fn: Callable,
    sequences: Any = None,
    outputs_info: Any = None,
    non_sequences: Any = None,
    n_steps: int | None = None,
    return_updates: bool = False,
    go_backwards: bool = False,
) -> Any:
    """Call ``fn`` step after step, handing its results on; return all results.

    Step t calls ``fn(*elements, *results, *constants)``: element t of each sequence,
    the results of step t - 1 (at first ``outputs_info``), and the non-sequences. It is
    an ordinary Python loop, so ``fn`` may do anything.

    Parameters
    ----------
    fn : callable
        Returns as many results as there are outputs, or a bare one.
    sequences : variable, array, list of numbers, or list or tuple of several, optional
        Iterated along the first axis, to the end of the shortest.
    outputs_info : value, list or tuple of values, or None
        First values of the results; None for one that is not handed on. Integers stay
        integers.
    non_sequences : value, or list or tuple of values, optional
        Handed to every call.
    n_steps : int, optional
        How many steps; needed without sequences.
    return_updates : bool
        Return a pair, as Theano's ``results, updates = scan(...)``. The updates are an
        empty dict: a step changes at once what it changes.
    go_backwards : bool
        Begin with the last elements of the sequences.

    Returns
    -------
    Variable, (n_steps, ...), or a tuple of them
        Results of all steps, without the first values.

    Examples
    --------
    >>> scan(lambda prior: prior * 2, outputs_info=5, n_steps=3).array.tolist()
    [10, 20, 40]
    """
    if isinstance(sequences, list) and all(map(np.isscalar, sequences)):
        sequences = (sequences,)
    sequences, given = _several(sequences), _several(outputs_info)
    constants = _several(non_sequences)
    device = _device_of([*sequences, *given, *constants])
    sequences = [_variable(x, device) for x in sequences]
    results: list[Any] = [None if x is None else _variable(x, device) for x in given]
    if any(x.ndim == 0 for x in sequences):
        raise ShapeError("scan: a sequence has no axes; its first one is the time")
    n_steps = _number_of_steps(n_steps, [len(x) for x in sequences])
    if go_backwards:
        sequences = [x[::-1] for x in sequences]
    is_handed_on = [x is not None for x in results]
    history: list = []
    is_bare = True
    for t in range(n_steps):
        prior = [x for x, on in zip(results, is_handed_on, strict=True) if on]
        y = fn(*[x[t] for x in sequences], *prior, *constants)
        is_bare = not isinstance(y, (list, tuple))
        results = [_variable(x, device) for x in ([y] if is_bare else y)]
        is_handed_on = is_handed_on or [False] * len(results)
        if len(results) != len(is_handed_on):
            raise ValueError(
                f"scan: fn returned {len(results)} results, but outputs_info has "
                f"{len(is_handed_on)} entries; use None for one not handed on"
            )
        history.append(results)
        shapes = [[x.shape for x in step] for step in (history[0], results)]
        if shapes[0] != shapes[1]:
            raise ShapeError(
                f"scan: the results of step {t} have shapes {shapes[1]}, but those of "
                f"step 0 {shapes[0]}; all steps must have the same"
            )
    outputs = tuple(stack(steps, axis=0) for steps in zip(*history, strict=True))
    y = outputs[0] if is_bare else outputs
    return (y, {}) if return_updates else y
