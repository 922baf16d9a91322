"""python -m dyrnn.interchange, and files that tell their layers."""

import os
import sys

import numpy as np
import pytest

import dyrnn
import dyrnn.links as L
from dyrnn import command_line, interchange
from dyrnn.interchange import __main__ as command
from dyrnn.interchange.files import read_safetensors, write_safetensors
from tests.interchange.models import GOLDEN, make, run


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["interchange", *map(str, arguments)])
    command_line.run(command.main)


def test_files_are_shown(monkeypatch, capsys, tmp_path):
    call(monkeypatch, "--show", GOLDEN / "torch.safetensors")
    assert "rnn.weight_ih_l0_reverse  float32 (16, 3)\n" in capsys.readouterr().out
    np.savez(tmp_path / "model.npz", W=np.ones((2, 3)))
    call(monkeypatch, "--show", tmp_path / "model.npz")
    assert capsys.readouterr().out == "W  float64 (2, 3)\n"
    pytest.importorskip("h5py")
    call(monkeypatch, "--show", GOLDEN / "keras gru before.keras")
    shown = capsys.readouterr().out
    assert "layers/gru/cell/vars/0  float32 (3, 12)\n" in shown
    assert "reset_after=False" in shown


def test_files_are_converted(monkeypatch, tmp_path):
    pytest.importorskip("h5py")
    source, keras, back = (
        GOLDEN / "torch.safetensors",
        tmp_path / "model.weights.h5",
        tmp_path / "back.safetensors",
    )
    call(monkeypatch, source, back)
    old, new = read_safetensors(source)[0], read_safetensors(back)[0]
    assert old.keys() == new.keys()
    for name in new:
        if "num_batches" not in name:
            np.testing.assert_array_equal(old[name], new[name], name)
    call(monkeypatch, source, keras)
    first, second = make("torch", "bilstm"), make("torch", "bilstm")
    interchange.load(source, first)
    interchange.load(keras, second, ignore=[])
    ids = np.load(GOLDEN / "torch.npz")["ids"]
    np.testing.assert_allclose(run(first, ids), run(second, ids), rtol=0, atol=1e-6)


def test_the_target_may_be_named_by_its_format(monkeypatch, tmp_path):
    source = tmp_path / "step.onnx"
    interchange.to_onnx(L.LSTM(3, 2), source, np.zeros((1, 3), np.float32))
    call(monkeypatch, source, "--to", "c")
    call(monkeypatch, source, "--to", "numpy")
    copied = tmp_path / "a.safetensors"
    copied.write_bytes((GOLDEN / "torch.safetensors").read_bytes())
    call(monkeypatch, copied, "--to", "npz")
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"step.c", "step.h", "step.py", "step.npz", "a.npz"}


def test_what_a_file_does_not_tell_is_refused(monkeypatch, capsys, tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"a.weight": np.ones((2, 3))}, {})
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert ended.value.code == 1
    assert "a.weight (2, 3): the file does not tell" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, GOLDEN / "torch.safetensors", "--to", "c")
    assert ended.value.code == 1
    assert "only ONNX files of a step what a predictor" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, tmp_path / "a.safetensors")
    assert ended.value.code == 2
    capsys.readouterr()


def test_numbers_in_names_count_as_numbers(monkeypatch, tmp_path):
    pytest.importorskip("h5py")
    source, target = tmp_path / "a.safetensors", tmp_path / "a.weights.h5"
    links = dyrnn.Chain(zero=dyrnn.Sequential(*[L.Linear(3, 3) for _ in range(12)]))
    interchange.save(source, links)  # with the names in the alphabet's order
    with pytest.warns(UserWarning, match="only their order tells apart: 'zero/0' is"):
        call(monkeypatch, source, target)
    other = dyrnn.Sequential(*[L.Linear(3, 3) for _ in range(12)])
    with pytest.warns(UserWarning, match="only their order tells apart: '0' is"):
        interchange.load(target, other)
    for old, new in zip(links.zero, other, strict=True):
        assert (old.W.array == new.W.array).all()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_no_digits_are_lost(monkeypatch, tmp_path, dtype):
    arrays = {
        "out.weight": np.full((2, 3), 1 / 3, dtype),
        "out.bias": np.ones(2, dtype),
    }
    write_safetensors(tmp_path / "a.safetensors", arrays, {})
    call(monkeypatch, tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    for name, array in read_safetensors(tmp_path / "b.safetensors")[0].items():
        assert array.dtype == np.dtype(dtype)
        assert (array == arrays[name]).all()


def test_names_of_files_do_not_reach_the_terminal(monkeypatch, tmp_path, capsys):
    names = "a\x1b[2Jb", "c\nd\r", "ü"
    arrays = {name: np.ones(1) for name in names}
    write_safetensors(tmp_path / "a.safetensors", arrays, {})
    call(monkeypatch, "--show", tmp_path / "a.safetensors")
    shown = capsys.readouterr().out
    assert shown.count("\n") == len(names)
    assert not {"\x1b", "\r"} & set(shown)
    assert "ü" in shown


def refused(monkeypatch, capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, *arguments)
    assert ended.value.code in (1, 2)
    return capsys.readouterr().err


def test_files_of_others_are_not_replaced(monkeypatch, capsys, tmp_path):
    source = tmp_path / "step.onnx"
    interchange.to_onnx(L.LSTM(3, 2), source, np.zeros((1, 3), np.float32))
    weights = tmp_path / "step.safetensors"
    write_safetensors(weights, {"a.weight": np.ones((2, 3)), "a.bias": np.ones(2)}, {})
    before = weights.read_bytes()
    assert "are the same" in refused(monkeypatch, capsys, weights, weights)
    assert weights.read_bytes() == before
    assert "give one of TO" in refused(monkeypatch, capsys, weights, "")
    for suffix, to in ((".py", "numpy"), (".npz", "numpy"), (".c", "c"), (".h", "c")):
        mine = source.with_suffix(suffix)
        mine.write_text("mine")
        assert "is there already" in refused(monkeypatch, capsys, source, "--to", to)
        assert mine.read_text() == "mine"
        others = {path.suffix for path in tmp_path.iterdir()}
        assert others == {".onnx", ".safetensors", suffix}
        mine.unlink()
    for to in ("c", "numpy", "c", "numpy"):  # a predictor's own are
        call(monkeypatch, source, "--to", to)
    source.with_suffix(".npz").unlink()
    call(monkeypatch, source, "--to", "numpy")
    call(monkeypatch, source, source.with_suffix(".c"))
    assert "is there already" in refused(monkeypatch, capsys, weights, "--to", "npz")


@pytest.mark.parametrize("suffix", [".py", ".c"])
def test_a_predictor_is_written_as_a_whole(monkeypatch, tmp_path, suffix):
    model = L.LSTM(3, 2)
    write = {".py": interchange.numpy_module, ".c": interchange.c_module}[suffix]
    write(model, tmp_path / f"p{suffix}")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) == 2
    model.upward.W.array[...] += 1
    real, done = os.fsync, []

    def full(fd):
        done.append(fd)
        if len(done) == n:
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr(os, "fsync", full)
    n = 1
    with pytest.raises(OSError, match="No space"):
        write(model, tmp_path / f"p{suffix}")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
