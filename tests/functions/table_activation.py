"""Rows for activation functions."""

import math

import numpy as np

import dyrnn.functions as F
from tests.functions.cases import Case, spread

A = spread(2, 3)
PAIRS = spread(2, 4, seed=1)
TENSOR = spread(2, 4, 3, seed=2)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normal_cdf(x):
    return np.vectorize(lambda v: math.erfc(-v / 2**0.5) / 2)(x)


def gelu_by_tanh(x):
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))


def softmax(x, axis=1):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def row(name, reference, x=A, label="", **options):
    return Case(name, lambda x: getattr(F, name)(x, **options), reference, (x,), label)


CASES = [
    row("tanh", np.tanh),
    row("tanh", np.tanh, spread(), "no_axes"),
    row("sigmoid", sigmoid),
    row("sigmoid", sigmoid, spread(), "no_axes"),
    row("hard_sigmoid", lambda x: np.clip(0.2 * x + 0.5, 0, 1), 3 * A),
    row("relu", lambda x: np.maximum(x, 0)),
    row("clipped_relu", lambda x: np.clip(x, 0, 1.1), z=1.1),
    row("relu6", lambda x: np.clip(x, 0, 6), 4 * A),
    row("leaky_relu", lambda x: np.where(x > 0, x, 0.2 * x)),
    row(
        "leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x), label="slope", slope=0.01
    ),
    row("elu", lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    row(
        "elu", lambda x: np.where(x > 0, x, 0.3 * np.expm1(x)), label="alpha", alpha=0.3
    ),
    row(
        "selu",
        lambda x: (
            1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))
        ),
    ),
    row("crelu", lambda x: np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], 1)),
    row(
        "crelu",
        lambda x: np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], -1),
        label="last",
        axis=-1,
    ),
    Case("prelu", F.prelu, lambda x, W: np.where(x > 0, x, W * x), (A, spread(3))),
    Case(
        "prelu",
        F.prelu,
        lambda x, W: np.where(x > 0, x, W[:, None] * x),
        (TENSOR, spread(4)),
        "channels",
    ),
    Case(
        "prelu", F.prelu, lambda x, W: np.where(x > 0, x, W * x), (A, spread()), "one"
    ),
    row("softplus", lambda x: np.log1p(np.exp(x))),
    row("softplus", lambda x: np.log1p(np.exp(3 * x)) / 3, label="beta", beta=3.0),
    row("softsign", lambda x: x / (1 + np.abs(x))),
    row("swish", lambda x: x * sigmoid(x)),
    Case(
        "swish", F.swish, lambda x, beta: x * sigmoid(beta * x), (A, spread(3)), "beta"
    ),
    row("gelu", lambda x: x * normal_cdf(x)),
    row("gelu", lambda x: x * normal_cdf(x), spread(7, low=-9, high=9), "far"),
    row("gelu", gelu_by_tanh, label="approximate", approximate=True),
    row("softmax", softmax),
    row("softmax", lambda x: softmax(x, -1), TENSOR, "last", axis=-1),
    row("log_softmax", lambda x: np.log(softmax(x))),
    row("log_softmax", lambda x: np.log(softmax(x, 0)), TENSOR, "first", axis=0),
    row("maxout", lambda x: x.reshape(2, 2, 2).max(2), PAIRS, pool_size=2),
    row(
        "maxout",
        lambda x: x.reshape(2, 2, 2, 3).max(2),
        TENSOR,
        "axes",
        pool_size=2,
        axis=1,
    ),
]
