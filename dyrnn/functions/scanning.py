"""A loop over time as one call, after Theano's ``scan``."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.config import config
from dyrnn.engine.core import as_variable
from dyrnn.errors import ShapeError
from dyrnn.functions.joining import stack


def _several(x):
    """Return the values of a tuple or list, one value alone, or none."""
    if x is None:
        return []
    return list(x) if isinstance(x, (tuple, list)) else [x]


def _variable(x):
    """Return a variable; numbers and lists of numbers become arrays."""
    if hasattr(x, "node") or backend.is_array(x):
        return as_variable(x)
    array = np.asarray(x)
    return as_variable(array.astype(config.dtype) if array.dtype.kind == "f" else array)


def scan(
    fn: Callable,
    sequences: Any = None,
    outputs_info: Any = None,
    non_sequences: Any = None,
    n_steps: int | None = None,
    return_updates: bool = False,
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
    sequences = [_variable(x) for x in _several(sequences)]
    given = _several(outputs_info)
    results = [None if x is None else _variable(x) for x in given]
    constants = _several(non_sequences)
    if any(x.ndim == 0 for x in sequences):
        raise ShapeError("scan: a sequence has no axes; its first one is the time")
    counts = [len(x) for x in sequences]
    if n_steps is None:
        if not counts:
            raise ValueError("scan: give sequences or n_steps, to know when to stop")
        n_steps = min(counts)
    if n_steps < 1 or (counts and n_steps > min(counts)):
        raise ValueError(
            f"scan: n_steps={n_steps}, but there must be at least one step, and "
            f"sequences are {counts} long"
        )
    is_handed_on = [x is not None for x in results]
    history: list = []
    is_bare = True
    for t in range(n_steps):
        prior = [x for x, on in zip(results, is_handed_on, strict=True) if on]
        y = fn(*[x[t] for x in sequences], *prior, *constants)
        is_bare = not isinstance(y, (list, tuple))
        results = [_variable(x) for x in ([y] if is_bare else y)]
        is_handed_on = is_handed_on or [False] * len(results)
        if len(results) != len(is_handed_on):
            raise ValueError(
                f"scan: fn returned {len(results)} results, but outputs_info has "
                f"{len(is_handed_on)} entries; use None for one not handed on"
            )
        history.append(results)
    outputs = tuple(stack(steps, axis=0) for steps in zip(*history, strict=True))
    y = outputs[0] if is_bare else outputs
    return (y, {}) if return_updates else y
