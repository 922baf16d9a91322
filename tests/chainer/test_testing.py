"""The tools by which Chainer's functions and links are tested."""

import sys
import types
import unittest

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import gradient_check, testing
from dyrnn.chainer.bridging import bridge
from tests.chainer.toys import Exp, exp, product, variable


def run(cls):
    """Run a decorated class's cases; return {method: [whether it passed]}."""
    module = sys.modules[__name__]
    results: dict[str, list] = {}
    cases = getattr(cls, "cases", None)
    for case in cases:
        made = getattr(module, case.class_name)
        for name in unittest.TestLoader().getTestCaseNames(made):
            result = unittest.TestResult()
            made(name).run(result)
            results.setdefault(name, []).append(result.wasSuccessful())
        delattr(module, case.class_name)
    return results


class WrongExp(Exp):
    def backward(self, indexes, gys):
        return (product(gys[0], gys[0]),)


def wrong(x):
    return WrongExp().apply((x,))[0]


@pytest.mark.parametrize("double", [False, True])
def test_right_gradients_pass(double):
    x, gy, ggx = np.random.randn(3, 2, 3)
    gradient_check.check_backward(exp, x, gy, rtol=1e-3)
    gradient_check.check_double_backward(exp, x, gy, ggx, rtol=1e-2)


def test_wrong_gradients_fail_with_all_values():
    x, gy = np.random.randn(2, 2, 3)
    with pytest.raises(AssertionError, match="check_backward failed .eps=0.001"):
        gradient_check.check_backward(wrong, x, gy)
    with pytest.raises(AssertionError, match="gradients .numeric."):
        gradient_check.check_backward(wrong, x, gy)


def test_kinks_are_noticed():
    x, gy = np.zeros((1,)), np.ones((1,))

    def kink(v):
        return bridge(lambda a: a * np.sign(a.array), v)

    with pytest.raises(gradient_check.NondifferentiableError, match="non-different"):
        gradient_check.check_backward(
            kink, x, gy, rtol=1e-4, detect_nondifferentiable=True
        )


def test_numerical_gradients():
    x = np.array([1.0, 2.0])
    (gx,) = gradient_check.numerical_grad(lambda: (x**3,), (x,), (np.ones(2),))
    np.testing.assert_allclose(gx, 3 * x**2, rtol=1e-5)
    with pytest.raises(RuntimeError, match="must be kind of float"):
        gradient_check.numerical_grad(lambda: (x,), (np.array(1),), (1,))


def test_outputs_and_their_gradients_must_match():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match="dtypes of outputs and output gradients do"):
        gradient_check.check_backward(exp, x, np.ones((3, 2)))
    with pytest.raises(ValueError, match="y_grad argument cannot be omitted"):
        gradient_check.check_backward(exp, x, None)
    with pytest.raises(ValueError, match="`dtype` is allowed only float type"):
        gradient_check.check_backward(exp, x, x, dtype=np.int32)
    with pytest.raises(ValueError, match="Length of no_grads param and xs should be"):
        gradient_check.check_backward(exp, x, x, no_grads=[True, False])


def make_case(function):
    class Case(testing.FunctionTestCase):
        def setUp(self):
            self.check_backward_options = {"rtol": 1e-3, "atol": 1e-3}
            self.check_double_backward_options = {"rtol": 1e-2, "atol": 1e-2}

        def generate_inputs(self):
            return (np.asarray(np.random.uniform(-1, 1, self.shape)),)

        def forward(self, inputs, device):
            return (function(inputs[0]),)

        def forward_expected(self, inputs):
            return (np.asarray(np.exp(inputs[0])),)

    Case.__module__ = __name__
    sys.modules[__name__].Case = Case
    injected = testing.inject_backend_tests(None, [{}])(Case)
    return testing.parameterize(*testing.product({"shape": [(), (2, 3)]}))(injected)


def test_function_cases_pass_and_fail():
    assert run(make_case(exp)) == {
        "test_forward": [True, True],
        "test_backward": [True, True],
        "test_double_backward": [True, True],
    }
    assert run(make_case(wrong))["test_backward"] == [False, False]


def test_products_of_parameters():
    assert testing.product({"a": [1, 2], "b,c": [(3, 4)]}) == [
        {"a": 1, "b": 3, "c": 4},
        {"a": 2, "b": 3, "c": 4},
    ]
    assert testing.product([[{"a": 1}], [{"b": 2}, {"b": 3}]])[1] == {"a": 1, "b": 3}
    with pytest.raises(TypeError, match="parameter must be list of lists of dicts"):
        testing.product([1])
    with pytest.raises(AssertionError, match=r"\(1, 2\) has not a value for each of"):
        testing.from_pytest_parameterize("a,b,c", [(1, 2)])
    with pytest.raises(AssertionError, match="names are one text"):
        testing.product({("a", "b"): [1]})
    with pytest.raises(AssertionError, match="values are a list, not 1"):
        testing.product({"a": 1})
    pairs = testing.parameterized._pairwise_product_dict(
        *([{k: i} for i in range(3)] for k in "abcd")
    )
    assert len(pairs) < 81
    for k, m in ("ab", "cd"):
        assert len({(p[k], p[m]) for p in pairs}) == 9


def test_parameters_are_named_in_errors():
    class Failing(unittest.TestCase):
        def test_it(self):
            raise ValueError(self.word)

    Failing.__module__ = __name__
    bundle = testing.parameterize({"word": "secret"})(Failing)
    (case,) = bundle.cases
    with pytest.raises(ValueError, match="Parameterized test failed.(.|\n)*secret"):
        case.klass("test_it").test_it()
    delattr(sys.modules[__name__], case.class_name)


def test_random_numbers_are_fixed():
    class Draws:
        @testing.fix_random()
        def test_it(self):
            values.append(np.random.rand())

    values: list[float] = []
    Draws().test_it()
    Draws().test_it()
    assert values[0] == values[1]


def test_retries_and_repeats():
    class Case(unittest.TestCase):
        count = 0

        def test_it(self):
            Case.count += 1
            self.assertEqual(Case.count, 2)

    case = Case("test_it")
    testing.condition.retry(3)(Case.test_it)(case)
    with pytest.raises(AssertionError, match="Fail: 1, Success: 0"):
        testing.condition.repeat(2)(Case.test_it)(case)


def test_differences_are_described():
    with pytest.raises(AssertionError, match=r"absolute error\[i\]: 1.0"):
        testing.assert_allclose(np.ones(2), np.array([1, 2]))


def test_requirements_are_compared():
    helper = testing.helper
    assert helper._is_met("numpy") and helper._is_met("numpy>=1.10,<99")
    assert not helper._is_met("numpy<1.10") and not helper._is_met("no-such-thing")
    test = testing.with_requires("numpy<1.10")(lambda: None)
    assert test.__unittest_skip__


def test_warnings_are_expected():
    import warnings

    with testing.assert_warns(UserWarning):
        warnings.warn("x", stacklevel=1)
    with pytest.raises(AssertionError, match="UserWarning not triggerred"):
        with testing.assert_warns(UserWarning):
            pass


def test_patched_names_still_work():
    sys.modules["toy"] = types.ModuleType("toy")
    sys.modules["toy"].f = lambda x: x + 1
    with testing.patch("toy.f") as mock:
        assert sys.modules["toy"].f(1) == 2
    mock.assert_called_once_with(1)
    del sys.modules["toy"]


def test_matrices_have_their_singular_values():
    a = testing.generate_matrix((2, 3, 4), singular_values=[1, 2, 3])
    s = np.linalg.svd(a, compute_uv=False)
    np.testing.assert_allclose(s, [[3, 2, 1]] * 2)
    with pytest.raises(TypeError, match="singular_values is not given"):
        testing.generate_matrix((2, 2))


def test_backend_configurations_name_themselves():
    config = testing.BackendConfig({"use_cuda": True})
    assert "use_cuda_true__cuda_device_0" in config.get_func_str()
    with pytest.raises(ValueError, match="Parameter use_magic is not defined"):
        testing.BackendConfig({"use_magic": 1})
    with testing.BackendConfig({}) as config:
        assert config.xp is np and chainer.config.use_cudnn == "never"


def test_bridge_differentiates_twice():
    import dyrnn.functions as F

    x, w = np.random.randn(3, 4), np.random.randn(5, 4)
    gy = np.random.randn(3, 5)

    def f(a, b):
        return bridge(lambda p, q: F.tanh(F.linear(p, q)), a, b, name="Layer")

    assert f(x, w).requires_grad is False
    assert f(variable(*x), w).creator.label == "Layer"
    options = {"dtype": np.float64, "rtol": 1e-4, "atol": 1e-5}
    gradient_check.check_backward(f, (x, w), gy, **options)
    gradient_check.check_double_backward(f, (x, w), gy, (x * 2, w * 2), **options)


def test_random_states_come_back():
    before = np.random.get_state()[1].copy()
    values = []
    for _ in range(2):
        testing.random.do_setup()
        values.append(np.random.rand())
        testing.random.do_teardown()
    assert values[0] == values[1]
    np.testing.assert_array_equal(np.random.get_state()[1], before)
