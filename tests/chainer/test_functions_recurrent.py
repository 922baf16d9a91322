"""Steps of cells, noise, normalization: the nodes behind the functions."""

import numpy as np
import pytest

import dyrnn.chainer as chainer
import dyrnn.chainer.functions as F
from dyrnn.chainer.functions import recurrent, stochastic
from dyrnn.chainer.gradient_check import check_backward, check_double_backward


def draw(*shapes):
    rng = np.random.default_rng(4)
    return [rng.uniform(-1, 1, shape) for shape in shapes]


STEPS = {
    "lstm": (F.lstm, [(3, 2), (3, 8)]),
    "lstm, fewer rows": (F.lstm, [(3, 2), (2, 8)]),
    "lstm, more axes": (F.lstm, [(3, 2, 2), (2, 8, 2)]),
    "slstm": (F.slstm, [(2, 3)] * 2 + [(2, 12)] * 2),
    "slstm, more axes": (F.slstm, [(2, 3, 2)] * 2 + [(2, 12, 2)] * 2),
    "tree_lstm": (F.tree_lstm, [(2, 3)] * 3 + [(2, 18)]),
    "a layer's": (recurrent.lstm_step, [(2, 8), (2, 2), (3, 2), (8, 2)]),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_have_gradients_of_both_orders(name):
    step, shapes = STEPS[name]
    inputs = draw(*shapes)
    gys = draw(*[y.shape for y in step(*inputs)])
    check_backward(step, inputs, gys, atol=1e-5)
    check_double_backward(step, inputs, gys, draw(*shapes), atol=1e-5)


def test_gates_of_a_step_lie_side_by_side_in_each_unit():
    c, x = draw((2, 3), (2, 12))
    a, i, f, o = np.moveaxis(x.reshape(2, 3, 4), 2, 0)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    expected = np.tanh(a) * sigmoid(i) + sigmoid(f) * c
    c, h = F.lstm(c, x)
    np.testing.assert_allclose(c.array, expected)
    np.testing.assert_allclose(h.array, sigmoid(o) * np.tanh(expected))
    with pytest.raises(chainer.utils.type_check.InvalidType):
        F.lstm(draw((2, 3, 2))[0], draw((2, 12, 1))[0])


def test_a_hook_on_the_inner_map_of_an_lstm_is_called():
    class Count(chainer.LinkHook):
        name = "count"
        calls = 0

        def forward_preprocess(self, args):
            self.calls += 1

    link, hook = chainer.links.LSTM(2, 3), Count()
    x = np.ones((2, 2), "f")
    expected = [link(x).array, link(x).array]
    link.reset_state()
    link.lateral.add_hook(hook)
    for y in expected:
        np.testing.assert_allclose(link(x).array, y, rtol=1e-6)
    assert hook.calls == 1


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


def test_noise_that_is_given_is_not_drawn():
    mean, ln_var, gy = inputs = draw(*[(4, 5)] * 3)
    y, eps = F.gaussian(mean, ln_var, return_eps=True)

    def again(mean, ln_var):
        return F.gaussian(mean, ln_var, eps=eps)

    np.testing.assert_array_equal(again(mean, ln_var).array, y.array)
    check_backward(again, (mean, ln_var), gy, atol=1e-5)
    check_double_backward(again, (mean, ln_var), gy, inputs[:2], atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 3, 5), (3, 5)])
def test_weights_are_dropped_by_a_mask(shape):
    x, W, b, gy = draw((4, 5), (3, 5), 3, (4, 3))
    mask = draw(shape)[0] > 0.5

    def dropped(x, W, b):
        is_batchwise = len(shape) == 3
        return F.simplified_dropconnect(x, W, b, 0.5, True, mask, is_batchwise)

    expected = np.einsum("bi,boi->bo", x, np.broadcast_to(2 * W * mask, (4, 3, 5))) + b
    np.testing.assert_allclose(dropped(x, W, b).array, expected)
    check_backward(dropped, (x, W, b), gy, atol=1e-5)
    check_double_backward(dropped, (x, W, b), gy, (x, W, b), atol=1e-4)
    with pytest.raises(chainer.utils.type_check.InvalidType, match="mask.shape =="):
        F.simplified_dropconnect(x, W, mask=mask[:2])


def test_the_paths_of_noise_lead_to_classes():
    assert F.noise.dropout.Dropout is stochastic.Dropout
    assert F.gumbel_softmax(np.array(1, "f")).array == 1


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


@pytest.mark.parametrize("types", ["eff", "dff", "fee", "fdd"])
def test_parameters_of_a_normalization_may_have_another_type(types):
    inputs = [x.astype(t) for x, t in zip(draw((4, 3), 3, 3), types, strict=True)]
    xs = [chainer.Variable(x) for x in inputs]
    for normalized in (F.batch_normalization, F.layer_normalization):
        y = normalized(*xs)
        gxs = chainer.grad([y], xs, [np.ones_like(y.array)])
        assert y.dtype == xs[0].dtype
        assert [g.dtype for g in gxs] == [x.dtype for x in xs]
        wide = normalized(*[x.astype("d") for x in inputs])
        np.testing.assert_allclose(y.array, wide.array, atol=1e-2)


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
    "FixedBatchNormalization": (
        lambda x, gamma, beta, mean, std: F.fixed_batch_normalization(
            x, gamma, beta, mean, std * std, eps=0.5
        ),
        [(3, 4, 2), 4, 4, 4, 4],
    ),
}


@pytest.mark.parametrize("name", NORMALIZED)
def test_normalizations_have_second_gradients(name):
    function, shapes = NORMALIZED[name]
    inputs, gy = draw(*shapes), draw(shapes[0])
    y = function(*[x.astype("e") for x in inputs])
    assert y.dtype == np.float16
    check_backward(function, inputs, gy, atol=1e-4)
    check_double_backward(function, inputs, gy, draw(*shapes), atol=1e-3)


def test_a_row_of_length_zero_has_a_gradient():
    x = chainer.Variable(np.array([[0.0, 0.0], [3.0, 4.0]]))
    y = F.normalize(x, eps=0.5)
    y.grad = np.ones_like(x.array)
    y.backward()
    np.testing.assert_allclose(x.grad[0], [2, 2])
    assert y.creator.label == "NormalizeL2"
    assert np.isfinite(x.grad).all()
