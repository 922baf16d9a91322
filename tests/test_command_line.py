"""Options and exit codes of training scripts."""

import argparse

import pytest

from dyrnn import command_line
from dyrnn.errors import NonFiniteError


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (int, "x", "'x' is not a whole number"),
        (int, "2.5", "'2.5' is not a whole number"),
        (float, "x", "'x' is not a number"),
        (float, "nan", "'nan' is not finite"),
        (float, "0.5", "0.5 is less than 1"),
        (int, "9", "9 is more than 8"),
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
