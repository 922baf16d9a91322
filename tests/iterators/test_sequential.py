"""Iterators along one sequence: which words, the wrap, TensorFlow's cutting, resume."""

import numpy as np
import pytest

from dyrnn.errors import SnapshotError
from dyrnn.iterators import ParallelSequentialIterator, WindowIterator, ptb_producer
from tests.arrays import every_device, here, host, xp
from tests.iterators.saving import load, save

SIZES = [(2, 1), (2, 2), (5, 2), (7, 3), (12, 4), (13, 4), (9, 9)]


@every_device
def test_tracks_start_evenly_and_move_on_together():
    iterator = ParallelSequentialIterator(xp.arange(10), 3)
    assert iterator.offsets.tolist() == [0, 3, 6]
    assert next(iterator) == [(0, 1), (3, 4), (6, 7)]
    assert next(iterator) == [(1, 2), (4, 5), (7, 8)]
    assert iterator.epoch_detail == pytest.approx(0.6)
    assert iterator.previous_epoch_detail == pytest.approx(0.3)


def chainer_semantics(length, batch_size, n):
    """The definition, item by item: batches and the status after each."""
    offsets = [i * length // batch_size for i in range(batch_size)]
    epoch = 0
    for k in range(n):
        batch = [((o + k) % length, (o + k + 1) % length) for o in offsets]
        new = (k + 1) * batch_size // length
        detail = (k + 1) * batch_size / length
        yield batch, (new, new > epoch, detail, k * batch_size / length)
        epoch = new


def status(iterator):
    return (
        iterator.epoch,
        iterator.is_new_epoch,
        iterator.epoch_detail,
        iterator.previous_epoch_detail,
    )


@every_device
@pytest.mark.parametrize(("length", "batch_size"), SIZES)
def test_with_repeat_the_sequence_is_a_ring(length, batch_size):
    iterator = ParallelSequentialIterator(xp.arange(length), batch_size)
    assert iterator.previous_epoch_detail is None
    for batch, expected in chainer_semantics(length, batch_size, 3 * length):
        assert next(iterator) == batch
        assert status(iterator) == expected


@every_device
@pytest.mark.parametrize(("length", "batch_size"), SIZES)
def test_without_repeat_only_the_wrap_pair_is_left_out(length, batch_size):
    iterator = ParallelSequentialIterator(xp.arange(length), batch_size, repeat=False)
    found = list(iterator)
    steps = -(-length // batch_size)
    expected = [b for b, _ in chainer_semantics(length, batch_size, steps)]
    assert expected[-1].pop() == (length - 1, 0)
    assert found == [batch for batch in expected if batch]
    pairs = {(int(x), int(t)) for batch in found for x, t in batch}
    assert pairs == {(i, i + 1) for i in range(length - 1)}
    with pytest.raises(StopIteration):
        iterator.next_window(3)
    iterator.reset()
    assert list(iterator) == found


@every_device
@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize(("length", "batch_size"), SIZES)
def test_a_window_is_that_many_steps(length, batch_size, repeat):
    data = xp.random.default_rng(0).integers(0, 50, length)
    for steps in (1, 2, 3, 5):
        single = ParallelSequentialIterator(data, batch_size, repeat)
        window = ParallelSequentialIterator(data, batch_size, repeat)
        for _ in range(7):
            try:
                x, t = window.next_window(steps)
            except StopIteration:
                with pytest.raises(StopIteration):
                    next(single)
                break
            assert x.dtype == t.dtype == np.int32
            assert 1 <= len(x) <= steps if not repeat else len(x) == steps
            before, ended = single.epoch_detail, False
            for row_x, row_t in zip(x, t, strict=True):
                assert next(single) == list(zip(row_x, row_t, strict=True))
                ended = ended or single.is_new_epoch
            assert status(window) == (single.epoch, ended, single.epoch_detail, before)


@every_device
def test_evaluation_with_batch_1_reads_every_pair_once():
    iterator = ParallelSequentialIterator(xp.arange(100), 1, repeat=False)
    windows = []
    while True:
        try:
            windows.append(iterator.next_window(35))
        except StopIteration:
            break
    assert [len(x) for x, _ in windows] == [35, 35, 29]
    assert xp.concatenate([t for _, t in windows]).ravel().tolist() == [*range(1, 100)]


@every_device
def test_real_valued_sequences_keep_their_type_and_features():
    data = xp.linspace(0, 1, 20, dtype=np.float32).reshape(10, 2)
    x, t = ParallelSequentialIterator(data, 2).next_window(3)
    assert x.shape == t.shape == (3, 2, 2)
    assert x.dtype == np.float32
    x, t = next(WindowIterator(data, 2, 4))
    assert x.shape == (4, 2, 2)
    xp.testing.assert_array_equal(t[:, 1], data[6:10])


RAW = [4, 3, 2, 1, 0, 5, 6, 1, 1, 1, 1, 0, 3, 4, 1]


def test_ptb_producer_cuts_as_tensorflow_does():
    windows = [(x.tolist(), y.tolist()) for x, y in ptb_producer(RAW, 3, 2)]
    assert windows == [
        ([[4, 3], [5, 6], [1, 0]], [[3, 2], [6, 1], [0, 3]]),
        ([[2, 1], [1, 1], [3, 4]], [[1, 0], [1, 1], [4, 1]]),
    ]


@every_device
def test_ptb_producer_agrees_with_its_formula():
    generator = np.random.default_rng(1)
    for _ in range(50):
        length, batch, steps = generator.integers((2, 1, 1), (200, 6, 9))
        data = here(generator.integers(0, 1000, length))
        rows = data[: length // batch * batch].reshape(batch, -1)
        size = (length // batch - 1) // steps
        if size < 1:
            with pytest.raises(ValueError, match="no window fits"):
                ptb_producer(data, batch, steps)
            continue
        found = list(ptb_producer(data, batch, steps))
        assert len(found) == size
        for i, (x, y) in enumerate(found):
            xp.testing.assert_array_equal(x, rows[:, i * steps : (i + 1) * steps])
            xp.testing.assert_array_equal(
                y, rows[:, i * steps + 1 : (i + 1) * steps + 1]
            )


def test_an_error_where_no_window_fits_comes_at_the_call():
    with pytest.raises(
        ValueError, match="15 items give 3 tracks of 5, and 5 steps need 18 items"
    ):
        ptb_producer(RAW, 3, 5)
    with pytest.raises(ValueError, match="15 items give 20 tracks of 0"):
        WindowIterator(RAW, 20, 2)
    with pytest.raises(ValueError, match="15 items give 8 tracks of 1"):
        WindowIterator(RAW, 8, 2, remainder=True)


def test_windows_are_time_major_and_epochs_start_at_the_start():
    iterator = WindowIterator(RAW, 3, 2)
    assert len(iterator) == 2
    for epoch in range(3):
        x, t = next(iterator)
        assert status(iterator)[:3] == (epoch, False, epoch + 0.5)
        assert x.tolist() == [[4, 5, 1], [3, 6, 0]]
        assert t.tolist() == [[3, 6, 0], [2, 1, 3]]
        assert x.dtype == t.dtype == np.int32
        x, t = next(iterator)
        assert x.tolist() == [[2, 1, 3], [1, 1, 4]]
        assert status(iterator) == (epoch + 1, True, epoch + 1.0, epoch + 0.5)


@every_device
def test_remainder_reads_the_tracks_to_their_end():
    iterator = WindowIterator(xp.arange(11), 1, 4, repeat=False, remainder=True)
    assert [x.ravel().tolist() for x, _ in iterator] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    assert iterator.epoch_detail == 1.0
    iterator.reset()
    assert next(iterator)[1].ravel().tolist() == [1, 2, 3, 4]
    whole = WindowIterator(xp.arange(9), 1, 4, remainder=True)
    assert len(whole) == 2
    assert len(WindowIterator(xp.arange(3), 1, 4, remainder=True)) == 1


def test_windows_cannot_be_written_into():
    x, _ = next(WindowIterator(RAW, 3, 2))
    with pytest.raises(ValueError, match="read-only"):
        x[0, 0] = 1


@every_device
@pytest.mark.parametrize(
    "make",
    [
        lambda: ParallelSequentialIterator(xp.arange(17), 3),
        lambda: ParallelSequentialIterator(xp.arange(17), 3, repeat=False),
        lambda: WindowIterator(xp.arange(17), 2, 3),
        lambda: WindowIterator(xp.arange(17), 2, 3, repeat=False, remainder=True),
    ],
)
def test_resume_is_exact_at_every_point(make):
    def run(iterator, n):
        rows = ((np.array(host(b)).tolist(), status(iterator)) for b in iterator)
        return [row for row, _ in zip(rows, range(n), strict=False)]

    expected = run(make(), 12)
    for stop in range(len(expected) + 1):
        stopped = make()
        for _ in range(stop):
            next(stopped)
        resumed = load(save(stopped), make())
        assert status(resumed) == status(stopped)
        assert run(resumed, 12 - stop) == expected[stop:]


@every_device
def test_a_snapshot_of_other_data_is_refused():
    saved = save(ParallelSequentialIterator(xp.arange(9), 3))
    with pytest.raises(SnapshotError, match="made with length 9, this iterator has 8"):
        load(saved, ParallelSequentialIterator(xp.arange(8), 3))
    with pytest.raises(SnapshotError, match="made with batch_size 3"):
        load(saved, ParallelSequentialIterator(xp.arange(9), 2))
    saved.values["position"] = -4
    with pytest.raises(SnapshotError, match="position -4 or epoch 0 .* is not a count"):
        load(saved, ParallelSequentialIterator(xp.arange(9), 3))
    saved = save(WindowIterator(xp.arange(19), 3, 2))
    with pytest.raises(SnapshotError, match="made with steps 2, this iterator has 1"):
        load(saved, WindowIterator(xp.arange(19), 3, 1))
    with pytest.raises(SnapshotError, match="made with windows 2, this iterator has 4"):
        load(saved, WindowIterator(xp.arange(30), 3, 2))
    saved.values["position"] = 2
    with pytest.raises(SnapshotError, match="position 2 is beyond the last of 2"):
        load(saved, WindowIterator(xp.arange(19), 3, 2))


def test_bad_arguments_are_refused_at_construction():
    for make in (
        ParallelSequentialIterator,
        lambda data, batch: WindowIterator(data, batch, 1),
    ):
        for batch_size in (0, -1):
            with pytest.raises(ValueError, match=f"at least 1, got {batch_size}"):
                make(range(9), batch_size)
        with pytest.raises(TypeError, match=r"batch_size must be an integer, got 2\.5"):
            make(range(9), 2.5)
        for short in ([], [1]):
            with pytest.raises(ValueError, match=f"has {len(short)} items: at least 2"):
                make(short, 1) if short else make(np.array([], np.int32), 1)
        with pytest.raises(TypeError, match="must hold numbers, such as word ids"):
            make(["a", "b", "c"], 1)
        with pytest.raises(ValueError, match="ids must fit in int32"):
            make(np.array([0, 2**31]), 1)
    with pytest.raises(ValueError, match="10 is larger than the sequence of 9"):
        ParallelSequentialIterator(range(9), 10)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        WindowIterator(range(9), 1, 0)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        ParallelSequentialIterator(range(9), 1).next_window(0)
