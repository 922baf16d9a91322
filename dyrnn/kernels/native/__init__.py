"""Kernels in C for NumPy arrays of float32 and float64, where they were compiled.

``setup.py`` compiles ``compiled.c`` if there is a C compiler. What the processor runs
is found out here, at first use.
"""

import importlib
import warnings
from functools import cache

import numpy as np

from dyrnn.config import NATIVE, config

VERSION = 2  # of what is called in C; compiled.c says it, too
NUMBERS: dict[str, int] = {}  # of kernels by their names, of rules by their texts
PACKED: dict[str, int] = {}  # terms and columns that products pack at a time


def module():
    """Return the module in C, which may not be there."""
    return importlib.import_module("dyrnn.kernels.native.compiled")


@cache
def start():
    """Make the kernels ready.

    Returns
    -------
    kind : str or None
        The processors that they are made for; None: they cannot run.
    reason : str
        Why not, or why these.
    """
    try:
        found = module()
    except ImportError as error:
        return None, f"those in C were not compiled when dyrnn was installed ({error})"
    if getattr(found, "version", 1) != VERSION:
        return None, "those in C were compiled for another version: install dyrnn again"
    known = found.kinds()
    kind = known[0] if NATIVE in ("0", "1") else NATIVE
    if kind not in known:
        return None, f"this processor runs {', '.join(known)}, and not {kind}"
    found.use(kind)
    NUMBERS.update({name: k for k, name in enumerate(found.names)})
    PACKED.update(terms=found.terms, columns=found.columns)
    global _run
    _run = found.run
    return kind, f"the processor runs {', '.join(known)}"


def is_on():
    """Whether these kernels run in this thread."""
    return config.native and start()[0] is not None


def form():
    """Return what NumPy's arrays are computed with: "native" or "numpy"."""
    return "native" if is_on() else "numpy"


def serialize(s):
    """Save which kernels a run is made with; loaded, it goes on with the same.

    Their last bits differ. A file that does not say is of a run on NumPy's.
    """
    made_with = s("kernels", form()) if s.has("kernels") else "numpy"
    if s.loading:
        config.native = made_with == "native"
        if form() != made_with:
            warnings.warn(
                "resumed, but not bit by bit: the run was made with kernels in C, and "
                f"here they do not run: {start()[1]}",
                stacklevel=2,
            )


def _run(*args):
    raise RuntimeError("start() was not called")


def dense(*arrays):
    """Return arrays as their rows lie side by side; None stays None."""
    return [None if a is None else np.ascontiguousarray(a) for a in arrays]


def run(name, parts, *arguments):
    """Run a kernel in parts, each on a thread."""
    _run(NUMBERS[name], min(parts, 256), *arguments)


def run_each(calls):
    """Run kernels one after the other, given the arguments of `run` for each."""
    for call in calls:
        run(*call)
