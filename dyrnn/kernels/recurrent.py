"""Recurrent layers: what follows the products of a step, and whole windows.

Gates lie side by side on the last axis; z is what the input adds to them, a what the
state adds; ``gx`` is the gradient of the loss with respect to x.
"""

from dyrnn.backend import get_array_module
from dyrnn.kernels.dispatch import kernel
from dyrnn.kernels.products import matmul


def blocks(a, n):
    """Split the last axis into ``n`` equal blocks, as views."""
    H = a.shape[-1] // n
    return [a[..., k * H : (k + 1) * H] for k in range(n)]


def states_from(xp, T, h0):
    """Return an array (T + 1, B, H) for a state over time, which starts with h0."""
    states = xp.empty((T + 1, *h0.shape), h0.dtype)
    states[0] = h0
    return states


def _sigmoid(xp, a):
    """Replace ``a`` by its sigmoid, 1/2 + tanh(a / 2) / 2.

    Its error is small beside 1, as a gate needs.
    """
    a *= 0.5
    xp.tanh(a, out=a)
    a *= 0.5
    a += 0.5


def _choose(xp, mask, t, new, old):
    """Take the new values of the sequences that have a step t, the old of others."""
    return new if mask is None else xp.where(mask[t][:, None], new, old)


@kernel("a")
def lstm_gates(a, c_prev, x=None):
    """Run what follows the product in one step of an LSTM.

    ``c = f * c_prev + i * g; h = o * tanh(c)``, where i, f, o are sigmoids and g is a
    tanh.

    Parameters
    ----------
    a : (B, 4H)
        Gate inputs in blocks i, f, g, o. Overwritten with the gates' values.
    c_prev : (B, H)
    x : (B, 4H), optional
        Added to ``a`` first.

    Returns
    -------
    c, tanh_c, h : (B, H)
        The new state, and the hyperbolic tangent of c for the backward kernel.
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


@kernel("gates")
def lstm_gates_backward(gates, c_prev, tanh_c, gc, gh):
    """Gradients of :func:`lstm_gates` from those of c and h, one of them may be None.

    s (1 - s) is the slope of a sigmoid s, 1 - g^2 that of a tanh g.

    Returns
    -------
    gz : (B, 4H)
        Gradient of the gate inputs.
    gc_prev : (B, H)
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


@kernel("z")
def lstm_forward(z, h0, c0, U, mask=None):
    """Run an LSTM over a window of gate inputs; a step's are ``z[t] + h[t] U^T``.

    Parameters
    ----------
    z : (T, B, 4H)
        Gate inputs x W^T + b in blocks i, f, g, o. Overwritten with the gates'
        values, which :func:`lstm_backward` needs: the caller must own it.
    h0, c0 : (B, H)
        State before the window.
    U : (4H, H)
        Recurrent matrix.
    mask : (T, B) bool, optional
        Where False, a step is padding: the state is carried over it as it was.

    Returns
    -------
    h, c : (T + 1, B, H)
        State before the window and after each step: ``h[1:]`` is the output, ``h[:-1]``
        is what U was multiplied by, ``c[-1]`` is carried on.
    """
    xp = get_array_module(z)
    h, c = states_from(xp, len(z), h0), states_from(xp, len(z), c0)
    for t in range(len(z)):
        c_next, _, h_next = lstm_gates(z[t], c[t], matmul(h[t], U.T))
        c[t + 1] = _choose(xp, mask, t, c_next, c[t])
        h[t + 1] = _choose(xp, mask, t, h_next, h[t])
    return h, c


@kernel("gates")
def lstm_backward(gh, gc_last, gates, c, U, mask=None):
    """Gradients of :func:`lstm_forward`, from the last step to the first.

    The state h[t] reaches the loss as an output, which gives ``gh[t - 1]``, and through
    the next step's gates, which gives ``gz[t] U``; c[t] through the next step's c.

    Parameters
    ----------
    gh : (T, B, H) or None
        Gradient of ``h[1:]``; the carried state's is added to the last step's.
    gc_last : (B, H) or None
        Gradient of ``c[-1]``.
    gates : (T, B, 4H)
        What became of z.
    c, U, mask
        As returned by and given to the forward kernel.

    Returns
    -------
    gz : (T, B, 4H)
        Gradient of the gate inputs; U's is gz^T h[:-1] over all rows.
    gh0, gc0 : (B, H)
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


@kernel("z")
def gru_gates(z, h, a):
    """Run what follows the product in one step of a GRU whose reset comes after it.

    ``h' = (1 - u) * n + u * h`` with ``n = tanh(z_n + r * a_n)`` and sigmoids r, u.

    Parameters
    ----------
    z, a : (B, 3H)
        The input's and the state's part of the gates in blocks r, u, n; z is
        overwritten with the gates' values.
    h : (B, H)

    Returns
    -------
    (B, H)
        The new state.
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


@kernel("gates")
def gru_gates_backward(gy, gates, h, a):
    """Gradients of :func:`gru_gates`: of z and a (B, 3H), and of h but for a (B, H).

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


@kernel("z")
def gru_forward(z, h0, U, b=None, reset_after=True, mask=None):
    """Run a GRU over a window: h' = (1 - u) n + u h, with gates r and u.

    The candidate is n = tanh(z_n + r (h U_n^T + b)) with ``reset_after``, and
    n = tanh(z_n + (r h) U_n^T) without.

    Parameters
    ----------
    z : (T, B, 3H)
        Gate inputs in blocks r, u, n. Overwritten with r, u and n.
    h0 : (B, H)
    U : (3H, H)
    b : (H,), optional
        Only with ``reset_after``.
    mask : (T, B) bool, optional
        Where False, the state is carried over the step as it was.

    Returns
    -------
    h : (T + 1, B, H)
        State before the window and after each step.
    inner : (T, B, H)
        h U_n^T + b with ``reset_after``, r h without.
    """
    xp = get_array_module(z)
    H = h0.shape[-1]
    h = states_from(xp, len(z), h0)
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
            ru += matmul(h[t], U[: 2 * H].T)
            _sigmoid(xp, ru)
            r, u = blocks(ru, 2)
            inner[t] = r * h[t]
            n += matmul(inner[t], U[2 * H :].T)
            xp.tanh(n, out=n)
            h_next = (1 - u) * n + u * h[t]
        h[t + 1] = _choose(xp, mask, t, h_next, h[t])
    return h, inner


@kernel("gates")
def gru_backward(gh, gates, inner, h, U, reset_after=True, mask=None):
    """Gradients of :func:`gru_forward`; gh (T, B, H) is the gradient of ``h[1:]``.

    Returns
    -------
    gz : (T, B, 3H)
        Gradient of the gate inputs.
    ga : (T, B, 3H) or None
        With ``reset_after``, the gradient of h U^T + b: U's is ga^T h[:-1], and b's is
        the sum of the last block. Without, those of U's blocks are gz_ru^T h[:-1] and
        gz_n^T inner.
    gh0 : (B, H)
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
        d_inner = gz_n * r if reset_after else matmul(gz_n, U[2 * H :])
        xp.multiply(
            gz_n * inner[t] if reset_after else d_inner * h[t], r * (1 - r), out=gz_r
        )
        gz[t] = _choose(xp, mask, t, gz[t], 0)
        before = gh_t * u
        if reset_after:
            ga[t, :, : 2 * H] = gz[t, :, : 2 * H]
            ga[t, :, 2 * H :] = _choose(xp, mask, t, d_inner, 0)
            before += matmul(ga[t], U)
        else:
            before += d_inner * r + matmul(gz[t, :, : 2 * H], U[: 2 * H])
        gh_t = _choose(xp, mask, t, before, gh_t)
    return gz, ga if reset_after else None, gh_t


@kernel("z")
def rnn_forward(z, h0, U, activation="tanh", mask=None):
    """Run h' = activation(z + h U^T) over a window; "tanh" or "relu".

    Parameters
    ----------
    z : (T, B, H)
    h0 : (B, H)
    U : (H, H)
    mask : (T, B) bool, optional
        Where False, the state is carried over the step as it was.

    Returns
    -------
    h : (T + 1, B, H)
        State before the window and after each step.
    """
    xp = get_array_module(z)
    h = states_from(xp, len(z), h0)
    for t in range(len(z)):
        a = z[t] + matmul(h[t], U.T)
        y = xp.tanh(a) if activation == "tanh" else xp.maximum(a, 0)
        h[t + 1] = _choose(xp, mask, t, y, h[t])
    return h


@kernel("h")
def rnn_backward(gh, h, U, activation="tanh", mask=None):
    """Gradients of :func:`rnn_forward`; gh (T, B, H) is the gradient of ``h[1:]``.

    The slope of the activation is a function of its value h: 1 - h^2, or h > 0.

    Returns
    -------
    gz : (T, B, H)
        Gradient of z; U's is gz^T h[:-1].
    gh0 : (B, H)
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
