"""Scoped settings: few flags, each with a default and a reason.

Read a flag as ``config.train``. An assignment, ``config.train = False``, holds for all
threads, also for those that run already; :func:`using_config` changes a flag for a
block, in the current thread only, and is undone however the block ends. An assignment
within such a block is a part of it. Environment variables are read here and nowhere
else.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

MATMUL_PRECISIONS = "float32", "tf32", "bfloat16"
# 0, 1, or the kind of processor whose kernels run: avx512, avx2 or baseline.
NATIVE = os.environ.get("DYRNN_NATIVE", "1") or "1"


class Configuration(threading.local):
    """Settings as attributes: those of all threads in the class, of a block in it."""

    #: Training or evaluation: dropout, zoneout and batch normalisation look at it.
    train = True
    #: Whether operations are recorded for backpropagation.
    enable_backprop = True
    #: Slow checks: where each node was made, NaN, saved arrays changed in place.
    debug = os.environ.get("DYRNN_DEBUG", "0") not in ("", "0")
    #: Type of new parameters.
    dtype = np.dtype(np.float32)
    #: What a GPU may round the factors of float32 products to, for speed; sums are kept
    #: in float32. "bfloat16" lets windows keep recurrent matrices in it, too.
    matmul_precision = "float32"
    #: Threads of the CPU kernels; None: as many as NumPy's BLAS would have used.
    threads = None
    #: MB of freed memory that Linux's C library keeps for the next step instead of
    #: handing it to the system; 0 leaves the library as it is. Counts from the first
    #: step or product on.
    kept_memory = 512
    #: Whether the CPU's kernels are those in C, where they were compiled.
    native = NATIVE != "0"

    def __setattr__(self, name, value):
        value = _checked(name, value)
        if name in self.__dict__:  # within using_config, in this thread
            super().__setattr__(name, value)
        else:
            setattr(type(self), name, value)

    def __delattr__(self, name):
        """Go back to the default, in all threads."""
        setattr(self, name, _DEFAULTS.get(name))

    def __getattr__(self, name):
        raise AttributeError(
            f"config has no setting {name!r}; there are {', '.join(_NAMES)}"
        )

    def __repr__(self):
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in _NAMES)
        return f"Configuration({values})"


def _checked(name, value):
    if name not in _NAMES:
        raise AttributeError(
            f"config has no setting {name!r}; there are {', '.join(_NAMES)}"
        )
    if name == "matmul_precision" and value not in MATMUL_PRECISIONS:
        raise ValueError(
            f"config.matmul_precision is one of {', '.join(MATMUL_PRECISIONS)}, "
            f"not {value!r}"
        )
    if name == "threads" and not (value is None or (type(value) is int and value >= 1)):
        raise ValueError(
            f"config.threads is a number from 1 on, or None, not {value!r}"
        )
    if name == "kept_memory" and not (type(value) is int and value >= 0):
        raise ValueError(f"config.kept_memory is a number of MB, not {value!r}")
    if name == "native" and type(value) is not bool:
        raise ValueError(f"config.native is True or False, not {value!r}")
    return _float_type(value) if name == "dtype" else value


def _float_type(value):
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or value is None or dtype not in ("f2", "f4", "f8"):
        raise ValueError(
            f"config.dtype is np.float16, np.float32 or np.float64, not {value!r}"
        )
    return dtype


_NAMES = [name for name in vars(Configuration) if not name.startswith("_")]
_DEFAULTS = {name: getattr(Configuration, name) for name in _NAMES}
config = Configuration()


def launched_processes() -> int:
    """Return how many processes MPICH or Open MPI started together; 1 without them."""
    told = [os.environ.get(name, "") for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")]
    return next((int(size) for size in told if size.isdecimal()), 1)


@contextmanager
def using_config(name: str, value: Any) -> Iterator[None]:
    """Set ``config.NAME`` to ``value`` inside a ``with`` block, in this thread.

    Examples
    --------
    >>> with using_config("train", False):
    ...     config.train
    False
    """
    own = vars(config)  # of this thread
    outer = {name: own[name]} if name in own else {}
    own[name] = _checked(name, value)
    try:
        yield
    finally:
        own.pop(name, None)
        own.update(outer)


@contextmanager
def inference_mode(all_threads: bool = False) -> Iterator[None]:
    """Evaluate without a graph inside the ``with`` block: ``train`` and backprop off.

    A decorator, too. Without ``all_threads`` it is for this thread; with it for every
    one, also those that run already, until the block ends: for a program that trains
    in none of them.

    Examples
    --------
    >>> with inference_mode():
    ...     config.train, config.enable_backprop
    (False, False)
    """
    names = "train", "enable_backprop"
    before = {name: getattr(Configuration, name) for name in names}
    try:
        for name in names if all_threads else ():
            setattr(Configuration, name, False)
        with using_config("train", False), using_config("enable_backprop", False):
            yield
    finally:
        for name, value in before.items() if all_threads else ():
            setattr(Configuration, name, value)


def no_backprop_mode():
    """Record no graph inside the ``with`` block: less memory, no ``backward``."""
    return using_config("enable_backprop", False)
