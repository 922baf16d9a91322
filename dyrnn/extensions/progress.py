"""How far training is, and how fast."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm

from dyrnn import console
from dyrnn.arguments import check_whole
from dyrnn.reporter import report
from dyrnn.training import PRIORITY_READER, PRIORITY_WRITER, Extension

_FORMAT = (
    "{desc}{percentage:3.0f}%|{bar}| {n:.2f}/{total:.6g} {unit} "
    "[{elapsed}<{remaining}{postfix}]"
)


class ProgressBar(Extension):
    """A progress bar on the standard error; silent where that is not a terminal.

    Parameters
    ----------
    training_length : (number, unit), optional
        The end of training; by default that of the stop trigger, if it has one.
    update_interval : int
        Iterations from one update to the next.
    out : file, optional
        Where to draw; a file that is given is drawn to in any case.
    """

    priority = PRIORITY_READER

    def __init__(
        self,
        training_length: tuple[float, str] | None = None,
        update_interval: int = 10,
        out: Any = None,
    ) -> None:
        check_whole("ProgressBar: update_interval", update_interval)
        if update_interval < 1:
            raise ValueError(
                "ProgressBar: update_interval must be at least 1, "
                f"got {update_interval}"
            )
        self._length = training_length
        self._update_interval = update_interval
        self._out = out
        self._bar: Any = None
        self._trainer = None

    def initialize(self, trainer):
        self._trainer = trainer
        total, self._unit = self._training_length(trainer) or (None, "iteration")
        self._bar = tqdm(
            total=total,
            unit=self._unit,
            initial=self._position(trainer),
            bar_format=_FORMAT if total else None,
            file=console.forgiving(sys.stderr if self._out is None else self._out),
            disable=self._is_hidden(),
            dynamic_ncols=True,
        )

    def _is_hidden(self):
        if self._out is not None:
            return False
        return True if sys.stderr is None else None  # None: where it is no terminal

    def _training_length(self, trainer):
        length = self._length
        if length is None and hasattr(trainer.stop_trigger, "get_training_length"):
            length = trainer.stop_trigger.get_training_length()
        return length

    def _position(self, trainer):
        updater = trainer.updater
        return updater.epoch_detail if self._unit == "epoch" else updater.iteration

    def __call__(self, trainer):
        if trainer.updater.iteration % self._update_interval == 0:
            self._draw(trainer)

    def _draw(self, trainer):
        iteration = trainer.updater.iteration
        self._bar.set_postfix_str(f"iteration {iteration}", refresh=False)
        self._bar.update(self._position(trainer) - self._bar.n)

    def finalize(self):
        if self._bar is not None:
            self._draw(self._trainer)
            self._bar.close()
        self._bar = self._trainer = None


class WordsPerSecond(Extension):
    """Reports how many words, or other targets, an update takes in per second.

    The time is that of the updates alone. Its mean over an interval is all words of
    the interval over all seconds.

    Parameters
    ----------
    name : str
        Key to report.
    key : str
        The value whose weight is the number of targets.
    """

    priority = PRIORITY_WRITER

    def __init__(self, name: str = "words_per_second", key: str = "main/loss") -> None:
        self.name = name
        self._key = key

    def __call__(self, trainer):
        words = trainer.observation.weights.get(self._key)
        if words is None:
            raise KeyError(
                f"WordsPerSecond: {self._key!r} was not reported with a weight, the "
                "number of words: use report(values, observer, weight=count)"
            )
        seconds = max(trainer.updater.update_time, 1e-9)
        report({self.name: words / seconds}, weight=seconds)
