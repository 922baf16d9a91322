"""Recurrent layers over a window, on NumPy arrays.

Sequences of a batch do not meet inside a recurrent layer, so each thread runs all time
steps of its share of the batch. Buffers of one time step stay in the cache, results go
straight to their place (``out=``), and the recurrent matrix is copied once per window
into the blocks that BLAS multiplies fastest with few rows.
"""

import numpy as np

from dyrnn.kernels.machine import parallel, shares


def _blocks(W, rows):
    """Copy ``W`` (K, N) as (N/n, K, n), so that ``x @ W`` with few rows is fast.

    OpenBLAS has kernels for products of at most 1e6 multiplications, which read their
    operands without rearranging them first: on a (10, 200) x, twice as fast.
    """
    K, N = W.shape
    widths = (n for n in range(min(N, 104), 31, -1) if N % n == 0)
    n = next((n for n in widths if rows * K * n <= 1_000_000), N)
    return np.ascontiguousarray(W.reshape(K, N // n, n).transpose(1, 0, 2))


def _by_block(x, blocks):
    """View ``x`` (B, N) as (N/n, B, n), to be the ``out`` of a product with blocks."""
    count, _, n = blocks.shape
    return x.reshape(len(x), count, n).transpose(1, 0, 2)


def _sequences(B, H):
    """Return the smallest share of a batch that is worth a thread."""
    return max(1, -(-40_000 // (H * H)))


def _gate_constants(H, dtype):
    """Return what makes sigmoid(x) = tanh(x / 2) / 2 + 1/2 of tanh in i, f and o."""
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], dtype), H)
    shift = np.repeat(np.array([0.5, 0.5, 0, 0.5], dtype), H)
    return scale, shift


def lstm_forward(z, h0, c0, W):
    """Overwrite z by the gates, with one tanh for all four of them."""
    T, B, H4 = z.shape
    H = H4 // 4
    h = np.empty((T + 1, B, H), z.dtype)
    c = np.empty((T + 1, B, H), z.dtype)
    h[0], c[0] = h0, c0
    scale, shift = _gate_constants(H, z.dtype)
    grain = _sequences(B, H)
    blocks = _blocks(np.multiply(W.T, scale), shares(B, grain)[0].stop)

    def run(part):
        gates, h_, c_ = z[:, part], h[:, part], c[:, part]
        np.multiply(gates, scale, out=gates)
        a = np.empty_like(gates[0], order="C")
        a_by_block = _by_block(a, blocks)
        product = np.empty_like(c_[0], order="C")
        for t in range(T):
            np.matmul(h_[t], blocks, out=a_by_block)
            np.add(a, gates[t], out=a)
            np.tanh(a, out=a)
            np.multiply(a, scale, out=a)
            y = np.add(a, shift, out=gates[t])
            i, f, g, o = y[:, :H], y[:, H : 2 * H], y[:, 2 * H : 3 * H], y[:, 3 * H :]
            c_next = c_[t + 1]
            np.multiply(f, c_[t], out=c_next)
            np.multiply(i, g, out=product)
            np.add(c_next, product, out=c_next)
            np.tanh(c_next, out=product)
            np.multiply(o, product, out=h_[t + 1])

    parallel(run, B, grain)
    return h, c


def lstm_backward(gh, gc_last, gates, c, W):
    """Take all derivatives at once, so that a step is a few products."""
    T, B, H4 = gates.shape
    H = H4 // 4
    dz = np.empty_like(gates)
    gh0 = np.empty_like(c[0])
    gc0 = np.zeros_like(c[0]) if gc_last is None else gc_last.copy()
    grain = _sequences(B, H)
    blocks = _blocks(W, shares(B, grain)[0].stop)

    def run(part):
        slope, dc, dh = dz[:, part], gc0[part], gh0[part]
        y, c_before = gates[:, part], c[:-1, part]
        i, f, g, o = (y[..., k * H : (k + 1) * H] for k in range(4))
        slope_i, slope_f, slope_g, slope_o = (
            slope[..., k * H : (k + 1) * H] for k in range(4)
        )
        # What to multiply the gradients of c and h by; then only products remain.
        tanh_c = np.tanh(c[1:, part])
        np.multiply(y, y, out=slope)
        np.subtract(1, slope_g, out=slope_g)
        np.subtract(i, slope_i, out=slope_i)
        np.subtract(f, slope_f, out=slope_f)
        np.subtract(o, slope_o, out=slope_o)
        slope_i *= g
        slope_f *= c_before
        slope_g *= i
        slope_o *= tanh_c
        np.multiply(tanh_c, tanh_c, out=tanh_c)
        np.subtract(1, tanh_c, out=tanh_c)
        slope_c = np.multiply(tanh_c, o, out=tanh_c)
        slope_ifg = slope.reshape(T, -1, 4, H)[:, :, :3]
        product = np.empty_like(dc)
        from_later = np.zeros_like(dc)
        by_block = _by_block(from_later, blocks)
        for t in reversed(range(T)):
            if gh is None:
                np.copyto(dh, from_later)
            else:
                np.add(gh[t, part], from_later, out=dh)
            np.multiply(dh, slope_c[t], out=product)
            np.add(dc, product, out=dc)
            slope_ifg[t] *= dc[:, None]
            slope_o[t] *= dh
            np.multiply(dc, f[t], out=dc)
            np.matmul(slope[t], blocks, out=by_block)
        np.copyto(dh, from_later)

    parallel(run, B, grain)
    return dz, gh0, gc0
