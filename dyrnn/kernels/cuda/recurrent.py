"""Recurrent layers: single steps, and windows.

A window runs as one kernel if the recurrent matrix fits into the registers of all
multiprocessors together, step by step otherwise: a product and a fused step.
"""

import math

import numpy as np

from dyrnn.config import config
from dyrnn.kernels.cuda import device
from dyrnn.kernels.cuda.device import arguments, dense, is_known, launch, wide, works_on
from dyrnn.kernels.products import matmul
from dyrnn.kernels.recurrent import states_from


def fits(threads, K, gates, width):
    """Whether a window's registers suffice for K columns of a lane, of ``width`` bytes.

    A quarter of a multiprocessor has 16384 registers for a quarter of the warps; by the
    compiler's counts, 68 serve other purposes.
    """
    registers = min(255, 16384 // (32 * -(-threads // 128)) // 8 * 8)
    return gates * -(-K * width // 4) + 68 <= registers


def _step(name, shape, *args):
    """Launch a kernel of one step with a thread per element of the state (B, H)."""
    B, H = shape
    dtype = next(a for a in args if hasattr(a, "dtype") and a.dtype.kind == "f").dtype
    launch("steps", name, dtype, -(-B * H // 256), 256, (B, H, *args))


def lstm_gates(a, c_prev, x=None):
    """All gates in one kernel."""
    if not works_on(a):
        return NotImplemented
    c_prev, x = dense(c_prev, x)
    xp = device.machine().xp
    c, tanh_c, h = xp.empty_like(c_prev), xp.empty_like(c_prev), xp.empty_like(c_prev)
    _step("lstm_step", c_prev.shape, a, x, c_prev, None, None, c, tanh_c, h)
    return c, tanh_c, h


def lstm_gates_backward(gates, c_prev, tanh_c, gc, gh):
    """All gates in one kernel."""
    if not is_known(gates.dtype):
        return NotImplemented
    gates, c_prev, tanh_c, gc, gh = dense(gates, c_prev, tanh_c, gc, gh)
    xp = device.machine().xp
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
    if not works_on(z):
        return NotImplemented
    h, a = dense(h, a)
    y = device.machine().xp.empty_like(h)
    _step("gru_step", h.shape, z, a, None, h, None, None, y)
    return y


def gru_gates_backward(gy, gates, h, a):
    """All gates in one kernel."""
    if not is_known(gates.dtype):
        return NotImplemented
    xp = device.machine().xp
    gy, gates, h, a = dense(gy, gates, h, a)
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

    def __init__(self, name, gates, dtype, B, H, is_relu, is_packed):
        gpu, width = device.machine(), wide(dtype).itemsize
        is_backward = name == "window_backward"
        by_four = is_backward or gates == 1  # a warp has one gate of four units
        K = -(-H // 32)
        constants = {"K": K, "GATES": gates, "PACKED": int(is_packed)}
        constants["VECTOR"] = math.gcd(H, 4) if dtype != np.float64 else 1
        constants["RELU"] = int(is_relu)
        in_register = K, 4 if by_four else gates, 2 if is_packed else width
        self.blocks = 0
        fewest = -(-H // gpu.processors)
        for units in range(1, 17):
            if units < fewest or (by_four and units % 4):
                continue
            warps = units // 4 * gates if by_four else units
            for groups in range(min(16 // warps, -(-B // 4)), 0, -1):
                threads = 32 * warps * groups
                if not fits(threads, *in_register):
                    continue
                sequence = gates * (32 * K + units) if is_backward else 32 * K
                staged = (gpu.shared_memory - 8) // (sequence * width)
                staged = B if staged >= B else staged // 4 * 4 or staged
                shared = staged * sequence * width + 8
                blocks = -(-H // units)
                if not staged:
                    continue
                constants["THREADS"] = threads
                self.function = gpu.function("window", name, dtype, **constants)
                if blocks <= gpu.resident_blocks(self.function, threads, shared):
                    self.blocks, self.threads, self.shared = blocks, threads, shared
                    self.layout = units, groups, staged
                    return

    def launch(self, steps, B, H, *args):
        """Run all steps."""
        gpu = device.machine()
        arrived = gpu.xp.zeros(1, np.uint32)
        args = arguments((steps, B, H, *self.layout, *args, arrived))
        layout = self.blocks, self.threads
        gpu.launch(self.function, *layout, args, self.shared, together=True)


def _plan(name, gates, dtype, B, H, is_relu=False):
    """Return the plan for a window, or None if it does not fit."""
    gpu = device.machine()
    is_packed = dtype == np.float32 and config.matmul_precision == "bfloat16"
    window = name, gates, dtype, B, H, is_relu, is_packed
    key = *window, gpu.index
    if key not in gpu.plans:
        gpu.plans[key] = _Plan(*window)
    plan = gpu.plans[key]
    return plan if plan.blocks else None


def _at(array, t):
    return None if array is None else array[t]


def lstm_forward(z, h0, c0, U, mask=None):
    """One kernel for all steps, or two for each."""
    if not works_on(z):
        return NotImplemented
    xp = device.machine().xp
    T, B, H = len(z), *h0.shape
    h, c = states_from(xp, T, h0), states_from(xp, T, c0)
    U, mask = dense(U, mask)
    plan = _plan("window", 4, z.dtype, B, H)
    if plan is not None:
        plan.launch(T, B, H, U, None, mask, z, h, c)
        return h, c
    a = xp.empty_like(z[0])
    for t in range(T):
        matmul(h[t], U.T, out=a)
        before, after = (c[t], h[t], _at(mask, t)), (c[t + 1], None, h[t + 1])
        _step("lstm_step", (B, H), z[t], a, *before, *after)
    return h, c


def lstm_backward(gh, gc_last, gates, c, U, mask=None):
    """One kernel for all steps, or two for each."""
    if not is_known(gates.dtype) or len(gates) == 0:
        return NotImplemented
    xp = device.machine().xp
    gh, gates, c, U, mask = dense(gh, gates, c, U, mask)
    T, B, H = len(gates), *c[0].shape
    gz = xp.empty_like(gates)
    gc = xp.zeros_like(c[0]) if gc_last is None else gc_last.copy()
    plan = _plan("window_backward", 4, gates.dtype, B, H)
    if plan is not None:
        gc0 = gc.astype(wide(gc.dtype), copy=False)
        rest = xp.zeros_like(gc0)
        plan.launch(T, B, H, U, mask, gates, c, None, gh, gz, None, gc0, rest)
        gh0 = matmul(gz[0], U)
        if mask is not None:
            gh0 += rest
        return gz, gh0, gc0.astype(gc.dtype, copy=False)
    later = None
    rest = None if mask is None else xp.zeros_like(gc)
    for t in reversed(range(T)):
        upstream = _at(gh, t), later, rest, gc, _at(mask, t)
        step = gates[t], c[t], c[t + 1], None
        _step("lstm_step_backward", (B, H), *step, *upstream, gz[t], gc, rest)
        later = matmul(gz[t], U, out=later)
    return gz, later if rest is None else later + rest, gc


def gru_forward(z, h0, U, b=None, reset_after=True, mask=None):
    """One kernel, or two for each step, if the reset comes after the product."""
    if not (reset_after and works_on(z)):
        return NotImplemented
    xp = device.machine().xp
    U, b, mask = dense(U, b, mask)
    T, B, H = len(z), *h0.shape
    h, inner, a = states_from(xp, T, h0), xp.empty((T, B, H), z.dtype), None
    plan = _plan("window", 3, z.dtype, B, H)
    if plan is not None:
        plan.launch(T, B, H, U, b, mask, z, h, inner)
        return h, inner
    for t in range(len(z)):
        a = matmul(h[t], U.T, out=a)
        step = z[t], a, b, h[t], _at(mask, t), inner[t], h[t + 1]
        _step("gru_step", h0.shape, *step)
    return h, inner


def gru_backward(gh, gates, inner, h, U, reset_after=True, mask=None):
    """One kernel, or two for each step, if the reset comes after the product."""
    if not reset_after or not is_known(gates.dtype) or len(gates) == 0:
        return NotImplemented
    xp = device.machine().xp
    gh, gates, inner, h, U, mask = dense(gh, gates, inner, h, U, mask)
    T, B, H = len(gates), *h[0].shape
    gz, ga, rest = xp.empty_like(gates), xp.empty_like(gates), xp.zeros_like(h[0])
    plan = _plan("window_backward", 3, gates.dtype, B, H)
    if plan is not None:
        rest = rest.astype(wide(rest.dtype), copy=False)
        plan.launch(T, B, H, U, mask, gates, inner, h, gh, gz, ga, None, rest)
        gh0 = matmul(ga[0], U)
        gh0 += rest
        return gz, ga, gh0
    later = None
    for t in reversed(range(len(gates))):
        step = gates[t], inner[t], h.shape[2], h[t], gh[t], later, rest
        into = gz[t], ga[t], rest
        _step("gru_step_backward", rest.shape, *step, _at(mask, t), *into)
        later = matmul(ga[t], U, out=later)
    return gz, ga, later + rest


def rnn_forward(z, h0, U, activation="tanh", mask=None):
    """One kernel for all steps, or two for each."""
    if not is_known(z.dtype):
        return NotImplemented
    xp, is_relu = device.machine().xp, activation == "relu"
    z, U, mask = dense(z, U, mask)
    T, B, H = z.shape
    h, a = states_from(xp, T, h0), None
    plan = _plan("window", 1, z.dtype, B, H, is_relu)
    if plan is not None:
        plan.launch(T, B, H, U, None, mask, z, h, None)
        return h
    for t in range(T):
        a = matmul(h[t], U.T, out=a)
        step = z[t], a, h[t], _at(mask, t), h[t + 1]
        _step("rnn_step", (B, H), is_relu, *step)
    return h


def rnn_backward(gh, h, U, activation="tanh", mask=None):
    """One kernel for all steps, or two for each."""
    if not is_known(h.dtype) or len(gh) == 0:
        return NotImplemented
    xp, is_relu = device.machine().xp, activation == "relu"
    gh, h, U, mask = dense(gh, h, U, mask)
    T, B, H = gh.shape
    gz, later = xp.empty_like(gh), None
    plan = _plan("window_backward", 1, gh.dtype, B, H, is_relu)
    if plan is not None:
        rest = xp.zeros((B, H), wide(gh.dtype))
        plan.launch(T, B, H, U, mask, None, None, h, gh, gz, None, None, rest)
        gh0 = matmul(gz[0], U)
        if mask is not None:
            gh0 += rest
        return gz, gh0
    rest = None if mask is None else xp.zeros_like(h[0])
    for t in reversed(range(T)):
        step = h[t + 1], gh[t], later, rest, _at(mask, t), gz[t], rest
        _step("rnn_step_backward", (B, H), is_relu, *step)
        later = matmul(gz[t], U, out=later)
    return gz, later if rest is None else later + rest
