"""Which examples come next: as in the core, but as Chainer draws and saves it."""

import numpy as np

from dyrnn.chainer.dataset.bases import Iterator
from dyrnn.iterators.serial import Place, SerialIterator


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


class OrderedIterator(SerialIterator, Iterator):
    """What the three iterators over a dataset share; each says how to fetch."""

    _order_keys = ("order", "_order")  # of version 7 and of earlier ones

    def __init__(self, dataset, batch_size, repeat, shuffle, order_sampler):
        if shuffle is not None and order_sampler is not None:
            raise ValueError(
                "`shuffle` is not `None` and a custom `order_sampler` is set. Please "
                "set `shuffle` to `None` to use the custom order sampler."
            )
        if order_sampler is None and shuffle in (None, True):
            shuffle, order_sampler = None, ShuffleOrderSampler()
        self.shuffle = shuffle
        SerialIterator.__init__(
            self, dataset, batch_size, repeat, shuffle, order_sampler
        )

    next = SerialIterator.__next__

    def _check_size(self):
        """A batch may take several epochs."""

    @property
    def _epoch_size(self):
        return self._size

    def _advance(self, place):
        """As the core, but an order is drawn at the very end, too, with its place."""
        position, epoch, order = place.position, place.epoch, place.order
        if not self.repeat and epoch > 0:
            raise StopIteration
        size = len(self.dataset) if order is None else len(order)
        if self.repeat and size == 0:
            raise ValueError("Epoch size must be positive if it repeats.")
        before, parts, end = self._detail(place), [], position + self.batch_size
        is_new_epoch = end >= size
        while end >= size:
            parts.append(_part(order, position, size))
            if order is not None:
                order = self._next_order(order, position)
            epoch += 1
            position, end = 0, end - size if self.repeat else 0
            if not self.repeat:
                break
        parts.append(_part(order, position, end))
        place = Place(end, epoch, is_new_epoch, before, order)
        return np.concatenate(parts), place

    def _next_order(self, order, position):
        new = self.order_sampler(order, position)
        if len(new) != len(order):
            raise ValueError(
                "The size of order does not match the size of the previous order."
            )
        return new

    def serialize(self, serializer):
        place = self._place
        position = serializer("current_position", place.position)
        epoch = serializer("epoch", place.epoch)
        is_new_epoch = serializer("is_new_epoch", place.is_new_epoch)
        order = place.order
        if order is not None:
            order = np.array(order)
            key, old_key = self._order_keys
            try:
                serializer(key, order)
            except KeyError:
                serializer(old_key, order)
        before = place.previous_epoch_detail
        place = Place(position, epoch, is_new_epoch, None, order)
        try:
            detail = serializer(
                "previous_epoch_detail", -1.0 if before is None else before
            )
        except KeyError:  # saved by version 1: assume a whole batch
            detail = -1.0
            if self._detail(place) > 0:
                start = position - self.batch_size
                detail = max(epoch + start / self._size, 0.0)
        if detail is not None and detail >= 0:
            place = place._replace(previous_epoch_detail=detail)
        self._go_on_at(place)

    def _go_on_at(self, place):
        self._place = place


def _part(order, start, stop):
    if order is None:
        return np.arange(start, stop, dtype=np.intp)
    return order[start:stop]
