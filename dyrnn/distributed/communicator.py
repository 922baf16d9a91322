"""Processes that train together: who they are, and what they say to each other.

The engine is MPI, through mpi4py; between GPUs, NCCL through CuPy adds up the arrays.
Every operation here is collective, and says where it is while it waits, so that the
`Guard` can tell who is missing. Duplicates of MPI's world keep apart what updates,
snapshots and guards send.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import warnings
from typing import Any

import numpy as np

from dyrnn import backend, console, kernels
from dyrnn.config import config
from dyrnn.distributed.guard import Guard

_SMALL = 1 << 14  # bytes: smaller arrays are added up together
_CHUNK = 1 << 30  # MPI counts in 32 bits


class Communicator:
    """One of several processes that train together, made by `create_communicator`.

    Attributes
    ----------
    rank : int
        The number of this process, from 0.
    size : int
        How many there are.
    sent : int
        Bytes of gradients that this process has put into exchanges.
    """

    def __init__(self, mpi: Any, world: Any, deadline: float, patience: float) -> None:
        self._mpi = mpi
        self._updates, self._objects = world.Dup(), world.Dup()
        self.rank: int = world.Get_rank()
        self.size: int = world.Get_size()
        self.sent = 0
        self.guard = Guard(mpi, world.Dup(), deadline, patience)

    def announce(self, what: str) -> contextlib.AbstractContextManager:
        """Say that what is done in the block may take long, and the others wait."""
        return self.guard.announced(what)

    def allgather(self, row: np.ndarray, where: str) -> np.ndarray:
        """Return the row of numbers (N,) of each process: (size, N)."""
        table = np.empty((self.size, *row.shape), row.dtype)
        with self.guard.waiting(where):
            self._updates.Allgather(row, table)
        return table

    def add_up(self, arrays: list, where: str) -> None:
        """Add arrays, of the same shapes everywhere, over all processes, in place."""
        small: dict[Any, list] = {}
        with self.guard.waiting(where):
            for array in arrays:
                self.sent += array.nbytes
                if array.nbytes < _SMALL or array.dtype == np.float16:
                    small.setdefault(array.dtype, []).append(array)
                else:
                    self._add_up_one(array)
            for dtype, group in small.items():
                self._add_up_packed(group, dtype)

    def _add_up_packed(self, group, dtype):
        """Add up small arrays in one buffer; halves in single precision."""
        working = np.float32 if dtype == np.float16 else dtype
        xp = backend.get_array_module(group[0])
        buffer = xp.concatenate([array.ravel() for array in group]).astype(
            working, copy=False
        )
        self._add_up_one(buffer)
        start = 0
        for array in group:
            part = buffer[start : start + array.size]
            array[...] = part.reshape(array.shape).astype(dtype)
            start += array.size

    def _add_up_one(self, array):
        on_host = np.ascontiguousarray(backend.to_cpu(array))
        flat = on_host.reshape(-1)
        step = _CHUNK // flat.itemsize
        for start in range(0, flat.size, step):
            self._updates.Allreduce(self._mpi.IN_PLACE, flat[start : start + step])
        if on_host is not array:
            array[...] = backend.device_of(array).send(on_host)

    def gather_rows(
        self, ids: np.ndarray, values: np.ndarray, counts: np.ndarray, where: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ids (N,) and rows (N, D) of all processes, in the order of ranks."""
        width = 8 + values.itemsize * values.shape[1]
        own = np.empty((len(ids), width), np.uint8)
        own[:, :8] = ids.astype(np.int64)[:, None].view(np.uint8)
        own[:, 8:] = np.ascontiguousarray(values).view(np.uint8)
        self.sent += own.nbytes
        everything = np.empty((int(counts.sum()), width), np.uint8)
        row = self._mpi.BYTE.Create_contiguous(width).Commit()  # which MPI counts by
        with self.guard.waiting(where):
            self._updates.Allgatherv(
                [own, len(ids), row], [everything, counts.astype(int).tolist(), row]
            )
        row.Free()
        found = np.ascontiguousarray(everything[:, :8]).view(np.int64)[:, 0]
        rows = np.ascontiguousarray(everything[:, 8:]).view(values.dtype)
        return found, rows

    def allgather_object(self, value: Any, where: str) -> list[Any]:
        """Return the value of each process, any that can be pickled."""
        with self.guard.waiting(where):
            return self._objects.allgather(value)

    def broadcast_object(self, value: Any, where: str) -> Any:
        """Return the value of the first process."""
        with self.guard.waiting(where):
            return self._objects.bcast(value)

    def broadcast_bytes(self, content: bytes, where: str) -> bytes:
        """Return the bytes of the first process."""
        size = self.broadcast_object(len(content), where)
        buffer = np.empty(size, np.uint8)
        if self.rank == 0:
            buffer[:] = np.frombuffer(content, np.uint8)
        with self.guard.waiting(where):
            for start in range(0, size, _CHUNK):
                self._objects.Bcast(buffer[start : start + _CHUNK])
        return buffer.tobytes()

    def broadcast_array(self, array: Any, where: str) -> None:
        """Give all processes the values of the first one's array, in place."""
        on_host = np.ascontiguousarray(backend.to_cpu(array))
        content = on_host.view(np.uint8).tobytes() if self.rank == 0 else b""
        content = self.broadcast_bytes(content, where)
        if self.rank:
            found = np.frombuffer(content, on_host.dtype).reshape(array.shape)
            array[...] = backend.device_of(array).send(found.copy())


class _NcclCommunicator(Communicator):
    """Adds arrays up on the GPUs, without a way over the hosts."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        from dyrnn.kernels.cuda import nccl

        unique = nccl.unique_id() if self.rank == 0 else None
        unique = self.broadcast_object(unique, "the setup of NCCL")
        with self.announce("the setup of NCCL"):
            self._nccl = nccl.Nccl(self.size, unique, self.rank)

    def _add_up_one(self, array):
        if backend.get_array_module(array) is np:
            super()._add_up_one(array)
        else:
            self._nccl.add_up(array)


_made: list[Communicator] = []


def current() -> Communicator | None:
    """Return the communicator of this process, if it has made one."""
    return _made[0] if _made else None


def create_communicator(
    name: str = "mpi",
    deadline: float = 6.0,
    patience: float = 600.0,
    quiet: bool = True,
) -> Communicator:
    """Join the processes that ``mpiexec -n N python script.py`` has started.

    To be called once, before the model is made. The processes of a machine share its
    cores: each gets as many threads as there are cores for it, or fewer, where
    ``dyrnn.config.threads`` or the BLAS says so; the first process prints how many.

    Parameters
    ----------
    name : {"mpi", "nccl"}
        What adds up the gradients: MPI in the memory of the machines, or NCCL between
        GPUs, of which each process then has one of its own.
    deadline : float
        Seconds. When the others have waited so long for a process, and ten times as
        long as the slowest update took, all are ended. Silence of a process, which is
        stopped or whose machine is gone, ends them after this time in any case.
    patience : float
        Seconds that are given to what is announced: evaluations and snapshots.
    quiet : bool
        Whether what processes other than the first print goes nowhere, and their
        warnings; not so errors.

    Raises
    ------
    ImportError
        Without mpi4py, or without an MPI library.
    """
    if name not in ("mpi", "nccl"):
        raise ValueError(
            f"there is no communicator {name!r}; use 'mpi', or 'nccl' between GPUs"
        )
    if not (deadline > 0 and patience > 0):
        raise ValueError(
            f"deadline {deadline} and patience {patience} are seconds above 0"
        )
    if _made:
        raise RuntimeError(
            "create_communicator was called before: a process has one communicator"
        )
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"training by several processes needs mpi4py and an MPI library ({error}). "
            "Install both: pip install 'dyrnn[mpi]'"
        ) from error
    kind = Communicator if name == "mpi" else _NcclCommunicator
    communicator = kind(MPI, MPI.COMM_WORLD, deadline, patience)
    _made.append(communicator)
    communicator.guard.start()
    atexit.register(communicator.guard.finish)
    if communicator.rank and quiet:
        warnings.simplefilter("ignore")
        console.be_quiet()
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    _share_cores(communicator, MPI)
    return communicator


def _share_cores(communicator, mpi):
    here = mpi.COMM_WORLD.Split_type(mpi.COMM_TYPE_SHARED)
    allowed = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    all_allowed = here.allgather(set(allowed))
    cores = len(set().union(*all_allowed))
    share = max(1, min(len(allowed), cores // here.Get_size()))
    config.threads = min(share, kernels.threads())
    machines = communicator.allgather_object(here.Get_rank() == 0, "the start")
    here.Free()
    # A launcher says which process was killed, but not which rank it has.
    everyone = communicator.allgather_object(str(os.getpid()), "the start")
    numbers = [*everyone[:64], *["..."] * (len(everyone) > 64)]
    if communicator.rank == 0 and communicator.size > 1:
        number = sum(machines)
        console.say(
            f"{communicator.size} processes on {number} machine{'s' * (number > 1)}; "
            f"on the first one {len(all_allowed)} share {cores} cores, "
            f"{config.threads} thread{'s' * (config.threads > 1)} each; their numbers, "
            f"by rank: {' '.join(numbers)}"
        )
