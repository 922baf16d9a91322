"""Rules of dyrnn in Chainer's engine: values, gradients, gradients of gradients."""

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import functions as F
from dyrnn.chainer import gradient_check
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.worlds import from_core, of_floats
from dyrnn.functions import (
    activation,
    arithmetic,
    connection,
    indexing,
    joining,
    loss,
    math,
    normalization,
    products,
    recurrent_steps,
    reduction,
    shape,
)

RNG = np.random.default_rng(0)
SIZES = {"x": (3, 4), "y": (3, 4), "v": (4,), "c": (2, 4), "t": (4, 5), "w": (5, 4)}
SIZES |= {"b": (5,), "h": (3, 2), "k": (3, 2), "z": (3, 8), "U": (8, 2)}
ARRAYS = {name: RNG.uniform(0.2, 0.8, size) for name, size in SIZES.items()}
LABELS = np.array([1, 3, 0], np.int32)

# class, its arguments, names of the inputs
ROWS = [
    *[
        (kind, (), "x")
        for kind in vars(math).values()
        if isinstance(kind, type) and kind.__module__ == math.__name__
        if kind not in (math.Clip, math.Arctan2)
    ],
    (math.Clip, (0.3, 0.6), "x"),
    (math.Arctan2, (), "x y"),
    (activation.Tanh, (), "x"),
    (activation.Sigmoid, (), "x"),
    (activation.ReLU, (), "x"),
    (activation.LeakyReLU, (0.2,), "x"),
    (activation.ELU, (1.0,), "x"),
    (activation.Softplus, (2.0,), "x"),
    (activation.Softmax, (-1,), "x"),
    (activation.LogSoftmax, (0,), "x"),
    (arithmetic.Add, (), "x v"),
    (arithmetic.Subtract, (), "v x"),
    (arithmetic.Multiply, (), "x v"),
    (arithmetic.Divide, (), "v x"),
    (arithmetic.Power, (), "x y"),
    (arithmetic.Negative, (), "x"),
    (arithmetic.Absolute, (), "x"),
    (arithmetic.Maximum, (), "x y"),
    (arithmetic.Minimum, (), "x y"),
    (arithmetic.Fmod, (), "x y"),
    (reduction.Sum, ((1,), False), "x"),
    (reduction.Max, (None, False), "x"),
    (reduction.Min, (1, True), "x"),
    (reduction.CumSum, (1,), "x"),
    (reduction.LogSumExp, (0, False), "x"),
    (shape.Reshape, ((2, 6),), "x"),
    (shape.Transpose, ((1, 0),), "x"),
    (shape.BroadcastTo, ((3, 4),), "v"),
    (shape.SumTo, ((1, 4),), "x"),
    (shape.Cast, (np.dtype(np.float64),), "x"),
    (joining.Concat, (0,), "x c"),
    (joining.Stack, (1,), "x y"),
    (joining.SplitAxis, ([0, 1], 1), "x"),
    (joining.Separate, (0,), "x"),
    (joining.Pad, (((1, 0), (0, 2)), 0.5), "x"),
    (joining.PadSequence, (3, 0), "x c"),
    (indexing.GetItem, ((slice(1), 2),), "x"),
    (indexing.GetItem, (np.array([0, 2, 2]),), "x"),
    (indexing.Where, (), "mask x y"),
    (products.MatMul, (), "x t"),
    (products.Einsum, (["ab", "cb"], "ac"), "x c"),
    (normalization.Standardize, (-1, 1e-3), "x"),
    (connection.Linear, (), "x w b"),
    (connection.EmbedID, (None,), "ids x"),
    # Those that save intermediate values are differentiated twice as a composition.
    (loss.SoftmaxCrossEntropy, (LABELS, True, None, -1, "mean"), "x"),
    (recurrent_steps.LSTMStep, (), "z h k U"),
]
CONSTANTS = {
    "ids": np.array([[0, 1], [1, 2]], np.int32),
    "mask": ARRAYS["x"] > 0.5,
}


@pytest.mark.parametrize(
    ("kind", "args", "names"), ROWS, ids=[row[0].__name__ for row in ROWS]
)
def test_both_derivatives(kind, args, names):
    node = from_core(kind)
    constants = [CONSTANTS[name] for name in names.split() if name in CONSTANTS]
    xs = tuple([ARRAYS[name] for name in names.split() if name in ARRAYS])

    def function(*xs):
        ys = node(*args).apply((*constants, *xs))
        return ys if len(ys) > 1 else ys[0]

    def squared(*xs):
        ys = function(*xs)
        return tuple([y * y for y in ys]) if isinstance(ys, tuple) else ys * ys

    ys = node(*args).apply((*constants, *xs))
    rng = np.random.default_rng(1)
    gys = tuple([rng.uniform(-1, 1, y.shape) for y in ys])
    ggxs = tuple([rng.uniform(-1, 1, x.shape) for x in xs])
    options = {"dtype": np.float64, "atol": 1e-5, "rtol": 1e-4}
    gradient_check.check_backward(function, xs, gys, **options)
    gradient_check.check_double_backward(squared, xs, gys, ggxs, **options)


Square = from_core(math.Square, check=of_floats("x"), label="square")
Exp = from_core(math.Exp)
Multiply = from_core(arithmetic.Multiply)


def test_the_first_derivative_makes_no_graph():
    x = chainer.Variable(np.array([1.0, 3.0], np.float32))
    y = Square().apply((x,))[0]
    y.grad = np.ones_like(y.array)
    y.backward()
    np.testing.assert_array_equal(x.grad, [2, 6])
    assert x.grad.dtype == np.float32
    assert x.grad_var.creator is None


def test_the_second_derivative_runs_through_an_output_that_nobody_holds():
    x = chainer.Variable(np.array(0.5))
    y = F.sum(Exp().apply((x,))[0])
    (gx,) = chainer.grad([y], [x], enable_double_backprop=True)
    del y
    (ggx,) = chainer.grad([gx], [x])
    np.testing.assert_allclose(ggx.array, np.exp(0.5))


def test_two_variables_with_one_array_are_told_apart():
    array = np.array([2.0, 5.0])
    a, b = chainer.Variable(array), chainer.Variable(array)
    y = F.sum(Multiply().apply((a, b))[0] * a)
    (ga,) = chainer.grad([y], [a], enable_double_backprop=True)
    np.testing.assert_array_equal(ga.array, 2 * array * array)
    gaa, gab = chainer.grad([F.sum(ga)], [a, b])
    np.testing.assert_array_equal(gaa.array, 2 * array)
    np.testing.assert_array_equal(gab.array, 2 * array)


def test_a_scalar_stays_an_array():
    x = chainer.Variable(np.array(3.0, np.float32))
    y = Square().apply((x,))[0]
    y.backward()
    assert isinstance(y.array, np.ndarray)
    assert isinstance(x.grad, np.ndarray)
    assert x.grad == 6


def test_types_are_checked_under_the_names_given():
    with pytest.raises(type_check.InvalidType, match=r"square [^$]*x\.dtype"):
        Square().apply((np.array([1, 2]),))
    assert Square().label == "square"


def test_what_was_saved_goes_with_the_graph():
    x = chainer.Variable(np.ones(3))
    y = Square().apply((x,))[0]
    node = y.creator_node
    y.unchain_backward()
    assert node.rule.saved == ()
