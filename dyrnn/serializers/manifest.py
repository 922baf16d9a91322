"""The manifest: what a snapshot holds and how to check it, as JSON inside the file.

It is the last member of the archive, an array of bytes called ``__manifest__``, so
``numpy.load`` can show it, too. It has the format's name and version, the caller's
metadata, the environment that wrote the file, all values that are not arrays, and for
each array its dtype, shape, size in bytes, and SHA-256. Its first field, in every
version, is its own SHA-256, taken with zeros in that place. Reading it trusts nothing:
the text is bounded before it is parsed, and its form is checked field by field.
"""

import hashlib
import json
import math
import re

import numpy as np

from dyrnn.errors import SnapshotError
from dyrnn.serializers.archive import DTYPES

NAME = "__manifest__"
FORMAT, VERSION = "dyrnn snapshot", 1

_OBJECTS = ("metadata", "environment", "values", "arrays")
_FIELDS = {*_OBJECTS, "format", "sha256", "version"}
_START = b'{"sha256": "'
_NO_HASH = b"0" * 64
_DEEPEST = 50
# Parsing takes memory: about 100 bytes for each item of a list or dictionary, and up to
# six for each character. Vocabularies of 300,000 words stay below this in any file.
_MEMORY_BASE = 48 << 20
_MEMORY_PER_BYTE_OF_FILE = 2


class NewerVersionError(SnapshotError):
    """A sound file of a format version that this dyrnn does not know yet."""


def encode_value(value, depth=0):
    """Return ``value`` as JSON can hold it; TypeError or ValueError where it cannot.

    JSON has no infinities and no NaN, so these become ``{"$float": "inf"}``; hence no
    key of a dictionary may start with a dollar sign.
    """
    if depth > _DEEPEST:
        raise ValueError(f"lists or dictionaries are nested more than {_DEEPEST} deep")
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, list | tuple):
        return [encode_value(item, depth + 1) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise TypeError(
                    f"the key {key!r} of a dictionary cannot be saved: use strings "
                    "that do not start with '$'"
                )
        return {key: encode_value(item, depth + 1) for key, item in value.items()}
    raise TypeError(
        f"a {type(value).__name__} cannot be saved: use arrays, numbers, strings, "
        "None, or lists and dictionaries of these"
    )


def decode_value(value, depth=0):
    """Return what :func:`encode_value` was given, with tuples as lists."""
    if depth > _DEEPEST + 1:  # values are one level down in the manifest
        raise SnapshotError("the manifest is nested too deep")
    if isinstance(value, list):
        return [decode_value(item, depth + 1) for item in value]
    if isinstance(value, dict):
        if value.keys() == {"$float"}:
            if value["$float"] not in ("inf", "-inf", "nan"):
                raise SnapshotError(f"the manifest has an unknown number {value}")
            return float(value["$float"])
        return {key: decode_value(item, depth + 1) for key, item in value.items()}
    return value


def _memory_problem(text, file_size):
    items = sum(text.count(mark) for mark in (b",", b":", b"[", b"{"))
    limit = _MEMORY_BASE + _MEMORY_PER_BYTE_OF_FILE * file_size
    if 6 * len(text) + 100 * items <= limit:
        return None
    return (
        f"a manifest of {len(text)} bytes with {items} items is too large for a "
        f"file of {file_size} bytes: keep long lists in arrays"
    )


def _signed(rest):
    """Return the text of a manifest that goes on with ``rest`` after its own hash."""
    digest = hashlib.sha256(_START + _NO_HASH)
    digest.update(rest)
    return _START + digest.hexdigest().encode()


def encode_manifest(manifest, file_size):
    """Return the manifest as bytes; ``file_size`` is that of the arrays."""
    fields = {"sha256": _NO_HASH.decode(), "format": FORMAT, "version": VERSION}
    text = json.dumps({**fields, **manifest}, allow_nan=False).encode("ascii")
    problem = _memory_problem(text, file_size)
    if problem:
        raise ValueError(problem)
    rest = text[len(_START) + len(_NO_HASH) :]
    return _signed(rest) + rest


def _unique(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is there twice")
    return result


def _refuse(text):
    raise ValueError(f"{text} is not JSON")


def _require(condition, problem):
    if not condition:
        raise SnapshotError(f"the manifest {problem}")


def decode_manifest(text, file_size):
    """Return the manifest that ``text`` (bytes) holds, its form checked."""
    problem = _memory_problem(text, file_size)
    if problem:
        raise SnapshotError(problem)
    end = len(_START) + len(_NO_HASH)
    signed = _signed(memoryview(text)[end:])
    _require(text[:end] == signed, "does not have its own SHA-256")
    try:
        manifest = json.loads(
            text.decode("ascii"), object_pairs_hook=_unique, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"the manifest cannot be parsed: {error}") from error
    _require(isinstance(manifest, dict), "is not a JSON object")
    _require(manifest.get("format") == FORMAT, f"is not one of a {FORMAT}")
    version = manifest.get("version")
    _require(type(version) is int and version >= 1, f"has the version {version!r}")
    if version > VERSION:
        raise NewerVersionError(
            f"the file has format version {version}, but this dyrnn reads versions up "
            f"to {VERSION}. Load it with a newer dyrnn."
        )
    names = f"has the fields {str(sorted(manifest))[:200]}"
    _require(manifest.keys() == _FIELDS, names)
    for field in _OBJECTS:
        _require(isinstance(manifest[field], dict), f"has no object {field!r}")
    for key, entry in manifest["arrays"].items():
        _require(_describes_array(entry), f"describes the array {key[:80]!r} wrongly")
    both = manifest["arrays"].keys() & manifest["values"].keys()
    _require(not both, "has a value and an array of one name")
    for field in ("metadata", "environment", "values"):
        manifest[field] = decode_value(manifest[field])
    return manifest


def _describes_array(entry):
    return (
        isinstance(entry, dict)
        and entry.keys() == {"dtype", "sha256", "shape", "size"}
        and entry["dtype"] in list(DTYPES)  # a list: it may not be hashable
        and isinstance(entry["shape"], list)
        and all(type(n) is int for n in [entry["size"], *entry["shape"]])
        and isinstance(entry["sha256"], str)
        and re.fullmatch("[0-9a-f]{64}", entry["sha256"])
    )
