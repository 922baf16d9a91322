"""Options and exit codes of training scripts."""

import argparse
import json
import os
import signal

import pytest

from dyrnn import command_line, random
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


def train(out, *arguments, vocabulary="ab", interrupt_at=None):
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

    trainer.extend(interrupt)
    command_line.extend_with_snapshots(
        trainer,
        args,
        (4, "iteration"),
        {"vocabulary": vocabulary},
        settings=("keep",),
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
