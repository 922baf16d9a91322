"""Rows for attention, one sequence and one step at a time."""

import numpy as np

import dyrnn.functions as F
from tests.functions.cases import Case, spread

S, T, B, K, D = 2, 3, 2, 4, 5
QUERY, STEP = spread(S, B, K), spread(B, K, seed=1)
KEYS, VALUES = spread(T, B, K, seed=2), spread(T, B, D, seed=3)
V = spread(K, seed=4)
LENGTHS = np.array([1, 3])
CAUSAL = np.tri(S, T, dtype=bool)[..., None]
MASK = np.array([[True, True], [False, True], [True, False]])


def averages(score, query, keys, values=None, lengths=None, mask=None):
    """Return averages and weights of a window of queries, by their formula."""
    values = keys if values is None else values
    weights = np.zeros((len(query), keys.shape[1], len(keys)))
    for s, b in np.ndindex(weights.shape[:2]):
        counts = np.arange(len(keys)) < (len(keys) if lengths is None else lengths[b])
        if mask is not None:
            counts &= mask[:, b] if mask.ndim == 2 else mask[s, :, 0]
        e = np.exp([score(query[s, b], k) for k in keys[:, b]]) * counts
        weights[s, b] = e / max(e.sum(), 1e-300)
    return np.einsum("sbt,tbd->sbd", weights, values), weights


def dot(query, keys, *args, **options):
    return averages(lambda q, k: 0.5 * q @ k, query, keys, *args, **options)


def additive(query, keys, v, *args, **options):
    return averages(lambda q, k: v @ np.tanh(q + k), query, keys, *args, **options)


def row(name, reference, inputs, label, fixed=None, **options):
    fixed = fixed or {}

    def function(*xs):
        device = xs[0].device
        sent = {key: device.send(array) for key, array in fixed.items()}
        return getattr(F, name)(*xs, **sent, **options)

    return Case(name, function, lambda *xs: reference(*xs, **fixed), inputs, label)


def of_step(reference):
    def first(query, *args, **options):
        return [y[0] for y in reference(query[None], *args, **options)]

    return first


MEMORY = (KEYS, VALUES)
CASES = [
    row("attention", dot, (QUERY, KEYS), "keys", scale=0.5),
    row("attention", of_step(dot), (STEP, *MEMORY), "step", scale=0.5),
    row("attention", dot, (QUERY, *MEMORY), "lengths", {"lengths": LENGTHS}, scale=0.5),
    row("attention", dot, (QUERY, *MEMORY), "causal", {"mask": CAUSAL}, scale=0.5),
    row(
        "attention",
        dot,
        (QUERY, *MEMORY),
        "both",
        {"mask": MASK, "lengths": np.array([0, 3])},
        scale=0.5,
    ),
    row("additive_attention", additive, (QUERY, KEYS, V, VALUES), "window"),
    row(
        "additive_attention",
        of_step(additive),
        (STEP, KEYS, V),
        "step",
        {"lengths": LENGTHS},
    ),
]
