"""Links: what they are made of, what they remember, and models that learn."""

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import functions as F
from dyrnn.chainer import links as L
from dyrnn.chainer.variable import Variable


def f(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_sizes_are_found_at_the_first_call():
    model = chainer.Sequential(L.Linear(4), F.relu, L.LSTM(3), L.LayerNormalization())
    assert model(f(2, 5)).shape == (2, 3)
    assert model[0].W.shape == (4, 5) and model[2].upward.W.shape == (12, 4)
    assert str(L.Linear(4)) == "Linear(in_size=None, out_size=4, nobias=False)"


def test_a_new_lstm_forgets_nothing():
    np.random.seed(0)
    lstm = L.LSTM(2, 3)
    np.testing.assert_array_equal(lstm.upward.b.array, [0, 0, 1, 0] * 3)
    assert [name for name, _ in lstm.namedparams()] == [
        "/lateral/W",
        "/upward/W",
        "/upward/b",
    ]


def test_an_lstm_keeps_the_tail_of_shrinking_batches():
    lstm = L.LSTM(2, 3)
    lstm(f(4, 2))
    tail = lstm.h.array[2:]
    assert lstm(f(2, 2)).shape == (2, 3)
    np.testing.assert_array_equal(lstm.h.array[2:], tail)
    assert lstm(f(0, 2)).shape == (0, 3)
    with pytest.raises(TypeError, match="The batch size of x must be equal to or less"):
        lstm(f(5, 2))
    lstm.reset_state()
    assert lstm.h is None


def test_a_stateless_lstm_takes_its_state():
    lstm = L.StatelessLSTM(2, 3)
    stateful = L.LSTM(2, 3)
    stateful.copyparams(lstm)
    c = h = None
    for x in (f(4, 2), f(4, 2)):
        c, h = lstm(c, h, x)
        np.testing.assert_allclose(stateful(x).array, h.array, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: L.GRU(2, 3),
        lambda: L.StatefulPeepholeLSTM(2, 3),
        lambda: L.StatefulZoneoutLSTM(2, 3),
        lambda: L.LSTM(2, 3),
    ],
)
def test_remembering_links_learn_through_time(make):
    link = make()
    link(f(4, 2))
    y = link(2 * f(4, 2))
    link.cleargrads()
    F.sum(y * y).backward()
    assert all(np.isfinite(p.grad).all() for p in link.params())
    link.reset_state()
    np.testing.assert_allclose(link(f(4, 2)).shape, (4, 3))


def test_gru_says_that_it_remembers():
    with pytest.raises(ValueError, match="Use chainer.links.StatelessGRU instead"):
        L.GRU(2, 3)(f(1, 3), f(1, 2))


def test_sequences_of_any_order():
    link = L.NStepBiLSTM(2, 3, 4, 0.0)
    xs = [f(2, 3), f(5, 3), f(3, 3)]
    hy, _, ys = link(None, None, xs)
    assert hy.shape == (4, 3, 4) and [y.shape for y in ys] == [(2, 8), (5, 8), (3, 8)]
    _, _, alone = link(None, None, xs[:1])
    np.testing.assert_allclose(ys[0].array, alone[0].array, rtol=1e-5, atol=1e-6)
    assert link.copy("copy").ws[0][0] is not link.ws[0][0]


@pytest.mark.parametrize("name", ["ChildSumTreeLSTM", "NaryTreeLSTM"])
def test_trees(name):
    link = getattr(L, name)(2, 3)
    c, h = link(None, None, None, None, f(4, 2))
    c, h = link(c, None, h, None, f(4, 2))
    assert c.shape == h.shape == (4, 3)


def test_classifiers_report():
    model = L.Classifier(L.Linear(3, 2))
    reporter = chainer.Reporter()
    reporter.add_observer("main", model)
    with reporter:
        loss = model(f(4, 3), np.array([0, 1, 1, 0]))
    assert set(reporter.observation) == {"main/loss", "main/accuracy"}
    assert loss is model.loss and reporter.observation["main/loss"].creator is None
    with pytest.raises(ValueError, match="Label key 5 is out of bounds"):
        L.Classifier(L.Linear(3, 2), label_key=5)(f(4, 3))
    with pytest.raises(ValueError, match='Label key "t" is not found'):
        L.Classifier(L.Linear(3, 2), label_key="t")(f(4, 3))
    with pytest.raises(TypeError, match="label_key must be int or str, but is"):
        L.Classifier(L.Linear(3, 2), label_key=1.5)


def test_batch_normalization_uses_averages_outside_of_training():
    link = L.BatchNormalization(3, decay=0.5)
    y = link(f(50, 3))
    np.testing.assert_allclose(y.array.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(link.avg_mean, f(50, 3).mean(0) / 2, rtol=1e-4)
    with chainer.using_config("train", False):
        assert abs(link(f(50, 3)).array.mean(0)).max() > 1e-3
    with pytest.raises(RuntimeError, match="size or axis is required"):
        L.BatchNormalization()


def test_words_are_told_from_noise():
    link = L.NegativeSampling(4, [5, 3, 1], 2)
    loss = link(f(2, 4), np.array([0, -1], np.int32), reduce="no")
    np.testing.assert_allclose(loss.array, [3 * np.log(2), 0], rtol=1e-6)


def test_probabilities_of_a_tree_add_up_to_one():
    tree = L.BinaryHierarchicalSoftmax.create_huffman_tree({0: 8, 1: 5, 2: 6, 3: 4})
    assert tree == ((3, 1), (2, 0))
    link = L.BinaryHierarchicalSoftmax(4, tree)
    x = f(1, 4)
    losses = [link(x, np.array([word], np.int32)).array for word in range(4)]
    np.testing.assert_allclose(np.exp(-np.array(losses)).sum(), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="Empty vocabulary"):
        L.BinaryHierarchicalSoftmax.create_huffman_tree({})


def test_the_best_path_is_the_likeliest():
    link = L.CRF1d(3, initial_cost=f(3, 3))
    xs = [f(1, 3), 2 * f(1, 3)]
    _, path = link.argmax(xs)
    losses = {}
    for i in range(3):
        for j in range(3):
            ys = [np.array([i], np.int32), np.array([j], np.int32)]
            losses[float(link(xs, ys).array)] = [i, j]
    assert [int(p[0]) for p in path] == losses[min(losses)]


def test_small_links():
    x = f(2, 4)
    np.testing.assert_array_equal(L.Bias(1, (4,))(x).array, x)
    np.testing.assert_array_equal(L.Scale(1, (4,), True)(x).array, x)
    assert L.Maxout(4, 3, 2)(x).shape == (2, 3)
    assert L.Highway(4)(x).shape == L.PReLU((4,))(x).shape == L.Swish((4,))(x).shape
    assert L.Bilinear(4, 4, 5)(x, x).shape == (2, 5)
    parameter = L.Parameter(x)
    assert isinstance(parameter(), Variable) and str(parameter) == "Parameter()"
    np.testing.assert_array_equal(parameter.copy("init").W.array, x)
    assert L.EmbedID.from_params(x)(np.array([1])).shape == (1, 4)


def test_trees_may_lack_states_or_input():
    x, h = np.zeros((4, 2), np.float32), f(4, 3)
    for link in (L.ChildSumTreeLSTM(2, 3), L.NaryTreeLSTM(2, 3)):
        zero = np.zeros_like(h)
        known = link(zero, zero, h, zero, x)
        lacking = link(None, None, h, None, None)
        for a, b in zip(known, lacking, strict=True):
            np.testing.assert_allclose(a.array, b.array, rtol=1e-5, atol=1e-7)
        with pytest.raises(ValueError, match="All inputs"):
            link(None, None, None, None, None)


def test_zoneout_leaves_an_lstm_outside_of_training():
    link = L.StatefulZoneoutLSTM(2, 3)
    assert not link.upward.b.array.any()
    with chainer.using_config("train", False):
        y = link(f(4, 2))
    c, h = F.lstm(np.zeros((4, 3), np.float32), link.upward(f(4, 2)))
    np.testing.assert_allclose(y.array, h.array, rtol=1e-6)
    np.testing.assert_allclose(link.c.array, c.array, rtol=1e-6)
    with pytest.raises(TypeError, match="unexpected keyword argument.* 'training'"):
        L.StatefulZoneoutLSTM(2, 3, training=True)


def test_initial_values_must_fit():
    with pytest.raises(AssertionError):
        L.Bilinear(2, 3, 4, False, f(2, 3, 4), (f(2, 5), f(3, 4), f(4)))
    with pytest.raises(ValueError, match="initialW.ndim should be 3"):
        L.Maxout(4, 3, 2, initialW=f(6, 4))


def test_maxout_takes_any_initializer():
    values = f(3, 2, 4)

    def fill(array):
        array[...] = values

    link = L.Maxout(4, 3, 2, initialW=fill, initial_bias=chainer.initializers.One())
    expected = (values @ f(5, 4).T + 1).max(axis=1).T
    np.testing.assert_allclose(link(f(5, 4)).array, expected, rtol=1e-5, atol=1e-6)


def test_blackout_weighs_noise_and_words():
    link = L.BlackOut(3, [4, 2, 1], 2)
    link.sample_data = np.array([[1, 2]], np.int32)
    x = f(1, 3)
    score = np.exp(link.W.array @ x[0])
    share = score[[0, 1, 2]] / score.sum()
    expected = -np.log(share[0]) - np.log(1 - share[1:]).sum()
    loss = link(x, np.array([0], np.int32))
    np.testing.assert_allclose(loss.array, expected, rtol=1e-4)
    link.sample_data = None
    assert np.isfinite(link(x, np.array([0], np.int32)).array)


def test_batch_normalization_counts_a_batch_once():
    link = L.BatchNormalization(3)
    F.sum(link(chainer.Variable(f(5, 3)))).backward()
    np.testing.assert_allclose(link.avg_mean, f(5, 3).mean(0) / 10, rtol=1e-4)
    with pytest.raises(TypeError, match="unexpected keyword"):
        link(f(5, 3), finetuning=True)


def test_an_mlp_learns():
    np.random.seed(0)
    model = L.Classifier(chainer.Sequential(L.Linear(2, 8), F.tanh, L.Linear(8, 2)))
    optimizer = chainer.optimizers.Adam(alpha=0.05).setup(model)
    x = np.random.randn(64, 2).astype(np.float32)
    t = (x[:, 0] * x[:, 1] > 0).astype(np.int32)
    for _ in range(150):
        optimizer.update(model, x, t)
    assert model.accuracy.array > 0.9


def test_stacked_layers_of_scripts_have_chainers_bases():
    """As copies of Chainer's own files in scripts: a function and three numbers."""
    chainer.install()
    from chainer.links.connection.n_step_rnn import NStepRNNBase
    from chainer.links.rnn.n_step_gru import NStepGRUBase

    class Stacked(NStepRNNBase):
        n_weights = 6
        n_cells = 1
        use_bi_direction = True

        def rnn(self, *args):
            return F.n_step_bigru(*args)

        def forward(self, hx, xs, **kwargs):
            (hy,), ys = self._call([hx], xs, **kwargs)
            return hy, ys

    xs = [np.ones((n, 3), np.float32) for n in (2, 4)]
    own, ours = Stacked(2, 3, 4, 0.0), L.NStepBiGRU(2, 3, 4, 0.0)
    ours.copyparams(own)
    np.testing.assert_array_equal(own(None, xs)[0].array, ours(None, xs)[0].array)
    assert isinstance(ours, NStepGRUBase) and not isinstance(ours, L.NStepGRU)
