"""Files made by hand to do harm, each a function from a name to bytes.

The archives are packed here without the library's own writer, field by field, so that
each field can lie.
"""

import io
import json
import pickle
import struct
import zipfile
import zlib

import numpy as np

from dyrnn.serializers import archive as npz
from dyrnn.serializers import manifest

RAN = []  # what a pickle would fill, if it were loaded


def run(text):
    RAN.append(text)


class Bomb:
    def __reduce__(self):
        return run, ("code ran",)


def header(text, version=b"\x01\x00", length=None):
    """Return an npy header around ``text``."""
    text = text.encode() + b"\n"
    length = len(text) if length is None else length
    return b"\x93NUMPY" + version + length.to_bytes(2, "little") + text


def described(descr="<f4", shape="(4,)", order="False", data=bytes(16)):
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"
    return header(text) + data


def array(value):
    value = np.asarray(value)
    return npz.encode_header(value.dtype, value.shape) + value.tobytes()


GOOD = array(np.arange(4, dtype=np.float32))


def archive(*members, end=None, tail=b"", start=b"", gap=b""):
    """Return a zip file; a member is (name, data, changes of its header's fields).

    Changes of ``local_...`` fields concern the local header alone.
    """
    body, directory = start, b""
    for name, data, *changes in members:
        fields = {
            "name": name.encode() if isinstance(name, str) else name,
            "flags": 0, "method": 0, "crc": zlib.crc32(data), "stored": len(data),
            "size": len(data), "offset": len(body), "extra": b"", "version": 20,
            "disk": 0, "comment": b"",
        }  # fmt: skip
        fields.update(*changes)
        local = {**fields, **{k[6:]: v for k, v in fields.items() if "local_" in k}}
        body += struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, local["flags"], local["method"], 0, 33,
            local["crc"], local["stored"], local["size"], len(local["name"]),
            len(local["extra"]),
        ) + local["name"] + local["extra"] + data + gap  # fmt: skip
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, fields["version"], fields["flags"],
            fields["method"], 0, 33, fields["crc"], fields["stored"], fields["size"],
            len(fields["name"]), len(fields["extra"]), len(fields["comment"]),
            fields["disk"], 0, 0, fields["offset"],
        ) + fields["name"] + fields["extra"] + fields["comment"]  # fmt: skip
    last = {"count": len(members), "length": len(directory), "position": len(body)}
    last.update(end or {})
    return body + directory + struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, last["count"], last["count"], last["length"],
        last["position"], 0,
    ) + tail  # fmt: skip


def deflated(data, size=None, **changes):
    """Return the stream and the fields of a compressed member."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packer.compress(data) + packer.flush()
    crc = zlib.crc32(data)
    size = len(data) if size is None else size
    return stream, {"method": 8, "size": size, "crc": crc, **changes}


def snapshot(members=(), **changes):
    """Return a snapshot whose manifest says something else than it should."""
    entries = {
        key: {"dtype": "<f4", "shape": [4], "size": 16, "sha256": "0" * 64}
        for key, _ in members
    }
    fields = {"metadata": {}, "environment": {}, "values": {}, "arrays": entries}
    fields.update(changes)
    return with_manifest(manifest.encode_manifest(fields, 1 << 40), members)


def raw(text):
    """Return a snapshot of any manifest text, its own hash made right."""
    start = b'{"sha256": "'
    blank = start + b"0" * 64 + text
    digest = manifest.hashlib.sha256(blank).hexdigest().encode()
    return with_manifest(start + digest + text)


def with_manifest(text, arrays=(), name="__manifest__"):
    members = [(f"{key}.npy", data) for key, data in arrays]
    body = array(np.frombuffer(text, np.uint8))
    return archive(*members, (f"{name}.npy", body))


def saved(save, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def other_zip(mode=zipfile.ZIP_STORED, name="x.npy", data=GOOD):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", mode) as file:
        file.writestr(name, data)
    return buffer.getvalue()


def _end64(**fields):
    values = {"size": 44, "version": 45, "count": 1, "length": 0, "position": 0}
    values.update(fields)
    return struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", values["size"], 45, values["version"], 0, 0,
        values["count"], values["count"], values["length"], values["position"],
    )  # fmt: skip


def _crowded(count):
    """Return an archive with a member of 5 MiB, and many entries for it."""
    data = archive(("x.npy", array(np.zeros(5 << 20, "u1"))))
    start = data.index(b"PK\1\2")
    directory = data[start:-22] * count
    end = struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0
    )
    last = start + len(directory)
    counts = {"count": count, "length": len(directory), "position": start}
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, last, 1)
    return data[:start] + directory + _end64(**counts) + locator + end


_FULL = {"count": 0xFFFF, "length": 0xFFFFFFFF, "position": 0xFFFFFFFF}
_LOCATOR = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
_ENTRY = {"dtype": "<f4", "shape": [4], "size": 16, "sha256": "0" * 64}
_REST = b'", "format": "dyrnn snapshot", "version": 1, "environment": {}, '
_objects = np.array([Bomb()], dtype=object)
_zeros = bytes(1 << 25)
_small_bomb = deflated(array(np.zeros(1 << 22, "u1")))
_level = b"[" * 100_000

# name: (bytes, a part of the message it must give)
FILES = {
    # No archive at all
    "empty": (b"", "does not end as"),
    "one byte": (b"P", "does not end as"),
    "text": (b"hello " * 100, "does not end as an archive does"),
    "pickle": (pickle.dumps([Bomb()] * 9), "does not end as an archive does"),
    "npy": (GOOD, "does not end as an archive does"),
    # Pickles inside
    "pickled array": (saved(np.savez, x=_objects), r"'\|O' are not loaded"),
    "object dtype": (archive(("x.npy", described("|O"))), r"'\|O' are not loaded"),
    "object of 8": (archive(("x.npy", described("|o8"))), "'|o8' are not loaded"),
    "pickle as member": (archive(("x.npy", pickle.dumps([Bomb()] * 9))), "not an .npy"),
    "pickle as npy 3": (
        archive(("x.npy", header("{}" + " " * 64, b"\x03\x00"))), "not an .npy"),
    "code as header": (
        archive(("x.npy", header("__import__('os').system('true')" + " " * 64))),
        "not an .npy header"),
    # Bombs
    "zip bomb": (
        archive(("x.npy", *deflated(array(np.frombuffer(_zeros, "u1"))))),
        "unpacks to more than"),
    "many small bombs": (
        archive(*((f"x{i}.npy", *_small_bomb) for i in range(12))),
        "unpacks to more than"),
    "bomb longer than it says": (
        archive(("x.npy", *deflated(GOOD + _zeros[: 1 << 24], size=len(GOOD)))),
        "does not end where it should"),
    "bomb shorter than it says": (
        archive(("x.npy", *deflated(
            described(data=b"", shape="(4000000,)"), size=16_000_000 + 66))),
        "takes 16000000 bytes|does not end where it should"),
    "bomb in the manifest": (
        archive(("__manifest__.npy", *deflated(array(np.zeros(1 << 24, "u1"))))),
        "must not be compressed"),
    "100,000 entries of one member": (
        _crowded(100_000), "too large for a file"),
    "deep manifest": (raw(_REST + b'"x": ' + _level), "cannot be parsed"),
    "wide manifest": (raw(_REST + b'"x": [' + b"[]," * 800_000), "is too large for"),
    "wide text in the manifest": (
        raw(_REST + b'"x": "' + b"a" * (12 << 20)), "is too large for"),
    "60 lists in lists": (
        snapshot(metadata={"x": json.loads("[" * 60 + "]" * 60)}), "nested too deep"),
    "a number of a million digits": (
        raw(_REST + b'"x": ' + b"9" * 1_000_000 + b"}"), "cannot be parsed"),
    # Headers of arrays
    "shape of 2**62 bytes": (
        archive(("x.npy", described(shape="(4611686018427387904,)"))), "impossible"),
    "shape that overflows": (
        archive(("x.npy", described(shape="(4294967296, 4294967296)"))), "impossible"),
    "shape that overflows to zero": (
        archive(("x.npy", described(shape=f"({2**63}, 2)"))), "impossible shape"),
    "huge beside a zero": (
        archive(("x.npy", described(shape=f"({2**61}, 0)", data=b""))), "impossible"),
    "negative shape": (archive(("x.npy", described(shape="(-4,)"))), "impossible"),
    "float shape": (
        archive(("x.npy", described(shape="(4.0,)"))), "not an .npy header"),
    "shape is no tuple": (
        archive(("x.npy", described(shape="(4)"))), "not an .npy header"),
    "shape with zeros before": (
        archive(("x.npy", described(shape="(04,)"))), "not an .npy header"),
    "9 axes": (
        archive(("x.npy", described(shape=str((1,) * 8 + (4,))))), "impossible shape"),
    "shape too large for the data": (
        archive(("x.npy", described(shape="(5,)"))), "takes 20 bytes, but"),
    "shape too small for the data": (
        archive(("x.npy", described(shape="(3,)"))), "takes 12 bytes, but"),
    "big-endian": (archive(("x.npy", described(">f4"))), "'>f4' are not loaded"),
    "strings": (archive(("x.npy", described("<U1"))), "'<U1' are not loaded"),
    "complex": (archive(("x.npy", described("<c8", "(2,)"))), "'<c8' are not loaded"),
    "dates": (archive(("x.npy", described("<m8", "(2,)"))), "'<m8' are not loaded"),
    "structured": (
        archive(("x.npy", described("<f4', 'x': '"))), "not an .npy header"),
    "Fortran order": (
        archive(("x.npy", described(order="True"))), "save it again with np.ascont"),
    "booleans of 2": (
        archive(("x.npy", described("|b1", data=b"\0\1\2\0"))), "holds other numbers"),
    "header beyond the file": (
        archive(("x.npy", header(" " * 80, length=65535))), "not an .npy header"),
    "header of 64 KiB": (
        archive(("x.npy", header(" " * 65000))), "not an .npy header"),
    # The archive
    "cut off": (archive(("x.npy", GOOD))[:-1], "does not end as an archive does"),
    "appended": (archive(("x.npy", GOOD), tail=b"junk"), "does not end as"),
    "prepended": (
        archive(("x.npy", GOOD), start=b"#!/bin/sh\n"), "at byte 10, expected 0"),
    "two of a name": (archive(("x.npy", GOOD), ("x.npy", GOOD)), "two members called"),
    "overlap": (
        archive(("x.npy", GOOD), ("y.npy", GOOD, {"offset": 0})), "starts at byte 0"),
    "gap": (archive(("x.npy", GOOD), gap=b"hidden"), "belong to no member"),
    "member beyond the file": (
        archive(("x.npy", GOOD, {"stored": 1 << 30, "size": 1 << 30})), "reaches into"),
    "../": (archive(("../x.npy", GOOD)), "is refused: it is an absolute path, or"),
    "absolute": (archive(("/etc/x.npy", GOOD)), "is refused: it is an absolute path"),
    "backslash": (archive(("..\\x.npy", GOOD)), "not printable, or a backslash"),
    "NUL in a name": (archive(("x\0.npy", GOOD)), "not printable, or a backslash"),
    "terminal codes": (archive(("\33[2Jx.npy", GOOD)), "not printable"),
    "name of 2000 bytes": (archive(("x" * 2000 + ".npy", GOOD)), "1 to 1000 bytes"),
    "name that is no text": (
        archive((b"\xff\xfe.npy", GOOD, {"flags": 0x800})), "directory is damaged"),
    "no npy": (other_zip(name="run.sh", data=b"true" * 99), "that is not .npy"),
    "encrypted": (archive(("x.npy", GOOD, {"flags": 1})), "encrypted"),
    "size after the data": (archive(("x.npy", GOOD, {"flags": 8})), "unknown size"),
    "unknown flag": (archive(("x.npy", GOOD, {"flags": 0x20})), "flags 0x20"),
    "bzip2": (other_zip(zipfile.ZIP_BZIP2), "method 12"),
    "lzma": (archive(("x.npy", GOOD, {"method": 14})), "method 14"),
    "deflate that is none": (
        archive(("x.npy", b"\xff" * 99, {"method": 8})), "cannot be decompressed"),
    "deflate cut off": (
        archive(("x.npy", deflated(GOOD)[0][:-4], deflated(GOOD)[1])),
        "does not end where it should"),
    "deflate with a tail": (
        archive(("x.npy", deflated(GOOD)[0] + b"tail", deflated(GOOD)[1])),
        "does not end where it should"),
    "stored with two sizes": (
        archive(("x.npy", GOOD, {"size": len(GOOD) + 4})), "impossible size"),
    "two names of one member": (
        archive(("x.npy", GOOD, {"local_name": b"y.npy"})), "disagree"),
    "two checksums of one member": (
        archive(("x.npy", GOOD, {"local_crc": 1})), "disagree"),
    "wrong checksum": (
        archive(("x.npy", GOOD, {"crc": 1})), "the checksum of the archive"),
    "needs a future zip": (
        archive(("x.npy", GOOD, {"version": 63})), "version 63"),
    "volume 7 of 9": (
        archive(("x.npy", GOOD))[:-18] + b"\7\0" + archive(("x.npy", GOOD))[-16:],
        "has several volumes"),
    "entry of another kind": (
        archive(("x.npy", GOOD)).replace(b"PK\1\2", b"PK\1\3"),
        "the zip directory is damaged"),
    "name beyond the directory": (
        archive(("x.npy", GOOD)).replace(b"\5\0\0\0\0\0\0\0", b"\6\0\0\0\0\0\0\0"),
        "directory is cut off"),
    "entry beyond the directory": (
        archive(("x.npy", GOOD, {"extra": b"\7\0\x32\0" + bytes(50)}),
                end={"count": 2}),
        "belong to no member"),
    "comment": (archive(("x.npy", GOOD, {"comment": b"hi"})), "has a comment"),
    "volume 2": (archive(("x.npy", GOOD, {"disk": 2})), "volume 2"),
    "65534 members claimed": (
        archive(("x.npy", GOOD), end={"count": 65534}), "does not reach"),
    "members not counted": (
        archive(("x.npy", GOOD), ("y.npy", GOOD), end={"count": 1}),
        "belong to no member"),
    "directory elsewhere": (
        archive(("x.npy", GOOD), end={"position": 0}), "does not reach"),
    "extra field cut off": (
        archive(("x.npy", GOOD, {"extra": b"\1\0\xff\0"})), "directory is damaged"),
    "extra field twice": (
        archive(("x.npy", GOOD, {"extra": b"\2\0\0\0\2\0\0\0"})), "is there twice"),
    "zip64 size missing": (
        archive(("x.npy", GOOD, {"size": 0xFFFFFFFF})), "impossible size 4294967295"),
    "zip64 cut off": (archive(end=_FULL), "does not reach"),
    "zip64 elsewhere": (
        archive(("x.npy", GOOD), end=_FULL), "does not reach"),
    "zip64 of another kind": (
        _end64(size=99) + _LOCATOR + archive(end=_FULL),
        "zip64 end record is damaged"),
    "zip64 with 2**60 members": (
        _end64(count=1 << 60) + _LOCATOR + archive(end=_FULL), "does not reach"),
    # The manifest
    "manifest first": (
        archive(("__manifest__.npy", array(np.zeros(9, "u1"))), ("x.npy", GOOD)),
        "is not the last member"),
    "manifest of floats": (
        archive(("__manifest__.npy", GOOD)), "is not an array of bytes"),
    "manifest of another hash": (
        with_manifest(b'{"sha256": "' + b"0" * 64 + b'"}'), "its own SHA-256"),
    "manifest with NaN": (raw(_REST + b'"x": NaN}'), "NaN is not JSON"),
    "manifest with a key twice": (
        raw(_REST + b'"x": 1, "x": 2}'), "a key is there twice"),
    "manifest of another format": (
        raw(b'", "format": "x", "version": 1}'), "is not one of a dyrnn snapshot"),
    "version 0": (
        raw(b'", "format": "dyrnn snapshot", "version": 0}'), "has the version 0"),
    "version true": (
        raw(b'", "format": "dyrnn snapshot", "version": true}'), "the version True"),
    "manifest with fewer fields": (raw(_REST + b'"x": 1}'), "has the fields"),
    "metadata is a list": (snapshot(metadata=[]), "has no object 'metadata'"),
    "array entry is a number": (
        snapshot([("x", GOOD)], arrays={"x": 1}), "describes the array 'x' wrongly"),
    "array entry of an unhashable dtype": (
        snapshot([("x", GOOD)], arrays={"x": {**_ENTRY, "dtype": []}}), "wrongly"),
    "array entry of object dtype": (
        snapshot([("x", GOOD)], arrays={"x": {**_ENTRY, "dtype": "|O"}}), "wrongly"),
    "arrays the file has not": (
        snapshot([("x", GOOD)], arrays={"y": _ENTRY}), "list different arrays"),
    "arrays the manifest has not": (
        snapshot([("x", GOOD)], arrays={}), "list different arrays"),
    "array and value of one name": (
        snapshot([("x", GOOD)], values={"x": 1}), "a value and an array of one name"),
    "another hash": (snapshot([("x", GOOD)]), "does not have the SHA-256"),
    "another shape than in the manifest": (
        snapshot([("x", GOOD)], arrays={"x": {**_ENTRY, "shape": [2, 2]}}),
        r"has float32 \(4,\), expected float32 \(2, 2\)"),
    "another size than in the manifest": (
        snapshot([("x", GOOD)], arrays={"x": {**_ENTRY, "size": 17}}),
        "not as the manifest describes"),
    "unknown number": (
        snapshot(values={"x": {"$float": "1e999"}}), "has an unknown number"),
}  # fmt: skip
