"""The language model example as a user runs it: train, kill, resume, generate."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dyrnn import reporter
from dyrnn.iterators import WindowIterator

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ptb"
KEYS = (
    "epoch iteration elapsed_time main/loss perplexity val_perplexity "
    "words_per_second lr"
).split()


def command(script, *args):
    return [sys.executable, str(EXAMPLE / script), *map(str, args)]


def run(script, *args, code=0):
    done = subprocess.run(
        command(script, *args), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stderr
    return done


def parameters(path):
    with np.load(path) as file:
        names = [name for name in file.files if "manifest" not in name]
        return {name: file[name].tobytes() for name in names}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("ptb") / "out"
    return out, run("train_ptb.py", "--test", "--out", out)


def test_a_run_leaves_log_snapshots_model_and_settings(trained):
    out, done = trained
    assert "test perplexity: " in done.stdout
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert set(KEYS) <= set().union(*rows)
    assert rows[-1]["perplexity"] < rows[0]["perplexity"] / 2
    assert json.loads((out / "config.json").read_text())["arguments"]["test"] is True
    names = {path.name for path in out.iterdir()}
    assert {"model.npz", "loss.png", "snapshot_iter_00000070.npz"} <= names


def test_rows_of_the_log_end_with_the_epochs(trained):
    out, done = trained
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert len(rows) == 20
    validated = [row["iteration"] for row in rows if "val_perplexity" in row]
    assert validated == [41, 81]
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_progress_as_tensorflow_prints_it(tmp_path):
    args = ("--test", "--config", "small", "--progress", "tensorflow")
    text = run("train_ptb.py", *args, "--out", tmp_path).stdout
    lines = text.splitlines()[1:]
    losses = {}
    iteration = 0
    for row in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines()):
        steps, iteration = row["iteration"] - iteration, row["iteration"]
        losses.setdefault(iteration <= 39, []).extend([row["main/loss"]] * steps)
    for epoch, in_first in ((1, True), (2, False)):
        mean = np.exp(np.mean(losses[in_first]))
        assert lines.pop(0) == f"Epoch: {epoch} Learning rate: 1.000"
        for step in range(10 % 3, 39, 39 // 10):
            line = rf"{step / 39:.3f} perplexity: \d+\.\d{{3}} speed: [1-9]\d* wps"
            assert re.fullmatch(line, lines.pop(0))
        assert lines.pop(0) == f"Epoch: {epoch} Train Perplexity: {mean:.3f}"
        valid = rf"Epoch: {epoch} Valid Perplexity: \d+\.\d{{3}}"
        assert re.fullmatch(valid, lines.pop(0))
    assert re.fullmatch(r"Test Perplexity: \d+\.\d{3}", lines.pop(0))
    assert lines == [f"Saving model to {tmp_path / 'model.npz'}."]


def test_progress_comes_at_step_10_of_each_tenth(capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    module = importlib.import_module("tensorflow_progress")
    iterator = WindowIterator(np.arange(2324 * 20 + 1), 20, 1)
    updater = SimpleNamespace(
        get_iterator=lambda: iterator,
        get_optimizer=lambda: SimpleNamespace(lr=1.0),
        is_new_epoch=False,
        epoch=0,
        update_time=0.01,
    )
    report = reporter.Observation()
    trainer = SimpleNamespace(updater=updater, observation=report)
    report.update({"main/loss": 2.0})
    report.weights["main/loss"] = 20
    progress = module.TensorflowProgress()
    for _ in range(len(iterator) - 1):
        progress(trainer)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "Epoch: 1 Learning rate: 1.000"
    assert lines[0] == "0.004 perplexity: 7.389 speed: 2000 wps"
    places = [line.split()[0] for line in lines]
    tenth = len(iterator) // 10
    expected = range(10, len(iterator), tenth)
    assert places == [f"{step / len(iterator):.3f}" for step in expected]


@pytest.mark.parametrize("cell", ["plain", "peephole"])
def test_other_cells_train_and_generate(tmp_path, cell):
    args = ("--test", "--epoch", 1, "--cell", cell, "--out", tmp_path)
    done = run("train_ptb.py", *args, "--forget-bias", 1)
    # Of some 2,100 words; each version of Python has another text.
    assert float(re.search(r"valid perplexity: ([\d.]+)", done.stdout)[1]) < 700
    args = ("--model", tmp_path / "model.npz", "--length", 3)
    assert len(run("generate.py", *args).stdout.split()) <= 3
    assert run("generate.py", *args, "--prime", "the").stdout.startswith("the ")


def test_float16_is_what_the_model_is_stored_in(tmp_path):
    args = ("--test", "--dtype", "float16", "--unit", 2, "--epoch", 1)
    done = run("train_ptb.py", *args, "--out", tmp_path)
    assert float(re.search(r"valid perplexity: ([\d.]+)", done.stdout)[1]) < 1000
    with np.load(tmp_path / "model.npz") as file:
        assert file["embed/W"].dtype == np.float16


def test_the_learning_rate_falls_after_the_flat_epochs(tmp_path):
    args = ("--test", "--epoch", 3, "--flat", 1, "--decay", 0.5, "--lr", 0.8)
    run("train_ptb.py", *args, "--out", tmp_path)
    rows = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    rates = [row["lr"] for row in rows]
    assert rates == pytest.approx([0.8] * 10 + [0.4] * 10 + [0.2] * 10)


def test_step_by_step_training_gives_the_same_model(tmp_path):
    # Without dropout, whose masks are drawn in the order of the calls.
    for mode in ("window", "step"):
        args = ("--test", "--keep", 1, "--dtype", "float64", "--mode", mode)
        run("train_ptb.py", *args, "--out", tmp_path / mode)
    names = [tmp_path / mode / "model.npz" for mode in ("window", "step")]
    with np.load(names[0]) as a, np.load(names[1]) as b:
        for name in a.files:
            if a[name].dtype == np.float64:
                np.testing.assert_allclose(a[name], b[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("delay", [0.0, 0.4])
def test_a_killed_run_resumes_exactly(trained, tmp_path, delay):
    out, _ = trained
    process = subprocess.Popen(
        command("train_ptb.py", "--test", "--out", tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("snapshot_iter_*.npz")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    process.wait()
    done = run("train_ptb.py", "--test", "--resume", "auto", "--out", tmp_path)
    assert "resumed from" in done.stderr
    assert parameters(tmp_path / "model.npz") == parameters(out / "model.npz")


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_ctrl_c_saves_and_exits_with_130(tmp_path):
    process = subprocess.Popen(
        command("train_ptb.py", "--test", "--epoch", 500, "--out", tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("snapshot_iter_*.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


def test_generate_continues_a_prompt_from_the_file_alone(trained):
    out, _ = trained
    args = ("--model", out / "model.npz", "--length", 20, "--temperature", 0.8)
    first = run("generate.py", *args, "--prime", "the meaning of", "--seed", 1).stdout
    again = run("generate.py", *args, "--prime", "the meaning of", "--seed", 1).stdout
    other = run("generate.py", *args, "--prime", "the meaning of", "--seed", 2).stdout
    assert first.startswith("the meaning of ")
    assert first == again != other


def test_an_unknown_word_in_the_prompt_is_named(trained):
    out, _ = trained
    done = run(
        "generate.py", "--model", out / "model.npz", "--prime", "the zyx", code=2
    )
    assert "word 'zyx'" in done.stderr


def test_a_missing_data_file_is_named(tmp_path):
    done = run("train_ptb.py", "--data", tmp_path / "none.zip", code=1)
    assert "none.zip" in done.stderr and len(done.stderr.splitlines()) == 1


def test_batch_size_0_is_a_usage_error():
    done = run("train_ptb.py", "--batchsize", "0", code=2)
    assert "0 is less than 1" in done.stderr


@pytest.mark.parametrize("option", ["--keep", "--gradclip", "--decay"])
def test_zero_is_refused_before_the_text_is_read(option):
    done = run("train_ptb.py", "--data", "none.zip", option, 0, code=2)
    assert f"argument {option}" in done.stderr
    assert "must be more than 0, not 0" in done.stderr


@pytest.mark.parametrize("name", ["none/model.npz", "/none/model.npz", "."])
def test_a_model_that_cannot_be_written_is_found_before_training(tmp_path, name):
    args = ("--data", "none.zip", "--out", tmp_path, "--model", name)
    done = run("train_ptb.py", *args, code=2)
    assert "argument --model: no file can be written at" in done.stderr


def test_the_model_may_be_in_a_directory_that_is_there(tmp_path):
    (tmp_path / "models").mkdir()
    args = ("--out", tmp_path / "out", "--model", tmp_path / "models" / "m.npz")
    run("train_ptb.py", "--test", "--epoch", 1, *args)
    assert (tmp_path / "models" / "m.npz").exists()


def test_a_directory_that_cannot_be_written_to_names_the_option(tmp_path):
    (tmp_path / "file").touch()
    done = run("train_ptb.py", "--test", "--out", tmp_path / "file" / "x", code=1)
    assert "--out DIRECTORY" in done.stderr


def test_a_diverged_run_saves_no_model_and_exits_with_3(tmp_path):
    args = ("--test", "--epoch", 1, "--lr", 1e9, "--out", tmp_path)
    done = run("train_ptb.py", *args, code=3)
    assert "valid perplexity: inf" in done.stdout
    assert "training has diverged" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "model.npz").exists()


def test_what_is_not_a_model_of_this_example_is_refused(trained, tmp_path):
    done = run("generate.py", "--model", tmp_path / "none.npz", code=1)
    assert "none.npz: train one first, with python examples/ptb/" in done.stderr
    snapshot = trained[0] / "snapshot_iter_00000070.npz"
    done = run("generate.py", "--model", snapshot, code=1)
    assert "070.npz is not a model that train_ptb.py saved" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_probability_0_is_refused_before_anything_is_printed(trained):
    args = ("--model", trained[0] / "model.npz", "--top-p", 0)
    done = run("generate.py", *args, code=2)
    assert "argument --top-p: must be more than 0" in done.stderr
    assert done.stdout == ""


def test_a_corrupt_snapshot_is_refused_and_nothing_lost(trained, tmp_path):
    out, _ = trained
    data = bytearray((out / "snapshot_iter_00000070.npz").read_bytes())
    data[len(data) // 2] ^= 1
    bad = tmp_path / "bad.npz"
    bad.write_bytes(data)
    before = sorted(path.name for path in out.iterdir())
    done = run("train_ptb.py", "--test", "--resume", bad, "--out", out, code=1)
    assert "bad.npz" in done.stderr
    assert before == sorted(path.name for path in out.iterdir())
    assert bad.exists()


def test_auto_resume_falls_back_to_the_newest_whole_snapshot(trained, tmp_path):
    out, _ = trained
    run("train_ptb.py", "--test", "--out", tmp_path)
    (tmp_path / "model.npz").unlink()
    newest = max(tmp_path.glob("snapshot_iter_*.npz"))
    newest.write_bytes(newest.read_bytes()[:1000])
    done = run("train_ptb.py", "--test", "--resume", "auto", "--out", tmp_path)
    assert "resumed from" in done.stderr
    assert newest.with_name(newest.name + ".corrupt").exists()
    assert parameters(tmp_path / "model.npz") == parameters(out / "model.npz")
