"""The kernels for CuPy's arrays: own CUDA code where launches or passes are saved.

Products are cuBLAS's, through CuPy (TF32 if the environment has ``CUPY_TF32=1``). The
rest is compiled by NVRTC at first use, one module for each kind of kernel and dtype,
and kept on disk by CuPy. Kernels that are not here are those of
:mod:`dyrnn.kernels.plain`. Nothing waits for the device.

The window of an LSTM or a GRU runs as one kernel if the recurrent matrix fits into the
registers of all multiprocessors together, step by step otherwise: a product and a fused
step.
"""

from functools import lru_cache

import numpy as np

from dyrnn.kernels import plain
from dyrnn.kernels.cuda_sources import MODULES, TYPES, source

_MANY, _CHUNK = 24, 16384  # as in cuda_sources
_REGISTERS = 176  # bytes of a lane's columns of one row: beyond, registers spill
_TABLE = np.dtype(
    [(name, np.int64, _MANY) for name in ("size", "p", "g", "s0", "s1", "s2")]
    + [("rate", np.float64, _MANY), ("first", np.int32, _MANY + 1), ("count", "i4")],
    align=True,
)
_STREAM = np.dtype(
    [("counter", "u8", 4), ("key", "u8", 2), ("buffer", "u8", 4), ("left", "i8")]
)
_NUMBERS = np.dtype([("k", np.float64, 8)])


class Gpu:
    """The current CUDA device, through CuPy."""

    def __init__(self):
        import cupy

        self.xp = cupy
        self.plans = {}
        self._kernels = {}

    def function(self, module, name, dtype, **constants):
        """Return a kernel, compiled if it was not yet."""
        key = module, name, str(dtype), *constants.items()
        if key not in self._kernels:
            text = source(module, dtype, **constants)
            self._kernels[key] = self.xp.RawKernel(text, name)
        return self._kernels[key]

    def launch(self, function, blocks, threads, args, shared=0, together=False):
        """Start a kernel; ``together``: all blocks at once, so that they may wait."""
        if shared > 48 << 10 and function.max_dynamic_shared_size_bytes < shared:
            function.max_dynamic_shared_size_bytes = shared
        kernel = function.kernel  # not via RawKernel, whose flag wants a toolkit
        kernel(
            (blocks,),
            (threads,),
            args,
            shared_mem=shared,
            enable_cooperative_groups=together,
        )

    def resident_blocks(self, function, threads, shared):
        """Return how many blocks of a kernel fit on the device at once."""
        from cupy_backends.cuda.api import driver

        if shared > 48 << 10:
            function.max_dynamic_shared_size_bytes = shared
        per_processor = driver.occupancyMaxActiveBlocksPerMultiprocessor(
            function.kernel.ptr, threads, shared
        )
        return per_processor * self.processors

    @property
    def index(self):
        """Number of the current device."""
        return self.xp.cuda.runtime.getDevice()

    @property
    def processors(self):
        """Number of its multiprocessors."""
        return self.xp.cuda.Device().attributes["MultiProcessorCount"]

    @property
    def shared_memory(self):
        """Bytes of shared memory that a block may have."""
        attributes = self.xp.cuda.Device().attributes
        return attributes["MaxSharedMemoryPerBlockOptin"]

    @staticmethod
    def address(array):
        """Return where the elements of an array are."""
        return array.data.ptr


@lru_cache(maxsize=1)
def machine():
    """Return the machine that the kernels run on."""
    return Gpu()


def _launch(module, name, dtype, blocks, threads, args, shared=0, **constants):
    gpu = machine()
    function = gpu.function(module, name, dtype, **constants)
    gpu.launch(function, blocks, threads, _arguments(args), shared)


def _arguments(args):
    """Give Python's numbers the types of the kernels': int, double."""
    types = {int: np.int32, bool: np.int32, float: np.float64}
    return tuple(types[type(x)](x) if type(x) in types else x for x in args)


def _works_on(*arrays):
    """Whether there are kernels for the arrays' type, and they may be written to."""
    return str(arrays[0].dtype) in TYPES and all(
        a.flags.c_contiguous and a.dtype == arrays[0].dtype for a in arrays
    )


def _dense(*arrays):
    """Return the arrays with their elements in order; None stays."""
    xp = machine().xp
    return [None if a is None else xp.ascontiguousarray(a) for a in arrays]


def _wide(dtype):
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _step(name, shape, *args):
    """Launch a kernel of one step with a thread per element of the state (B, H)."""
    B, H = shape
    dtype = next(a for a in args if hasattr(a, "dtype") and a.dtype.kind == "f").dtype
    _launch("steps", name, dtype, -(-B * H // 256), 256, (B, H, *args))


def lstm_gates(a, c_prev, x=None):
    """All gates in one kernel."""
    if not _works_on(a):
        return plain.lstm_gates(a, c_prev, x)
    c_prev, x = _dense(c_prev, x)
    xp = machine().xp
    c, tanh_c, h = xp.empty_like(c_prev), xp.empty_like(c_prev), xp.empty_like(c_prev)
    _step("lstm_step", c_prev.shape, a, x, c_prev, None, None, c, tanh_c, h)
    return c, tanh_c, h


def lstm_gates_backward(gates, c_prev, tanh_c, gc, gh):
    """All gates in one kernel."""
    if str(gates.dtype) not in TYPES:
        return plain.lstm_gates_backward(gates, c_prev, tanh_c, gc, gh)
    gates, c_prev, tanh_c, gc, gh = _dense(gates, c_prev, tanh_c, gc, gh)
    xp = machine().xp
    gz, gc_prev = xp.empty_like(gates), xp.empty_like(c_prev)
    upstream = gh, None, None, gc, None
    into = gz, gc_prev, None
    _step(
        "lstm_step_backward",
        c_prev.shape,
        *(gates, c_prev, None, tanh_c, *upstream, *into),
    )
    return gz, gc_prev


def gru_gates(z, h, a):
    """All gates in one kernel."""
    if not _works_on(z):
        return plain.gru_gates(z, h, a)
    h, a = _dense(h, a)
    y = machine().xp.empty_like(h)
    _step("gru_step", h.shape, z, a, None, h, None, None, y)
    return y


def gru_gates_backward(gy, gates, h, a):
    """All gates in one kernel."""
    if str(gates.dtype) not in TYPES:
        return plain.gru_gates_backward(gy, gates, h, a)
    xp = machine().xp
    gy, gates, h, a = _dense(gy, gates, h, a)
    gz, ga, gh = xp.empty_like(gates), xp.empty_like(gates), xp.empty_like(h)
    H = h.shape[1]
    inner = a[:, 2 * H :], 3 * H
    into = gz, ga, gh
    _step(
        "gru_step_backward",
        h.shape,
        *(gates, *inner, h, gy, None, None, None, *into),
    )
    return gz, ga, gh


class _Plan:
    """How a layer's window is laid out on a device, as one kernel."""

    def __init__(self, name, gates, dtype, B, H):
        gpu, width = machine(), _wide(dtype).itemsize
        is_backward = name == "window_backward"
        K = -(-H // 32)
        self.blocks = 0
        if K * width > _REGISTERS:
            return
        self.function = gpu.function("window", name, dtype, K=K, GATES=gates)
        row = 32 * K * width * (gates if is_backward else 1)
        fewest = -(-H // gpu.processors)
        for units in range(1, 17):
            if units < fewest or (is_backward and units % 4):
                continue
            warps = units // 4 * gates if is_backward else units
            for groups in range(min(16 // units, -(-B // 4)), 0, -1):
                threads = 32 * warps * groups
                scratch = threads // 2 * width if is_backward else 0
                staged = min(B, (gpu.shared_memory - scratch) // row)
                shared = staged * row + scratch
                blocks = -(-H // units)
                fit = staged and gpu.resident_blocks(self.function, threads, shared)
                if blocks <= fit:
                    self.blocks, self.threads, self.shared = blocks, threads, shared
                    self.layout = units, groups, staged
                    return

    def launch(self, steps, B, H, *args):
        """Run all steps."""
        gpu = machine()
        arrived = gpu.xp.zeros(1, np.uint32)
        args = _arguments((steps, B, H, *self.layout, *args, arrived))
        layout = self.blocks, self.threads
        gpu.launch(self.function, *layout, args, self.shared, together=True)


def _plan(*window):
    """Return the plan for (name, gates, dtype, B, H), or None if it does not fit."""
    gpu = machine()
    key = *window, gpu.index
    if key not in gpu.plans:
        gpu.plans[key] = _Plan(*window)
    plan = gpu.plans[key]
    return plan if plan.blocks else None


def _states(xp, T, h0):
    states = xp.empty((T + 1, *h0.shape), h0.dtype)
    states[0] = h0
    return states


def _at(array, t):
    return None if array is None else array[t]


def lstm_forward(z, h0, c0, W, mask=None):
    """One kernel for all steps, or two for each."""
    if not _works_on(z):
        return plain.lstm_forward(z, h0, c0, W, mask)
    xp = machine().xp
    T, B, H = len(z), *h0.shape
    h, c = _states(xp, T, h0), _states(xp, T, c0)
    W, mask = _dense(W, mask)
    plan = _plan("window", 4, z.dtype, B, H)
    if plan is not None:
        plan.launch(T, B, H, W, None, mask, z, h, c)
        return h, c
    a = xp.empty_like(z[0])
    for t in range(T):
        xp.matmul(h[t], W.T, out=a)
        before, after = (c[t], h[t], _at(mask, t)), (c[t + 1], None, h[t + 1])
        _step("lstm_step", (B, H), z[t], a, *before, *after)
    return h, c


def lstm_backward(gh, gc_last, gates, c, W, mask=None):
    """One kernel for all steps, or two for each."""
    if str(gates.dtype) not in TYPES:
        return plain.lstm_backward(gh, gc_last, gates, c, W, mask)
    xp = machine().xp
    gh, gates, c, W, mask = _dense(gh, gates, c, W, mask)
    T, B, H = len(gates), *c[0].shape
    gz = xp.empty_like(gates)
    gc = xp.zeros_like(c[0]) if gc_last is None else gc_last.copy()
    plan = _plan("window_backward", 4, gates.dtype, B, H)
    if plan is not None:
        wide = gc.astype(_wide(gc.dtype), copy=False)
        rest = xp.zeros_like(wide)
        plan.launch(T, B, H, W, mask, gates, c, None, gh, gz, None, wide, rest)
        gh0 = xp.matmul(gz[0], W)
        if mask is not None:
            gh0 += rest
        return gz, gh0, wide.astype(gc.dtype, copy=False)
    later = None
    rest = None if mask is None else xp.zeros_like(gc)
    for t in reversed(range(T)):
        upstream = _at(gh, t), later, rest, gc, _at(mask, t)
        step = gates[t], c[t], c[t + 1], None
        _step("lstm_step_backward", (B, H), *step, *upstream, gz[t], gc, rest)
        later = xp.matmul(gz[t], W, out=later)
    return gz, later if rest is None else later + rest, gc


def gru_forward(z, h0, W, b=None, reset_after=False, mask=None):
    """One kernel, or two for each step, if the reset comes after the product."""
    if not (reset_after and _works_on(z)):
        return plain.gru_forward(z, h0, W, b, reset_after, mask)
    xp = machine().xp
    W, b, mask = _dense(W, b, mask)
    T, B, H = len(z), *h0.shape
    h, inner, a = _states(xp, T, h0), xp.empty((T, B, H), z.dtype), None
    plan = _plan("window", 3, z.dtype, B, H)
    if plan is not None:
        plan.launch(T, B, H, W, b, mask, z, h, inner)
        return h, inner
    for t in range(len(z)):
        a = xp.matmul(h[t], W.T, out=a)
        step = z[t], a, b, h[t], _at(mask, t), inner[t], h[t + 1]
        _step("gru_step", h0.shape, *step)
    return h, inner


def gru_backward(gh, gates, inner, h, W, reset_after=False, mask=None):
    """One kernel, or two for each step, if the reset comes after the product."""
    if not reset_after or str(gates.dtype) not in TYPES:
        return plain.gru_backward(gh, gates, inner, h, W, reset_after, mask)
    xp = machine().xp
    gh, gates, inner, h, W, mask = _dense(gh, gates, inner, h, W, mask)
    T, B, H = len(gates), *h[0].shape
    gz, gr, rest = xp.empty_like(gates), xp.empty_like(gates), xp.zeros_like(h[0])
    plan = _plan("window_backward", 3, gates.dtype, B, H)
    if plan is not None:
        rest = rest.astype(_wide(rest.dtype), copy=False)
        plan.launch(T, B, H, W, mask, gates, inner, h, gh, gz, gr, None, rest)
        gh0 = xp.matmul(gr[0], W)
        gh0 += rest
        return gz, gr, gh0
    later = None
    for t in reversed(range(len(gates))):
        step = gates[t], inner[t], h.shape[2], h[t], gh[t], later, rest
        into = gz[t], gr[t], rest
        _step("gru_step_backward", rest.shape, *step, _at(mask, t), *into)
        later = xp.matmul(gr[t], W, out=later)
    return gz, gr, later + rest


def rnn_forward(z, h0, W, activation="tanh", mask=None):
    """A product and a kernel for each step."""
    if str(z.dtype) not in TYPES:
        return plain.rnn_forward(z, h0, W, activation, mask)
    xp = machine().xp
    z, W, mask = _dense(z, W, mask)
    h, a = _states(xp, len(z), h0), None
    for t in range(len(z)):
        a = xp.matmul(h[t], W.T, out=a)
        step = z[t], a, h[t], _at(mask, t), h[t + 1]
        _step("rnn_step", h0.shape, activation == "relu", *step)
    return h


def rnn_backward(gh, h, W, activation="tanh", mask=None):
    """A product and a kernel for each step."""
    if str(h.dtype) not in TYPES:
        return plain.rnn_backward(gh, h, W, activation, mask)
    xp = machine().xp
    gh, h, W, mask = _dense(gh, h, W, mask)
    gz, later = xp.empty_like(h[1:]), None
    rest = None if mask is None else xp.zeros_like(h[0])
    for t in reversed(range(len(gz))):
        step = h[t + 1], gh[t], later, rest, _at(mask, t), gz[t], rest
        _step("rnn_step_backward", h[0].shape, activation == "relu", *step)
        later = xp.matmul(gz[t], W, out=later)
    return gz, later if rest is None else later + rest


def softmax_cross_entropy(logits, t, ignore_label=-1, out=None):
    """One kernel, a block for each row."""
    xp = machine().xp
    if not _works_on(logits, *([] if out is None else [out])):
        return plain.softmax_cross_entropy(logits, t, ignore_label, out)
    if t.dtype not in (np.int32, np.int64):
        t = t.astype(np.int64)
    (t,) = _dense(t)
    N, V = logits.shape
    e = xp.empty_like(logits) if out is None else out
    loss, inverse = xp.empty(N, logits.dtype), xp.empty(N, logits.dtype)
    labels = np.int64(ignore_label), t.dtype == np.int64
    args = V, *labels, logits, t, e, loss, inverse
    shared = 32 * _wide(logits.dtype).itemsize
    _launch("loss", "softmax_cross_entropy", logits.dtype, N, 512, args, shared)
    return loss, e, inverse


def add_rows_by_id(target, ids, rows):
    """Sort, then a block for each row, of which the first one of an id adds up."""
    if len(ids) == 0:
        return
    if not _works_on(target):
        plain.add_rows_by_id(target, ids, rows)
        return
    order = machine().xp.argsort(ids).astype(np.int64, copy=False)
    ids, order, rows = _dense(ids[order].astype(np.int64, copy=False), order, rows)
    N, D = rows.shape
    args = np.int64(N), np.int64(D), ids, order, rows, target
    threads = min(256, -(-D // 32) * 32)
    _launch("loss", "add_rows", target.dtype, N, threads, args)


def dropout_mask(generator, shape, ratio, dtype, like=None):
    """Draw the same numbers from the same stream as the CPU, on the device."""
    dtype = np.dtype(dtype)
    size, state = int(np.prod(shape)), generator.bit_generator.state
    if str(dtype) not in TYPES or size == 0:
        return plain.dropout_mask(generator, shape, ratio, dtype, like)
    words = -(-size // 4)
    stream = np.zeros((), _STREAM)
    stream["counter"], stream["key"] = state["state"]["counter"], state["state"]["key"]
    stream["buffer"], left = state["buffer"], 4 - state["buffer_pos"]
    stream["left"] = left
    blocks = max(0, -(-(words - left) // 4))
    _skip(generator, state, words, left, blocks)
    threshold = round(ratio * 2**16)
    mask = machine().xp.empty(shape, dtype)
    args = np.int64(size), threshold, 2**16 / (2**16 - threshold), stream, mask
    _launch("mask", "dropout_mask", dtype, -(-(blocks + 1) // 256), 256, args)
    return mask


def _skip(generator, state, words, left, blocks):
    """Move a generator over Philox on by ``words`` words: ``blocks`` new blocks."""
    bits = generator.bit_generator
    if blocks == 0:
        bits.random_raw(words)
        return
    counter = sum(int(c) << 64 * i for i, c in enumerate(state["state"]["counter"]))
    counter += blocks - 1
    state["state"]["counter"] = np.array(
        [counter >> 64 * i & (1 << 64) - 1 for i in range(4)], np.uint64
    )
    state["buffer_pos"] = 4
    bits.state = state
    bits.random_raw(words - left - 4 * (blocks - 1))


def _tables(arrays):
    """Yield tables of addresses for up to 24 arrays each, and which ones they are."""
    address = machine().address
    for start in range(0, len(arrays), _MANY):
        part = slice(start, min(start + _MANY, len(arrays)))
        table, first = np.zeros((), _TABLE), 0
        for i, array in enumerate(arrays[part]):
            table["p"][i], table["size"][i] = address(array), array.size
            first += -(-array.size // _CHUNK)
            table["first"][i + 1 :] = first
        table["count"] = part.stop - part.start
        yield table, part, first


def clip(arrays, threshold):
    """Three kernels for all arrays."""
    if not _works_on(*arrays):
        return plain.clip(arrays, threshold)
    xp, dtype = machine().xp, arrays[0].dtype
    squares = xp.empty(len(arrays), np.float64)
    bad = xp.empty(len(arrays), np.bool_)
    tables = list(_tables(arrays))
    for table, part, blocks in tables:
        parts = xp.empty(blocks, np.float64)
        if blocks:
            _launch("many", "partial_squares", dtype, blocks, 256, (table, parts), 256)
        args, count = (table, parts, squares[part], bad[part]), int(table["count"])
        _launch("many", "add_squares", dtype, count, 256, args, 256)
    for table, _, blocks in tables:
        args = table, float(threshold), len(arrays), squares
        if blocks:
            _launch("many", "clip", dtype, blocks, 256, args)
    return bad


def update(rule, numbers, items):
    """One kernel for all parameters."""
    arrays = [array for array, *_ in items]
    states = [state for *_, state in items]
    wide = _wide(arrays[0].dtype)
    if rule not in MODULES or not _works_on(*arrays):
        return False
    if any(a.dtype != wide or not a.flags.c_contiguous for s in states for a in s):
        return False
    gpu = machine()
    gradients = _dense(*(g.astype(arrays[0].dtype, copy=False) for _, g, *_ in items))
    k = np.zeros((), _NUMBERS)
    k["k"][: len(numbers)] = numbers
    for table, part, blocks in _tables(arrays):
        for i, n in enumerate(range(part.start, part.stop)):
            table["g"][i], table["rate"][i] = gpu.address(gradients[n]), items[n][2]
            for name, state in zip(("s0", "s1", "s2"), states[n], strict=False):
                table[name][i] = gpu.address(state)
        if blocks:
            _launch(rule, "update", arrays[0].dtype, blocks, 256, (table, k))
    return True
