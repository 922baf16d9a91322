"""ChainerMN's names for scripts that train data-parallel: ``import chainermn``.

Alone, a process has rank 0 and size 1, and its optimizer, evaluator and dataset are
those it has made. Under ``mpiexec -n N`` see :mod:`dyrnn.chainer.multi_node`.
"""

from dyrnn.chainer.multi_node import (
    Checkpointer,
    MpiCommunicator,
    MultiNodeOptimizer,
    evaluator_of_all,
    scattered,
    scattered_range,
    world_size,
)
from dyrnn.config import launched_processes

__version__ = "7.8.1"
_NAMES = (
    *("dummy", "flat", "hierarchical", "naive", "non_cuda_aware", "pure_nccl"),
    *("single_node", "two_dimensional"),
)


class CommunicatorBase:
    """The only process, talking to itself: collective operations return their input."""

    rank = intra_rank = inter_rank = 0
    size = intra_size = inter_size = 1

    def bcast(self, data, max_buf_len=None, root=0):
        return data

    def gather(self, data, root=0):
        return (data,)

    def gather_obj(self, obj, root=0):
        return [obj]

    def scatter_obj(self, objs, root=0):
        return objs[0]

    def allgather(self, x):
        return (x,)

    def alltoall(self, xs):
        return tuple(xs)

    def scatter(self, xs, root=0):
        return xs[0]

    def bcast_data(self, model):
        """Give all processes the root's parameters: there is no other one."""

    def multi_node_mean_grad(self, model, zero_fill=False):
        """Replace the gradients by their mean over all processes."""
        if zero_fill:
            for param in model.params(include_uninit=False):
                if param.grad is None:
                    param.grad = param.device.xp.zeros_like(param.array)

    def split(self, color, key):
        return self

    def finalize(self):
        """Do nothing."""

    def _no_peer(self, *args, **kwargs):
        raise RuntimeError(
            "chainermn: this process is the only one: there is no other to send to or "
            "to receive from."
        )

    allreduce = bcast_obj = allreduce_obj = bcast
    allgather_obj = gather_obj
    broadcast_data, allreduce_grad = bcast_data, multi_node_mean_grad
    send = recv = send_obj = recv_obj = _no_peer


def create_communicator(communicator_name="pure_nccl", mpi_comm=None, **kwargs):
    """Return the communicator of this process; all names mean the same."""
    if communicator_name not in _NAMES:
        raise ValueError(f'Unrecognized communicator: "{communicator_name}"')
    unknown = kwargs.keys() - {"allreduce_grad_dtype", "batched_copy"}
    if unknown:
        raise TypeError(f"create_communicator() has no argument {min(unknown)!r}")
    size = launched_processes() if mpi_comm is None else getattr(mpi_comm, "size", 1)
    if size == 1:
        return CommunicatorBase()
    known = world_size() if mpi_comm is None else size
    if known != size:  # each would train alone, on all of the data
        raise RuntimeError(
            f"chainermn: {size} processes were started, but MPI knows {known}: start "
            "them with the mpiexec of the MPI that mpi4py uses"
        )
    return MpiCommunicator(mpi_comm)


def create_multi_node_optimizer(
    actual_optimizer, communicator, double_buffering=False, zero_fill=True
):
    """Return an optimizer whose gradients are means over the processes.

    With ``double_buffering`` they are those of this update, too.
    """
    if communicator.size == 1:
        return actual_optimizer
    return MultiNodeOptimizer(actual_optimizer, communicator, zero_fill)


def create_multi_node_evaluator(actual_evaluator, communicator):
    """Let the evaluator return means over the processes; return it."""
    if communicator.size == 1:
        return actual_evaluator
    return evaluator_of_all(actual_evaluator, communicator)


def create_multi_node_checkpointer(name, comm, cp_interval=5, gc_interval=5, path=None):
    """Return an extension that saves every process, and loads what all have."""
    return Checkpointer(name, comm, cp_interval, gc_interval, path)


def scatter_dataset(
    dataset,
    comm,
    root=0,
    shuffle=False,
    seed=None,
    max_buf_len=256 * 1024 * 1024,
    *,
    force_equal_length=True,
):
    """Return this process's part of the root's dataset, shuffled if asked for."""
    return scattered(dataset, comm, root, shuffle, seed, force_equal_length)


def scatter_index(n_total_samples, comm, root=0, *, force_equal_length=True):
    """Return the range (first, last) of this process's examples."""
    return scattered_range(n_total_samples, comm, force_equal_length)


def create_empty_dataset(dataset):
    """Return as many empty examples."""
    return [()] * len(dataset)


def __getattr__(name):
    raise AttributeError(
        f"chainermn.{name} is not part of dyrnn.chainer, which has chainermn for "
        "data-parallel scripts."
    )
