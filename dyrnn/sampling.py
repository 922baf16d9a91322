"""Text from a language model: draw a token, feed it back, go on.

Draws come from the random stream ``sampling``, so a seed gives the same text again.
`beam_search` looks for the likeliest text instead.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from dyrnn import backend, random
from dyrnn.config import no_backprop_mode, using_config
from dyrnn.engine.core import Variable, as_array
from dyrnn.errors import NonFiniteError, ShapeError
from dyrnn.functions.checks import as_ids
from dyrnn.link import Link
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
    _check_options(temperature, top_k, top_p)
    logits = _checked(logits)
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


def _check_options(temperature, top_k, top_p):
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be 0 or more, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")


def _checked(logits):
    """Return logits (B, V) as float64 on the CPU."""
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
    return logits


def draw(
    logits: Array,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stream: random.Stream | None = None,
) -> Array:
    """Draw one token for each row of logits (B, V); return ids (B,), int32.

    ``stream`` is where the random numbers come from, by default
    ``random.stream("sampling")``. The other arguments are those of
    :func:`probabilities`.
    """
    p = probabilities(logits, temperature, top_k, top_p)
    cumulated = np.cumsum(p, axis=1)
    total = cumulated[:, -1:]
    stream = random.stream("sampling") if stream is None else stream
    u = stream.generator.random((len(p), 1)) * total
    u = np.minimum(u, np.nextafter(total, 0))  # the product may round up to the total
    return (cumulated <= u).sum(axis=1).astype(np.int32)


def generate(
    predict: Callable,
    prime: Array | Sequence[Any],
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | Collection[int] = (),
    seed: int | None = None,
    lengths: Array | Sequence[int] | None = None,
) -> Iterator[Any]:
    """Continue a sequence, token by token, as long as the caller asks for more.

    Parameters
    ----------
    predict : callable
        Takes ids (B,), returns logits (B, V) and carries its state from call to call,
        as a recurrent model does. Reset the state first.
    prime : array of int, (T,) or (T, B)
        What to continue; at least one token each. B sequences are continued side by
        side.
    length : int
        How many tokens to draw.
    temperature, top_k, top_p
        See :func:`probabilities`.
    stop : int or collection of int
        Tokens that end a sequence, and are its last. In a batch it repeats that token
        until all have ended.
    seed : int, optional
        Draw the numbers that ``random.seed(seed)`` would give, and no others.
    lengths : array of int, (B,), optional
        How many tokens of each column of ``prime`` are a prompt; others are padding.
        ``predict`` is then called for fewer rows as shorter prompts end, the longest
        ones first, as recurrent layers allow.

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
    >>> list(generate(count, [3, 4], 5, stop=7))
    [5, 6, 7]
    >>> prime = [[1, 4], [0, 5]]  # the prompts are 1, and 4 and 5
    >>> [ids.tolist() for ids in generate(count, prime, 2, lengths=[1, 2])]
    [[2, 6], [3, 7]]
    """
    _check_options(temperature, top_k, top_p)
    prompts, is_batch = _prompts("generate", prime, lengths)
    stops = _stops("generate", stop)
    stream = None if seed is None else random.Stream("sampling", seed)
    options = temperature, top_k, top_p, stream
    return _generate(predict, prompts, is_batch, length, stops, options)


def _generate(predict, prompts, is_batch, length, stops, options):
    order = np.argsort([-len(prompt) for prompt in prompts], kind="stable")
    back = np.argsort(order, kind="stable")
    logits = _read(predict, [prompts[i] for i in order])
    ids = np.zeros(len(prompts), np.int32)
    is_over = np.zeros(len(prompts), bool)
    for i in range(length):
        ids = np.where(is_over, ids, draw(logits[back], *options)[order])
        is_over |= np.isin(ids, stops)
        yield ids[back] if is_batch else int(ids[0])
        if is_over.all():
            return
        if i + 1 < length:
            logits = backend.to_cpu(_logits(predict, ids))


class Hypothesis(NamedTuple):
    """A sequence that a beam search found.

    Attributes
    ----------
    ids : list of int
        What follows the prompt, with the token that stopped it.
    log_probability : float
        The sum over its tokens, in nats.
    score : float
        ``log_probability / len(ids) ** length_penalty``, by which they are sorted.
    """

    ids: list[int]
    log_probability: float
    score: float


def beam_search(
    predict: Callable,
    prime: Array | Sequence[Any],
    length: int,
    width: int = 4,
    stop: int | Collection[int] = (),
    length_penalty: float = 0.0,
    state: Link | Callable | None = None,
    lengths: Array | Sequence[int] | None = None,
) -> list[Any]:
    """Look for the likeliest continuations, keeping the best few at each step.

    Parameters
    ----------
    predict : Link or callable
        As in :func:`generate`.
    prime : array of int, (T,) or (T, B)
        What to continue; at least one token each.
    length : int
        The most tokens to add, at least 1.
    width : int
        How many unfinished sequences to keep, and how many to return.
    stop : int or collection of int
        Tokens that end a sequence.
    length_penalty : float
        0 compares the probabilities of whole sequences, which favours short ones; 1
        the mean logarithm per token.
    state : Link, or callable (rows), optional
        What carries the state from call to call, and must go on as row ``rows[i]`` did
        in row i: a model, whose carried state is picked, or a function that does so.
        By default ``predict``, where it is a link or the method of one.
    lengths : array of int, (B,), optional
        As in :func:`generate`.

    Returns
    -------
    list of Hypothesis
        At most ``width``, best first, those that reached ``length`` without a stop
        among them; a list of such lists if ``prime`` has two axes.

    Examples
    --------
    >>> def count(ids):  # the next number, or less likely another
    ...     return np.log(0.7 * np.eye(10)[(ids + 1) % 10] + 0.03)
    >>> best, *_ = beam_search(count, [4], 3, state=lambda rows: None)
    >>> best.ids, round(float(np.exp(best.log_probability)), 3)
    ([5, 6, 7], 0.389)
    """
    if width < 1 or length < 1:
        raise ValueError(
            f"beam_search: width={width} and length={length} must be 1 or more"
        )
    if not 0 <= length_penalty < np.inf:
        raise ValueError(
            f"beam_search: length_penalty={length_penalty} must be 0 or more"
        )
    prompts, is_batch = _prompts("beam_search", prime, lengths)
    stops = _stops("beam_search", stop)
    pick = _picker(predict, state)
    order = np.argsort([-len(prompt) for prompt in prompts], kind="stable")
    logits = _read(predict, [prompts[i] for i in order])
    beams = [_Beam(width, length, stops, length_penalty) for _ in prompts]
    for i in range(length):
        rows: list[int] = []  # of the last call, those that the next one goes on from
        start = 0
        for beam in beams:
            end = start + len(beam.alive)
            rows += [start + row for row in beam.extend(logits[start:end])]
            start = end
        if not rows or i + 1 == length:
            break
        pick(np.array(rows))
        last = [ids[-1] for beam in beams for ids, _ in beam.alive]
        logits = backend.to_cpu(_logits(predict, np.array(last, np.int32)))
    found = [beams[i].best() for i in np.argsort(order, kind="stable")]
    return found if is_batch else found[0]


class _Beam:
    """The sequences of one prompt: those that go on, and those that have ended."""

    def __init__(self, width, length, stops, penalty):
        self.width, self.length = width, length
        self.stops, self.penalty = stops, penalty
        self.alive: list[tuple[list[int], float]] = [([], 0.0)]
        self.ended: list[Hypothesis] = []

    def extend(self, logits):
        """Add a token to those that go on; return the rows that they went on from."""
        if not self.alive:
            return []
        logits = _checked(logits)
        low = logits - logits.max(axis=1, keepdims=True)
        log_p = low - np.log(np.exp(low).sum(axis=1, keepdims=True))
        log_p += np.array([p for _, p in self.alive])[:, None]
        for token in self.stops[self.stops < log_p.shape[1]]:
            for (ids, _), p in zip(self.alive, log_p[:, token], strict=True):
                if p > -np.inf:
                    self.ended.append(self._scored([*ids, int(token)], float(p)))
            log_p[:, token] = -np.inf
        self.ended = self._best(self.ended)
        # A log-probability only falls, and weighs least in the longest sequence.
        worst = self.ended[-1].score if len(self.ended) == self.width else -np.inf
        bound = worst * self.length**self.penalty
        best = np.argsort(-log_p, axis=None, kind="stable")[: self.width]
        kept = [
            (row, token)
            for row, token in np.transpose(np.unravel_index(best, log_p.shape)).tolist()
            if log_p[row, token] > bound
        ]
        self.alive = [
            ([*self.alive[row][0], token], float(log_p[row, token]))
            for row, token in kept
        ]
        return [row for row, _ in kept]

    def best(self):
        return self._best(self.ended + [self._scored(*each) for each in self.alive])

    def _best(self, hypotheses):
        return sorted(hypotheses, key=lambda found: -found.score)[: self.width]

    def _scored(self, ids, log_p):
        return Hypothesis(ids, log_p, log_p / len(ids) ** self.penalty)


def _picker(predict, state):
    """Return what makes row i of the carried state go on from row ``rows[i]``."""
    owner = getattr(predict, "__self__", predict) if state is None else state
    if not isinstance(owner, Link):
        if not callable(state):
            raise TypeError(
                "beam_search: what carries the state is not known, since predict is "
                "not a link or the method of one. Give state=model, or a function "
                "state=lambda rows: ... that picks rows of it, or does nothing where "
                "no state is carried."
            )
        return state

    def pick(rows):
        for link in owner.links():
            at = link.xp.asarray(rows)
            for name in link.carried:
                value = getattr(link, name)
                if value is not None:
                    picked = Variable(as_array(value)[at], requires_grad=False)
                    setattr(link, name, picked)

    return pick


def _prompts(name, prime, lengths):
    """Return prompts as a list of ids, and whether they are a batch."""
    prime = as_ids(name, prime)
    if prime.ndim not in (1, 2):
        raise ShapeError(
            f"{name}: prime has shape {prime.shape}; it must be (T,) or (T, B)"
        )
    columns = list(np.atleast_2d(prime.T))
    if lengths is not None:
        lengths = as_ids(name, lengths)
        if lengths.shape != (len(columns),) or lengths.max(initial=0) > len(prime):
            raise ShapeError(
                f"{name}: lengths are {lengths.tolist()}; they must be one for each of "
                f"the {len(columns)} sequences, of at most {len(prime)} tokens"
            )
        columns = [ids[: max(n, 0)] for ids, n in zip(columns, lengths, strict=True)]
    if not columns or not all(len(ids) for ids in columns):
        raise ValueError(f"{name} needs at least one token to continue, got none")
    return columns, prime.ndim == 2


def _stops(name, stop):
    stops = as_ids(name, list(stop) if isinstance(stop, Collection) else [stop])
    if (stops < 0).any():
        raise ValueError(f"{name}: stop={stop!r}, but tokens are 0 or more")
    return np.unique(stops)


def _read(predict, prompts):
    """Return the logits (B, V) after prompts, which are sorted longest first."""
    logits: list[Any] = [None] * len(prompts)
    for t in range(len(prompts[0])):
        ids = np.array([prompt[t] for prompt in prompts if len(prompt) > t], np.int32)
        y = backend.to_cpu(_logits(predict, ids))
        for b, prompt in enumerate(prompts[: len(ids)]):
            if len(prompt) == t + 1:
                logits[b] = y[b : b + 1]
    return np.concatenate(logits)


def _logits(predict, ids):
    with using_config("train", False), no_backprop_mode():
        y = predict(ids)
    return y.array if isinstance(y, Variable) else y
