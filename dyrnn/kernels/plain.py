"""What the kernels mean: plain operations on arrays of any module, step by step.

They are the definitions that the faster kernels are tested against, and they serve the
arrays that have none: half precision on the CPU, array modules made known by
:func:`dyrnn.backend.register_array_module`. Arguments and results in full, and what may
be overwritten, are in :mod:`dyrnn.kernels`. Gates lie side by side on the last axis;
``gx`` is the gradient of the loss with respect to x; z is what the input adds to the
gates, a what the state adds.
"""

import numpy as np

from dyrnn import backend
from dyrnn.backend import get_array_module
from dyrnn.kernels.labels import mean_factor, outside


def blocks(a, n):
    """Split the last axis into ``n`` equal blocks, as views."""
    H = a.shape[-1] // n
    return [a[..., k * H : (k + 1) * H] for k in range(n)]


def _sigmoid(xp, a):
    """Replace ``a`` by its sigmoid, 1/2 + tanh(a / 2) / 2.

    Its error is small beside 1, as a gate needs.
    """
    a *= 0.5
    xp.tanh(a, out=a)
    a *= 0.5
    a += 0.5


def _states(xp, T, h0):
    """Return an array (T + 1, B, H) for a state over time, which starts with h0."""
    states = xp.empty((T + 1, *h0.shape), h0.dtype)
    states[0] = h0
    return states


def _choose(xp, mask, t, new, old):
    """Take the new values of the sequences that have a step t, the old of others."""
    return new if mask is None else xp.where(mask[t][:, None], new, old)


def lstm_gates(a, c_prev, x=None):
    """Step of an LSTM from gate inputs a + x (B, 4H): new c, its tanh, and h (B, H).

    ``c = f * c_prev + i * g; h = o * tanh(c)``, where i, f, o are sigmoids and g is a
    tanh. Their values take the place of ``a``.
    """
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
    """Gradients gz (B, 4H) and gc_prev (B, H) of a step, from those of c and h.

    A gradient that is None is 0. s (1 - s) is the slope of a sigmoid s, 1 - g^2 that of
    a tanh g.
    """
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


def lstm_forward(z, h0, c0, U, mask=None):
    """All T steps of an LSTM: the states h, c (T + 1, B, H), the initial ones first.

    The gate inputs of a step are ``z[t] + h[t] @ U.T`` (B, 4H); z keeps the gates.
    """
    xp = get_array_module(z)
    h, c = _states(xp, len(z), h0), _states(xp, len(z), c0)
    for t in range(len(z)):
        c_next, _, h_next = lstm_gates(z[t], c[t], matmul(h[t], U.T))
        c[t + 1] = _choose(xp, mask, t, c_next, c[t])
        h[t + 1] = _choose(xp, mask, t, h_next, h[t])
    return h, c


def lstm_backward(gh, gc_last, gates, c, U, mask=None):
    """Gradients gz (T, B, 4H) and gh0, gc0 (B, H), from the last step to the first.

    The state h[t] reaches the loss as an output, which gives ``gh[t - 1]``, and through
    the next step's gates, which gives ``gz[t] @ U``; c[t] through the next step's c.
    """
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
        gh_t = matmul(gz[t], U) + (0 if mask is None else _choose(xp, mask, t, 0, gh_t))
    return gz, gh_t, gc


def gru_gates(z, h, a):
    """Step of a GRU whose reset gate comes after the product a (B, 3H): new h (B, H).

    ``h' = (1 - u) * n + u * h`` with ``n = tanh(z_n + r * a_n)`` and sigmoids r, u,
    which take the places of their inputs in ``z`` (B, 3H).
    """
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
    """Gradients gz, ga (B, 3H) of a step, and the direct part of gh (B, H).

    Those of z and a are equal but for the candidate n, whose a is multiplied by r.
    """
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


def gru_forward(z, h0, U, b=None, reset_after=False, mask=None):
    """All T steps of a GRU: h (T + 1, B, H), and what the candidate's product needs.

    That is ``inner`` (T, B, H): r * h, the factor of the product, or with
    ``reset_after`` the product, which r is multiplied with afterwards.
    """
    xp = get_array_module(z)
    H = h0.shape[-1]
    h = _states(xp, len(z), h0)
    inner = xp.empty((len(z), *h0.shape), z.dtype)
    for t in range(len(z)):
        if reset_after:
            a = matmul(h[t], U.T)
            if b is not None:
                a[:, 2 * H :] += b
            inner[t] = a[:, 2 * H :]
            h_next = gru_gates(z[t], h[t], a)
        else:
            ru, n = z[t][:, : 2 * H], z[t][:, 2 * H :]
            ru += h[t] @ U[: 2 * H].T
            _sigmoid(xp, ru)
            r, u = blocks(ru, 2)
            inner[t] = r * h[t]
            n += inner[t] @ U[2 * H :].T
            xp.tanh(n, out=n)
            h_next = (1 - u) * n + u * h[t]
        h[t + 1] = _choose(xp, mask, t, h_next, h[t])
    return h, inner


def gru_backward(gh, gates, inner, h, U, reset_after=False, mask=None):
    """Gradients gz, ga (T, B, 3H) and gh0 (B, H), from the last step to the first.

    ``ga`` is that of ``h[:-1] @ U.T`` with ``reset_after``; without, there is no such
    product of all three gates, and it is None.
    """
    xp = get_array_module(gates)
    H = h.shape[-1]
    gz, ga = xp.empty_like(gates), xp.empty_like(gates)
    gh_t = xp.zeros_like(h[0])
    for t in reversed(range(len(gates))):
        gh_t = gh_t + gh[t]
        gz_r, gz_u, gz_n = blocks(gz[t], 3)
        r, u, n = blocks(gates[t], 3)
        xp.multiply(gh_t * (1 - u), 1 - n * n, out=gz_n)
        xp.multiply(gh_t * (h[t] - n), u * (1 - u), out=gz_u)
        d_inner = gz_n * r if reset_after else gz_n @ U[2 * H :]
        xp.multiply(
            gz_n * inner[t] if reset_after else d_inner * h[t], r * (1 - r), out=gz_r
        )
        gz[t] = _choose(xp, mask, t, gz[t], 0)
        before = gh_t * u
        if reset_after:
            ga[t, :, : 2 * H] = gz[t, :, : 2 * H]
            ga[t, :, 2 * H :] = _choose(xp, mask, t, d_inner, 0)
            before += ga[t] @ U
        else:
            before += d_inner * r + gz[t, :, : 2 * H] @ U[: 2 * H]
        gh_t = _choose(xp, mask, t, before, gh_t)
    return gz, ga if reset_after else None, gh_t


def rnn_forward(z, h0, U, activation="tanh", mask=None):
    """All T steps ``h' = activation(z[t] + h @ U.T)``: h (T + 1, B, H), h0 first."""
    xp = get_array_module(z)
    h = _states(xp, len(z), h0)
    for t in range(len(z)):
        a = z[t] + matmul(h[t], U.T)
        y = xp.tanh(a) if activation == "tanh" else xp.maximum(a, 0)
        h[t + 1] = _choose(xp, mask, t, y, h[t])
    return h


def rnn_backward(gh, h, U, activation="tanh", mask=None):
    """Gradients gz (T, B, H) and gh0 (B, H), from the last step to the first.

    The slope of the activation is a function of its value h: 1 - h^2, or h > 0.
    """
    xp = get_array_module(h)
    gz = xp.empty_like(h[1:])
    gh_t = xp.zeros_like(h[0])
    for t in reversed(range(len(gz))):
        gh_t = gh_t + gh[t]
        y = h[t + 1]
        slope = 1 - y * y if activation == "tanh" else y > 0
        gz[t] = _choose(xp, mask, t, gh_t * slope, 0)
        gh_t = matmul(gz[t], U) + (0 if mask is None else _choose(xp, mask, t, 0, gh_t))
    return gz, gh_t


def matmul(a, b, out=None):
    """Product of a (M, K) and b (K, N).

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
    """Affine map x W^T + b (N, V) of x (N, I), with W (V, I) and b (V,)."""
    y = matmul(x, W.T)
    if b is not None:
        y += b
    return y


def product_input(gy, W, scale=None):
    """Gradient of x in x W^T, ``gy @ W`` (N, I), each row of gy times its scale.

    The scale is applied to the result, which has fewer columns than gy.
    """
    gx = matmul(gy, W)
    return gx if scale is None else gx * scale[:, None]


def product_weight(gy, x, scale=None):
    """Gradient of W in x W^T, ``gy.T @ x`` (V, I), each row of gy times its scale.

    The scale is applied to x, which has fewer columns than gy.
    """
    return matmul(gy.T, x if scale is None else x * scale[:, None])


def sum_rows(gy, scale=None):
    """Gradient of b in x W^T + b: the sum (V,) of the rows of gy, each times its scale.

    A sum of rows is a product with a row of ones.
    """
    if scale is None:
        scale = get_array_module(gy).ones(len(gy), gy.dtype)
    return scale @ gy


def softmax_cross_entropy(logits, t, ignore_label=-1, out=None):
    """Loss (N,) of each row, -log softmax(logits)[t], and its gradient in two parts.

    The gradient is ``inverse[:, None] * e``: softmax less 1 at the label. Logits are
    taken relative to the largest of their row, so that exp does not overflow.
    """
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
    # The gradient at the label is softmax - 1, that is (e - total) / total.
    e[rows, label] -= total
    return loss, e, xp.where(counted, 1 / total, 0)


def mean_loss(loss, inverse, t, ignore_label=-1, divisor=None):
    """Sum of the losses over the divisor, and ``inverse`` over it, (N,)."""
    xp, dtype = get_array_module(loss), loss.dtype
    counts = t != ignore_label
    weight = counts.astype(dtype)
    weight *= mean_factor(counts, divisor, dtype)
    return xp.where(counts, loss * weight, 0).sum(), weight * inverse


def take_rows(W, ids, ignore_label=None):
    """Rows ``W[ids]``, (..., D): 0 for ``ignore_label``, NaN for an id out of range."""
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
    """Loss (N,) of logits x W^T + b, and the logarithm of each row's sum of exp.

    The definition makes the whole matrix (N, V); faster kernels need not.
    """
    xp = get_array_module(x)
    logits = linear(x, W, b)
    largest = logits.max(axis=1)
    total = xp.exp(logits - largest[:, None]).sum(axis=1)
    log_total = xp.log(total) + largest
    counted = t != ignore_label
    target = logits[xp.arange(len(x)), xp.where(counted, t, 0)]
    return xp.where(counted, log_total - target, 0), log_total


def linear_softmax_cross_entropy_backward(gy, x, W, b, t, log_total, ignore_label=-1):
    """Gradients of x, W and b; the logits are computed again, rather than kept.

    The gradient of the logits is gy * (softmax, less 1 at the label).
    """
    xp = get_array_module(x)
    counted = t != ignore_label
    p = xp.exp(linear(x, W, b) - log_total[:, None])
    p[xp.arange(len(x)), xp.where(counted, t, 0)] -= 1
    p *= xp.where(counted, gy, 0)[:, None]
    return p @ W, p.T @ x, p.sum(axis=0)


def sum_rows_by_id(ids, rows):
    """The different ids (M,), ascending, and the sum (M, H) of the rows of each."""
    xp = get_array_module(rows)
    ids = ids.reshape(-1)
    unique, inverse = xp.unique(ids, return_inverse=True)
    sums = xp.zeros((len(unique), rows.shape[-1]), rows.dtype)
    backend.scatter_add(xp, sums, inverse, rows.reshape(len(ids), rows.shape[-1]))
    return unique, sums


def add_rows_by_id(target, ids, rows):
    """Add each row to ``target[id]``, in a known order; leave out ids out of range."""
    xp = get_array_module(rows)
    is_bad = outside(xp, ids, len(target))
    if is_bad is not None:
        ids, rows = xp.where(is_bad, 0, ids), xp.where(is_bad[:, None], 0, rows)
    backend.scatter_add(xp, target, ids, rows)


def squared_norm(x):
    """Sum of the squares of all elements, in float64."""
    xp = get_array_module(x)
    return float(xp.sum(xp.square(x.astype(xp.float64))))


def sgd(x, gradient, rate):
    """Change x by ``-rate * gradient``, in place."""
    x -= rate * gradient


def sgd_rows(x, ids, rows, rate):
    """Change the rows ``x[ids]`` by ``-rate * rows``, in place."""
    x[ids] -= rate * rows


def clip(arrays, threshold):
    """Scale arrays in place to a common norm of at most ``threshold``.

    Return which of them are not finite; one that is not makes all 0. The norm stays on
    the device, which is not waited for.
    """
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
    """Return False: the optimizer's own rule is the definition."""
    return False


def dropout_mask(generator, shape, ratio, dtype, like=None):
    """Mask of 0, with probability ``ratio``, and 1 / (1 - ratio) elsewhere.

    Each element compares 16 random bits with a threshold, the same on all devices.
    """
    size = int(np.prod(shape))
    words = generator.integers(0, 2**64, -(-size // 4), np.uint64, endpoint=False)
    bits = words.astype("<u8", copy=False).view("<u2")[:size].reshape(shape)
    threshold = round(ratio * 2**16)
    keep = (2**16 - threshold) / 2**16
    mask = np.empty(shape, dtype)
    np.multiply(bits >= threshold, mask.dtype.type(1 / keep), out=mask)
    return mask if like is None else get_array_module(like).asarray(mask)
