"""Weights of other systems, as they wrote them: the same outputs, there and back."""

import io
import json
import warnings
import zipfile

import numpy as np
import pytest

import dyrnn
import dyrnn.links as L
from dyrnn import interchange
from dyrnn.errors import InterchangeError
from dyrnn.interchange import Layer, assign, describe
from dyrnn.interchange.files import read_safetensors, write_safetensors
from dyrnn.interchange.keras_files import _snake
from dyrnn.interchange.matching import Source, match
from dyrnn.interchange.systems import system
from dyrnn.interchange.trees import flatten, nest
from tests.interchange.models import GOLDEN, RECURRENT, D, H, P, V, make, make_cell, run

T, B = 5, 3
FILES = {name: dict(np.load(GOLDEN / f"{name}.npz")) for name in ("torch", "keras")}
CELLS = {**np.load(GOLDEN / "flax.npz"), **np.load(GOLDEN / "equinox.npz")}
ROWS = sorted({key.partition("|")[0] for key in CELLS} - {"x"})


def golden(arrays, case):
    """Return the weights of a case, and its outputs."""
    found = {
        key.partition("|")[2]: array
        for key, array in arrays.items()
        if key.startswith(f"{case}|")
    }
    more = {"y", "packed", "h"}
    return {key: found[key] for key in found.keys() - more}, found.get("y")


def close(found, expected):
    """Compare by the largest output: normalizations magnify what was rounded before."""
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("way", ["window", "steps"])
@pytest.mark.parametrize("case", RECURRENT["torch"])
def test_state_dict_computes_the_same(case, way):
    weights, y = golden(FILES["torch"], case)
    model = make("torch", case)
    interchange.load(weights, model, "torch")
    close(run(model, FILES["torch"]["ids"], way), y)


def close_inside(found, expected, lengths):
    """Compare what is not behind a sequence's end."""
    is_inside = np.arange(T)[:, None] < lengths
    close(found[is_inside], expected[is_inside])


@pytest.mark.parametrize("case", RECURRENT["torch"])
def test_packed_sequences_compute_the_same(case):
    weights, _ = golden(FILES["torch"], case)
    expected, h = (FILES["torch"][f"{case}|{key}"] for key in ("packed", "h"))
    model, lengths = make("torch", case), FILES["torch"]["lengths"]
    interchange.load(weights, model, "torch")
    y = run(model, FILES["torch"]["ids"], lengths=lengths)
    close_inside(y, expected, lengths)
    if isinstance(model.rnn, L.Recurrent):
        close(model.rnn.h.array, h[0])


@pytest.mark.parametrize("case", RECURRENT["torch"])
def test_state_dict_is_given_back(case):
    weights, _ = golden(FILES["torch"], case)
    model, other = make("torch", case), make("torch", case)
    interchange.load(weights, model, "torch")
    again = interchange.to_arrays(model, "torch")
    if case != "lstm no bias":
        assert {k: a.shape for k, a in again.items()} == {
            k: a.shape for k, a in weights.items()
        }
    interchange.load(again, other, "torch")
    for (path, a), (_, b) in zip(model.namedparams(), other.namedparams(), strict=True):
        np.testing.assert_array_equal(a.array, b.array, path)


@pytest.mark.parametrize("way", ["window", "steps"])
@pytest.mark.parametrize("case", RECURRENT["keras"])
def test_keras_file_computes_the_same(case, way, tmp_path):
    pytest.importorskip("h5py")
    y, ids = FILES["keras"][f"{case}|y"], FILES["keras"]["ids"]
    model, other = make("keras", case), make("keras", case)
    interchange.load(GOLDEN / f"keras {case}.keras", model)
    close(run(model, ids, way), y)
    interchange.save(tmp_path / "model.weights.h5", model)
    interchange.load(tmp_path / "model.weights.h5", other)
    close(run(other, ids, way), y)


@pytest.mark.parametrize("case", RECURRENT["keras"])
def test_masked_sequences_compute_the_same(case):
    pytest.importorskip("h5py")
    model, lengths = make("keras", case), FILES["keras"]["lengths"]
    interchange.load(GOLDEN / f"keras {case}.keras", model)
    y = run(model, FILES["keras"]["padded"], lengths=lengths)
    close_inside(y, FILES["keras"][f"{case}|masked"], lengths)


def test_weights_without_a_description_are_found_by_order():
    pytest.importorskip("h5py")
    model = make("keras", "bilstm")
    interchange.load(GOLDEN / "keras bilstm.weights.h5", model)
    close(run(model, FILES["keras"]["ids"]), FILES["keras"]["bilstm|y"])


def test_a_keras_file_with_new_weights(tmp_path, rng):
    pytest.importorskip("h5py")
    like, new = GOLDEN / "keras lstms.keras", tmp_path / "new.keras"
    model, other = make("keras", "lstms"), make("keras", "lstms")
    interchange.load(like, model)
    for param in model.params():
        param.array[...] = rng.uniform(0.5, 1, param.shape)
    interchange.save(new, model, names={"rnn": ["first", "lstm_1"]}, like=like)
    interchange.load(new, other)
    for (path, a), (_, b) in zip(model.namedparams(), other.namedparams(), strict=True):
        np.testing.assert_array_equal(a.array, b.array, path)
    with pytest.raises(InterchangeError, match="reset_after is False, but True"):
        odd = GOLDEN / "keras gru before.keras"
        interchange.save(new, make("keras", "gru"), like=odd)
    lstm, like = make("keras", "lstm no bias"), GOLDEN / "keras lstm no bias.keras"
    interchange.load(like, lstm)
    interchange.save(new, lstm, like=like)
    lstm.rnn.upward.b.array[...] = 1
    with pytest.raises(InterchangeError, match="vars/2: this bias is not 0"):
        interchange.save(new, lstm, like=like)


def test_layers_that_only_their_order_tells_apart_are_warned_of(tmp_path):
    pytest.importorskip("h5py")
    model = dyrnn.Chain(one=L.LSTM(H, H), two=L.LSTM(H, H), out=L.Linear(H, V))
    path = tmp_path / "m.weights.h5"
    with pytest.warns(UserWarning, match="'one' is layers/lstm, 'two' is layers/lst"):
        interchange.save(path, model)
    with pytest.warns(UserWarning, match="'one' is layers/lstm, 'two' is"):
        interchange.load(path, model)
    interchange.load(path, model, names={"one": "lstm", "two": "lstm_1"})


def test_keras_layers_are_found_by_the_names_of_the_description():
    pytest.importorskip("h5py")
    parts = dict(zip("first second".split(), (L.LSTM(D, H), L.LSTM(H, H)), strict=True))
    parts |= {"norm": L.LayerNormalization(H), "batch": L.BatchNormalization(H)}
    model = dyrnn.Chain(out=L.Linear(H, V), **parts, embed=L.EmbedID(V, D))
    names = {"norm": "layer_normalization", "batch": "batch_normalization"}
    names |= {"embed": "embedding", "out": "dense"}
    interchange.load(
        GOLDEN / "keras lstms.keras", model, names={**names, "second": "layers/lstm_1"}
    )
    stack = make("keras", "lstms")
    interchange.load(
        GOLDEN / "keras lstms.keras", stack, names={"rnn": ["first", "lstm_1"]}
    )
    np.testing.assert_array_equal(model.second.lateral.W.array, stack.rnn[1].U.array)
    np.testing.assert_array_equal(model.first.lateral.W.array, stack.rnn[0].U.array)


@pytest.mark.parametrize("case", ROWS)
def test_nested_dictionaries_of_cells(case):
    system, _, cell = case.partition(" ")
    weights, y = golden(CELLS, case)
    model, other = make_cell(cell), make_cell(cell)
    tree = nest(weights, "/")
    interchange.load(tree, model, system)
    close(run(model, CELLS["x"]), y)
    options = {"cell": "LSTMCell"} if case == "nnx LSTMCell" else {}
    again = interchange.to_arrays(model, system, **options)
    flat = flatten(again, "/")
    expected = {key.replace("/cell/", "/"): a.shape for key, a in weights.items()}
    assert {key.replace("/cell/", "/"): a.shape for key, a in flat.items()} == expected
    interchange.load(again, other, system)
    close(run(other, CELLS["x"]), y)


# TensorFlow's cells, by their formulas: what a checkpoint holds are these arrays.


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def tensorflow_lstm(x, kernel, bias, order, forget_bias, diagonals=(0, 0, 0)):
    h = c = np.zeros((x.shape[1], H))
    w_i, w_f, w_o = diagonals
    for row in x:
        gates = np.split(np.concatenate([row, h], 1) @ kernel + bias, 4, axis=1)
        gate = dict(zip(order, gates, strict=True))
        new = sigmoid(gate["i"] + w_i * c) * np.tanh(gate["j"])
        c = new + sigmoid(gate["f"] + forget_bias + w_f * c) * c
        h = sigmoid(gate["o"] + w_o * c) * np.tanh(c)
        yield h


def tensorflow_gru(x, gates, candidate, b_gates, b_candidate):
    h = np.zeros((x.shape[1], H))
    for row in x:
        both = np.concatenate([row, h], 1)
        r, u = np.split(sigmoid(both @ gates + b_gates), 2, axis=1)
        n = np.tanh(np.concatenate([row, r * h], 1) @ candidate + b_candidate)
        h = u * h + (1 - u) * n
        yield h


def draw(rng, *shape):
    return rng.uniform(-0.5, 0.5, shape)


@pytest.mark.parametrize(
    ("cell", "order", "forget_bias"),
    [
        ("BasicLSTMCell", "ijfo", 1.0),
        ("LSTMBlockCell", "ijfo", 0.5),
        ("BlockLSTM", "ijfo", 0.0),
        ("BlockLSTMV2", "ifjo", 0.0),
    ],
)
def test_tensorflow_lstm(cell, order, forget_bias, rng):
    x = rng.normal(size=(T, B, D))
    kernel, bias = draw(rng, D + H, 4 * H), draw(rng, 4 * H)
    expected = np.stack(list(tensorflow_lstm(x, kernel, bias, order, forget_bias)))
    place = "Model/RNN/multi_rnn_cell/cell_0/basic_lstm_cell"
    arrays = {f"{place}/kernel": kernel, f"{place}/bias": bias}
    arrays |= {"Model/softmax_w": draw(rng, H, V), "Model/softmax_b": draw(rng, V)}
    arrays |= {"Model/embedding": draw(rng, V, D), "Model/Variable": np.array(3)}
    arrays["global_step"] = np.array(10)
    names = {"rnn": place, "out/W": "Model/softmax_w", "out/b": "Model/softmax_b"}
    names |= {"": "Model", "embed/W": "Model/embedding"}
    model = dyrnn.Chain(embed=L.EmbedID(V, D), rnn=L.LSTM(None, H), out=L.Linear(H, V))
    options = {"cell": cell, "forget_bias": forget_bias}
    interchange.load(arrays, model, "tensorflow", names, ["*Variable"], **options)
    close(model.rnn(x.astype(np.float32)).array, expected)
    close(model.out.W.array, arrays["Model/softmax_w"].T)
    again = interchange.to_arrays(model, "tensorflow", names, **options)
    for name, array in again.items():
        close(array, arrays[name])
    with pytest.raises(InterchangeError, match="give cell='BasicLSTMCell'"):
        interchange.load(arrays, model, "tensorflow", names)


def test_tensorflow_peepholes(rng):
    x = rng.normal(size=(T, B, D))
    kernel, bias, w = draw(rng, D + H, 4 * H), draw(rng, 4 * H), draw(rng, 3, H)
    expected = np.stack(list(tensorflow_lstm(x, kernel, bias, "ijfo", 1.0, w)))
    arrays = {f"w_{gate}_diag": row for gate, row in zip("ifo", w, strict=True)}
    arrays |= {"kernel": kernel, "bias": bias}
    link = L.StatefulPeepholeLSTM(D, H)
    interchange.load(arrays, link, "tensorflow", cell="LSTMBlockCell")
    close(link(x.astype(np.float32)).array, expected)


@pytest.mark.parametrize(
    "names",
    [
        ("gates/kernel", "candidate/kernel", "gates/bias", "candidate/bias"),
        ("w_ru", "w_c", "b_ru", "b_c"),
    ],
)
def test_tensorflow_gru(names, rng):
    x = rng.normal(size=(T, B, D))
    shapes = (D + H, 2 * H), (D + H, H), (2 * H,), (H,)
    arrays = [draw(rng, *shape) for shape in shapes]
    expected = np.stack(list(tensorflow_gru(x, *arrays)))
    link = L.StatefulGRU(D, H)
    source = dict(zip(names, arrays, strict=True))
    interchange.load(source, link, "tensorflow", cell="GRUBlockCell")
    close(link(x.astype(np.float32)).array, expected)
    again = interchange.to_arrays(link, "tensorflow", cell="GRUBlockCell")
    for array, name in zip(arrays, ("gates/kernel", "candidate/kernel"), strict=False):
        close(again[name], array)


# Files


def test_safetensors_of_pytorch(tmp_path):
    weights, y = golden(FILES["torch"], "bilstm")
    model = make("torch", "bilstm")
    interchange.load(GOLDEN / "torch.safetensors", model)
    close(run(model, FILES["torch"]["ids"]), y)
    interchange.save(tmp_path / "model.safetensors", model)
    found, metadata = read_safetensors(tmp_path / "model.safetensors")
    assert metadata == {"format": "pt"}
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array * (array.ndim > 0))


def test_bfloat16_becomes_float32():
    weights, _ = golden(FILES["torch"], "bf16")
    found, _ = read_safetensors(GOLDEN / "torch-bf16.safetensors")
    assert found.keys() == weights.keys()
    for name, array in weights.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


def tied_model():
    model = dyrnn.Chain(embed=L.EmbedID(V, H), out=L.Linear(H, V))
    with model.out.init_scope():
        model.out.W = model.embed.W
    return model


def test_tied_weights_are_stored_once_and_loaded_twice(tmp_path):
    plain = dyrnn.Chain(embed=L.EmbedID(V, H), out=L.Linear(H, V))
    tied = tied_model()
    for model in (plain, tied):
        interchange.load(GOLDEN / "torch-tied.safetensors", model)
        np.testing.assert_array_equal(model.embed.W.array, model.out.W.array)
    interchange.save(tmp_path / "tied.safetensors", tied)
    found, metadata = read_safetensors(tmp_path / "tied.safetensors")
    assert metadata["out.weight"] == "embed.weight"
    assert found["out.weight"] is found["embed.weight"]
    size = (tmp_path / "tied.safetensors").stat().st_size
    assert size < 4 * (V * H + V) + 350
    arrays = dict(interchange.to_arrays(plain, "torch"))
    arrays["out.weight"] = arrays["out.weight"] + 1
    before = tied.out.W.array.copy()
    with pytest.raises(InterchangeError, match="another value than the same parameter"):
        interchange.load(arrays, tied, "torch")
    np.testing.assert_array_equal(tied.out.W.array, before)


def test_kept_names_and_types_of_safetensors(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "empty": np.zeros((0, 2), np.float16),
        "é": np.array(True),
        "i": np.array([-1, 2], np.int64),
    }
    write_safetensors(tmp_path / "file", arrays, {})
    found, metadata = read_safetensors(tmp_path / "file")
    assert metadata == {}
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(InterchangeError, match="no place for complex128"):
        write_safetensors(tmp_path / "file", {"c": np.ones(1, complex)}, {})


# Layers


def test_description_of_a_model():
    model = dyrnn.Chain(
        rnn=L.NStepBiLSTM(2, D, H, proj_size=P), scale=L.Scale(W_shape=(3,))
    )
    first, second, scale = describe(model)
    assert str(second) == "NStepBiLSTM at 'rnn' (layer 1)"
    assert (first.kind, first.index, first.n_in_stack, first.directions) == (
        *("lstm", 0, 2),
        2,
    )
    forward, backward = second.cells
    assert forward["W"].shape == backward["W"].shape == (4 * H, 2 * P)
    assert forward["V"].shape == (P, H)
    assert (scale.kind, scale.arrays["W"].shape) == ("parameters", (3,))
    assert isinstance(scale, Layer)


def test_assigned_arrays_come_back(rng):
    model = dyrnn.Chain(gru=L.StatefulGRU(D, H), out=L.Linear(None, V))
    new = []
    for layer in describe(model):
        shapes = {k: a.shape if a.size else (V, H) for k, a in layer.arrays.items()}
        new.append((layer, {k: draw(rng, *shape) for k, shape in shapes.items()}))
    assign(new)
    assert model.out.in_size == H
    for layer, arrays in new:
        for name, array in layer.arrays.items():
            np.testing.assert_array_equal(array, arrays[name].astype(np.float32))


def test_chainer_file_through_interchange(tmp_path):
    model, other = L.LSTM(D, H), L.LSTM(D, H)
    interchange.save(tmp_path / "model.npz", model)
    interchange.load(tmp_path / "model.npz", other)
    for a, b in zip(model.params(), other.params(), strict=True):
        np.testing.assert_array_equal(a.array, b.array)


@pytest.mark.parametrize("layer", [L.LSTM, L.GRU, L.ElmanRNN])
def test_two_layers_as_one_in_two_directions(layer, rng):
    stacks = {L.LSTM: L.NStepBiLSTM, L.GRU: L.NStepBiGRU, L.ElmanRNN: L.NStepBiRNNTanh}
    stack = stacks[layer](1, 3, 4)
    both = L.Bidirectional(layer(3, 4), layer(3, 4))
    interchange.load(interchange.to_arrays(stack, "torch"), both, "torch")
    sequences = [rng.normal(size=(n, 3)).astype(np.float32) for n in (5, 2)]
    for y, expected in zip(
        both(sequences), stack_outputs(stack, sequences), strict=True
    ):
        np.testing.assert_allclose(y.array, expected.array, 1e-6, 1e-6)
    for name in ("torch", "keras"):
        arrays = interchange.to_arrays(both, name)
        given = interchange.to_arrays(stack, name)
        assert arrays.keys() == given.keys()


def stack_outputs(stack, sequences):
    return stack(*[None] * stack.n_states, sequences)[-1]


def test_two_layers_that_are_not_alike_keep_their_names():
    both = L.Bidirectional(L.LSTM(3, 4), L.GRU(3, 4))
    arrays = interchange.to_arrays(both, "torch")
    assert {name.split(".")[0] for name in arrays} == {
        "forward_layer",
        "backward_layer",
    }


def test_the_activation_of_a_dense_layer_is_told(rng):
    model = dyrnn.Sequential(L.Linear(3, 4))
    arrays = {"d/vars/0": rng.normal(size=(3, 4)), "d/vars/1": rng.normal(size=4)}
    for activation in ("softmax", "linear"):
        source = Source(arrays, {"d/": {"activation": activation}})
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            match(model, source, system("keras"), {"0": "d"})
        told = [str(each.message) for each in found]
        assert len(told) == (activation == "softmax"), told
        assert all("'softmax': it is not a part of the layer here" in t for t in told)
    np.testing.assert_array_equal(model[0].b.array, arrays["d/vars/1"].astype("f4"))


def keras_archive(path, layers):
    """Write a .keras with an LSTM's or an embedding's arrays and this description."""
    h5py = pytest.importorskip("h5py")
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    cell = [(D, 4 * H), (H, 4 * H), (4 * H,)]
    shapes = {"embedding": [(V, D)], "bidirectional/forward_layer/cell": cell}
    shapes |= {
        "bidirectional/backward_layer/cell": cell,
        "batch_normalization": [H] * 4,
    }
    kinds = {_snake(layer["class_name"]) for layer in layers}
    with h5py.File(buffer, "w") as file:
        for place, group in shapes.items():
            for k, shape in enumerate(group if place.split("/")[0] in kinds else ()):
                file[f"layers/{place}/vars/{k}"] = rng.random(shape, np.float32)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": layers}}))
        archive.writestr("model.weights.h5", buffer.getvalue())
    return path


def test_masks_and_axes_of_keras_are_told(tmp_path):
    layer = {"class_name": "Embedding", "config": {"mask_zero": True}}
    path = keras_archive(tmp_path / "mask.keras", [layer])
    with pytest.warns(UserWarning, match="layers/embedding masks steps"):
        interchange.load(path, dyrnn.Chain(e=L.EmbedID(V, D)))
    for axis in (1, [1], -1, [2], 2):
        layer = {"class_name": "BatchNormalization", "config": {"axis": axis}}
        layer["build_config"] = {"input_shape": [None, 5, H]}
        path = keras_archive(tmp_path / "axis.keras", [layer])
        batch = dyrnn.Chain(batch=L.BatchNormalization(H))
        if axis in (1, [1]):
            with pytest.warns(UserWarning, match="batch_normalization normalizes axis"):
                interchange.load(path, batch)
        else:
            interchange.load(path, batch)


def test_a_backward_layer_of_its_own_formula_is_refused(tmp_path):
    def layer(**backward):
        one, two = {"activation": "tanh"}, {"activation": "tanh", **backward}
        config = {"layer": {"config": one}, "backward_layer": {"config": two}}
        return {"class_name": "Bidirectional", "config": config}

    both = dyrnn.Chain(rnn=L.Bidirectional(L.LSTM(D, H), L.LSTM(D, H)))
    path = tmp_path / "both.keras"
    interchange.load(keras_archive(path, [layer(go_backwards=True)]), both)
    keras_archive(path, [layer(activation="relu")])
    with pytest.raises(InterchangeError, match="'tanh forward, relu backward'"):
        interchange.load(path, both)


def test_the_old_format_of_keras_is_told(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["model_weights/dense/dense/kernel"] = np.ones((2, 3), np.float32)
    with pytest.raises(InterchangeError, match="old format, .*load_model"):
        interchange.load(tmp_path / "old.h5", L.Linear(2, 3))
