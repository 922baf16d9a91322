"""Reading an npz file that may be damaged or made to do harm.

Every byte is checked before it is used: the layout of the archive, the header of each
array, its checksum in the archive and, in a snapshot, its SHA-256 in the manifest. No
pickle is ever read. Memory is allocated for an array only after its shape was compared
with the one expected, or with what a file of that size may reasonably unpack to, so
opening and checking a file takes at most three times its size and 64 MiB.
"""

import os
import stat
import zlib
from contextlib import contextmanager

import numpy as np

from dyrnn.errors import SnapshotError
from dyrnn.serializers.archive import (
    LONGEST,
    decode_header,
    describe,
    read_directory,
    sha256,
)
from dyrnn.serializers.manifest import NAME, decode_manifest

_PIECE = 1 << 16  # of packed data, enough for a header
_UNPACKED_BASE = 24 << 20  # compressed arrays of unknown shape: this and the file size


class SnapshotReader:
    """An open npz file; a context manager.

    Attributes
    ----------
    manifest : dict or None
        The manifest of a snapshot, checked; None for a plain npz file.
    values : dict
        What the file holds besides arrays.
    array_keys : list of str
        Names of the arrays, in the order of the file.

    Parameters
    ----------
    path : str or path-like
        The file.
    require_manifest : bool
        Refuse plain npz files.

    Raises
    ------
    OSError
        If there is no such file, or it may not be opened.
    SnapshotError
        If the file is not sound. Nothing else is raised because of its contents.
    """

    def __init__(self, path, require_manifest=False):
        self.path = os.fspath(path)
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        # O_NONBLOCK: opening a pipe would wait for somebody to write into it.
        fd = os.open(self.path, flags | getattr(os, "O_NONBLOCK", 0))
        information = os.fstat(fd)
        if not stat.S_ISREG(information.st_mode):
            os.close(fd)  # it cannot be opened as a file
            raise SnapshotError(f"{self.path}: not a regular file")
        self._file, self.size = os.fdopen(fd, "rb"), information.st_size
        self._unpacked = 0
        try:
            with self._naming():
                self._open(require_manifest)
        except BaseException:
            self.close()
            raise

    def _open(self, require_manifest):
        self._members = read_directory(self._file, self._read_bytes, self.size)
        self.array_keys = [key for key in self._members if key != NAME]
        self.manifest, self.values = None, {}
        if NAME in self._members:
            self._open_manifest()
        elif require_manifest:
            raise SnapshotError("a plain npz file, not a snapshot: it has no manifest")

    def _open_manifest(self):
        if any(member.is_packed for member in self._members.values()):
            raise SnapshotError("members of a snapshot must not be compressed")
        if list(self._members)[-1] != NAME:
            raise SnapshotError("the manifest is not the last member")
        text = self._read_member(NAME, None)
        if text.dtype != np.uint8 or text.ndim != 1:
            raise SnapshotError("the manifest is not an array of bytes")
        self.manifest = decode_manifest(text.tobytes(), self.size)
        self.values = self.manifest["values"]
        if set(self.manifest["arrays"]) != set(self.array_keys):
            raise SnapshotError("the manifest and the archive list different arrays")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Close the file."""
        self._file.close()

    def __contains__(self, key):
        return key in self.values or (key in self._members and key != NAME)

    def __iter__(self):
        """Go through the names of all arrays and values."""
        return iter([*self.array_keys, *self.values])

    def read_array(self, key, expected=None):
        """Return the array called ``key``, fully checked.

        Parameters
        ----------
        key : str
            One of :attr:`array_keys`.
        expected : (dtype, shape), optional
            Another dtype or shape is a :class:`SnapshotError`, before the data is read.
        """
        with self._naming(key):
            return self._read_checked(key, expected)

    def kind(self, key):
        """Return dtype and shape of the array called ``key``, from its header."""
        with self._naming(key):
            return self._header(self._members[key])[:2]

    @contextmanager
    def _naming(self, *keys):
        """Let errors begin with the name of the file, and of what is read in it."""
        try:
            yield
        except SnapshotError as error:
            text = ": ".join([self.path, *keys, str(error)])
            raise type(error)(text) from error.__cause__

    def verify(self):
        """Read and check everything."""
        for key in self.array_keys:
            self.read_array(key)

    def _read_checked(self, key, expected):
        if self.manifest is None:
            return self._read_member(key, expected)
        entry = self.manifest["arrays"][key]
        kind = np.dtype(entry["dtype"]), tuple(entry["shape"])
        array = self._read_member(key, expected or kind)
        if (array.dtype, array.shape) != kind or array.nbytes != entry["size"]:
            raise SnapshotError("the array is not as the manifest describes it")
        if sha256(array) != entry["sha256"]:
            raise SnapshotError("the data does not have the SHA-256 of the manifest")
        return array

    def _read_member(self, key, expected):
        member = self._members[key]
        dtype, shape, offset = self._header(member)
        if expected is not None and (dtype, shape) != expected:
            raise SnapshotError(
                f"the file has {describe(dtype, shape)}, expected {describe(*expected)}"
            )
        if member.is_packed and expected is None:
            self._unpacked += member.size
            if self._unpacked > self.size + _UNPACKED_BASE:
                raise SnapshotError(
                    f"a file of {self.size} bytes unpacks to more than "
                    f"{self.size + _UNPACKED_BASE} bytes"
                )
        whole = self._start(member, member.size)
        if zlib.crc32(whole) != member.crc:
            raise SnapshotError("the data does not have the checksum of the archive")
        array = whole[offset:].view(dtype).reshape(shape)
        if dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
            raise SnapshotError("an array of booleans holds other numbers")
        return np.require(array, requirements=["ALIGNED", "WRITEABLE"])

    def _header(self, member):
        start = self._start(member, min(member.size, LONGEST))
        return decode_header(start.tobytes(), member.size)

    def _start(self, member, length):
        """Return the first ``length`` bytes of a member."""
        if member.is_packed:
            return self._unpack(member, length)
        return self._read_at(member.start, length)

    def _unpack(self, member, length):
        """Return the first ``length`` bytes of a compressed member."""
        is_whole = length == member.size
        packed = member.stored if is_whole else min(member.stored, _PIECE)
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = stream.decompress(self._read_at(member.start, packed), length)
            more = stream.decompress(stream.unconsumed_tail, 1)
        except zlib.error as error:
            raise SnapshotError(f"the data cannot be decompressed: {error}") from error
        ends = stream.eof and not more and not stream.unused_data
        if len(data) < length or (is_whole and not ends):
            raise SnapshotError("the compressed data does not end where it should")
        return np.frombuffer(data, np.uint8)

    def _read_bytes(self, position, length):
        return self._read_at(position, length).tobytes()

    def _read_at(self, position, length):
        """Return exactly these bytes, in an array of their own."""
        result = np.empty(length, np.uint8)
        try:
            self._file.seek(position)
            done = 0
            while done < length:
                count = self._file.readinto(result.data[done:])
                if not count:
                    raise SnapshotError("the file ends too early")
                done += count
        except OSError as error:
            raise SnapshotError(f"reading failed: {error}") from error
        return result
