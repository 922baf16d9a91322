"""Recurrent layers: what follows the products of a step, and whole windows.

With many sequences the threads share them; with few, the units of every step, and wait
for each other. The bits are the same.
"""

import numpy as np

from dyrnn.kernels import machine
from dyrnn.kernels.machine import parts
from dyrnn.kernels.native import dense, run
from dyrnn.kernels.recurrent import states_from

_BLOCK = 6  # sequences that are multiplied together, see products.h
_WORTH = 100_000  # multiplications of a step that another thread pays for


def lstm_gates(a, c_prev, x=None):
    """One pass."""
    if not a.flags.c_contiguous:
        return NotImplemented
    x = np.zeros_like(a) if x is None else np.ascontiguousarray(x)
    c_prev = np.ascontiguousarray(c_prev)
    B, H = c_prev.shape
    c, tanh_c, h = (np.empty_like(c_prev) for _ in range(3))
    run("lstm_gates", parts(a.size), a, c_prev, x, c, tanh_c, h, B, H)
    return c, tanh_c, h


def lstm_gates_backward(gates, c_prev, tanh_c, gc, gh):
    """One pass."""
    B, H = c_prev.shape
    gc_prev = np.zeros(c_prev.shape, gates.dtype) if gc is None else gc.copy()
    gh = np.zeros(c_prev.shape, gates.dtype) if gh is None else gh
    given = [np.ascontiguousarray(a) for a in (gates, c_prev, tanh_c, gh)]
    gz = np.empty(gates.shape, gates.dtype)
    given += gz, gc_prev
    run("lstm_gates_backward", parts(gates.size // 4), *given, B, H)
    return gz, gc_prev


def gru_gates(z, h, a):
    """One pass."""
    if not z.flags.c_contiguous:
        return NotImplemented
    h, a = dense(h, a)
    y = np.empty_like(h)
    run("gru_gates", parts(z.size), z, h, a, y, *h.shape)
    return y


def gru_gates_backward(gy, gates, h, a):
    """One pass."""
    gy, gates, h, a = dense(gy, gates, h, a)
    gz, ga, gh = np.empty_like(gates), np.empty_like(gates), np.empty_like(h)
    threads = parts(gates.size // 4)
    run("gru_gates_backward", threads, gy, gates, h, a, gz, ga, gh, *h.shape)
    return gz, ga, gh


def _shared(T, B, H, U):
    """Return the number of threads and (T, B, H, whether they share the units)."""
    gates = len(U) // H
    threads = machine.threads()
    if B * H * gates * (H + 64) < _WORTH:
        threads = 1
    by_units = _BLOCK * threads > B
    return min(threads, H if by_units else B), (T, B, H, int(by_units))


def _room(U, threads):
    """Return place for U (gates * H, H), packed for a window.

    A thread's columns fill panels of at most 32, which begin where a line of the cache
    does. Packed are rows of U, or columns.
    """
    filled = threads * (36 * U.shape[1] + 33 * len(U))
    return np.empty(U.size + filled + 64, U.dtype)


def lstm_forward(z, h0, c0, U, mask=None):
    """Overwrite z by the gates."""
    if not z.flags.c_contiguous:
        return NotImplemented
    T, B, H = len(z), *h0.shape
    h, c = states_from(np, T, h0), states_from(np, T, c0)
    U, mask = dense(U, mask)
    threads, sizes = _shared(T, B, H, U)
    scratch = np.empty(4 * B * H + threads * H, z.dtype)
    room = _room(U, threads)
    run("lstm_forward", threads, z, h, c, U, room, scratch, mask, *sizes)
    return h, c


def lstm_backward(gh, gc_last, gates, c, U, mask=None):
    """Compute tanh(c) again."""
    T, B, H = len(gates), *c[0].shape
    gh, gates, c, U, mask = dense(gh, gates, c, U, mask)
    gz, gh0 = np.empty_like(gates), np.zeros_like(c[0])
    gc0 = np.zeros_like(c[0]) if gc_last is None else gc_last.copy()
    threads, sizes = _shared(T, B, H, U)
    scratch = np.zeros(B * H + threads * H, gates.dtype)
    args = gh, gates, c, U, gz, gh0, gc0, _room(U, threads), scratch, mask
    run("lstm_backward", threads, *args, *sizes)
    return gz, gh0, gc0


def gru_forward(z, h0, U, b=None, reset_after=True, mask=None):
    """Overwrite z by the gates r, u and the candidate n."""
    if not z.flags.c_contiguous:
        return NotImplemented
    T, B, H = len(z), *h0.shape
    h, inner = states_from(np, T, h0), np.empty((T, B, H), z.dtype)
    U, b, mask = dense(U, b, mask)
    threads, sizes = _shared(T, B, H, U)
    scratch = np.empty(3 * B * H, z.dtype)
    room, room_n = (
        _room(U, threads),
        None if reset_after else _room(U[2 * H :], threads),
    )
    args = z, h, inner, U, b, room, room_n, scratch, mask
    run("gru_forward", threads, *args, *sizes)
    return h, inner


def gru_backward(gh, gates, inner, h, U, reset_after=True, mask=None):
    """One product for each step, or two."""
    T, B, H = len(gates), *h[0].shape
    gh, gates, inner, h, U, mask = dense(gh, gates, inner, h, U, mask)
    gz, gh0 = np.empty_like(gates), np.zeros_like(h[0])
    ga = np.empty_like(gates) if reset_after else None
    threads, sizes = _shared(T, B, H, U)
    scratch = np.zeros(3 * B * H, gates.dtype)
    room, room_n = (
        _room(U, threads),
        None if reset_after else _room(U[2 * H :], threads),
    )
    args = gh, gates, inner, h, U, gz, ga, gh0, room, room_n, scratch, mask
    run("gru_backward", threads, *args, *sizes)
    return gz, ga, gh0


def rnn_forward(z, h0, U, activation="tanh", mask=None):
    """Leave z alone: the derivative is a function of h."""
    T, B, H = len(z), *h0.shape
    h = states_from(np, T, h0)
    z, U, mask = dense(z, U, mask)
    threads, sizes = _shared(T, B, H, U)
    room, scratch = _room(U, threads), np.empty(B * H, z.dtype)
    args = z, h, U, room, scratch, mask, int(activation == "relu")
    run("rnn_forward", threads, *args, *sizes)
    return h


def rnn_backward(gh, h, U, activation="tanh", mask=None):
    """One product for each step."""
    T, B, H = len(h) - 1, *h[0].shape
    gh, h, U, mask = dense(gh, h, U, mask)
    gz, gh0 = np.empty_like(h[1:]), np.zeros_like(h[0])
    threads, sizes = _shared(T, B, H, U)
    scratch = np.zeros(B * H, h.dtype)
    args = (
        gh,
        h,
        U,
        gz,
        gh0,
        _room(U, threads),
        scratch,
        mask,
        int(activation == "relu"),
    )
    run("rnn_backward", threads, *args, *sizes)
    return gz, gh0
