"""The sine example learns to run freely, from either kind of batches."""

import re

import numpy as np
import pytest

from dyrnn import random
from tests.examples.running import load, run

RMSE = r"free-running RMSE over 200 steps: ([\d.]+)"


@pytest.fixture(scope="module")
def sine():
    return load("sine/train_sine.py")


def error(text):
    return float(re.search(RMSE, text)[1])


@pytest.mark.parametrize("variant", ["cuts", "offsets"])
def test_the_prediction_follows_the_wave(variant, tmp_path):
    args = ("--variant", variant, "--iteration", "1200")  # of 2000 by default
    text = run("sine/train_sine.py", *args, cwd=tmp_path)
    assert error(text) <= 0.1
    picture = (tmp_path / "result" / "sine" / "prediction.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) < 60_000


def test_a_run_without_training_does_not_follow_the_wave(tmp_path):
    args = (
        "--test",
        "--cycle",
        4,
        "--steps",
        50,
    )  # it predicts longer than the wave is
    assert error(run("sine/train_sine.py", *args, cwd=tmp_path)) > 0.3
    text = run("sine/train_sine.py", "--cycle", 2, cwd=tmp_path, code=2)
    assert "a window of 100 and the value after it do not fit into" in text


def test_a_preset_has_a_linear_layer_on_either_side_and_is_saved(tmp_path):
    text = run("sine/train_sine.py", "--test", "--preset", "5", cwd=tmp_path)
    assert "model saved: " in text
    with np.load(tmp_path / "result" / "sine" / "model.npz") as file:
        shapes = [file[f"{name}/W"].shape for name in ("enter", "rnn/upward", "out")]
    assert shapes == [(5, 1), (20, 5), (1, 5)]


def test_resuming_gives_the_same_prediction(tmp_path):
    common = ("--variant", "offsets", "--unit", "8", "--batchsize", "4")
    args = ("sine/train_sine.py", *common, "--iteration", "20")
    whole = run(*args, cwd=tmp_path)
    for path in (tmp_path / "result" / "sine").glob("snapshot*20.npz"):
        path.unlink()
    assert error(run(*args, "--resume", "auto", cwd=tmp_path)) == error(whole)


def test_offsets_change_with_the_epoch_only(sine):
    iterator = sine.RandomOffsetIterator(np.arange(40.0), 4)
    first = iterator.offsets
    x, t = iterator.next_window(10)
    np.testing.assert_array_equal(x, (first + np.arange(10)[:, None]) % 40)
    np.testing.assert_array_equal(t, (x + 1) % 40)
    assert iterator.is_new_epoch and iterator.offsets is first
    x, _ = iterator.next_window(5)
    assert (iterator.offsets != first).any() and not iterator.is_new_epoch
    np.testing.assert_array_equal(x[0], (iterator.offsets + 10) % 40)


def test_cuts_are_windows_with_the_next_values(sine):
    cuts = sine.RandomCuts(np.arange(10), 3)
    assert len(cuts) == 7
    np.testing.assert_array_equal(cuts[6], ([6, 7, 8], [7, 8, 9]))


def test_a_value_is_predicted_from_the_last_ones_alone(sine):
    model, primer = sine.SineRNN(4, 0.1, True), np.float32([0.1, 0.3, 0.2])
    found = sine.reread(model, primer, 3)
    values = list(primer)
    for step in range(3):
        expected = sine.predict(model, np.float32(values[-3:]), 1)
        np.testing.assert_allclose(found[step], expected[0], rtol=1e-6)
        values.append(found[step])


def test_noise_is_for_training_alone(sine):
    model = sine.SineRNN(4, noise=0.5)
    x = np.zeros((5, 2, 1), np.float32)

    def outputs():
        model.reset_state()
        random.seed(1)
        return model(x).array

    noisy = outputs()
    with sine.dyrnn.using_config("train", False):
        clean = outputs()
    assert (noisy[:, 0] != noisy[:, 1]).all()
    np.testing.assert_array_equal(clean[:, 0], clean[:, 1])
