"""Files of arrays: safetensors, read and written here, and PyTorch's own, by PyTorch.

A safetensors file is the length of a header, the header in JSON, with the type, shape
and place of each array, and the arrays. Nothing in it is code; what is read is checked
before it is used, and takes as much memory as the file has bytes, and some for the
header.
"""

import json
import math
import os
import stat
import zipfile
from collections.abc import Mapping

import numpy as np

from dyrnn.errors import InterchangeError
from dyrnn.serializers.atomic import atomic_output
from dyrnn.typing import Array, PathLike

_LONGEST = 8 << 20  # bytes of a header, of 100,000 arrays
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
_NAMES = {np.dtype(code): name for name, code in _TYPES.items() if name != "BF16"}
_METADATA = "__metadata__"


def open_file(path: PathLike) -> tuple:
    """Return an open regular file and its size; anything else is refused."""
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    # O_NONBLOCK: opening a pipe would wait for somebody to write into it.
    fd = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    information = os.fstat(fd)
    if not stat.S_ISREG(information.st_mode):
        os.close(fd)
        raise InterchangeError(f"{os.fspath(path)}: not a regular file")
    return os.fdopen(fd, "rb"), information.st_size


def kind_of(path: PathLike) -> str:
    """Return the suffix of such files as this is one of, by what is in it.

    A damaged file is what its own name says.

    Raises
    ------
    OSError
        If there is no such file.
    InterchangeError
        If neither tells.
    """
    file, size = open_file(path)
    with file:
        head = file.read(9)
        members = _members(file) if head.startswith(b"PK") else []
    length = int.from_bytes(head[:8], "little")
    signs = {
        # First: the length of a header may begin as a pickle does.
        ".safetensors": head[8:] == b"{" and length < size,
        ".keras": {"config.json", "model.weights.h5"} <= set(members),
        ".pt": any(name.endswith("data.pkl") for name in members)
        or head.startswith(b"\x80"),  # as PyTorch wrote them once
        ".npz": any(name.endswith(".npy") for name in members),
        ".h5": head.startswith(b"\x89HDF"),
        ".onnx": head.startswith(b"\x08") and length > size,
    }
    own = os.path.splitext(os.fspath(path))[1].lower().replace(".pth", ".pt")
    found = [suffix for suffix, is_one in signs.items() if is_one]
    if not found and own not in signs:
        raise InterchangeError(
            f"{os.fspath(path)}: no file of weights that is known here; those are "
            f"{', '.join(signs)}. Read other files, and give load() the arrays."
        )
    return found[0] if found else own


def _members(file):
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except Exception:  # of a damaged file, as many as zipfile has
        return []


def read_safetensors(path: PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of a file, and its metadata.

    Numbers of type bfloat16 become float32. Of tied weights, which are stored once,
    each name has the array.

    Raises
    ------
    OSError
        If there is no such file.
    InterchangeError
        If the file is damaged, or has a type that NumPy does not have.
    """
    file, size = open_file(path)
    with file:
        try:
            return _parse(file.read(), size)
        except InterchangeError as error:
            raise InterchangeError(f"{os.fspath(path)}: {error}") from error.__cause__


def _require(condition, problem):
    if not condition:
        raise InterchangeError(problem)


def _unique(pairs):
    found = dict(pairs)
    _require(len(found) == len(pairs), "the header has a name twice")
    return found


def _parse(data, size):
    length = int.from_bytes(data[:8], "little")
    _require(len(data) == size >= 8, "the file is too short")
    _require(
        length <= min(size - 8, _LONGEST),
        f"a header of {length} bytes does not fit in a file of {size} bytes, or is "
        f"longer than {_LONGEST}",
    )
    try:
        text = data[8 : 8 + length].decode()
        header = json.loads(text, object_pairs_hook=_unique)
    except InterchangeError:
        raise
    except (ValueError, RecursionError) as error:
        raise InterchangeError(f"the header is no JSON: {error}") from error
    _require(isinstance(header, dict), "the header is no table")
    metadata = header.pop(_METADATA, {})
    _require(
        isinstance(metadata, dict)
        and all(isinstance(value, str) for value in metadata.values()),
        "the metadata is no table of texts",
    )
    body = memoryview(data)[8 + length :]
    arrays, spans = {}, []
    for name, entry in header.items():
        arrays[name], span = _array(name, entry, body)
        spans.append(span)
    spans.sort()
    ends = [0, *(end for _, end in spans)]
    _require(
        [start for start, _ in spans] == ends[:-1] and ends[-1] == len(body),
        "arrays overlap, or bytes belong to none",
    )
    for name, kept in metadata.items():  # the other name of a tied weight
        if kept in arrays and name not in arrays:
            arrays[name] = arrays[kept]
    return arrays, metadata


def _array(name, entry, body):
    shown = repr(name[:80])
    _require(
        isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "data_offsets"},
        f"{shown}: not described by dtype, shape and data_offsets",
    )
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    _require(
        isinstance(kind, str) and kind in _TYPES,
        f"{shown}: arrays of type {str(kind)[:20]!r} are not read",
    )
    _require(
        all(
            isinstance(numbers, list)
            and all(type(n) is int and 0 <= n < 1 << 62 for n in numbers)
            for numbers in (shape, offsets)
        )
        and len(shape) <= 8
        and len(offsets) == 2,
        f"{shown}: impossible shape or offsets",
    )
    start, end = offsets
    dtype = np.dtype(_TYPES[kind])
    _require(
        start <= end <= len(body) and end - start == math.prod(shape) * dtype.itemsize,
        f"{shown}: {kind} {tuple(shape)} is not what bytes {start} to {end} of "
        f"{len(body)} hold",
    )
    raw = np.frombuffer(body[start:end], np.uint8)
    if kind == "BOOL":
        _require(not raw.size or raw.max() <= 1, f"{shown}: booleans that are not")
    array = raw.view(dtype).reshape(shape)
    if kind == "BF16":  # the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array, (start, end)


def write_safetensors(
    path: PathLike, arrays: Mapping[str, Array], metadata: Mapping[str, str]
) -> None:
    """Write arrays, those of the widest type first, and metadata, atomically."""
    named = {name: np.asarray(array) for name, array in arrays.items()}
    odd = [name for name, array in named.items() if array.dtype not in _NAMES]
    if odd:
        raise InterchangeError(
            f"{odd[0]}: safetensors has no place for {named[odd[0]].dtype}"
        )
    order = sorted(named, key=lambda name: (-named[name].dtype.itemsize, name))
    header: dict = {_METADATA: dict(metadata)} if metadata else {}
    position = 0
    for name in order:
        array = named[name]
        span = [position, position + array.nbytes]
        kind = {"dtype": _NAMES[array.dtype], "shape": list(array.shape)}
        header[name] = {**kind, "data_offsets": span}
        position = span[1]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic_output(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(np.ascontiguousarray(named[name]).tobytes())


def _torch(why):
    try:
        import torch
    except ImportError as error:
        raise InterchangeError(
            f"{why} takes PyTorch: pip install torch, or use a .safetensors file"
        ) from error
    return torch


def read_pt(path: PathLike) -> dict:
    """Return what a file of ``torch.save`` has, if it is tensors and plain values."""
    torch = _torch(f"reading {os.fspath(path)}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:
        raise InterchangeError(
            f"{os.fspath(path)}: PyTorch does not load it: {error}"
        ) from error


def write_pt(path: PathLike, arrays: Mapping[str, Array]) -> None:
    """Write arrays as ``torch.save`` writes a ``state_dict``."""
    torch = _torch(f"writing {os.fspath(path)}")
    tensors = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
    with atomic_output(path) as file:
        torch.save(tensors, file)
