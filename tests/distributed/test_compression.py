"""Only the largest values of gradients are sent; the others are kept, none is lost."""

import threading
import types

import numpy as np
import pytest

import dyrnn
from dyrnn.distributed.compression import Largest


def update(param, processes, gradients):
    """Return what each of some processes, here threads, gets for its gradient."""
    size = len(processes)
    sent = [None] * size
    barrier = threading.Barrier(size, timeout=10)

    def run(rank):
        def gather_rows(places, values, counts, where):
            assert len(places) == len(values) == counts[rank]
            sent[rank] = places, values
            barrier.wait()
            return [np.concatenate(each) for each in zip(*sent, strict=True)]

        communicator = types.SimpleNamespace(size=size, gather_rows=gather_rows)
        processes[rank].add_up(param, results[rank], communicator, "a test")

    results = [gradient.copy() for gradient in gradients]
    threads = [threading.Thread(target=run, args=[rank]) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_no_part_of_a_gradient_is_lost():
    rng = np.random.default_rng(0)
    param = dyrnn.Parameter(np.zeros((20, 30), np.float32))
    processes = [Largest(0.1) for _ in range(3)]
    given = received = 0
    for _ in range(7):
        # whole numbers: their sums are exact in any order
        gradients = rng.integers(-50, 50, (3, 20, 30)).astype(np.float32)
        results = update(param, processes, gradients)
        assert len({result.tobytes() for result in results}) == 1
        assert 60 <= np.count_nonzero(results[0]) <= 180
        given, received = given + gradients.sum(axis=0), received + results[0]
    kept = sum(each.unsent[param] for each in processes).reshape(20, 30)
    assert kept.any()
    np.testing.assert_array_equal(received + kept, given)


def test_values_that_are_not_finite_are_sent_and_not_kept():
    param = dyrnn.Parameter(np.zeros((20, 30), np.float32))
    for bad in np.nan, -np.inf:
        processes = [Largest(0.01), Largest(0.01)]
        gradients = np.ones((2, 20, 30), np.float32)
        gradients[1] = bad
        results = update(param, processes, gradients)
        assert not np.isfinite(results[0]).all()
        assert results[0].tobytes() == results[1].tobytes()
        assert all(np.isfinite(each.unsent[param]).all() for each in processes)


def test_what_cannot_be_sent_in_part_is_refused():
    for share in 0.0, 1.0, 2, True, -0.5, float("nan"), "0.1":
        with pytest.raises(ValueError, match="above 0 and below 1"):
            Largest(share)
    halves = dyrnn.Parameter(np.zeros((100, 100), np.float16))
    with pytest.raises(ValueError, match="leave `largest` out"):
        Largest(0.1).takes(halves)
    assert not Largest(0.1).takes(dyrnn.Parameter(np.zeros(9, np.float32)))
    assert Largest(0.1).takes(dyrnn.Parameter(np.zeros((99, 99), np.float32)))
