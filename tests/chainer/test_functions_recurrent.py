"""Steps of cells, noise, normalization: the nodes behind the functions."""

from functools import partial

import numpy as np
import pytest

import dyrnn.chainer as chainer
import dyrnn.chainer.functions as F
import dyrnn.chainer.links as L
from dyrnn.chainer.functions import normalizing, products, recurrent, stochastic
from dyrnn.chainer.gradient_check import check_backward, check_double_backward


def draw(*shapes):
    rng = np.random.default_rng(4)
    return [rng.uniform(-1, 1, shape) for shape in shapes]


STEPS = {
    "lstm": (F.lstm, recurrent.LSTMGrad, [(3, 2), (2, 8)], [(3, 2), (2, 2)]),
    "slstm": (F.slstm, recurrent.SLSTMGrad, [(2, 3)] * 2 + [(2, 12)] * 2, [(2, 3)] * 2),
}


@pytest.mark.parametrize("name", STEPS)
def test_gradients_of_a_step_can_be_called_and_differentiated(name):
    step, gradients, shapes, out_shapes = STEPS[name]
    inputs, gys = draw(*shapes), draw(*out_shapes)
    xs = [chainer.Variable(x) for x in inputs]
    c, h = step(*xs)
    found = gradients()(*inputs, c.array, *gys)
    chainer.backward([c, h], [chainer.Variable(gy) for gy in gys])
    for x, gx in zip(xs, found, strict=True):
        np.testing.assert_allclose(gx.array, x.grad)
    check_backward(gradients(), [*inputs, c.array, *gys], draw(*shapes), atol=1e-5)


def test_a_step_takes_a_missing_gradient_for_zero():
    (step, gradients, shapes, _), gh = STEPS["lstm"], np.ones((2, 2))
    inputs = draw(*shapes)
    c = step(*inputs)[0].array
    given = gradients()(*inputs, c, None, gh)
    expected = gradients()(*inputs, c, np.zeros_like(c), gh)
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_array_equal(one.array, other.array)


def test_layers_over_sequences_have_one_function_for_both_directions():
    h, x = draw((1, 2, 3), (2, 3))
    w, b = draw((3, 3), (3, 3)), draw(3, 3)
    hy, (y,) = F.n_step_rnn(1, 0.0, h, [w], [b], [x], "relu")
    same = recurrent.n_step_rnn_base(1, 0.0, h, [w], [b], [x], "relu", False)
    np.testing.assert_array_equal(hy.array, same[0].array)
    np.testing.assert_array_equal(y.array, same[1][0].array)


NOISE = {
    "dropout": (lambda: stochastic.Dropout(0.5), [(4, 5)]),
    "zoneout": (lambda: stochastic.Zoneout(0.5), [(4, 5)] * 2),
    "gaussian": (lambda: stochastic.Gaussian(), [(4, 5)] * 2),
    "rrelu": (lambda: stochastic.RReLU(), [(4, 5)]),
    "dropconnect": (lambda: stochastic.SimplifiedDropconnect(0.5), [(4, 5), (3, 5)]),
    "one mask": (
        lambda: stochastic.SimplifiedDropconnect(0.5, use_batchwise_mask=False),
        [(4, 5), (3, 5), 3],
    ),
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_stays_in_its_node_and_has_gradients(name):
    make, shapes = NOISE[name]
    node, inputs = make(), draw(*shapes)
    y = node.apply(inputs)[0].array
    np.testing.assert_array_equal(node.apply(inputs)[0].array, y)
    gy = draw(y.shape)

    def again(*xs):
        return node.apply(xs)[0]

    check_backward(again, inputs, gy, atol=1e-5)
    if name not in ("dropout", "zoneout", "rrelu"):  # those are linear
        check_double_backward(again, inputs, gy, draw(*shapes), atol=1e-4)


def test_the_paths_of_noise_lead_to_classes():
    assert F.noise.dropout.Dropout is stochastic.Dropout
    assert F.noise.gaussian.Gaussian is stochastic.Gaussian
    assert F.gumbel_softmax(np.array(1, "f")).array == 1


def test_rrelu_returns_its_slopes():
    x = np.array([-2.0, 3.0])
    y, r = F.rrelu(x, l=0.1, u=0.2, return_r=True)
    assert (r >= 0.1).all() and (r <= 0.2).all()
    np.testing.assert_array_equal(y.array, [-2 * r[0], 3])
    with chainer.using_config("train", False):
        np.testing.assert_allclose(F.rrelu(x, 0.1, 0.2).array, [-0.3, 3])


def test_gradients_of_linear_are_nodes():
    x, w, gy = draw((4, 3), (2, 3), (4, 2))
    (gw,) = products.LinearGradWeight(np.dtype("f")).apply((x, gy))
    assert gw.dtype == np.float32
    np.testing.assert_allclose(gw.array, gy.T @ x, rtol=1e-6)
    (gx,) = products.LinearGradData().apply((w, gy))
    np.testing.assert_allclose(gx.array, gy @ w)


@pytest.mark.parametrize("axis", [None, 0, (0, 2)])
def test_batch_normalization_has_second_gradients(axis):
    columns = (3,) if axis == (0, 2) else (3, 2)
    inputs = draw((4, 3, 2), columns, columns)
    (gy,) = draw((4, 3, 2))

    def normalized(*xs):
        return F.batch_normalization(*xs, axis=axis, eps=0.1)

    check_backward(normalized, inputs, gy, atol=1e-4)
    shapes = [x.shape for x in inputs]
    check_double_backward(normalized, inputs, gy, draw(*shapes), atol=1e-4)


def test_batch_normalization_refuses_and_warns():
    x, gamma = np.ones((1, 3), "f"), np.ones(3, "f")
    with pytest.warns(UserWarning, match="no more than one sample"):
        F.batch_normalization(x, gamma, gamma)
    with pytest.warns(UserWarning, match="single dimensions along all axes"):
        F.batch_normalization(x[..., None], x, x, axis=2)
    with pytest.raises(RuntimeError, match="ascending"):
        F.batch_normalization(x, gamma, gamma, axis=(1, 0))
    with pytest.raises(RuntimeError, match="axis must be int, tuple of int or None"):
        F.batch_normalization(x, gamma, gamma, axis="0")
    with pytest.raises(chainer.utils.type_check.InvalidType):
        F.fixed_batch_normalization(x, gamma, gamma, gamma[:2], gamma)


NORMALIZED = {
    "LayerNormalization": (F.layer_normalization, [(3, 4), 4, 4]),
    "GroupNormalization": (
        lambda x, *args: F.group_normalization(x, 2, *args),
        [(2, 4, 3), 4, 4],
    ),
    "FixedBatchNormalization": (
        lambda x, gamma, beta, mean, std: F.fixed_batch_normalization(
            x, gamma, beta, mean, std * std, eps=0.5
        ),
        [(3, 4, 2), 4, 4, 4, 4],
    ),
}


@pytest.mark.parametrize("name", NORMALIZED)
def test_normalizations_are_nodes_with_second_gradients(name):
    function, shapes = NORMALIZED[name]
    inputs, gy = draw(*shapes), draw(shapes[0])
    y = function(*[x.astype("e") for x in inputs])
    assert y.dtype == np.float16 and y.creator.label == name
    check_backward(function, inputs, gy, atol=1e-4)
    check_double_backward(function, inputs, gy, draw(*shapes), atol=1e-3)


def test_groups_of_channels_are_normalized():
    x, gamma, beta = draw((2, 4, 3), 4, 4)
    y = F.group_normalization(x, 2, gamma, beta, eps=0).array
    rows = x.reshape(2, 2, 6)
    rows = (rows - rows.mean(2, keepdims=True)) / rows.std(2, keepdims=True)
    expected = rows.reshape(x.shape) * gamma[:, None] + beta[:, None]
    np.testing.assert_allclose(y, expected)
    with pytest.raises(ValueError, match="4 channels are not divisible by groups=3"):
        F.group_normalization(x, 3, gamma, beta)
    with pytest.raises(TypeError, match="groups must be an int"):
        F.group_normalization(x, 2.0, gamma, beta)


def test_a_row_of_length_zero_has_a_gradient():
    x = chainer.Variable(np.array([[0.0, 0.0], [3.0, 4.0]]))
    y = F.normalize(x, eps=0.5)
    y.grad = np.ones_like(x.array)
    y.backward()
    np.testing.assert_allclose(x.grad[0], [2, 2])
    assert isinstance(y.creator, normalizing.NormalizeL2)
    assert np.isfinite(x.grad).all()


def test_forget_tells_which_result_is_no_variable():
    v = chainer.Variable(np.zeros(1))
    for n, name in ((1, "1st"), (12, "12th"), (22, "22nd")):
        with pytest.raises(RuntimeError, match=f"^{name} element.*int"):
            F.forget(lambda n=n: (v,) * (n - 1) + (1,))


def test_forget_says_when_it_computes_again():
    seen = []

    def square(x):
        seen.append(chainer.config.in_recomputing)
        return x * x

    x = chainer.Variable(np.array(3.0))
    F.forget(square, x).backward()
    assert seen == [False, True] and x.grad == 6


def test_renormalization_corrects_within_bounds():
    x, gamma, beta = draw((6, 3), 3, 3)
    mean, var = x.mean(0), x.var(0)
    averages = {"running_mean": mean + 9, "running_var": var * 16}
    y = F.batch_renormalization(x, gamma, beta, 2, 0.5, eps=0, **averages).array
    expected = ((x - mean) / np.sqrt(var) / 2 - 0.5) * gamma + beta
    np.testing.assert_allclose(y, expected)
    np.testing.assert_array_equal(averages["running_mean"], mean + 9)
    F.batch_renormalization(
        x, gamma, beta, 2, 0.5, decay=0, update_statistics=True, **averages
    )
    np.testing.assert_allclose(averages["running_mean"], mean)
    with pytest.raises(TypeError, match="running_var is required"):
        F.batch_renormalization(x, gamma, beta, 1, 0, running_mean=mean)
    with pytest.warns(DeprecationWarning, match="Use fixed_batch_normalization"):
        y = F.fixed_batch_renormalization(x, gamma, beta, mean, var).array
    expected = F.fixed_batch_normalization(x, gamma, beta, mean, var).array
    np.testing.assert_array_equal(y, expected)


def test_whitened_channels_are_uncorrelated():
    x, gy, mean = draw((9, 6, 2), (9, 6, 2), (2, 3))
    mean[:], projection = 0, np.zeros((2, 3, 3))
    averages = {"running_mean": mean, "running_projection": projection, "decay": 0}
    y = F.decorrelated_batch_normalization(x, groups=2, eps=1e-9, **averages).array
    for group in np.split(y, 2, axis=1):
        rows = group.swapaxes(0, 1).reshape(3, -1)
        np.testing.assert_allclose(np.cov(rows, bias=True), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(mean, x.mean((0, 2)).reshape(2, 3))
    projection *= 17 / 18  # the average is of the unbiased estimate
    again = F.fixed_decorrelated_batch_normalization(x, mean, projection, groups=2)
    np.testing.assert_allclose(again.array, y)

    def whitened(x):
        return F.decorrelated_batch_normalization(x, groups=2, eps=0.1)

    check_backward(whitened, [x], gy, atol=1e-5)
    with pytest.raises(NotImplementedError, match="Double backward"):
        check_double_backward(whitened, [x], gy, [x])


def test_channels_are_divided_by_their_neighbours():
    (x,) = draw((2, 5, 3))
    y = F.local_response_normalization(x, n=3, k=1, alpha=2, beta=0.5).array
    expected = x[:, 1] / np.sqrt(1 + 2 * (x[:, :3] ** 2).sum(1))
    np.testing.assert_allclose(y[:, 1], expected)


def test_renormalization_and_whitening_can_be_forgotten():
    (x,) = draw((6, 4))
    for make in (
        lambda: L.BatchRenormalization(4, rmax=2, dmax=1, dtype="d"),
        lambda: L.DecorrelatedBatchNormalization(4, groups=2, dtype="d"),
    ):
        gradients = []
        for wrap in (lambda link: link, lambda link: partial(F.forget, link)):
            link, v = make(), chainer.Variable(x)
            link.cleargrads()
            y = wrap(partial(link, finetune=True))(v)
            y.grad = x * x
            y.backward()
            gradients.append(v.grad)
            assert link.N == 1
            with chainer.using_config("train", False):
                gradients.append(link(x).array)
        for one, other in zip(gradients[:2], gradients[2:], strict=True):
            np.testing.assert_allclose(one, other)


def test_whitening_loads_averages_without_groups(tmp_path):
    old = {"avg_mean": np.ones(2), "avg_projection": np.eye(2), "N": np.array(3)}
    chainer.serializers.save_npz(tmp_path / "old", old)
    link = L.DecorrelatedBatchNormalization(4, groups=2)
    with pytest.warns(UserWarning, match="Found moving statistics of old"):
        chainer.serializers.load_npz(tmp_path / "old", link)
    assert link.N == 3 and link.avg_projection.shape == (2, 2, 2)
    np.testing.assert_array_equal(link.avg_mean, np.ones((2, 2)))
    chainer.serializers.save_npz(tmp_path / "old", old | {"avg_mean": np.array(1.0)})
    link = L.DecorrelatedBatchNormalization(2, groups=1)
    with pytest.raises(ValueError, match=r"unexpected shape of avg_mean: \(\)"):
        chainer.serializers.load_npz(tmp_path / "old", link)
