"""The output layer and its loss in one."""

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
from dyrnn import testing
from dyrnn.errors import NonFiniteError, ShapeError


@pytest.fixture
def problem(rng):
    x = rng.standard_normal((3, 4, 5))
    W, b = rng.standard_normal((300, 5)), rng.standard_normal(300)
    t = rng.integers(0, 300, (3, 4)).astype(np.int32)
    t[1, 2] = -1
    return x, W, b, t


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("has_bias", [True, False])
def test_it_agrees_with_linear_and_softmax_cross_entropy(problem, normalize, has_bias):
    x, W, b, t = problem
    results = []
    for fused in (True, False):
        inputs = [dyrnn.Variable(a) for a in (x, W, b)]
        bias = inputs[2] if has_bias else None
        if fused:
            loss = F.linear_softmax_cross_entropy(*inputs[:2], bias, t, normalize)
        else:
            y = F.linear(*inputs[:2], bias)
            loss = F.softmax_cross_entropy(y, t, normalize)
        (loss * 3.0).backward()
        used = inputs if has_bias else inputs[:2]
        results.append([loss.array, *(v.grad for v in used)])
    for fused, plain in zip(*results, strict=True):
        np.testing.assert_allclose(fused, plain, rtol=1e-12, atol=1e-14)


def test_gradients_are_those_of_the_loss(problem):
    x, W, b, t = problem

    def loss(x, W, b):
        return F.linear_softmax_cross_entropy(x, W, b, t)

    testing.check_backward(loss, (x, W, b))
    testing.check_double_backward(loss, (x, W, b))


def test_backward_twice_gives_the_gradient_twice(problem):
    x, W, b, t = problem
    W = dyrnn.Variable(W)
    loss = F.linear_softmax_cross_entropy(x, W, b, t)
    loss.backward()
    once = W.grad.copy()
    loss.backward()
    np.testing.assert_array_equal(W.grad, 2 * once)


def test_everything_ignored_gives_0(problem):
    x, W, b, t = problem
    loss = F.linear_softmax_cross_entropy(x, W, b, np.full_like(t, -1))
    assert loss.array == 0


def test_extreme_logits_are_finite():
    x = np.array([[1e3], [-1e3]])
    W = np.array([[1.0], [-1.0], [0.5]])
    t = np.array([0, 1])
    loss = F.linear_softmax_cross_entropy(x, W, None, t)
    assert 0 <= loss.array < 1e-6


def test_bad_input_is_refused(problem):
    x, W, b, t = problem
    with pytest.raises(ShapeError, match=r"x has shape \(3, 4, 5\)"):
        F.linear_softmax_cross_entropy(x, W, b, t[:2])
    with pytest.raises(ValueError, match="300"):
        F.linear_softmax_cross_entropy(x, W, b, np.full_like(t, 300))
    x[0, 0, 0] = np.nan
    with pytest.raises(NonFiniteError):
        F.linear_softmax_cross_entropy(x, W, b, t)
