import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn.engine.core import Variable
from dyrnn.errors import ShapeError
from tests.arrays import every_device, xp
from tests.comparing import close, host

pytestmark = every_device

FAR = np.array([-1e4, -700.0, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-7), (np.float64, 4e-16)])
def test_sigmoid_is_accurate_far_from_zero(dtype, tolerance, xp):
    x = np.array([-80, -50, -20, -3, -1e-3, 0, 3, 20, 80], dtype)
    wide = x.astype(np.longdouble)
    exact = 1 / (1 + np.exp(-wide))
    assert np.all(abs(host(F.sigmoid(xp.asarray(x))) - exact) <= tolerance * exact)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "function", [F.sigmoid, F.tanh, F.softplus, F.elu, F.selu, F.swish, F.softsign]
)
def test_nothing_overflows(function, dtype, xp):
    limit = float(np.finfo(dtype).max) / 4
    x = Variable(xp.asarray(np.clip(FAR, -limit, limit).astype(dtype)))
    y = function(x)
    y.grad = xp.ones_like(y.array)
    y.backward()
    assert np.isfinite(host(y)).all() and np.isfinite(host(x.grad)).all()


def test_softplus_is_accurate_far_from_zero(xp):
    x = Variable(xp.asarray([-30.0, 30.0], np.float32))
    y = F.softplus(x)
    close(y.array, [np.exp(-30.0), 30.0], rtol=3e-7)
    F.sum(y).backward()
    close(x.grad, [np.exp(-30.0), 1.0], rtol=3e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_softmax_of_large_numbers_is_finite(dtype, xp):
    x = Variable(xp.asarray([[2e4, 1e4, -2e4], [0.0, 0.0, 0.0]], dtype))
    close(F.softmax(x).array, [[1, 0, 0], [1 / 3] * 3], rtol=1e-3)
    y = F.log_softmax(x)
    assert y.array[0, :2].tolist() == [0, -1e4]
    y.grad = xp.ones_like(y.array)
    y.backward()
    assert np.isfinite(host(x.grad)).all()


def test_log_softmax_is_accurate_where_softmax_is_zero(xp):
    x = xp.asarray([[0.0, -200.0]], np.float32)
    assert F.softmax(x)[0, 1].item() == 0
    assert F.log_softmax(x)[0, 1].item() == -200


def test_softmax_over_half_precision_adds_in_single(xp):
    x = xp.zeros((1, 5000), np.float16)
    close(F.softmax(x).array, 1 / 5000, rtol=1e-3)
    close(F.log_softmax(x).array, -np.log(5000), rtol=1e-3)


@pytest.mark.parametrize(
    "function",
    [
        F.softmax,
        F.log_softmax,
        F.crelu,
        lambda x: F.maxout(x, 2),
        lambda x: F.concat((x, x)),
        F.normalize,
    ],
)
def test_a_window_gives_what_its_steps_give(function, rng, xp):
    x = xp.asarray(rng.normal(size=(3, 5, 4)))
    steps = [host(function(step)) for step in x]
    np.testing.assert_array_equal(host(function(x)), steps)


@pytest.mark.parametrize("function", [F.leaky_relu, F.elu, F.relu])
def test_a_graph_that_is_cut_keeps_nothing(function):
    y = function(Variable(xp.ones(3)))
    node = y.node
    y.unchain_backward()
    assert not [value for value in vars(node).values() if isinstance(value, xp.ndarray)]
    assert node.saved == ()


def test_gradients_at_0(xp):
    for function, expected in ((F.relu, 0), (F.leaky_relu, 1), (F.elu, 1)):
        x = Variable(xp.zeros(2))
        F.sum(function(x)).backward()
        assert x.grad.tolist() == [expected] * 2


@pytest.mark.parametrize("alpha", [0.0, -0.5])
def test_elu_of_any_alpha_has_the_gradient_of_its_side(alpha, xp):
    x = Variable(xp.asarray([-1.0, 2.0]))
    F.sum(F.elu(x, alpha)).backward()
    close(x.grad, [alpha * np.exp(-1), 1])


def test_maxout_refuses_a_pool_that_does_not_divide():
    with pytest.raises(ShapeError, match=r"axis 1 of shape \(2, 5\) .* pool size 2"):
        F.maxout(xp.zeros((2, 5)), 2)


def test_prelu_refuses_slopes_of_another_shape():
    with pytest.raises(ShapeError, match=r"W has shape \(4,\), expected \(3,\)"):
        F.prelu(xp.zeros((2, 3)), xp.zeros(4))
