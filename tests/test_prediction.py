"""A model at work: modes, threads, states, and series and sequences in pieces."""

import threading

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import Predictor, config
from dyrnn.backend import to_cpu
from dyrnn.config import inference_mode, using_config
from dyrnn.errors import ShapeError
from tests.arrays import every_device, xp


class Model(dyrnn.Chain):
    def __init__(self, backward=False, resets=False, lengths=True):
        super().__init__()
        with self.init_scope():
            self.rnn = L.LSTM(3, 5)
            if backward:
                self.rnn = L.Bidirectional(L.LSTM(3, 5), L.GRU(3, 2))
            self.out = L.Linear(None, 2)
        self.resets = resets

    def forward(self, x, lengths=None):
        if self.resets:
            self.reset_state()
        return self.out(F.dropout(self.rnn(x, lengths), 0.5))

    def without_lengths(self, x):
        return self.forward(x)

    def last(self, x):
        return self.forward(x)[-1]


@pytest.fixture
def x(rng):
    return rng.normal(size=(20, 4, 3)).astype(np.float32)


def meant(model, x, **options):
    with using_config("train", False):
        model = model.copy()
        model.reset_state()
        return to_cpu(model(model.device.send(x), **options).array)


def test_inference_mode_is_for_this_thread_or_for_all():
    def modes():
        found = []
        thread = threading.Thread(
            target=lambda: found.append((config.train, config.enable_backprop))
        )
        thread.start()
        thread.join()
        return (config.train, config.enable_backprop), *found

    on, off = (True, True), (False, False)
    assert modes() == (on, on)
    with inference_mode():
        assert modes() == (off, on)
    with inference_mode(all_threads=True):
        assert modes() == (off, off)
        with using_config("train", True):
            assert config.train
    assert modes() == (on, on)

    @inference_mode()
    def inside():
        return config.train

    assert not inside() and not inside() and config.train


def test_a_predictor_evaluates_without_a_graph_and_leaves_the_model(x, device):
    model = Model()
    model(x[:2])  # which has a state then
    model.to_device(device)
    before = model.rnn.h
    y = Predictor(model)(x)
    assert isinstance(y, np.ndarray) and model.rnn.h is before
    np.testing.assert_allclose(y, meant(model, x), rtol=1e-6, atol=1e-6)
    model.out.W.array[...] = 0  # parameters are shared
    assert not (Predictor(model)(x) - to_cpu(model.out.b.array)).any()


def test_a_state_is_returned_and_given(x, device):
    model = Model()
    model(x)
    predict = Predictor(model.to_device(device))
    whole = predict(x)
    y, state = predict.go_on(x[:7])
    np.testing.assert_allclose(y, whole[:7], rtol=1e-5, atol=1e-6)
    assert sorted(state) == ["/rnn/c", "/rnn/h"]
    for _ in range(2):  # it is as it was
        rest, _ = predict.go_on(x[7:], state=state)
        np.testing.assert_allclose(rest, whole[7:], rtol=1e-5, atol=1e-6)
    with pytest.raises(KeyError, match="carries no '/h'; it carries: /rnn/c, /rnn/h"):
        predict.go_on(x, state={"/h": x})


@pytest.mark.parametrize("steps", [1, 3, 7, 20, 100])
def test_a_series_in_pieces_is_the_series(x, device, steps):
    model = Model()
    model(x)
    predict = Predictor(model.to_device(device))
    np.testing.assert_allclose(
        predict.series(x, steps), predict(x), rtol=1e-5, atol=1e-6
    )


@every_device
def test_what_cannot_be_cut_is_refused(x):
    backward, resets = Model(backward=True), Model(resets=True)
    backward(x)
    resets(x)
    with pytest.raises(ValueError, match="/rnn, a Bidirectional, reads from the end"):
        Predictor(backward).series(x, 5)
    with pytest.raises(
        ValueError, match="calls reset_state.. itself, so that a series"
    ):
        Predictor(resets).series(x, 5)
    with pytest.raises(ValueError, match="steps=0 must be at least 1"):
        Predictor(resets).series(x, 0)


@every_device
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("method", ["__call__", "without_lengths", "last"])
def test_sequences_of_any_lengths_are_each_as_alone(rng, backward, method):
    model = Model(backward)
    sequences = [
        rng.normal(size=(n, 3)).astype(np.float32) for n in rng.integers(1, 9, 23)
    ]
    model(sequences[0][:, None])
    predict = Predictor(model, method)
    found = predict.sequences(sequences, batch_size=4, per_step=method != "last")
    for y, sequence in zip(found, sequences, strict=True):
        alone = predict(sequence[:, None])
        alone = alone[0] if method == "last" else alone[:, 0]
        xp.testing.assert_allclose(y, alone, rtol=1e-5, atol=1e-6)
    assert predict.sequences([]) == []


@every_device
def test_an_output_of_an_unknown_form_is_refused(rng):
    predict = Predictor(dyrnn.Sequential(lambda x: F.sum(x)))
    with pytest.raises(ShapeError, match=r"an output has shape \(\), for 1 sequences"):
        predict.sequences([xp.ones((3, 2))])
    predict = Predictor(dyrnn.Sequential(lambda x: x))
    with pytest.raises(ShapeError, match="say per_step=True or per_step=False"):
        predict.sequences([xp.ones((3, 2))] * 3)


@every_device
def test_threads_do_not_disturb_each_other_or_a_training(rng):
    model = Model()
    xs = [rng.normal(size=(n, 1, 3)).astype(np.float32) for n in range(1, 13)]
    model(xs[0])
    predict = Predictor(model)
    expected = [predict(x) for x in xs]
    wrong = []

    def ask(k):
        for _ in range(20):
            if abs(predict(xs[k]) - expected[k]).max() > 1e-6 or not config.train:
                wrong.append(k)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(12)]
    for thread in threads:
        thread.start()
    state = model.rnn.h
    for thread in threads:
        thread.join()
    assert wrong == [] and model.rnn.h is state


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="Predictor takes a link, not a function"):
        Predictor(lambda x: x)
    with pytest.raises(AttributeError, match="Model has no method 'say'"):
        Predictor(Model(), "say")
