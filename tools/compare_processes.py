"""Compare processes that train together with each other, and with one process.

Each configuration, of an optimizer, a cell and a kind of data, trains a tiny model for
some updates in float64. Counted is whether the parameters are the same bytes in all
processes after each of them, and measured by how much they differ, after 4 and after
50 updates, from those of one process with the whole batch. The data are windows, steps,
both with ignored labels and with tracks that are not a multiple of the processes, and
examples whose last batch is so short that a process may have none.

    mpiexec -n 3 python -m tools.compare_processes
"""

import argparse
import hashlib
import sys
import tempfile

import numpy as np

import dyrnn
from dyrnn import distributed, optimizers, training
from tests.distributed import work

# Differences allowed after so many updates.
LIMITS = {4: 1e-14, 50: 1e-11}
KINDS = {"window": 5, "step": 5, "ignored": 5, "ignored steps": 5, "short": 6}
RULES = [name for name in sorted(vars(optimizers)) if name[0].isupper()]
RULES.remove("Optimizer")


def parameters(trainer):
    """Return all parameters, by name, as one array."""
    params = sorted(trainer.updater.get_optimizer().target.namedparams())
    return np.concatenate([param.array.ravel() for _, param in params])


def train(communicator, options, updates):
    """Return the parameters after the updates of LIMITS, and a hash after each."""
    dyrnn.random.seed(3)
    kept, digests = {}, []
    with tempfile.TemporaryDirectory() as out:
        updater = work.updater(**options)
        trainer = training.Trainer(updater, (updates, "iteration"), out)

        def keep(trainer):
            array = parameters(trainer)
            digests.append(hashlib.sha256(array.tobytes()).hexdigest())
            if trainer.updater.iteration in LIMITS:
                kept[trainer.updater.iteration] = array

        trainer.extend(keep, trigger=(1, "iteration"))
        if communicator is not None:
            distributed.distribute(trainer, communicator, updates + 1)
        trainer.run()
    return kept, digests


def compare(communicator, options, updates):
    """Return after how many updates all bytes are the same, and the differences."""
    kept, digests = train(communicator, options, updates)
    everywhere = communicator.allgather_object(digests, "the comparison")
    same = sum(len(set(each)) == 1 for each in zip(*everywhere, strict=True))
    differences = None
    with communicator.announce("the training in one process"):
        if communicator.rank == 0:
            alone, _ = train(None, options, min(updates, max(LIMITS)))
            differences = {at: abs(kept[at] - alone[at]).max() for at in alone}
    return same, communicator.broadcast_object(differences, "the comparison")


def main():
    """Compare all configurations; print those that differ, and a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--rules", nargs="*", default=RULES, choices=RULES)
    parser.add_argument("--cells", nargs="*", default=["LSTM", "GRU"])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    args = parser.parse_args()
    communicator = distributed.create_communicator("mpi", deadline=60)
    dyrnn.config.dtype = "float64"
    worst: dict = {}
    done = bad = identical = 0
    for kind in args.kinds:
        for cell in args.cells:
            for rule in args.rules:
                options = {"case": kind, "tracks": KINDS[kind]}
                options.update(cell=cell, optimizer=rule)
                same, found = compare(communicator, options, args.updates)
                done, identical = done + 1, identical + (same == args.updates)
                for at, value in found.items():
                    worst[rule, at] = max(worst.get((rule, at), 0.0), value)
                is_far = any(not value <= LIMITS[at] for at, value in found.items())
                bad += is_far or same != args.updates
                if is_far or same != args.updates:
                    text = ", ".join(f"{v:.1e} after {at}" for at, v in found.items())
                    print(f"{rule}, {cell}, {kind}: {same} same; {text}", flush=True)
            print(f"{kind}, {cell}: {done - bad} of {done} so far", flush=True)
    for (rule, at), value in worst.items():
        print(f"{rule}: at most {value:.1e} after {at} updates")
    print(
        f"{communicator.size} processes: {identical} of {done} configurations the same "
        f"bytes after each of {args.updates} updates; {done - bad} also within limits",
        flush=True,
    )
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
