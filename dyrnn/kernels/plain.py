"""What the kernels mean: plain operations on arrays of any module, step by step.

They are the definitions that the faster kernels are tested against, and they serve the
arrays that have none: half precision on the CPU, array modules made known by
:func:`dyrnn.backend.register_array_module`. Contracts: :mod:`dyrnn.kernels`.
"""

import numpy as np

from dyrnn import backend
from dyrnn.backend import get_array_module


def blocks(a, n):
    """Split the last axis into ``n`` equal blocks, as views."""
    H = a.shape[-1] // n
    return [a[..., k * H : (k + 1) * H] for k in range(n)]


def _sigmoid(xp, a):
    """Sigmoid in place by one tanh: its error is small beside 1, as a gate needs."""
    a *= 0.5
    xp.tanh(a, out=a)
    a *= 0.5
    a += 0.5


def _states(xp, T, h0):
    states = xp.empty((T + 1, *h0.shape), h0.dtype)
    states[0] = h0
    return states


def _choose(xp, mask, t, new, old):
    """Take the new values of the sequences that have a step t, the old of others."""
    return new if mask is None else xp.where(mask[t][:, None], new, old)


def lstm_gates(a, c_prev, x=None):
    """Gates in place, then the new state."""
    xp = get_array_module(a)
    if x is not None:
        a += x
    H = a.shape[-1] // 4
    g = xp.tanh(a[..., 2 * H : 3 * H])
    _sigmoid(xp, a)
    a[..., 2 * H : 3 * H] = g
    i, f, g, o = blocks(a, 4)
    c = f * c_prev
    c += i * g
    tanh_c = xp.tanh(c)
    return c, tanh_c, o * tanh_c


def lstm_gates_backward(gates, c_prev, tanh_c, gc, gh):
    """Leave out the terms of gradients that are None."""
    xp = get_array_module(gates)
    i, f, g, o = blocks(gates, 4)
    gz = xp.empty_like(gates)
    gz_i, gz_f, gz_g, gz_o = blocks(gz, 4)
    if gh is None:
        dc = gc
        gz_o[...] = 0
    else:
        dc = gh * o * (1 - tanh_c * tanh_c)
        if gc is not None:
            dc += gc
        xp.multiply(gh * tanh_c, o * (1 - o), out=gz_o)
    xp.multiply(dc * g, i * (1 - i), out=gz_i)
    xp.multiply(dc * c_prev, f * (1 - f), out=gz_f)
    xp.multiply(dc * i, 1 - g * g, out=gz_g)
    return gz, dc * f


def lstm_forward(z, h0, c0, W, mask=None):
    """One step after the other."""
    xp = get_array_module(z)
    h, c = _states(xp, len(z), h0), _states(xp, len(z), c0)
    for t in range(len(z)):
        c_next, _, h_next = lstm_gates(z[t], c[t], matmul(h[t], W.T))
        c[t + 1] = _choose(xp, mask, t, c_next, c[t])
        h[t + 1] = _choose(xp, mask, t, h_next, h[t])
    return h, c


def lstm_backward(gh, gc_last, gates, c, W, mask=None):
    """One step before the other."""
    xp = get_array_module(gates)
    gz = xp.empty_like(gates)
    gc = xp.zeros_like(c[0]) if gc_last is None else gc_last.copy()
    gh_t = xp.zeros_like(c[0])
    for t in reversed(range(len(gates))):
        if gh is not None:
            gh_t = gh_t + gh[t]
        tanh_c = xp.tanh(c[t + 1])
        gz_t, gc_t = lstm_gates_backward(gates[t], c[t], tanh_c, gc, gh_t)
        gz[t] = _choose(xp, mask, t, gz_t, 0)
        gc = _choose(xp, mask, t, gc_t, gc)
        gh_t = matmul(gz[t], W) + (0 if mask is None else _choose(xp, mask, t, 0, gh_t))
    return gz, gh_t, gc


def gru_gates(z, h, a):
    """Gates in place, then the new state."""
    xp = get_array_module(z)
    H = h.shape[-1]
    n, gates = z[..., 2 * H :], z[..., : 2 * H]
    gates += a[..., : 2 * H]
    _sigmoid(xp, gates)
    n += gates[..., :H] * a[..., 2 * H :]
    xp.tanh(n, out=n)
    update = gates[..., H:]
    return (1 - update) * n + update * h


def gru_gates_backward(gy, gates, h, a):
    """The gradient of a is that of z but for the block n."""
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


def gru_forward(z, h0, W, b=None, reset_after=False, mask=None):
    """One step after the other."""
    xp = get_array_module(z)
    H = h0.shape[-1]
    h = _states(xp, len(z), h0)
    inner = xp.empty((len(z), *h0.shape), z.dtype)
    for t in range(len(z)):
        if reset_after:
            a = matmul(h[t], W.T)
            if b is not None:
                a[:, 2 * H :] += b
            inner[t] = a[:, 2 * H :]
            h_next = gru_gates(z[t], h[t], a)
        else:
            ru, n = z[t][:, : 2 * H], z[t][:, 2 * H :]
            ru += h[t] @ W[: 2 * H].T
            _sigmoid(xp, ru)
            r, u = blocks(ru, 2)
            inner[t] = r * h[t]
            n += inner[t] @ W[2 * H :].T
            xp.tanh(n, out=n)
            h_next = (1 - u) * n + u * h[t]
        h[t + 1] = _choose(xp, mask, t, h_next, h[t])
    return h, inner


def gru_backward(gh, gates, inner, h, W, reset_after=False, mask=None):
    """One step before the other."""
    xp = get_array_module(gates)
    H = h.shape[-1]
    gz, gr = xp.empty_like(gates), xp.empty_like(gates)
    gh_t = xp.zeros_like(h[0])
    for t in reversed(range(len(gates))):
        gh_t = gh_t + gh[t]
        gz_r, gz_u, gz_n = blocks(gz[t], 3)
        r, u, n = blocks(gates[t], 3)
        xp.multiply(gh_t * (1 - u), 1 - n * n, out=gz_n)
        xp.multiply(gh_t * (h[t] - n), u * (1 - u), out=gz_u)
        d_inner = gz_n * r if reset_after else gz_n @ W[2 * H :]
        xp.multiply(
            gz_n * inner[t] if reset_after else d_inner * h[t], r * (1 - r), out=gz_r
        )
        gz[t] = _choose(xp, mask, t, gz[t], 0)
        before = gh_t * u
        if reset_after:
            gr[t, :, : 2 * H] = gz[t, :, : 2 * H]
            gr[t, :, 2 * H :] = _choose(xp, mask, t, d_inner, 0)
            before += gr[t] @ W
        else:
            before += d_inner * r + gz[t, :, : 2 * H] @ W[: 2 * H]
        gh_t = _choose(xp, mask, t, before, gh_t)
    return gz, gr if reset_after else None, gh_t


def rnn_forward(z, h0, W, activation="tanh", mask=None):
    """One step after the other."""
    xp = get_array_module(z)
    h = _states(xp, len(z), h0)
    for t in range(len(z)):
        a = z[t] + matmul(h[t], W.T)
        y = xp.tanh(a) if activation == "tanh" else xp.maximum(a, 0)
        h[t + 1] = _choose(xp, mask, t, y, h[t])
    return h


def rnn_backward(gh, h, W, activation="tanh", mask=None):
    """One step before the other."""
    xp = get_array_module(h)
    gz = xp.empty_like(h[1:])
    gh_t = xp.zeros_like(h[0])
    for t in reversed(range(len(gz))):
        gh_t = gh_t + gh[t]
        y = h[t + 1]
        slope = 1 - y * y if activation == "tanh" else y > 0
        gz[t] = _choose(xp, mask, t, gh_t * slope, 0)
        gh_t = matmul(gz[t], W) + (0 if mask is None else _choose(xp, mask, t, 0, gh_t))
    return gz, gh_t


def matmul(a, b, out=None):
    """Leave it to the array module.

    NumPy has no fast product of halves: they are multiplied as floats, and rounded.
    """
    xp = get_array_module(a)
    if xp is np and a.dtype == b.dtype == np.float16:
        product = np.matmul(a.astype(np.float32), b.astype(np.float32))
        if out is None:
            return product.astype(np.float16)
        out[...] = product
        return out
    return xp.matmul(a, b) if out is None else xp.matmul(a, b, out=out)


def linear(x, W, b=None):
    """Multiply, then add."""
    y = matmul(x, W.T)
    if b is not None:
        y += b
    return y


def product_input(gy, W, scale=None):
    """Scale the small result."""
    gx = matmul(gy, W)
    return gx if scale is None else gx * scale[:, None]


def product_weight(gy, x, scale=None):
    """Scale the small operand."""
    return matmul(gy.T, x if scale is None else x * scale[:, None])


def sum_rows(gy, scale=None):
    """Sum rows as a product with their scale."""
    if scale is None:
        scale = get_array_module(gy).ones(len(gy), gy.dtype)
    return scale @ gy


def softmax_cross_entropy(logits, t, ignore_label=-1, out=None):
    """Shift each row by its maximum."""
    xp = get_array_module(logits)
    counted = t != ignore_label
    is_bad = outside(xp, t, logits.shape[1])
    rows, label = xp.arange(len(logits)), xp.where(counted, t, 0)
    if is_bad is not None:
        is_bad &= counted
        label = xp.where(is_bad, 0, label)
    largest = logits.max(axis=1)[:, None]
    target = logits[rows, label] - largest[:, 0]
    e = xp.subtract(logits, largest, out=out)
    xp.exp(e, out=e)
    total = e.sum(axis=1)
    if is_bad is not None:
        total = xp.where(is_bad, xp.nan, total)
    loss = xp.where(counted, xp.log(total) - target, 0)
    e[rows, label] -= total
    return loss, e, xp.where(counted, 1 / total, 0)


def outside(xp, ids, size):
    """Return which ids are out of range; None on the CPU, where they were checked."""
    return None if xp is np else (ids < 0) | (ids >= size)


def mean_factor(counts, divisor, dtype):
    """Return one over the divisor, by default the number of labels that count."""
    xp = get_array_module(counts)
    if divisor is not None:
        return 1.0 / divisor
    if xp is np:
        return 1.0 / max(1, int(np.count_nonzero(counts)))
    return (1.0 / xp.maximum(counts.sum(), 1)).astype(dtype)


def mean_loss(loss, inverse, t, ignore_label=-1, divisor=None):
    """Weigh each row."""
    xp, dtype = get_array_module(loss), loss.dtype
    counts = t != ignore_label
    weight = counts.astype(dtype)
    weight *= mean_factor(counts, divisor, dtype)
    return xp.where(counts, loss * weight, 0).sum(), weight * inverse


def take_rows(W, ids, ignore_label=None):
    """Index, then replace rows."""
    xp = get_array_module(W)
    is_ignored = None if ignore_label is None else ids == ignore_label
    is_bad = outside(xp, ids, len(W))
    if is_bad is not None:
        ids = xp.where(is_bad, 0, ids)
    elif is_ignored is not None:
        ids = xp.where(is_ignored, 0, ids)
    y = W[ids]
    if is_bad is not None:
        y = xp.where(is_bad[..., None], xp.nan, y)
    if is_ignored is not None:
        y = xp.where(is_ignored[..., None], 0, y)
    return y


def linear_softmax_cross_entropy(x, W, b, t, ignore_label=-1):
    """Make the whole matrix after all."""
    xp = get_array_module(x)
    logits = linear(x, W, b)
    largest = logits.max(axis=1)
    total = xp.exp(logits - largest[:, None]).sum(axis=1)
    log_total = xp.log(total) + largest
    counted = t != ignore_label
    target = logits[xp.arange(len(x)), xp.where(counted, t, 0)]
    return xp.where(counted, log_total - target, 0), log_total


def linear_softmax_cross_entropy_backward(gy, x, W, b, t, log_total, ignore_label=-1):
    """Make the whole matrix again."""
    xp = get_array_module(x)
    counted = t != ignore_label
    p = xp.exp(linear(x, W, b) - log_total[:, None])
    p[xp.arange(len(x)), xp.where(counted, t, 0)] -= 1
    p *= xp.where(counted, gy, 0)[:, None]
    return p @ W, p.T @ x, p.sum(axis=0)


def sum_rows_by_id(ids, rows):
    """Wait, on a device, for the number of ids."""
    xp = get_array_module(rows)
    ids = ids.reshape(-1)
    unique, inverse = xp.unique(ids, return_inverse=True)
    sums = xp.zeros((len(unique), rows.shape[-1]), rows.dtype)
    backend.scatter_add(xp, sums, inverse, rows.reshape(len(ids), rows.shape[-1]))
    return unique, sums


def add_rows_by_id(target, ids, rows):
    """Sort, so that the order of the additions is known."""
    xp = get_array_module(rows)
    is_bad = outside(xp, ids, len(target))
    if is_bad is not None:
        ids, rows = xp.where(is_bad, 0, ids), xp.where(is_bad[:, None], 0, rows)
    backend.scatter_add(xp, target, ids, rows)


def squared_norm(x):
    """Square and add in float64."""
    xp = get_array_module(x)
    return float(xp.sum(xp.square(x.astype(xp.float64))))


def sgd(x, gradient, rate):
    """Update in place."""
    x -= rate * gradient


def sgd_rows(x, ids, rows, rate):
    """Update the rows of ``ids``."""
    x[ids] -= rate * rows


def clip(arrays, threshold):
    """Keep the norm on the device."""
    xp = get_array_module(arrays[0])
    squares = xp.stack([xp.sum(xp.square(a.astype(xp.float64))) for a in arrays])
    norm = xp.sqrt(xp.sum(squares))
    rate = threshold / xp.maximum(norm, threshold)
    is_sound = xp.isfinite(norm)
    for array in arrays:
        array *= rate.astype(array.dtype)
        array[...] = xp.where(is_sound, array, xp.zeros_like(array))
    return ~xp.isfinite(squares)


def update(rule, numbers, items):
    """Leave it to the optimizer's own rule."""
    return False


def dropout_mask(generator, shape, ratio, dtype, like=None):
    """Draw 16 bits per element on the CPU, and compare them with a threshold."""
    size = int(np.prod(shape))
    words = generator.integers(0, 2**64, -(-size // 4), np.uint64, endpoint=False)
    bits = words.astype("<u8", copy=False).view("<u2")[:size].reshape(shape)
    threshold = round(ratio * 2**16)
    keep = (2**16 - threshold) / 2**16
    mask = np.empty(shape, dtype)
    np.multiply(bits >= threshold, mask.dtype.type(1 / keep), out=mask)
    return mask if like is None else get_array_module(like).asarray(mask)
