"""What a user can get wrong, by number: the class of the error, and what it tells.

1-12 labels and ids, 13-29 shapes and types, 30-49 settings, 50-64 texts, 65-72 files.
Some look wrong and are not: those tests show that they work. Messages hold what was
given and what was expected; where the same message is tested in more detail elsewhere,
this is the index.
"""

import errno
import math
import os
import re
import sys

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import extensions, kernels, optimizers, training
from dyrnn.config import config, using_config
from dyrnn.datasets import TextDataset, Vocabulary, load_corpus, read_text
from dyrnn.datasets.text import MAX_LINE
from dyrnn.errors import DeviceError, NonFiniteError, ShapeError, SnapshotError
from dyrnn.iterators import ParallelSequentialIterator, SerialIterator, WindowIterator
from dyrnn.optimizers.hooks import GradientClipping
from dyrnn.serializers import load_npz, read_manifest, save_npz
from dyrnn.serializers import manifest as manifests
from dyrnn.training import BPTTUpdater, Trainer, triggers
from tests.arrays import every_device, xp
from tests.examples.running import load
from tests.training.toys import FakeUpdater, Recurrent, Scene, language_trainer

NAN, INF = float("nan"), float("inf")


def ids(*values, dtype=np.int32):
    return xp.array(values, dtype)


def floats(*shape, dtype=np.float32):
    return xp.linspace(-1, 1, int(math.prod(shape)), dtype=dtype).reshape(shape)


def cross_entropy(t, x=None, **options):
    return F.softmax_cross_entropy(floats(2, 3) if x is None else x, t, **options)


def lstm(x=(4, 2, 3), dtype=np.float32):
    return L.LSTM(3, 2)(floats(*x, dtype=dtype))


def debugged(function):
    with using_config("debug", True):
        return function()


def twice(loss):
    loss.backward()
    loss.unchain_backward()
    loss.backward()


def edited_in_place():
    x = dyrnn.Variable(floats(3))
    y = F.sum(F.tanh(x) * x)
    x.array[0] = 5
    y.backward()


def uninitialized():
    model = L.Linear(None, 2)
    return model.W.shape


def windows(length=12, batch_size=2, steps=3):
    return WindowIterator(xp.arange(length), batch_size, steps)


def trainer_with(*extended):
    trainer = Trainer(FakeUpdater(), (1, "iteration"))
    for extension in extended:
        trainer.extend(extension)
    return trainer


def best_value_without_metric():
    trigger = triggers.MinValueTrigger("validation/main/loss", (1, "iteration"))
    return trigger(Scene().step(loss=1.0))


# Number: what is wrong, how it is done, the error's class, what its message must say.
# fmt: off
REFUSED = {
    1: ("label >= n_class", lambda: cross_entropy(ids(0, 3)),
        ValueError, r"label 3 at position \(1,\) .*0 to 2 \(3 in all\)"),
    2: ("label < -1", lambda: cross_entropy(ids(-2, 0)),
        ValueError, r"label -2 at position \(0,\) .*0 to 2 \(3 in all\)"),
    5: ("float labels", lambda: cross_entropy(floats(2)),
        TypeError, "labels must be an array of integers, not float32"),
    7: ("id >= V", lambda: L.EmbedID(4, 2)(ids(1, 4)),
        ValueError, r"id 4 at position \(1,\) .*0 to 3 \(4 in all\)"),
    8: ("id -1 without ignore_label", lambda: L.EmbedID(4, 2)(ids(-1)),
        ValueError, r"id -1 at position \(0,\) .*\(4 in all\)"),
    10: ("batches of logits and labels", lambda: cross_entropy(ids(0, 1, 2)),
         ShapeError, r"x has shape \(2, 3\), but t \(3,\)"),
    11: ("all logits -inf", lambda: cross_entropy(ids(0), np.full((1, 3), -np.inf)),
         ValueError, "all 3 logits of row 0 are -inf"),
    17: ("empty list", lambda: L.NStepLSTM(1, 3, 2)(None, None, []),
         ValueError, "xs is an empty list; give at least one sequence"),
    19: ("batch of 0", lambda: lstm((4, 0, 3)),
         ValueError, r"x has shape \(4, 0, 3\): a batch of 0"),
    21: ("dtype object", lambda: F.tanh(floats(3).astype(object)),
         TypeError, "an array of object.*numbers or booleans"),
    22: ("float16 into float32", lambda: lstm(dtype=np.float16),
         TypeError, "x has type float16, but .* float32"),
    23: ("complex", lambda: F.tanh(floats(3).astype(complex)),
         TypeError, "an array of complex128.*real numbers or booleans"),
    26: ("uninitialized parameter", uninitialized,
         RuntimeError, "parameter W has no values yet.*first call"),
    27: ("backward from a vector", lambda: F.tanh(dyrnn.Variable(floats(3))).backward(),
         ValueError, r"backward on a variable of shape \(3,\): only a scalar"),
    28: ("backward twice", lambda: twice(F.sum(F.tanh(dyrnn.Variable(floats(3))))),
         RuntimeError, "graph was cut by unchain_backward; compute it again"),
    29: ("edited in place", lambda: debugged(edited_in_place),
         RuntimeError, "called at .*test_bad_inputs.* was changed in place"),
    30: ("batch_size 0", lambda: SerialIterator([1, 2], 0),
         ValueError, "batch_size must be at least 1, got 0"),
    31: ("batch_size -1", lambda: windows(batch_size=-1),
         ValueError, "batch_size must be at least 1, got -1"),
    32: ("batch_size 2.5", lambda: ParallelSequentialIterator([1, 2, 3], 2.5),
         TypeError, "batch_size must be an integer, got 2.5"),
    33: ("batch_size > data", lambda: SerialIterator([1, 2], 3),
         ValueError, "batch_size 3 is larger than the dataset of 2 examples"),
    34: ("no data to repeat", lambda: SerialIterator([], 1),
         ValueError, "the dataset is empty: there is nothing to repeat"),
    35: ("no data", lambda: SerialIterator([], 1, repeat=False).next(),
         StopIteration, None),
    36: ("bprop_len 0", lambda: BPTTUpdater(windows(), sgd(), 0),
         ValueError, "bprop_len must be at least 1, got 0"),
    37: ("bprop_len > data", lambda: windows(12, 2, 6),
         ValueError, "12 items give 2 tracks of 6, and 6 steps need 14 items"),
    38: ("corpus of 1 token", lambda: ParallelSequentialIterator([4], 1),
         ValueError, "the sequence has 1 items: at least 2"),
    39: ("batch > corpus", lambda: ParallelSequentialIterator([4, 5], 3),
         ValueError, "batch_size 3 is larger than the sequence of 2 items"),
    40: ("lr NaN", lambda: optimizers.SGD(lr=NAN),
         ValueError, "SGD: lr is nan; use a number >= 0"),
    41: ("clip threshold 0", lambda: GradientClipping(0),
         ValueError, "threshold is 0; use a number > 0"),
    42: ("dropout 1", lambda: F.dropout(floats(3), 1.0),
         ValueError, "ratio=1.0, .* at least 0 and less than 1"),
    43: ("trigger of 0", lambda: training.get_trigger((0, "epoch")),
         ValueError, r"the period must be positive, got \(0, 'epoch'\)"),
    44: ("trigger's unit", lambda: training.get_trigger((1, "batch")),
         ValueError, "unit 'batch' is not known; use one of epoch, iteration"),
    45: ("n_retains 0", lambda: extensions.snapshot(n_retains=0),
         ValueError, "n_retains is 0: keep at least 1, or -1 for all"),
    46: ("unknown extension",
         lambda: trainer_with(extensions.LogReport()).get_extension("Log"),
         KeyError, "no extension 'Log'; it has: LogReport"),
    48: ("metric missing", best_value_without_metric,
         KeyError, "'validation/main/loss' was not observed .* Available: loss"),
    50: ("missing file", lambda: load_corpus("nowhere/text.txt"),
         FileNotFoundError, "there is no file or directory 'nowhere/text.txt'"),
    60: ("unknown word", lambda: Vocabulary(["a", "<eos>"]).encode("a\na b\n"),
         ValueError, "word 'b' in line 2 is not in the vocabulary of 2 words.*<unk>"),
    61: ("no <eos>", lambda: Vocabulary(["a"]).encode("a\n"),
         ValueError, "the text has line ends, but the vocabulary of 1 words has no <e"),
}
# More of the same kind.
REFUSED_TOO = [
    ("lr negative", lambda: optimizers.Adam(lr=-1), ValueError, "Adam: lr is -1"),
    ("threshold NaN", lambda: GradientClipping(NAN), ValueError, "threshold is nan"),
    ("threshold -1", lambda: GradientClipping(-1), ValueError, "threshold is -1"),
    ("dropout < 0", lambda: F.dropout(floats(3), -0.1), ValueError, "ratio=-0.1"),
    ("dropout NaN", lambda: F.dropout(floats(3), NAN), ValueError, "ratio=nan"),
    ("period inf", lambda: training.get_trigger((INF, "epoch")), ValueError, "inf"),
    ("windows of 0", lambda: windows(steps=0), ValueError, "steps must be at least 1"),
    ("BPTT over a ring", lambda: BPTTUpdater(
        ParallelSequentialIterator(range(10), 2), sgd(), 6),
     ValueError, "bprop_len is 6, but a pass over the data has 5 steps"),
    ("two lengths", lambda: BPTTUpdater(windows(), sgd(), 4),
     ValueError, "windows of 3 steps, but bprop_len is 4"),
    ("bool labels", lambda: cross_entropy(np.array([True, False])),
     TypeError, "array of integers, not bool"),
    ("complex variable", lambda: dyrnn.Variable(floats(3).astype(complex)),
     TypeError, "an array of complex128.*real numbers or booleans"),
    ("complex into a layer", lambda: lstm(dtype=np.complex64), TypeError, "complex64"),
    ("lr a text", lambda: optimizers.SGD("0.1"), ValueError, "SGD: lr is '0.1'; use a"),
    ("alpha of Adam", lambda: optimizers.Adam(**{"alpha": 0.1}),
     TypeError, "Adam has no argument 'alpha'; it takes: lr, beta1"),
    ("alpha set", lambda: setattr(optimizers.Adam(), "alpha", 0.1),
     AttributeError, "Adam calls its learning rate lr, not alpha"),
    ("seed a text", lambda: dyrnn.random.seed("abc"),
     TypeError, "seed 'abc' is not an integer"),
    ("dropout a text", lambda: F.dropout(floats(3), "0.5"),
     ValueError, "dropout: ratio='0.5'.* a number of at least 0"),
    ("dropout 2 of a stack", lambda: L.NStepLSTM(1, 3, 2, dropout=2.0),
     ValueError, "NStepLSTM: dropout=2.0.* less than 1"),
    ("an array for sequences",
     lambda: L.NStepLSTM(1, 3, 2)(None, None, floats(4, 2, 3)),
     TypeError, r"xs is one array of shape \(4, 2, 3\), but a list of sequences"),
    ("config.dtype int32", lambda: using_config("dtype", np.int32).__enter__(),
     ValueError, "config.dtype is np.float16, .* not <class 'numpy.int32'>"),
    ("config.dtype complex", lambda: using_config("dtype", complex).__enter__(),
     ValueError, "config.dtype is .* not <class 'complex'>"),
    ("config.dtype None", lambda: using_config("dtype", None).__enter__(),
     ValueError, "config.dtype is .* not None"),
    ("objects into a layer", lambda: L.Linear(3, 2)(floats(2, 3).astype(object)),
     TypeError, "an array of object was given; use real numbers"),
]
# fmt: on


def sgd():
    return optimizers.SGD().setup(Recurrent())


@pytest.mark.parametrize("number", REFUSED)
def test_refused(number):
    _, do, kind, message = REFUSED[number]
    with pytest.raises(kind, match=message) as caught:
        do()
    assert caught.type is kind


@pytest.mark.parametrize("case", REFUSED_TOO, ids=lambda case: case[0])
def test_refused_too(case):
    _, do, kind, message = case
    with pytest.raises(kind, match=message):
        do()


def test_every_number_has_a_case():
    functions = [re.match("test_([0-9]{2})_", name) for name in globals()]
    numbers = [int(match[1]) for match in functions if match]
    assert sorted(numbers + list(REFUSED)) == list(range(1, 73))


# -- Labels and ids ------------------------------------------------------------------


@every_device
@pytest.mark.parametrize("normalize", [False, True])
def test_03_all_labels_ignored_give_loss_0_and_gradient_0(normalize):
    x = dyrnn.Variable(floats(2, 3))
    loss = cross_entropy(ids(-1, -1), x, normalize=normalize)
    loss.backward()
    assert float(loss.array) == 0 and not x.grad.any()


@every_device
def test_04_nothing_to_count_is_no_nan():
    assert float(F.accuracy(floats(2, 3), ids(7, 7), ignore_label=7).array) == 0
    log = extensions.LogReport(trigger=(2, "iteration"), filename=None)
    scene = Scene()
    log(scene.step(weight=0.0, loss=NAN))
    log(scene.step(weight=3.0, loss=2.0))
    assert log.log[0]["loss"] == 2


@every_device
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_06_labels_of_any_integer_type_work_but_booleans_do_not(dtype):
    wanted = float(cross_entropy(ids(0, 2)).array)
    assert float(cross_entropy(ids(0, 2, dtype=dtype)).array) == wanted
    with pytest.raises(TypeError, match="array of integers, not bool"):
        cross_entropy(xp.array([True, False]))


@every_device
def test_09_ignored_label_may_be_out_of_range():
    rows = L.EmbedID(4, 2, ignore_label=99)(ids(1, 99)).array
    assert rows[0].any() and not rows[1].any()
    assert xp.isfinite(cross_entropy(ids(0, 255), ignore_label=255).array)


def test_12_nan_among_logits_is_refused_and_found():
    x = floats(1, 3)
    x[0, 1] = NAN
    with pytest.raises(NonFiniteError, match="logits of row 0 hold NaN.*config.debug"):
        cross_entropy(ids(0), x)
    message = r"Log, called at .*test_bad_inputs\.py:[0-9]+, computed NaN"
    with pytest.raises(NonFiniteError, match=message), np.errstate(invalid="ignore"):
        debugged(lambda: F.log(dyrnn.Variable(-floats(3) - 2)))


# -- Shapes and types ----------------------------------------------------------------


def test_13_features_that_do_not_fit_name_the_layer():
    model = dyrnn.Sequential(L.Linear(5, 4), F.tanh, L.Linear(5, 2))
    message = (
        r"Sequential: 1: linear: x has shape \(3, 4\), but W \(2, 5\) takes 5 features"
    )
    with pytest.raises(ShapeError, match=message):
        model(floats(3, 5))


def test_14_batch_of_the_input_must_fit_the_state():
    model = L.LSTM(3, 2)
    model(floats(4, 3))
    message = r"x has shape \(5, 3\), but the state has shape \(4, 2\).*reset_state"
    with pytest.raises(ShapeError, match=message):
        model(floats(5, 3))


@every_device
def test_15_no_steps_leave_the_state():
    model = L.LSTM(3, 2)
    model(floats(4, 2, 3))
    h, c = model.h.array.copy(), model.c.array.copy()
    assert model(floats(0, 2, 3)).shape == (0, 2, 2)
    assert (model.h.array == h).all() and (model.c.array == c).all()


def test_16_sequence_of_length_0_keeps_its_state():
    h = floats(1, 2, 2)
    hy, _, ys = L.NStepLSTM(1, 3, 2)(h, h, [floats(0, 3), floats(4, 3)])
    assert [y.shape for y in ys] == [(0, 2), (4, 2)]
    np.testing.assert_array_equal(hy.array[:, 0], h[:, 0])


@every_device
def test_18_one_step_is_a_window():
    model, x = L.LSTM(3, 2), floats(2, 3)
    step = model(x).array
    model.reset_state()
    xp.testing.assert_allclose(model(x[None]).array[0], step, rtol=1e-6)


@every_device
def test_20_lengths_in_any_order_work():
    model = L.NStepLSTM(1, 3, 2)
    xs = [floats(2, 3), floats(5, 3), floats(1, 3)]
    together = model(None, None, xs)[2]
    for x, y in zip(xs, together, strict=True):
        alone = model(None, None, [x])[2][0]
        xp.testing.assert_allclose(y.array, alone.array, rtol=1e-5, atol=1e-7)


@every_device
def test_24_read_only_and_strided_inputs_work():
    model = L.LSTM(3, 2)
    wanted = model(floats(4, 2, 3)).array
    strided = xp.ascontiguousarray(floats(4, 2, 3).transpose(2, 1, 0)).transpose()
    wide = xp.zeros((4, 2, 6), np.float32)
    wide[..., ::2] = floats(4, 2, 3)
    for x in (strided, wide[..., ::2]):
        x = x.copy() if x.flags.c_contiguous else x
        x.flags.writeable = False
        model.reset_state()
        xp.testing.assert_allclose(model(x).array, wanted, rtol=1e-5, atol=1e-7)


def test_25_numpy_array_for_a_model_on_a_device_names_both():
    model = L.Linear(3, 2)
    model.to_device("@strict")
    with pytest.raises(DeviceError, match="@numpy.*@strict.*to_device"):
        model(floats(2, 3))


# -- Settings ------------------------------------------------------------------------


@every_device
def test_47_name_that_is_taken_gets_a_suffix():
    logs = [extensions.LogReport(filename=None) for _ in range(3)]
    found = trainer_with(*logs).extensions
    assert list(found) == ["LogReport", "LogReport_1", "LogReport_2"]


@pytest.mark.parametrize("arguments", ["--nonsense", "--batchsize x", "--lr nan"])
def test_49_wrong_command_line_ends_with_2(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["train_ptb.py", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        load("ptb/train_ptb.py").main()
    assert caught.value.code == 2
    assert arguments.split()[-1] in capsys.readouterr().err


# -- Texts ---------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    def write(content, name="text.txt"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


LINES = b"a b c\nb c\n" * 40


def corpus_of(path):
    train, valid, test, vocabulary = load_corpus(path)
    return [part.tolist() for part in (train, valid, test)], vocabulary.words


@pytest.mark.parametrize("content", [b"", b" \n\t\n"])
def test_51_blank_file_is_refused(write, content):
    with pytest.raises(ValueError, match=r"text\.txt' is empty or blank"):
        load_corpus(write(content))


def test_52_byte_order_mark_is_dropped(write):
    wanted = corpus_of(write(LINES))
    assert corpus_of(write(b"\xef\xbb\xbf" + LINES)) == wanted


def test_53_crlf_gives_the_ids_of_lf(write):
    wanted = corpus_of(write(LINES))
    assert corpus_of(write(LINES.replace(b"\n", b"\r\n"))) == wanted


def test_54_lone_cr_is_white_space_as_documented(write):
    assert read_text(write(b"a\rb\n")) == "a\rb\n"
    assert Vocabulary.from_text("a\rb\n").encode("a\rb\n").tolist() == [1, 2, 0]
    from dyrnn.datasets import text

    assert "a lone CR, U+2028 or NEL is an ordinary" in text.__doc__


def test_55_last_line_may_lack_its_end(write):
    wanted = corpus_of(write(LINES))
    assert corpus_of(write(LINES[:-1])) == wanted


def test_56_invalid_utf8_is_located(write):
    with pytest.raises(ValueError, match="line 2 is not UTF-8: byte 0xff at byte 4"):
        read_text(write(b"ab\nc\xff\n"))


def test_57_utf16_is_named(write):
    with pytest.raises(ValueError, match="UTF-16 byte order mark; UTF-8 is needed"):
        read_text(write("a b\n".encode("utf-16")))


def test_58_nul_byte_is_located(write):
    with pytest.raises(ValueError, match="line 2 has a NUL byte at byte 4"):
        read_text(write(b"ab\nc\0d\n"))


def test_59_only_lf_ends_a_line(write):
    text = read_text(write("a\u2028b\u0085c\n".encode()))
    assert Vocabulary.from_text(text).tokenize(text) == ["a", "b", "c", "<eos>"]


def test_62_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, kind in ((tmp_path, "a directory"), (tmp_path / "fifo", "a FIFO or a d")):
        with pytest.raises(ValueError, match=f"is {kind}"):
            read_text(path)
    with pytest.raises(ValueError, match="is a FIFO or a device"):
        read_text("/dev/zero")


def test_63_line_over_64_mib_is_a_text_but_no_line_of_a_dataset(write):
    assert MAX_LINE == 64 << 20
    path = write(b"a b\n" + b"a" * (MAX_LINE + 1))
    assert len(read_text(path)) == MAX_LINE + 5
    with pytest.raises(ValueError, match="line 2 is longer than 64 MiB"):
        TextDataset(path)


def test_64_word_that_is_twice_names_both_lines(write):
    with pytest.raises(ValueError, match="word 'b' is in line 2 and again in line 4"):
        Vocabulary.from_file(write(b"a\nb\nc\nb\n"))


# -- Snapshots and output ------------------------------------------------------------


@pytest.fixture
def model(tmp_path):
    model = dyrnn.Sequential(L.Linear(3, 2), F.tanh, L.Linear(2, 1))
    save_npz(tmp_path / "model.npz", model)
    return tmp_path / "model.npz"


def refuse(path, target, *messages):
    before = {name: p.array.copy() for name, p in target.namedparams()}
    with pytest.raises(SnapshotError) as caught:
        load_npz(path, target)
    for message in messages:
        assert re.search(message, str(caught.value)), caught.value
    for name, param in target.namedparams():
        xp.testing.assert_array_equal(param.array, before[name])


@every_device
def test_65_truncated_snapshot_is_refused(model):
    for size in (0, 100, model.stat().st_size - 1):
        model.write_bytes(model.read_bytes()[:size] or b"")
        refuse(model, dyrnn.Sequential(L.Linear(3, 2)), "model.npz")


def identified(out, stop, **options):
    trainer = Trainer(FakeUpdater(), (stop, "iteration"), out)
    trainer.extend(
        extensions.snapshot(autoload=True, **options), trigger=(1, "iteration")
    )
    trainer.run()
    return trainer


@every_device
def test_66_vocabulary_of_the_same_size_in_another_order_is_refused(tmp_path):
    hashes = [Vocabulary(words).sha256 for words in (["a", "b"], ["b", "a"])]
    identified(tmp_path, 1, identity={"vocabulary": hashes[0]})
    message = f"vocabulary is '{hashes[0]}' in the file and '{hashes[1]}' here"
    with pytest.raises(SnapshotError, match=message):
        identified(tmp_path, 2, identity={"vocabulary": hashes[1]})


@every_device
def test_67_parameters_that_do_not_fit_are_named_with_both_shapes(model):
    more = dyrnn.Sequential(L.Linear(3, 2), F.tanh, L.Linear(2, 1), L.Linear(1, 1))
    refuse(model, more, "not in the file: 2/W, 2/b")
    fewer = dyrnn.Sequential(L.Linear(3, 2))
    refuse(model, fewer, "only in the file: 1/W, 1/b")
    wider = dyrnn.Sequential(L.Linear(4, 2), F.tanh, L.Linear(2, 1))
    refuse(model, wider, r"0/W.*\(2, 3\).*\(2, 4\)|0/W.*\(2, 4\).*\(2, 3\)")
    with using_config("dtype", np.float64):
        other = dyrnn.Sequential(L.Linear(3, 2), F.tanh, L.Linear(2, 1))
    refuse(model, other, "0/W", "float32", "float64")


@every_device
def test_68_state_of_another_optimizer_is_refused(tmp_path):
    whole = language_trainer(tmp_path, optimizer=optimizers.Adam())
    save_npz(tmp_path / "s.npz", whole)
    other = language_trainer(tmp_path, optimizer=optimizers.SGD())
    with pytest.raises(SnapshotError, match="optimizer Adam, but this is SGD"):
        load_npz(tmp_path / "s.npz", other)


@every_device
def test_69_newer_format_names_both_versions(model, monkeypatch):
    version = manifests.VERSION
    monkeypatch.setattr(manifests, "VERSION", version + 1)
    save_npz(model, dyrnn.Sequential(L.Linear(3, 2)))
    assert read_manifest(model)["version"] == version + 1
    monkeypatch.setattr(manifests, "VERSION", version)
    message = f"format version {version + 1}, but this dyrnn reads .* to {version}"
    refuse(model, dyrnn.Sequential(L.Linear(3, 2)), message)


@every_device
def test_70_another_world_size_seed_threads_or_batch_is_refused(tmp_path, monkeypatch):
    identified(tmp_path, 1, identity={"world_size": 2})
    with pytest.raises(SnapshotError, match="world_size is 2 in the file and 1 here"):
        identified(tmp_path, 2, identity={"world_size": 1})
    identity = {"world_size": 2}
    dyrnn.random.seed(7)
    with pytest.raises(SnapshotError, match="seed is 0 in the file and 7 here"):
        identified(tmp_path, 2, identity=identity)
    with pytest.warns(UserWarning, match="resumed with a change: seed is 0"):
        identified(tmp_path, 2, identity=identity, allow_changes=["seed"])
    monkeypatch.setattr(config, "threads", kernels.threads() + 1)
    with pytest.raises(SnapshotError, match="threads is .*OPENBLAS_NUM_THREADS"):
        identified(tmp_path, 3, identity=identity)
    save_npz(tmp_path / "batch.npz", language_trainer(tmp_path))
    other = language_trainer(tmp_path)
    other.updater.get_iterator().batch_size = 5
    with pytest.raises(SnapshotError, match="batch_size 4, this iterator has 5"):
        load_npz(tmp_path / "batch.npz", other)


@every_device
def test_71_directory_that_cannot_be_written_to_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    trainer = Trainer(FakeUpdater(), (1, "iteration"), tmp_path / "file")
    with pytest.raises(OSError, match="output directory cannot be written to.*file"):
        trainer.run()
    assert trainer.updater.iteration == 0


@every_device
@pytest.mark.parametrize("background", [False, True])
def test_72_full_disk_ends_training_or_warns(tmp_path, monkeypatch, background):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        identified(tmp_path / "a", 3, background=background)
    with pytest.warns(UserWarning, match="a snapshot was not saved: .*No space left"):
        trainer = identified(
            tmp_path / "b", 3, background=background, on_failure="warn"
        )
    assert trainer.updater.iteration == 3
    assert not list(tmp_path.glob("*/*"))
