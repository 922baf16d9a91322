"""One training at a time writes into a directory."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import sys
import warnings

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NAME = ".owner"
_LONGEST = 4096  # bytes read of the file that names the owner
# By the process that owns them, this one or one that it was forked from: locks are
# between processes, and closing a file gives them up.
_owned: dict[str, int] = {}


@contextlib.contextmanager
def owning(out):
    """Own the directory ``out`` while the context lasts.

    The owner is named in a file, which is locked as long as its process lives; a lock
    ends with its process, however that ends. Where a file system has no locks, an
    owner of this machine counts while a process of its number runs, and one of another
    machine is a warning.

    Raises
    ------
    BlockingIOError
        If there is another owner.
    OSError
        If something that is no file has the file's name.
    """
    place, process = os.path.realpath(out), os.getpid()
    path = os.path.join(out, _NAME)
    if _owned.get(place) == process:
        raise _refusal(out, "this very process")
    _owned[place] = process
    try:
        descriptor = _take(out, path)
        try:
            yield
        finally:
            # While it is locked: then nobody has locked another file of this name. In a
            # forked child, it is the parent's.
            with contextlib.suppress(OSError):
                if os.getpid() == process and _is_still(descriptor, path):
                    os.unlink(path)
            os.close(descriptor)
    finally:
        _owned.pop(place, None)


def _take(out, path):
    """Return the descriptor of the locked file that names this process."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_NOFOLLOW", 0)
    while True:
        descriptor = _open(out, path, flags)
        try:
            is_locked = _lock(out, descriptor)
            if _is_still(descriptor, path):
                if not is_locked:
                    _ask(out, descriptor)
                os.ftruncate(descriptor, 0)
                os.write(descriptor, json.dumps(_me()).encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner has just removed it


def _open(out, path, flags):
    """Open the file, which nobody else than a training makes."""
    is_in_the_way = os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode)
    if is_in_the_way:
        raise FileExistsError(
            errno.EEXIST,
            "it is no file, and in the way of the one that a training locks, and names "
            "itself in: remove it",
            path,
        )
    with contextlib.suppress(PermissionError):
        return os.open(path, flags, 0o666)
    try:  # another user's
        _remove_abandoned(out, path)
        return os.open(path, flags, 0o666)
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            "another user trained in this directory, and left the file that says so: "
            "choose another --out, or let that user remove it",
            path,
        ) from None


def _remove_abandoned(out, path):
    """Remove the file, unless its owner still trains, who has locked it."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        if not _lock(out, descriptor, is_shared=True):
            _ask(out, descriptor)
        os.unlink(path)
    finally:
        os.close(descriptor)


def _lock(out, descriptor, is_shared=False):
    """Lock the file; return False where there are no locks."""
    if fcntl is None:
        return False
    try:
        kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
        fcntl.lockf(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise _refusal(out, _describe(_read(descriptor))) from None
        return False
    return True


def _ask(out, descriptor):
    """Go by what the file says of its owner."""
    owner = _read(descriptor)
    if not owner or owner == _me():
        return
    if owner.get("host") != socket.gethostname():
        warnings.warn(
            f"{out} may be in use by {_describe(owner)}: its file system has no locks",
            stacklevel=6,
        )
    elif _is_running(owner.get("process")):
        raise _refusal(out, _describe(owner))


def _is_still(descriptor, path):
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _me():
    return {"host": socket.gethostname(), "process": os.getpid(), "command": sys.argv}


def _read(descriptor):
    """Return what the file says of its owner, if it can be read."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        owner = json.loads(os.read(descriptor, _LONGEST))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _describe(owner):
    process, host = owner.get("process"), owner.get("host")
    command = owner.get("command")
    text = f"process {process!r:.20} on {host!r:.80}"
    return f"{text} ({command!r:.200})" if command else text


def _is_running(process):
    if type(process) is not int or process <= 0 or os.name == "nt":
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _refusal(out, owner):
    return BlockingIOError(
        errno.EAGAIN,
        f"the output directory is in use by {owner}, which would overwrite the files "
        "of this training, and the other way round. Choose another one: "
        "Trainer(..., out=DIRECTORY), or --out DIRECTORY on the command line of the "
        "examples",
        os.fspath(out),
    )
