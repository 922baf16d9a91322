"""ChainerMN's names for scripts that train data-parallel: ``import chainermn``.

There is one process here, of rank 0 and size 1: a script runs as it would under
``mpiexec -n 1``, its optimizer, evaluator and dataset being those it has made.
"""

import numpy as np

from dyrnn.chainer.datasets.combined import SubDataset
from dyrnn.config import launched_processes

__version__ = "7.8.1"
_NAMES = ("dummy", "flat", "naive", "non_cuda_aware", "pure_nccl")


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
            "chainermn of dyrnn has one process: there is no other to send to or to "
            "receive from."
        )

    allreduce = bcast_obj = allreduce_obj = bcast
    broadcast_data, allreduce_grad = bcast_data, multi_node_mean_grad
    send = recv = send_obj = recv_obj = _no_peer


def create_communicator(communicator_name="pure_nccl", mpi_comm=None, **kwargs):
    """Return the communicator of this process, whatever the name."""
    if communicator_name not in _NAMES:
        raise ValueError(f'Unrecognized communicator: "{communicator_name}"')
    size = launched_processes() if mpi_comm is None else getattr(mpi_comm, "size", 1)
    if size != 1:  # each would train alone, on all of the data
        raise RuntimeError(
            f"chainermn of dyrnn has one process, but MPI has {size}. Start the script "
            "without mpiexec."
        )
    unknown = kwargs.keys() - {"allreduce_grad_dtype", "batched_copy"}
    if unknown:
        raise TypeError(f"create_communicator() has no argument {min(unknown)!r}")
    return CommunicatorBase()


def create_multi_node_optimizer(
    actual_optimizer, communicator, double_buffering=False, zero_fill=True
):
    """Return the optimizer: the mean over one process is its own gradient."""
    return actual_optimizer


def create_multi_node_evaluator(actual_evaluator, communicator):
    """Return the evaluator."""
    return actual_evaluator


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
    """Return this process's part of a dataset: all of it, shuffled if asked for."""
    order = None
    if shuffle:
        order = np.random.RandomState(seed).permutation(len(dataset))
    return SubDataset(dataset, 0, len(dataset), order)


def scatter_index(n_total_samples, comm, root=0, *, force_equal_length=True):
    """Return the range of this process's examples, (0, n)."""
    return 0, n_total_samples


def __getattr__(name):
    raise AttributeError(
        f"chainermn.{name} is not part of dyrnn.chainer, which has chainermn for "
        "data-parallel scripts in one process."
    )
