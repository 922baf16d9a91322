"""Chainer's .npz and HDF5 layouts."""

import io

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import serializer, serializers
from dyrnn.chainer.serializers import groups
from tests.chainer.models import Model


class Record:
    """Values of every kind, under a child."""

    def __init__(self, **values):
        self.values = values

    def serialize(self, s):
        child = s["/child/"]
        for key, value in self.values.items():
            self.values[key] = child("/" + key, value)


VALUES = {"i": 3, "f": 0.5, "s": "text", "b": True, "none": None}
BLANKS = {"i": 0, "f": 0.0, "s": "", "b": False, "none": 1}


def test_keys_are_paths_without_a_leading_slash():
    arrays = chainer.serializers.dictionaries.serialize(Model())
    assert set(arrays) == {"l/W", "l/b"}
    s = serializers.DictionarySerializer(path="top/")
    assert s["/x/"].path == "top/x/"
    s["x"]("/y", None)
    assert s.target["top/x/y"].dtype == object


@pytest.mark.parametrize("compression", [True, False])
def test_values_come_back_as_they_were(tmp_path, compression):
    path = tmp_path / "values.npz"
    serializers.save_npz(path, Record(**VALUES), compression)
    loaded = Record(**BLANKS)
    serializers.load_npz(path, loaded)
    assert loaded.values == VALUES


def test_a_dictionary_is_saved_as_it_is():
    file = io.BytesIO()
    serializers.save_npz(file, {"a/b": np.arange(3)})
    file.seek(0)
    with np.load(file) as npz:
        assert npz["a/b"].tolist() == [0, 1, 2]


def test_arrays_are_filled_in_place(tmp_path):
    model, other = Model(), Model()
    model.l.W.array[...] = 5
    array = other.l.W.array
    serializers.save_npz(tmp_path / "m.npz", model)
    serializers.load_npz(tmp_path / "m.npz", other)
    assert other.l.W.array is array and (array == 5).all()


def test_part_of_a_file_is_loaded_by_its_path(tmp_path):
    model, other = chainer.Chain(predictor=Model()), Model()
    model.predictor.l.b.array[...] = 7
    serializers.save_npz(tmp_path / "m.npz", model)
    serializers.load_npz(tmp_path / "m.npz", other, path="predictor/")
    assert (other.l.b.array == 7).all()


def test_missing_keys_are_an_error_only_if_strict(tmp_path):
    serializers.save_npz(tmp_path / "m.npz", {"l/W": np.ones((2, 3), np.float32)})
    model = Model()
    with pytest.raises(KeyError, match="l/b"):
        serializers.load_npz(tmp_path / "m.npz", model)
    model = Model()
    serializers.load_npz(tmp_path / "m.npz", model, strict=False)
    assert (model.l.W.array == 1).all() and not model.l.b.array.any()


@pytest.mark.parametrize(
    "names",
    ["l/W", ["l/W", "x"], lambda key: key.endswith("W"), [lambda key: "W" in key]],
)
def test_names_may_be_ignored(names, tmp_path):
    arrays = {"l/W": np.ones((2, 3)), "l/b": np.ones(2)}
    serializers.save_npz(tmp_path / "m.npz", arrays)
    model = Model()
    before = model.l.W.array.copy()
    serializers.load_npz(tmp_path / "m.npz", model, ignore_names=names)
    np.testing.assert_array_equal(model.l.W.array, before)
    assert (model.l.b.array == 1).all()
    with pytest.raises(ValueError, match="ignore_names needs to be a callable, string"):
        serializers.load_npz(tmp_path / "m.npz", model, ignore_names=3)


def test_digits_are_not_lost():
    load = serializers.NpzDeserializer({"x": np.array(0.5), "n": np.array(2**40)})
    with pytest.raises(TypeError, match="Cannot safely deserialize from numpy array"):
        load("x", 3)
    assert load("n", 3) == 2**40 and load("n", None).dtype == np.int64


def test_base_classes_ask_for_methods():
    with pytest.raises(NotImplementedError):
        serializer.AbstractSerializer()["x"]
    with pytest.raises(NotImplementedError):
        serializer.AbstractSerializer()("x", 1)


def test_hdf5_without_h5py_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(groups, "_available", False)
    for call in (
        lambda: serializers.save_hdf5(tmp_path / "x", Model()),
        lambda: serializers.load_hdf5(tmp_path / "x", Model()),
        lambda: serializers.HDF5Serializer(None),
        lambda: serializers.HDF5Deserializer(None),
    ):
        with pytest.raises(RuntimeError, match="h5py is not installed"):
            call()


class TestHDF5:
    h5py = pytest.importorskip("h5py") if groups._available else None
    pytestmark = pytest.mark.skipif(not groups._available, reason="needs h5py")

    def test_values_come_back_as_they_were(self, tmp_path):
        path = str(tmp_path / "values.h5")
        serializers.save_hdf5(path, Record(**VALUES, a=np.arange(6).reshape(2, 3)))
        loaded = Record(**BLANKS, a=np.zeros((2, 3), int))
        serializers.load_hdf5(path, loaded)
        assert loaded.values.pop("a").tolist() == [[0, 1, 2], [3, 4, 5]]
        assert loaded.values == VALUES

    def test_missing_groups(self, tmp_path):
        path = str(tmp_path / "values.h5")
        serializers.save_hdf5(path, {"a": np.arange(3), "/b/c": np.float32(1)})
        with self.h5py.File(path) as file:
            load = serializers.HDF5Deserializer(file)
            assert load["b"]("c", None) == 1
            with pytest.raises(ValueError, match="Inexistent group is specified"):
                load["x"]("c", 1)
            load = serializers.HDF5Deserializer(file, strict=False)
            assert load["x"]("c", 1) == 1 and load("z", 2) == 2

    def test_objects_cannot_be_saved(self, tmp_path, capsys):
        with pytest.raises(TypeError):
            serializers.save_hdf5(str(tmp_path / "x.h5"), {"k": np.asarray(None)})
        assert 'A key named "k" is unable to save' in capsys.readouterr().err
