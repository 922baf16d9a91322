"""Functions against NumPy and numerical gradients; once and twice."""

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import functions as F
from dyrnn.chainer import gradient_check
from dyrnn.chainer.utils import type_check

SIZES = {"x": (3, 4), "y": (3, 4), "v": (4,), "w": (5, 4), "b": (5,), "c": (3, 2)}
LABELS = np.array([1, -1, 3], np.int32)
IDS = np.array([[0, 2], [2, 2]], np.int32)
CONDITION = np.array([True, False, True, True])

# name of the inputs, function, reference or None (gradient only)
ROWS = [
    ("x y", lambda x, y: x + y, lambda x, y: x + y),
    ("x v", lambda x, v: x - v, lambda x, v: x - v),
    ("x v", lambda x, v: x * v, lambda x, v: x * v),
    ("x v", lambda x, v: x / v, lambda x, v: x / v),
    ("x v", lambda x, v: x**v, lambda x, v: x**v),
    ("x", lambda x: 2 - 3 / x + 2**x - x**2, lambda x: 2 - 3 / x + 2**x - x**2),
    ("x", abs, abs),
    ("x w", lambda x, w: x @ w.T, lambda x, w: x @ w.T),
    *[
        ("x", getattr(F, name), getattr(np, name))
        for name in "exp expm1 log log2 log10 log1p sin cos tan arcsin arccos arctan "
        "arctanh sinh cosh tanh sqrt square fliplr flipud transpose prod".split()
    ],
    ("x", F.rsqrt, lambda x: x**-0.5),
    ("x", F.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    ("x", F.softplus, lambda x: np.log1p(np.exp(x))),
    ("x", F.relu, lambda x: np.maximum(x, 0)),
    ("x", F.elu, None),
    ("x", F.selu, None),
    ("x", lambda x: F.leaky_relu(x - 0.7), None),
    ("x", F.hard_sigmoid, lambda x: 0.2 * x + 0.5),
    ("x", lambda x: F.clip(x, 0.6, 0.9), lambda x: np.clip(x, 0.6, 0.9)),
    ("x v", F.swish, lambda x, v: x / (1 + np.exp(-v * x))),
    ("x v", lambda x, v: F.prelu(x - 0.7, v), None),
    ("x", lambda x: F.maxout(x, 2), lambda x: x.reshape(3, 2, 2).max(2)),
    ("x y", F.maximum, np.maximum),
    ("x y", F.minimum, np.minimum),
    ("x y", F.arctan2, np.arctan2),
    ("x y", lambda x, y: F.linear_interpolate(x, y, x * y), None),
    ("x", F.softmax, lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    ("x", F.log_softmax, lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))),
    ("x", F.logsumexp, lambda x: np.log(np.exp(x).sum())),
    ("x", lambda x: F.max(x, axis=1), lambda x: x.max(1)),
    ("x", lambda x: F.min(x, keepdims=True), lambda x: x.min(keepdims=True)),
    ("x", lambda x: F.sum(x, axis=-1), lambda x: x.sum(-1)),
    ("x v", lambda x, v: F.average(x, 1, v), lambda x, v: np.average(x, 1, v)),
    ("x", F.normalize, None),
    ("x", F.crelu, lambda x: np.concatenate([x, 0 * x], 1)),
    ("x", lambda x: F.cumsum(x, 1), lambda x: np.cumsum(x, 1)),
    ("x", lambda x: F.prod(x, 1), lambda x: x.prod(1)),
    ("x", F.diagonal, np.diagonal),
    ("x v", F.bias, lambda x, v: x + v),
    ("x v", F.scale, lambda x, v: x * v),
    ("x y", lambda x, y: F.concat([x, y]), lambda x, y: np.concatenate([x, y], 1)),
    ("x y", lambda x, y: F.stack([x, y]), lambda x, y: np.stack([x, y])),
    ("x y", lambda x, y: F.vstack([x, y]), lambda x, y: np.vstack([x, y])),
    ("x y", lambda x, y: F.hstack([x, y]), lambda x, y: np.hstack([x, y])),
    ("v v", lambda x, y: F.dstack([x, y]), lambda x, y: np.dstack([x, y])),
    ("x", lambda x: F.split_axis(x, [1, 3], 1)[1], lambda x: x[:, 1:3]),
    ("x", lambda x: F.separate(x, 1)[2], lambda x: x[:, 2]),
    ("x", lambda x: x[1:, [0, 0, 2]], lambda x: x[1:, [0, 0, 2]]),
    ("x", lambda x: F.select_item(x, abs(LABELS)), lambda x: x[range(3), abs(LABELS)]),
    ("x v", lambda x, v: F.where(CONDITION, x, F.broadcast_to(v, x.shape)), None),
    ("x", lambda x: F.permutate(x, np.array([2, 0, 1])), lambda x: x[[2, 0, 1]]),
    ("x", lambda x: F.pad(x, 1, "constant"), lambda x: np.pad(x, 1)),
    ("x y", lambda x, y: F.pad_sequence([x, y[:1]])[1], None),
    ("x y", lambda x, y: F.transpose_sequence([x, y[:1]])[1], lambda x, y: x[1:2]),
    ("x", lambda x: F.tile(x, (2, 1, 2)), lambda x: np.tile(x, (2, 1, 2))),
    ("x", lambda x: F.repeat(x, (1, 0, 3), 0), lambda x: np.repeat(x, (1, 0, 3), 0)),
    ("x", lambda x: F.rollaxis(x, 1), lambda x: np.rollaxis(x, 1)),
    ("x", lambda x: F.moveaxis(x, 0, 1), lambda x: np.moveaxis(x, 0, 1)),
    ("x", lambda x: F.swapaxes(x, 0, 1), lambda x: x.T),
    ("x", lambda x: F.squeeze(F.expand_dims(x, 1)), lambda x: x),
    ("x v", lambda x, v: F.scatter_add(x, 1, v), None),
    ("x w b", F.linear, lambda x, w, b: x @ w.T + b),
    ("w", lambda w: F.embed_id(IDS, w, ignore_label=0), None),
    ("x w", lambda x, w: F.matmul(x, w, transb=True), lambda x, w: x @ w.T),
    ("x v", F.matmul, lambda x, v: x @ v),
    ("x w", lambda x, w: F.tensordot(x, w, ((1,), (1,))), lambda x, w: x @ w.T),
    ("x w", lambda x, w: F.einsum("ij,kj->ik", x, w), lambda x, w: x @ w.T),
    ("x y", F.mean_squared_error, lambda x, y: ((x - y) ** 2).mean()),
    ("x y", F.mean_absolute_error, lambda x, y: abs(x - y).mean()),
    ("x y", F.squared_error, lambda x, y: (x - y) ** 2),
    ("x y", lambda x, y: F.huber_loss(x, y, 0.3), None),
    ("x", lambda x: F.hinge(x, abs(LABELS)), None),
    ("x", lambda x: F.sigmoid_cross_entropy(x, (np.eye(3, 4) > 0).astype("i")), None),
    (
        "x",
        lambda x: F.softmax_cross_entropy(x, LABELS, enable_double_backprop=True),
        lambda x: (np.log(np.exp(x).sum(1)) - x[range(3), LABELS])[[0, 2]].mean(),
    ),
    ("c c x", lambda c, d, x: F.concat(F.lstm(c + d, F.tile(x, (1, 2)))), None),
    ("c x", lambda c, x: F.concat(F.slstm(c, c, *[F.tile(x, (1, 2))] * 2)), None),
    ("c x", lambda c, x: F.concat(F.tree_lstm(c, c, F.concat([x, x, c]))), None),
    ("x v v", lambda x, g, b: F.layer_normalization(x, g, b), None),
    ("x v v", lambda x, g, b: F.batch_normalization(x, g, b), None),
]  # fmt: skip


def arrays(names, dtype=np.float64):
    rng = np.random.default_rng(1)
    return [rng.uniform(0.5, 0.95, SIZES[n]).astype(dtype) for n in names.split()]


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_values_gradients_and_types(row):
    names, function, reference = ROWS[row]
    xs = arrays(names)
    y = function(*map(chainer.Variable, xs))
    if reference is not None:
        np.testing.assert_allclose(y.array, reference(*xs), rtol=1e-7, atol=1e-12)
    rng = np.random.default_rng(2)
    gy, ggxs = rng.normal(size=y.shape), [rng.normal(size=x.shape) for x in xs]
    options = {"atol": 1e-4, "rtol": 1e-3}
    gradient_check.check_backward(function, tuple(xs), gy, **options)
    gradient_check.check_double_backward(
        lambda *v: function(*v) * 1, tuple(xs), gy, tuple(ggxs), **options
    )
    for dtype in (np.float16, np.float32):
        with np.errstate(all="ignore"):
            low = function(*map(chainer.Variable, arrays(names, dtype)))
        assert low.dtype == dtype


def test_constants_take_the_variables_type():
    x = chainer.Variable(np.ones(2, np.float32))
    assert (x + np.ones(2)).dtype == (np.float64(2) * x).dtype == np.float32
    assert (np.ones(2) * x).dtype == np.float32
    ids = chainer.Variable(np.array([1, 2]))
    np.testing.assert_array_equal((ids + 0.5).array, [1, 2])
    with pytest.raises(TypeError, match="Value must be a scalar, `numpy.ndarray`"):
        x + []


def test_labels_show_what_is_done():
    x = chainer.Variable(np.ones(2, np.float32))
    labels = [(y).creator.label for y in (x + 1, 2 - x, x * -2, x / x, x**2, -x)]
    assert labels == ["_ + 1", "2 - _", "_ * (-2)", "_ / _", "_ ** 2", "__neg__"]


def test_interleaved_gates_of_an_lstm():
    c, x = np.zeros((1, 2), np.float32), np.zeros((1, 8), np.float32)
    x[0, :4] = 9  # all gates of the first unit
    c, _ = F.lstm(c, x)
    np.testing.assert_allclose(c.array, [[1, 0]], atol=1e-3)


def test_labels_in_a_list_too_many_are_refused_with_the_numbers_of_axes():
    x = np.zeros((2, 5), np.float32)
    with pytest.raises(
        type_check.InvalidType, match=r"t\.ndim == x\.ndim - 1"
    ) as error:
        F.softmax_cross_entropy(x, np.array([[3], [1]], np.int32))
    assert "Actual: 2 != 1" in str(error.value)


def test_softmax_cross_entropy_ignores_and_refuses():
    x = chainer.Variable(np.random.rand(3, 4).astype(np.float16))
    loss = F.softmax_cross_entropy(x, np.full(3, -1))
    assert loss.dtype == np.float16 and loss.array == 0
    with pytest.raises(IndexError, match="label 7 is out of bounds for 4 classes"):
        F.softmax_cross_entropy(x, np.full(3, 7))
    with pytest.raises(ValueError, match="only 'mean' and 'no' are valid for 'reduce'"):
        F.softmax_cross_entropy(x, LABELS, reduce="sum")
    with chainer.using_config("debug", True):
        with pytest.raises(ValueError, match="Each label `t` need to satisfy"):
            F.softmax_cross_entropy(x, np.full(3, 7))
    loss = F.softmax_cross_entropy(x, LABELS)
    (gx,) = chainer.grad([loss], [x], enable_double_backprop=True)
    assert chainer.grad([gx], [x])[0].shape == x.shape  # without being asked for it


def test_types_are_checked():
    with pytest.raises(type_check.InvalidType, match="x.shape.1. == W.shape.1."):
        F.linear(np.ones((2, 3), "f"), np.ones((4, 5), "f"))
    with pytest.raises(type_check.InvalidType, match="in_types.0..dtype == in_types"):
        F.concat([np.ones((2, 3), "f"), np.ones((2, 3))])


def test_dropout_follows_configuration_and_version_one():
    np.random.seed(0)
    x = np.ones((100, 100), np.float32)
    y = F.dropout(x, 0.25)
    np.testing.assert_allclose(np.unique(y.array), [0, 4 / 3])
    np.testing.assert_allclose((y.array == 0).mean(), 0.25, atol=0.02)
    assert F.dropout(x, train=False).array is x
    with chainer.using_config("train", False):
        assert F.dropout(x).array is x
    with pytest.raises(ValueError, match="dropout_ratio must be in the range"):
        F.dropout(x, 1.0)


def test_accuracy_counts():
    y = np.eye(3, dtype=np.float32)
    assert F.accuracy(y, np.array([0, 1, 0])).array == np.float32(2 / 3)
    assert F.accuracy(y, np.array([0, 1, -1]), ignore_label=-1).array == 1
    score, support = F.precision(y, np.array([0, 1, 1]))
    np.testing.assert_array_equal(score.array, [1, 1])
    np.testing.assert_array_equal(support.array, [1, 2])


@pytest.mark.parametrize("name", ["n_step_lstm", "n_step_bilstm"])
def test_sequences_in_stacked_layers(name):
    rng = np.random.default_rng(0)
    directions = 1 + (name == "n_step_bilstm")
    ws = [[rng.normal(size=(4, 3 if j < 4 else 4)) for j in range(8)]] * directions
    bs = [[rng.normal(size=4) for j in range(8)]] * directions
    h = np.zeros((directions, 3, 4))
    xs = [rng.normal(size=(n, 3)) for n in (3, 2, 2)]
    hy, cy, ys = getattr(F, name)(1, 0.0, h, h, ws, bs, xs)
    assert hy.shape == cy.shape == (directions, 3, 4)
    assert [y.shape for y in ys] == [(n, 4 * directions) for n in (3, 2, 2)]
    with pytest.raises(ValueError, match="Inconsistent input size in input values"):
        getattr(F, name)(1, 0.0, h, h, ws, bs, [np.ones((3, 5))])


def test_losses_of_scripts_call_a_log_softmax_of_arrays():
    log_softmax = F.activation.log_softmax._log_softmax
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    wanted = F.log_softmax(x).array
    for options in ((), (1,), (False,)):  # the last is use_cudnn of version 1
        np.testing.assert_array_equal(log_softmax(x, *options), wanted)


NO_LABELS = np.zeros(0, np.int32)


@pytest.mark.parametrize(
    "function",
    [
        F.softmax,
        F.log_softmax,
        lambda x: F.softmax_cross_entropy(x, NO_LABELS),
        lambda x: F.softmax_cross_entropy(x, NO_LABELS, reduce="no"),
        lambda x: F.convolution_2d(x.reshape(0, 1, 2, 2), np.ones((3, 1, 2, 2), "f")),
        lambda x: F.max_pooling_2d(x.reshape(0, 1, 2, 2), 2),
        lambda x: F.average_pooling_2d(x.reshape(0, 1, 2, 2), 2),
    ],
)
def test_a_batch_of_no_examples_has_a_gradient_of_no_elements(function):
    x = chainer.Variable(np.zeros((0, 4), np.float32))
    y = function(x)
    y.grad = np.zeros(y.shape, np.float32)
    y.backward()
    assert y.array.sum() == 0
    assert x.grad.shape == (0, 4)


def test_losses_of_distributions_broadcast():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    zero = np.zeros((), np.float32)
    np.testing.assert_allclose(
        F.gaussian_kl_divergence(x, zero).array, (x**2).sum() / 2
    )
    y = chainer.Variable(x[:1].copy())
    F.bernoulli_nll(x, y).backward()
    np.testing.assert_allclose(
        y.grad, (2 / (1 + np.exp(-y.array)) - x.sum(axis=0)), rtol=1e-6
    )


def test_squared_difference_names_its_inputs_as_chainer_does():
    x = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(F.squared_difference(x1=x, x2=3 * x).array, 4 * x)
