"""Which examples come next, for all iterators: position, epoch and order."""

from typing import NamedTuple

import numpy as np

from dyrnn.chainer.dataset.bases import Iterator


class OrderSampler:
    """Returns the order of the next epoch: ``sampler(current_order, position)``."""

    def __call__(self, current_order, current_position):
        raise NotImplementedError


class ShuffleOrderSampler(OrderSampler):
    """A new permutation for each epoch, by default as ``numpy.random.seed`` says."""

    def __init__(self, random_state=None):
        if random_state is None:
            random_state = np.random.random.__self__  # behind np.random.seed
        self._random = random_state

    def __call__(self, current_order, current_position):
        return self._random.permutation(len(current_order))


class IteratorState(NamedTuple):
    """Where an iterator is; ``order`` is None where it goes straight on."""

    current_position: int
    epoch: int
    is_new_epoch: bool
    order: np.ndarray | None


def iterator_statemachine(state, batch_size, repeat, order_sampler, dataset_len):
    """Return the next state and the indices of the next batch (None: the end)."""
    position, epoch, _, order = state
    if not repeat and epoch > 0:
        return state, None
    size = dataset_len if order is None else len(order)
    if repeat and size == 0:
        raise ValueError("Epoch size must be positive for an iterator that repeats.")

    def part(start, stop):
        if order is None:
            return np.arange(start, stop, dtype=np.intp)
        return order[start:stop]

    indices = []
    end = position + batch_size
    is_new_epoch = False
    while end >= size:
        indices.append(part(position, size))
        if order is not None:
            new_order = order_sampler(order, position)
            if len(new_order) != len(order):
                raise ValueError(
                    "The size of order does not match the size of the previous order."
                )
            order = new_order
        epoch += 1
        is_new_epoch = True
        position = 0
        end = end - size if repeat else 0
        if not repeat:
            break
    indices.append(part(position, end))
    state = IteratorState(end, epoch, is_new_epoch, order)
    return state, np.concatenate(indices)


class OrderedIterator(Iterator):
    """What the three iterators over a dataset share; each says how to fetch."""

    _order_keys = ("order", "_order")  # of version 7 and of earlier ones

    def __init__(self, dataset, batch_size, repeat, shuffle, order_sampler):
        self.dataset = dataset
        self.batch_size = batch_size
        self.repeat = repeat
        self.shuffle = shuffle
        if shuffle is not None and order_sampler is not None:
            raise ValueError(
                "`shuffle` is not `None` and a custom `order_sampler` is set. Please "
                "set `shuffle` to `None` to use the custom order sampler."
            )
        if order_sampler is None and (shuffle is None or shuffle):
            order_sampler = ShuffleOrderSampler()
        self.order_sampler = order_sampler

    @property
    def current_position(self):
        return self._state.current_position

    @property
    def epoch(self):
        return self._state.epoch

    @property
    def is_new_epoch(self):
        return self._state.is_new_epoch

    @property
    def epoch_detail(self):
        return self.epoch + self.current_position / self._epoch_size

    @property
    def previous_epoch_detail(self):
        if self._previous_epoch_detail < 0:
            return None
        return self._previous_epoch_detail

    @property
    def _epoch_size(self):
        order = self._state.order
        return len(self.dataset) if order is None else len(order)

    def _following(self, state):
        return iterator_statemachine(
            state,
            self.batch_size,
            self.repeat,
            self.order_sampler,
            len(self.dataset),
        )

    def reset(self):
        """Go back to the start, with a new order if it shuffles."""
        order = None
        if self.order_sampler:
            order = self.order_sampler(np.arange(len(self.dataset)), 0)
        self._reset_state(IteratorState(0, 0, False, order))
        self._previous_epoch_detail = -1.0

    def _reset_state(self, state):
        self._state = state

    def serialize(self, serializer):
        position = serializer("current_position", self.current_position)
        epoch = serializer("epoch", self.epoch)
        is_new_epoch = serializer("is_new_epoch", self.is_new_epoch)
        order = self._state.order
        if order is not None:
            order = order.copy()
            key, old_key = self._order_keys
            try:
                serializer(key, order)
            except KeyError:
                serializer(old_key, order)
        self._reset_state(IteratorState(position, epoch, is_new_epoch, order))
        try:
            detail = serializer("previous_epoch_detail", self._previous_epoch_detail)
        except KeyError:  # saved by version 1: assume a whole batch
            detail = -1.0
            if self.epoch_detail > 0:
                start = self.current_position - self.batch_size
                detail = max(self.epoch + start / self._epoch_size, 0.0)
        self._previous_epoch_detail = -1.0 if detail is None else detail
