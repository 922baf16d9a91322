"""The file's form: an archive of ``.npy`` members, as ``numpy.load`` reads it.

Written is one form only: members one after the other from byte 0, sizes known before,
no times, so that equal contents give equal bytes under every version of Python and
NumPy. What is read goes through ``zipfile`` and ``numpy.lib.format``, under rules of
our own: every byte belongs to a member or to the directory, and the headers of a member
say the same in both places. Memory is taken in proportion to the file's size only.
"""

import hashlib
import io
import math
import struct
import zipfile
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from dyrnn.errors import SnapshotError

LIMIT_16, LIMIT_32 = FULL_16, FULL_32 = 0xFFFF, 0xFFFFFFFF  # beyond: zip64 fields
SMALLEST = 64  # bytes of the shortest header, so of the smallest member
LONGEST = 1024  # bytes; longer headers are of no array that is read
DTYPES = frozenset(
    ["|b1", "|u1", "|i1"] + [f"<{kind}{size}" for kind in "iuf" for size in (2, 4, 8)]
)

_LOCAL = struct.Struct("<4s5H3L2H")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_BEFORE_END = _END64.size + _LOCATOR.size
_UTF8, _LEVEL = 0x0800, 0x0006  # flags: how names are coded, and data packed
_DATE = 0x0021  # the first that a zip file can have
_MAX_BYTES = 1 << 62
_MEMORY = 48 << 20  # for what zipfile keeps of the directory: this and the file three
_MEMORY_PER_ENTRY = 800  # times; so much for each entry, and five copies of the text


class Member(NamedTuple):
    """One file within the archive."""

    start: int  # position of its data
    stored: int  # bytes it takes there
    size: int  # bytes it has when decompressed
    crc: int
    is_packed: bool


def name_problem(key):
    """Say what is wrong with ``key`` as the name of an array, or return None."""
    if not key or len(key.encode(errors="replace")) > 1000:
        return "it must have 1 to 1000 bytes"
    if not key.isprintable() or "\\" in key:
        return "it has characters that are not printable, or a backslash"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "it is an absolute path, or has an empty, '.' or '..' component"
    return None


def describe(dtype, shape):
    """Say what an array is, for messages: ``float32 (3, 4)``."""
    return f"{dtype} {tuple(shape)}"


def sha256(array):
    """Return the hash of an array's data, in C order, as the manifest has it."""
    return hashlib.sha256(array.reshape(-1).view(np.uint8)).hexdigest()


# -- Writing -------------------------------------------------------------------------


def storable(array):
    """Return ``array`` in C order and little-endian, or None if its kind has no place.

    The kinds are booleans, integers, and floats of 16, 32 and 64 bits.
    """
    dtype = array.dtype.newbyteorder("<")
    if dtype.str not in DTYPES:
        return None
    return np.asarray(array, dtype=dtype, order="C")


def encode_header(dtype, shape):
    """Return the header of an array, padded so that the data starts aligned."""
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(11 + len(text)) % 64) + "\n"
    return npy.magic(1, 0) + struct.pack("<H", len(text)) + text.encode("ascii")


def encode_member(name, size, crc, offset=None):
    """Return what goes before a member's data; with ``offset``, its directory entry."""
    numbers = [size, size] if offset is None else [size, size, offset]
    large = [number for number in numbers if number >= LIMIT_32]
    stored, full, *at = (FULL_32 if n >= LIMIT_32 else n for n in numbers)
    count = 8 * len(large)
    extra = struct.pack(f"<2H{len(large)}Q", 1, count, *large) if large else b""
    version, path = 45 if extra else 20, name.encode()
    fields = struct.pack(
        "<5H3L2H",
        *(version, _UTF8, zipfile.ZIP_STORED, 0, _DATE, crc, stored, full),
        *(len(path), len(extra)),
    )
    if offset is None:
        return b"PK\3\4" + fields + path + extra
    rest = struct.pack("<3H2L", 0, 0, 0, 0, *at)
    return b"PK\1\2" + struct.pack("<H", version) + fields + rest + path + extra


def encode_end(count, start, length):
    """Return what goes after a directory of ``count`` entries, from byte ``start``."""
    before = b""
    if count >= LIMIT_16 or max(length, start) >= LIMIT_32:
        before = _END64.pack(
            *(b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
        ) + _LOCATOR.pack(b"PK\6\7", 0, start + length, 1)
        count, length, start = FULL_16, FULL_32, FULL_32
    return before + _END.pack(b"PK\5\6", 0, 0, count, count, length, start, 0)


# -- Reading -------------------------------------------------------------------------


def _require(condition, problem):
    if not condition:
        raise SnapshotError(problem)


def _locate_directory(read_at, total):
    """Return the number of members, and where their directory starts and ends."""
    end = total - _END.size
    tail = read_at(max(0, end - _BEFORE_END), min(total, _BEFORE_END + _END.size))
    _require(
        tail[-_END.size :].startswith(b"PK\5\6") and tail.endswith(b"\0\0"),
        "the file does not end as an archive does: it is cut off, or has bytes added",
    )
    _, *disks, here, count, length, start, _ = _END.unpack(tail[-_END.size :])
    if tail[-_END.size - _LOCATOR.size :].startswith(b"PK\6\7"):
        end -= _BEFORE_END
        kind, size, _, version, *disks, here, count, length, start = _END64.unpack(
            tail[: _END64.size]
        )
        _require(
            (kind, size) == (b"PK\6\6", 44)
            and version <= 45
            and _LOCATOR.unpack(tail[_END64.size : _BEFORE_END])[1:] == (0, end, 1),
            "the zip64 end record is damaged, or not where it belongs",
        )
    _require(disks == [0, 0] and here == count, "the archive has several volumes")
    _require(
        start + length == end and 46 * count <= length <= total // 2,
        f"the zip directory ({count} members, bytes {start} to {start + length}) does "
        f"not reach to its end record at {end}",
    )
    _require(
        5 * length + _MEMORY_PER_ENTRY * (length // 46) <= 3 * total + _MEMORY,
        f"a directory of {length} bytes is too large for a file of {total} bytes",
    )
    return count, start, end


def _extra_kinds(extra):
    while extra:
        yield extra[:2]
        extra = extra[4 + int.from_bytes(extra[2:4], "little") :]


def read_directory(file, read_at, total):
    """Return the members by name without ``.npy``, in the order of the file.

    ``read_at(position, length)`` returns exactly that many bytes of the open ``file``,
    which has ``total`` bytes.
    """
    count, end, after = _locate_directory(read_at, total)
    directory, entry = read_at(end, after - end), 0
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except Exception as error:
        raise SnapshotError(f"the zip directory is damaged: {error}") from error
    members: dict[str, Member] = {}
    position = 0
    for info in entries:
        name, flags = info.orig_filename, info.flag_bits
        shown, key = repr(name[:80]), name.removesuffix(".npy")
        _require(key != name, f"the archive has a member {shown} that is not .npy")
        problem = name_problem(key)
        _require(problem is None, f"the member name {shown} is refused: {problem}")
        _require(key not in members, f"the archive has two members called {shown}")
        _require(
            info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            and not flags & ~(_UTF8 | _LEVEL)
            and info.extract_version <= 45
            and info.volume == 0,
            f"{name}: encrypted, of unknown size, or in another way not plainly stored "
            f"or deflated: flags {flags:#x}, method {info.compress_type}, version "
            f"{info.extract_version}, volume {info.volume}",
        )
        _require(
            info.header_offset == position and position + _LOCAL.size <= end,
            f"{name}: starts at byte {info.header_offset}, expected {position}",
        )
        path = name.encode("utf-8" if flags & _UTF8 else "cp437")
        lengths = len(path), len(info.extra), 0
        _require(
            directory[entry + 28 : entry + 34] == struct.pack("<3H", *lengths),
            f"{name}: the zip directory is cut off, or has a comment",
        )
        entry += 46 + sum(lengths)
        kinds = list(_extra_kinds(info.extra))
        _require(
            len(set(kinds)) == len(kinds), f"{name}: an extra field is there twice"
        )
        head = _LOCAL.unpack(read_at(position, _LOCAL.size))
        sizes = info.compress_size, info.file_size
        position += _LOCAL.size
        _require(
            (head[0], head[2], head[3], head[6], head[9])
            == (b"PK\3\4", flags, info.compress_type, info.CRC, len(path))
            and head[7:9] in (sizes, (FULL_32, FULL_32))
            and read_at(position, len(path)) == path,
            f"{name}: its header and the zip directory disagree",
        )
        is_packed = info.compress_type == zipfile.ZIP_DEFLATED
        _require(
            info.file_size >= SMALLEST and (is_packed or sizes[0] == sizes[1]),
            f"{name}: impossible size {sizes[1]}, stored as {sizes[0]} bytes",
        )
        start = position + len(path) + head[10]
        position = start + info.compress_size
        _require(position <= end, f"{name}: reaches into the zip directory")
        members[key] = Member(start, *sizes, info.CRC, is_packed)
    _require(
        (position, entry, len(members)) == (end, len(directory), count),
        "the archive has bytes that belong to no member",
    )
    return members


def decode_header(start, size):
    """Return dtype, shape and header length of an ``.npy`` file.

    Parameters
    ----------
    start : bytes
        The first bytes of the file: the header, and any number of bytes of data.
    size : int
        Bytes of the whole file; header and shape must account for all of them.
    """
    text = io.BytesIO(start)
    try:
        version = npy.read_magic(text)
        _require(version == (1, 0), f"version {version} of .npy files is not read")
        shape, in_columns, dtype = npy.read_array_header_1_0(text, LONGEST)
    except Exception as error:
        raise SnapshotError(f"not an .npy header that is read: {error}") from error
    _require(
        dtype.str in DTYPES,
        f"arrays of dtype {dtype.str!r} are not loaded: only little-endian booleans, "
        "integers and floats are (others need pickle, or are not plain numbers)",
    )
    _require(
        not in_columns,
        "the array is in Fortran order: save it again with np.ascontiguousarray",
    )
    _require(
        len(shape) <= 8
        and all(type(n) is int and n >= 0 for n in shape)
        and math.prod(n for n in shape if n) * dtype.itemsize <= _MAX_BYTES,
        f"the .npy header has an impossible shape {str(shape)[:200]}",
    )
    offset, bytes_of_data = text.tell(), math.prod(shape) * dtype.itemsize
    _require(
        offset + bytes_of_data == size,
        f"an array of {dtype} {shape} takes {bytes_of_data} bytes, but the file holds "
        f"{size - offset} of them",
    )
    return dtype, shape, offset
