"""The ``.npy`` format, version 1.0, as dyrnn writes it and the little it will read.

NumPy's own reader evaluates the header as a Python literal and believes the shape it
finds. Here one regular expression says what a header may be: plain numbers in C order
and little-endian, at most eight axes, and a size that can be checked before memory is
allocated. What NumPy writes for such arrays passes; everything else is refused.
"""

import math
import re

import numpy as np

from dyrnn.errors import SnapshotError

MAGIC = b"\x93NUMPY\x01\x00"
SMALLEST = 64  # bytes of the shortest header, so of the smallest file
_ALIGNMENT = 64  # of the data, as numpy.save does it
_MAX_AXES = 8
_MAX_BYTES = 1 << 62
DTYPES = frozenset(
    ["|b1", "|u1", "|i1"] + [f"<{kind}{size}" for kind in "iuf" for size in (2, 4, 8)]
)
_HEADER = re.compile(
    rb"\{'descr': '([<|][a-z][0-9]{1,2})', 'fortran_order': (False|True), "
    rb"'shape': (\([0-9, ]{0,180}\)), \} *\n"
)


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
    length = len(MAGIC) + 2 + len(text) + 1
    text += " " * (-length % _ALIGNMENT) + "\n"
    return MAGIC + len(text).to_bytes(2, "little") + text.encode("ascii")


def decode_header(start, size):
    """Return dtype, shape and header length of an ``.npy`` file.

    Parameters
    ----------
    start : bytes
        The first bytes of the file: the header, and any number of bytes of data.
    size : int
        Bytes of the whole file; header and shape must account for all of them.
    """
    if not start.startswith(MAGIC):
        raise SnapshotError(f"not an .npy file of version 1.0: starts with {start[:8]}")
    offset = 10 + int.from_bytes(start[8:10], "little")
    text = start[10:offset]
    match = _HEADER.fullmatch(text) if len(text) == offset - 10 else None
    if match is None:
        raise SnapshotError(f"the .npy header is not one dyrnn reads: {text[:120]!r}")
    descr, fortran_order, shape_text = (part.decode() for part in match.groups())
    if descr not in DTYPES:
        raise SnapshotError(
            f"arrays of dtype {descr!r} are not loaded: only little-endian booleans, "
            "integers and floats are (others need pickle, or are not plain numbers)"
        )
    if fortran_order == "True":
        raise SnapshotError(
            "the array is in Fortran order: save it again with np.ascontiguousarray"
        )
    shape = tuple(int(number) for number in re.findall("[0-9]+", shape_text))
    if str(shape) != shape_text or len(shape) > _MAX_AXES:
        raise SnapshotError(f"the .npy header has an impossible shape {shape_text}")
    dtype = np.dtype(descr)
    if math.prod(n for n in shape if n) * dtype.itemsize > _MAX_BYTES:
        raise SnapshotError(f"the .npy header has an impossible shape {shape_text}")
    if offset + math.prod(shape) * dtype.itemsize != size:
        raise SnapshotError(
            f"an array of {dtype} {shape} takes {math.prod(shape) * dtype.itemsize} "
            f"bytes, but the file holds {size - offset} of them"
        )
    return dtype, shape, offset
