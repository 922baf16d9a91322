"""Reading text files: strict about what is read, and clear about what is wrong.

Text is UTF-8. One byte order mark at the start is dropped, CRLF is read as LF, and
lines end at LF only: a lone CR, U+2028 or NEL is an ordinary (white space) character.
What cannot be text, such as a NUL byte, is refused with its line.
"""

import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dyrnn.datasets.dataset import Dataset
from dyrnn.typing import PathLike

MAX_LINE = 64 * 2**20  # bytes; a file with a longer line is not one of lines
_BOM = b"\xef\xbb\xbf"


def open_text(path):
    """Open a regular file for reading bytes; refuse anything else.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is a directory, a FIFO or a device.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {os.fspath(path)!r}") from None
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a FIFO or a device"
        raise ValueError(f"{os.fspath(path)!r} is {kind}; a text file is needed")
    return open(path, "rb")


def read_text(path: PathLike) -> str:
    """Return the text of a file, with LF line ends.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is not a text file in UTF-8, or it is blank.
    """
    with open_text(path) as file:
        return read_stream(file, os.fspath(path))


def read_stream(file, name):
    """Return the text of a binary file object; ``name`` is for error messages.

    A line may be as long as it likes: some texts are one.
    """
    text = "".join(decoded for _, _, decoded in lines_of(file, name, is_limited=False))
    if not text or text.isspace():
        raise ValueError(f"{name!r} is empty or blank: there is no text to read")
    return text


def lines_of(file, name, is_limited=True):
    """Yield ``(offset, size, line)`` of each line, checked; sizes are in bytes."""
    offset = 0
    number = 0
    while raw := file.readline(MAX_LINE + 1 if is_limited else -1):
        number += 1
        size = len(raw)
        if number == 1:
            if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise ValueError(
                    f"{name!r} starts with a UTF-16 byte order mark; UTF-8 is needed. "
                    "Convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW"
                )
            raw = raw.removeprefix(_BOM)
        if is_limited and size > MAX_LINE:
            raise ValueError(
                f"{name!r}, line {number} is longer than {MAX_LINE >> 20} MiB; lines "
                "end with a line feed"
            )
        start = offset + size - len(raw)
        yield offset, size, _decode(raw, name, number, start)
        offset += size


def _decode(raw, name, number, start):
    if b"\0" in raw:
        raise ValueError(
            f"{name!r}, line {number} has a NUL byte at byte {start + raw.index(0)}: "
            "this is not a text file"
        )
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name!r}, line {number} is not UTF-8: byte 0x{raw[error.start]:02x} at "
            f"byte {start + error.start} of the file ({error.reason})"
        ) from error
    return line[:-2] + "\n" if line.endswith("\r\n") else line


class TextDataset(Dataset):
    """The lines of a text file, or of several with the same number of lines.

    An example is one line with its line feed, or a tuple of the corresponding lines of
    all files. Only the places of the lines are kept in memory; the files must not
    change meanwhile. Threads may share it, and it can be pickled.

    Parameters
    ----------
    paths : path or sequence of paths
    filter_func : callable, optional
        ``filter_func(*lines)`` is True for the examples to keep.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or no UTF-8 text, or if the numbers of lines differ.
    """

    def __init__(
        self, paths: PathLike | Sequence[PathLike], filter_func: Callable | None = None
    ) -> None:
        paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if not paths:
            raise ValueError("TextDataset needs at least one file")
        self.paths = [os.fspath(Path(path).absolute()) for path in paths]
        found = [self._index(path) for path in self.paths]
        counts = [len(places) for places, _ in found]
        if len(set(counts)) > 1:
            raise ValueError(f"the files have different numbers of lines: {counts}")
        self._places = np.stack([places for places, _ in found])
        self._bom = [bom for _, bom in found]
        self._files = None
        self._lock = threading.Lock()
        if filter_func is not None:
            kept = [i for i in range(len(self)) if filter_func(*self._lines(i))]
            self._places = self._places[:, kept]

    @staticmethod
    def _index(path):
        with open_text(path) as file:
            places = [(offset, size) for offset, size, _ in lines_of(file, path)]
            file.seek(0)
            bom = file.read(3) == _BOM
        return np.array(places, dtype=np.int64).reshape(-1, 2), bom

    def __len__(self) -> int:
        return self._places.shape[1]

    def get_example(self, i: int) -> str:
        lines = self._lines(i)
        return lines[0] if len(lines) == 1 else lines

    def _lines(self, i):
        with self._lock:
            if self._files is None or self._files[0] != os.getpid():
                self._files = os.getpid(), [open_text(path) for path in self.paths]
            return tuple(
                self._line(k, *self._places[k, i].tolist())
                for k in range(len(self.paths))
            )

    def _line(self, k, offset, size):
        file = self._files[1][k]
        file.seek(offset)
        raw = file.read(size)
        if offset == 0 and self._bom[k]:
            raw = raw[3:]
        return _decode(raw, self.paths[k], "?", offset)

    def close(self) -> None:
        """Close the files; they are opened again when a line is asked for."""
        with self._lock:
            for file in self._files[1] if self._files else ():
                file.close()
            self._files = None

    def __del__(self):
        if getattr(self, "_files", None):
            self.close()

    def __getstate__(self):
        return {**self.__dict__, "_files": None, "_lock": None}

    def __setstate__(self, state):
        self.__dict__.update(state, _lock=threading.Lock())
