"""python -m dyrnn.interchange, and files that tell their layers."""

import sys

import numpy as np
import pytest

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
