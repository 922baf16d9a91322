"""Make each system call of a save fail once: the old file must still load.

``python -m tools.fail_system_calls`` counts the calls of one save, then repeats it once
for each call and each error. A save that failed must raise that very error, leave no
temporary file, and leave a good snapshot: the old one, or, if only the last step failed
(the sync of the directory), the new one. Short writes are no failures: the save must go
on and end well; a short write followed by an error must fail.
"""

import argparse
import errno
import os
import sys
import tempfile
from contextlib import suppress
from unittest import mock

import numpy as np

from dyrnn.serializers import Contents, SnapshotReader, write_snapshot

CALLS = ("open", "write", "fsync", "close", "replace")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT)


class Faults:
    """Stands in for the functions of ``os``, and makes call number ``at`` fail."""

    def __init__(self, at=None, error=None, short=False):
        self.at, self.error, self.short = at, error, short
        self.log = []
        self.real = {name: getattr(os, name) for name in CALLS}

    def __enter__(self):
        functions = {name: self._stand_in(name) for name in CALLS}
        self._patch = mock.patch.multiple(os, **functions)
        self._patch.start()
        return self

    def __exit__(self, *exception):
        self._patch.stop()

    def _stand_in(self, name):
        def call(*args, **options):
            number = len(self.log)
            self.log.append(name)
            if number == self.at and self.short:
                fd, data = args
                self.at, self.short = (number + 1 if self.error else None), False
                return self.real["write"](fd, data[: len(data) // 2])
            if number == self.at and self.error:
                if name == "close":
                    self.real["close"](*args)  # as Linux does before it reports
                raise OSError(self.error, os.strerror(self.error))
            return self.real[name](*args, **options)

        return call


def _contents(number):
    numbers = np.random.default_rng(number).random(3000)
    return Contents({"W": numbers, "b": numbers[:7]}, {"n": number})


def _number_in(path):
    with SnapshotReader(path, require_manifest=True) as reader:
        reader.verify()
        return reader.values["n"]


def run_once(faults, same_name, verify):
    """Save over (or beside) an old file with ``faults``; return what went wrong."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        old = os.path.join(folder, "old.npz")
        new = old if same_name else os.path.join(folder, "new.npz")
        write_snapshot(old, _contents(1))
        raised = None
        with mock.patch("dyrnn.serializers.atomic._BUFFER", 2000), faults:
            try:
                write_snapshot(new, _contents(2), verify=verify)
            except OSError as error:
                raised = error.errno
        if raised != faults.error:
            wrong.append(f"raised {raised}, expected {faults.error}")
        if set(os.listdir(folder)) - {"old.npz", "new.npz"}:
            wrong.append(f"left behind: {os.listdir(folder)}")
        allowed = {2} if raised is None else {1, 2}
        if not same_name and _number_in(old) != 1:
            wrong.append("the old file is not as it was")
        renamed = "replace" in faults.log[: faults.at]
        if raised is not None and not renamed:
            allowed = {1}
        with suppress(FileNotFoundError):
            found = _number_in(new)
            if found not in allowed:
                wrong.append(f"save {found} is under the final name, not {allowed}")
    place = "" if faults.at is None else f"call {faults.at}, "
    return [f"{place}error {faults.error}: {problem}" for problem in wrong]


def search():
    """Return the number of saves that met an error or a short write, and problems."""
    runs, wrong = 0, []
    for same_name in (False, True):
        for verify in (False, True):
            clean = Faults()
            wrong += run_once(clean, same_name, verify)
            for at, name in enumerate(clean.log):
                plans = [Faults(at, error) for error in ERRORS]
                if name == "write":
                    plans += [Faults(at, None, short=True)]
                    plans += [Faults(at, error, short=True) for error in ERRORS]
                for plan in plans:
                    runs += 1
                    wrong += run_once(plan, same_name, verify)
    return runs, wrong


def main():
    """Print the figures; return 1 if anything went wrong."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    runs, wrong = search()
    print(f"{runs} saves with a failing system call, {len(wrong)} problems")
    for problem in wrong[:20]:
        print(f"  {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
