"""What a program says to its user, which must never end the work it tells of.

A terminal may be closed and a pipe's reader gone (``| tee log`` and Ctrl-C, which ends
both); a program may have been started without a standard error, and then Python's
``sys.stderr`` is None, and the next file that is opened gets descriptor 2.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import unicodedata
from typing import Any

_is_quiet = False
_UNPRINTED = ("Cc", "Cs")  # control characters, halves of a pair


def harmless(text: str) -> str:
    r"""Return a text of unknown origin with its control characters as escapes.

    A terminal would obey them: they move the cursor, or rename the window.

    Examples
    --------
    >>> harmless("one\x1b[2Jtwo")
    'one\\x1b[2Jtwo'
    """
    return "".join(c if _is_harmless(c) else ascii(c)[1:-1] for c in text)


def _is_harmless(character):
    return character in "\n\t" or unicodedata.category(character) not in _UNPRINTED


def be_quiet() -> None:
    """Let `say` print only where a file is given: of processes alike, one speaks."""
    global _is_quiet
    _is_quiet = True


def say(text: str, file: Any = None) -> None:
    """Print a line on ``file``, by default the standard error, if it can be written."""
    if file is None and not _is_quiet:
        file = sys.stderr
    if file is not None:
        with contextlib.suppress(OSError, ValueError):  # broken, or closed
            print(text, file=file, flush=True)


def say_at_once(text: str) -> None:
    """Write a line to the standard error from the handler of a signal."""
    # Not print: the signal may have come in the middle of one.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.write(sys.stderr.fileno(), f"{text}\n".encode())


def reserve_descriptors() -> None:
    """Open the null device where descriptor 0, 1 or 2 is closed.

    Otherwise a file would get it, and what libraries print would go into the file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number; ours are inherited, as the standard ones are.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class Forgiving:
    """A stream that drops what its file does not take; all else is the file's."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __eq__(self, other):
        return self._file is getattr(other, "_file", other)

    def __hash__(self):
        return hash(self._file)

    def write(self, text):
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()


def forgiving(file: Any) -> Any:
    """Return ``file`` as a `Forgiving` stream; None stays None."""
    return None if file is None else Forgiving(file)


def settle(file: Any) -> None:
    """Write out what a stream still holds, or drop it, if nobody reads it.

    The interpreter would try again at its end, and change the exit code.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = file.fileno()
        try:
            file.flush()
            is_broken = _is_broken(descriptor)
        except OSError:
            is_broken = True
        if is_broken:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)


def _is_broken(descriptor):
    """Whether the other end of a pipe or terminal is gone."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))
