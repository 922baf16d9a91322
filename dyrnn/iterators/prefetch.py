"""Iterators that read examples ahead, on threads or in processes.

The order of examples is fixed in the calling thread, before workers see it, so batches
and snapshots are those of :class:`SerialIterator`, whatever the workers' speed.
"""

import contextlib
import functools
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from dyrnn import random
from dyrnn.iterators.base import positive_integer
from dyrnn.iterators.serial import SerialIterator, read_examples
from dyrnn.typing import Examples


class _PrefetchIterator(SerialIterator):
    """A serial iterator whose examples come from an executor, some batches ahead."""

    def __init__(
        self, dataset, batch_size, repeat, shuffle, n_workers, n_prefetch, order_sampler
    ):
        super().__init__(dataset, batch_size, repeat, shuffle, order_sampler)
        self._n_workers = n_workers
        self._n_prefetch = positive_integer("n_prefetch", n_prefetch)
        self._executor = None
        self._ahead = deque()  # (futures of a batch's parts, place after the batch)

    def _make_executor(self):
        raise NotImplementedError

    def _submit(self, indices):
        raise NotImplementedError

    def _read_ahead(self):
        if self._executor is None:
            self._executor = self._make_executor()
        while len(self._ahead) <= self._n_prefetch:
            last = self._ahead[-1][1] if self._ahead else self._place
            try:
                indices, place = self._advance(last)
            except StopIteration:
                break
            indices = indices[self._own(len(indices))]
            parts = np.array_split(indices, min(self._n_workers, len(indices)) or 1)
            futures = [self._submit(part.tolist()) for part in parts]
            self._ahead.append((futures, place))

    def __next__(self):
        self._read_ahead()
        if not self._ahead:
            raise StopIteration
        futures, place = self._ahead[0]
        try:
            batch = [example for future in futures for example in future.result()]
        except BaseException:
            self._forget_ahead()  # the next call reads again, as a serial one does
            raise
        self._ahead.popleft()
        self._place = place
        return batch

    def _drawn_ahead(self):
        orders, last = [], self._place
        for _, place in self._ahead:
            if place.epoch > last.epoch and place.order is not None and self.repeat:
                orders.append(place.order)
            last = place
        return orders + self._drawn

    def _forget_ahead(self):
        """Drop what was read ahead, but keep the orders drawn for it."""
        self._drawn = self._drawn_ahead()
        for futures, _ in self._ahead:
            for future in futures:
                future.cancel()
        self._ahead.clear()

    def reset(self):
        self._forget_ahead()
        super().reset()

    def serialize(self, s):
        if s.loading:
            self._forget_ahead()
        super().serialize(s)

    def finalize(self):
        self._forget_ahead()
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def __del__(self):
        if getattr(self, "_executor", None) is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        super().__del__()


class MultithreadIterator(_PrefetchIterator):
    """A :class:`SerialIterator` that reads ahead on threads.

    For datasets that wait: for files, or in code that releases Python's lock. They
    must not draw from :mod:`dyrnn.random`, which is refused.

    Parameters
    ----------
    dataset, batch_size, repeat, shuffle, order_sampler
        As for :class:`SerialIterator`. ``dataset[i]`` is called from several threads.
    n_threads : int
    n_prefetch : int
        Number of batches to read ahead.
    """

    def __init__(
        self,
        dataset: Examples,
        batch_size: int,
        repeat: bool = True,
        shuffle: bool | None = None,
        n_threads: int = 1,
        order_sampler: Callable | None = None,
        n_prefetch: int = 1,
    ) -> None:
        n_threads = positive_integer("n_threads", n_threads)
        super().__init__(
            dataset, batch_size, repeat, shuffle, n_threads, n_prefetch, order_sampler
        )

    def _make_executor(self):
        return ThreadPoolExecutor(self._n_workers, initializer=random.refuse_streams)

    def _submit(self, indices):
        return self._executor.submit(read_examples, self.dataset, indices)


class MultiprocessIterator(_PrefetchIterator):
    """A :class:`SerialIterator` that reads ahead in worker processes.

    For datasets that compute in Python, but do not draw from :mod:`dyrnn.random`, which
    is refused. Each worker gets a copy of the dataset by pickle, and a script that
    makes such an iterator needs the usual ``if __name__ == "__main__":`` around its
    main code. Workers end with ``finalize`` and with the process that made them, even
    if that is killed.

    Parameters
    ----------
    dataset, batch_size, repeat, shuffle, order_sampler
        As for :class:`SerialIterator`.
    n_processes : int, optional
        By default as many as the machine has processors.
    n_prefetch : int
        Number of batches to read ahead.

    Raises
    ------
    TypeError
        At the first batch, if the dataset cannot be pickled.
    RuntimeError
        If a worker process dies.
    """

    def __init__(
        self,
        dataset: Examples,
        batch_size: int,
        repeat: bool = True,
        shuffle: bool | None = None,
        n_processes: int | None = None,
        n_prefetch: int = 1,
        order_sampler: Callable | None = None,
    ) -> None:
        if n_processes is None:
            n_processes = os.cpu_count() or 1
        n_processes = positive_integer("n_processes", n_processes)
        super().__init__(
            dataset, batch_size, repeat, shuffle, n_processes, n_prefetch, order_sampler
        )

    def _make_executor(self):
        try:
            dataset = pickle.dumps(self.dataset, pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"the dataset cannot be sent to worker processes: {error}. Define its "
                "class and functions at the top of a module, or use "
                "MultithreadIterator."
            ) from error
        # Not "fork": a forked copy of a process with threads (those of BLAS, of CUDA)
        # may hang. Not "forkserver": a signal to all processes would end the server.
        return ProcessPoolExecutor(
            self._n_workers,
            multiprocessing.get_context("spawn"),
            initializer=start_worker,
            initargs=(functools.partial(pickle.loads, dataset),),
        )

    def _submit(self, indices):
        with holding_signals():  # it may start a worker
            return self._executor.submit(read, indices)

    def __next__(self):
        try:
            return super().__next__()
        except BrokenProcessPool as error:
            self.finalize()
            raise RuntimeError(
                "a worker process of MultiprocessIterator died. It may have been "
                "killed for want of memory, or the script's main code is not inside "
                'if __name__ == "__main__":, or the dataset cannot be unpickled.'
            ) from error


_dataset = None  # in a worker: its copy of the dataset
_ENDING = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}


@contextlib.contextmanager
def holding_signals():
    """Let signals that end training wait, and never reach processes started here."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(load):
    """Make this process a worker: it gets its dataset of ``load()``."""
    global _dataset
    # Ctrl-C, timeout and batch systems signal all processes; the parent decides what
    # that means, and only its own signals count here.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        threading.Thread(target=_heed_parent, daemon=True).start()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _dataset = load()
    random.refuse_streams()


def _heed_parent():
    """End this process at a signal of its parent, which may terminate it."""
    parent = multiprocessing.parent_process().pid
    while signal.sigwaitinfo(_ENDING).si_pid != parent:
        pass
    os._exit(1)


def _end_with_parent():
    """Wait for the end of the parent process, then end this one."""
    multiprocessing.parent_process().join()
    os._exit(1)


def read(indices):
    """Read examples, in a worker."""
    return read_examples(_dataset, indices)
