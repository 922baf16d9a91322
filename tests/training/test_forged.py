"""Snapshots with right hashes and wrong contents."""

import json

import pytest

import dyrnn
from dyrnn.errors import SnapshotError
from dyrnn.serializers import capture, load_npz, save_npz, write_snapshot
from tests.arrays import every_device
from tests.training.toys import language_trainer
from tools import forge_snapshots, fuzz_data


def test_forged_snapshots_are_refused_and_leave_the_process_intact():
    for make in (forge_snapshots.make_trainer, forge_snapshots.make_full_trainer):
        outcomes, problems, _ = forge_snapshots.search(40, seed=5, make=make)
        assert problems == []
        assert outcomes["refused"] > 20


@pytest.mark.parametrize("kind", fuzz_data.KINDS)
def test_damaged_data_and_models_raise_documented_errors(kind):
    outcomes, problems, _ = fuzz_data.search(kind, 12)
    assert problems == []
    assert outcomes["refused"]


@every_device
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("updater/iteration", None),
        ("updater/iteration", 2.5),
        ("updater/optimizer:main/t", True),
        ("updater/optimizer:main/lr", 10**400),
        ("updater/optimizer:main/frozen", [[]]),
        ("updater/settings", {}),
        ("updater/settings", {"main": {"frozen": 5}}),
        ("observation/values", {"main/loss": 10**400}),
        ("observation/weights", {"main/loss": "x"}),
        ("random/names", [""]),
        ("random/names", ["\0"]),
        ("random/seed", "-1"),
    ],
)
def test_a_refused_value_is_named_and_files_are_written_afterwards(
    tmp_path, key, value
):
    trainer = language_trainer(tmp_path, (2, "iteration"), dropout=0.2)
    trainer.run()
    contents = capture(trainer)
    assert key in contents.values
    contents.values[key] = value
    write_snapshot(tmp_path / "forged.npz", contents)
    text = json.dumps(capture(trainer).values["random/names"])
    with pytest.raises(SnapshotError, match=r"forged\.npz"):
        load_npz(tmp_path / "forged.npz", trainer)
    assert json.dumps(capture(trainer).values["random/names"]) == text
    save_npz(tmp_path / "good.npz", trainer)
    load_npz(tmp_path / "good.npz", trainer)


@every_device
def test_streams_of_a_refused_file_are_forgotten(tmp_path):
    dyrnn.random.seed(1)
    mine = dyrnn.random.stream("mine")
    trainer = language_trainer(tmp_path, (2, "iteration"))
    contents = capture(trainer)
    state = contents.values["random/mine/state"]
    contents.values["random/names"] = ["mine", "theirs"]
    contents.values["random/theirs/state"] = state[:3]
    write_snapshot(tmp_path / "forged.npz", contents)
    with pytest.raises(SnapshotError, match="theirs"):
        load_npz(tmp_path / "forged.npz", trainer)
    assert "theirs" not in capture(trainer).values["random/names"]
    assert dyrnn.random.stream("mine") is mine
