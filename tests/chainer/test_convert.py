"""Weights that Chainer 7.8.1 has trained and saved, in layers of dyrnn and back."""

from pathlib import Path

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.chainer.convert import load_chainer_npz, save_chainer_npz
from dyrnn.errors import InterchangeError

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
V, D, H = 7, 4, 3
PREDICTOR = "updater/model:main/predictor"


class Model(dyrnn.Chain):
    def __init__(self, **layers):
        super().__init__()
        with self.init_scope():
            for name, layer in layers.items():
                setattr(self, name, layer)


def language_model(**layers):
    plain = {
        "embed": L.EmbedID(V, D),
        "l1": L.LSTM(D, H),
        "l2": L.LSTM(H, H),
        "l3": L.Linear(H, V),
    }
    return Model(**{**plain, **layers})


def layers():
    return Model(
        stateless=L.StatelessLSTM(D, H),
        zoneout=L.StatefulZoneoutLSTM(D, H, c_ratio=0.0, h_ratio=0.0),
        gru=L.StatefulGRU(D, H),
        n_lstm=L.NStepLSTM(2, D, H),
        bi_lstm=L.NStepBiLSTM(2, D, H),
        n_gru=L.NStepGRU(2, D, H),
        n_tanh=L.NStepRNNTanh(2, D, H),
        norm=L.LayerNormalization(D),
        crf=L.CRF1d(H),
    )


@pytest.fixture
def expected():
    with np.load(GOLDEN / "chainer-outputs.npz") as npz:
        return dict(npz)


def close(variable, array):
    np.testing.assert_allclose(variable.array, array, rtol=0, atol=1e-6)


def test_language_model_of_a_snapshot_computes_the_same(expected):
    model = language_model()
    load_chainer_npz(GOLDEN / "chainer-snapshot.npz", model, PREDICTOR)
    y = model.l3(model.l2(model.l1(model.embed(expected["ids"]))))
    close(y, expected["scores"])


def test_lazy_layers_take_their_sizes_from_the_file(expected):
    model = language_model(l1=L.LSTM(None, H), l3=L.Linear(None, V))
    load_chainer_npz(GOLDEN / "chainer-snapshot.npz", model, PREDICTOR)
    y = model.l3(model.l2(model.l1(model.embed(expected["ids"]))))
    close(y, expected["scores"])


def test_layers_compute_the_same(expected):
    model = layers()
    load_chainer_npz(GOLDEN / "chainer-layers.npz", model)
    x = dyrnn.as_variable(expected["x"])
    sequences = [x[:, 0], x[:3, 1]]
    c = h = None
    with dyrnn.using_config("train", False):
        for row in x:
            c, h = model.stateless(c, h, row)
        close(h, expected["stateless"])
        close(model.zoneout(x), expected["zoneout"])
        close(model.gru(x), expected["gru"])
        for name in ("n_lstm", "bi_lstm"):
            _, cy, ys = model[name](None, None, sequences)
            close(F.concat(ys, axis=0), expected[name])
            close(cy, expected[name + "_c"])
        for name in ("n_gru", "n_tanh"):
            _, ys = model[name](None, sequences)
            close(F.concat(ys, axis=0), expected[name])
        close(model.norm(x[0]), expected["norm"])


def test_saved_weights_are_those_that_were_loaded(tmp_path):
    model = layers()
    load_chainer_npz(GOLDEN / "chainer-layers.npz", model)
    save_chainer_npz(tmp_path / "model.npz", model)
    again = np.load(tmp_path / "model.npz")
    original = np.load(GOLDEN / "chainer-layers.npz")
    assert set(again.files) == set(original.files)
    summed = ("n_lstm/", "bi_lstm/", "n_tanh/")  # two biases of Chainer are one here
    for key in original.files:
        if not (key.startswith(summed) and "/b" in key):
            np.testing.assert_array_equal(again[key], original[key], key)


def test_saved_weights_load_again(tmp_path, expected):
    model, other = layers(), layers()
    save_chainer_npz(tmp_path / "model.npz", model, compression=False)
    load_chainer_npz(tmp_path / "model.npz", other)
    for (name, a), (_, b) in zip(model.namedparams(), other.namedparams(), strict=True):
        np.testing.assert_allclose(a.array, b.array, err_msg=name)


def test_missing_array_is_named():
    with pytest.raises(InterchangeError, match=r"updater/embed/W \(7, 4\): missing"):
        load_chainer_npz(GOLDEN / "chainer-snapshot.npz", language_model(), "updater")


def test_missing_arrays_may_be_left_out():
    model = language_model(l9=L.Linear(2, 2))
    before = model.l9.W.array.copy()
    path = GOLDEN / "chainer-snapshot.npz"
    load_chainer_npz(path, model, PREDICTOR, strict=False)
    np.testing.assert_array_equal(model.l9.W.array, before)


def test_other_sizes_are_refused():
    model = language_model(l3=L.Linear(H, V + 1))
    before = model.embed.W.array.copy()
    message = r"l3/W: shape \(7, 3\), expected \(8, 3\)"
    with pytest.raises(InterchangeError, match=message):
        load_chainer_npz(GOLDEN / "chainer-snapshot.npz", model, PREDICTOR)
    np.testing.assert_array_equal(model.embed.W.array, before)


@pytest.mark.parametrize("layer", [L.GRU(D, H), L.MGU(D, H), L.NaryTreeLSTM(D, H)])
def test_layers_unknown_to_chainer_are_refused(layer, tmp_path):
    with pytest.raises(InterchangeError, match="at 'l1' has no counterpart in Chainer"):
        save_chainer_npz(tmp_path / "model.npz", Model(l1=layer))
