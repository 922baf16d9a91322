"""What is decided by the table of numbers that comes before the gradients."""

import itertools
import types

import numpy as np
import pytest

from dyrnn import NonFiniteError
from dyrnn.distributed import Exchange, shard
from dyrnn.distributed.exchange import _AT, _ROWS
from dyrnn.iterators import SerialIterator, WindowIterator
from dyrnn.reporter import Observation


def shares(*weights, rank=0):
    """Return what a process multiplies its gradients by, given those of all."""
    rows = []
    for each in weights:
        exchange = Exchange(types.SimpleNamespace(rank=rank, size=len(weights)))
        exchange.weights = each
        rows.append(np.full(_ROWS, np.nan))
        exchange._fill(rows[-1], Observation())
    return exchange._share(np.stack(rows))


def test_processes_are_weighed_by_labels():
    assert shares([4], [4]) == (None, 0.5)
    assert shares([3], [1], rank=1) == (0.25, 1.0)
    assert shares([4], [0], rank=1) == (0.0, 1.0)
    assert shares(None, None, None) == (None, 1.0)
    assert shares([0], [0]) == (0.0, 1.0)


def test_losses_that_are_added_have_shares_in_common():
    assert shares([4] * 9, [2] * 9, rank=1) == (pytest.approx(1 / 3), 1.0)
    assert shares([4, 8], [2, 4]) == (pytest.approx(2 / 3), 1.0)
    assert shares([4, 8], [0]) == (1.0, 1.0)
    for first, second in [([4, 8], [2, 5]), ([4, 4, 2], [4, 2, 2])]:
        with pytest.raises(ValueError, match="have different shares"):
            shares(first, second)


def test_loss_of_unknown_labels_is_refused():
    for weights in [float("nan")], [1, 2, 3, 4, 5]:
        with pytest.raises(ValueError, match=r"loss\.count = n"):
            shares(weights, weights)
    with pytest.raises(ValueError, match="a sum in one process and a mean"):
        shares(None, [4])


def test_error_of_one_process_is_told_to_all():
    messages = {"the exchange of update 0": [None, "the loss is nan"]}
    table = np.zeros((2, _ROWS))
    table[1, _AT["refuses"]] = 1
    communicator = types.SimpleNamespace(
        rank=0,
        size=2,
        allgather=lambda row, where: table,
        allgather_object=lambda value, where: messages[where],
    )
    with pytest.raises(NonFiniteError, match="rank 1: the loss is nan") as caught:
        Exchange(communicator)._decide(table[0], [])
    assert caught.value.is_common


@pytest.mark.parametrize("size", [2, 3, 4])
def test_parts_are_the_batch(size):
    batches = []
    for rank in range(size):
        communicator = types.SimpleNamespace(rank=rank, size=size)
        iterator = SerialIterator(list(range(7)), 5, repeat=False, shuffle=False)
        batches.append([list(batch) for batch in shard(iterator, communicator)])
    whole = [[*itertools.chain(*parts)] for parts in zip(*batches, strict=True)]
    assert whole == [[0, 1, 2, 3, 4], [5, 6]]
    lengths = [len(parts[0]) for parts in batches]
    assert max(lengths) - min(lengths) <= 1


def test_what_cannot_be_shared_is_refused():
    communicator = types.SimpleNamespace(rank=0, size=4)
    with pytest.raises(ValueError, match="3 tracks, too few for 4 processes"):
        shard(WindowIterator(np.arange(100), 3, 5), communicator)
    with pytest.raises(TypeError, match="has no `part`"):
        shard(iter([]), communicator)
