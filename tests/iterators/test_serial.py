"""Iterators over examples: which batches, where an epoch ends, and exact resume."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from dyrnn import iterators, random
from dyrnn.errors import SnapshotError
from dyrnn.iterators import (
    BucketIterator,
    MultiprocessIterator,
    MultithreadIterator,
    SerialIterator,
    ShuffleOrderSampler,
)
from tests.arrays import every_device, xp
from tests.iterators.saving import Saved, load, save

ROUND = ("epoch", "is_new_epoch", "epoch_detail", "previous_epoch_detail")


def status(iterator):
    return tuple(getattr(iterator, name) for name in ROUND)


def run(iterator, n):
    return [(next(iterator), status(iterator)) for _ in range(n)]


def bucket(dataset, batch_size, **options):
    return BucketIterator(dataset, batch_size, length=lambda i: i % 7, **options)


def threads(dataset, batch_size, **options):
    return MultithreadIterator(
        dataset, batch_size, n_threads=3, n_prefetch=4, **options
    )


MAKERS = [SerialIterator, threads, bucket]


def test_batches_in_order_fill_up_from_the_next_epoch():
    iterator = SerialIterator(range(5), 2, shuffle=False)
    assert iterator.previous_epoch_detail is None
    assert run(iterator, 5) == [
        ([0, 1], (0, False, 0.4, 0.0)),
        ([2, 3], (0, False, 0.8, 0.4)),
        ([4, 0], (1, True, 1.2, 0.8)),
        ([1, 2], (1, False, 1.6, 1.2)),
        ([3, 4], (2, True, 2.0, 1.6)),
    ]


def test_without_repeat_the_last_batch_is_short():
    iterator = SerialIterator(range(5), 2, repeat=False, shuffle=False)
    assert list(iterator) == [[0, 1], [2, 3], [4]]
    assert status(iterator) == (1, True, 1.0, 0.8)
    with pytest.raises(StopIteration):
        iterator.next()
    assert status(iterator) == (1, True, 1.0, 0.8)
    iterator.reset()
    assert status(iterator) == (0, False, 0.0, None)
    assert list(iterator) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("make", MAKERS)
def test_each_epoch_visits_each_example_once(make):
    for size, batch_size in [(1, 1), (7, 7), (10, 3), (12, 4), (23, 5)]:
        iterator = make(range(size), batch_size)
        seen: list[int] = []
        while iterator.epoch < 3:
            seen += next(iterator)
        for epoch in range(3):
            assert sorted(seen[epoch * size :][:size]) == list(range(size))
        iterator.finalize()


def test_shuffling_is_the_default_and_differs_from_epoch_to_epoch():
    iterator = SerialIterator(range(50), 50)
    first, second = next(iterator), next(iterator)
    assert sorted(first) == sorted(second) == list(range(50))
    assert len({tuple(first), tuple(second), tuple(range(50))}) == 3


def test_shuffling_draws_from_its_stream_and_not_from_numpy():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    first = run(SerialIterator(range(20), 7), 9)
    assert (np.random.get_state()[1] == before).all()
    random.seed(0)
    random.stream("dropout").generator.random(5)
    assert run(SerialIterator(range(20), 7), 9) == first
    random.seed(1)
    assert run(SerialIterator(range(20), 7), 9) != first


def test_order_sampler_takes_the_place_of_shuffling():
    def backwards(order, position):
        return order[::-1]

    iterator = SerialIterator("abcd", 2, order_sampler=backwards)
    assert [next(iterator) for _ in range(4)] == [
        ["d", "c"],
        ["b", "a"],
        ["a", "b"],
        ["c", "d"],
    ]
    with pytest.raises(ValueError, match="give shuffle or order_sampler, not both"):
        SerialIterator("abcd", 2, shuffle=True, order_sampler=backwards)


def test_order_sampler_may_choose_a_part_but_keeps_its_size():
    sizes = iter([3, 3, 4])
    iterator = SerialIterator(
        range(9), 3, order_sampler=lambda order, position: np.arange(next(sizes))
    )
    assert next(iterator) == [0, 1, 2]
    with pytest.raises(ValueError, match="returned 4 indices after 3"):
        next(iterator)


@pytest.mark.parametrize("make", MAKERS)
def test_bad_batch_sizes_are_refused_at_construction(make):
    for batch_size in (0, -1):
        with pytest.raises(ValueError, match=f"at least 1, got {batch_size}"):
            make(range(3), batch_size)
    for wrong in (2.5, "2", True, None):
        with pytest.raises(TypeError, match="batch_size must be an integer, got"):
            make(range(3), wrong)
    for repeat in (True, False):
        with pytest.raises(ValueError, match="10 is larger than the dataset of 3"):
            make(range(3), 10, repeat=repeat)


@pytest.mark.parametrize("make", MAKERS)
def test_an_empty_dataset_ends_at_once_or_is_refused(make):
    with pytest.raises(ValueError, match="dataset is empty"):
        make([], 2)
    iterator = make([], 2, repeat=False)
    assert iterator.epoch_detail == 0.0
    with pytest.raises(StopIteration):
        next(iterator)


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("make", MAKERS)
def test_resume_is_exact_at_every_point(make, shuffle, repeat):
    for size, batch_size in [(7, 3), (4, 4), (9, 2)]:
        options = {"shuffle": shuffle, "repeat": repeat}
        random.seed(5)
        whole = make(range(size), batch_size, **options)
        n = 13 if repeat else -(-size // batch_size)
        expected = run(whole, n)
        whole.finalize()
        for stop in range(n + 1):
            random.seed(5)
            stopped = make(range(size), batch_size, **options)
            assert run(stopped, stop) == expected[:stop]
            saved, streams = save(stopped), Saved()
            random.serialize(streams)
            next(stopped, None)  # goes on after saving, which must not matter
            stopped.finalize()

            random.seed(99)
            resumed = make(range(size), batch_size, **options)
            if stop % 2:
                next(resumed, None)  # a used iterator can be loaded, too
            random.serialize(streams.reader())
            load(saved, resumed)
            if stop:
                assert status(resumed) == expected[stop - 1][1]
            assert run(resumed, n - stop) == expected[stop:]
            resumed.finalize()


def test_readers_ahead_give_the_batches_of_the_serial_iterator():
    for options in [{}, {"shuffle": False}, {"repeat": False}]:
        random.seed(2)
        serial = run(SerialIterator(range(11), 4, **options), 3)
        random.seed(2)
        with threads(range(11), 4, **options) as iterator:
            assert run(iterator, 3) == serial


def test_finalize_and_reset_of_a_reader_ahead_lose_no_order():
    random.seed(4)
    expected = run(threads(range(5), 2), 12)
    random.seed(4)
    iterator = threads(range(5), 2)
    found = run(iterator, 4)
    iterator.finalize()
    found += run(iterator, 3)
    iterator.finalize()
    iterator.finalize()
    assert found + run(iterator, 5) == expected
    iterator.reset()
    assert status(iterator) == (0, False, 0.0, None)
    assert sorted(next(iterator) + next(iterator)) != []
    iterator.finalize()


def test_threads_read_examples_at_the_same_time():
    barrier = threading.Barrier(2, timeout=10)

    class Meeting:
        def __len__(self):
            return 4

        def __getitem__(self, i):
            barrier.wait()
            return i

    with MultithreadIterator(Meeting(), 2, shuffle=False, n_threads=2) as iterator:
        assert [next(iterator), next(iterator)] == [[0, 1], [2, 3]]


def test_an_error_in_a_dataset_reaches_the_caller_and_moves_nothing():
    class Broken:
        def __len__(self):
            return 4

        def __getitem__(self, i):
            if i == 2:
                raise OSError("example 2 cannot be read")
            return i

    for make in (SerialIterator, MultithreadIterator):
        with make(Broken(), 2, shuffle=False) as iterator:
            assert next(iterator) == [0, 1]
            for _ in range(2):
                with pytest.raises(OSError, match="example 2 cannot be read"):
                    next(iterator)
            assert status(iterator) == (0, False, 0.5, 0.0)


@pytest.mark.parametrize("make", [SerialIterator, MultithreadIterator])
def test_what_could_not_be_read_is_read_again(make):
    class Flaky:
        failures = 1

        def __len__(self):
            return 8

        def __getitem__(self, i):
            if i == 4 and self.failures:
                self.failures -= 1
                raise OSError("the network is down")
            return i

    with make(Flaky(), 2, shuffle=False) as iterator:
        assert [next(iterator), next(iterator)] == [[0, 1], [2, 3]]
        with pytest.raises(OSError, match="the network is down"):
            next(iterator)
        assert [next(iterator), next(iterator)] == [[4, 5], [6, 7]]


@pytest.mark.parametrize("make", [SerialIterator, threads])
def test_state_of_an_order_sampler_is_saved(make):
    class Rotating:
        shift = 0

        def __call__(self, order, position):
            self.shift += 1
            return xp.roll(xp.arange(5), self.shift)

        def serialize(self, s):
            self.shift = s("shift", self.shift)

    whole = make(range(5), 2, order_sampler=Rotating())
    expected = run(whole, 20)
    stopped = make(range(5), 2, order_sampler=Rotating())
    assert run(stopped, 7) == expected[:7]
    resumed = load(save(stopped), make(range(5), 2, order_sampler=Rotating()))
    assert run(resumed, 13) == expected[7:]
    for iterator in (whole, stopped, resumed):
        iterator.finalize()


class Noisy:
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return random.stream("noise").generator.normal()


@pytest.mark.parametrize("make", [MultithreadIterator, MultiprocessIterator])
def test_random_numbers_in_a_dataset_that_is_read_ahead_are_refused(make):
    with (
        make(Noisy(), 2) as iterator,
        pytest.raises(RuntimeError, match="draws from dyrnn.random.*use a Serial"),
    ):
        next(iterator)
    assert len(next(SerialIterator(Noisy(), 2))) == 2


def test_workers_and_prefetch_are_at_least_one():
    with pytest.raises(ValueError, match="n_threads must be at least 1, got 0"):
        MultithreadIterator(range(3), 1, n_threads=0)
    with pytest.raises(ValueError, match="n_processes must be at least 1, got 0"):
        MultiprocessIterator(range(3), 1, n_processes=0)
    with pytest.raises(ValueError, match="n_prefetch must be at least 1, got 0"):
        MultithreadIterator(range(3), 1, n_prefetch=0)


def test_a_snapshot_of_other_data_is_refused():
    saved = save(SerialIterator(range(6), 2))
    with pytest.raises(SnapshotError, match="made with size 6, this iterator has 7"):
        load(saved, SerialIterator(range(7), 2))
    with pytest.raises(SnapshotError, match="made with batch_size 2"):
        load(saved, SerialIterator(range(6), 3))
    with pytest.raises(SnapshotError, match="made with shuffled True"):
        load(saved, SerialIterator(range(6), 2, shuffle=False))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("position", 6),
        ("position", -1),
        ("position", 1.5),
        ("epoch", -1),
        ("order", np.array([0, 1, 2, 3, 4, 6])),
        ("order", np.arange(5)),
        ("orders_ahead", np.full((1, 6), -1)),
    ],
)
def test_a_damaged_snapshot_is_refused_and_changes_nothing(key, value):
    iterator = SerialIterator(range(6), 2)
    saved = save(iterator)
    before = saved.values.copy()
    saved.values[key] = value
    with pytest.raises(SnapshotError, match="do not belong to a dataset of 6"):
        load(saved, iterator)
    np.testing.assert_equal(save(iterator).values, before)


@every_device
def test_buckets_hold_similar_lengths():
    lengths = xp.random.default_rng(0).integers(1, 100, 1000)
    dataset = [xp.zeros(n) for n in lengths]

    def padding(iterator):
        waste = 0
        while iterator.epoch == 0:
            sizes = [len(x) for x in next(iterator)]
            waste += len(sizes) * max(sizes) - sum(sizes)
        return waste

    bucketed = padding(BucketIterator(dataset, 20, pool=10))
    assert bucketed < padding(SerialIterator(dataset, 20)) / 5
    tidy = BucketIterator(dataset, 20, repeat=False, shuffle=False)
    assert [len(x) for batch in tidy for x in batch] == sorted(lengths)


def test_bucket_batches_do_not_cross_the_end_of_an_epoch():
    iterator = BucketIterator([("ab", 0), ("a", 1), ("abc", 2)], 2, shuffle=False)
    for epoch in (1, 2):
        assert next(iterator) == [("a", 1), ("ab", 0)]
        assert next(iterator) == [("abc", 2)]
        assert (iterator.epoch, iterator.is_new_epoch) == (epoch, True)


def test_sampler_of_another_stream_leaves_the_shuffle_stream_alone():
    iterator = SerialIterator(range(9), 3, order_sampler=ShuffleOrderSampler("other"))
    run(iterator, 9)
    random.seed(0)
    alone = run(SerialIterator(range(9), 3), 3)
    random.seed(0)
    run(SerialIterator(range(9), 3, order_sampler=ShuffleOrderSampler("other")), 9)
    assert run(SerialIterator(range(9), 3), 3) == alone


def test_an_iterator_must_define_next():
    with pytest.raises(NotImplementedError, match="must define __next__"):
        iterators.Iterator().next()


class Squares:
    def __init__(self, n, deadly=-1):
        self.n = n
        self.deadly = deadly

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i == self.deadly:
            os._exit(9)
        return i * i


def test_processes_give_the_batches_of_the_serial_iterator_and_resume():
    random.seed(3)
    expected = run(SerialIterator(Squares(7), 3), 8)
    random.seed(3)
    with MultiprocessIterator(Squares(7), 3, n_processes=2, n_prefetch=3) as iterator:
        assert run(iterator, 3) == expected[:3]
        saved, streams = save(iterator), Saved()
        random.serialize(streams)
        assert run(iterator, 1) == expected[3:4]
        load(saved, iterator)
        random.serialize(streams.reader())
        assert run(iterator, 5) == expected[3:]


def test_a_dead_worker_process_is_an_error_and_not_a_hang():
    dataset = Squares(4, deadly=3)
    with (
        MultiprocessIterator(dataset, 2, shuffle=False, n_processes=1) as iterator,
        pytest.raises(RuntimeError, match="a worker process .* died"),
    ):
        run(iterator, 2)


def test_a_dataset_that_cannot_be_pickled_is_named():
    class Local(Squares):
        pass

    with (
        MultiprocessIterator(Local(4), 2, n_processes=1) as iterator,
        pytest.raises(TypeError, match="cannot be sent to worker processes"),
    ):
        next(iterator)


SCRIPT = """
import multiprocessing, os, sys, time
from dyrnn.iterators import MultiprocessIterator

class Pids:
    def __len__(self): return 4
    def __getitem__(self, i): return os.getpid()

if __name__ == "__main__":
    iterator = MultiprocessIterator(Pids(), 4, n_processes=2)
    pids = set(next(iterator))
    print(*pids, flush=True)
    if sys.argv[1] == "wait":
        time.sleep(60)
"""


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: between open and read
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("end", ["exit", "kill"])
def test_workers_end_with_their_parent(tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), "wait" if end == "kill" else "exit"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    if end == "kill":
        process.send_signal(signal.SIGKILL)
    process.wait(timeout=20)
    process.stdout.close()
    assert pids
    deadline = time.monotonic() + 10
    while not all(map(gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(map(gone, pids))


class Ends:
    """A dataset with an example that claims to be the end."""

    def __len__(self):
        return 8

    def __getitem__(self, i):
        if i == 5:
            raise StopIteration
        return i


@pytest.mark.parametrize(
    "kind", [SerialIterator, MultithreadIterator, MultiprocessIterator]
)
def test_stop_iteration_of_a_dataset_is_not_the_end(kind):
    options = {"n_processes": 1} if kind is MultiprocessIterator else {}
    with kind(Ends(), 2, repeat=False, shuffle=False, **options) as iterator:
        with pytest.raises(RuntimeError, match=r"a Ends, raised StopIteration for one"):
            list(iterator)


GROUP = """
import sys
from dyrnn.iterators import MultiprocessIterator

if __name__ == "__main__":
    iterator = MultiprocessIterator(range(8), 4, shuffle=False, n_processes=2)
    print("ready", flush=True)
    for _ in range(4):
        iterator.next()
        sys.stdin.readline()
    iterator.finalize()
    print("done", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="needs sigwaitinfo")
def test_worker_processes_outlive_signals_to_their_group(tmp_path):
    (tmp_path / "main.py").write_text(
        "import signal\nfor number in (2, 15): signal.signal(number, lambda *_: None)\n"
        + GROUP
    )
    process = subprocess.Popen(
        [sys.executable, tmp_path / "main.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    for _ in range(4):
        for signum in (signal.SIGINT, signal.SIGTERM):
            os.killpg(process.pid, signum)
        time.sleep(0.05)
        process.stdin.write("\n")
        process.stdin.flush()
    assert process.communicate(timeout=60)[0] == "done\n"
    assert process.returncode == 0
