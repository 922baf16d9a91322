"""Plain definitions of the kernels: what they mean, step by step and without tricks."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(z, h, c, W, mask=None):
    """Return all h and all c, (T + 1, B, H) each."""
    hs, cs = [h], [c]
    for t in range(len(z)):
        i, f, g, o = np.split(z[t] + h @ W.T, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        if mask is not None:
            c = np.where(mask[t][:, None], c, cs[-1])
            h = np.where(mask[t][:, None], h, hs[-1])
        hs.append(h)
        cs.append(c)
    return np.stack(hs), np.stack(cs)


def gru(z, h, W, b=None, reset_after=False, mask=None):
    """Return all h, (T + 1, B, H)."""
    H, hs = h.shape[1], [h]
    for t in range(len(z)):
        r, u = np.split(sigmoid(z[t, :, : 2 * H] + h @ W[: 2 * H].T), 2, axis=-1)
        if reset_after:
            inner = r * (h @ W[2 * H :].T + (0 if b is None else b))
        else:
            inner = (r * h) @ W[2 * H :].T
        h = (1 - u) * np.tanh(z[t, :, 2 * H :] + inner) + u * h
        if mask is not None:
            h = np.where(mask[t][:, None], h, hs[-1])
        hs.append(h)
    return np.stack(hs)


def rnn(z, h, W, activation="tanh", mask=None):
    """Return all h, (T + 1, B, H)."""
    hs = [h]
    for t in range(len(z)):
        a = z[t] + h @ W.T
        h = np.tanh(a) if activation == "tanh" else np.maximum(a, 0)
        if mask is not None:
            h = np.where(mask[t][:, None], h, hs[-1])
        hs.append(h)
    return np.stack(hs)


def softmax_cross_entropy(logits, t):
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(t)), t]


def softmax_cross_entropy_gradient(logits, t, gy):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(len(t)), t] -= 1
    return p * gy[:, None]


def check_gradients(loss, arrays, gradients, rng, step=1e-6):
    """Compare gradients with a difference of ``loss`` along a random direction."""
    directions = [rng.normal(size=a.shape) for a in arrays]
    ahead, behind = (
        loss(*(a + s * d for a, d in zip(arrays, directions, strict=True)))
        for s in (step, -step)
    )
    ours = sum(np.vdot(g, d) for g, d in zip(gradients, directions, strict=True))
    np.testing.assert_allclose(ours, (ahead - behind) / (2 * step), rtol=1e-5)
