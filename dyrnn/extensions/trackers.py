"""Logs elsewhere: CSV, TensorBoard, and a protocol for any experiment tracker."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

from dyrnn.extensions.checks import check_file_is_own
from dyrnn.extensions.logs import LogReport
from dyrnn.serializers.atomic import atomic_output
from dyrnn.training import Extension


class Tracker(Extension):
    """Hands the rows of a `LogReport` on, as they come.

    A subclass defines ``write(row)``, and where it needs to ``begin(trainer)`` and
    ``end()``, which is called however training ends. A resumed run hands on the rows
    that follow the snapshot.

    Parameters
    ----------
    log_report : str or LogReport
        The log, or its name in the trainer.

    Examples
    --------
    A tracker with a client library::

        class Tracked(extensions.Tracker):
            def begin(self, trainer):
                self.run = client.start(name=str(trainer.out))

            def write(self, row):
                self.run.log(row, step=row["iteration"])

            def end(self):
                self.run.finish()
    """

    is_saved = False  # a client and its connections are those of one process

    def __init__(self, log_report: str | LogReport = "LogReport") -> None:
        self._log_report: Any = log_report
        self._written = 0
        self._has_begun = False

    def begin(self, trainer):
        """Prepare, before the first row."""

    def write(self, row):
        """Take a row, a dictionary: means by name, ``epoch``, ``iteration``, ..."""
        raise NotImplementedError(f"{type(self).__name__} must define write(self, row)")

    def end(self):
        """Close what ``begin`` opened."""

    def initialize(self, trainer):
        if isinstance(self._log_report, str):
            self._log_report = trainer.get_extension(self._log_report)
        self._written = len(self._log_report.log)
        self.begin(trainer)
        self._has_begun = True

    def __call__(self, trainer):
        self._hand_on()

    def _hand_on(self):
        rows = self._log_report.log
        for row in rows[self._written :]:
            self.write(dict(row))
        self._written = len(rows)

    def finalize(self):
        if self._has_begun:
            self._has_begun = False
            try:
                self._hand_on()
            finally:
                self.end()


class CsvReport(Tracker):
    """Writes the rows of a `LogReport` as a table, which spreadsheets read.

    The file always holds all rows, with a column for each name that one of them has.

    Parameters
    ----------
    filename : str
        In the trainer's ``out``, where no other extension writes it.
    log_report : str or LogReport
        The log, or its name in the trainer.
    """

    def __init__(
        self, filename: str = "log.csv", log_report: str | LogReport = "LogReport"
    ) -> None:
        super().__init__(log_report)
        self.filename = filename
        self._path = ""

    def begin(self, trainer):
        check_file_is_own(self, trainer)
        self._path = os.path.join(trainer.out, self.filename)
        if self._log_report.log:
            self.write({})

    def write(self, row):
        """Write the whole table anew."""
        rows = self._log_report.log
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(dict.fromkeys(k for r in rows for k in r)))
        writer.writeheader()
        writer.writerows(rows)
        with atomic_output(self._path) as file:
            file.write(text.getvalue().encode())


class TensorBoardReport(Tracker):
    """Writes the numbers of each row of a `LogReport` for TensorBoard.

    It needs tensorboardX (``pip install 'dyrnn[tensorboard]'``) or PyTorch with
    tensorboard.

    Parameters
    ----------
    folder : str
        For the files, in the trainer's ``out``.
    log_report : str or LogReport
        The log, or its name in the trainer.
    writer : optional
        Has ``add_scalar(name, value, step)`` and ``close()``; by default a
        ``SummaryWriter`` of either library.
    """

    def __init__(
        self,
        folder: str = "tensorboard",
        log_report: str | LogReport = "LogReport",
        writer: Any = None,
    ) -> None:
        super().__init__(log_report)
        self.folder = folder
        self._given = self._writer = writer

    def begin(self, trainer):
        if self._given is None:
            self._writer = _summary_writer()(os.path.join(trainer.out, self.folder))

    def write(self, row):
        """Write the numbers of a row, at its iteration."""
        for name, value in row.items():
            if isinstance(value, int | float) and name != "iteration":
                self._writer.add_scalar(name, value, row["iteration"])

    def end(self):
        self._writer.close()


def _summary_writer():
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ImportError(
                "TensorBoardReport needs tensorboardX, or PyTorch with tensorboard: "
                "pip install 'dyrnn[tensorboard]'"
            ) from None
    return SummaryWriter
