"""Iterators: what comes next, in which order, and going on from a saved state."""

import copy
import pickle
import time

import numpy as np
import pytest

from dyrnn.chainer import iterators
from dyrnn.chainer.dataset import Iterator
from dyrnn.chainer.serializers import DictionarySerializer, NpzDeserializer

KINDS = [
    iterators.SerialIterator,
    iterators.MultithreadIterator,
    lambda *args, **kwargs: iterators.MultiprocessIterator(
        *args, n_processes=1, **kwargs
    ),
]
# Chainer's worker processes are forked, since its scripts' datasets may be of any kind.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

kinds = pytest.mark.parametrize("make", KINDS, ids=["serial", "threads", "processes"])


@kinds
def test_epochs_are_counted_across_batches(make):
    with make(list(range(5)), 2, shuffle=False) as iterator:
        assert iterator.epoch == 0 and iterator.previous_epoch_detail is None
        assert iterator.next() == [0, 1]
        assert (iterator.epoch_detail, iterator.previous_epoch_detail) == (0.4, 0.0)
        assert next(iterator) == [2, 3]
        assert next(iterator) == [4, 0] and iterator.is_new_epoch
        assert (iterator.epoch, iterator.current_position) == (1, 1)
        assert iterator.epoch_detail == 1.2
        iterator.reset()
        assert next(iterator) == [0, 1] and iterator.epoch == 0


@kinds
def test_without_repeat_it_ends(make):
    with make(list(range(5)), 2, repeat=False, shuffle=False) as iterator:
        assert list(iterator) == [[0, 1], [2, 3], [4]]
        assert iterator.epoch == 1 and not iterator.repeat
        with pytest.raises(StopIteration):
            next(iterator)
        iterator.reset()
        assert next(iterator) == [0, 1]


@kinds
def test_every_epoch_has_each_example_once(make):
    order = iterators.ShuffleOrderSampler(np.random.RandomState(0))
    with make(list(range(6)), 4, order_sampler=order) as iterator:
        seen = [i for _ in range(3) for i in next(iterator)]
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert seen[:6] != seen[6:]


@kinds
def test_it_goes_on_from_a_saved_state(make):
    def fresh():
        order = iterators.ShuffleOrderSampler(np.random.RandomState(0))
        return make(list(range(7)), 3, order_sampler=order)

    with fresh() as iterator, fresh() as other:
        for _ in range(2):
            next(iterator)
        saved = DictionarySerializer()
        iterator.serialize(saved)
        arrays = {key: np.copy(value) for key, value in saved.target.items()}
        expected = next(iterator)[:1]
        other.serialize(NpzDeserializer(arrays))
        assert other.current_position == 6
        assert other.previous_epoch_detail == pytest.approx(3 / 7)
        assert next(other)[:1] == expected


def test_states_of_older_versions_load():
    iterator = iterators.SerialIterator(list(range(7)), 3)
    number = {"current_position": 6, "epoch": 0, "is_new_epoch": False}
    arrays = {key: np.asarray(value) for key, value in number.items()}
    arrays["_order"] = np.arange(7)
    iterator.serialize(NpzDeserializer(arrays))
    assert iterator.previous_epoch_detail == pytest.approx(3 / 7)
    assert next(iterator)[0] == 6
    arrays["current_position"] = np.asarray(0)
    iterator.serialize(NpzDeserializer(arrays))
    assert iterator.previous_epoch_detail is None


def test_threads_save_that_there_is_no_order():
    saved = DictionarySerializer()
    iterators.MultithreadIterator([1], 1, shuffle=False).serialize(saved)
    assert saved.target["_order"][()] is None


def test_seed_of_numpy_decides_the_order():
    state = np.random.get_state()
    try:
        np.random.seed(5)
        first = next(iterators.SerialIterator(list(range(9)), 9))
        np.random.seed(5)
        assert first == np.random.permutation(9).tolist()
    finally:
        np.random.set_state(state)


@kinds
def test_orders_that_make_no_sense(make):
    with pytest.raises(ValueError, match="a custom `order_sampler` is set"):
        make([1, 2], 1, shuffle=True, order_sampler=lambda order, position: order)
    with make([], 1, shuffle=False) as iterator:
        with pytest.raises(ValueError, match="Epoch size must be positive"):
            next(iterator)
    shrinking = lambda order, position: np.arange(len(order) - position)
    with make([1, 2, 3], 2, order_sampler=shrinking) as iterator:
        next(iterator) if make is KINDS[0] else None
        with pytest.raises(ValueError, match="does not match the size of the previous"):
            for _ in range(3):
                next(iterator)


class Slow:
    def __len__(self):
        return 2

    def __getitem__(self, i):
        time.sleep(0.15)
        return i


class Broken(Slow):
    def __getitem__(self, i):
        raise ArithmeticError("no such example")


def test_processes_say_that_the_dataset_stalls():
    iterator = iterators.MultiprocessIterator(
        Slow(), 1, shuffle=False, n_processes=1, dataset_timeout=0.05
    )
    with iterator:
        kind = iterators.MultiprocessIterator.TimeoutWarning
        with pytest.warns(kind, match="Stalled dataset is detected: no example came"):
            assert next(iterator) == [0]


@kinds
def test_errors_of_the_dataset_reach_the_caller(make):
    with make(Broken(), 1) as iterator:
        with pytest.raises(ArithmeticError, match="no such example"):
            next(iterator)


def test_processes_may_be_copied_and_pickled():
    iterator = iterators.MultiprocessIterator(
        list(range(5)), 2, shuffle=False, n_processes=1, n_prefetch=3
    )
    next(iterator)
    for other in (copy.copy(iterator), pickle.loads(pickle.dumps(iterator))):
        assert next(other) == [2, 3]
        other.finalize()
    iterator.finalize()
    iterator.finalize()
    with pytest.raises(NotImplementedError, match="Reset of finalized"):
        iterator.reset()


def test_workers_may_be_replaced_after_each_task():
    iterator = iterators.MultiprocessIterator(
        list(range(100)), 1, False, False, n_processes=1, maxtasksperchild=1
    )
    with iterator:
        assert list(iterator) == [[i] for i in range(100)]


def test_base_classes_ask_for_methods():
    with pytest.raises(NotImplementedError):
        Iterator().next()
    assert iter(it := Iterator()) is it and it.serialize(None) is None
    with pytest.raises(NotImplementedError):
        iterators.OrderSampler()(np.arange(2), 0)
