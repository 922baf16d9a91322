"""Text from a language model: draw a token, feed it back, go on.

Draws come from the random stream ``sampling``, so a seed gives the same text again.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dyrnn import backend, random
from dyrnn.config import no_backprop_mode, using_config
from dyrnn.engine.core import Variable
from dyrnn.errors import NonFiniteError, ShapeError
from dyrnn.functions.checks import as_ids
from dyrnn.typing import Array


def probabilities(
    logits: Array,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Array:
    """Return softmax(logits / temperature), cut down to the likeliest tokens.

    Parameters
    ----------
    logits : ndarray, (B, V), float
        Unnormalised log-probabilities.
    temperature : float
        Below 1 for likelier tokens, above 1 for more surprising ones; 0 always takes
        the likeliest.
    top_k : int, optional
        Keep the ``top_k`` likeliest tokens only.
    top_p : float, optional
        Keep the likeliest tokens that together reach the probability ``top_p``
        (nucleus sampling: Holtzman et al., "The Curious Case of Neural Text
        Degeneration", ICLR 2020).

    Returns
    -------
    ndarray, (B, V), float64
        Each row sums to 1.

    Raises
    ------
    ValueError
        If ``temperature`` is negative, ``top_k`` below 1, ``top_p`` not in (0, 1], or
        all logits of a row are -inf.
    NonFiniteError
        If there is NaN or +inf among the logits.
    """
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be 0 or more, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
    logits = np.asarray(backend.to_cpu(logits), dtype=np.float64)
    if logits.ndim != 2 or not logits.shape[1]:
        raise ShapeError(
            f"sampling: the logits have shape {logits.shape}; they must be (B, V)"
        )
    if not (logits < np.inf).all():
        kind = "NaN" if np.isnan(logits).any() else "infinite"
        raise NonFiniteError(
            f"sampling: the model's logits are {kind}; has it diverged?"
        )
    impossible = np.flatnonzero((logits == -np.inf).all(axis=1))
    if len(impossible):
        raise ValueError(
            f"sampling: all {logits.shape[1]} logits of row {impossible[0]} are -inf; "
            "at least one token must be possible"
        )
    rows = np.arange(len(logits))
    if temperature == 0:
        p = np.zeros_like(logits)
        p[rows, logits.argmax(axis=1)] = 1.0
        return p
    if top_k is not None and top_k < logits.shape[1]:
        kth = np.partition(logits, -top_k, axis=1)[:, -top_k, None]
        logits = np.where(logits >= kth, logits, -np.inf)
    with np.errstate(over="ignore"):  # a temperature near 0
        p = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    p /= p.sum(axis=1, keepdims=True)
    if top_p is not None:
        order = np.argsort(-p, axis=1, kind="stable")
        ranked = np.take_along_axis(p, order, axis=1)
        ranked[np.cumsum(ranked, axis=1) - ranked >= top_p] = 0.0
        np.put_along_axis(p, order, ranked, axis=1)
        p /= p.sum(axis=1, keepdims=True)
    return p


def draw(
    logits: Array,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Array:
    """Draw one token for each row of logits (B, V); return ids (B,), int32.

    The arguments are those of :func:`probabilities`.
    """
    p = probabilities(logits, temperature, top_k, top_p)
    cumulated = np.cumsum(p, axis=1)
    total = cumulated[:, -1:]
    u = random.stream("sampling").generator.random((len(p), 1)) * total
    u = np.minimum(u, np.nextafter(total, 0))  # the product may round up to the total
    return (cumulated <= u).sum(axis=1).astype(np.int32)


def generate(
    predict: Callable,
    prime: Array,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[Any]:
    """Continue a sequence, token by token, as long as the caller asks for more.

    Parameters
    ----------
    predict : callable
        Takes ids (B,), returns logits (B, V) and carries its state from call to call,
        as a recurrent model does. Reset the state first.
    prime : array of int, (T,) or (T, B)
        What to continue; at least one token. B sequences are continued side by side.
    length : int
        How many tokens to draw.
    temperature, top_k, top_p
        See :func:`probabilities`.

    Yields
    ------
    int, or ndarray (B,), int32
        The next token; an array if ``prime`` has two axes.

    Examples
    --------
    >>> def count(ids):  # always expects the next number
    ...     return 50.0 * np.eye(10)[(ids + 1) % 10]
    >>> list(generate(count, [3, 4], 5))
    [5, 6, 7, 8, 9]
    """
    prime = as_ids("generate", prime)
    if len(prime) == 0:
        raise ValueError("generate needs at least one token to continue, got none")
    is_batch = prime.ndim == 2
    logits: Any = None
    for ids in prime:
        logits = _logits(predict, np.atleast_1d(ids))
    for i in range(length):
        ids = draw(logits, temperature, top_k, top_p)
        yield ids if is_batch else int(ids[0])
        if i + 1 < length:
            logits = _logits(predict, ids)


def _logits(predict, ids):
    with using_config("train", False), no_backprop_mode():
        y = predict(ids)
    return y.array if isinstance(y, Variable) else y
