"""Contents of a snapshot to a file: durable, verifiable, and always the same bytes."""

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from dyrnn.serializers.archive import (
    encode_end,
    encode_header,
    encode_member,
    sha256,
    storable,
)
from dyrnn.serializers.atomic import atomic_output, sync
from dyrnn.serializers.manifest import NAME, encode_manifest, encode_value
from dyrnn.serializers.reader import SnapshotReader

_HASHED_ASIDE = 1 << 20  # bytes; below, changing threads costs more than hashing
_LARGE = 16 << 20  # bytes; below, a second sync costs more than it saves


class Contents(NamedTuple):
    """What a snapshot holds: arrays of the CPU, and all else as JSON has it."""

    arrays: dict
    values: dict


def write_snapshot(path, contents, metadata=None, environment=None, verify=False):
    """Write ``contents`` to ``path``, atomically and durably.

    Parameters
    ----------
    path : str or path-like
        The file; one that exists is replaced as a whole.
    contents : Contents
        Made by :func:`dyrnn.serializers.capture`. Keys are valid and dtypes storable.
    metadata, environment : dict, optional
        For the manifest: anything JSON can hold, such as a vocabulary or settings.
    verify : bool
        Read the file back from the disk and check it before it gets its name.
    """
    arrays = {key: storable(array) for key, array in contents.arrays.items()}
    fields = {
        "metadata": encode_value(metadata or {}),
        "environment": encode_value(environment or {}),
        "values": contents.values,
    }
    # Hashing runs beside writing: both release the interpreter.
    with (
        ThreadPoolExecutor(max_workers=1) as pool,
        atomic_output(path, check=_verify if verify else None) as output,
    ):
        hashes = {
            key: pool.submit(sha256, array)
            for key, array in arrays.items()
            if array.nbytes > _HASHED_ASIDE
        }
        directory = [_write_array(output, key, array) for key, array in arrays.items()]
        if output.tell() > _LARGE:
            sync(output)  # now, while the hashing goes on: the last one is then short
        entries = {
            key: {
                "dtype": array.dtype.str,
                "shape": list(array.shape),
                "size": array.nbytes,
                "sha256": hashes[key].result() if key in hashes else sha256(array),
            }
            for key, array in arrays.items()
        }
        text = encode_manifest({**fields, "arrays": entries}, output.tell())
        directory.append(_write_array(output, NAME, np.frombuffer(text, np.uint8)))
        start = output.tell()
        output.writelines(directory)
        output.write(encode_end(len(directory), start, output.tell() - start))


def _write_array(output, key, array):
    """Write one member and return its entry for the directory."""
    header = encode_header(array.dtype, array.shape)
    body = array.reshape(-1).view(np.uint8)
    size, crc = len(header) + len(body), zlib.crc32(body, zlib.crc32(header))
    name, offset = f"{key}.npy", output.tell()
    output.write(encode_member(name, size, crc))
    output.write(header)
    output.write(body)
    return encode_member(name, size, crc, offset)


def _verify(temporary):
    # What is still in memory says nothing about the disk.
    if hasattr(os, "posix_fadvise"):
        fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
    with SnapshotReader(temporary, require_manifest=True) as reader:
        reader.verify()
