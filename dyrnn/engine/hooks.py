"""Watching operations run: user hooks, and the checks of debug mode as one of them."""

import sys
import threading
import traceback

import numpy as np

from dyrnn import backend
from dyrnn.config import config
from dyrnn.engine.gradients import densify
from dyrnn.errors import NonFiniteError

active: list = []  # of all threads; each sees its own


class FunctionHook:
    """Watch operations run, inside a ``with`` block; override what you need.

    A hook sees the operations of the thread that entered the block.
    """

    thread: int | None = None  # that a hook belongs to

    def __enter__(self):
        self.thread = threading.get_ident()
        active.append(self)
        return self

    def __exit__(self, *exception):
        active.remove(self)

    def forward_before(self, node, arrays):
        """Called before ``node.forward(arrays)``."""

    def forward_after(self, node, arrays, outputs):
        """Called after it, when ``node.saved`` is there."""

    def backward_before(self, node):
        """Called before ``node.backward``."""

    def backward_after(self, node):
        """Called after it."""

    def gradients(self, node, gxs):
        """Called with what it computed: an array, `Deferred` or None for each input."""


class DebugHook(FunctionHook):
    """Names the line that made a NaN, and finds saved arrays changed in place.

    In gradients, infinity is wrong, too. It is active while ``config.debug`` is set:
    for a whole program by the environment variable DYRNN_DEBUG=1.
    """

    def forward_after(self, node, arrays, outputs):
        node.trace = user_line()
        for y in outputs:
            if y.dtype.kind == "f" and not bool((y == y).all()):
                raise NonFiniteError(
                    f"{type(node).__name__}, called at {node.trace}, computed NaN"
                )
        node.digests = [_digest(a) for a in node.saved]

    def backward_before(self, node):
        digests = getattr(node, "digests", None)
        if digests is not None and digests != [_digest(a) for a in node.saved]:
            raise RuntimeError(
                f"an array that {type(node).__name__}, called at {node.trace}, keeps "
                "for its gradient was changed in place afterwards; work on a copy"
            )

    def gradients(self, node, gxs):
        for i, gx in enumerate(gxs):
            if gx is None:
                continue
            gx = densify(gx)
            gx = getattr(gx, "array", gx)
            xp = backend.get_array_module(gx)
            if not bool(xp.isfinite(gx).all()):
                kind = "NaN" if bool(xp.isnan(gx).any()) else "infinity"
                trace = getattr(
                    node, "trace", "an unknown line, before debug mode began"
                )
                raise NonFiniteError(
                    f"backward of {type(node).__name__}, called at {trace}, computed "
                    f"{kind} in the gradient of its input {i}, of shape {gx.shape}"
                )


def user_line():
    """Return file:line of the innermost frame outside the library."""
    package = __name__.partition(".")[0] + "."
    # Where walk_stack(None) begins differs between versions of Python.
    for frame, line in traceback.walk_stack(sys._getframe()):
        if not frame.f_globals.get("__name__", "").startswith(package):
            return f"{frame.f_code.co_filename}:{line}"
    return "an unknown line"


def _digest(array):
    if not backend.is_array(array):
        return array
    return hash(np.ascontiguousarray(backend.to_cpu(array)).tobytes())


_debug = DebugHook()


def watching():
    """Return the hooks to call now."""
    here = threading.get_ident()
    mine = [hook for hook in active if hook.thread == here]
    return [*mine, _debug] if config.debug else mine
