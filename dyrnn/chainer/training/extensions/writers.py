"""How snapshots get to disk: at once, or by threads and processes."""

import multiprocessing
import os
import queue
import threading

from dyrnn.chainer.serializers.dictionaries import save_npz
from dyrnn.chainer.utils import tempdir


class Writer:
    """Base class of writers: ``writer(filename, outdir, target)``."""

    def __init__(self):
        self._post_save_hooks = []

    def __call__(self, filename, outdir, target):
        raise NotImplementedError

    def __del__(self):
        self.finalize()

    def finalize(self):
        """Wait for what is not written yet."""

    def save(self, filename, outdir, target, savefun, **kwds):
        """Write under another name, then rename, then call the hooks."""
        with tempdir(prefix="tmp" + filename, dir=outdir) as temporary:
            path = os.path.join(temporary, filename)
            savefun(path, target)
            os.replace(path, os.path.join(outdir, filename))
        self._post_save()

    def _add_cleanup_hook(self, hook_fun):
        self._post_save_hooks.append(hook_fun)

    def _post_save(self):
        for hook in self._post_save_hooks:
            hook()


class SimpleWriter(Writer):
    """Writes at once."""

    def __init__(self, savefun=save_npz, **kwds):
        super().__init__()
        self._savefun = savefun
        self._kwds = kwds

    def __call__(self, filename, outdir, target):
        self.save(filename, outdir, target, self._savefun, **self._kwds)


class StandardWriter(Writer):
    """Base class of writers that start a worker for each snapshot."""

    _started = False
    _finalized = False
    _worker = None

    def __init__(self, savefun=save_npz, **kwds):
        super().__init__()
        self._savefun = savefun
        self._kwds = kwds

    def __call__(self, filename, outdir, target):
        if self._started:
            self._worker.join()
            self._started = False
        self._filename = filename
        self._worker = self.create_worker(filename, outdir, target, **self._kwds)
        self._worker.start()
        self._started = True

    def create_worker(self, filename, outdir, target, **kwds):
        """Return a worker with ``start`` and ``join``."""
        raise NotImplementedError

    def _call(self, filename, outdir, target):
        args = (filename, outdir, target, self._savefun)
        return {"target": self.save, "args": args, "kwargs": self._kwds}

    def finalize(self):
        if self._started:
            if not self._finalized:
                self._worker.join()
            self._started = False
        self._finalized = True


class ThreadWriter(StandardWriter):
    """Writes in a thread."""

    def create_worker(self, filename, outdir, target, **kwds):
        return threading.Thread(**self._call(filename, outdir, target))


class ProcessWriter(StandardWriter):
    """Writes in a process."""

    def create_worker(self, filename, outdir, target, **kwds):
        return multiprocessing.Process(**self._call(filename, outdir, target))


class QueueWriter(Writer):
    """Base class of writers with one worker and a queue."""

    _started = False
    _finalized = False
    _queue = None
    _consumer = None

    def __init__(self, savefun=save_npz, task=None):
        super().__init__()
        self._task = self.create_task(savefun) if task is None else task
        self._queue = self.create_queue()
        self._consumer = self.create_consumer(self._queue)
        self._consumer.start()
        self._started = True

    def __call__(self, filename, outdir, target):
        self._queue.put([self._task, filename, outdir, target])

    def create_task(self, savefun):
        """Return what the worker calls for a snapshot."""
        return SimpleWriter(savefun=savefun)

    def create_queue(self):
        """Return a queue."""
        raise NotImplementedError

    def create_consumer(self, q):
        """Return the worker, with ``start`` and ``join``."""
        raise NotImplementedError

    def consume(self, q):
        """Write what comes through the queue, until None comes."""
        while (item := q.get()) is not None:
            item[0](item[1], item[2], item[3])
            self._post_save()
            q.task_done()
        q.task_done()

    def finalize(self):
        if self._started:
            if not self._finalized:
                self._queue.put(None)
                self._queue.join()
                self._consumer.join()
            self._started = False
        self._finalized = True


class ThreadQueueWriter(QueueWriter):
    """Writes in one thread, in order."""

    def create_queue(self):
        return queue.Queue()

    def create_consumer(self, q):
        return threading.Thread(target=self.consume, args=(q,))


class ProcessQueueWriter(QueueWriter):
    """Writes in one process, in order."""

    def create_queue(self):
        return multiprocessing.JoinableQueue()

    def create_consumer(self, q):
        return multiprocessing.Process(target=self.consume, args=(q,))
