"""The manifest: what a snapshot holds and how to check it, as JSON inside the file.

It is the last member of the archive, an array of bytes called ``__manifest__``, so
``numpy.load`` can show it, too. It has the format's name and version, the caller's
metadata, the environment that wrote the file, all values that are no arrays, and for
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

_FIELDS = ["arrays", "environment", "format", "metadata", "sha256", "values", "version"]
_START = b'{"sha256": "'
_NO_HASH = b"0" * 64
_ARRAY_FIELDS = ["dtype", "sha256", "shape", "size"]
_DEEPEST = 50
# Parsing takes memory: about 100 bytes for each item of a list or dictionary, and up to
# six for each character. Vocabularies of 300,000 words stay below this in any file.
_MEMORY_BASE = 48 << 20
_MEMORY_PER_BYTE_OF_FILE = 2


# -- Values --------------------------------------------------------------------------


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


# -- The whole -----------------------------------------------------------------------


def _memory_problem(text, file_size):
    items = text.count(b",") + text.count(b":") + text.count(b"[") + text.count(b"{")
    limit = _MEMORY_BASE + _MEMORY_PER_BYTE_OF_FILE * file_size
    if 6 * len(text) + 100 * items <= limit:
        return None
    return (
        f"a manifest of {len(text)} bytes with {items} items is too large for a "
        f"file of {file_size} bytes: keep long lists in arrays"
    )


def encode_manifest(manifest, file_size):
    """Return the manifest as bytes; ``file_size`` is that of the arrays."""
    fields = {"sha256": _NO_HASH.decode(), "format": FORMAT, "version": VERSION}
    text = json.dumps({**fields, **manifest}, allow_nan=False).encode("ascii")
    problem = _memory_problem(text, file_size)
    if problem:
        raise ValueError(problem)
    digest = hashlib.sha256(text).hexdigest().encode()
    return _START + digest + text[len(_START) + len(digest) :]


def _check_hash(text):
    end = len(_START) + len(_NO_HASH)
    blank = hashlib.sha256(_START + _NO_HASH)
    blank.update(memoryview(text)[end:])
    expected = _START + blank.hexdigest().encode()
    _require(text[:end] == expected, "does not have its own SHA-256")


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
    _check_hash(text)
    try:
        manifest = json.loads(
            text.decode("ascii"), object_pairs_hook=_unique, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"the manifest cannot be parsed: {error}") from error
    _require(isinstance(manifest, dict), "is no JSON object")
    _require(manifest.get("format") == FORMAT, f"is not one of a {FORMAT}")
    version = manifest.get("version")
    _require(type(version) is int and version >= 1, f"has the version {version!r}")
    if version > VERSION:
        raise NewerVersionError(
            f"the file has format version {version}, but this dyrnn reads versions up "
            f"to {VERSION}. Load it with a newer dyrnn."
        )
    _require(
        sorted(manifest) == _FIELDS, f"has the fields {str(sorted(manifest))[:200]}"
    )
    for field in ("metadata", "environment", "values", "arrays"):
        _require(isinstance(manifest[field], dict), f"has no object {field!r}")
    for key, entry in manifest["arrays"].items():
        _require(
            isinstance(entry, dict)
            and sorted(entry) == _ARRAY_FIELDS
            and entry["dtype"]
            in list(DTYPES)  # a list: what is there may not be hashable
            and isinstance(entry["shape"], list)
            and all(type(n) is int for n in [entry["size"], *entry["shape"]])
            and isinstance(entry["sha256"], str)
            and re.fullmatch("[0-9a-f]{64}", entry["sha256"]),
            f"describes the array {key[:80]!r} wrongly",
        )
    _require(
        manifest["arrays"].keys().isdisjoint(manifest["values"]),
        "has a value and an array of one name",
    )
    for field in ("metadata", "environment", "values"):
        manifest[field] = decode_value(manifest[field])
    return manifest


class NewerVersionError(SnapshotError):
    """A sound file of a format version that this dyrnn does not know yet."""
