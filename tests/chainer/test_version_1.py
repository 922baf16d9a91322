"""What version 1 had and later ones have not, for scripts of those years.

Numbers were compared with Chainer 1.24 once; here stand the rules behind them.
"""

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import functions as F
from dyrnn.chainer import links as L


def f(*shape):
    return np.random.RandomState(len(shape)).randn(*shape).astype(np.float32)


def seeded(make):
    np.random.seed(0)
    return make()


def test_links_are_among_the_functions():
    model = chainer.FunctionSet(embed=F.EmbedID(5, 3), out=F.Linear(3, 2))
    assert isinstance(model.embed, L.EmbedID) and isinstance(model.out, L.Linear)
    assert F.BatchNormalization is L.BatchNormalization and F.PReLU is L.PReLU


def test_a_class_of_a_node_leads_to_its_function():
    with pytest.raises(AttributeError, match="call chainer.functions.relu, which"):
        F.ReLU  # noqa: B018
    with pytest.raises(AttributeError, match="call .*functions.softmax_cross_entropy,"):
        F.SoftmaxCrossEntropy  # noqa: B018


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: L.Linear(4, 3, **options),
        lambda **options: L.Convolution2D(2, 3, 3, **options),
        lambda **options: L.Deconvolution2D(2, 3, ksize=3, **options),
        lambda **options: L.Maxout(4, 3, 2, **options).linear,
    ],
)
def test_the_root_of_wscale_multiplies_weights(make):
    plain, scaled = seeded(make), seeded(lambda: make(wscale=4.0))
    np.testing.assert_allclose(scaled.W.array, 2 * plain.W.array, rtol=1e-6)


def test_wscale_is_the_third_argument_of_linear_and_bias_the_fourth():
    plain = seeded(lambda: L.Linear(4, 3))
    link = seeded(lambda: L.Linear(4, 3, np.sqrt(2)))
    np.testing.assert_allclose(
        link.W.array, 2**0.25 * plain.W.array, rtol=1e-6, atol=1e-8
    )
    assert (L.Linear(4, 3, wscale=9, bias=0.5, initialW=2).W.array == 6).all()
    assert (L.Linear(4, 3, bias=0.5).b.array == 0.5).all()
    assert (L.Linear(4, 3, bias=0.5, initial_bias=1).b.array == 1).all()
    with pytest.raises(TypeError, match="nobias is 1.5. If that is wscale of version"):
        L.Linear(4, 3, 1.5, 0.5)


def test_calls_say_whether_this_is_training():
    x = f(6, 4)
    assert F.dropout(x, 0.5, False).array is x
    assert (F.zoneout(f(2, 3), x[:2, :3], 1.0, train=True).array == f(2, 3)).all()
    assert (F.zoneout(f(2, 3), x[:2, :3], 1.0, train=False).array == x[:2, :3]).all()
    link = L.BatchNormalization(4)
    y = link(x, test=True).array
    np.testing.assert_allclose(y, x / np.sqrt(1 + 2e-5), rtol=1e-6)
    np.testing.assert_allclose(link(x, True).array, y)
    with chainer.using_config("train", False):
        assert not np.allclose(link(x, test=False).array, y)


@pytest.mark.parametrize("name", ["NStepLSTM", "NStepBiGRU", "NStepRNNTanh"])
def test_layers_over_sequences_take_options_of_version_1(name):
    link = getattr(L, name)(2, 3, 4, 0.5, use_cudnn=False)
    states = (None, None) if "LSTM" in name else (None,)
    xs = [f(5, 3), f(2, 3)]
    with chainer.using_config("train", False):
        expected = link(*states, xs)[-1]
        dropped = link(*states, xs, train=True)[-1]
    for y, z in zip(expected, link(*states, xs, train=False)[-1], strict=True):
        np.testing.assert_array_equal(y.array, z.array)
    assert not np.allclose(dropped[0].array, expected[0].array)


def test_zoneout_lstm_is_told_once():
    link = L.StatefulZoneoutLSTM(3, 4, c_ratio=1, h_ratio=1, train=False)
    assert link(f(2, 3)).array.any()
    link = L.StatefulZoneoutLSTM(3, 4, c_ratio=1, h_ratio=1, train=True)
    with chainer.using_config("train", False):
        assert not link(f(2, 3)).array.any()


@pytest.mark.parametrize(
    "function", [F.relu, F.sigmoid, F.tanh, F.softmax, F.log_softmax]
)
def test_use_cudnn_has_no_effect(function):
    y = function(f(2, 3), use_cudnn=False)
    np.testing.assert_array_equal(y.array, function(f(2, 3)).array)


def test_use_cudnn_has_no_effect_on_losses():
    t = np.array([0, 2], np.int32)
    F.softmax_cross_entropy(f(2, 3), t, use_cudnn=False)
    F.sigmoid_cross_entropy(f(2, 1), t[:, None] // 2, use_cudnn=False)
