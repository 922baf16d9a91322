"""What version 1 had and later ones have not, for scripts of those years.

Numbers were compared with Chainer 1.24 once; here stand the rules behind them.
"""

import copy
import pickle

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import flag, optimizers, serializers, training
from dyrnn.chainer import functions as F
from dyrnn.chainer import links as L
from dyrnn.chainer.training import extensions
from dyrnn.chainer.utils.type_check import InvalidType
from tests.chainer.models import make_trainer


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
    link = getattr(L, name)(2, 3, 4, 0.5, False)  # use_cudnn
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


def test_a_label_of_one_row_may_have_two_axes():
    y, word = chainer.Variable(f(1, 4)), np.array([2], np.int32)
    expected = F.softmax_cross_entropy(y, word)
    loss = F.softmax_cross_entropy(y, chainer.Variable(word[None]))
    assert loss.data.shape == () and loss.data == expected.data
    loss.backward()
    assert y.grad.shape == (1, 4)
    two = chainer.Variable(f(2, 4))
    message = (
        r"Expect: t.ndim == x.ndim - 1\nActual: 2 != 1\nInputs: float32 \(2, 4\), "
    )
    with pytest.raises(InvalidType, match=message + r"int32 \(2, 1\)"):
        F.softmax_cross_entropy(two, np.array([[2], [1]], np.int32))


def test_flags_say_what_is_volatile():
    x = chainer.Variable(f(2), "ON")
    assert x.volatile == "on" and x.volatile is flag.ON and F.exp(x).creator is None
    assert chainer.Variable(f(2), volatile=x.volatile).volatile
    assert chainer.Variable(f(2), volatile=flag.AUTO).volatile == chainer.OFF
    x.volatile = "off"
    assert not x.volatile and F.exp(x).creator is not None
    assert pickle.loads(pickle.dumps(flag.AUTO)) is flag.AUTO
    assert flag.ON != "perhaps" and str(flag.ON) == repr(flag.ON) == "ON"
    with pytest.raises(ValueError, match="AUTO cannot be converted to boolean"):
        bool(flag.AUTO)
    with pytest.raises(ValueError, match="'perhaps' is not a valid Flag"):
        chainer.Variable(f(2), volatile="perhaps")


def test_a_set_of_functions_is_written_to_and_pickled():
    model = chainer.FunctionSet(l=F.Linear(2, 3))
    model.l = F.Linear(2, 4)
    optimizer = optimizers.SGD(lr=1)
    optimizer.setup(model.collect_parameters())
    other = copy.deepcopy(model)
    model.parameters = [np.zeros((4, 2), "f"), np.ones(4, "f")]
    model.gradients = [np.ones((4, 2), "f"), np.ones(4, "f")]
    optimizer.update()
    assert (model.l.W.array == -1).all() and not model.l.b.array.any()
    restored = pickle.loads(pickle.dumps(model))
    other.copy_parameters_from(restored.parameters)
    np.testing.assert_array_equal(other.l(f(1, 2)).array, model.l(f(1, 2)).array)


class Late(chainer.Link):
    """A link as version 1 writes one whose input has any size."""

    def __init__(self, n):
        super().__init__()
        self.n = n
        self.add_uninitialized_param("W")

    def __call__(self, x):
        if self.has_uninitialized_params:
            self.add_param("W", (self.n, x.shape[1]), initializer=2)
        return F.linear(x, self.W)


def test_parameters_that_wait_are_updated():
    model = chainer.Chain(late=Late(3))
    optimizer = optimizers.SGD(lr=1).setup(model)
    optimizer.zero_grads()
    F.sum(model.late(np.ones((1, 2), np.float32))).backward()
    optimizer.update()
    assert (model.late.W.array == 1).all()
    with pytest.raises(AttributeError, match="attribute exists"):
        model.late.add_param("W", (3, 2))


def test_weights_are_filled_in_place():
    array = np.empty(3, np.float32)
    chainer.initializers.init_weight(array, 2, scale=3)
    assert (array == 6).all()


def test_paths_of_version_1_lead_somewhere():
    chainer.install()
    from chainer.functions.activation.lstm import lstm
    from chainer.links.connection.n_step_lstm import NStepLSTM

    assert lstm is F.lstm and NStepLSTM is L.NStepLSTM


@pytest.mark.skipif(chainer.cuda.available, reason="there is a GPU")
def test_choosing_a_gpu_asks_for_one():
    with pytest.raises(RuntimeError, match="CUDA environment is not correctly"):
        chainer.cuda.init()


def test_links_of_scripts_scale_initial_values():
    get = chainer.initializers._get_initializer
    arrays = []
    for initial in (None, 3, np.full((2, 3), 3, "f"), chainer.initializers.One()):
        for scale in (1.0, 0.5):
            arrays.append(np.empty((2, 3), np.float32))
            np.random.seed(0)
            get(initial, scale)(arrays[-1])
    for whole, half in zip(arrays[::2], arrays[1::2], strict=True):
        np.testing.assert_allclose(half, whole / 2, rtol=1e-6)
        assert whole.all()


def test_extensions_are_invoked_before_training_and_before_it_goes_on(tmp_path):
    calls = []

    @training.make_extension(trigger=(9, "epoch"), invoke_before_training=True)
    def by_decorator(trainer):
        calls.append(("decorator", trainer.updater.iteration))

    class ByClass(training.Extension):
        trigger = (9, "epoch")
        invoke_before_training = True

        def __call__(self, trainer):
            calls.append(("class", trainer.updater.iteration))

    def train(epochs):
        trainer, _ = make_trainer(tmp_path, (epochs, "epoch"))
        trainer.extend(by_decorator)
        trainer.extend(ByClass())
        trainer.extend(ByClass(), "not", invoke_before_training=False)
        trainer.extend(extensions.snapshot(filename="last", trigger=(1, "epoch")))
        if calls:
            serializers.load_npz(tmp_path / "last", trainer)
        trainer.run()
        return trainer.updater.iteration

    iteration = train(1)
    train(2)
    names = "decorator", "class"
    assert calls == [(name, i) for i in (0, iteration) for name in names]


def test_snapshots_are_told_when(tmp_path):
    trainer, model = make_trainer(tmp_path, (2, "iteration"))
    trainer.extend(extensions.snapshot(trigger=(2, "iteration")))
    trainer.extend(
        extensions.snapshot_object(
            model, "model_{.updater.iteration}", trigger=(1, "iteration")
        )
    )
    trainer.run()
    found = {path.name for path in tmp_path.iterdir()}
    assert {"snapshot_iter_2", "model_1", "model_2"} <= found
    assert "snapshot_iter_1" not in found


@pytest.mark.parametrize(
    "make",
    [
        lambda: L.GRU(4),
        lambda: L.GRU(n_units=4, n_inputs=4),
        lambda: L.GRU(4, n_inputs=3),
    ],
)
def test_a_gru_without_memory(make):
    link = seeded(make)
    h, x = f(2, 4), f(3, link.W.W.shape[1])[:2]
    same = seeded(lambda: L.StatelessGRU(link.W.W.shape[1], 4))
    np.testing.assert_array_equal(link(h, x).array, same(h, x).array)
    assert link.h is None


def test_a_gru_of_two_sizes_remembers():
    link = L.GRU(3, 4)
    assert link(f(2, 3)).shape == (2, 4) and link.h is not None
    with pytest.raises(ValueError, match="StatelessGRU instead, which takes n_inputs"):
        L.GRU(4, 4)(f(2, 4), f(2, 4))


def test_an_optimizer_is_saved_before_its_first_update(tmp_path):
    optimizer = optimizers.Adam().setup(L.Linear(2, 3))
    serializers.save_npz(tmp_path / "first", optimizer)
    serializers.load_npz(tmp_path / "first", optimizers.Adam().setup(L.Linear(2, 3)))
    optimizer.t = optimizer.target.W.update_rule.t = 1
    serializers.save_npz(tmp_path / "broken", optimizer)
    with pytest.raises(KeyError, match="W/m"):
        serializers.load_npz(tmp_path / "broken", optimizers.Adam().setup(L.Linear(2)))
