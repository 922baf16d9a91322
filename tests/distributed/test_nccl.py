"""What goes over NCCL, on a stand-in: no GPU, and no other process, is needed."""

import contextlib
import ctypes
import sys
import types

import numpy as np
import pytest

from dyrnn import backend
from dyrnn.distributed.communicator import _NcclCommunicator


class Doubling:
    """Adds up over two processes that have the same: everything twice."""

    def __init__(self):
        self.arrays = []

    def add_up(self, array):
        self.arrays.append((array.size, array.dtype))
        array += array


class Host:
    """MPI in the memory of the host, the same."""

    def Allreduce(self, _, array):  # the name of mpi4py
        array += array


@pytest.fixture
def communicator():
    made = object.__new__(_NcclCommunicator)
    made.rank, made.size, made.sent = 0, 2, 0
    made.guard = types.SimpleNamespace(waiting=lambda where: contextlib.nullcontext())
    made._mpi, made._updates = types.SimpleNamespace(IN_PLACE=None), Host()
    made._nccl = Doubling()
    return made


def test_arrays_of_a_gpu_are_added_up_there(communicator, xp, rng):
    values = [
        rng.standard_normal(shape).astype(dtype)
        for shape, dtype in [((600, 500), "f4"), ((3,), "f4"), ((2, 2), "f8")]
    ]
    arrays = [backend.device_of(xp.zeros(1)).send(value.copy()) for value in values]
    communicator.add_up(arrays, "a test")
    for array, value in zip(arrays, values, strict=True):
        np.testing.assert_array_equal(backend.to_cpu(array), 2 * value)
    assert communicator.sent == sum(value.nbytes for value in values)
    assert bool(communicator._nccl.arrays) == (xp is not np)


def test_halves_are_added_up_in_single_precision(communicator, xp):
    arrays = [xp.asarray(np.array([1024, 3], np.float16)) for _ in range(2)]
    communicator.add_up(arrays, "a test")
    for array in arrays:
        assert backend.to_cpu(array).tolist() == [2048, 6]
    types_used = {dtype for _, dtype in communicator._nccl.arrays}
    assert types_used <= {np.dtype(np.float32)}


def test_nccl_is_given_the_address_size_and_type_of_an_array(monkeypatch):
    calls = []

    class Communicator:
        def __init__(self, *arguments):
            self.arguments = arguments

        def allReduce(self, source, target, size, dtype, operation, stream):
            calls.append((size, dtype, operation, stream))
            assert source == target
            numbers = (ctypes.c_float * size).from_address(source)
            for i in range(size):
                numbers[i] *= 2

    nccl = types.SimpleNamespace(
        NCCL_FLOAT16=6,
        NCCL_FLOAT32=7,
        NCCL_FLOAT64=8,
        NCCL_SUM=0,
        NcclCommunicator=Communicator,
        get_unique_id=lambda: (1, 2),
    )
    cupy, cuda = types.ModuleType("cupy"), types.ModuleType("cupy.cuda")
    cuda.nccl = nccl
    cuda.get_current_stream = lambda: types.SimpleNamespace(ptr=5)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cuda)
    monkeypatch.delitem(sys.modules, "dyrnn.kernels.cuda.nccl", raising=False)

    class Array(np.ndarray):
        @property
        def data(self):
            return types.SimpleNamespace(ptr=self.ctypes.data)

    cupy.ascontiguousarray = lambda array: (
        array if array.flags.c_contiguous else np.array(array).view(Array)
    )
    from dyrnn.kernels.cuda.nccl import Nccl, unique_id

    made = Nccl(2, unique_id(), 1)
    assert made._communicator.arguments == (2, (1, 2), 1)
    array = np.arange(6, dtype=np.float32).reshape(2, 3).view(Array)
    made.add_up(array)
    assert array.tolist() == [[0, 2, 4], [6, 8, 10]]
    made.add_up(array.T)  # not in one piece
    assert array.tolist() == [[0, 4, 8], [12, 16, 20]]
    assert calls == [(6, 7, 0, 5)] * 2
    monkeypatch.delitem(sys.modules, "dyrnn.kernels.cuda.nccl")
