"""Layers without memory: shapes, names, formulas, gradients, messages."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.backend import to_cpu
from dyrnn.config import using_config
from dyrnn.engine.core import Variable
from dyrnn.engine.gradients import Rows
from dyrnn.errors import ShapeError
from dyrnn.initializers import Constant
from dyrnn.link import Chain
from tests.arrays import every_device, one_device, xp
from tests.links.checks import check_parameter_gradients, randomize

pytestmark = every_device


@pytest.fixture(autouse=True)
def _double():
    with using_config("dtype", np.float64):
        yield


def names(link):
    return [(path, param.shape) for path, param in link.namedparams()]


class TestLinear:
    def test_follows_its_formula_for_batches_and_windows(self, rng, device):
        link = randomize(L.Linear(3, 2), rng)
        W, b = link.W.array, link.b.array
        link.to_device(device)
        for shape in ((4, 3), (5, 4, 3)):
            x = rng.normal(size=shape)
            y = link(device.send(x))
            assert y.device == device
            np.testing.assert_allclose(to_cpu(y.array), x @ W.T + b, rtol=1e-12)

    @one_device("no arrays")
    def test_names_and_shapes(self):
        assert names(L.Linear(3, 2)) == [("/W", (2, 3)), ("/b", (2,))]
        assert names(L.Linear(3, 2, nobias=True)) == [("/W", (2, 3))]

    def test_starts_with_lecun_weights_and_no_bias(self):
        link = L.Linear(400, 300)
        assert float(link.W.array.std()) == pytest.approx(1 / 20, rel=0.02)
        assert not link.b.array.any()
        values = xp.ones((2, 3))
        assert xp.array_equal(L.Linear(3, 2, initialW=values).W.array, values)
        assert L.Linear(3, 2, initial_bias=5).b.array.tolist() == [5, 5]
        assert L.Linear(3, 2, initialW=Constant(1, np.float32)).W.dtype == np.float32

    def test_finds_its_input_size(self, rng):
        for link in (L.Linear(2), L.Linear(None, 2)):
            assert not link.W.is_initialized
            assert link(rng.normal(size=(5, 4, 3))).shape == (5, 4, 2)
            assert link.W.shape == (2, 3)
        link = L.Linear(2)
        assert link(rng.normal(size=(5, 4, 3)), n_batch_axes=1).shape == (5, 2)
        assert link.W.shape == (2, 12)

    def test_gradients(self, rng):
        link = randomize(L.Linear(3, 2), rng)
        x = rng.normal(size=(4, 3))
        check_parameter_gradients(link, lambda: (F.tanh(link(x))).sum(), rng)

    def test_wrong_features_are_told_with_the_layer(self):
        model = Chain(head=L.Linear(3, 2))
        model.forward = lambda x: model.head(x)
        message = r"Chain: head: linear: x has shape \(4, 5\), but W \(2, 3\) takes 3"
        with pytest.raises(ShapeError, match=message):
            model(xp.ones((4, 5)))

    def test_use_before_the_size_is_known(self):
        with pytest.raises(RuntimeError, match="no values yet"):
            F.linear(xp.ones((2, 3)), L.Linear(2).W)


class TestEmbedID:
    def test_picks_rows_and_has_a_sparse_gradient(self, device):
        link = L.EmbedID(6, 2).to_device(device)
        ids = device.send(np.array([[0, 5, 5]]))
        y = link(ids)
        y.sum().backward()
        if device.xp is np:  # a device would have to be waited for
            assert isinstance(link.W.total.settled()[0], Rows)
        link.to_cpu()
        assert y.shape == (1, 3, 2)
        assert link.W.grad[:, 0].tolist() == [1, 0, 0, 0, 0, 2]
        assert names(link) == [("/W", (6, 2))]

    def test_starts_with_standard_normal_vectors(self):
        assert float(L.EmbedID(200, 100).W.array.std()) == pytest.approx(1, rel=0.03)
        assert L.EmbedID(2, 1, initialW=3.0).W.array.tolist() == [[3], [3]]

    def test_ignored_ids_give_zeros(self):
        y = L.EmbedID(6, 2, ignore_label=-1)(xp.array([-1, 2])).array
        assert not y[0].any()
        assert y[1].all()


class TestBiasAndScale:
    def test_own_parameters(self, rng):
        x = rng.normal(size=(4, 3))
        bias = randomize(L.Bias(shape=(3,)), rng)
        xp.testing.assert_allclose(bias(x).array, x + bias.b.array)
        scale = L.Scale(W_shape=(3,), bias_term=True)
        assert names(scale) == [("/W", (3,)), ("/bias/b", (3,))]
        assert xp.array_equal(scale(x).array, x)
        randomize(scale, rng)
        expected = x * scale.W.array + scale.bias.b.array
        xp.testing.assert_allclose(scale(x).array, expected)
        check_parameter_gradients(scale, lambda: F.tanh(scale(x)).sum(), rng)

    def test_parameters_given_at_each_call(self, rng):
        x, v = rng.normal(size=(4, 3)), rng.normal(size=4)
        xp.testing.assert_allclose(L.Bias(axis=0)(x, v).array, x + v[:, None])
        link = L.Scale(axis=0, bias_term=True, bias_shape=(4,))
        xp.testing.assert_allclose(link(x, v).array, x * v[:, None])

    def test_exactly_one_source(self):
        x = xp.ones((4, 3))
        with pytest.raises(ValueError, match="Bias: give b either by a shape in the"):
            L.Bias()(x)
        with pytest.raises(ValueError, match="Scale: give W either by a shape"):
            L.Scale(W_shape=(3,))(x, xp.ones(3))
        with pytest.raises(ValueError, match="bias_term needs W_shape or bias_shape"):
            L.Scale(bias_term=True)


class TestBilinear:
    def test_follows_its_formula(self, rng):
        e1, e2 = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
        link = randomize(L.Bilinear(3, 2, 5), rng)
        product = xp.einsum("nj,jkl,nk->nl", e1, link.W.array, e2)
        linear = e1 @ link.V1.array + e2 @ link.V2.array + link.b.array
        xp.testing.assert_allclose(link(e1, e2).array, product + linear, rtol=1e-12)
        check_parameter_gradients(link, lambda: F.tanh(link(e1, e2)).sum(), rng)

    def test_without_linear_terms(self, rng):
        link = L.Bilinear(3, 2, 5, nobias=True)
        assert names(link) == [("/W", (3, 2, 5))]
        assert link(xp.ones((4, 3)), xp.ones((4, 2))).shape == (4, 5)

    def test_initial_values(self):
        link = L.Bilinear(3, 2, 5, initialW=1.0, initial_bias=(2.0, 3.0, 4.0))
        assert [p.array.ravel()[0] for p in link.params()] == [1, 2, 3, 4]


def test_maxout_takes_the_largest_map(rng):
    link = randomize(L.Maxout(3, 2, pool_size=4), rng)
    for shape in ((5, 3), (6, 5, 3)):
        x = rng.normal(size=shape)
        maps = x @ link.linear.W.array.T + link.linear.b.array
        expected = maps.reshape(*shape[:-1], 2, 4).max(axis=-1)
        xp.testing.assert_allclose(link(x).array, expected, rtol=1e-12)
    check_parameter_gradients(link, lambda: F.tanh(link(x[1])).sum(), rng)


def test_highway_mixes_its_input_with_a_layer(rng):
    link = L.Highway(3)
    assert link.transform.b.array.tolist() == [-1, -1, -1]
    randomize(link, rng)
    x = rng.normal(size=(5, 4, 3))
    t = 1 / (1 + xp.exp(-(x @ link.transform.W.array.T + link.transform.b.array)))
    h = xp.maximum(x @ link.plain.W.array.T + link.plain.b.array, 0)
    xp.testing.assert_allclose(link(x).array, t * h + (1 - t) * x, rtol=1e-12)
    check_parameter_gradients(link, lambda: F.tanh(link(x)).sum(), rng)


def test_parameter_link_returns_its_parameter():
    link = L.Parameter(xp.ones(3))
    assert link() is link.W
    assert names(link) == [("/W", (3,))]


def test_dropout_link_drops_while_training_only():
    link = L.Dropout(0.5)
    x = xp.ones((20, 20))
    assert xp.unique(link(Variable(x)).array).tolist() == [0, 2]
    with using_config("train", False):
        assert xp.array_equal(link(Variable(x)).array, x)
