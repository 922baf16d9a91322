"""Options and exit codes of training scripts."""

import argparse
import json
import os
import signal

import pytest

from dyrnn import command_line, extensions, random
from dyrnn.errors import NonFiniteError, SnapshotError
from dyrnn.serializers import list_snapshots
from tests.training.toys import language_trainer


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (int, "x", "'x' is not a whole number"),
        (int, "2.5", "'2.5' is not a whole number"),
        (float, "x", "'x' is not a number"),
        (float, "nan", "'nan' is not finite"),
        (float, "0.5", "0.5 is less than 1"),
        (int, "9", "9 is more than 8"),
        (int, "1" + "0" * 400, "is too large"),
        (int, "9" * 5000, "is not a whole number"),
    ],
)
def test_numbers_on_the_command_line_are_checked(kind, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        command_line.number(kind, 1, 8)(text)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("broken"), 1),
        (FileNotFoundError("broken"), 1),
        (MemoryError("broken"), 1),
        (OverflowError("broken"), 1),
        (NonFiniteError("broken"), 3),
        (KeyboardInterrupt("broken"), 130),
    ],
)
def test_errors_become_one_line_and_an_exit_code(error, code, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        command_line.run(main)
    assert caught.value.code == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert ("interrupted" if code == 130 else "broken") in lines[0]


def train(out, *arguments, vocabulary="ab", interrupt_at=None, spoil_at=None):
    """Train as a script does, with the options of its command line."""
    parser = argparse.ArgumentParser()
    command_line.add_common_options(parser, str(out))
    parser.add_argument("--keep", type=float, default=0.5)
    args = parser.parse_args(arguments)
    random.seed(args.seed)
    trainer = language_trainer(out, (9, "iteration"), dropout=0.2)

    def interrupt(trainer):
        if trainer.updater.iteration == interrupt_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def spoil(trainer):
        if trainer.updater.iteration == spoil_at:
            trainer.updater.get_optimizer().target.V.array[0, 0] = float("nan")

    trainer.extend(interrupt)
    trainer.extend(spoil)
    trainer.extend(extensions.LogReport(trigger=(2, "iteration")))
    command_line.extend_with_snapshots(
        trainer,
        args,
        (4, "iteration"),
        {"vocabulary": vocabulary},
        settings=("keep",),
        decode=lambda ids: " ".join(f"<{i}>" for i in ids),
    )
    trainer.run()
    return trainer


def saved(out):
    return [each.iteration for each in list_snapshots(out)]


def test_scripts_save_on_a_signal_and_resume(tmp_path, capfd):
    with pytest.raises(SystemExit) as caught:
        train(tmp_path, interrupt_at=6)
    assert caught.value.code == 143
    assert saved(tmp_path) == [4, 6]
    trainer = train(tmp_path, "--resume", "auto")
    assert trainer.updater.iteration == 9
    assert "resumed from" in capfd.readouterr().err


def test_dry_run_ends_the_program_and_writes_nothing(tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as caught:
        train(out, "--dry-run")
    assert caught.value.code == 0 and not out.exists()
    text = capsys.readouterr().out
    assert "nothing was written" in text and "main/loss" in text
    assert not out.exists()


def test_refused_resume_leaves_the_settings(tmp_path):
    train(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    assert json.loads(before)["arguments"]["seed"] == 0
    changes = (
        (["--seed", "3"], "ab", "seed is 0"),
        (["--keep", "0.8"], "ab", "keep is 0.5 in the file and 0.8 here"),
        ([], "ba", "vocabulary is 'ab'"),
    )
    for arguments, vocabulary, message in changes:
        with pytest.raises(SnapshotError, match=message):
            train(tmp_path, "--resume", "auto", *arguments, vocabulary=vocabulary)
    assert (tmp_path / "config.json").read_bytes() == before
    with pytest.warns(UserWarning, match="resumed with a change: seed is 0"):
        train(tmp_path, "--resume=auto", "--seed=3", "--allow-change=seed")


def test_a_snapshot_that_is_not_there_is_named_with_the_way_out(tmp_path):
    with pytest.raises(FileNotFoundError, match="--resume autp: no such file.*'auto'"):
        train(tmp_path, "--resume", "autp")


def replay(capsys, *arguments, code=0, **options):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        train(*arguments, **options)
    assert caught.value.code == code
    return capsys.readouterr()


def test_replay_shows_an_iteration_and_writes_nothing(tmp_path, capsys):
    train(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    said = replay(capsys, tmp_path, "--replay", "7").out
    head, same, *_ = said.splitlines()
    assert head.endswith("replayed from snapshot_iter_00000004.npz (iteration 4)")
    assert same == "the same run: 2 rows of the log came out equal"
    assert "\n    <" in said  # the batch, decoded
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_replay_says_what_is_not_as_in_the_run(tmp_path, capsys, monkeypatch):
    train(tmp_path)
    said = replay(capsys, tmp_path, "--replay=3", "--keep=0.6", "--seed=4", code=1)
    assert "not as in the run: --keep was 0.5, and is 0.6" in said.err
    assert "not as in the run: seed was 0, and is 4" in said.err
    assert "NOT THE SAME RUN" in said.out
    program = tmp_path / "program.py"
    program.write_text("another")
    monkeypatch.setattr("sys.argv", [str(program)])
    assert f"{program} was changed" in replay(capsys, tmp_path, "--replay=3").err
    os.remove(tmp_path / "config.json")
    assert "has no config.json" in replay(capsys, tmp_path, "--replay=3").err


def test_replay_of_many_iterations_writes_figures_elsewhere(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extensions, "save_figure", lambda path, draw, size: True)
    train("run")
    said = replay(capsys, "run", "--replay", "2:5").out
    assert "worst by gradient: iteration" in said
    assert "figures: replay_2-5.csv\npicture: replay_2-5.png" in said
    assert len((tmp_path / "replay_2-5.csv").read_text().splitlines()) == 5
    said = replay(capsys, "run", "--replay", "worst", "--replay-file", "worst.csv").out
    assert said.startswith("worst row of the log: iterations ")
    assert (tmp_path / "worst.csv").exists()
    for name in ("run/figures.csv", "figures.png", "run", "nowhere/figures.csv"):
        with pytest.raises(ValueError, match=f"--replay-file {name}: .*name a"):
            train("run", "--replay=1:2", "--replay-file", name)


def test_the_home_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    parser = argparse.ArgumentParser()
    command_line.add_common_options(parser)
    args = parser.parse_args(["--out=~/run", "--replay-file=~/x.csv"])
    found = [args.out, args.replay_file]
    assert found == [str(tmp_path / "run"), str(tmp_path / "x.csv")]


def test_a_loop_by_hand_has_no_replay():
    parser = argparse.ArgumentParser()
    command_line.add_common_options(parser)
    epochs = command_line.epochs(parser.parse_args(["--replay", "3"]), None)
    with pytest.raises(ValueError, match="this script has a loop of its own"):
        next(epochs)


def test_a_replay_beyond_the_end_fails(tmp_path, capsys):
    train(tmp_path)
    said = replay(capsys, tmp_path, "--replay", "70", code=1)
    assert "the run ended after iteration" in said.out
    assert "nothing to do" not in said.err


def test_a_diverged_run_prints_the_command_that_shows_why(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("sys.orig_argv", ["python", "my train.py", "--keep", "0.5"])
    with pytest.raises(NonFiniteError):
        train(tmp_path, spoil_at=6)
    expected = "to see what happened there: python 'my train.py' --keep 0.5 --replay 7"
    assert expected in capsys.readouterr().err.splitlines()
    said = replay(capsys, tmp_path, "--replay", "7", spoil_at=6).out
    assert "the run ended: in iteration 7: " in said
    assert "parameter /V is not finite since iteration 6, made so after the" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "0 is less than 1"),
        ("5:4", "the range ends before it begins"),
        ("-3", "-3 is less than 1"),
        ("best", "'best': give an iteration, A:B or 'worst'"),
        ("3:", "'3:': give an iteration"),
        (":3", "':3': give an iteration"),
    ],
)
def test_replay_refuses_what_names_no_iterations(tmp_path, capsys, text, message):
    with pytest.raises(SystemExit) as caught:
        train(tmp_path, "--replay", text)
    assert caught.value.code == 2
    assert f"argument --replay: {message}" in capsys.readouterr().err.replace(
        f"{text}: the", "the"
    )
