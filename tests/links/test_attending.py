"""Attention as a layer: what it remembers, and that padding does not count."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.backend import to_cpu
from dyrnn.config import using_config
from dyrnn.engine.core import Variable
from dyrnn.errors import ShapeError
from tests.arrays import every_device, xp
from tests.links.checks import check_parameter_gradients, randomize

pytestmark = every_device

SCORES = "dot", "general", "additive"


@pytest.fixture(autouse=True)
def _double():
    with using_config("dtype", np.float64):
        yield


def made(score, rng, K=4):
    return randomize(L.Attention(4, K, score, size=3), rng)


@pytest.mark.parametrize("score", SCORES)
def test_a_window_is_its_steps_and_follows_the_functions(rng, score, device):
    link = made(score, rng)
    keys, query = rng.normal(size=(5, 2, 4)), rng.normal(size=(3, 2, 4))
    if score == "additive":
        W, U = link.W(keys), link.U(query)
        meant, weights = F.additive_attention(U, W, link.v[0], keys)
    else:
        mapped = keys if score == "dot" else link.W(keys)
        meant, weights = F.attention(query, mapped, keys)
    link.to_device(device)
    link.remember(device.send(keys))
    y = link(device.send(query))
    np.testing.assert_allclose(to_cpu(y.array), meant.array, rtol=1e-12)
    np.testing.assert_allclose(to_cpu(link.weights.array), weights.array, rtol=1e-12)
    steps = F.stack([link(device.send(q)) for q in query])
    np.testing.assert_allclose(to_cpu(steps.array), meant.array, rtol=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_what_follows_an_end_does_not_matter(rng, score, device):
    link = made(score, rng)
    link.to_device(device)
    keys = rng.normal(size=(5, 3, 4))
    query = Variable(device.send(rng.normal(size=(3, 4))), requires_grad=True)
    lengths = np.array([2, 5, 0])
    found = []
    for filler in (0.0, np.nan):
        padded = keys.copy()
        padded[2:, 0] = padded[:, 2] = filler
        link.cleargrads()
        query.cleargrad()
        link.remember(device.send(padded), lengths=lengths)
        y = link(query)
        F.sum(y * y).backward()
        grads = [to_cpu(x.grad) for x in (query, *link.params())]
        found.append([to_cpu(y.array), *grads])
    link.remember(device.send(keys[:2, :1]))
    np.testing.assert_allclose(
        to_cpu(link(query[:1]).array[0]), found[0][0][0], rtol=1e-12
    )
    for ours, meant in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, meant)
    assert not found[0][0][2].any()  # nothing to attend to


@pytest.mark.parametrize("score", SCORES)
def test_gradients_reach_all_parameters(rng, score):
    link = made(score, rng)
    keys, query = rng.normal(size=(5, 2, 4)), rng.normal(size=(3, 2, 4))

    def loss():
        link.remember(keys, lengths=[3, 5])
        return F.sum(link(query) ** 2)

    if score != "dot":
        check_parameter_gradients(link, loss, rng)


def test_memory_is_carried_state(rng):
    link = made("general", rng)
    link.remember(rng.normal(size=(5, 2, 4)), lengths=[5, 1])
    assert link.keys.shape == (2, 5, 4) and link.mask.shape == (2, 1, 5)
    assert link.copy().keys is link.keys
    link.reset_state()
    with pytest.raises(RuntimeError, match="nothing to attend to; call remember"):
        link(rng.normal(size=(2, 4)))


# fmt: off
REFUSED = [
    (lambda a: L.Attention(4, 3, "dot"), ValueError, "a dot product needs as many"),
    (lambda a: L.Attention(4, 3, "luong"), ValueError, "use 'dot', 'general' or 'add"),
    (lambda a: F.attention(a(2, 4), a(5, 2, 3)), ShapeError,
     r"query has shape \(2, 4\), but keys \(5, 2, 3\)"),
    (lambda a: F.attention(a(3, 4), a(5, 2, 4)), ShapeError, "the 2 sequences of the"),
    (lambda a: F.attention(a(2, 4), a(5, 2, 4), a(4, 2, 4)), ShapeError,
     r"values \(4, 2, 4\); they must be \(T, B, K\) and \(T, B, D\)"),
    (lambda a: F.attention(a(2, 4), a(5, 2, 4), lengths=[6, 1]), ValueError,
     "lengths go from 1 to 6, but must be within 0 to 5"),
    (lambda a: F.attention(a(2, 4), a(5, 2, 4), mask=a(5, 2)), ShapeError,
     r"mask is float64 of shape \(5, 2\); it must be bool"),
    (lambda a: F.attention(a(3, 2, 4), a(5, 2, 4), mask=a(2, 5, 1) > 0), ShapeError,
     "the mask is for 2 steps, but the query has 3"),
    (lambda a: F.attention(a(2, 4), a(0, 2, 4)), ShapeError, "are none; give one each"),
    (lambda a: F.additive_attention(a(2, 4), a(5, 2, 4), a(3)), ShapeError,
     r"v \(3,\); they must have as many"),
    (lambda a: L.Attention(4, 3).remember(a(5, 2, 4)), ShapeError, "with key_size=3"),
    (lambda a: L.Attention(4, 4).remember(a(5, 2, 4), mask=a(1, 5, 2) > 0), ShapeError,
     r"mask has shape \(1, 5, 2\); it must be \(T, B\)"),
]
# fmt: on


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(lambda *shape: xp.zeros(shape))


def test_a_query_of_other_features_is_refused(rng):
    link = made("general", rng)
    link.remember(rng.normal(size=(5, 2, 4)))
    with pytest.raises(ShapeError, match=r"query has shape \(2, 3\); it must be \(B, "):
        link(xp.zeros((2, 3)))
