import os
import subprocess
import sys
import threading

import pytest

from dyrnn.errors import SnapshotError
from dyrnn.serializers import (
    BackgroundWriter,
    NewerVersionError,
    list_snapshots,
    load_npz,
    newest_valid,
    prune,
    remove_leftovers,
    save_npz,
)
from dyrnn.serializers import manifest as manifest_module
from dyrnn.serializers.retention import rename_aside
from tests.serializers.objects import Layer, One


def save(folder, iteration, name=None):
    path = folder / (name or f"snapshot_{iteration}.npz")
    save_npz(path, Layer(iteration), metadata={"iteration": iteration})
    return str(path)


def spoil(path):
    with open(path, "r+b") as file:
        file.seek(200)
        file.write(b"spoiled")


def names(folder):
    return sorted(os.listdir(folder))


# -- The newest ------------------------------------------------------------------------


def test_the_iteration_inside_decides_not_name_or_date(tmp_path):
    for iteration in (100, 9, 20):
        save(tmp_path, iteration)
    assert [s.iteration for s in list_snapshots(tmp_path)] == [9, 20, 100]
    assert newest_valid(tmp_path).iteration == 100
    assert newest_valid(tmp_path).metadata == {"iteration": 100}


def test_other_files_are_no_snapshots(tmp_path):
    save(tmp_path, 5, "emergency_5.npz")
    save_npz(tmp_path / "snapshot_model.npz", Layer())
    manifest_module.np.savez(tmp_path / "snapshot_plain.npz", x=1)
    (tmp_path / "snapshot_folder.npz").mkdir()
    (tmp_path / ".snapshot_9.npz.tmp-1-0").write_bytes(b"")
    before = names(tmp_path)
    assert newest_valid(tmp_path) is None
    assert names(tmp_path) == before


@pytest.mark.parametrize("damage", [spoil, lambda path: os.truncate(path, 100)])
def test_a_damaged_file_is_set_aside_for_the_one_before_it(tmp_path, damage):
    for iteration in (1, 2, 3):
        save(tmp_path, iteration)
    damage(tmp_path / "snapshot_3.npz")
    (tmp_path / "snapshot_3.npz.corrupt").write_bytes(b"an earlier one")
    with pytest.warns(UserWarning, match=r"renamed to snapshot_3.npz.corrupt-2: .*npz"):
        assert newest_valid(tmp_path).iteration == 2
    assert names(tmp_path) == [
        "snapshot_1.npz",
        "snapshot_2.npz",
        "snapshot_3.npz.corrupt",
        "snapshot_3.npz.corrupt-2",
    ]


def test_a_file_of_a_newer_version_is_never_passed_over(tmp_path, monkeypatch):
    save(tmp_path, 1)
    monkeypatch.setattr(manifest_module, "VERSION", 2)
    save(tmp_path, 2)
    monkeypatch.undo()
    with pytest.raises(NewerVersionError, match="has format version 2"):
        newest_valid(tmp_path)
    assert names(tmp_path) == ["snapshot_1.npz", "snapshot_2.npz"]


def test_a_disk_that_fails_to_read_costs_no_file_its_name(tmp_path, monkeypatch):
    for iteration in (1, 2):
        save(tmp_path, iteration)

    def read_array(self, key, expected=None):
        if self.path.endswith("2.npz"):
            try:
                raise OSError(5, "Input/output error")
            except OSError as error:
                raise SnapshotError("reading failed") from error

    monkeypatch.setattr("dyrnn.serializers.SnapshotReader.read_array", read_array)
    with pytest.warns(UserWarning, match="snapshot skipped: reading failed"):
        assert newest_valid(tmp_path).iteration == 1
    assert names(tmp_path) == ["snapshot_1.npz", "snapshot_2.npz"]


# -- Retention -------------------------------------------------------------------------


def test_the_newest_stay_and_each_nth_and_those_named(tmp_path):
    paths = {i: save(tmp_path, i) for i in range(1, 11)}
    gone = prune(tmp_path, n_retains=2, every=4, keep=[paths[3]])
    assert gone == [paths[i] for i in (1, 2, 5, 6, 7)]
    assert [s.iteration for s in list_snapshots(tmp_path)] == [3, 4, 8, 9, 10]


def test_the_only_valid_one_is_never_deleted(tmp_path):
    for iteration in (1, 2, 3):
        save(tmp_path, iteration)
    for iteration in (2, 3):
        spoil(tmp_path / f"snapshot_{iteration}.npz")
    before = names(tmp_path)
    with pytest.warns(UserWarning, match="no snapshot is deleted in .* none is whole"):
        assert prune(tmp_path, n_retains=2) == []
    assert names(tmp_path) == before


def test_nothing_is_deleted_before_the_folder_is_synced(tmp_path, monkeypatch):
    for iteration in (1, 2):
        save(tmp_path, iteration)

    def fail(folder):
        raise OSError("not synced")

    monkeypatch.setattr("dyrnn.serializers.retention.sync_directory", fail)
    with pytest.raises(OSError, match="not synced"):
        prune(tmp_path, n_retains=1)
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("n_retains, every", [(0, None), (-1, None), (1, 0)])
def test_impossible_retention_is_refused(tmp_path, n_retains, every):
    with pytest.raises(ValueError, match=r"n_retains is -?\d+: keep|every is 0: use 1"):
        prune(tmp_path, n_retains, every=every)


def test_leftovers_of_dead_processes_are_removed_and_no_others(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = tmp_path / f".snapshot_1.npz.tmp-{child.pid}-0123abcd"
    impossible = tmp_path / ".snapshot_1.npz.tmp-9999999999-0123abcd"
    alive = tmp_path / f".snapshot_1.npz.tmp-{os.getpid()}-0123abcd"
    others = tmp_path / f".snapshot.tmp-{child.pid}"
    for path in (dead, impossible, alive, others):
        path.write_bytes(b"")
    assert sorted(remove_leftovers(tmp_path)) == sorted([str(dead), str(impossible)])
    assert alive.exists() and others.exists()


# -- The background writer -------------------------------------------------------------


def fail():
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["check", "wait", "close", "submit"])
def test_an_error_of_a_background_save_is_raised_once_by_the_next_call(call):
    writer = BackgroundWriter()
    writer.submit(fail)
    if call == "check":
        writer._job.exception()  # waits for it
    with pytest.raises(OSError, match="No space left"):
        getattr(writer, call)(*([print] if call == "submit" else []))
    writer.close()


def test_checking_does_not_wait_and_closing_does():
    writer, go, done = BackgroundWriter(), threading.Event(), []

    def job():
        go.wait(10)
        done.append(True)

    writer.submit(job)
    writer.check()
    assert not done
    go.set()
    writer.close()
    assert done


def test_a_background_save_writes_the_state_of_its_moment(tmp_path):
    from dyrnn.serializers import capture, write_snapshot

    layer, writer = Layer(1), BackgroundWriter()
    writer.submit(write_snapshot, tmp_path / "a.npz", capture(layer, copy=True))
    layer.W[...] = 0
    writer.close()
    loaded = Layer(2)
    load_npz(tmp_path / "a.npz", loaded)
    assert loaded.W.tobytes() == Layer(1).W.tobytes()


def test_a_signal_in_a_background_save_is_not_lost():
    def interrupted():
        raise KeyboardInterrupt

    writer = BackgroundWriter()
    writer.submit(interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.close()


def test_numbers_of_other_programs_are_no_iterations(tmp_path):
    save_npz(tmp_path / "snapshot_1.npz", One(1), metadata={"iteration": "1"})
    assert list_snapshots(tmp_path) == []


def test_files_set_aside_do_not_pile_up(tmp_path):
    path = tmp_path / "log.jsonl"
    for number in range(12):
        path.write_text(str(number))
        os.utime(path, (number, number))
        rename_aside(str(path), ".bak")
    kept = sorted(int(each.read_text()) for each in tmp_path.iterdir())
    assert kept == list(range(4, 12))
