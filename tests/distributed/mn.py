"""What test_chainermn.py runs in each of several processes: ``chainermn`` at work."""

import json
import sys
from pathlib import Path

import numpy as np

import dyrnn.chainer as chainer
import dyrnn.chainer.functions as F
import dyrnn.chainer.links as L
from dyrnn.chainer import mn, training
from dyrnn.chainer.training import extensions


class Model(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.a, self.b = L.Linear(None, 6), L.Linear(6, 1)

    def __call__(self, x, t):
        loss = F.mean_squared_error(self.b(F.tanh(self.a(x))), t)
        chainer.report({"loss": loss}, self)
        return loss


def examples(n):
    x = np.random.RandomState(0).normal(size=(n, 3)).astype("f")
    return [(row, row[:1] * row[1:2]) for row in x]


def trained(comm, out, updates, resumed=False):
    """Train; return what is to be equal in all processes."""
    np.random.seed(comm.rank)  # models differ until the first update
    model = Model()
    optimizer = mn.create_multi_node_optimizer(chainer.optimizers.Adam(0.01), comm)
    optimizer.setup(model)
    train = mn.scatter_dataset(examples(24) if comm.rank == 0 else None, comm)
    test = mn.scatter_dataset(
        examples(7) if comm.rank == 0 else None, comm, force_equal_length=False
    )
    iterator = chainer.iterators.SerialIterator(train, 4, shuffle=False)
    updater = training.StandardUpdater(iterator, optimizer)
    trainer = training.Trainer(updater, (updates, "iteration"), out)
    iterator = chainer.iterators.SerialIterator(test, 10, False, False)
    evaluator = extensions.Evaluator(iterator, model)
    evaluator = mn.create_multi_node_evaluator(evaluator, comm)
    trainer.extend(evaluator, trigger=(6, "iteration"))
    checkpointer = mn.create_multi_node_checkpointer("run", comm, cp_interval=2)
    trainer.extend(checkpointer, trigger=(6, "iteration"))
    if resumed:
        checkpointer.maybe_load(trainer, optimizer)
        assert updater.iteration == 12, updater.iteration
    trainer.run()
    x, t = chainer.dataset.concat_examples(examples(7))
    loss = float(F.mean_squared_error(model.b(F.tanh(model.a(x))), t).array)
    parameters = [p.array.ravel().tolist() for _, p in sorted(model.namedparams())]
    return {"parameters": parameters, "loss": loss, "told": evaluator()}


def main(path):
    comm = mn.create_communicator("pure_nccl")
    out = Path(path).parent / "run"
    first = trained(comm, out, 12)
    more = trained(comm, out, 18, resumed=True)
    whole = trained(comm, out.with_name("other"), 18)
    found = {
        "rank": comm.rank,
        "size": comm.size,
        "runs": [first, more, whole],
        "files": sorted(p.name for p in out.glob("run.0.*")),
        "sum": comm.allreduce(np.arange(3) + comm.rank).tolist(),
        "gathered": comm.gather_obj(comm.rank, root=1),
        "dealt": comm.scatter_obj(list("abcd")[: comm.size]),
        "range": mn.scatter_index(7, comm, force_equal_length=False),
        "half": comm.split(comm.rank % 2, comm.rank).size,
    }
    if comm.rank == 0:
        comm.send_obj({"from": 0}, 1, 3)
    if comm.rank == 1:
        found["received"] = comm.recv_obj(0, 3)
    everyone = comm.allgather_obj(found)
    if comm.rank == 0:
        Path(path).write_text(json.dumps(everyone))


if __name__ == "__main__":
    main(sys.argv[1])
