"""What the CPU kernels ask of the machine: threads and memory.

Two settings are made once, when this module is imported:

- dyrnn runs its own threads, as many as NumPy's BLAS would have used
  (``OPENBLAS_NUM_THREADS`` or ``OMP_NUM_THREADS``, else one per core), and the BLAS
  runs on the thread that calls it. So elementwise passes use all cores, too, and work
  is cut where it is best cut: an LSTM between the sequences of a batch, a product of
  matrices between rows.
- glibc keeps freed memory instead of handing it back to the system: a window's arrays
  are of the same sizes every time, and page faults on fresh ones cost more than the
  arithmetic on them.

With another BLAS than OpenBLAS, kernels run on one thread and the BLAS on its own.
"""

import contextvars
import ctypes
import itertools
import os
import queue
import sys
import threading

import numpy as np

_prefixes = (("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", ""))


def _openblas():
    """Return three functions of NumPy's OpenBLAS, or None if it has another BLAS."""
    try:  # looking a symbol up in a library searches the libraries that it links to
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore
    except (AttributeError, OSError):
        return None
    for before, after in _prefixes:
        try:
            return tuple(
                getattr(library, f"{before}openblas_{name}{after}")
                for name in ("get_num_threads", "set_num_threads", "get_corename")
            )
        except AttributeError:
            continue
    return None


def _take_over_blas():
    """Give the BLAS one thread; return how many the kernels may use, and its core."""
    openblas = _openblas()
    if openblas is None:
        return 1, ""
    get_num_threads, set_num_threads, get_corename = openblas
    get_corename.restype = ctypes.c_char_p
    threads = get_num_threads()
    set_num_threads(1)
    return threads, get_corename().decode()


def _libc(name):
    """Return a function of the C library on Linux; elsewhere, or without it, None."""
    if sys.platform == "linux":
        return getattr(ctypes.CDLL(None), name, None)
    return None


def _keep_memory():
    """Tell glibc to serve large blocks from its heap, and not to shrink the heap."""
    mallopt = _libc("mallopt")
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(top_pad, 1 << 24)


threads, _core = _take_over_blas()
has_small_products = _core in ("SkylakeX", "Cooperlake", "SapphireRapids")
_keep_memory()
_tasks: queue.SimpleQueue = queue.SimpleQueue()
_here = threading.local()
_workers = 0
_current_cpu = _libc("sched_getcpu") or (lambda: -1)


def _leave(cpu):
    """Move this worker off the processor of its caller.

    The scheduler often wakes a thread where its waker runs, and leaves it there for
    milliseconds, longer than most parts take.
    """
    if cpu >= 0 and _current_cpu() == cpu:
        others = os.sched_getaffinity(os.getpid()) - {cpu}
        if others:
            os.sched_setaffinity(0, others)


def _work():
    _here.is_worker = True
    while True:
        context, function, part, done, cpu = _tasks.get()
        _leave(cpu)
        try:
            context.run(function, part)
        except BaseException as error:  # raised again in the caller's thread
            done.put(error)
        else:
            done.put(None)
        del context, function, part, done


def _start_workers():
    global _workers
    while _workers < threads - 1:
        _workers += 1
        threading.Thread(target=_work, name="dyrnn-kernel", daemon=True).start()


def _forget_workers():
    """After a fork, the child has none of its parent's threads."""
    global _workers, _tasks
    _workers, _tasks = 0, queue.SimpleQueue()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workers)


def shares(size, grain=1):
    """Cut ``range(size)`` into one slice per thread, each a multiple of ``grain``."""
    parts = max(1, min(threads, size // grain))
    step = max(1, -(-size // (parts * grain))) * grain
    bounds = [*range(0, max(size, 1), step), size]
    return [slice(*pair) for pair in itertools.pairwise(bounds)]


def parallel(function, size, grain=1):
    """Call ``function`` on slices that cover ``range(size)``, one slice per thread.

    Parameters
    ----------
    function : callable
        Takes a slice; parts must not write to the same places. NumPy's error state and
        other context variables are the caller's. The calling thread does the last part.
    size : int
    grain : int
        The smallest part worth a thread; parts are multiples of it (the last is less).
    """
    slices = shares(size, grain)
    if len(slices) == 1 or getattr(_here, "is_worker", False):
        function(slice(0, size))
        return
    _start_workers()
    done: queue.SimpleQueue = queue.SimpleQueue()
    cpu = _current_cpu()
    for part in slices[:-1]:
        _tasks.put((contextvars.copy_context(), function, part, done, cpu))
    errors = []
    try:
        function(slices[-1])
    finally:
        errors = [error for _ in slices[:-1] if (error := done.get()) is not None]
    if errors:
        raise errors[0]
