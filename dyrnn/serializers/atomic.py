"""Writing a file so that a crash at any moment leaves the old one or the new one.

The bytes go to a temporary name in the same directory, are synced to the disk, and only
then get their final name; that change of name is synced, too, before the call returns.
After an error the temporary is removed and nothing is tried again: after a failed
``fsync`` the system may have dropped the data and still report success the second time.

All calls go through the functions of ``os``, one by one, so that tests can record them,
make each of them fail, and rebuild what a crash between two of them would leave.
"""

import errno
import io
import os
import secrets
import sys
import time
from contextlib import contextmanager, suppress

from dyrnn import console

_FLAGS = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_BUFFER = 1 << 20
_REPLACE_ATTEMPTS = 10  # on Windows, 0.05 s apart: a virus scanner may hold the file


class _File(io.RawIOBase):
    """A file descriptor to write to. Closing it throws away what is still buffered."""

    def __init__(self, fd):
        self._fd = fd

    def writable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        return os.lseek(self._fd, offset, whence)

    def fileno(self):
        return self._fd

    def write(self, data):
        return os.write(self._fd, data)  # short writes are BufferedWriter's to repeat

    def close(self):
        if not self.closed:
            super().close()
            os.close(self._fd)


def sync(output):
    """Bring what was written to the output so far to the disk."""
    output.flush()
    if sys.platform == "darwin":
        # fsync only reaches the drive's cache there.
        import fcntl

        fcntl.fcntl(output.fileno(), fcntl.F_FULLFSYNC)
    else:
        os.fsync(output.fileno())


def sync_directory(folder):
    """Make the names in ``folder`` durable. Windows has no such call."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync directories
            raise
    finally:
        os.close(fd)


def _replace(temporary, path):
    for attempt in range(_REPLACE_ATTEMPTS):
        try:
            os.replace(temporary, path)
        except PermissionError:
            if os.name != "nt" or attempt == _REPLACE_ATTEMPTS - 1:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def atomic_output(path, check=None):
    """Context: a binary file to write to; after it, the file is there.

    Parameters
    ----------
    path : str or path-like
        Final name. A file that has it already is replaced, never written to.
    check : callable, optional
        Called with the temporary name once the data is on the disk and before it gets
        its final name; an exception keeps it from getting there.

    Raises
    ------
    OSError
        If any step fails. The file called ``path`` is then as it was, unless only the
        last step failed, the sync of the directory: then it is the new one, but a crash
        of the machine may bring back the old one.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(
        folder, f".{name}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
    )
    console.reserve_descriptors()
    try:
        fd = os.open(temporary, _FLAGS, 0o666)
    except OSError as error:
        reason = error.strerror
        if isinstance(error, FileNotFoundError):
            reason = "its directory is not there, or was removed"
        raise OSError(error.errno, reason, os.fspath(path)) from error
    try:
        with _File(fd) as file:
            output = io.BufferedWriter(file, _BUFFER)
            yield output
            sync(output)
        if check is not None:
            check(temporary)
        _replace(temporary, os.path.join(folder, name))
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None and error.errno:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    sync_directory(folder)
