"""What the fused kernels compute, in plain array operations of any module.

A node takes its kernels from :func:`kernels_for`: the fast ones where there are any for
this kind of array, and these elsewhere. Contracts: :mod:`dyrnn.kernels`.
"""

import sys

import numpy as np

from dyrnn import kernels
from dyrnn.backend import get_array_module


def kernels_for(array):
    """Return where to find the kernels for an array: a module."""
    if type(array) is np.ndarray and array.dtype != np.float16:
        return kernels
    return sys.modules[__name__]


def blocks(a, n):
    """Split the last axis into ``n`` equal blocks."""
    H = a.shape[-1] // n
    return [a[..., k * H : (k + 1) * H] for k in range(n)]


def sigmoid_(xp, a):
    """Sigmoid in place by one tanh: its error is small beside 1, as a gate needs."""
    a *= 0.5
    xp.tanh(a, out=a)
    a *= 0.5
    a += 0.5


def activate_lstm(xp, a):
    """Turn gate inputs (B, 4H) in blocks i, f, g, o into gates, in place."""
    H = a.shape[-1] // 4
    g = xp.tanh(a[..., 2 * H : 3 * H])
    sigmoid_(xp, a)
    a[..., 2 * H : 3 * H] = g
    return a


def lstm_forward(z, h0, c0, U):
    """All steps of an LSTM: ``z`` (T, B, 4H) becomes the gates, in place."""
    xp = get_array_module(z)
    h = xp.empty((len(z) + 1, *h0.shape), z.dtype)
    c = xp.empty((len(z) + 1, *h0.shape), z.dtype)
    h[0], c[0] = h0, c0
    for t in range(len(z)):
        a = z[t]
        a += h[t] @ U.T
        i, f, g, o = blocks(activate_lstm(xp, a), 4)
        c[t + 1] = f * c[t] + i * g
        h[t + 1] = o * xp.tanh(c[t + 1])
    return h, c


def lstm_backward(gh, gc_last, gates, c, U):
    """Gradients of :func:`lstm_forward`: of ``z``, ``h0`` and ``c0``."""
    xp = get_array_module(gates)
    gz = xp.empty_like(gates)
    gc = xp.zeros_like(c[0]) if gc_last is None else gc_last
    gh_t = xp.zeros_like(c[0])
    for t in reversed(range(len(gates))):
        if gh is not None:
            gh_t = gh_t + gh[t]
        i, f, g, o = blocks(gates[t], 4)
        gz_i, gz_f, gz_g, gz_o = blocks(gz[t], 4)
        tanh_c = xp.tanh(c[t + 1])
        gc = gc + gh_t * o * (1 - tanh_c * tanh_c)
        xp.multiply(gc * g, i * (1 - i), out=gz_i)
        xp.multiply(gc * c[t], f * (1 - f), out=gz_f)
        xp.multiply(gc * i, 1 - g * g, out=gz_g)
        xp.multiply(gh_t * tanh_c, o * (1 - o), out=gz_o)
        gc = gc * f
        gh_t = gz[t] @ U
    return gz, gh_t, gc


def gru_step(z, h, a):
    """One GRU step: ``z`` (B, 3H) becomes r, z, n in place; return the new ``h``.

    ``a`` (B, 3H) is what the state adds to the gates.
    """
    xp = get_array_module(z)
    H = h.shape[-1]
    n, gates = z[..., 2 * H :], z[..., : 2 * H]
    gates += a[..., : 2 * H]
    sigmoid_(xp, gates)
    n += gates[..., :H] * a[..., 2 * H :]
    xp.tanh(n, out=n)
    update = gates[..., H:]
    return (1 - update) * n + update * h


def gru_step_backward(gy, gates, h, a):
    """Gradients of :func:`gru_step`: of ``z``, of ``a``, and of ``h`` but for ``a``."""
    xp = get_array_module(gates)
    r, update, n = blocks(gates, 3)
    gz = xp.empty_like(gates)
    gz_r, gz_update, gz_n = blocks(gz, 3)
    xp.multiply(gy * (1 - update), 1 - n * n, out=gz_n)
    xp.multiply(gz_n * a[..., 2 * h.shape[-1] :], r * (1 - r), out=gz_r)
    xp.multiply(gy * (h - n), update * (1 - update), out=gz_update)
    ga = gz.copy()
    ga_n = ga[..., 2 * h.shape[-1] :]
    ga_n *= r
    return gz, ga, gy * update


def gru_forward(z, h0, U, b):
    """All steps of a GRU: ``z`` (T, B, 3H) becomes the gates r, z, n, in place.

    ``b`` (3H,) is added to the recurrent product. Returns ``h`` (T + 1, B, H) and the
    products ``a`` (T, B, 3H).
    """
    xp = get_array_module(z)
    h = xp.empty((len(z) + 1, *h0.shape), z.dtype)
    a = xp.empty_like(z)
    h[0] = h0
    for t in range(len(z)):
        a[t] = h[t] @ U.T + b
        h[t + 1] = gru_step(z[t], h[t], a[t])
    return h, a


def gru_backward(gh, gates, h, a, U):
    """Gradients of :func:`gru_forward`: of ``z``, of ``a``, and of ``h0``."""
    xp = get_array_module(gates)
    gz, ga = xp.empty_like(gates), xp.empty_like(gates)
    gh_t = xp.zeros_like(h[0])
    for t in reversed(range(len(gates))):
        gz[t], ga[t], gh_t = gru_step_backward(gh_t + gh[t], gates[t], h[t], a[t])
        gh_t += ga[t] @ U
    return gz, ga, gh_t


def rnn_forward(z, h0, U, activation):
    """All steps of a plain layer with activation ``"tanh"`` or ``"relu"``."""
    xp = get_array_module(z)
    h = xp.empty((len(z) + 1, *h0.shape), z.dtype)
    h[0] = h0
    for t in range(len(z)):
        a = z[t] + h[t] @ U.T
        h[t + 1] = xp.tanh(a) if activation == "tanh" else xp.maximum(a, 0)
    return h


def rnn_backward(gh, h, U, activation):
    """Gradients of :func:`rnn_forward`: of ``z`` and of ``h0``."""
    xp = get_array_module(h)
    gz = xp.empty_like(h[1:])
    gh_t = xp.zeros_like(h[0])
    for t in reversed(range(len(gz))):
        y = h[t + 1]
        slope = 1 - y * y if activation == "tanh" else y > 0
        xp.multiply(gh_t + gh[t], slope, out=gz[t])
        gh_t = gz[t] @ U
    return gz, gh_t


def linear(x, W, b=None):
    """``x @ W.T + b`` for a matrix ``x``."""
    y = x @ W.T
    if b is not None:
        y += b
    return y


def product_input(gy, W, scale=None):
    """``(scale[:, None] * gy) @ W``."""
    return gy @ W if scale is None else (gy @ W) * scale[:, None]


def product_weight(gy, x, scale=None):
    """``(scale[:, None] * gy).T @ x``."""
    return gy.T @ (x if scale is None else x * scale[:, None])


def sum_rows(gy, scale=None):
    """Sum the rows of ``scale[:, None] * gy``."""
    if scale is None:
        scale = get_array_module(gy).ones(len(gy), gy.dtype)
    return scale @ gy


def softmax_cross_entropy(logits, t, ignore_label=-1, out=None):
    """Losses of the rows, exponentials less their sum at the label, 1 / their sums."""
    xp = get_array_module(logits)
    counted = t != ignore_label
    rows, label = xp.arange(len(logits)), xp.where(counted, t, 0)
    e = logits - logits.max(axis=1)[:, None]
    target = e[rows, label]
    xp.exp(e, out=e)
    total = e.sum(axis=1)
    loss = xp.where(counted, xp.log(total) - target, 0)
    e[rows, label] -= total
    return loss, e, xp.where(counted, 1 / total, 0)
