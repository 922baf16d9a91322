"""The next batch is read by threads while this one is worked on."""

from multiprocessing.pool import ThreadPool

from dyrnn.chainer.iterators.ordering import OrderedIterator


class MultithreadIterator(OrderedIterator):
    """As :class:`SerialIterator`, one batch ahead, its examples read by threads."""

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
        super().__init__(dataset, batch_size, repeat, shuffle, order_sampler)
        self.n_threads = n_threads
        self._pool = None
        self.reset()

    def _reset_state(self, state):
        self._state = state
        self._ahead = None

    def serialize(self, serializer):
        if self._state.order is None:
            serializer("_order", None)
        super().serialize(serializer)

    def finalize(self):
        pool = vars(self).get("_pool")
        self._ahead = None
        self._pool = None
        if pool is not None:
            pool.terminate()

    def __next__(self):
        if self._ahead is None:
            self._prefetch()
        state, batch = self._ahead
        self._previous_epoch_detail = self.epoch_detail
        self._state = state
        self._ahead = None
        if batch is None:
            raise StopIteration
        batch = batch.get()
        self._prefetch()
        return batch

    next = __next__

    def _prefetch(self):
        state, indices = self._following(self._state)
        batch = None
        if indices is not None:
            if self._pool is None:
                self._pool = ThreadPool(self.n_threads)
            batch = self._pool.map_async(self.dataset.__getitem__, indices)
        self._ahead = state, batch
