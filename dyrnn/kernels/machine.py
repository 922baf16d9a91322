"""What the CPU kernels ask of the machine: threads and memory.

Importing this changes nothing. Two settings are made once, by :func:`prepare`, before
the first product or kernel runs:

- dyrnn runs its own threads, as many as ``config.threads`` says, by default as many as
  NumPy's BLAS would have used (``OPENBLAS_NUM_THREADS`` and the like, else one per
  core), and the BLAS runs on the thread that calls it. So elementwise passes use all
  cores, too, and work is cut where it is best cut: an LSTM between the sequences of a
  batch, a product of matrices between rows.
- glibc keeps freed memory, up to ``config.kept_memory``, instead of handing it back to
  the system: a window's arrays are of the same sizes every time, and page faults on
  fresh ones cost more than the arithmetic on them. :func:`release_memory` frees it.

With a BLAS that threadpoolctl does not know, kernels run on one thread by default, and
the BLAS on its own.
"""

import contextlib
import contextvars
import ctypes
import itertools
import os
import queue
import sys
import threading
from typing import Any, NamedTuple

import numpy as np

from dyrnn.config import config


class _Blas(NamedTuple):
    """The libraries that NumPy multiplies with, as they were found."""

    libraries: list[Any]
    threads: int
    core: str  # the processor that it has kernels for


_lock = threading.Lock()
_blas: _Blas | None = None
_is_ready = False


def _ask_blas():
    """Return what is known of NumPy's BLAS; look once, before it is changed."""
    global _blas
    if _blas is not None:
        return _blas
    with _lock:
        if _blas is None:
            # Its import sets an environment variable.
            from threadpoolctl import ThreadpoolController

            found = ThreadpoolController().select(user_api="blas").lib_controllers
            numpy = os.path.dirname(np.__file__)  # wheels: beside it, in numpy.libs
            own = [library for library in found if library.filepath.startswith(numpy)]
            libraries = own or found
            facts = [library.info() for library in libraries]
            threads = max((fact["num_threads"] or 1 for fact in facts), default=1)
            core = facts[0].get("architecture") or "" if facts else ""
            _blas = _Blas(libraries, threads, core)
    return _blas


def threads():
    """Return the number of threads that kernels may use."""
    return config.threads or _ask_blas().threads


def blas_threads():
    """Return the number of threads of one product; None: its BLAS is not known."""
    return 1 if _ask_blas().libraries else None


def blas_core():
    """Return the processor that the BLAS has kernels for, or an empty string."""
    return _ask_blas().core


def has_small_products():
    """Whether the BLAS multiplies small matrices as they lie, without copies."""
    return blas_core() in ("SkylakeX", "Cooperlake", "SapphireRapids")


def prepare():
    """Make this process ready for kernels: one thread for the BLAS, memory kept."""
    global _is_ready
    if not _is_ready:
        for library in _ask_blas().libraries:
            library.set_num_threads(1)
        _keep_memory()
        _is_ready = True


def _libc(name):
    """Return a function of the C library on Linux; elsewhere, or without it, None."""
    if sys.platform == "linux":
        return getattr(ctypes.CDLL(None), name, None)
    return None


def _keep_memory():
    """Tell glibc to serve blocks from its heap, and when to shrink the heap."""
    mallopt = _libc("mallopt")
    if mallopt is not None and config.kept_memory:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3
        size = min(config.kept_memory << 20, (1 << 31) - 1)  # an int of C
        mallopt(mmap_threshold, size)
        mallopt(trim_threshold, size)
        mallopt(top_pad, 1 << 24)


def release_memory():
    """Hand memory that is free but kept for the next step back to the system.

    A long-lived program calls it after a training. It does nothing but on Linux.

    Examples
    --------
    >>> from dyrnn import kernels
    >>> kernels.release_memory()
    """
    malloc_trim = _libc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


_jobs: queue.SimpleQueue = queue.SimpleQueue()
_here = threading.local()
_workers = 0
_current_cpu = _libc("sched_getcpu") or (lambda: -1)
_may_move = hasattr(os, "sched_setaffinity")


def _leave(cpu):
    """Move this worker off the processor of its caller.

    The scheduler often wakes a thread where its waker runs, and leaves it there for
    milliseconds, longer than most parts take. It may move the worker again later.
    """
    global _may_move
    if cpu < 0 or not _may_move or _current_cpu() != cpu:
        return
    try:
        allowed = os.sched_getaffinity(0)
        if len(allowed) > 1:
            os.sched_setaffinity(0, allowed - {cpu})
            os.sched_setaffinity(0, allowed)
    except OSError:  # containers may forbid it, at the second call, too
        _may_move = False
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))


class _Job:
    """A function and the parts that nobody has begun yet.

    Workers and the caller take parts until none is left, so a worker that does not
    come, because it could not be started or the interpreter ends, is not waited for.
    """

    def __init__(self, function, parts):
        self._function = function
        self._parts = parts
        self._context = contextvars.copy_context()
        self._cpu = _current_cpu()
        self._begun = 0  # by workers
        self._lock = threading.Lock()
        self._done: queue.SimpleQueue = queue.SimpleQueue()

    def help(self):
        """Do parts in this worker."""
        while (part := self._next(1)) is not None:
            error = None
            try:
                _leave(self._cpu)
                self._context.copy().run(self._function, part)
            except BaseException as raised:  # raised again in the caller's thread
                error = raised
            self._done.put(error)

    def run(self):
        """Do parts in the caller, and wait for those that workers have begun."""
        errors = []
        try:
            _here.is_in_part = True
            while (part := self._next(0)) is not None:
                self._function(part)
        finally:
            _here.is_in_part = False
            with self._lock:
                self._parts = []  # after an error nobody begins another one
            errors += [self._done.get() for _ in range(self._begun)]
            self._function = self._context = None  # a late worker holds no arrays
        for error in errors:
            if error is not None:
                raise error

    def _next(self, by_worker):
        with self._lock:
            if not self._parts:
                return None
            self._begun += by_worker
            return self._parts.pop()


def _work():
    _here.is_in_part = True
    while True:
        _jobs.get().help()


def _start_workers(number):
    """Start what is missing of so many workers; return how many of them there are."""
    global _workers
    with _lock:
        # A thread started while the interpreter ends would never say that it runs.
        while _workers < number and not sys.is_finalizing():
            try:
                threading.Thread(target=_work, name="dyrnn-kernel", daemon=True).start()
            except (RuntimeError, MemoryError):  # no more threads, for now
                break
            _workers += 1
    return 0 if sys.is_finalizing() else min(number, _workers)


def _forget_workers():
    """After a fork, the child has none of its parent's threads, nor their locks."""
    global _workers, _jobs, _lock
    _workers, _jobs, _lock = 0, queue.SimpleQueue(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workers)


def parts(work, most=None):
    """Return how many threads ``work`` elementary functions are worth, up to ``most``.

    A number that is only multiplied and added is a quarter of one.
    """
    return max(1, min(threads(), work // 8192, most or work))


def shares(size, grain=1):
    """Cut ``range(size)`` into one slice per thread, each a multiple of ``grain``."""
    parts = max(1, min(threads(), size // grain))
    step = max(1, -(-size // (parts * grain))) * grain
    bounds = [*range(0, max(size, 1), step), size]
    return [slice(*pair) for pair in itertools.pairwise(bounds)]


def parallel(function, size, grain=1):
    """Call ``function`` on slices that cover ``range(size)``, one slice per thread.

    Parameters
    ----------
    function : callable
        Takes a slice; parts must not write to the same places. NumPy's error state and
        other context variables are the caller's. The calling thread does parts, too;
        what is called in parallel inside of a part runs there.
    size : int
    grain : int
        The smallest part worth a thread; parts are multiples of it (the last is less).
    """
    slices = shares(size, grain)
    if len(slices) == 1 or getattr(_here, "is_in_part", False):
        function(slice(0, size))
        return
    job = _Job(function, slices)
    for _ in range(_start_workers(len(slices) - 1)):
        _jobs.put(job)
    job.run()
