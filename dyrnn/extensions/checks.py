"""What extensions that write what was observed check: their file, and the names.

A file that two of them write holds neither's values, and a misspelt name is one that is
never observed. Nobody knows the names before training, so that is said at its end.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from dyrnn.reporter import DictSummary
from dyrnn.training import Extension


class Log(Extension):
    """Base of extensions that wait for values of certain names.

    A subclass adds what it sees to ``_seen``, and calls `_end_interval` where all
    values should have come.
    """

    _summary_type = DictSummary  # of the values of an interval

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = names
        self._summary = self._summary_type()
        self._seen = set()
        self._is_interval_over = False

    def _take_means(self):
        """Return the means of an interval, and begin another."""
        means = self._summary.compute_mean()
        self._summary = self._summary_type()
        return means

    def _end_interval(self):
        self._is_interval_over = True

    def on_error(self, trainer, error, traceback):
        self._is_interval_over = False  # what did not come is not misspelt

    def finalize(self):
        unseen = ", ".join(name for name in self._names if name not in self._seen)
        if unseen and self._is_interval_over:
            known = ", ".join(sorted(self._seen)) or "none"
            warnings.warn(
                f"{type(self).__name__}: never observed: {unseen}; observed were: "
                f"{known}. Correct the name, or report the value before training ends.",
                stacklevel=2,
            )


def names_of_values(names, parameter):
    """A list of the names of values; a single one is refused, as it has letters."""
    if isinstance(names, str):
        raise TypeError(
            f"{parameter} is {names!r}: give a list of names, such as [{names!r}]"
        )
    return list(names or ())


def check_file_is_own(extension, trainer):
    """Refuse a ``filename`` that another extension of the trainer has, too."""
    owners = [
        name
        for name, other in trainer.extensions.items()
        if getattr(other, "filename", None) == extension.filename
    ]
    if len(owners) > 1:
        raise ValueError(
            f"{' and '.join(owners)} of this trainer write the same file, "
            f"{extension.filename!r}: give each a filename of its own"
        )
