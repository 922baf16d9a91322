"""NumPy's functions and operators, called with variables."""

import operator

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
from dyrnn.engine.core import Variable

A, V = np.float32([1, 2, 3]), Variable(np.float32([1, 4, 9]))
W = V + 1
OPERATORS = "add sub mul truediv pow floordiv".split()


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(
    "x", [A, np.float32(2), np.float64(2), np.int64(2), np.array(2.0), 2.0, 2]
)
def test_an_operator_on_either_side_keeps_the_gradient(name, x):
    function = getattr(operator, name)
    y, z = function(x, V), function(V, x)
    assert isinstance(y, Variable) and isinstance(z, Variable) and y.dtype == z.dtype
    np.testing.assert_allclose(y.array, function(np.asarray(x), V.array), rtol=1e-6)
    np.testing.assert_allclose(z.array, function(V.array, np.asarray(x)), rtol=1e-6)


def test_matmul_with_an_array_before_keeps_the_gradient():
    v = dyrnn.Parameter(np.ones((3, 2)))
    F.sum(np.diag([1.0, 2.0, 3.0]) @ v).backward()
    np.testing.assert_array_equal(v.grad, [[1, 1], [2, 2], [3, 3]])


CALLS = {
    "np.sqrt(V)": "use F.sqrt(v), or np.sqrt(v.array) without one",
    "np.maximum(V, 0.5)": "use F.maximum(v, 0.5), or",
    "np.isfinite(V)": "use np.isfinite(v.array) without",
    "np.concatenate([V, W, V], axis=0)": "use F.concatenate([v, w, v], axis=0), or "
    "np.concatenate([v.array, w.array, v.array], axis=0)",
    "np.stack([V] * 5)": "F.stack([v, v, v, ...])",
    "np.where(A > 1, V, W)": "F.where(..., v, w), or np.where(..., v.array, w.array)",
    "np.clip(V, 0, 1)": "F.clip(v, 0, 1)",
    "np.mean(V, axis=0)": "F.mean(v, axis=0)",
    "np.dot(V, W)": "F.matmul(v, w), or np.dot(v.array, w.array)",
    "np.abs(V)": "F.absolute(v)",
    "np.add.reduce(V)": "use np.add.reduce(v.array)",
    "np.linalg.norm(V)": "np.linalg.norm(v.array)",
    "np.exp(V, where=A > 1)": "F.exp(v, where=...)",
    "operator.iadd(A.copy(), V)": "Write `a = a + v`",
    "A % V": "np.remainder(..., v.array)",
    "A > V": "compare its array",
    "A == V": "compare its array",
}


@pytest.mark.parametrize("call", CALLS)
def test_the_error_says_what_to_write(call):
    with pytest.raises(TypeError) as caught:
        eval(call)
    assert CALLS[call] in str(caught.value)


def test_a_variable_says_none_to_who_asks_it():  # as CuPy does
    assert V.__array_ufunc__ is None
