import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import backend, testing
from dyrnn.engine.core import FunctionNode, Variable


class HalfRight(FunctionNode):
    """A square whose gradient is wrong for the second element."""

    def forward(self, xp, x):
        self.save(x)
        return x * x

    def backward(self, xp, gy):
        (x,) = self.saved
        return gy * x * np.array([2.0, 2.001])


class WrongTwice(FunctionNode):
    """A cube whose gradient forgets how it depends on x."""

    def forward(self, xp, x):
        self.slope = 3 * x * x
        return x**3

    def backward(self, xp, gy):
        return gy * self.slope


def half_right(x):
    return HalfRight().apply(x)


def wrong_twice(x):
    return WrongTwice().apply(x)


X = np.array([0.5, 1.5])


def test_right_gradients_pass(device):
    inputs = [device.send(X), device.send(np.array([1, 0])), device.send(X + 1)]

    def function(x, ids, y):
        return x[ids.array] * y, F.tanh(x)

    testing.check_backward(function, inputs)
    testing.check_jacobian(function, inputs)
    testing.check_double_backward(function, inputs)


@pytest.mark.parametrize("check", [testing.check_backward, testing.check_jacobian])
def test_wrong_gradient_is_found(check):
    with pytest.raises(AssertionError, match="gradient along|elements of all outputs"):
        check(half_right, [X])


def test_wrong_second_gradient_is_found():
    testing.check_backward(wrong_twice, [X])
    with pytest.raises(AssertionError, match="gradient along a random direction"):
        testing.check_double_backward(wrong_twice, [X])


def test_missing_gradient_is_found():
    with pytest.raises(AssertionError):
        testing.check_backward(
            lambda x: x * Variable(x.array, requires_grad=False), [X]
        )


def test_single_precision_inputs_are_checked_in_double():
    testing.check_jacobian(F.exp, [X.astype(np.float32)], rtol=1e-9)


def test_assert_allclose_takes_variables_and_devices():
    there = backend.get_device("@strict").send(X)
    testing.assert_allclose(Variable(there), X)
    testing.assert_allclose(1.0, 1.0 + 1e-7)
    with pytest.raises(AssertionError):
        testing.assert_allclose(there, X + 1e-3)
