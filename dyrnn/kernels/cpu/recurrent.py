"""Recurrent layers over a window.

Sequences of a batch do not meet inside a recurrent layer, so each thread runs all time
steps of its share of the batch. Buffers of one time step stay in the cache, results go
straight to their place (``out=``), and the recurrent matrix is copied once per window
into the form that BLAS multiplies fastest with few rows. Backward, the derivatives of
all steps are taken at once before the loop, so that a step is a few products.
"""

import numpy as np

from dyrnn.kernels import machine
from dyrnn.kernels.machine import parallel, shares
from dyrnn.kernels.recurrent import states_from

_SMALL = 1_000_000  # multiplications of a product that need no rearranged operands
_SHARED = 10_000_000  # multiplications of a product that are worth waking threads for


def _cuts(rows, K, N):
    """Return into how many blocks of rows and of columns to cut a factor (K, N).

    With AVX-512, OpenBLAS has kernels for small products, which read operands as they
    lie. Blocks of columns and, if need be, of rows that are so small double the speed.
    """
    for k in (1, 2, 4, 8):
        for width in range(min(N, 104), 31, -1):
            is_even = K % k == 0 and N % width == 0
            if is_even and rows * K * width <= k * _SMALL:
                return k, N // width
    return 1, 1


class _Factor:
    """A matrix W (K, N), copied to be multiplied by few rows x (B, K) again and again.

    Where there are no kernels for small products, threads share the columns of big
    ones; ``parts`` of the batch tell whether they are free to.
    """

    def __init__(self, W, parts, has_small_products):
        K, N = W.shape
        rows, self.cuts, self.is_shared = parts[0].stop, (1, 1), False
        if has_small_products:
            self.cuts = _cuts(rows, K, N)
        elif len(parts) == 1 and rows * K * N >= _SHARED and N % machine.threads() == 0:
            self.cuts = (1, machine.threads())
            self.is_shared = machine.threads() > 1
        k, n = self.cuts
        W = W.reshape(k, K // k, n, N // n).transpose(0, 2, 1, 3)
        self.blocks = np.ascontiguousarray(W)

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


def _sequences(H, gates, has_small_products):
    """Return the smallest share of a batch that is worth a thread.

    Shorter steps spend their time waiting for each other, as only one thread at a time
    can be in the interpreter. Large products with fewer than 32 rows are slow.
    """
    fewest = 1 if has_small_products else 32
    return max(-(-4_000_000 // (gates * H * H)), fewest)


class _Batch:
    """How the sequences of a batch are dealt to threads, for a layer of ``gates`` H."""

    def __init__(self, B, H, gates, mask):
        self.has_small_products = machine.has_small_products()
        self.size, self.grain = B, _sequences(H, gates, self.has_small_products)
        self.parts = shares(B, self.grain)
        self.skip = None if mask is None else ~mask[..., None]

    def factor(self, W):
        """Return a matrix, to be multiplied by a share's rows."""
        return _Factor(W, self.parts, self.has_small_products)

    def run(self, function, *arrays):
        """Call ``function`` with shares of (T, B, 1), what to skip, and the arrays.

        These are (T, B, N), or (B, N), or None.
        """

        def run(part):
            given = (self.skip, *arrays)
            function(*[None if a is None else a[..., part, :] for a in given])

        if len(self.parts) == 1:
            run(self.parts[0])
        else:
            parallel(run, self.size, self.grain)


def _by_gate(z, n):
    """Return a view (n, T, B, H) of z (T, B, n * H)."""
    return np.moveaxis(z.reshape(*z.shape[:2], n, -1), 2, 0)


def _carry(skip, *pairs):
    """Put back what a step made of the sequences that do not have it."""
    for new, old in pairs:
        np.copyto(new, old, where=skip)


def lstm_forward(z, h0, c0, U, mask=None):
    """Overwrite z by the gates, with one tanh for all four of them."""
    T, B, H = len(z), *h0.shape
    h, c = states_from(np, T, h0), states_from(np, T, c0)
    # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2 in blocks i, f and o
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], z.dtype), H)
    shift = np.repeat(np.array([0.5, 0.5, 0, 0.5], z.dtype), H)
    batch = _Batch(B, H, 4, mask)
    factor = batch.factor(U.T * scale)

    def run(skip, z, h, c):
        gates = _by_gate(z, 4).swapaxes(0, 1)
        z *= scale
        a, product = np.empty(z[0].shape, z.dtype), np.empty(h[0].shape, z.dtype)
        recurrent = factor.into(a)
        for t in range(T):
            recurrent(h[t])
            np.add(a, z[t], out=a)
            np.tanh(a, out=a)
            np.multiply(a, scale, out=a)
            np.add(a, shift, out=z[t])
            i, f, g, o = gates[t]
            c_next = np.multiply(f, c[t], out=c[t + 1])
            np.multiply(i, g, out=product)
            np.add(c_next, product, out=c_next)
            np.tanh(c_next, out=product)
            np.multiply(o, product, out=h[t + 1])
            if skip is not None:
                _carry(skip[t], (h[t + 1], h[t]), (c[t + 1], c[t]))

    batch.run(run, z, h, c)
    return h, c


def lstm_backward(gh, gc_last, gates, c, U, mask=None):
    """Only products remain in the loop."""
    T, B, H = len(gates), *c[0].shape
    gz, gh0 = np.empty_like(gates), np.empty_like(c[0])
    gc0 = np.zeros_like(c[0]) if gc_last is None else gc_last.copy()
    batch = _Batch(B, H, 4, mask)
    factor = batch.factor(U)

    def run(skip, dz, dh, dc, gates, c, gh):
        i, f, g, o = _by_gate(gates, 4)
        dz_i, dz_f, dz_g, dz_o = _by_gate(dz, 4)
        # At first dz is the slopes of the gates, from their squares,
        np.multiply(gates, gates, out=dz)
        for gate, slope in ((1, dz_g), (i, dz_i), (f, dz_f), (o, dz_o)):
            np.subtract(gate, slope, out=slope)
        # then the derivatives of c by i, f and g, and of h by o,
        tanh_c = np.tanh(c[1:])
        dz_i *= g
        dz_f *= c[:-1]
        dz_g *= i
        dz_o *= tanh_c
        slope_c = np.multiply(tanh_c, tanh_c, out=tanh_c)
        np.subtract(1, slope_c, out=slope_c)
        slope_c *= o
        dz_ifg = dz.reshape(T, -1, 4, H)[:, :, :3]
        product, from_later = np.empty_like(dc), np.zeros_like(dc)
        recurrent = factor.into(from_later)
        # and, times those of c and h, the gradients.
        for t in reversed(range(T)):
            np.add(from_later, 0 if gh is None else gh[t], out=dh)
            if skip is not None:
                dc_kept = dc.copy()
            np.multiply(dh, slope_c[t], out=product)
            np.add(dc, product, out=dc)
            np.multiply(dz_ifg[t], dc[:, None], out=dz_ifg[t])
            np.multiply(dz_o[t], dh, out=dz_o[t])
            np.multiply(dc, f[t], out=dc)
            if skip is not None:
                _carry(skip[t], (dz[t], 0), (dc, dc_kept))
            recurrent(dz[t])
            if skip is not None:
                _carry(skip[t], (from_later, dh))
        np.copyto(dh, from_later)

    batch.run(run, gz, gh0, gc0, gates, c, gh)
    return gz, gh0, gc0


def gru_forward(z, h0, U, b=None, reset_after=True, mask=None):
    """Overwrite z by the gates r, u and the candidate n."""
    T, B, H = len(z), *h0.shape
    h, U_T = states_from(np, T, h0), U.T.copy()
    U_T[:, : 2 * H] *= 0.5  # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2
    inner = np.empty((T, B, H), z.dtype)
    batch = _Batch(B, H, 3, mask)
    if reset_after:
        factor = batch.factor(U_T)
    else:
        factor = batch.factor(U_T[:, : 2 * H])
        factor_n = batch.factor(U_T[:, 2 * H :])

    def run(skip, z, h, inner):
        ru, gates = z[..., : 2 * H], _by_gate(z, 3).swapaxes(0, 1)
        ru *= 0.5
        a_n = np.empty(h[0].shape, z.dtype)
        a = np.empty((len(a_n), 3 * H if reset_after else 2 * H), z.dtype)
        a_ru = a[:, : 2 * H]
        recurrent = factor.into(a)
        if not reset_after:
            recurrent_n = factor_n.into(a_n)
        for t in range(T):
            recurrent(h[t])
            np.add(a_ru, ru[t], out=a_ru)
            np.tanh(a_ru, out=a_ru)
            np.multiply(a_ru, 0.5, out=a_ru)
            np.add(a_ru, 0.5, out=ru[t])
            r, u, n = gates[t]
            if reset_after:
                np.add(a[:, 2 * H :], 0 if b is None else b, out=inner[t])
                np.multiply(r, inner[t], out=a_n)
            else:
                recurrent_n(np.multiply(r, h[t], out=inner[t]))
            np.tanh(np.add(a_n, n, out=a_n), out=n)
            np.subtract(h[t], n, out=a_n)
            np.multiply(u, a_n, out=a_n)
            np.add(n, a_n, out=h[t + 1])
            if skip is not None:
                _carry(skip[t], (h[t + 1], h[t]))

    batch.run(run, z, h, inner)
    return h, inner


def gru_backward(gh, gates, inner, h, U, reset_after=True, mask=None):
    """Only products remain in the loop."""
    T, B, H = len(gates), *h[0].shape
    gz, gh0 = np.empty_like(gates), np.empty_like(h[0])
    ga = np.empty_like(gates) if reset_after else None  # of the state's product
    batch = _Batch(B, H, 3, mask)
    if reset_after:
        factor = batch.factor(U)
    else:
        factor, factor_n = batch.factor(U[: 2 * H]), batch.factor(U[2 * H :])

    def run(skip, dz, dh, ga, gates, inner, h, gh):
        r, u, n = _by_gate(gates, 3)
        dz_r, dz_u, dz_n = _by_gate(dz, 3)
        # At first dz is the slopes of the gates, from their squares,
        np.multiply(gates, gates, out=dz)
        for gate, slope in ((r, dz_r), (u, dz_u), (1, dz_n)):
            np.subtract(gate, slope, out=slope)
        # then the derivatives of h by u and n, and of what is in n by r,
        dz_r *= inner if reset_after else h
        dz_u *= h - n
        dz_n *= 1 - u
        if skip is not None:
            np.copyto(dz, 0, where=skip)
        dz_un = dz.reshape(T, -1, 3, H)[:, :, 1:]
        from_later, d_inner = np.zeros_like(dh), np.empty_like(dh)
        recurrent = factor.into(from_later)
        if not reset_after:
            recurrent_n = factor_n.into(d_inner)
        # and, times those of h and n, the gradients.
        for t in reversed(range(T)):
            np.add(from_later, gh[t], out=dh)
            np.multiply(dz_un[t], dh[:, None], out=dz_un[t])
            if reset_after:
                np.multiply(dz_r[t], dz_n[t], out=dz_r[t])
                np.copyto(ga[t], dz[t])
                ga_n = ga[t, :, 2 * H :]
                np.multiply(ga_n, r[t], out=ga_n)
                recurrent(ga[t])
            else:
                recurrent_n(dz_n[t])
                np.multiply(dz_r[t], d_inner, out=dz_r[t])
                recurrent(dz[t, :, : 2 * H])
                np.multiply(d_inner, r[t], out=d_inner)
                np.add(from_later, d_inner, out=from_later)
            np.multiply(dh, u[t], out=d_inner)
            np.add(from_later, d_inner, out=from_later)
            if skip is not None:
                _carry(skip[t], (from_later, dh))
        np.copyto(dh, from_later)

    batch.run(run, gz, gh0, ga, gates, inner, h[:-1], gh)
    return gz, ga, gh0


def rnn_forward(z, h0, U, activation="tanh", mask=None):
    """Leave z alone: the derivative is a function of h."""
    T, B, H = len(z), *h0.shape
    h = states_from(np, T, h0)
    batch = _Batch(B, H, 1, mask)
    factor = batch.factor(U.T)

    def run(skip, z, h):
        a = np.empty(h[0].shape, z.dtype)
        recurrent = factor.into(a)
        for t in range(T):
            recurrent(h[t])
            np.add(a, z[t], out=a)
            if activation == "tanh":
                np.tanh(a, out=h[t + 1])
            else:
                np.maximum(a, 0, out=h[t + 1])
            if skip is not None:
                _carry(skip[t], (h[t + 1], h[t]))

    batch.run(run, z, h)
    return h


def rnn_backward(gh, h, U, activation="tanh", mask=None):
    """Only products remain in the loop."""
    T, B, H = len(h) - 1, *h[0].shape
    gz, gh0 = np.empty_like(h[1:]), np.empty_like(h[0])
    batch = _Batch(B, H, 1, mask)
    factor = batch.factor(U)

    def run(skip, dz, dh, y, gh):
        if activation == "tanh":
            np.multiply(y, y, out=dz)
            np.subtract(1, dz, out=dz)
        else:
            np.greater(y, 0, out=dz)
        if skip is not None:
            np.copyto(dz, 0, where=skip)
        from_later = np.zeros_like(dh)
        recurrent = factor.into(from_later)
        for t in reversed(range(T)):
            np.add(from_later, gh[t], out=dh)
            np.multiply(dz[t], dh, out=dz[t])
            recurrent(dz[t])
            if skip is not None:
                _carry(skip[t], (from_later, dh))
        np.copyto(dh, from_later)

    batch.run(run, gz, gh0, h[1:], gh)
    return gz, gh0
