import copy
import pickle

import numpy as np
import pytest

from dyrnn import chainer
from tests.chainer.toys import Exp, Split, Square, exp, product, variable


def test_repr_and_str_show_name_and_values():
    v = chainer.Variable(np.arange(6, dtype=np.float32).reshape(2, 3), name="v")
    assert repr(v) == "variable v([[0., 1., 2.],\n            [3., 4., 5.]])"
    assert str(v) == "variable v([[0. 1. 2.]\n            [3. 4. 5.]])"
    empty = chainer.Variable(np.empty((0, 2), np.float32))
    assert repr(empty) == "variable([], shape=(0, 2))"
    assert repr(chainer.Variable()) == "variable(None)"


def test_summary_names_the_variable():
    assert variable(1, name="v").summary() == "<variable v>"
    assert variable(1).summary().startswith("<variable at 0x")


def test_debug_print_shows_statistics():
    v = variable(1, 3, name="v")
    v.grad = np.zeros(2)
    assert v.debug_print() == (
        "<variable v>\n- device: CPU\n- backend: <class 'numpy.ndarray'>\n"
        "- shape: (2,)\n- dtype: float64\n"
        "- statistics: mean=2.00000000, std=1.00000000\n- grad: 0"
    )


@pytest.mark.parametrize("data", [[1, 2], 1.0, "x"])
def test_only_arrays_are_held(data):
    with pytest.raises(
        TypeError, match="^<.*ndarray'> are expected. Actual: .*such as"
    ):
        chainer.Variable(data)


def test_unknown_keywords_are_refused():
    with pytest.raises(TypeError, match="got unexpected keyword argument.s. 'nmae'"):
        variable(1, nmae="x")


@pytest.mark.parametrize("symbol", "== != < <= > >=".split())
def test_variables_are_not_compared(symbol):
    with pytest.raises(TypeError, match=f"do not support {symbol} operator"):
        eval(f"x {symbol} x", {"x": variable(1)})


def test_variables_are_neither_true_nor_hashed():
    with pytest.raises(TypeError, match="cannot be evaluated as Python bool"):
        bool(variable(1))
    with pytest.raises(TypeError, match="unhashable"):
        hash(variable(1))


def test_gradient_of_another_type_or_shape_is_refused():
    v = variable(1, 2)
    with pytest.raises(TypeError, match="Type of grad is invalid"):
        v.grad = [1, 2]
    with pytest.raises(TypeError, match="grad: float32 != data: float64"):
        v.grad = np.ones(2, np.float32)
    with pytest.raises(ValueError, match=r"grad: \(3,\) != data: \(2,\)"):
        v.grad = np.ones(3)


def test_a_scalar_starts_with_one():
    x = chainer.Variable(np.array(3.0))
    product(x, x).backward()
    assert x.grad == 6


def test_one_element_warns_and_starts_with_one():
    x = variable(3)
    with pytest.warns(DeprecationWarning, match="only one element"):
        product(x, x).backward()
    assert x.grad == 6


def test_backward_without_a_gradient_does_nothing():
    x = variable(1, 2)
    exp(x).backward()
    assert x.grad is None


def test_graphs_survive_backward_and_leaves_accumulate():
    x = variable(1, 2)
    y = product(x, x)
    for times in (1, 2):
        y.grad = np.ones(2)
        y.backward()
        np.testing.assert_array_equal(x.grad, times * 2 * x.array)


def test_parameters_may_change_in_place_before_backward():
    x = variable(1.0, 2)
    y = product(x, x)
    x.array[...] = 5
    y.grad = np.ones(2)
    y.backward()
    np.testing.assert_array_equal(x.grad, [10, 10])


def test_intermediate_gradients_are_kept_on_request_only():
    x = variable(1, 2)
    for retain in (False, True):
        h = exp(x)
        y = product(h, h)
        y.grad = np.ones(2)
        y.backward(retain_grad=retain)
        assert (h.grad is not None) == retain
        assert (y.grad is not None) == retain


def test_loss_scale_multiplies_the_first_gradient():
    x = chainer.Variable(np.array(3.0))
    product(x, x).backward(loss_scale=4)
    assert x.grad == 24
    assert x._loss_scale == 4


def test_gradients_of_gradients():
    x = chainer.Variable(np.array(3.0))
    y = exp(product(x, x))
    y.backward(enable_double_backprop=True)
    gx = x.grad_var
    x.cleargrad()
    gx.backward()
    np.testing.assert_allclose(x.grad, (2 + 4 * 9) * np.exp(9))


def test_grad_returns_gradients_and_leaves_variables_alone():
    x = variable(1, 2)
    y = exp(x)
    (gx,) = chainer.grad([y], [x])
    np.testing.assert_allclose(gx.array, np.exp(x.array))
    assert x.grad is None
    chainer.grad([y], [x], set_grad=True, grad_inputs=[variable(1, 1)])
    np.testing.assert_allclose(x.grad, np.exp(x.array) + 1)


def test_grad_of_what_does_not_depend_is_none():
    assert chainer.grad([exp(variable(1))], [variable(1)]) == [None]


def test_grad_can_be_differentiated():
    x = variable(1, 2)
    (gx,) = chainer.grad([product(x, x)], [x], enable_double_backprop=True)
    (ggx,) = chainer.grad([product(gx, gx)], [x])
    np.testing.assert_allclose(ggx.array, 8 * x.array)


def test_grad_checks_its_sequences():
    x = variable(1)
    with pytest.raises(TypeError, match="outputs must be a tuple or a list, not"):
        chainer.grad(x, [x])
    with pytest.raises(TypeError, match="grad_outputs must be None, a tuple, or a l"):
        chainer.grad([x], [x], x)
    with pytest.raises(ValueError, match="grad_inputs must be of the same length as"):
        chainer.grad([x], [x], grad_inputs=[])


def test_grad_takes_gradients_as_arrays():
    x = variable(1, 2)
    (gx,) = chainer.grad([product(x, x)], [x], [np.array([1.0, 10.0])])
    np.testing.assert_array_equal(gx.array, [2, 40])


def test_identity_hands_arrays_and_gradients_on():
    x = variable(1, 2)
    y, z = chainer.functions.identity(x, variable(3))
    assert y.array is x.array and z.array[0] == 3
    y.grad = np.array([5.0, 6.0])
    y.backward()
    np.testing.assert_array_equal(x.grad, [5, 6])


def test_backward_of_several_outputs_uses_their_gradients():
    x = variable(1, 2)
    ys = exp(x), product(x, x)
    chainer.backward(ys, [variable(1, 1), variable(1, 1)])
    np.testing.assert_allclose(x.grad, np.exp(x.array) + 2 * x.array)
    with pytest.warns(RuntimeWarning, match="outputs contains a Variable without g"):
        chainer.backward([exp(x)])
    with pytest.raises(TypeError, match="each output must be a Variable, not"):
        chainer.backward([x.array])


def test_unused_output_has_no_gradient():
    node = Split()
    first, _ = node.apply((variable(1),))
    first.grad = np.ones(1)
    first.backward()
    assert node.seen[1] is None


def test_unchain_backward_cuts_the_graph():
    x = variable(1, 2)
    h = exp(x)
    y = product(h, h)
    y.unchain_backward()
    assert y.creator is None and h.creator is None


def test_nothing_is_recorded_without_backprop_mode_or_from_volatile():
    x = variable(1)
    with chainer.no_backprop_mode():
        assert exp(x).creator is None
        with chainer.force_backprop_mode():
            assert exp(x).creator is not None
    y = exp(variable(1, volatile=True))
    assert y.creator is None and exp(y).volatile


def test_inputs_without_requires_grad_get_no_gradient():
    x, c = variable(1, 2), variable(3, 4, requires_grad=False)
    y = product(x, c)
    y.grad = np.ones(2)
    y.backward()
    np.testing.assert_array_equal(x.grad, c.array)
    assert c.grad is None and not exp(c).requires_grad


def test_an_output_nobody_holds_is_made_again():
    x = variable(1)
    y = product(exp(x), x)
    y.grad = np.ones(1)
    y.backward()
    np.testing.assert_allclose(x.grad, 2 * np.e)


def test_old_style_functions_backpropagate_once():
    x = variable(3, 4)
    y = Square()(x)
    assert isinstance(y.creator, Square) and y.creator_node.label == "Square"
    y.grad = np.ones(2)
    y.backward(enable_double_backprop=True)
    np.testing.assert_array_equal(x.grad, 2 * x.array)
    with pytest.raises(RuntimeError, match="cannot twice-differentiate an old style"):
        chainer.grad([x.grad_var], [x])


def test_wrong_gradients_name_the_function():
    class Wrong(Exp):
        def backward(self, indexes, gys):
            return (chainer.Variable(np.ones((7,))),)

    y = Wrong().apply((variable(1, 2),))[0]
    y.grad = np.ones(2)
    with pytest.raises(ValueError, match="Function `Wrong` .Wrong. has a bug"):
        y.backward()


def test_wrong_number_of_gradients_is_refused():
    class Wrong(Exp):
        def backward(self, indexes, gys):
            return gys[0], gys[0]

    y = Wrong().apply((variable(1, 2),))[0]
    y.grad = np.ones(2)
    with pytest.raises(ValueError, match="incorrect: 2 != expected 1"):
        y.backward()


def test_debug_mode_finds_nan_and_remembers_the_line():
    with chainer.using_config("debug", True):
        with pytest.raises(RuntimeError, match="NaN is detected on forward computat"):
            exp(variable(np.nan))
        assert exp(variable(1)).creator.stack


def test_variables_are_copied_and_pickled():
    v = variable(1, 2, name="v")
    v.grad = np.ones(2)
    for other in (copy.copy(v), copy.deepcopy(v), pickle.loads(pickle.dumps(v))):
        np.testing.assert_array_equal(other.array, v.array)
        np.testing.assert_array_equal(other.grad, v.grad)
        assert other.name == "v" and other.node is not v.node


def test_zerograd_warns_and_fills():
    v = variable(1, 2)
    with pytest.warns(DeprecationWarning, match="zerograd is deprecated"):
        v.zerograd()
    np.testing.assert_array_equal(v.grad, [0, 0])
    v.cleargrad()
    assert v.grad is None


def test_a_variable_made_unchecked_is_like_any_other():
    v = chainer.Variable._init_unchecked(np.ones(2), name="v", requires_grad=False)
    assert repr(v) == "variable v([1., 1.])" and not v.node.requires_grad


def test_a_parameter_waits_for_its_shape():
    p = chainer.Parameter(chainer.initializers.Constant(3.0))
    assert not p.is_initialized and p.array is None
    with pytest.raises(RuntimeError, match="Cannot retrieve Variable.grad"):
        p.grad  # noqa: B018
    p.cleargrad()
    p.initialize((2, 3))
    assert p.grad is None
    np.testing.assert_array_equal(p.array, np.full((2, 3), 3, np.float32))


def test_a_parameter_of_unknown_type_says_so():
    p = chainer.Parameter(lambda array: None)
    with pytest.raises(RuntimeError, match="Dtype of the parameter is not determined"):
        p.dtype  # noqa: B018


def test_a_new_parameter_has_nan_gradients():
    p = chainer.Parameter(1.5, (2,))
    assert np.isnan(p.grad).all()
    q = pickle.loads(pickle.dumps(p))
    np.testing.assert_array_equal(q.array, p.array)
