"""Variables, operators, and how gradients flow back through recorded operations."""

import copy
import operator
import pickle

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import backend
from dyrnn.config import config, no_backprop_mode
from dyrnn.engine.core import FunctionNode, Variable, as_array, as_variable
from dyrnn.engine.higher_order import grad
from dyrnn.errors import ShapeError
from tests.arrays import every_device, one_device, xp
from tests.toys import variable

pytestmark = every_device

# What a variable is


def test_variable_tells_what_its_array_is():
    v = Variable(xp.zeros((2, 3), np.float32), name="x")
    assert (v.shape, v.ndim, v.size, len(v)) == ((2, 3), 2, 6, 2)
    assert v.dtype == np.float32
    assert v.xp is backend.get_array_module(v.array)
    assert v.device == backend.device_of(v.array)
    assert v.creator is None and v.requires_grad


def test_variable_holds_the_array_it_was_given():
    x = xp.ones(3)
    assert Variable(x).array is x


@one_device("no arrays")
@pytest.mark.parametrize("value", [1.0, [1, 2], "text"])
def test_variable_of_something_else_is_refused(value):
    with pytest.raises(TypeError, match=f"not a {type(value).__name__}. Convert it"):
        Variable(value)


@one_device("no arrays")
def test_numpy_scalar_becomes_an_array_without_axes():
    assert Variable(np.float32(2)).array.shape == ()


def test_variable_has_no_truth_value():
    with pytest.raises(TypeError, match="no truth value; compare its array"):
        bool(variable(1.0))


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparison_is_refused_but_identity_finds_a_variable(name):
    x, y = variable(1.0), variable(1.0)
    for other in (3, xp.ones(1), y, None):
        with pytest.raises(TypeError, match=r"not compared.* `v.array > 0`"):
            getattr(operator, name)(x, other)
        with pytest.raises(TypeError, match="not compared"):
            getattr(operator, name)(other, x)
    assert x in [x, y] and len({x, y, x}) == 2 and {x: 1}[x] == 1


def test_repr_is_as_in_chainer():
    assert repr(variable(1.0, 2.0)) == "variable([1. 2.])"
    assert repr(Variable(xp.eye(2), name="W")).startswith("variable W([[1. 0.]\n")


def test_item_and_float_give_a_python_number():
    assert type(variable(2.5).item()) is float
    assert float(Variable(np.float32(2.5))) == 2.5


def test_iteration_gives_differentiable_rows():
    x = Variable(xp.arange(6.0).reshape(3, 2))
    rows = list(x)
    assert [row.array.tolist() for row in rows] == x.array.tolist()
    F.sum(rows[1] * 2).backward()
    assert x.grad.tolist() == [[0, 0], [2, 2], [0, 0]]
    with pytest.raises(TypeError, match="without axes has no elements"):
        iter(Variable(xp.zeros(())))


def test_as_variable_makes_constants_of_arrays_and_numbers():
    v = variable(1.0)
    assert as_variable(v) is v
    assert not as_variable(xp.ones(2)).requires_grad
    assert as_variable(2).dtype == config.dtype
    assert as_array(v) is v.array and as_array(3) == 3


def test_variable_survives_pickle_and_deepcopy():
    x = variable(1.0, 2.0, name="x")
    F.sum(x * x).backward()
    for clone in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert clone.array.tolist() == [1, 2] and clone.array is not x.array
        assert clone.name == "x" and clone.grad.tolist() == [2, 4]
        clone.grad[...] = 0
    assert x.grad.tolist() == [2, 4]


# Operators


def test_operators_are_functions(rng):
    a, b = rng.random((2, 2)) + 0.5, rng.random((2, 2)) + 0.5
    x, y = Variable(a), Variable(b)
    pairs = [
        (x + y, a + b),
        (x - y, a - b),
        (x * y, a * b),
        (x / y, a / b),
        (x // y, a // b),
        (5 // x, 5 // a),
        (x**y, a**b),
        (x @ y, a @ b),
        (-x, -a),
        (+x, a),
        (abs(-x), a),
        (x[0, 1:], a[0, 1:]),
        (1 + x, 1 + a),
        (1 - x, 1 - a),
        (2 * x, 2 * a),
        (1 / x, 1 / a),
        (2**x, 2**a),
        (x.T, a.T),
        (x.reshape(4), a.reshape(4)),
        (x.reshape((1, -1)), a.reshape(1, -1)),
        (x.transpose(1, 0), a.T),
        (x.transpose((1, 0)), a.T),
        (x.transpose(), a.T),
        (x.sum(axis=1, keepdims=True), a.sum(1, keepdims=True)),
        (x.mean(), a.mean()),
        (x.max(0), a.max(0)),
        (x.min(0), a.min(0)),
    ]
    for found, expected in pairs:
        assert isinstance(found, Variable)
        xp.testing.assert_allclose(found.array, expected, rtol=1e-15)
    assert x.astype(np.float32).dtype == np.float32


@pytest.mark.parametrize(
    "scalar", [2, 0.5, np.float64(2.0), np.float32(2), np.int64(3)]
)
def test_scalar_does_not_change_the_type(scalar):
    x = Variable(xp.ones(3, np.float32))
    for y in (x * scalar, scalar * x, x + scalar, scalar - x, x / scalar, x**scalar):
        assert y.dtype == np.float32


def test_array_on_the_left_reaches_our_operators():
    array, v = xp.array([1.0, 2.0]), variable(3.0, 4.0)
    for result in (array + v, array - v, array * v, array / v, array**v, array @ v):
        assert isinstance(result, Variable)
        assert result.requires_grad
    assert isinstance(np.float32(2) * v, Variable)
    matrix = xp.eye(2)
    matrix_v = matrix @ v
    assert isinstance(matrix_v, Variable) and matrix_v.shape == (2,)


@one_device("NumPy's functions")
def test_numpy_functions_do_not_drop_the_graph_silently():
    v = variable(1.0, 2.0)
    for call in (np.exp, np.mean, np.sum, np.add.reduce):
        with pytest.raises(TypeError):
            call(v)
    with pytest.raises(TypeError):
        np.concatenate([v, v])
    array = np.ones(2)
    with pytest.raises(TypeError):
        array += v
    with pytest.raises(TypeError, match=r"use F.mean\(v\), or np.mean\(v.array\)"):
        np.mean(v)
    for call in (np.median, np.shape):  # F.shape is a module
        with pytest.raises(TypeError, match=rf"; use np.{call.__name__}\(v.array\)"):
            call(v)


@one_device("NumPy's functions")
def test_explicit_conversion_to_numpy_works():
    v = variable(1.0, 2.0)
    assert np.asarray(v) is v.array
    assert np.array(v, copy=True) is not v.array
    assert np.asarray(v, dtype=np.float32).dtype == np.float32
    assert np.from_dlpack(v).tolist() == [1, 2]


def test_variable_on_a_device_is_not_converted_silently():
    v = Variable(backend.get_device("@strict").send(xp.ones(2)))
    with pytest.raises(TypeError, match="lives on a GPU; copy it explicitly"):
        xp.asarray(v)


# Backward


def test_gradient_of_shared_subexpressions_adds_up():
    x = variable(2.0)
    y = x * x
    z = y * x + y
    z.backward()
    assert x.grad.tolist() == [3 * 4 + 2 * 2]


def test_backward_adds_to_what_leaves_have():
    x = variable(1.0)
    (x * 3).backward()
    (x * 4).backward()
    assert x.grad.tolist() == [7]
    x.cleargrad()
    assert x.grad is None


def test_backward_twice_through_one_graph_adds_twice():
    x = variable(1.0)
    y = F.exp(x * 2)
    y.backward()
    once = x.grad.copy()
    y.backward()
    xp.testing.assert_allclose(x.grad, 2 * once)


def test_leaf_owns_its_gradient():
    a, b = variable(1.0, 2.0), variable(3.0, 4.0)
    y = a + b
    y.grad = xp.ones(2)
    y.backward()
    a.grad *= 5
    assert b.grad.tolist() == [1, 1]
    assert y.grad.tolist() == [1, 1]


def test_gradient_of_a_leaf_without_axes_is_an_array():
    x = Variable(xp.array(3.0))
    (x * x).backward()
    assert type(x.grad) is xp.ndarray and x.grad.shape == ()
    assert x.grad == 6


def test_seed_gradient_is_not_written_to():
    x, seed = variable(1.0, 2.0), xp.array([1.0, 10.0])
    y = x + 0.0
    y.grad = seed
    y.backward()
    x.grad[...] = 0
    assert seed.tolist() == [1, 10]


def test_gradient_does_not_follow_changes_of_its_seed():
    x, seed = variable(1.0, 2.0), xp.array([1.0, 10.0])
    y = x + 0.0
    y.grad = seed
    y.backward()
    seed[...] = 0
    assert x.grad.tolist() == [1, 10]


def test_input_buffer_may_be_filled_anew_after_backward(rng):
    W, batch = Variable(rng.random((2, 3))), xp.empty((4, 3))
    sums = []
    for _ in range(3):  # micro-batches whose gradients add up
        batch[...] = rng.random((4, 3))
        sums.append(batch.sum(axis=0))
        F.sum(F.linear(batch, W)).backward()
    batch[...] = np.nan
    xp.testing.assert_allclose(W.grad, [sum(sums)] * 2)


def test_backward_after_backward_keeps_one_gradient_of_a_leaf():
    x = variable(1.0, 2.0)
    for _ in range(3):
        F.sum(x * 2).backward()
    assert len(x._gradient.terms) == 1
    assert x.grad.tolist() == [6, 6]


def test_intermediate_gradients_are_kept_on_demand():
    x = variable(2.0)
    y = x * 3
    z = y * y
    z.backward()
    assert y.grad is None
    z.backward(retain_grad=True)
    assert y.grad.tolist() == [12]
    y.grad *= 0
    assert x.grad.tolist() == [72]


def test_kept_gradient_is_not_that_of_a_leaf():
    x = variable(1.0, 2.0)
    y = x + 0.0
    F.sum(y * 2 + y * 3).backward(retain_grad=True)
    y.grad *= 0
    assert x.grad.tolist() == [5, 5]


def test_backward_from_a_non_scalar_needs_a_gradient():
    x = variable(1.0, 2.0)
    y = x * 2
    with pytest.raises(ValueError, match=r"shape \(2,\).*Reduce it, e.g. F.sum"):
        y.backward()
    y.grad = xp.array([1.0, 3.0])
    y.backward()
    assert x.grad.tolist() == [2, 6]


def test_gradient_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"shape \(3,\) was given to .* \(2,\)"):
        variable(1.0, 2.0).grad = xp.zeros(3)


def test_gradient_that_is_no_array_is_refused():
    with pytest.raises(TypeError, match=r"not a float; give one of shape \(2,\)"):
        variable(1.0, 2.0).grad = 3.0


def test_backward_of_a_leaf_is_one():
    x = variable(5.0)
    x.backward()
    assert x.grad.tolist() == [1]


def test_backward_without_a_graph_is_refused():
    x = variable(2.0)
    with no_backprop_mode():
        unrecorded = F.sum(x * x)
    unchained = F.sum(x * x)
    unchained.unchain()
    for y in (unrecorded, unchained, as_variable(3.0), F.sum(xp.ones(2))):
        with pytest.raises(RuntimeError, match=r"without a graph: .* no_back"):
            y.backward()
    assert x.grad is None


def test_what_needs_no_gradient_gets_none():
    x, constant = variable(1.0), variable(2.0, requires_grad=False)
    (x * constant).backward()
    assert x.grad.tolist() == [2] and constant.grad is None
    assert not (constant * constant).requires_grad


def test_one_array_in_two_variables_keeps_them_apart():
    array = xp.array([2.0])
    a, b = Variable(array), Variable(array)
    (a * a * b).backward()
    assert a.grad.tolist() == [8] and b.grad.tolist() == [4]
    (ga,) = grad(a * b, [a], create_graph=True)
    none, one = grad(ga, [a, b])
    assert none is None and one.array.tolist() == [1]


def test_unused_output_has_no_part_in_the_gradient():
    x = variable(1.0, 2.0, 3.0)
    _, second = F.split_axis(x, [2], 0)
    F.sum(second * 2).backward()
    assert x.grad.tolist() == [0, 0, 2]


def test_wrong_number_of_gradients_is_an_error():
    class TwoForOne(FunctionNode):
        def forward(self, xp, x):
            return x * 1

        def backward(self, xp, gy):
            return gy, gy

    with pytest.raises(
        RuntimeError, match="TwoForOne.backward returned 2 gradients for 1"
    ):
        TwoForOne().apply(variable(1.0)).backward()


def test_node_without_rules_says_so():
    with pytest.raises(NotImplementedError, match="Node defines no forward"):
        FunctionNode().apply(variable(1.0))

    class OnlyForward(FunctionNode):
        def forward(self, xp, x):
            return x * 1

    with pytest.raises(NotImplementedError, match="OnlyForward has no gradient"):
        OnlyForward().apply(variable(1.0)).backward()


def test_a_variable_of_one_element_is_formatted_as_its_number():
    loss = Variable(np.float32(1.23456))
    assert f"{loss:.3f}" == "1.235" and f"{loss}" == str(loss)
    with pytest.raises(
        TypeError, match=r"shape \(2,\) has no format '.1f'; format its"
    ):
        f"{Variable(xp.ones(2)):.1f}"
