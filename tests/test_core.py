import copy
import gc
import pickle
import time
import weakref

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import backend
from dyrnn.config import config, no_backprop_mode, using_config
from dyrnn.core import FunctionNode, Variable, as_array, as_variable, grad
from dyrnn.errors import NonFiniteError, ShapeError
from dyrnn.hooks import FunctionHook
from dyrnn.parameter import Parameter


def variable(*values, **options):
    return Variable(np.array(values, dtype=np.float64), **options)


# What a variable is


def test_variable_tells_what_its_array_is():
    v = Variable(np.zeros((2, 3), np.float32), name="x")
    assert (v.shape, v.ndim, v.size, len(v)) == ((2, 3), 2, 6, 2)
    assert v.dtype == np.float32
    assert v.xp is np
    assert v.device == backend.CPU
    assert v.creator is None and v.requires_grad


def test_variable_holds_the_array_it_was_given():
    x = np.ones(3)
    assert Variable(x).array is x


@pytest.mark.parametrize("value", [1.0, [1, 2], "text"])
def test_variable_of_something_else_is_refused(value):
    with pytest.raises(TypeError, match=f"not a {type(value).__name__}. Convert it"):
        Variable(value)


def test_numpy_scalar_becomes_an_array_without_axes():
    assert Variable(np.float32(2)).array.shape == ()


def test_variable_has_no_truth_value():
    with pytest.raises(TypeError, match="no truth value; compare its array"):
        bool(variable(1.0))


def test_repr_is_as_in_chainer():
    assert repr(variable(1.0, 2.0)) == "variable([1. 2.])"
    assert repr(Variable(np.eye(2), name="W")).startswith("variable W([[1. 0.]\n")


def test_item_and_float_give_a_python_number():
    assert type(variable(2.5).item()) is float
    assert float(Variable(np.float32(2.5))) == 2.5


def test_iteration_gives_differentiable_rows():
    x = Variable(np.arange(6.0).reshape(3, 2))
    rows = list(x)
    assert [row.array.tolist() for row in rows] == x.array.tolist()
    F.sum(rows[1] * 2).backward()
    assert x.grad.tolist() == [[0, 0], [2, 2], [0, 0]]
    with pytest.raises(TypeError, match="without axes has no elements"):
        iter(Variable(np.zeros(())))


def test_as_variable_makes_constants_of_arrays_and_numbers():
    v = variable(1.0)
    assert as_variable(v) is v
    assert not as_variable(np.ones(2)).requires_grad
    assert as_variable(2).dtype == config.dtype
    assert as_array(v) is v.array and as_array(3) == 3


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
        (x**y, a**b),
        (x @ y, a @ b),
        (-x, -a),
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
        np.testing.assert_allclose(found.array, expected, rtol=1e-15)
    assert x.astype(np.float32).dtype == np.float32


@pytest.mark.parametrize(
    "scalar", [2, 0.5, np.float64(2.0), np.float32(2), np.int64(3)]
)
def test_scalar_does_not_change_the_type(scalar):
    x = Variable(np.ones(3, np.float32))
    for y in (x * scalar, scalar * x, x + scalar, scalar - x, x / scalar, x**scalar):
        assert y.dtype == np.float32


def test_array_on_the_left_reaches_our_operators():
    array, v = np.array([1.0, 2.0]), variable(3.0, 4.0)
    for result in (array + v, array - v, array * v, array / v, array**v, array @ v):
        assert isinstance(result, Variable)
        assert result.requires_grad
    assert isinstance(np.float32(2) * v, Variable)
    matrix = np.eye(2)
    matrix_v = matrix @ v
    assert isinstance(matrix_v, Variable) and matrix_v.shape == (2,)


def test_numpy_functions_do_not_drop_the_graph_silently():
    v = variable(1.0, 2.0)
    for call in (np.exp, np.mean, np.sum, lambda x: np.add(np.ones(2), x)):
        with pytest.raises(TypeError):
            call(v)
    with pytest.raises(TypeError):
        np.concatenate([v, v])
    array = np.ones(2)
    with pytest.raises(TypeError):
        array += v


def test_explicit_conversion_to_numpy_works():
    v = variable(1.0, 2.0)
    assert np.asarray(v) is v.array
    assert np.array(v, copy=True) is not v.array
    assert np.asarray(v, dtype=np.float32).dtype == np.float32
    assert np.from_dlpack(v).tolist() == [1, 2]


def test_variable_on_a_device_is_not_converted_silently():
    v = Variable(backend.get_device("@strict").send(np.ones(2)))
    with pytest.raises(TypeError, match="lives on a GPU; copy it explicitly"):
        np.asarray(v)


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
    np.testing.assert_allclose(x.grad, 2 * once)


def test_leaf_owns_its_gradient():
    a, b = variable(1.0, 2.0), variable(3.0, 4.0)
    y = a + b
    y.grad = np.ones(2)
    y.backward()
    a.grad *= 5
    assert b.grad.tolist() == [1, 1]
    assert y.grad.tolist() == [1, 1]


def test_gradient_of_a_leaf_without_axes_is_an_array():
    x = Variable(np.array(3.0))
    (x * x).backward()
    assert type(x.grad) is np.ndarray and x.grad.shape == ()
    assert x.grad == 6


def test_seed_gradient_is_not_written_to():
    x, seed = variable(1.0, 2.0), np.array([1.0, 10.0])
    y = x + 0.0
    y.grad = seed
    y.backward()
    x.grad[...] = 0
    assert seed.tolist() == [1, 10]


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


def test_backward_from_a_non_scalar_needs_a_gradient():
    x = variable(1.0, 2.0)
    y = x * 2
    with pytest.raises(ValueError, match=r"shape \(2,\).*Reduce it, e.g. F.sum"):
        y.backward()
    y.grad = np.array([1.0, 3.0])
    y.backward()
    assert x.grad.tolist() == [2, 6]


def test_gradient_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"shape \(3,\) was given to .* \(2,\)"):
        variable(1.0, 2.0).grad = np.zeros(3)


def test_backward_of_a_leaf_is_one():
    x = variable(5.0)
    x.backward()
    assert x.grad.tolist() == [1]


def test_what_needs_no_gradient_gets_none():
    x, constant = variable(1.0), variable(2.0, requires_grad=False)
    (x * constant).backward()
    assert x.grad.tolist() == [2] and constant.grad is None
    assert not (constant * constant).requires_grad


def test_one_array_in_two_variables_keeps_them_apart():
    array = np.array([2.0])
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


# Long and deep graphs


def test_deep_graph_is_differentiated_without_recursion():
    x = variable(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1e-5
    y.backward()
    assert x.grad.tolist() == [1]


def test_long_chain_is_freed_without_recursion():
    y = variable(1.0)
    for _ in range(1_000_000):
        y = Step().apply(y)
    del y


class Step(FunctionNode):
    """The leanest operation."""

    def forward(self, xp, x):
        return x


def test_deep_graph_is_cut_without_recursion():
    y = variable(1.0)
    for _ in range(50_000):
        y = y + 1.0
    y.unchain_backward()
    assert not y.requires_grad


def test_wide_graph_is_ordered_by_age():
    x = variable(1.0)
    layer = [x * (i + 1) for i in range(30)]
    total = layer[0]
    for y in layer[1:]:
        total = total * 1.0 + y * x
    total.backward()
    n = np.arange(2, 31)
    np.testing.assert_allclose(x.grad, 1 + 2 * n.sum())


def test_operation_takes_microseconds():
    # Measured: 6 on one core; the bound allows for a busy machine.
    x = Variable(np.ones(10, np.float32))
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        y = x
        for _ in range(200):
            y = F.tanh(y)
        y.grad = x.array
        y.backward()
        best = min(best, (time.perf_counter() - start) / 200)
    assert best < 50e-6


# Cutting


def test_unchain_backward_frees_the_history():
    x = variable(1.0)
    h = F.tanh(x * 2)
    node = weakref.ref(h.node.edges[0][0])
    loss = h * 3
    loss.unchain_backward()
    gc.collect()
    assert node() is None
    assert h.array is not None and not h.requires_grad and h.creator is None


def test_backward_after_unchain_is_an_error():
    y = variable(1.0) * 2
    y.unchain_backward()
    with pytest.raises(RuntimeError, match="cut by unchain_backward; compute it again"):
        y.backward()


def test_graph_starts_anew_from_a_cut_value():
    x = variable(1.0)
    h = x * 2
    h.unchain_backward()
    w = variable(5.0)
    (h * w).backward()
    assert w.grad.tolist() == [2] and x.grad is None


def test_unchain_makes_a_constant():
    x = variable(1.0)
    h = x * 2
    h.unchain()
    assert not h.requires_grad and not (h * 2).requires_grad


def test_no_backprop_mode_records_nothing():
    x = variable(1.0)
    with no_backprop_mode():
        y = F.tanh(x * 2)
    assert y.node is None and not y.requires_grad
    with using_config("enable_backprop", False), using_config("enable_backprop", True):
        assert (x * 2).requires_grad


def test_nothing_is_kept_where_nothing_is_recorded():
    kept = []

    class Keeping(FunctionNode):
        def forward(self, xp, x):
            self.save(x)
            kept.append(self)
            return x * 1

    Keeping().apply(variable(1.0, requires_grad=False))
    assert kept[0].saved == () and kept[0].edges == ()


# Gradients of gradients


def test_grad_adds_nothing_to_leaves():
    x, y = variable(2.0), variable(3.0)
    gx, gy, other = grad(x * x * y, [x, y, variable(1.0)])
    assert gx.array.tolist() == [12] and gy.array.tolist() == [4]
    assert other is None and x.grad is None


def test_grad_of_an_intermediate_variable():
    x = variable(2.0)
    h = x * 3
    gh, gx = grad([h * h], [h, x])
    assert gh.array.tolist() == [12] and gx.array.tolist() == [36]


def test_grad_takes_weights_of_outputs():
    x = variable(1.0, 2.0)
    ys = [x * 2, x * x]
    (gx,) = grad(ys, x, [np.array([1.0, 0.0]), Variable(np.array([0.0, 1.0]))])
    assert gx.array.tolist() == [2, 4]
    with pytest.raises(ValueError, match=r"shape \(2,\) needs grad_outputs"):
        grad(ys[0], x)


def test_third_derivative():
    x = variable(0.7)
    y = F.tanh(x)
    for expected in (
        lambda t: 1 - t**2,
        lambda t: -2 * t * (1 - t**2),
        lambda t: (6 * t**2 - 2) * (1 - t**2),
    ):
        (y,) = grad(y, x, create_graph=True)
        np.testing.assert_allclose(y.array, expected(np.tanh(0.7)), rtol=1e-12)


def test_third_derivative_without_axes():
    x = Variable(np.array(0.7))
    y = x**4
    for power, factor in ((3, 4), (2, 12), (1, 24)):
        (y,) = grad(y, x, create_graph=True)
        np.testing.assert_allclose(y.array, factor * 0.7**power, rtol=1e-12)


def test_gradient_penalty_reaches_the_parameters():
    x, W = variable(1.0, 2.0), variable(3.0, 4.0)
    (gx,) = grad(F.sum(x * x * W), x, create_graph=True)
    F.sum(gx * gx).backward()
    np.testing.assert_allclose(W.grad, 8 * x.array**2 * W.array)


class Fused(FunctionNode):
    """``x * tanh(h)``, keeping an intermediate value."""

    def forward(self, xp, x, h):
        self.t = xp.tanh(h)
        self.save(x, h, self.t.copy())
        return x * self.t

    def backward(self, xp, gy):
        x, _, t = self.saved
        return gy * t, gy * x * (1 - t * t)


class Composed(Fused):
    def composed(self, x, h):
        return x * F.tanh(h)


def test_node_that_kept_an_intermediate_refuses_and_names_the_way_out():
    x, h = variable(0.5), variable(1.5)
    Fused().apply(x, h).backward()
    with pytest.raises(RuntimeError, match="Fused cannot be differentiated twice"):
        grad(Fused().apply(x, h), x, create_graph=True)
    node = Fused()
    node.alternative = "F.slow"
    with pytest.raises(RuntimeError, match="intermediate values. Use F.slow instead."):
        grad(node.apply(x, h), x, create_graph=True)


def test_composed_rule_counts_each_path_once():
    def second(function):
        x = variable(0.5)
        h = x * x  # one input depends on the other
        (gx,) = grad(function(x, h), x, create_graph=True)
        return gx.array, grad(gx, x)[0].array

    found = second(lambda x, h: Composed().apply(x, h))
    expected = second(lambda x, h: x * F.tanh(h))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# Debug mode and hooks


def test_debug_mode_names_the_line_of_a_nan():
    x = variable(-1.0)
    with using_config("debug", True), np.errstate(invalid="ignore"):
        with pytest.raises(NonFiniteError, match=r"Log, called at .*test_core.py:\d+"):
            F.log(x)
    with np.errstate(invalid="ignore"):
        assert np.isnan(F.log(x).array)


def test_debug_mode_finds_a_saved_array_changed_in_place():
    x = variable(1.0, 2.0)
    with using_config("debug", True):
        y = F.sum(F.square(x))
        y.backward()
        x.array[0] = 5
        with pytest.raises(RuntimeError, match="Square, .*changed in place afterwards"):
            y.backward()


def test_hooks_see_every_operation():
    seen = []

    class Recorder(FunctionHook):
        def forward_before(self, node, arrays):
            seen.append(("forward", type(node).__name__, len(arrays)))

        def forward_after(self, node, arrays, outputs):
            seen.append(("done", type(node).__name__, len(outputs)))

        def backward_before(self, node):
            seen.append(("backward", type(node).__name__))

        def backward_after(self, node):
            seen.append(("done", type(node).__name__))

    x = variable(1.0)
    with Recorder():
        (-F.exp(x)).backward()
    F.exp(x).backward()
    assert seen == [
        ("forward", "Exp", 1),
        ("done", "Exp", 1),
        ("forward", "Negative", 1),
        ("done", "Negative", 1),
        ("backward", "Negative"),
        ("done", "Negative"),
        ("backward", "Exp"),
        ("done", "Exp"),
    ]


# Copies


def test_variable_survives_pickle_and_deepcopy():
    x = variable(1.0, 2.0, name="x")
    F.sum(x * x).backward()
    for clone in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert clone.array.tolist() == [1, 2] and clone.array is not x.array
        assert clone.name == "x" and clone.grad.tolist() == [2, 4]
        clone.grad[...] = 0
    assert x.grad.tolist() == [2, 4]


def test_parameter_survives_pickle_and_deepcopy():
    W = Parameter(np.array([1.0, 2.0]), name="W")
    W.grad = np.array([3.0, 4.0])
    for clone in (pickle.loads(pickle.dumps(W)), copy.deepcopy(W)):
        assert type(clone) is Parameter and clone.is_initialized
        assert clone.array.tolist() == [1, 2] and clone.array is not W.array
        assert clone.name == "W" and clone.grad.tolist() == [3, 4]
        clone.grad[...] = 0
    assert W.grad.tolist() == [3, 4]


def test_uninitialized_parameter_says_how_to_get_values():
    W = Parameter(0.5, name="W")
    assert not W.is_initialized
    with pytest.raises(RuntimeError, match="parameter W has no values yet"):
        _ = W.shape
    clone = pickle.loads(pickle.dumps(W))
    clone.initialize((2,))
    assert clone.array.tolist() == [0.5, 0.5] and clone.dtype == np.float32


def test_parameter_takes_its_gradient_along_to_a_device():
    W = Parameter(np.array([1.0, 2.0]))
    W.grad = np.array([3.0, 4.0])
    W.to_device("@strict")
    assert W.device.name == "@strict"
    assert backend.device_of(W.grad).name == "@strict"
    W.to_device(-1)
    assert W.grad.tolist() == [3, 4]
