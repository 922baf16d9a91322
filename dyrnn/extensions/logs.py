"""Means of what was observed: into a file, onto the screen.

`LogReport` collects; `PrintReport` and others show what it collected. The file is JSON
Lines: one object per interval, appended and flushed, so that whatever ends the program
spoils at most the last line. JSON knows no NaN: such a value is ``null``, and the key
``nonfinite`` says which one it was.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from dyrnn import console
from dyrnn.errors import SnapshotError
from dyrnn.extensions.checks import Log, check_file_is_own, names_of_values
from dyrnn.serializers import rename_aside
from dyrnn.serializers.atomic import atomic_output
from dyrnn.training import PRIORITY_READER, get_trigger
from dyrnn.training.triggers import interval_of
from dyrnn.typing import PathLike, TriggerLike


class LogReport(Log):
    """Writes the means of each interval, and keeps them in ``log``.

    The last interval is written when training ends, even if it is not complete; a
    resumed run takes such a row back. After a resume the file holds the rows that it
    would hold without, no matter what was written after the snapshot. A file of
    another run in the way is renamed to ``NAME.bak``, ``NAME.bak-2`` and so on. Of
    ``keys`` that were never observed, a warning at the end names them.

    Parameters
    ----------
    keys : sequence of str, optional
        Which observed values to log; by default all of them.
    trigger : trigger, default (1, "epoch")
        The ends of the intervals; the extension itself runs at every iteration.
    postprocess : callable (row), optional
        May change or add to a row, a dictionary, before it is written; see
        `perplexity`.
    filename : str
        In the trainer's ``out``, where no other extension writes it; None writes none.

    Attributes
    ----------
    log : list of dict
        The rows: means by key, and ``epoch``, ``iteration``, ``elapsed_time``.
    """

    # Before its readers, which have the same default.
    priority = PRIORITY_READER + 1

    def __init__(
        self,
        keys: Sequence[str] | None = None,
        trigger: TriggerLike = (1, "epoch"),
        postprocess: Callable | None = None,
        filename: str = "log.jsonl",
    ) -> None:
        super().__init__(names_of_values(keys, "LogReport: keys"))
        self.log = []
        self._keeps_all = keys is None
        self._trigger = get_trigger(trigger)
        self._postprocess = postprocess
        self.filename = filename
        self._path = None
        self._trainer = None
        self._last = None  # what `finalize` ended: the rows and means before it

    def set_interval(self, trigger):
        self._trigger = interval_of(self, self._trigger, trigger)
        return True

    def initialize(self, trainer):
        self._trainer, self._last = trainer, None
        if self.filename is not None:
            check_file_is_own(self, trainer)
            self._path = os.path.join(trainer.out, self.filename)
            if not self.log and os.path.exists(self._path):
                rename_aside(self._path, ".bak")
            self._write_all()

    def __call__(self, trainer):
        self._take_in(trainer.observation)
        if self._is_over(trainer):
            self._write_row(trainer)
            self._end_interval()
            # On a GPU, this is where losses are looked at.
            check_finite = getattr(trainer.updater, "check_finite", None)
            if check_finite is not None:
                check_finite()

    def _take_in(self, observation):
        if not self._keeps_all:
            self._seen.update(observation)
            observation = observation.only(self._names)
        self._summary.add(observation)

    def _is_over(self, trainer):
        return self._trigger(trainer)

    def _write_row(self, trainer):
        row = self._take_means()
        row["epoch"] = trainer.updater.epoch
        row["iteration"] = trainer.updater.iteration
        row["elapsed_time"] = trainer.elapsed_time
        if self._postprocess is not None:
            self._postprocess(row)
        row = _decode(_encode(row))  # as it is after a resume
        self.log.append(row)
        self._write(row, trainer)

    def _write(self, row, trainer):
        if self._path is None:
            return
        if not os.path.exists(self._path):  # somebody has removed it
            self._write_all()
            return
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(_encode(row))

    def _write_all(self):
        with atomic_output(self._path) as output:
            output.write("".join(map(_encode, self.log)).encode())

    def rows_in(self, folder: PathLike) -> list[dict]:
        """The rows, with an iteration, of the file that this log has in a folder."""
        if self.filename is None:
            return []
        path = os.path.join(folder, self.filename)
        rows = read_log(path) if os.path.exists(path) else []
        return [row for row in rows if isinstance(row.get("iteration"), int)]

    def finalize(self):
        if self._trainer is not None and len(self._summary):
            self._last = len(self.log), self._summary
            self._write_row(self._trainer)
        self._trainer = None
        self._seen.update(*self.log)  # which tell of values before a resume
        super().finalize()

    def serialize(self, s):
        """Save or load the rows, the running means, and the trigger."""
        if s.loading:
            self._last = None
        # Without a row that ended with training, not with its interval.
        rows, summary = self._last or (len(self.log), self._summary)
        # As bytes: a manifest, which is parsed as a whole, holds some thousands only.
        if not s.loading:
            text = "".join(map(_encode, self.log[:rows])).encode()
            s("rows", np.frombuffer(text, np.uint8))
        elif s.has("rows"):
            self.log = _rows(s("rows", None))
        else:
            self.log = [_decode(line) for line in s("log", [])]
        summary.serialize(s["summary"])
        self._trigger.serialize(s["trigger"])


def _rows(array):
    """Return the rows that are saved as the bytes of their lines."""
    if array is None:  # it was refused, and the loader says why
        return []
    try:
        lines = array.astype(np.uint8).tobytes().decode().splitlines()
        return [_decode(line) for line in lines]
    except (ValueError, AttributeError, RecursionError) as error:
        raise SnapshotError(f"the log's rows are damaged: {error}") from error


def _plain(value, depth=0):
    """Return what JSON can hold of a value: of NumPy's numbers Python's, and so on."""
    value = getattr(value, "array", value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each, depth + 1) for each in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    # Of the row itself, `_encode` names those that are not finite.
    is_number = isinstance(value, float) and (depth == 1 or math.isfinite(value))
    return float(value) if is_number else str(value)


def _encode(row):
    row = _plain(row)
    nonfinite = {
        key: str(value)
        for key, value in row.items()
        if isinstance(value, float) and not math.isfinite(value)
    }
    row = {key: None if key in nonfinite else value for key, value in row.items()}
    if nonfinite:
        row["nonfinite"] = nonfinite
    return json.dumps(row, allow_nan=False) + "\n"


def _decode(line):
    row = json.loads(line)
    if not isinstance(row, dict) or not isinstance(row.get("nonfinite", {}), dict):
        raise ValueError(f"it is {line[:40]!r}, not a dictionary of values")
    for key, text in row.pop("nonfinite", {}).items():
        row[key] = float(text)
    return row


def read_log(path: PathLike) -> list[dict]:
    """The rows of a log file, with NaN and infinities as floats.

    A last line that was not written to its end is left out.

    Returns
    -------
    list of dict

    Raises
    ------
    ValueError
        If another line is damaged.
    """
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    rows = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            rows.append(_decode(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{os.fspath(path)}, line {number}: not a row of a log ({error}). "
                "Remove the line, or resume the training from a snapshot, which holds "
                "the rows and writes them again"
            ) from error
    return rows


def perplexity(row: dict) -> None:
    """Add ``perplexity`` and ``val_perplexity`` to a row: exp of the mean loss.

    For `LogReport`'s ``postprocess``. A perplexity too large for a float is infinite.

    Examples
    --------
    >>> row = {"main/loss": 0.0, "validation/main/loss": 1e4}
    >>> perplexity(row)
    >>> row["perplexity"], row["val_perplexity"]
    (1.0, inf)
    """
    for name, key in (
        ("perplexity", "main/loss"),
        ("val_perplexity", "validation/main/loss"),
    ):
        if key in row:
            try:
                row[name] = math.exp(row[key])
            except OverflowError:
                row[name] = math.inf


class PrintReport(Log):
    """Prints the rows of a `LogReport` as a table, as they come.

    A warning at the end names the columns that were in no row.

    Parameters
    ----------
    entries : sequence of str, optional
        The columns; by default all keys of the first row.
    log_report : str or LogReport
        The log to print, or its name in the trainer.
    out : file, optional
        By default the standard output.
    """

    def __init__(
        self,
        entries: Sequence[str] | None = None,
        log_report: str | LogReport = "LogReport",
        out: Any = None,
    ) -> None:
        super().__init__(names_of_values(entries, "PrintReport: entries"))
        self._log_report: Any = log_report
        self._out = out
        self._columns: Any = None
        self._printed = 0

    def initialize(self, trainer):
        if isinstance(self._log_report, str):
            self._log_report = trainer.get_extension(self._log_report)
        # What was printed before a resume is not printed again.
        self._printed = len(self._log_report.log)
        self._columns = None

    def __call__(self, trainer):
        self._print_rows(self._log_report.log)
        if self._columns is not None:
            self._end_interval()

    def finalize(self):
        if not isinstance(self._log_report, str):
            self._print_rows(self._log_report.log)
            self._seen.update(*self._log_report.log)
        super().finalize()

    def _print_rows(self, rows):
        for row in rows[self._printed :]:
            if self._columns is None:
                self._print_header(self._names or list(row))
            self._print(row)
        self._printed = len(rows)

    def _print_header(self, names):
        self._columns = {name: max(len(name), 10) for name in names}
        self._print({name: name for name in names})

    def _print(self, row):
        cells = (
            _cell(row.get(name, "")).ljust(width)
            for name, width in self._columns.items()
        )
        out = sys.stdout if self._out is None else self._out
        if out is not None:
            text = printable("  ".join(cells).rstrip(), out)
            # tqdm's write, because a progress bar may have to make room.
            tqdm.write(text, file=console.forgiving(out))
            console.forgiving(out).flush()


def printable(text: str, out: Any) -> str:
    """The text with escapes for characters that the file ``out`` cannot encode."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _cell(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)
