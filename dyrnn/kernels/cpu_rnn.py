"""Recurrent layers over a window, on NumPy arrays.

Sequences of a batch do not meet inside a recurrent layer, so each thread runs all time
steps of its share of the batch. Buffers of one time step stay in the cache, results go
straight to their place (``out=``), and the recurrent matrix is copied once per window
into the form that BLAS multiplies fastest with few rows. Backward, the derivatives of
all steps are taken at once before the loop, so that a step is a few products.
"""

import numpy as np

from dyrnn.kernels import machine
from dyrnn.kernels.machine import parallel, shares

_SMALL = 1_000_000  # multiplications of a product that need no rearranged operands
_SHARED = 10_000_000  # multiplications of a product that are worth waking threads for


class _Factor:
    """A matrix W (K, N), copied to be multiplied by few rows x (B, K) again and again.

    With AVX-512, OpenBLAS has kernels for small products, which read operands as they
    lie. Blocks of columns and, if need be, of rows that are so small double the speed.
    Without, threads share the columns of big products; ``parts`` of the batch tell
    whether they are free to.
    """

    def __init__(self, W, parts):
        K, N = W.shape
        rows, cuts = parts[0].stop, (1, 1)
        self.is_shared = False
        if machine.has_small_products:
            cuts = next(
                (
                    (k, N // n)
                    for k in (1, 2, 4, 8)
                    for n in range(min(N, 104), 31, -1)
                    if K % k == N % n == 0 and rows * n * K <= _SMALL * k
                ),
                cuts,
            )
        elif len(parts) == 1 and rows * K * N >= _SHARED and N % machine.threads == 0:
            cuts = (1, machine.threads)
            self.is_shared = cuts[1] > 1
        k, n = self.cuts = cuts
        blocks = W.reshape(k, K // k, n, N // n).transpose(0, 2, 1, 3)
        self.blocks = np.ascontiguousarray(blocks)

    def into(self, out):
        """Return a function of x (B, K) that writes ``x @ W`` to ``out`` (B, N)."""
        k, n = self.cuts
        if k == n == 1:
            W = self.blocks[0, 0]
            return lambda x: np.matmul(x, W, out=out)
        blocks, B = self.blocks, len(out)
        target = out.reshape(B, n, -1).transpose(1, 0, 2)
        if self.is_shared:
            return lambda x: parallel(
                lambda part: np.matmul(x, blocks[0, part], out=target[part]), n
            )
        if k == 1:
            return lambda x: np.matmul(x, blocks[0], out=target)
        parts = np.empty((k, *target.shape), out.dtype)

        def multiply(x):
            np.matmul(x.reshape(B, k, 1, -1).transpose(1, 2, 0, 3), blocks, out=parts)
            np.add.reduce(parts, axis=0, out=target)

        return multiply


def _sequences(H, gates):
    """Return the smallest share of a batch that is worth a thread.

    Shorter steps spend their time waiting for each other, as only one thread at a time
    can be in the interpreter. Large products with fewer than 32 rows are slow.
    """
    return max(
        -(-4_000_000 // (gates * H * H)), 1 if machine.has_small_products else 32
    )


def _gates(y, H):
    """View the blocks of H columns in the last axis of ``y``."""
    return tuple(y[..., k : k + H] for k in range(0, y.shape[-1], H))


def _states(T, h0):
    states = np.empty((T + 1, *h0.shape), h0.dtype)
    states[0] = h0
    return states


def _gradient(last, like):
    return np.zeros_like(like) if last is None else last.copy()


def lstm_forward(z, h0, c0, U, mask=None):
    """Overwrite z by the gates, with one tanh for all four of them."""
    T, B, H = len(z), *h0.shape
    h, c = _states(T, h0), _states(T, c0)
    # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2 in blocks i, f and o
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], z.dtype), H)
    shift = np.repeat(np.array([0.5, 0.5, 0, 0.5], z.dtype), H)
    grain = _sequences(H, 4)
    factor = _Factor(U.T * scale, shares(B, grain))

    def run(part):
        z_, h_, c_ = z[:, part], h[:, part], c[:, part]
        np.multiply(z_, scale, out=z_)
        a, product = np.empty(z_[0].shape, z.dtype), np.empty(h_[0].shape, z.dtype)
        recurrent = factor.into(a)
        for t in range(T):
            recurrent(h_[t])
            np.add(a, z_[t], out=a)
            np.tanh(a, out=a)
            np.multiply(a, scale, out=a)
            i, f, g, o = _gates(np.add(a, shift, out=z_[t]), H)
            c_next = np.multiply(f, c_[t], out=c_[t + 1])
            np.multiply(i, g, out=product)
            np.add(c_next, product, out=c_next)
            np.tanh(c_next, out=product)
            np.multiply(o, product, out=h_[t + 1])
            if mask is not None:
                _keep(mask[t, part], (h_, c_), t)

    parallel(run, B, grain)
    return h, c


def _keep(counts, states, t):
    """Carry the states of masked sequences over step t as they were."""
    skip = ~counts
    for state in states:
        state[t + 1, skip] = state[t, skip]


def lstm_backward(gh, gc_last, gates, c, U, mask=None):
    """Only products remain in the loop."""
    T, B, H = len(gates), *c[0].shape
    gz = np.empty_like(gates)
    gh0, gc0 = np.empty_like(c[0]), _gradient(gc_last, c[0])
    grain = _sequences(H, 4)
    factor = _Factor(U, shares(B, grain))

    def run(part):
        dz, dc, dh = gz[:, part], gc0[part], gh0[part]
        y = gates[:, part]
        i, f, g, o = _gates(y, H)
        dz_i, dz_f, dz_g, dz_o = _gates(dz, H)
        np.multiply(y, y, out=dz)
        for gate, slope in ((1, dz_g), (i, dz_i), (f, dz_f), (o, dz_o)):
            np.subtract(gate, slope, out=slope)
        tanh_c = np.tanh(c[1:, part])
        dz_i *= g
        dz_f *= c[:-1, part]
        dz_g *= i
        dz_o *= tanh_c
        slope_c = np.multiply(tanh_c, tanh_c, out=tanh_c)
        np.subtract(1, slope_c, out=slope_c)
        slope_c *= o
        dz_ifg = dz.reshape(T, -1, 4, H)[:, :, :3]
        product, from_later = np.empty_like(dc), np.zeros_like(dc)
        recurrent = factor.into(from_later)
        for t in reversed(range(T)):
            np.add(from_later, 0 if gh is None else gh[t, part], out=dh)
            if mask is not None:
                skip = ~mask[t, part]
                dh_kept, dc_kept = dh[skip], dc[skip]
            np.multiply(dh, slope_c[t], out=product)
            np.add(dc, product, out=dc)
            np.multiply(dz_ifg[t], dc[:, None], out=dz_ifg[t])
            np.multiply(dz_o[t], dh, out=dz_o[t])
            np.multiply(dc, f[t], out=dc)
            if mask is not None:
                dz[t, skip], dc[skip] = 0, dc_kept
            recurrent(dz[t])
            if mask is not None:
                from_later[skip] = dh_kept
        np.copyto(dh, from_later)

    parallel(run, B, grain)
    return gz, gh0, gc0


def gru_forward(z, h0, U, b=None, reset_after=False, mask=None):
    """Overwrite z by the gates r, u and the candidate n."""
    T, B, H = len(z), *h0.shape
    h, U_T = _states(T, h0), U.T.copy()
    U_T[:, : 2 * H] *= 0.5  # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2
    grain = _sequences(H, 3)
    parts = shares(B, grain)
    inner = np.empty((T, B, H), z.dtype)
    if reset_after:
        factor = _Factor(U_T, parts)
    else:
        factor, factor_n = (
            _Factor(U_T[:, : 2 * H], parts),
            _Factor(U_T[:, 2 * H :], parts),
        )

    def run(part):
        z_, h_, inner_ = z[:, part], h[:, part], inner[:, part]
        ru = z_[..., : 2 * H]
        np.multiply(ru, 0.5, out=ru)
        a_n = np.empty(h_[0].shape, z.dtype)
        a = np.empty((len(a_n), 3 * H if reset_after else 2 * H), z.dtype)
        a_ru = a[:, : 2 * H]
        recurrent = factor.into(a)
        if not reset_after:
            recurrent_n = factor_n.into(a_n)
        for t in range(T):
            recurrent(h_[t])
            np.add(a_ru, ru[t], out=a_ru)
            np.tanh(a_ru, out=a_ru)
            np.multiply(a_ru, 0.5, out=a_ru)
            r, u = _gates(np.add(a_ru, 0.5, out=ru[t]), H)
            if reset_after:
                np.add(a[:, 2 * H :], 0 if b is None else b, out=inner_[t])
                np.multiply(r, inner_[t], out=a_n)
            else:
                recurrent_n(np.multiply(r, h_[t], out=inner_[t]))
            n = z_[t, :, 2 * H :]
            np.tanh(np.add(a_n, n, out=a_n), out=n)
            np.subtract(h_[t], n, out=a_n)
            np.multiply(u, a_n, out=a_n)
            np.add(n, a_n, out=h_[t + 1])
            if mask is not None:
                _keep(mask[t, part], (h_,), t)

    parallel(run, B, grain)
    return h, inner


def gru_backward(gh, gates, inner, h, U, reset_after=False, mask=None):
    """Only products remain in the loop."""
    T, B, H = len(gates), *h[0].shape
    gz, gh0 = np.empty_like(gates), np.empty_like(h[0])
    ga = np.empty_like(gates) if reset_after else gz  # for the hidden state's product
    grain = _sequences(H, 3)
    parts = shares(B, grain)
    if reset_after:
        factor = _Factor(U, parts)
    else:
        factor, factor_n = _Factor(U[: 2 * H], parts), _Factor(U[2 * H :], parts)

    def run(part):
        dz, dh, h_ = gz[:, part], gh0[part], h[:-1, part]
        r, u, n = _gates(gates[:, part], H)
        dz_r, dz_u, dz_n = _gates(dz, H)
        np.multiply(gates[:, part], gates[:, part], out=dz)
        for gate, slope in ((r, dz_r), (u, dz_u), (1, dz_n)):
            np.subtract(gate, slope, out=slope)
        dz_r *= inner[:, part] if reset_after else h_
        dz_u *= h_ - n
        dz_n *= 1 - u
        if mask is not None:
            dz[~mask[:, part]] = 0
        from_later, d_inner = np.zeros_like(dh), np.empty_like(dh)
        recurrent = factor.into(from_later)
        if not reset_after:
            recurrent_n = factor_n.into(d_inner)
        for t in reversed(range(T)):
            np.add(from_later, gh[t, part], out=dh)
            dz_un = dz[t].reshape(-1, 3, H)[:, 1:]
            np.multiply(dz_un, dh[:, None], out=dz_un)
            if reset_after:
                np.multiply(dz_r[t], dz_n[t], out=dz_r[t])
                ga_ = ga[t, part]
                np.copyto(ga_, dz[t])
                np.multiply(ga_[:, 2 * H :], r[t], out=ga_[:, 2 * H :])
                recurrent(ga_)
            else:
                recurrent_n(dz_n[t])
                np.multiply(dz_r[t], d_inner, out=dz_r[t])
                recurrent(dz[t, :, : 2 * H])
                np.multiply(d_inner, r[t], out=d_inner)
                np.add(from_later, d_inner, out=from_later)
            if mask is not None:
                skip = ~mask[t, part]
                kept = dh[skip]
            np.multiply(dh, u[t], out=dh)
            np.add(from_later, dh, out=from_later)
            if mask is not None:
                from_later[skip] = kept
        np.copyto(dh, from_later)

    parallel(run, B, grain)
    return gz, ga if reset_after else None, gh0


def rnn_forward(z, h0, U, activation="tanh", mask=None):
    """Leave z alone: the derivative is a function of h."""
    T, B, H = len(z), *h0.shape
    h, grain = _states(T, h0), _sequences(H, 1)
    factor = _Factor(U.T, shares(B, grain))

    def run(part):
        h_ = h[:, part]
        a = np.empty(h_[0].shape, z.dtype)
        recurrent = factor.into(a)
        for t in range(T):
            recurrent(h_[t])
            np.add(a, z[t, part], out=a)
            if activation == "tanh":
                np.tanh(a, out=h_[t + 1])
            else:
                np.maximum(a, 0, out=h_[t + 1])
            if mask is not None:
                _keep(mask[t, part], (h_,), t)

    parallel(run, B, grain)
    return h


def rnn_backward(gh, h, U, activation="tanh", mask=None):
    """Only products remain in the loop."""
    T, B, H = len(h) - 1, *h[0].shape
    gz, gh0, grain = np.empty_like(h[1:]), np.empty_like(h[0]), _sequences(H, 1)
    factor = _Factor(U, shares(B, grain))

    def run(part):
        dz, dh = gz[:, part], gh0[part]
        y = h[1:, part]
        if activation == "tanh":
            np.multiply(y, y, out=dz)
            np.subtract(1, dz, out=dz)
        else:
            np.greater(y, 0, out=dz)
        if mask is not None:
            dz[~mask[:, part]] = 0
        from_later = np.zeros_like(dh)
        recurrent = factor.into(from_later)
        for t in reversed(range(T)):
            np.add(from_later, gh[t, part], out=dh)
            np.multiply(dz[t], dh, out=dz[t])
            recurrent(dz[t])
            if mask is not None:
                skip = ~mask[t, part]
                from_later[skip] = dh[skip]
        np.copyto(dh, from_later)

    parallel(run, B, grain)
    return gz, gh0
