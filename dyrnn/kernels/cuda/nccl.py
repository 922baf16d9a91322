"""Sums over the GPUs of several processes, by NCCL through CuPy."""

from __future__ import annotations

from typing import Any

from cupy import ascontiguousarray
from cupy.cuda import get_current_stream, nccl

_TYPES = {
    "float16": nccl.NCCL_FLOAT16,
    "float32": nccl.NCCL_FLOAT32,
    "float64": nccl.NCCL_FLOAT64,
}


def unique_id() -> Any:
    """Return what all processes of one communicator must have: made by one of them."""
    return nccl.get_unique_id()


class Nccl:
    """The GPUs of several processes.

    Parameters
    ----------
    size, rank : int
    unique : tuple
        Of `unique_id`, the same everywhere.
    """

    def __init__(self, size: int, unique: Any, rank: int) -> None:
        self._communicator = nccl.NcclCommunicator(size, unique, rank)

    def add_up(self, array: Any) -> None:
        """Add an array over all processes, in place, without waiting for the sum."""
        flat = ascontiguousarray(array)
        self._communicator.allReduce(
            flat.data.ptr,
            flat.data.ptr,
            flat.size,
            _TYPES[array.dtype.name],
            nccl.NCCL_SUM,
            get_current_stream().ptr,
        )
        if flat is not array:
            array[...] = flat
