import numpy as np
import pytest

from dyrnn.errors import SnapshotError
from dyrnn.extensions import LogReport
from dyrnn.serializers import Saver, capture, load_npz, read_manifest, save_npz
from tests import strict
from tests.arrays import every_device, xp
from tests.serializers.objects import Layer, Model, One
from tests.training.toys import language_trainer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "snapshot.npz"


def test_loading_gives_back_what_was_saved(path):
    saved, loaded = Model(1), Model(2)
    save_npz(path, saved)
    W = loaded.l1.W
    load_npz(path, loaded)
    assert loaded.state() == saved.state()
    assert loaded.l1.W is W


@every_device
@pytest.mark.parametrize("dtype", "? u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f8 >f4 >i8".split())
def test_every_dtype_survives_in_any_memory_order(path, dtype):
    array = xp.arange(24).reshape(2, 3, 4).astype(dtype).T[::2]
    save_npz(path, One(array))
    one = One(None)
    load_npz(path, one)
    assert one.value.dtype == np.dtype(dtype).newbyteorder("<")
    xp.testing.assert_array_equal(one.value, array)
    one.value[...] = 0  # it is our own


@every_device
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (2,) * 8])
def test_every_shape_survives(path, shape):
    save_npz(path, One(xp.ones(shape)))
    one = One(xp.zeros(shape))
    load_npz(path, one)
    xp.testing.assert_array_equal(one.value, xp.ones(shape), strict=True)


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 2**64, 0.1, -0.0, float("-inf"), "", "é\0\ud800", [], {}, [[]]]
    + [[1.5, float("inf"), None, {"a": [True]}]],
)
def test_values_without_arrays_survive_exactly(path, value):
    save_npz(path, One(value))
    one = One(None)
    load_npz(path, one)
    assert repr(one.value) == repr(value)
    assert type(one.value) is type(value)


@pytest.mark.parametrize(
    "value", [np.float16(0.1), np.float32(0.1), np.float64(0.1), np.int64(3)]
)
def test_numbers_of_numpy_keep_their_types(path, value):
    save_npz(path, One(value))
    one = One(0.0)  # as a running mean begins
    load_npz(path, one)
    assert type(one.value) is type(value)
    assert one.value == value


def test_numpy_can_read_the_file(path):
    save_npz(path, Model(1))
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["l1/W"], Model(1).l1.W, strict=True)
        assert file["__manifest__"].tobytes().startswith(b'{"sha256": "')


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_plain_npz_files_are_loaded(path, save):
    layer = Layer(3)
    save(path, **{"predictor/W": layer.W, "predictor/b": layer.b, "t": 7, "lr": 0.5})

    class Plain:
        layer, t, lr = Layer(4), 0, 0.0

        def serialize(self, s):
            self.layer.serialize(s["predictor"])
            self.t, self.lr = s("t", self.t), s("lr", self.lr)

    plain = Plain()
    load_npz(path, plain)
    assert (plain.t, plain.lr) == (7, 0.5)
    assert type(plain.t) is int
    np.testing.assert_array_equal(plain.layer.W, layer.W)


def test_arrays_of_a_device_are_loaded_in_place_and_put_back(path):
    layer = Layer(2)
    layer.W, layer.b = strict.xp.asarray(layer.W), strict.xp.asarray(layer.b)
    W = layer.W
    save_npz(path, Layer(1))
    load_npz(path, layer)
    assert layer.W is W
    np.testing.assert_array_equal(W.get(), Layer(1).W)
    copy = capture(layer, copy=True)
    np.testing.assert_array_equal(copy.arrays["W"], Layer(1).W)

    save_npz(path, One(Layer(3).W, "W"))
    with pytest.raises(SnapshotError, match="not in the file: b"):
        load_npz(path, layer)
    np.testing.assert_array_equal(W.get(), Layer(1).W)


def test_a_part_of_a_file_loads_alone(path):
    save_npz(path, Model(1))
    layer = Layer(2, (4, 2))
    load_npz(path, layer, "/l2/")
    np.testing.assert_array_equal(layer.W, Model(1).l2.W)


def test_all_that_does_not_fit_is_named_together(path):
    class Other(Model):
        def serialize(self, s):
            self.l1 = s("l9", None)
            self.l2.W = s("l1/W", self.l2.W)
            self.l2.b = s("l1/b", self.l2.b.astype(np.float64))
            self.iteration = s("iteration", "one")

    save_npz(path, Model(1))
    with pytest.raises(SnapshotError) as caught:
        load_npz(path, Other(2))
    for text in [
        "l1/W: the file has float32 (3, 4), expected float32 (4, 2)",
        "l1/b: the file has float32 (4,), expected float64 (2,)",
        "iteration: the file has a number, expected a string",
        "not in the file: l9",
        "only in the file: l2/W, l2/b, rate, best, training, name, log, order",
    ]:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    "stored, given, message",
    [
        (
            np.ones((1, 4)),
            np.ones((3, 4)),
            r"float64 \(1, 4\), expected float64 \(3, 4\)",
        ),
        (np.ones(3), np.ones(3, "f4"), r"float64 \(3,\), expected float32 \(3,\)"),
        (np.ones(3), 1.0, r"has float64 \(3,\), expected a number"),
        (None, np.ones(3), r"has None, expected float64 \(3,\)"),
        (1, True, "has a number, expected a boolean"),
        ([1], {}, "has a list, expected a dictionary"),
        ("1", 1, "has a string, expected a number"),
    ],
)
def test_another_kind_of_value_is_refused(path, stored, given, message):
    save_npz(path, One(stored))
    with pytest.raises(SnapshotError, match=message):
        load_npz(path, One(given))


def test_without_strict_keys_may_be_missing_on_both_sides(path):
    save_npz(path, Layer(1))

    class Other(Layer):
        def serialize(self, s):
            self.W = s("W", self.W)
            self.c = s("c", 5)

    other = Other(2)
    load_npz(path, other, strict=False)
    assert other.c == 5
    np.testing.assert_array_equal(other.W, Layer(1).W)


@every_device
@pytest.mark.parametrize(
    "ignore", ["l1/W", ["l1/W"], lambda key: key == "l1/W", [lambda key: "1/W" in key]]
)
def test_ignored_names_are_left_alone(path, ignore):
    save_npz(path, Model(1))
    model = Model(2)
    model.l1.W = xp.zeros((9, 9))
    load_npz(path, model, ignore_names=ignore)
    assert model.l1.W.shape == (9, 9)
    xp.testing.assert_array_equal(model.l1.b, Model(1).l1.b)


@every_device
def test_a_failed_load_leaves_the_object_as_it_was(path):
    class Strict(Model):
        def serialize(self, s):
            super().serialize(s)
            self.late = s("late", xp.zeros(3))

    class Refusing(Model):
        def serialize(self, s):
            super().serialize(s)
            if s.loading and self.iteration == 1:
                raise KeyError("wrong vocabulary")

    save_npz(path, Model(1))
    for kind, message in ((Strict, "late"), (Refusing, "KeyError: 'wrong vocabulary'")):
        model = kind(2)
        before, W = model.state(), model.l1.W
        with pytest.raises(SnapshotError, match=message):
            load_npz(path, model)
        assert model.state() == before
        assert model.l1.W is W


def test_a_load_that_is_interrupted_leaves_the_object_as_it_was(path):
    class Interrupted(Model):
        def serialize(self, s):
            super().serialize(s)
            if self.iteration == 1:
                raise KeyboardInterrupt

    save_npz(path, Model(1))
    model = Interrupted(2)
    before = model.state()
    with pytest.raises(KeyboardInterrupt):
        load_npz(path, model)
    assert model.state() == before


def test_a_changed_byte_anywhere_is_found_and_changes_nothing(path):
    save_npz(path, Model(1))
    data = path.read_bytes()
    loaded = Model(1).state()
    for position in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        model = Model(2)
        try:
            load_npz(path, model)
        except SnapshotError:
            assert model.state() == Model(2).state()
        else:
            assert model.state() == loaded  # a date or a version of the zip format


@every_device
def test_metadata_holds_a_vocabulary_and_is_read_alone(path):
    words = [f"word{i}é" for i in range(10_000)]
    save_npz(path, Layer(), metadata={"vocabulary": words, "best": float("nan")})
    manifest = read_manifest(path)
    assert manifest["metadata"]["vocabulary"] == words
    assert xp.isnan(manifest["metadata"]["best"])
    assert manifest["version"] == 1
    assert manifest["environment"]["numpy"] == np.__version__
    assert manifest["environment"]["blas_threads"] >= 1
    assert manifest["arrays"]["W"]["shape"] == [3, 4]


@pytest.mark.parametrize(
    "value, kind, message",
    [
        (object(), TypeError, "x: a object cannot be saved: use arrays, numbers"),
        (b"bytes", TypeError, "x: a bytes cannot be saved"),
        (1j, TypeError, "x: a complex cannot be saved"),
        ({1: 2}, TypeError, "x: the key 1 of a dictionary cannot be saved"),
        ({"$x": 2}, TypeError, r"the key '\$x' of a dictionary cannot be saved"),
        (np.ones(2, complex), TypeError, "x: an array of dtype complex128 cannot be"),
        (np.array(["a"]), TypeError, "x: an array of dtype <U1 cannot be saved"),
        (np.array([None]), TypeError, "x: an array of dtype object cannot be saved"),
    ],
)
def test_what_cannot_be_saved_is_named(path, value, kind, message):
    with pytest.raises(kind, match=message):
        save_npz(path, One(value))
    assert not path.exists()


def test_lists_without_end_cannot_be_saved(path):
    endless: list = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested more than 50 deep"):
        save_npz(path, One(endless))


def test_lists_as_deep_as_can_be_saved_can_be_loaded(path):
    value: list = []
    for _ in range(50):
        value = [value]
    save_npz(path, One(value), metadata={"value": value[0]})
    one = One(None)
    load_npz(path, one)
    assert one.value == value


def test_metadata_too_large_to_load_is_not_saved(path):
    with pytest.raises(ValueError, match=r"too large for a file of .* in arrays"):
        save_npz(path, Layer(), metadata={"ids": [0] * 600_000})
    assert not path.exists()


@pytest.mark.parametrize(
    "key, message",
    [
        ("", "must have 1 to 1000 bytes"),
        ("a" * 1001, "must have 1 to 1000 bytes"),
        ("a/../b", "absolute path, or has an empty"),
        ("a//b", "absolute path, or has an empty"),
        ("a\nb", "not printable"),
        ("a\\b", "or a backslash"),
        ("__manifest__", "it is reserved"),
    ],
)
def test_bad_keys_are_refused(key, message):
    with pytest.raises(ValueError, match=message):
        capture(One(1, key))


@every_device
def test_a_key_is_saved_once_only():
    saver = Saver()
    saver["a"]("b", 1)
    with pytest.raises(ValueError, match="two values are saved under the key 'a/b'"):
        saver("a/b", xp.ones(2))


def test_a_captured_copy_is_independent():
    layer = Layer(1)
    reference, copy = capture(layer), capture(layer, copy=True)
    layer.W[...] = 0
    assert not reference.arrays["W"].any()
    np.testing.assert_array_equal(copy.arrays["W"], Layer(1).W)


def test_a_missing_file_is_a_missing_file(path):
    with pytest.raises(FileNotFoundError):
        load_npz(path, Layer())


@every_device
def test_a_file_of_something_else_is_called_that(path, tmp_path):
    trainer, other = language_trainer(tmp_path), language_trainer(tmp_path)
    trainer.extend(LogReport())
    model = other.updater.get_optimizer().target
    save_npz(path, trainer)
    with pytest.raises(SnapshotError, match="path_in_file='updater/model:main' loads"):
        load_npz(path, model)
    load_npz(path, model, path_in_file="updater/model:main")
    with pytest.raises(SnapshotError, match="must have the extensions it was saved"):
        load_npz(path, other)
    save_npz(path, model)
    with pytest.raises(
        SnapshotError, match="is not a snapshot of a trainer: load it into"
    ):
        load_npz(path, other)
    with pytest.raises(SnapshotError, match="The file is of another object"):
        load_npz(path, One(1))


@every_device
def test_arrays_of_a_model_are_named_before_what_depends_on_them(path):
    class Trained:
        def __init__(self, size):
            self.arrays = {f"optimizer/{k}": xp.zeros(size) for k in range(8)}
            self.arrays["model:main/W"] = xp.zeros(size)

        def serialize(self, s):
            for key, array in self.arrays.items():
                s(key, array)

    save_npz(path, Trained(4))
    text = "npz: model:main/W: the file has .* and 3 more.* the sizes and dtypes it was"
    with pytest.raises(SnapshotError, match=text):
        load_npz(path, Trained(5))


def test_arguments_in_the_wrong_order_are_explained(path):
    for function in (save_npz, load_npz):
        with pytest.raises(TypeError, match="The path comes first, then an object"):
            function(Layer(), str(path))
    with pytest.raises(FileNotFoundError, match="'nowhere/a.npz'"):
        save_npz("nowhere/a.npz", Layer())
