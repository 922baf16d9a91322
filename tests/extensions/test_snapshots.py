import errno
import os
import signal

import pytest

from dyrnn import kernels, random
from dyrnn.config import config
from dyrnn.errors import SnapshotError
from dyrnn.extensions import snapshot, snapshot_object
from dyrnn.kernels import native
from dyrnn.serializers import list_snapshots, load_npz, read_manifest
from dyrnn.training import Trainer
from dyrnn.training.triggers import MinValueTrigger, OnceTrigger
from tests.arrays import every_device
from tests.training.toys import FakeUpdater, language_trainer, parameters

pytestmark = every_device


def make(out, stop=6, every=1, values=None, **options):
    trainer = Trainer(FakeUpdater(3, values), (stop, "iteration"), out)
    trainer.extend(snapshot(**options), trigger=(every, "iteration"))
    return trainer


def names(folder):
    return sorted(os.listdir(folder))


def iterations(folder, pattern="snapshot*.npz"):
    return [each.iteration for each in list_snapshots(folder, pattern)]


def full(*_args, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_names_are_padded_and_hold_the_iteration(tmp_path):
    make(tmp_path, every=3).run()
    assert names(tmp_path) == [
        "snapshot_iter_00000003.npz",
        "snapshot_iter_00000006.npz",
    ]
    metadata = read_manifest(tmp_path / "snapshot_iter_00000006.npz")["metadata"]
    assert metadata == {"iteration": 6, "epoch": 2}


def test_snapshot_is_taken_each_epoch_by_default(tmp_path):
    trainer = Trainer(FakeUpdater(3), (7, "iteration"), tmp_path)
    trainer.extend(snapshot())
    trainer.run()
    assert iterations(tmp_path) == [3, 6]


@pytest.mark.skipif(not native.is_on(), reason="there is one kind of kernels only")
@pytest.mark.parametrize("is_native", [True, False])
def test_a_run_goes_on_with_the_kernels_it_was_made_with(
    is_native, tmp_path, monkeypatch
):
    config.native = is_native
    trainer = language_trainer(tmp_path, (4, "iteration"))
    trainer.extend(snapshot(), trigger=(2, "iteration"))
    trainer.run()
    path = tmp_path / "snapshot_iter_00000002.npz"
    again = language_trainer(tmp_path / "again", (4, "iteration"))
    again.extend(snapshot(), trigger=(2, "iteration"))
    config.native = not is_native
    load_npz(path, again)
    assert config.native is is_native
    again.run()
    expected, ours = parameters(trainer), parameters(again)
    assert all(ours[key].tobytes() == expected[key].tobytes() for key in expected)
    if is_native:
        monkeypatch.setattr(native, "start", lambda: (None, "there is no compiler"))
        with pytest.warns(UserWarning, match="kernels in C, and here they do not run"):
            load_npz(path, again)


def test_metadata_is_kept_in_the_file(tmp_path):
    make(tmp_path, stop=1, metadata={"words": ["a", "b"]}).run()
    manifest = read_manifest(tmp_path / "snapshot_iter_00000001.npz")
    assert manifest["metadata"]["words"] == ["a", "b"]
    assert manifest["environment"]["numpy"]


def test_newest_and_every_nth_are_retained(tmp_path):
    make(tmp_path, n_retains=2).run()
    assert iterations(tmp_path) == [5, 6]
    trainer = Trainer(FakeUpdater(3), (9, "iteration"), tmp_path / "b")
    trainer.extend(snapshot(n_retains=2, every=4), trigger=(1, "iteration"))
    trainer.run()
    assert iterations(tmp_path / "b") == [4, 8, 9]
    with pytest.raises(ValueError, match="n_retains is 0: keep at least 1, or -1"):
        snapshot(n_retains=0)


def test_best_is_kept_apart(tmp_path):
    losses = [9.0, 3.0, 4.0, 2.0, 5.0, 6.0]
    trainer = make(tmp_path, n_retains=1, values=lambda i: {"loss": losses[i - 1]})
    best = snapshot(filename="best_iter_{.updater.iteration:08}.npz", n_retains=1)
    trainer.extend(best, trigger=MinValueTrigger("loss", (1, "iteration")))
    trainer.run()
    assert iterations(tmp_path) == [6]
    assert iterations(tmp_path, "best*") == [4]


def test_autoload_takes_the_newest(tmp_path, capsys):
    make(tmp_path, stop=4).run()
    trainer = make(tmp_path, autoload=True)
    trainer.run()
    assert trainer.updater.iteration == 6
    loaded = trainer.get_extension("Snapshot").loaded
    assert loaded.endswith("snapshot_iter_00000004.npz")
    assert f"resumed from {loaded}" in capsys.readouterr().err


def test_autoload_without_a_file_begins_anew(tmp_path):
    trainer = make(tmp_path, autoload=True)
    trainer.run()
    assert trainer.get_extension("Snapshot").loaded is None


def test_autoload_falls_back_to_the_newest_whole_file(tmp_path):
    make(tmp_path, stop=4).run()
    newest = tmp_path / "snapshot_iter_00000004.npz"
    newest.write_bytes(newest.read_bytes()[:-20])
    trainer = make(tmp_path, autoload=True)
    with pytest.warns(UserWarning, match=r"renamed to snapshot_iter_00000004.npz.corr"):
        trainer.run()
    loaded = trainer.get_extension("Snapshot").loaded
    assert loaded.endswith("snapshot_iter_00000003.npz")


def test_resumed_run_equals_one_in_a_piece(tmp_path):
    def build(out, stop):
        trainer = language_trainer(out, (stop, "iteration"), dropout=0.3)
        trainer.extend(snapshot(autoload=True), trigger=(3, "iteration"))
        return trainer

    whole = build(tmp_path / "whole", 10)
    whole.run()
    random.seed(0)
    build(tmp_path / "cut", 8).run()
    random.stream("dropout").generator.random(7)
    resumed = build(tmp_path / "cut", 10)
    resumed.run()
    for name, array in parameters(whole).items():
        assert array.tobytes() == parameters(resumed)[name].tobytes()


def test_trigger_of_another_snapshot_is_in_the_file(tmp_path):
    # Both have the same priority; the second one's trigger must be asked first.
    trainer = make(tmp_path, stop=1)
    once = OnceTrigger()
    trainer.extend(snapshot(filename="other.npz"), trigger=once)
    trainer.run()
    values = read_manifest(tmp_path / "snapshot_iter_00000001.npz")["values"]
    assert values["extension_triggers/Snapshot_1/finished"] is True


def test_run_of_another_identity_is_refused(tmp_path):
    make(tmp_path, stop=2, identity={"vocabulary": "ab12", "seed": 0}).run()
    other = make(tmp_path, autoload=True, identity={"vocabulary": "ff", "seed": 0})
    message = "of another run: vocabulary is 'ab12' in the file and 'ff' here"
    with pytest.raises(SnapshotError, match=message):
        other.run()
    assert other.updater.iteration == 0
    same = make(tmp_path, autoload=True, identity={"vocabulary": "ab12", "seed": 0})
    same.run()
    assert same.updater.iteration == 6
    with pytest.raises(SnapshotError, match="vocabulary is 'ab12' in the file and No"):
        make(tmp_path, autoload=True).run()


def test_an_older_snapshot_without_some_settings_is_resumed_with_a_warning(tmp_path):
    make(tmp_path, stop=2, identity={"vocabulary": "ab12"}).run()
    identity = {"vocabulary": "ab12", "keep": 0.5, "cell": "lstm"}
    trainer = make(tmp_path, autoload=True, identity=identity)
    with pytest.warns(UserWarning, match="does not say keep, cell, which must be as"):
        trainer.run()
    assert trainer.updater.iteration == 6


def test_error_leaves_an_emergency_file_that_is_never_loaded(tmp_path):
    def fail(trainer):
        if trainer.updater.iteration == 3:
            raise RuntimeError("broken")

    trainer = make(tmp_path, every=2, snapshot_on_error=True)
    trainer.extend(fail)
    with pytest.raises(RuntimeError, match="broken"):
        trainer.run()
    assert names(tmp_path) == [
        "emergency_snapshot_iter_00000003.npz",
        "snapshot_iter_00000002.npz",
    ]
    emergency = tmp_path / "emergency_snapshot_iter_00000003.npz"
    assert read_manifest(emergency)["metadata"]["emergency_iteration"] == 3
    resumed = make(
        tmp_path, every=2, autoload=True, filename="{.updater.iteration}.npz"
    )
    resumed.run()
    assert resumed.get_extension("Snapshot").loaded.endswith(
        "snapshot_iter_00000002.npz"
    )


def test_error_without_the_option_leaves_nothing(tmp_path):
    trainer = make(tmp_path, every=5)
    trainer.extend(lambda _: 1 / 0, "fail")
    with pytest.raises(ZeroDivisionError):
        trainer.run()
    assert names(tmp_path) == []


def test_condition_may_forbid_saving(tmp_path):
    make(tmp_path, condition=lambda: False).run()
    assert names(tmp_path) == []


def test_other_functions_may_write(tmp_path):
    def write(path, target):
        with open(path, "w") as file:
            file.write(str(target.updater.iteration))

    make(tmp_path, stop=2, savefun=write, filename="{.updater.epoch}.txt").run()
    assert (tmp_path / "0.txt").read_text() == "2"


def test_object_is_saved_alone(tmp_path):
    trainer = language_trainer(tmp_path, (4, "iteration"))
    model = trainer.updater.get_optimizer().target
    trainer.extend(
        snapshot_object(model, "model_{.updater.iteration}.npz"),
        trigger=(2, "iteration"),
    )
    trainer.run()
    assert names(tmp_path) == ["model_2.npz", "model_4.npz"]
    other = language_trainer(tmp_path)
    load_npz(tmp_path / "model_4.npz", other.updater.get_optimizer().target)
    for name, array in parameters(trainer).items():
        assert array.tobytes() == parameters(other)[name].tobytes()


@pytest.mark.parametrize("background", [False, True])
def test_background_files_are_the_same(tmp_path, background):
    trainer = language_trainer(tmp_path, (6, "iteration"))
    trainer.extend(
        snapshot(background=background, n_retains=2, verify=True),
        trigger=(1, "iteration"),
    )
    trainer.run()
    assert iterations(tmp_path) == [5, 6]
    resumed = language_trainer(tmp_path, (6, "iteration"))
    resumed.extend(snapshot(), trigger=(1, "iteration"))
    load_npz(tmp_path / "snapshot_iter_00000005.npz", resumed)
    resumed.run()
    for name, array in parameters(trainer).items():
        assert array.tobytes() == parameters(resumed)[name].tobytes()


@pytest.mark.parametrize("background", [False, True])
def test_failed_save_ends_training(tmp_path, monkeypatch, background):
    monkeypatch.setattr("dyrnn.extensions.snapshots.write_snapshot", full)
    trainer = make(tmp_path, stop=50, every=2, background=background)
    if background:  # in the iteration after, once the thread has ended
        writer = trainer.get_extension("Snapshot")._writer
        trainer.extend(lambda _: writer._job and writer._job.exception(), "wait")
    with pytest.raises(OSError, match="No space left"):
        trainer.run()
    assert trainer.updater.iteration == (3 if background else 2)
    assert names(tmp_path) == []


def test_failed_background_save_is_raised_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("dyrnn.extensions.snapshots.write_snapshot", full)
    with pytest.raises(OSError, match="No space left"):
        make(tmp_path, stop=2, every=2, background=True).run()


@pytest.mark.parametrize("background", [False, True])
def test_training_may_go_on_without_a_save_but_says_so(
    tmp_path, monkeypatch, background
):
    monkeypatch.setattr("dyrnn.extensions.snapshots.write_snapshot", full)
    trainer = make(tmp_path, every=4, background=background, on_failure="warn")
    with pytest.warns(UserWarning, match="a snapshot was not saved: .*No space left"):
        trainer.run()
    assert trainer.updater.iteration == 6
    with pytest.raises(
        ValueError, match="on_failure is 'ignore': use 'raise' or 'warn'"
    ):
        snapshot(on_failure="ignore")


def test_leftovers_of_killed_runs_are_removed(tmp_path):
    leftover = tmp_path / ".snapshot_iter_00000001.npz.tmp-999999999-0123abcd"
    leftover.write_bytes(b"half")
    make(tmp_path, stop=1).run()
    assert not leftover.exists()


CHANGES = ["seed", "threads", "world_size", "matmul_precision"]


@pytest.mark.parametrize("name", CHANGES)
def test_change_of_the_run_is_refused_or_a_warning_by_name(tmp_path, monkeypatch, name):
    make(tmp_path, stop=2, identity={"world_size": 2}).run()
    if name == "seed":
        random.seed(1)
    if name == "threads":
        monkeypatch.setattr(config, "threads", kernels.threads() + 1)
    if name == "matmul_precision":
        monkeypatch.setattr(config, "matmul_precision", "tf32")
    here = {"world_size": 3 if name == "world_size" else 2}
    other = make(tmp_path, autoload=True, identity=here)
    values = "(None|[0-9]+) in the file and ([0-9]+|'tf32') here"
    message = f"{name} is {values}.*--allow-change {name}"
    with pytest.raises(SnapshotError, match=message):
        other.run()
    other = make(tmp_path, autoload=True, identity=here, allow_changes=name)
    with pytest.warns(UserWarning, match=f"resumed with a change: {name} is "):
        other.run()
    assert other.updater.iteration == 6


def test_another_machine_is_a_warning(tmp_path, monkeypatch):
    make(tmp_path, stop=2).run()
    monkeypatch.setattr("dyrnn.serializers.origin.np.__version__", "2.0.0")
    with pytest.warns(UserWarning, match="not bit by bit: numpy is '.*' in the file a"):
        make(tmp_path, autoload=True).run()


def test_manifest_says_what_made_the_file(tmp_path):
    random.seed(5)
    make(tmp_path, stop=1).run()
    environment = read_manifest(tmp_path / "snapshot_iter_00000001.npz")["environment"]
    assert environment["seed"] == 5
    assert environment["threads"] == kernels.threads()
    assert {"numpy", "python", "dyrnn", "blas", "processor", "machine"} <= set(
        environment
    )


def test_snapshots_of_another_run_do_not_pass_for_this_ones(tmp_path, capsys):
    make(tmp_path, stop=6, n_retains=2).run()
    before = (tmp_path / "snapshot_iter_00000006.npz").read_bytes()
    again = make(tmp_path, stop=3, n_retains=2, autoload=False)
    again.run()
    assert iterations(tmp_path) == [2, 3]
    assert "another run, beyond iteration 0" in capsys.readouterr().err
    kept = tmp_path / "snapshot_iter_00000006.npz.bak"
    assert kept.read_bytes() == before
    make(tmp_path, stop=7).run()  # what has the name of a file set aside gets a number
    make(tmp_path, stop=1).run()
    assert (tmp_path / "snapshot_iter_00000006.npz.bak-2").exists()
    assert kept.read_bytes() == before


def test_snapshots_beyond_the_one_resumed_from_are_set_aside(tmp_path):
    make(tmp_path, stop=6).run()
    resumed = make(tmp_path, stop=5, n_retains=2)
    load_npz(tmp_path / "snapshot_iter_00000004.npz", resumed)
    resumed.run()
    assert iterations(tmp_path) == [4, 5]


@pytest.mark.parametrize("best_first", [False, True])
def test_a_resume_keeps_other_snapshots_of_its_run(tmp_path, best_first, capsys):
    def run(stop):
        trainer = Trainer(FakeUpdater(3), (stop, "iteration"), tmp_path)
        best = snapshot(filename="best_iter_{.updater.iteration}.npz", n_retains=1)
        main = snapshot(autoload=True)
        for extension in (best, main) if best_first else (main, best):
            trainer.extend(extension, trigger=(2, "iteration"))
        trainer.run()

    run(2)
    run(3)
    assert iterations(tmp_path, "best*.npz") == [2]
    assert not list(tmp_path.glob("*.bak"))
    err = capsys.readouterr().err
    assert err.count("starting anew") == err.count("resumed from") == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"filename": "{.updater.iteratoin}.npz"}, ValueError, "'iteratoin'"),
        ({"filename": "{:d}.npz"}, ValueError, "is formatted with the trainer"),
        ({"filename": "a/b.npz"}, ValueError, "a name without a directory"),
        ({"filename": None}, TypeError, "filename is None: use a string"),
        ({"savefun": "a.npz"}, TypeError, "the name of the file is filename="),
        ({"target": 3}, TypeError, "with a method serialize"),
    ],
)
def test_arguments_are_checked_before_training(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        make(tmp_path, **arguments).run()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("filename", "options", "of_model"),
    [
        ("snapshot_iter_{.updater.iteration:08}.npz", {}, True),
        ("{.updater.iteration}.npz", {}, True),
        ("{.updater.iteration}.npz", {"n_retains": 2}, False),
    ],
)
def test_names_that_pass_for_those_of_another_are_refused(
    tmp_path, filename, options, of_model
):
    trainer = make(tmp_path, filename=filename, **options)
    target = trainer.updater.get_optimizer("main").target if of_model else None
    trainer.extend(snapshot(target=target), "other")
    with pytest.raises(ValueError, match="the files of .* would pass for those of"):
        trainer.run()
    assert names(tmp_path) == []


def test_two_triggers_may_save_under_one_name(tmp_path):
    trainer = make(tmp_path, every=2)
    trainer.extend(snapshot(), trigger=(3, "iteration"))
    trainer.run()
    assert iterations(tmp_path) == [2, 3, 4, 6]


def test_a_name_may_have_brackets(tmp_path):
    for stop in (3, 5):
        trainer = make(
            tmp_path,
            stop,
            filename="run[1]_{.updater.iteration}.npz",
            n_retains=2,
            autoload=True,
        )
        trainer.run()
    assert names(tmp_path) == ["run[1]_4.npz", "run[1]_5.npz"]
    assert trainer.get_extension("Snapshot").loaded.endswith("run[1]_3.npz")


def test_the_name_may_tell_what_was_observed(tmp_path):
    filename = "snapshot_{.observation[main/loss]:.1f}.npz"
    make(tmp_path, 2, filename=filename, values=lambda i: {"main/loss": 3 / i}).run()
    assert names(tmp_path) == ["snapshot_1.5.npz", "snapshot_3.0.npz"]


def test_the_end_says_what_to_go_on_from(tmp_path, capsys):
    def interrupt(trainer):
        if trainer.updater.iteration == 3:
            os.kill(os.getpid(), signal.SIGINT)

    trainer = make(tmp_path, every=5, on_signal=True)
    trainer.extend(interrupt)
    with pytest.raises(SystemExit):
        trainer.run()
    text = f"to go on from iteration 3: {tmp_path}{os.sep}snapshot_iter_00000003.npz"
    assert text in capsys.readouterr().err
