"""Means of reported values, to a JSON file and as a table."""

import json
import os
import sys
import warnings

from dyrnn.chainer.reporter import DictSummary
from dyrnn.chainer.serializer import Serializer
from dyrnn.chainer.training.bases import Extension
from dyrnn.chainer.training.triggers.counting import get_trigger
from dyrnn.extensions import logs
from dyrnn.serializers.atomic import atomic_output


class LogReport(logs.LogReport, Extension):
    """Writes means over an interval to a file, as a list in JSON.

    Parameters
    ----------
    keys : list of str, optional
        Which values; by default all.
    trigger : tuple or callable
        The interval.
    postprocess : callable, optional
        May change the dictionary of means before it is logged.
    filename : str
        Name in the trainer's folder, a format of the means; ``"log"`` by default.
    """

    priority = Extension.priority
    initialize, finalize = Extension.initialize, Extension.finalize
    _summary_type = DictSummary

    def __init__(
        self,
        keys=None,
        trigger=(1, "epoch"),
        postprocess=None,
        filename=None,
        *,
        log_name="log",
    ):
        filename = log_name if filename is None else filename
        super().__init__(keys, get_trigger(trigger), postprocess, filename)

    def _take_in(self, observation):
        if not self._keeps_all:
            observation = {k: observation[k] for k in self._names if k in observation}
        self._summary.add(observation)

    def _is_over(self, trainer):
        return trainer.is_before_training or self._trigger(trainer)

    def _take_means(self):
        return {name: float(mean) for name, mean in super()._take_means().items()}

    def _write(self, row, trainer):
        if self.filename is not None:
            path = os.path.join(trainer.out, self.filename.format(**row))
            with atomic_output(path) as output:
                output.write(json.dumps(self.log, indent=4).encode())

    def serialize(self, serializer):
        if hasattr(self._trigger, "serialize"):
            self._trigger.serialize(serializer["_trigger"])
        try:
            self._summary.serialize(serializer["_summary"])
        except KeyError:
            warnings.warn("The statistics are not saved.", stacklevel=2)
        if isinstance(serializer, Serializer):
            serializer("_log", json.dumps(self.log))
        else:
            self.log = json.loads(serializer("_log", ""))


class PrintReport(logs.PrintReport, Extension):
    """Prints the entries of a :class:`LogReport` as a table.

    Parameters
    ----------
    entries : list of str
        The columns.
    log_report : str or LogReport
        Name of an extension of the trainer, or one that only this one calls.
    out : file
    """

    initialize, finalize = Extension.initialize, Extension.finalize

    def __init__(self, entries, log_report="LogReport", out=sys.stdout):
        super().__init__(entries, log_report, out)

    def __call__(self, trainer):
        log_report = self._log_report
        if isinstance(log_report, str):
            log_report = trainer.get_extension(log_report)
        elif isinstance(log_report, LogReport):
            log_report(trainer)
        else:
            raise TypeError(f"log report has a wrong type {type(log_report)}")
        if self._columns is None:
            self._print_header(self._names)
        self._print_rows(log_report.log)

    def _print(self, row):
        cells = []
        for name, width in self._columns.items():
            value = row.get(name, "")
            cells.append(
                (value if isinstance(value, str) else f"{value:g}").ljust(width)
            )
        # What a progress bar has left below is erased first.
        self._out.write("\033[J" + "  ".join(cells) + "\n")
        if hasattr(self._out, "flush"):
            self._out.flush()

    def serialize(self, serializer):
        if isinstance(self._log_report, LogReport):
            self._log_report.serialize(serializer["_log_report"])
