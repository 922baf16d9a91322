"""Training by several processes, on one machine or many: data parallel.

``mpiexec -n 4 python train.py`` starts the same script four times. In it::

    communicator = distributed.create_communicator("mpi")
    ...                                       # the model, the trainer, as always
    distributed.distribute(trainer, communicator)
    trainer.run()

Each process computes its part of each batch. Their gradients are exchanged between
backward and the update, weighed by labels, so that the update is that of one process
with the whole batch, and parameters stay the same bytes everywhere. A process that
fails or hangs ends all of them within seconds, see `dyrnn.distributed.guard`; the same
command goes on from the last snapshot.

Read `exchange` first, then `trainers`. The core does not know this room: it has hooks,
``Iterator.part``, ``Optimizer.exchange``, ``StandardUpdater.scope``, ``Trainer.world``.
Needs the extra ``mpi``: mpi4py and an MPI library.
"""

from dyrnn.distributed.communicator import Communicator, create_communicator, current
from dyrnn.distributed.exchange import Exchange
from dyrnn.distributed.trainers import distribute, distribute_optimizer, shard

__all__ = [
    "Communicator",
    "Exchange",
    "create_communicator",
    "current",
    "distribute",
    "distribute_optimizer",
    "shard",
]
