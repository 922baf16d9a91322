"""Every iterator fits into a snapshot file and comes back from it."""

import numpy as np
import pytest

from dyrnn import random
from dyrnn.errors import SnapshotError
from dyrnn.iterators import (
    BucketIterator,
    MultiprocessIterator,
    MultithreadIterator,
    ParallelSequentialIterator,
    SerialIterator,
    WindowIterator,
)
from dyrnn.serializers import load_npz, save_npz
from tests.arrays import every_device, xp

MAKERS = {
    "serial": lambda: SerialIterator(range(7), 3),
    "unshuffled": lambda: SerialIterator(range(7), 3, shuffle=False),
    "threads": lambda: MultithreadIterator(range(3), 2, n_prefetch=3),
    "processes": lambda: MultiprocessIterator(range(7), 3, n_processes=1),
    "buckets": lambda: BucketIterator(["a", "bc", "d", "ef"], 3),
    "parallel": lambda: ParallelSequentialIterator(np.arange(9), 2),
    "windows": lambda: WindowIterator(np.arange(9), 2, 2),
}


class Run:
    """An iterator and the random streams, as a trainer's snapshot holds them."""

    def __init__(self, iterator):
        self.iterator = iterator

    def serialize(self, s):
        random.serialize(s["random"])
        self.iterator.serialize(s["iterator"])


def batches(iterator, n):
    return [
        ([xp.asarray(part).tolist() for part in next(iterator)], iterator.epoch_detail)
        for _ in range(n)
    ]


@every_device
@pytest.mark.parametrize("name", MAKERS)
def test_iterators_resume_from_a_file(name, tmp_path):
    for steps in (0, 2, 5):
        random.seed(1)
        with MAKERS[name]() as iterator:
            batches(iterator, steps)
            save_npz(tmp_path / "run.npz", Run(iterator))
            expected = batches(iterator, 6)
        random.seed(2)
        with MAKERS[name]() as iterator:
            load_npz(tmp_path / "run.npz", Run(iterator))
            assert batches(iterator, 6) == expected


def test_a_file_without_the_order_is_refused_and_changes_nothing(tmp_path):
    save_npz(tmp_path / "run.npz", SerialIterator(range(7), 3, shuffle=False))
    iterator = SerialIterator(range(7), 3)
    order = iterator.order.copy()
    with pytest.raises(SnapshotError, match="shuffled"):
        load_npz(tmp_path / "run.npz", iterator)

    class Orderless(SerialIterator):
        def serialize(self, s):
            for key in ("size", "batch_size", "position", "epoch", "is_new_epoch"):
                s(key, {"size": 7, "batch_size": 3, "is_new_epoch": False}.get(key, 0))
            s("shuffled", True)
            s("previous_epoch_detail", None)

    save_npz(tmp_path / "run.npz", Orderless(range(7), 3))
    with pytest.raises(SnapshotError, match="not in the file: order, orders_ahead"):
        load_npz(tmp_path / "run.npz", iterator)
    assert (iterator.order == order).all()
