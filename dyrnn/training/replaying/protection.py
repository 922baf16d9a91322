"""A directory that stays as it is, whoever wants to write there."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

from dyrnn.typing import PathLike

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What Python tells its auditors about, and how many of the arguments are paths.
_CHANGES = {
    "os.chmod": 1,
    "os.chown": 1,
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.symlink": 2,
    "os.truncate": 1,
    "os.utime": 1,
}
# Directories, and what in them is open all the same.
_closed: list[tuple[str, str]] = []
_is_watching = False


@contextlib.contextmanager
def untouched(folder: PathLike, scratch: PathLike) -> Iterator[None]:
    """Refuse, while the context lasts, to change files in ``folder``.

    Python's own calls are refused, of all threads; not those within a library in C, nor
    those of other processes. Files may be in ``scratch``, wherever it is.

    Raises
    ------
    PermissionError
        Where somebody opens a file there to write, renames or deletes one.
    """
    global _is_watching
    if not _is_watching:
        sys.addaudithook(_watch)  # for ever: there is no way to take it back
        _is_watching = True
    entry = os.path.realpath(folder), os.path.realpath(scratch)
    _closed.append(entry)
    try:
        yield
    finally:
        _closed.remove(entry)


def _watch(event, args):
    if not _closed:
        return
    if event == "open":
        path, mode, flags = args
        is_change = set(mode or "") & set("wax+") or (flags or 0) & _WRITES
        paths = [path] if is_change else []
    else:
        paths = args[: _CHANGES.get(event, 0)]
        if event == "os.mkdir" and os.path.isdir(paths[0]):
            return  # it will fail, which is often what the caller expects
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike):
            _refuse_inside(os.fsdecode(path))


def _refuse_inside(path):
    # Of a link, what is changed is its name or what it leads to.
    folder, name = os.path.split(os.path.abspath(path))
    places = os.path.realpath(path), os.path.join(os.path.realpath(folder), name)
    for closed, scratch in _closed:
        if any(
            _is_in(place, closed) and not _is_in(place, scratch) for place in places
        ):
            raise PermissionError(
                errno.EPERM,
                f"a replay or dry run leaves {closed} as it is, but something wants "
                "to write there. An extension writes into trainer.out, which is "
                "another directory then; a path of its own it must leave alone: "
                "trainer.is_replay says so, or trainer.is_dry_run",
                path,
            )


def _is_in(path, folder):
    return path == folder or path.startswith(os.path.join(folder, ""))
