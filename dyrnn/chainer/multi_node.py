"""ChainerMN among several processes: what ``chainermn`` does under ``mpiexec -n N``.

Messages go through the room of the processes, `dyrnn.distributed`, whose guard ends all
of them where one fails.
"""

import os
import re

import numpy as np

from dyrnn.backend import to_cpu
from dyrnn.chainer.datasets.combined import SubDataset
from dyrnn.chainer.serializers import load_npz, save_npz
from dyrnn.chainer.training.bases import Extension

_PATIENCE = 600.0  # seconds: ChainerMN's processes may wait long for each other


def world_size():
    """Return how many processes MPI knows."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"chainermn: several processes need mpi4py and an MPI library ({error}). "
            "Install both: pip install 'dyrnn[mpi]'"
        ) from error
    return MPI.COMM_WORLD.Get_size()


class MpiCommunicator:
    """Several processes: a communicator of mpi4py, and ChainerMN's names for it."""

    def __init__(self, mpi_comm=None, room=None):
        from mpi4py import MPI

        from dyrnn import distributed

        if room is None:
            room = distributed.current() or distributed.create_communicator(
                deadline=_PATIENCE, quiet=False
            )
        self.mpi_comm = (mpi_comm or MPI.COMM_WORLD).Dup()
        self._room = room
        self.rank, self.size = self.mpi_comm.Get_rank(), self.mpi_comm.Get_size()
        here = self.mpi_comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.intra_rank, self.intra_size = here.Get_rank(), here.Get_size()
        firsts = self.mpi_comm.allgather(here.bcast(self.rank))
        self.inter_size = len(set(firsts))
        self.inter_rank = sorted(set(firsts)).index(firsts[self.rank])
        here.Free()

    def _all(self, name, *args, **kwargs):
        """Call a method of the communicator, in which all wait for all."""
        with self._room.guard.waiting(f"{name} of chainermn"):
            return getattr(self.mpi_comm, name)(*args, **kwargs)

    def bcast_obj(self, obj, max_buf_len=None, root=0):
        return self._all("bcast", obj, root=root)

    def gather_obj(self, obj, root=0):
        return self._all("gather", obj, root=root)

    def allreduce_obj(self, obj):
        return self._all("allreduce", obj)

    def allgather_obj(self, obj):
        return self._all("allgather", obj)

    def scatter_obj(self, objs, root=0):
        return self._all("scatter", objs, root=root)

    bcast = bcast_obj

    def gather(self, data, root=0):
        found = self.gather_obj(data, root)
        return None if found is None else tuple(found)

    def allgather(self, x):
        return tuple(self._all("allgather", x))

    def alltoall(self, xs):
        return tuple(self._all("alltoall", list(xs)))

    def allreduce(self, data):
        """Return the sum over all processes."""
        return self._all("allreduce", data)

    scatter = scatter_obj

    def send(self, data, dest, tag=0):
        self.mpi_comm.send(data, dest=dest, tag=tag)

    def recv(self, source, tag=0):
        return self._all("recv", source=source, tag=tag)

    send_obj, recv_obj = send, recv

    def bcast_data(self, model):
        """Give all processes the first one's parameters, in place."""
        for _, param in sorted(model.namedparams()):
            if param.array is not None:
                found = self.bcast_obj(to_cpu(param.array))
                param.array[...] = param.device.send(found)

    def multi_node_mean_grad(self, model, zero_fill=False):
        """Replace the gradients by their mean over all processes."""
        params = [p for _, p in sorted(model.namedparams()) if p.array is not None]
        if zero_fill:
            for param in params:
                if param.grad is None:
                    param.grad = param.device.xp.zeros_like(param.array)
        params = [param for param in params if param.grad is not None]
        gradients = [to_cpu(param.grad) for param in params]
        for dtype in sorted({str(gradient.dtype) for gradient in gradients}):
            chosen = [i for i, g in enumerate(gradients) if str(g.dtype) == dtype]
            buffer = np.concatenate([gradients[i].ravel() for i in chosen])
            if dtype == "float16":
                buffer = buffer.astype(np.float32)
            self._add_up(buffer)
            buffer = (buffer / buffer.dtype.type(self.size)).astype(dtype)
            start = 0
            for i in chosen:
                shape, stop = gradients[i].shape, start + gradients[i].size
                params[i].grad = params[i].device.send(
                    buffer[start:stop].reshape(shape)
                )
                start = stop

    def _add_up(self, buffer):
        from mpi4py import MPI

        self._all("Allreduce", MPI.IN_PLACE, buffer)

    broadcast_data, allreduce_grad = bcast_data, multi_node_mean_grad

    def split(self, color, key):
        """Return a communicator of the processes of this color."""
        return MpiCommunicator(self._all("Split", color, key), self._room)

    def finalize(self):
        """Do nothing: the room closes at the end of the program."""


class MultiNodeOptimizer:
    """An optimizer whose gradients are the means over all processes."""

    def __init__(self, actual_optimizer, communicator, zero_fill):
        own = {"actual_optimizer": actual_optimizer, "communicator": communicator}
        vars(self).update(own, zero_fill=zero_fill, known=None)

    def setup(self, link):
        self.actual_optimizer.setup(link)
        return self

    def update(self, lossfun=None, *args, **kwargs):
        """Compute the loss, and update all processes alike.

        They begin with the first one's parameters, which are sent before the first loss
        is computed; without a loss the first call sends them and updates nothing.
        """
        target, comm = self.target, self.communicator
        is_new = self._is_new()
        if is_new:
            comm.bcast_data(target)
        if lossfun is None and is_new:
            self._is_new()
            return
        if lossfun is not None:
            loss = lossfun(*args, **kwargs)
            if self._is_new():  # parameters that waited for their input
                comm.bcast_data(target)
                loss = lossfun(*args, **kwargs)
            if kwargs.get("use_cleargrads", getattr(self, "_use_cleargrads", True)):
                target.cleargrads()
            else:
                target.zerograds()
            loss.backward(loss_scale=getattr(self, "_loss_scale", None))
            del loss
        comm.multi_node_mean_grad(target, self.zero_fill)
        self.actual_optimizer.update(None)

    def _is_new(self):
        """Whether there are parameters that were not sent."""
        found = [
            path for path, p in sorted(self.target.namedparams()) if p.array is not None
        ]
        is_new, vars(self)["known"] = found != self.known, found
        return is_new

    def __getattr__(self, name):
        return getattr(vars(self)["actual_optimizer"], name)

    def __setattr__(self, name, value):
        setattr(self.actual_optimizer, name, value)


def evaluator_of_all(evaluator, comm):
    """Let an evaluator return means over all processes, weighed by their examples."""
    evaluate = evaluator.evaluate

    def everywhere():
        found = {name: float(to_cpu(v)) for name, v in evaluate().items()}
        count = len(getattr(evaluator.get_iterator("main"), "dataset", (0,)))
        parts = comm.allgather_obj((found, count))
        total = sum(count for _, count in parts)
        return {
            name: sum(values[name] * count for values, count in parts) / total
            for name in sorted(found)
        }

    evaluator.evaluate = everywhere
    return evaluator


def scattered(dataset, comm, root, shuffle, seed, force_equal_length):
    """Return this process's part of the root's dataset."""
    order = None
    if comm.rank == root and shuffle:
        order = np.random.RandomState(seed).permutation(len(dataset))
    dataset, order = comm.bcast_obj((dataset, order), root=root)
    start, stop = scattered_range(len(dataset), comm, force_equal_length)
    return SubDataset(dataset, start, stop, order)


def scattered_range(n, comm, force_equal_length):
    """Return the range of this process's examples, of n; equal parts may overlap."""
    if force_equal_length:
        start = n * comm.rank // comm.size
        return start, start + -(-n // comm.size)
    more = min(comm.rank, n % comm.size)
    start = n // comm.size * comm.rank + more
    return start, start + n // comm.size + (comm.rank < n % comm.size)


class Checkpointer(Extension):
    """Snapshots of every process, of which the newest that all have is loaded.

    A file is ``NAME.RANK.ITERATION`` in ``path``, by default the trainer's ``out``.
    """

    trigger = (1, "epoch")
    priority = -100

    def __init__(self, name, comm, cp_interval=5, gc_interval=5, path=None):
        self.name, self.comm, self.path = name, comm, path
        self.kept = cp_interval

    def __call__(self, trainer):
        self.save(trainer, trainer.updater.iteration)

    def save(self, target, iteration):
        """Save; all processes call this at the same iteration."""
        folder = self.path or target.out
        os.makedirs(folder, exist_ok=True)
        save_npz(self._file(folder, iteration), target)
        for old in self._everywhere(folder)[: -self.kept]:
            os.remove(self._file(folder, old))

    def maybe_load(self, trainer, optimizer=None, path=None):
        """Load the newest snapshot that all processes have, if there is one."""
        folder = path or self.path or trainer.out
        found = self._everywhere(folder)
        if found:
            load_npz(self._file(folder, found[-1]), trainer)

    def _file(self, folder, iteration):
        return os.path.join(folder, f"{self.name}.{self.comm.rank}.{iteration}")

    def _everywhere(self, folder):
        names = os.listdir(folder) if os.path.isdir(folder) else []
        pattern = re.compile(rf"{re.escape(self.name)}\.{self.comm.rank}\.(\d+)")
        own = {int(m[1]) for m in map(pattern.fullmatch, names) if m}
        return sorted(set.intersection(*self.comm.allgather_obj(own)))
