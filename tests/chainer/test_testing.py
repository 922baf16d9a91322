"""The tools by which Chainer's functions and links are tested."""

import sys
import unittest

import numpy as np
import pytest

from dyrnn.chainer import gradient_check, testing
from dyrnn.chainer.bridging import bridge
from tests.chainer.toys import Exp, exp, product, variable


def run(cls):
    """Run a decorated class's cases; return {method: [whether it passed]}."""
    module = sys.modules[__name__]
    results: dict[str, list] = {}
    for case in cls.cases:
        for name in unittest.TestLoader().getTestCaseNames(case):
            result = unittest.TestResult()
            case(name).run(result)
            results.setdefault(name, []).append(result.wasSuccessful())
        delattr(module, case.__name__)
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


def test_parameters_are_named_in_errors():
    class Failing(unittest.TestCase):
        def test_it(self):
            raise ValueError(self.word)

    Failing.__module__ = __name__
    bundle = testing.parameterize({"word": "secret"})(Failing)
    (case,) = bundle.cases
    with pytest.raises(ValueError, match="\nin Failing.test_it with word='secret'"):
        case("test_it").test_it()
    delattr(sys.modules[__name__], case.__name__)


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
    with pytest.raises(AssertionError, match=r"Max absolute difference.*: 1(.|\n)*x: "):
        testing.assert_allclose(np.ones(2), np.array([1, 2]))


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
