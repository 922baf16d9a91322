"""The zip format, reduced to what an ``.npz`` file needs, for writing and for reading.

Both directions stand here side by side because they are each other's check. The writer
emits one layout only: members one after the other from byte 0, sizes known in advance,
no timestamps. The reader accepts that layout and what NumPy writes, and must be able to
account for every byte: members may not overlap or leave gaps, the central directory
must repeat what the local headers say, and nothing may follow its end record.
"""

import struct
from typing import NamedTuple

from dyrnn.errors import SnapshotError
from dyrnn.serializers.npy import SMALLEST

STORED, DEFLATED = 0, 8
FULL_16, FULL_32 = 0xFFFF, 0xFFFFFFFF  # "see the zip64 fields"
LIMIT_16, LIMIT_32 = FULL_16, FULL_32  # numbers from here on are written there

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_UTF8 = 0x0800
_DATE = 0x0021  # 1980-01-01, the zip format's day 0: equal contents, equal bytes
_ENCRYPTED, _SIZE_AFTER_DATA, _LEVEL = 0x0001, 0x0008, 0x0006
_NAME_LIMIT = 1000


class Member(NamedTuple):
    """One file within the archive."""

    name: str
    start: int  # position of its data in the archive
    stored: int  # bytes it takes there
    size: int  # bytes it has when decompressed
    crc: int
    method: int


def name_problem(key):
    """Say what is wrong with ``key`` as the name of an array, or return None."""
    if not key or len(key.encode(errors="replace")) > _NAME_LIMIT:
        return f"it must have 1 to {_NAME_LIMIT} bytes"
    if not key.isprintable() or "\\" in key:
        return "it has characters that are not printable, or a backslash"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "it is an absolute path, or has an empty, '.' or '..' component"
    return None


# -- Writing -------------------------------------------------------------------------


def _zip64(*numbers):
    """Return the fields for 32 bits and the extra field for those that do not fit."""
    large = [number for number in numbers if number >= LIMIT_32]
    extra = (
        struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    )
    return [FULL_32 if number >= LIMIT_32 else number for number in numbers], extra


def encode_member(name, size, crc):
    """Return the local header that goes before ``size`` bytes of data."""
    path = name.encode()
    # A local header has both sizes in its extra field, or none.
    (stored, full), extra = _zip64(size, size)
    version = 45 if extra else 20
    return (
        _LOCAL.pack(
            *(b"PK\3\4", version, _UTF8, STORED, 0, _DATE, crc),
            *(stored, full, len(path), len(extra)),
        )
        + path
        + extra
    )


def encode_directory(members, position):
    """Return the end of the archive: its directory, which starts at ``position``."""
    entries = []
    for member in members:
        path = member.name.encode()
        offset = member.start - len(encode_member(member.name, member.size, 0))
        (full, stored, at), extra = _zip64(member.size, member.stored, offset)
        version = 45 if extra else 20
        entries.append(
            _CENTRAL.pack(
                *(b"PK\1\2", version, version, _UTF8, STORED, 0, _DATE, member.crc),
                *(stored, full, len(path), len(extra), 0, 0, 0, 0, at),
            )
            + path
            + extra
        )
    directory = b"".join(entries)
    count, length, end = len(members), len(directory), position + len(directory)
    if count >= LIMIT_16 or length >= LIMIT_32 or position >= LIMIT_32:
        directory += _END64.pack(
            *(b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, position)
        ) + _LOCATOR.pack(b"PK\6\7", 0, end, 1)
        count, length, position = FULL_16, FULL_32, FULL_32
    return directory + _END.pack(b"PK\5\6", 0, 0, count, count, length, position, 0)


# -- Reading -------------------------------------------------------------------------


def _require(condition, problem):
    if not condition:
        raise SnapshotError(problem)


def _locate_directory(read_at, total):
    """Return the number of members, and where the central directory starts and ends."""
    end = total - _END.size
    _require(end >= 0, f"the file is too short for a zip archive: {total} bytes")
    signature, disk, first_disk, here, count, length, start, comment = _END.unpack(
        read_at(end, _END.size)
    )
    _require(
        signature == b"PK\5\6" and comment == 0,
        "the file does not end as an archive does: it is cut off, or has bytes added",
    )
    if FULL_16 in (here, count) or FULL_32 in (length, start):
        end -= _LOCATOR.size + _END64.size
        _require(end >= 0, "the zip64 end record is cut off")
        records = read_at(end, _LOCATOR.size + _END64.size)
        _require(
            records[_END64.size :] == _LOCATOR.pack(b"PK\6\7", 0, end, 1),
            "the zip64 end record is not where it belongs",
        )
        signature, size, _, version, disk, first_disk, here, count, length, start = (
            _END64.unpack(records[: _END64.size])
        )
        _require(
            signature == b"PK\6\6" and size == 44 and version <= 45,
            "the zip64 end record is damaged",
        )
    _require(
        disk == first_disk == 0 and here == count, "the archive has several volumes"
    )
    _require(
        start + length == end and count * _CENTRAL.size <= length,
        f"the zip directory ({count} members, bytes {start} to {start + length}) does "
        f"not reach to its end record at {end}",
    )
    return count, start, end


def _sizes(extra, *numbers):
    """Return ``numbers`` with those that overflowed 32 bits read from ``extra``."""
    fields = {}
    position = 0
    while position < len(extra):
        _require(position + 4 <= len(extra), "a zip extra field is cut off")
        kind, length = struct.unpack_from("<2H", extra, position)
        position += 4 + length
        _require(position <= len(extra), "a zip extra field is cut off")
        _require(kind not in fields, "a zip extra field is there twice")
        fields[kind] = extra[position - length : position]
    large = fields.get(1, b"")
    # numpy.savez reserves the sizes in every local header, needed or not.
    result, position = [], 0
    for number in numbers:
        if number == FULL_32:
            _require(position + 8 <= len(large), "a zip64 extra field is cut off")
            (number,) = struct.unpack_from("<Q", large, position)
            position += 8
        result.append(number)
    return result


def _decode_name(path, flags):
    try:
        name = path.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError as error:
        raise SnapshotError(f"the member name {path[:80]!r} is not text") from error
    _require(
        name.endswith(".npy"), f"the archive has a member {name[:80]!r} that is no .npy"
    )
    problem = name_problem(name[:-4])
    _require(problem is None, f"the member name {name[:80]!r} is refused: {problem}")
    return name


def _check_flags(name, flags, method):
    _require(not flags & _ENCRYPTED, f"{name}: encrypted members are not read")
    _require(
        not flags & _SIZE_AFTER_DATA, f"{name}: members of unknown size are not read"
    )
    _require(not flags & ~(_UTF8 | _LEVEL), f"{name}: unknown zip flags {flags:#x}")
    _require(method in (STORED, DEFLATED), f"{name}: unknown compression {method}")


def decode_directory(read_at, total):
    """Return the members of an archive of ``total`` bytes, in the order of the file.

    ``read_at(position, length)`` returns exactly that many bytes of the archive.
    """
    count, start, end = _locate_directory(read_at, total)
    directory = read_at(start, end - start)
    members, names = [], set()
    entry, position = 0, 0
    for _ in range(count):
        _require(
            entry + _CENTRAL.size <= len(directory), "the zip directory is cut off"
        )
        head = _CENTRAL.unpack_from(directory, entry)
        signature, _, version, flags, method, _, _, crc, stored, size = head[:10]
        name_length, extra_length, comment, disk, _, _, offset = head[10:]
        _require(signature == b"PK\1\2", "an entry of the zip directory is damaged")
        entry += _CENTRAL.size
        tail = directory[entry : entry + name_length + extra_length]
        entry += len(tail)
        _require(
            len(tail) == name_length + extra_length, "the zip directory is cut off"
        )
        path = tail[:name_length]
        name = _decode_name(path, flags)
        size, stored, offset = _sizes(tail[name_length:], size, stored, offset)
        _check_flags(name, flags, method)
        _require(version <= 45, f"{name}: needs version {version} of the zip format")
        _require(comment == 0 and disk == 0, f"{name}: unexpected comment or volume")
        _require(name not in names, f"the archive has two members called {name!r}")
        _require(
            offset == position, f"{name}: starts at byte {offset}, expected {position}"
        )

        head = _LOCAL.unpack(read_at(offset, _LOCAL.size))
        name_length, extra_length = head[9:]
        tail = read_at(offset + _LOCAL.size, name_length + extra_length)
        local_size, local_stored = _sizes(tail[name_length:], head[8], head[7])
        _require(
            (head[0], head[2], head[3], head[6]) == (b"PK\3\4", flags, method, crc)
            and tail[:name_length] == path
            and (local_size, local_stored) == (size, stored),
            f"{name}: its header and the zip directory disagree",
        )
        _require(
            size >= SMALLEST and (method == DEFLATED or stored == size),
            f"{name}: impossible size {size}, stored as {stored} bytes",
        )
        position = offset + _LOCAL.size + len(tail) + stored
        _require(position <= start, f"{name}: reaches into the zip directory")
        members.append(Member(name, position - stored, stored, size, crc, method))
        names.add(name)
    _require(
        entry == len(directory) and position == start,
        "the archive has bytes that belong to no member",
    )
    return members
