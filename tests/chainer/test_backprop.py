"""Backpropagation on arrays: what arrives is added up, promises wait."""

import numpy as np
import pytest

import dyrnn.chainer as chainer
import dyrnn.chainer.functions as F
from dyrnn.chainer import worlds
from dyrnn.engine.gradients import Product
from dyrnn.functions import connection

Linear = worlds.from_core(connection.Linear)


class Identity(chainer.FunctionNode):
    """Both inputs' gradients are the array that arrived."""

    def forward(self, inputs):
        return (inputs[0] + inputs[1],)

    def backward(self, indexes, gys):
        return gys[0], gys[0]


class Accumulating(chainer.FunctionNode):
    """Adds its gradient to what there is, on its own."""

    def forward(self, inputs):
        return (inputs[0] * 2,)

    def backward_accumulate(self, indexes, gys, held):
        (before,) = held
        gx = gys[0] * 2
        return (gx if before is None else before + gx,)


def variable(rng, *shape):
    return chainer.Variable(rng.normal(size=shape).astype(np.float32))


def test_promises_of_a_weight_are_evaluated_together(rng, monkeypatch):
    counts = []
    total = Product.total
    monkeypatch.setattr(
        Product, "total", staticmethod(lambda ps: counts.append(len(ps)) or total(ps))
    )
    W, xs = variable(rng, 3, 4), [variable(rng, 2, 4) for _ in range(5)]
    W.grad = start = np.ones((3, 4), np.float32)
    loss = sum(F.sum(F.square(Linear().apply((x, W))[0])) for x in xs)
    loss.backward()
    assert counts == [5]
    expected = 1 + sum(2 * (x.array @ W.array.T).T @ x.array for x in xs)
    np.testing.assert_allclose(W.grad, expected, rtol=1e-4)
    assert (start == 1).all()
    assert isinstance(W.grad, np.ndarray) and W.grad_var.array is W.grad


@pytest.mark.parametrize("is_debug", [False, True])
def test_gradients_that_arrive_are_not_written_to(rng, is_debug):
    x, y = variable(rng, 3), variable(rng, 3)
    with chainer.using_config("debug", is_debug):
        z = Identity().apply((x, y))[0]
        z = Identity().apply((z, x))[0]
        z = Identity().apply((z, x))[0]
        z.grad = np.ones(3, np.float32)
        z.backward(retain_grad=True)
    np.testing.assert_array_equal(x.grad, [3, 3, 3])
    np.testing.assert_array_equal(y.grad, [1, 1, 1])
    np.testing.assert_array_equal(z.grad, [1, 1, 1])


def test_sums_without_axes_are_arrays(rng):
    x = chainer.Variable(np.array(2.0, np.float32))
    (x * x + x + x).backward()
    assert isinstance(x.grad, np.ndarray) and x.grad == 6


def test_a_function_may_add_to_what_there_is(rng):
    x = variable(rng, 3)
    y = F.sum(Accumulating().apply((x,))[0]) + F.sum(x) + F.sum(x * 3)
    y.backward()
    np.testing.assert_allclose(x.grad, [6, 6, 6])


def test_a_gradient_of_a_wrong_shape_names_the_function(rng):
    class Wrong(chainer.FunctionNode):
        def forward(self, inputs):
            return (inputs[0][:2],)

        def backward(self, indexes, gys):
            return gys

    y = Wrong().apply((variable(rng, 3),))[0]
    y.grad = np.ones(2, np.float32)
    with pytest.raises(ValueError, match=r"(?s)`Wrong` .*has a bug.*Shape of data"):
        y.backward()


def test_hooks_see_arrays(rng):
    seen = []

    class Hook(chainer.FunctionHook):
        name = "hook"

        def backward_preprocess(self, function, in_data, out_grad):
            seen.append((function.label, type(out_grad[0])))

    x = variable(rng, 3)
    y = F.sum(F.exp(x))
    with Hook():
        y.backward()
    assert seen == [("Sum", np.ndarray), ("exp", np.ndarray)]
