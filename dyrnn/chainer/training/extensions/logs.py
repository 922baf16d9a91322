"""Means of reported values, to a JSON file and as a table."""

import json
import os
import sys
import warnings

from dyrnn.chainer.reporter import DictSummary
from dyrnn.chainer.serializer import Serializer
from dyrnn.chainer.training.bases import Extension
from dyrnn.chainer.training.triggers.counting import get_trigger
from dyrnn.chainer.utils import tempdir


class LogReport(Extension):
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

    def __init__(
        self,
        keys=None,
        trigger=(1, "epoch"),
        postprocess=None,
        filename=None,
        *,
        log_name="log",
    ):
        self._keys = keys
        self._trigger = get_trigger(trigger)
        self._postprocess = postprocess
        self._log = []
        self._log_name = log_name if filename is None else filename
        self._init_summary()

    def __call__(self, trainer):
        observation = trainer.observation
        if self._keys is not None:
            observation = {k: observation[k] for k in self._keys if k in observation}
        self._summary.add(observation)
        if not (trainer.is_before_training or self._trigger(trainer)):
            return
        means = self._summary.compute_mean()
        stats = {name: float(value) for name, value in means.items()}
        stats["epoch"] = trainer.updater.epoch
        stats["iteration"] = trainer.updater.iteration
        stats["elapsed_time"] = trainer.elapsed_time
        if self._postprocess is not None:
            self._postprocess(stats)
        self._log.append(stats)
        if self._log_name is not None:
            self._write(self._log_name.format(**stats), trainer.out)
        self._init_summary()

    def _write(self, name, folder):
        with tempdir(prefix=name, dir=folder) as temporary:
            path = os.path.join(temporary, "log.json")
            with open(path, "w") as file:
                json.dump(self._log, file, indent=4)
            os.replace(path, os.path.join(folder, name))

    @property
    def log(self):
        """All entries so far."""
        return self._log

    def serialize(self, serializer):
        if hasattr(self._trigger, "serialize"):
            self._trigger.serialize(serializer["_trigger"])
        try:
            self._summary.serialize(serializer["_summary"])
        except KeyError:
            warnings.warn("The statistics are not saved.", stacklevel=2)
        if isinstance(serializer, Serializer):
            serializer("_log", json.dumps(self._log))
        else:
            self._log = json.loads(serializer("_log", ""))

    def _init_summary(self):
        self._summary = DictSummary()


class PrintReport(Extension):
    """Prints the entries of a :class:`LogReport` as a table.

    Parameters
    ----------
    entries : list of str
        The columns.
    log_report : str or LogReport
        Name of an extension of the trainer, or one that only this one calls.
    out : file
    """

    def __init__(self, entries, log_report="LogReport", out=sys.stdout):
        self._entries = entries
        self._log_report = log_report
        self._out = out
        self._log_len = 0
        self._widths = [max(10, len(entry)) for entry in entries]
        cells = [f"{e:{w}}" for e, w in zip(entries, self._widths, strict=True)]
        self._header = "  ".join(cells) + "\n"

    def __call__(self, trainer):
        if self._header:
            self._out.write(self._header)
            self._header = None
        log_report = self._log_report
        if isinstance(log_report, str):
            log_report = trainer.get_extension(log_report)
        elif isinstance(log_report, LogReport):
            log_report(trainer)
        else:
            raise TypeError(f"log report has a wrong type {type(log_report)}")
        for observation in log_report.log[self._log_len :]:
            self._out.write("\033[J")  # what a progress bar has left below
            self._print(observation)
        self._log_len = max(self._log_len, len(log_report.log))

    def serialize(self, serializer):
        if isinstance(self._log_report, LogReport):
            self._log_report.serialize(serializer["_log_report"])

    def _print(self, observation):
        for entry, width in zip(self._entries, self._widths, strict=True):
            if entry in observation:
                self._out.write(f"{observation[entry]:<{width}g}  ")
            else:
                self._out.write(" " * (width + 2))
        self._out.write("\n")
        if hasattr(self._out, "flush"):
            self._out.flush()
