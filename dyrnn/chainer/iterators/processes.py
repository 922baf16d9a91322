"""The next batches are read by processes while this one is worked on."""

import multiprocessing
import queue
import threading
import warnings
from functools import partial

from dyrnn.chainer.iterators.ordering import OrderedIterator
from dyrnn.iterators.prefetch import holding_signals, read, start_worker

_response_time = 0.1  # seconds until a thread notices that it shall stop


def _same(dataset):
    return dataset


def _context():
    """Return a way to start processes that hands over datasets of any kind."""
    has_fork = "fork" in multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if has_fork else None)


class _Prefetcher:
    """A thread that fills a queue with (batch, state after it, error)."""

    def __init__(self, iterator, state):
        self.batches: queue.Queue = queue.Queue(iterator.n_prefetch)
        self._iterator = iterator
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(state,), daemon=True)
        self._thread.start()

    def _run(self, state):
        batch = ()
        while batch is not None and not self._stopped.is_set():
            error = None
            try:
                indices, state = self._iterator._advance(state)
                batch = self._fetch(indices.tolist())
            except StopIteration:
                batch = None
            except Exception as e:  # raised again by the thread that asks
                batch, error = None, e
            self._put((batch, state, error))

    def _fetch(self, indices):
        # The pool's own guess divides by the number of workers, which is 0 for a
        # moment when all of them end by maxtasksperchild.
        size = -(-len(indices) // (4 * self._iterator.n_processes)) or 1
        parts = [indices[i : i + size] for i in range(0, len(indices), size)]
        result = self._iterator._pool.map_async(read, parts, 1)
        while not self._stopped.is_set():
            result.wait(_response_time)
            if result.ready():
                return [example for part in result.get() for example in part]
        return None

    def _put(self, item):
        while not self._stopped.is_set():
            try:
                self.batches.put(item, timeout=_response_time)
                return
            except queue.Full:
                pass

    def get(self, timeout):
        """Return the next item; warn every ``timeout`` seconds."""
        while True:
            try:
                return self.batches.get(timeout=timeout)
            except queue.Empty:
                warnings.warn(
                    "Stalled dataset is detected: no example came for "
                    f"{timeout} seconds. Look whether the dataset waits for a lock or "
                    "a file, or give a longer dataset_timeout.",
                    MultiprocessIterator.TimeoutWarning,
                    stacklevel=3,
                )

    def stop(self):
        """End the thread."""
        self._stopped.set()
        while self._thread.is_alive():
            self._thread.join(_response_time)


class MultiprocessIterator(OrderedIterator):
    """As :class:`SerialIterator`, batches ahead, their examples read by processes.

    Parameters
    ----------
    n_processes : int, optional
        By default as many as there are CPUs.
    n_prefetch : int
        Number of batches read ahead.
    shared_mem, maxtasksperchild : int, optional
        The former is without effect: examples come through pipes.
    dataset_timeout : float or None
        Seconds without a batch after which a TimeoutWarning says so.
    """

    class TimeoutWarning(RuntimeWarning):
        """The dataset gives no examples."""

    _finalized = False
    _pool = None
    _prefetcher = None

    def __init__(
        self,
        dataset,
        batch_size,
        repeat=True,
        shuffle=None,
        n_processes=None,
        n_prefetch=1,
        shared_mem=None,
        order_sampler=None,
        dataset_timeout=30.0,
        maxtasksperchild=None,
    ):
        self.n_processes = n_processes or multiprocessing.cpu_count()
        self.n_prefetch = max(n_prefetch, 1)
        self.shared_mem = shared_mem
        self.dataset_timeout = dataset_timeout
        self._maxtasksperchild = maxtasksperchild
        super().__init__(dataset, batch_size, repeat, shuffle, order_sampler)

    def reset(self):
        """Go back to the start, with a new order if it shuffles."""
        self._refuse_if_finalized()
        self._stop()
        super().reset()

    def _go_on_at(self, place):
        self._refuse_if_finalized()
        self._stop()
        self._place = place

    def _refuse_if_finalized(self):
        if self._finalized:
            raise NotImplementedError(
                "Reset of finalized MultiProcessIterator is currently not supported."
            )

    def _stop(self):
        if self._prefetcher is not None:
            self._prefetcher.stop()
            self._prefetcher = None

    def __next__(self):
        if self._prefetcher is None:
            if self._pool is None:
                with holding_signals():
                    self._pool = _context().Pool(
                        self.n_processes,
                        start_worker,
                        (partial(_same, self.dataset),),
                        self._maxtasksperchild,
                    )
            self._prefetcher = _Prefetcher(self, self._place)
        batch, state, error = self._prefetcher.get(self.dataset_timeout)
        if batch is None:
            self._stop()  # the thread has ended; a later call asks again
        if error is not None:
            raise error
        if batch is None:
            raise StopIteration
        self._place = state
        return batch

    next = __next__

    def finalize(self):
        if self._finalized:
            return
        self._stop()
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()
            self._pool = None
        self._finalized = True

    def __getstate__(self):
        return {**vars(self), "_pool": None, "_prefetcher": None}

    def __copy__(self):
        other = type(self).__new__(type(self))
        vars(other).update(self.__getstate__(), _finalized=False)
        return other
