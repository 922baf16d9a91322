"""The next batches are read by threads while this one is worked on."""

from collections import deque

from dyrnn.chainer.iterators.ordering import OrderedIterator
from dyrnn.iterators import MultithreadIterator as CoreIterator


class MultithreadIterator(OrderedIterator, CoreIterator):
    """As :class:`SerialIterator`, batches ahead, their examples read by threads."""

    _order_keys = ("_order", "order")

    def __init__(
        self,
        dataset,
        batch_size,
        repeat=True,
        shuffle=None,
        n_threads=1,
        order_sampler=None,
    ):
        self.n_threads = self._n_workers = n_threads
        self._n_prefetch = 1
        self._executor = None
        self._ahead = deque()
        super().__init__(dataset, batch_size, repeat, shuffle, order_sampler)

    __next__ = next = CoreIterator.__next__
    finalize = CoreIterator.finalize
    reset = CoreIterator.reset

    def _go_on_at(self, place):
        self._forget_ahead()
        self._place = place

    def serialize(self, serializer):
        if self._place.order is None:
            serializer("_order", None)
        super().serialize(serializer)

    def __getstate__(self):
        return {**vars(self), "_executor": None, "_ahead": deque()}
