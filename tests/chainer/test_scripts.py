"""Scripts written for Chainer run unedited, and their loss goes down."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a root of datasets with a small text and small images."""
    root = tmp_path_factory.mktemp("data")
    ptb, mnist = root / "pfnet/chainer/ptb", root / "pfnet/chainer/mnist"
    ptb.mkdir(parents=True)
    mnist.mkdir()
    for name, n in (("train", 320), ("valid", 40), ("test", 40)):
        np.savez_compressed(ptb / f"{name}.npz", x=np.arange(n, dtype=np.int32) % 8)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 60).astype(np.uint8)
    x = rng.integers(0, 100, (60, 784)).astype(np.uint8)
    for i in range(20):
        x[np.arange(60), y * 20 + i] = 255
    for name in ("train.npz", "test.npz"):
        np.savez(mnist / name, x=x, y=y)
    return root


def run(name, data, folder, *args, typed=""):
    done = subprocess.run(
        [sys.executable, "-m", "dyrnn.chainer", str(SCRIPTS / name), *args],
        cwd=folder,
        env={**os.environ, "CHAINER_DATASET_ROOT": str(data), "MPLBACKEND": "Agg"},
        input=typed,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "args", "share"),
    [
        ("ptb.py", (), 0.8),
        ("mnist.py", (), 0.97),
        ("seq2seq.py", (), 0.8),
        ("word2vec.py", (), 0.8),
        ("word2vec.py", ("--out-type", "hsm"), 0.8),
        ("parallel.py", (), 0.97),
        ("series.py", (), 0.6),
        ("tagging.py", (), 0.3),
        ("texts.py", ("--model", "rnn"), 0.6),
        ("texts.py", ("--model", "cnn"), 0.6),
        ("texts.py", ("--model", "bow"), 0.6),
        ("trees.py", (), 0.6),
    ],
)
def test_trainer_scripts(name, args, share, data, tmp_path):
    run(name, data, tmp_path, *args)
    log = json.loads((tmp_path / "result/log").read_text())
    assert log[-1]["main/loss"] < share * log[0]["main/loss"]


@pytest.mark.parametrize("name", ["version1.py", "functions.py", "serialization.py"])
def test_scripts_with_loops_of_their_own(name, data, tmp_path):
    first, last = re.findall(r"loss (\S+) (\S+)", run(name, data, tmp_path))[0]
    assert float(last) < 0.8 * float(first)


def test_a_script_goes_on_from_its_snapshot(data, tmp_path):
    run("ptb.py", data, tmp_path, "--epoch", "2")
    log = json.loads((tmp_path / "result/log").read_text())
    snapshot = next((tmp_path / "result").glob("snapshot_iter_*"))
    text = run("ptb.py", data, tmp_path, "-e", "3", "-r", str(snapshot))
    again = json.loads((tmp_path / "result/log").read_text())
    assert again[: len(log) - 1] == log[: len(log) - 1] and len(again) > len(log) - 1
    assert "test perplexity" in text


def test_a_model_is_used_after_its_training(data, tmp_path):
    run("texts.py", data, tmp_path, "--epoch", "2")
    run("texts.py", data, tmp_path, "--resume", "result/snapshot_iter_20")
    lines = "a film with awful plot\nits plot is great\n"
    answers = run("texts.py", data, tmp_path, "--use", typed=lines)
    assert re.findall(r"^\d", answers, re.M) == ["1", "0"]
