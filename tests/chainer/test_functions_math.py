"""Sums, matrices, special functions and measures: values, gradients, refusals."""

import functools
import math
import sys

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import functions as F
from dyrnn.chainer import gradient_check
from dyrnn.chainer.functions import elementwise
from dyrnn.chainer.utils import type_check

SHAPES = {"x": (3, 4), "y": (3, 4), "s": (3, 3), "t": (2, 3, 3), "b": (2, 3, 4)}

MASK = np.array([1.0, 1, 0, 1])


def arrays(names):
    rng = np.random.default_rng(0)
    shapes = [SHAPES[name] for name in names.split()]
    found = [rng.uniform(0.5, 0.9, shape) for shape in shapes]
    return [x + 2 * np.eye(3) if x.shape[-2:] == (3, 3) else x for x in found]


def einsum(text):
    return functools.partial(F.einsum, text), functools.partial(np.einsum, text)


ROWS = [
    ("x y", *einsum("ij,kj->ik")),
    ("s x", *einsum("ii,ij")),
    ("t", *einsum("...ii->i...")),
    ("b x", *einsum("...j,kj")),
    (
        "x b",
        lambda x, b: F.einsum(x, [0, 1], b, [..., 0, 1], [1, ...]),
        lambda x, b: np.einsum("ij,bij->jb", x, b),
    ),
    ("x b", lambda x, b: F.tensordot(x, b, ([1, 0], [2, 1])), None),
    ("x", F.mean, np.mean),
    ("x", lambda x: F.mean(x, (0, -1), keepdims=True), lambda x: x.mean(keepdims=True)),
    ("x", lambda x: F.prod(x * MASK, (1, 0)), None),
    ("x", lambda x: F.cumprod(x, 1), lambda x: np.cumprod(x, 1)),
    ("x", F.cumprod, np.cumprod),
]


@pytest.mark.parametrize(("names", "function", "reference"), ROWS)
def test_value_and_gradients(names, function, reference):
    xs = arrays(names)
    y = function(*xs)
    if reference is not None:
        np.testing.assert_allclose(y.array, reference(*xs), rtol=1e-10)
    gy = np.random.default_rng(1).normal(size=y.shape)
    options = {"atol": 1e-5, "rtol": 1e-4}
    gradient_check.check_backward(function, tuple(xs), gy, **options)
    gradient_check.check_double_backward(
        lambda *xs: function(*xs) ** 2, tuple(xs), gy, tuple(xs), **options
    )


def test_product_over_no_elements_is_one():
    x = chainer.Variable(np.zeros((3, 1, 0)))
    y = F.prod(x, axis=(0, 2))
    np.testing.assert_array_equal(y.array, [1])
    F.sum(y).backward()
    assert x.grad.shape == x.shape


def test_half_precision_does_not_overflow_in_a_mean():
    assert F.mean(np.full(20, 60000, np.float16)).array == 60000


def test_steps_take_integers_and_have_no_gradient():
    ids = chainer.Variable(np.array([-3, 2], np.int32))
    np.testing.assert_array_equal(F.sign(ids).array, [-1, 1])
    assert F.floor(ids).dtype == np.int32
    assert F.ceil(np.float32([0.5])).creator is None


def test_angles_of_mixed_types():
    x, y = chainer.Variable(np.ones(2, "f")), chainer.Variable(np.ones(2))
    F.sum(F.arctan2(x, y)).backward()
    assert x.grad.dtype == np.float32 and y.grad.dtype == np.float64


@pytest.mark.parametrize(
    ("operands", "message"),
    [
        ((), "no operands"),
        (("ij", 1, 2), "1 terms for 2 operands"),
        (("i$", 1), r"'\$' is not a letter"),
        (("i->j", 1), "the output has 'j', which no input has"),
        (("...i->i", np.ones((2, 3))), "dots for 1 axes, the output has none"),
    ],
)
def test_what_einsum_cannot_read(operands, message):
    with pytest.raises(ValueError, match=message):
        F.einsum(*operands)


def test_einsum_does_not_stretch():
    with pytest.raises(type_check.InvalidType, match="Expect: x0.shape.*== x1.shape"):
        F.einsum("...i,...i", np.ones((2, 2)), np.ones((1, 2)))
    with pytest.raises(type_check.InvalidType, match="x0.ndim == 1"):
        F.einsum("i", np.ones((2, 2)))
    with pytest.raises(TypeError, match="axes are numbers or Ellipsis"):
        F.einsum(np.ones(2), ["i"])


def test_axes_that_tensordot_refuses():
    x = np.ones((2, 3))
    for axes, message in (
        ((0, 1), "differ in length"),
        (3, "3 axes of shapes"),
        (((0, 1), 0), "2 axes against 1"),
        ((0, 1, 2), "must be a pair of sequence"),
    ):
        with pytest.raises(ValueError, match=message):
            F.tensordot(x, x, axes)
    with pytest.raises(TypeError, match="or an integer"):
        F.tensordot(x, x, 1.0)


def test_batch_matmul_is_deprecated():
    with pytest.warns(DeprecationWarning, match="Use matmul instead"):
        F.batch_matmul(np.zeros((2, 1, 3)), np.zeros((2, 3, 1)))


@pytest.fixture
def no_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    elementwise._array_erf.cache_clear()
    yield
    elementwise._array_erf.cache_clear()


@pytest.mark.parametrize("scipy", ["", "scipy.special"])
def test_error_function(scipy, request):
    pytest.importorskip(scipy) if scipy else request.getfixturevalue("no_scipy")
    x = np.array([[-1.5], [0.3]], np.float32)
    y = F.erf(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.array.ravel(), [math.erf(v) for v in x.ravel()], 1e-6)
    assert F.erf(np.zeros((0, 2), "f")).shape == (0, 2)
    gradient_check.check_double_backward(
        F.erf, x, np.ones_like(x), x, dtype="d", atol=1e-4
    )


def test_measures_refuse_what_they_cannot_read():
    y, t = np.eye(3), np.array([0, 1])
    for function in (F.accuracy, F.classification_summary):
        with pytest.raises(type_check.InvalidType, match="x.shape.0. == t.shape.0."):
            function(y, t)
    with pytest.raises(NotImplementedError, match="sample_weight"):
        F.r2_score(y, y, sample_weight=1)
    with chainer.using_config("debug", True):
        with pytest.raises(AssertionError, match="a label is not below 2"):
            F.recall(y, np.array([0, 1, 2]), label_num=2)


def test_summary_counts_each_class():
    y = np.eye(3)[[0, 1, 1, 2]]
    precision, recall, score, support = F.classification_summary(
        y, np.array([0, 1, 0, -1])
    )
    np.testing.assert_array_equal(precision.array, [1, 0.5])
    np.testing.assert_array_equal(recall.array, [0.5, 1])
    np.testing.assert_allclose(score.array, [2 / 3, 2 / 3])
    np.testing.assert_array_equal(support.array, [2, 1])


def test_bounds_and_weights_that_are_refused():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match="must set either max or min"):
        F.clip(x, None, None)
    with pytest.raises(ValueError, match="tuple axis is not supported"):
        F.average(x, (0, 1), x)
    with pytest.raises(type_check.InvalidType, match="Expect"):
        F.bias(x, np.ones(4))
    with chainer.using_config("debug", True):
        with pytest.raises(AssertionError, match="y has shape"):
            F.bias(x, np.ones(4))
    with pytest.raises(TypeError, match="axis must be int or None"):
        F.cumprod(x, (0,))
