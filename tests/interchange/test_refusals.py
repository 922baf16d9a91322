"""What does not fit is refused with its name, and the model stays as it was."""

import os
import re

import numpy as np
import pytest

import dyrnn
import dyrnn.links as L
from dyrnn import interchange
from dyrnn.errors import InterchangeError
from dyrnn.interchange import from_onnx
from dyrnn.interchange.__main__ import show
from dyrnn.interchange.files import kind_of, read_safetensors, write_safetensors
from tests.interchange.models import GOLDEN, D, H, V, make


def weights_of(case):
    model = make("torch", case)
    for layer in interchange.describe(model):
        if 0 in layer.arrays["W" if "W" in layer.arrays else "gamma"].shape:
            interchange.assign(
                [
                    (
                        layer,
                        {k: np.ones(_known(a.shape)) for k, a in layer.arrays.items()},
                    )
                ]
            )
    return interchange.to_arrays(model, "torch")


def _known(shape):
    return tuple(n or (D if shape[0] == 3 * H else H) for n in shape)


def renamed(weights, name):
    weights[f"{name}_"] = weights.pop(name)
    return name


def reshaped(weights, name):
    weights[name] = np.zeros((*weights[name].shape, 2), np.float32)
    return name


def resized(weights, name):
    array = weights[name]
    weights[name] = np.concatenate([array, array])
    return name


def integers(weights, name):
    weights[name] = weights[name].astype(np.int32)
    return name


def complexes(weights, name):
    weights[name] = weights[name].astype(complex)
    return name


def too_large(weights, name):
    weights[name] = np.full(weights[name].shape, 1e300)
    return name


def missing(weights, name):
    del weights[name]
    return name


def extra(weights, name):
    weights[f"more.{name}"] = weights[name]
    return f"more.{name}"


CHANGES = [renamed, reshaped, resized, integers, complexes, too_large, missing, extra]


@pytest.mark.parametrize("case", ["lstm", "bilstm projected", "gru", "birnn"])
@pytest.mark.parametrize("change", CHANGES)
def test_each_entry_that_does_not_fit_is_named(change, case):
    model = make("torch", case)
    before = {
        path: None if p.array is None else p.array.copy()
        for path, p in model.namedparams()
    }
    whole = weights_of(case)
    names = [name for name in whole if not name.endswith("num_batches_tracked")]
    for name in names[CHANGES.index(change) % 4 :: 4]:
        weights = dict(whole)
        odd = change(weights, name)
        with pytest.raises(InterchangeError) as error:
            interchange.load(weights, model, "torch")
        assert odd in str(error.value)
    for path, p in model.namedparams():
        assert (p.array is None) == (before[path] is None)
        if p.array is not None:
            np.testing.assert_array_equal(p.array, before[path])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: interchange.load(__file__, m),
            "no file of weights that is known here; those are .safet",
        ),
        (lambda m: interchange.load({}, m), "do not say where they are from"),
        (lambda m: interchange.load({}, m, "torch"), "a dict without arrays"),
        (lambda m: interchange.load({}, m, "theano"), "'theano' is not known; use one"),
        (
            lambda m: interchange.load({"a": np.ones(1)}, m, "torch", {"x": "y"}),
            "names has 'x', which is no path of the model; there are: batch,",
        ),
        (
            lambda m: interchange.load({"a": np.ones(1)}, m, "flax", {"rnn": ["a"]}),
            "names has 1 names for it, but there are 4",
        ),
        (
            lambda m: interchange.save("model.keras", m),
            "a .keras file says what its model computes",
        ),
        (
            lambda m: interchange.save("model.onnx", m),
            r"'.onnx' are not written; take .* to_onnx\(model, path",
        ),
        (
            lambda m: interchange.to_arrays(m, "tensorflow", cell="Cell"),
            "cell='Cell' is not known; use one of BasicLSTMCell",
        ),
    ],
)
def test_wrong_calls(call, message):
    with pytest.raises(InterchangeError, match=message):
        call(make("torch", "bilstm"))


@pytest.mark.parametrize(
    ("link", "system", "message"),
    [
        (lambda: L.StatefulGRU(D, H), "torch", "StatefulGRU at 'l' has no counterpart"),
        (
            lambda: L.StatefulPeepholeLSTM(D, H),
            "torch",
            "no counterpart in PyTorch",
        ),
        (lambda: L.LSTM(D, H, proj_size=2), "keras", "has no counterpart in Keras"),
        (lambda: L.MGU(D, H), "chainer", "MGU at 'l' has no counterpart in Chainer"),
        (lambda: L.GRU(None, H), "torch", "W waits for the size of the input"),
    ],
)
def test_layers_without_counterpart(link, system, message):
    with pytest.raises(InterchangeError, match=message):
        interchange.to_arrays(dyrnn.Chain(l=link()), system)


def test_biases_without_a_place_are_refused():
    gru = L.GRU(D, H)
    gru.lateral.b.array[...] = np.arange(3 * H) < 2 * H  # those of r and z add up
    interchange.to_arrays(dyrnn.Chain(l=gru), "nnx")
    gru.lateral.b.array[-1] = 1
    with pytest.raises(InterchangeError, match="no bias inside the reset gate"):
        interchange.to_arrays(dyrnn.Chain(l=gru), "nnx")
    gru = L.StatefulGRU(D, H)
    gru.U_r.b.array[0] = 1
    with pytest.raises(InterchangeError, match="do not count in the first step"):
        interchange.to_arrays(dyrnn.Chain(l=gru), "keras")


def test_formulas_that_differ_are_refused():
    pytest.importorskip("h5py")
    path = GOLDEN / "keras gru before.keras"
    with pytest.raises(InterchangeError, match="reset_after is False, but True"):
        interchange.load(path, make("keras", "gru"))
    model = make("keras", "rnn")
    model.norm.eps = 1e-3
    with pytest.raises(InterchangeError, match="eps is 1e-06, but 0.001 in LayerNorm"):
        interchange.load(GOLDEN / "keras rnn.keras", model)


@pytest.mark.parametrize("prefix", ["module", "_orig_mod", "model.net"])
def test_weights_below_a_name_are_pointed_to(prefix):
    model = dyrnn.Sequential(L.LSTM(3, 4), L.Linear(4, 2))
    arrays = interchange.to_arrays(model, "torch")
    arrays = {f"{prefix}.{name}": array for name, array in arrays.items()}
    with pytest.raises(InterchangeError, match=re.escape(f"names={{'': '{prefix}'}}")):
        interchange.load(arrays, model, "torch")
    interchange.load(arrays, model, "torch", names={"": prefix})


def test_what_the_user_leaves_out(rng):
    weights = weights_of("lstm")
    model = make("torch", "lstm")
    embedding = model.embed.W.array.copy()
    weights["head.weight"] = weights.pop("embed.weight")
    interchange.load(weights, model, "torch", {"embed": None}, ignore=["head.*"])
    np.testing.assert_array_equal(model.embed.W.array, embedding)
    inside = {f"module.{name}": array for name, array in weights.items()}
    inside["other"] = np.ones(3)
    names = {"": "module", "embed/W": "module.head.weight"}
    interchange.load(inside, model, "torch", names)
    np.testing.assert_array_equal(model.embed.W.array, weights["head.weight"])


# Damaged files


def damaged(data, rng):
    """Return a file with bytes changed, cut off or put in."""
    data = bytearray(data)
    kind = rng.integers(4)
    where = int(rng.integers(len(data))) if kind else int(rng.integers(80))
    if kind < 2:
        data[where % len(data)] = rng.integers(256)
    elif kind == 2:
        del data[where : where + int(rng.integers(1, 40))]
    else:
        data[where:where] = bytes(rng.integers(0, 256, rng.integers(1, 9)).tolist())
    return bytes(data)


def test_damaged_safetensors_are_refused_or_read(tmp_path, rng):
    original = (GOLDEN / "torch.safetensors").read_bytes()
    path = tmp_path / "file.safetensors"
    n_refused = 0
    for _ in range(200):
        path.write_bytes(damaged(original, rng))
        try:
            read_safetensors(path)
        except InterchangeError:
            n_refused += 1
    assert n_refused > 60


HEADERS = [
    (b"", "too short"),
    (b"\xff" * 16, "does not fit in a file of 16 bytes"),
    (b"[]", "no table"),
    (b'{"a":1}', "not described by"),
    (b'{"a":{},"a":{}}', "a name twice"),
    (b"[" * 5000, "no JSON"),
    (b'{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', "are not read"),
    (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}', "is not what bytes"),
    (b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', "impossible shape"),
    (b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', "impossible shape"),
    (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', "overlap"),
    (b'{"a":{"dtype":"BOOL","shape":[8],"data_offsets":[0,8]}}', "booleans that are"),
    (b'{"__metadata__":{"a":1}}', "no table of texts"),
]


@pytest.mark.parametrize(("header", "message"), HEADERS)
def test_safetensors_headers(header, message, tmp_path):
    path = tmp_path / "file.safetensors"
    body = b"\xff" * 8
    whole = len(header).to_bytes(8, "little") + header + body
    path.write_bytes(whole if header.strip(b"\xff") else header)
    with pytest.raises(InterchangeError, match=message):
        read_safetensors(path)


def test_files_are_known_by_what_is_in_them(tmp_path):
    model, other = L.LSTM(D, H), L.LSTM(D, H)
    for suffix in (".safetensors", ".npz"):
        interchange.save(tmp_path / f"model{suffix}", model)
        odd = (tmp_path / f"model{suffix}").rename(tmp_path / "MODEL.PT")
        if suffix == ".safetensors":
            interchange.load(odd, other)
            np.testing.assert_array_equal(other.lateral.W.array, model.lateral.W.array)
        assert kind_of(odd) == suffix
    (tmp_path / "none.H5").write_bytes(b"")
    assert kind_of(tmp_path / "none.H5") == ".h5"
    for path in GOLDEN.iterdir():
        assert kind_of(path) == path.suffix


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("suffix", [".onnx", ".npz", ".pt", ".keras", ""])
def test_a_pipe_is_refused(suffix, tmp_path):
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    for read in (show, from_onnx, lambda path: interchange.load(path, L.GRU(D, H))):
        with pytest.raises(InterchangeError, match="not a regular file"):
            read(pipe)


def test_files_of_other_kinds(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        interchange.load(tmp_path / "none.safetensors", L.LSTM(D, H))
    (tmp_path / "file.npz").write_bytes(b"PK nothing")
    with pytest.raises(InterchangeError, match="file.npz"):
        interchange.load(tmp_path / "file.npz", L.LSTM(D, H))
    pytest.importorskip("h5py")
    for name in ("file.keras", "file.weights.h5"):
        for content in (b"nothing", b"PK nothing"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InterchangeError, match=name):
                interchange.load(tmp_path / name, L.LSTM(D, H))
    write_safetensors(tmp_path / "a.safetensors", {"a": np.ones(V)}, {})
    with pytest.raises(InterchangeError, match=r"a \(7,\): left over"):
        interchange.load(tmp_path / "a.safetensors", L.LSTM(D, H))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_damaged_keras_files_are_refused_or_read(suffix, tmp_path, rng):
    pytest.importorskip("h5py")
    from dyrnn.interchange.keras_files import read

    original = (GOLDEN / f"keras bilstm{suffix}").read_bytes()
    path = tmp_path / f"file{suffix}"
    for _ in range(30):
        path.write_bytes(damaged(original, rng))
        try:
            read(path)
        except InterchangeError as error:
            assert f"file{suffix}" in str(error)


def of_torch(name):
    """Return a module of PyTorch, a link that its arrays fit to, and what differs."""
    nn = pytest.importorskip("torch").nn
    norm, statistics = L.LayerNormalization(4, eps=1e-5), L.BatchNormalization(4)
    known = {"affine": True, "track_running_stats": True}
    return {
        "GroupNorm": (nn.GroupNorm(2, 4), norm, "num_groups is 2"),
        "InstanceNorm1d": (nn.InstanceNorm1d(4, **known), statistics, "instance_norm"),
        "Embedding": (nn.Embedding(5, 4, max_norm=1.0), L.EmbedID(5, 4), "max_norm"),
        "EmbeddingBag": (nn.EmbeddingBag(5, 4), L.EmbedID(5, 4), "mode is 'mean'"),
        "RNN": (nn.RNN(3, 4, nonlinearity="relu"), L.ElmanRNN(3, 4), "activation"),
        "meta": (nn.Linear(3, 4, device="meta"), L.Linear(3, 4), "cannot take"),
        "LazyLinear": (nn.LazyLinear(4), L.Linear(3, 4), "cannot take"),
    }[name]


@pytest.mark.parametrize(
    "name",
    ["GroupNorm", "InstanceNorm1d", "Embedding", "EmbeddingBag", "RNN"]
    + ["meta", "LazyLinear"],
)
def test_modules_that_compute_otherwise_are_refused(name):
    there, here, message = of_torch(name)
    before = {path: param.array.copy() for path, param in here.namedparams()}
    model = dyrnn.Chain(part=here)
    module = pytest.importorskip("torch").nn.ModuleDict({"part": there})
    with pytest.raises(InterchangeError, match=message):
        interchange.load(module, model, "torch")
    for path, param in here.namedparams():
        assert (param.array == before[path]).all()


def test_attributes_of_modules_around_layers_say_nothing_of_them():
    nn = pytest.importorskip("torch").nn
    outer = nn.Module()
    outer.eps, outer.nonlinearity = 1.0, "relu"
    outer.norm, outer.rnn = nn.LayerNorm(4), nn.RNN(3, 4)
    model = dyrnn.Chain(norm=L.LayerNormalization(4, eps=1e-5), rnn=L.ElmanRNN(3, 4))
    interchange.load(outer, model, "torch")
    assert (model.rnn.upward.W.array == outer.rnn.weight_ih_l0.detach().numpy()).all()


def looped():
    tree = {"weight": np.zeros((4, 3), np.float32), "deep": []}
    tree["deep"].append(tree)
    return tree


@pytest.mark.parametrize(
    ("source", "model", "names", "message"),
    [
        ({"a": {"b": np.zeros(3)}, "a.b": np.ones(3)}, None, None, "two arrays are"),
        (looped(), None, None, "contains itself"),
        ({"weight": np.zeros((4, 3))}, np.zeros(3), None, "a Link, is expected"),
        ({"weight": np.zeros((4, 3))}, None, "encoder", "names is 'encoder'; give a d"),
        ({"weight": np.zeros((4, 3))}, None, ["a"], "names is .'a'.; give a diction"),
    ],
)
def test_arguments_that_are_none(source, model, names, message):
    model = L.Linear(3, 4) if model is None else model
    with pytest.raises(InterchangeError, match=message):
        interchange.load(source, model, "torch", names)


def test_a_link_at_two_places_is_found_at_both(tmp_path):
    shared = L.Linear(3, 3)
    model = dyrnn.Chain(a=shared, inner=dyrnn.Chain(b=shared))
    arrays = interchange.to_arrays(model, "torch")
    assert list(arrays) == ["a.weight", "a.bias", "inner.b.weight", "inner.b.bias"]
    interchange.save(tmp_path / "model.safetensors", model)
    other = dyrnn.Chain(a=L.Linear(3, 3), inner=dyrnn.Chain(b=L.Linear(3, 3)))
    interchange.load(tmp_path / "model.safetensors", other)
    interchange.load(arrays, model, "torch")
    arrays["inner.b.bias"] = arrays["a.bias"] + 1
    with pytest.raises(InterchangeError, match="inner/b: b: another value than the"):
        interchange.load(arrays, model, "torch")
    for each in (other.a, other.inner.b):
        assert (each.W.array == shared.W.array).all()


def test_a_header_of_any_length_is_one(tmp_path):
    path = tmp_path / "model.safetensors"
    seen = set()
    for n in range(0, 600, 8):  # a length of 640 begins as a pickle does
        write_safetensors(path, {"weight": np.ones((1, 1))}, {"note": "x" * n})
        assert kind_of(path) == ".safetensors"
        seen.add(path.read_bytes()[0])
    assert {0x80, 0x08, 0x50} <= seen


@pytest.mark.parametrize(
    ("source", "system", "model"),
    [
        (None, "flax", L.Linear(3, 4)),
        ([np.ones((3, 4), np.float32)], "flax", L.Linear(3, 4)),
        ({"weight": np.ones((4, 0)), "bias": np.ones(4)}, "torch", L.Linear(None, 4)),
        ({"kernel": np.ones((4, 16)), "bias": np.ones(16)}, "tf", L.LSTM(None, 4)),
    ],
)
def test_sources_without_a_layers_numbers_are_refused(source, system, model):
    cell = {"cell": "BasicLSTMCell"} if system == "tf" else {}
    with pytest.raises(InterchangeError):
        interchange.load(source, model, system.replace("tf", "tensorflow"), **cell)
    if system != "flax":
        assert not all(param.is_initialized for param in model.params())
