"""Attention: an average of what was read, weighted by how well each key fits a query.

Keys and values are windows (T, B, ...), as a recurrent layer returns them; a query is
that of one step (B, ...) or a window of S steps (S, B, ...).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dyrnn.engine.core import Variable, VariableLike, as_array
from dyrnn.errors import ShapeError
from dyrnn.functions.activation import softmax, tanh
from dyrnn.functions.checks import check_floats, variable
from dyrnn.functions.connection import linear
from dyrnn.functions.indexing import where
from dyrnn.functions.products import matmul
from dyrnn.functions.recurrent_windows import check_lengths
from dyrnn.functions.shape import expand_dims, reshape, swapaxes
from dyrnn.typing import Array


def attention(
    query: VariableLike,
    keys: VariableLike,
    values: VariableLike | None = None,
    lengths: Sequence[int] | Array | None = None,
    mask: Array | None = None,
    scale: float = 1.0,
) -> tuple[Variable, Variable]:
    """Average the values by the softmax of the products of query and keys.

    Parameters
    ----------
    query : Variable, (B, K), or a window (S, B, K)
    keys : Variable, (T, B, K)
    values : Variable, (T, B, D), optional
        What is averaged, by default the keys.
    lengths : array of integers, (B,), optional
        How many keys each sequence has; what follows them may hold anything.
    mask : array of bool, (T, B), or (S, T, B) for a window, optional
        True for keys that count. ``np.tri(S, dtype=bool)[..., None]`` lets each of S
        steps see those up to itself.
    scale : float
        Factor of the products; ``K**-0.5`` keeps them near 1 for many units.

    Returns
    -------
    Variable, (B, D) or (S, B, D)
        The averages; 0 where no key counts.
    Variable, (B, T) or (S, B, T)
        The weights, which sum to 1 over T, or are 0 where no key counts.

    References
    ----------
    Luong, Pham, Manning, "Effective Approaches to Attention-based Neural Machine
    Translation", EMNLP 2015. For their general form, ``F.attention(query,
    F.linear(keys, W), keys)``.

    Examples
    --------
    >>> keys = np.eye(3)[:, None]  # three keys of one sequence
    >>> _, weights = attention(9 * np.eye(3)[1:2], keys, lengths=[2])
    >>> weights.array.round(2)
    array([[0., 1., 0.]])
    """
    name = "attention"
    query, keys = variable(name, "query", query), variable(name, "keys", keys)
    memory = remember(name, keys, values, lengths, mask)
    if query.shape[-1:] != keys.shape[-1:]:
        raise ShapeError(
            f"{name}: query has shape {query.shape}, but keys {keys.shape}; they must "
            "have as many features. Map one of them by a linear function."
        )
    q = of_steps(name, query, memory[0])
    return attend(query, matmul(q * scale, memory[0], transb=True), *memory[1:])


def additive_attention(
    query: VariableLike,
    keys: VariableLike,
    v: VariableLike,
    values: VariableLike | None = None,
    lengths: Sequence[int] | Array | None = None,
    mask: Array | None = None,
) -> tuple[Variable, Variable]:
    """Average the values by the softmax of ``tanh(query + keys) @ v``.

    Query and keys are mapped to as many features first, which for the keys is done once
    for all steps.

    Parameters
    ----------
    query : Variable, (B, K), or a window (S, B, K)
    keys : Variable, (T, B, K)
    v : Variable, (K,)
    values, lengths, mask
        As in :func:`attention`.

    Returns
    -------
    Variable, Variable
        As :func:`attention` does.

    References
    ----------
    Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to Align and
    Translate", ICLR 2015.
    """
    name = "additive_attention"
    query, keys = variable(name, "query", query), variable(name, "keys", keys)
    v = variable(name, "v", v)
    memory = remember(name, keys, values, lengths, mask)
    if not v.shape == query.shape[-1:] == keys.shape[-1:]:
        raise ShapeError(
            f"{name}: query has shape {query.shape}, keys {keys.shape} and v "
            f"{v.shape}; they must have as many features"
        )
    scores = additive_scores(of_steps(name, query, memory[0]), memory[0], v)
    return attend(query, scores, *memory[1:])


def additive_scores(query, keys, v):
    """Return (B, S, T) of a query (B, S, K), keys (B, T, K) and v (K,)."""
    x = tanh(expand_dims(query, 2) + expand_dims(keys, 1))
    return reshape(linear(x, expand_dims(v, 0)), x.shape[:3])


def remember(name, keys, values=None, lengths=None, mask=None):
    """Check and return keys (B, T, K), values (B, T, D), and a mask (B, 1 or S, T)."""
    values = keys if values is None else variable(name, "values", values)
    if keys.ndim != 3 or values.ndim != 3 or keys.shape[:2] != values.shape[:2]:
        raise ShapeError(
            f"{name}: keys have shape {keys.shape} and values {values.shape}; they "
            "must be (T, B, K) and (T, B, D)"
        )
    if keys.shape[0] == 0 or keys.shape[1] == 0:
        raise ShapeError(f"{name}: keys of shape {keys.shape} are none; give one each")
    T, B = keys.shape[:2]
    if mask is not None:
        mask = as_array(mask)
        if getattr(mask, "dtype", None) != np.bool or not (
            mask.shape == (T, B)
            or (mask.ndim == 3 and mask.shape[1] == T and mask.shape[2] in (1, B))
        ):
            raise ShapeError(
                f"{name}: mask is {getattr(mask, 'dtype', type(mask).__name__)} of "
                f"shape {getattr(mask, 'shape', '?')}; it must be bool, ({T}, {B}) or "
                f"(S, {T}, {B}), True for keys that count"
            )
    is_on = mask if mask is not None and mask.ndim == 2 else None
    if lengths is not None:
        xp = keys.xp
        is_there = xp.arange(T)[:, None] < check_lengths(name, xp, lengths, keys)
        is_on = is_there if is_on is None else is_on & is_there
    if is_on is not None:  # a weight of 0 would not help against NaN
        same = values is keys
        keys = where(is_on[..., None], keys, 0.0)
        values = keys if same else where(is_on[..., None], values, 0.0)
    if mask is None or mask.ndim == 2:
        mask = None if is_on is None else is_on.T[:, None]
    else:
        mask = mask.transpose(2, 0, 1)
        mask = mask if is_on is None else mask & is_on.T[:, None]
    same = values is keys
    keys = swapaxes(keys, 0, 1)
    return keys, keys if same else swapaxes(values, 0, 1), mask


def of_steps(name: str, query: Any, keys: Any) -> Any:
    """Return a query as (B, S, K)."""
    if query.ndim not in (2, 3) or query.shape[-2] != keys.shape[0]:
        raise ShapeError(
            f"{name}: query has shape {query.shape}; it must be (B, K) or (S, B, K), "
            f"with the {keys.shape[0]} sequences of the keys as B"
        )
    check_floats(name, query=query, keys=keys)
    return expand_dims(query, 1) if query.ndim == 2 else swapaxes(query, 0, 1)


def attend(query, scores, values, mask):
    """Return the averages of values and the weights, both in the form of the query."""
    if mask is None:
        weights = softmax(scores)
    else:
        if mask.shape[1] not in (1, scores.shape[1]):
            raise ShapeError(
                f"attention: the mask is for {mask.shape[1]} steps, but the query has "
                f"{scores.shape[1]}"
            )
        lowest = float(np.finfo(scores.dtype).min)
        weights = where(mask, softmax(where(mask, scores, lowest)), 0.0)
    y = matmul(weights, values)
    if query.ndim == 2:
        return y[:, 0], weights[:, 0]
    return swapaxes(y, 0, 1), swapaxes(weights, 0, 1)
