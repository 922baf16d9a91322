"""Plain definitions of the kernels: what they mean, step by step and without tricks."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(z, c):
    i, f, g, o = np.split(z, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm(z, h, c, W):
    """Return all h and all c, (T + 1, B, H) each."""
    hs, cs = [h], [c]
    for z_t in z:
        h, c = lstm_step(z_t + h @ W.T, c)
        hs.append(h)
        cs.append(c)
    return np.stack(hs), np.stack(cs)


def softmax_cross_entropy(logits, t):
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(t)), t]


def softmax_cross_entropy_gradient(logits, t, gy):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(len(t)), t] -= 1
    return p * gy[:, None]


def directional_derivative(function, arrays, directions, step=1e-6):
    """Return d/ds function(arrays + s * directions) at s = 0, a float."""
    ahead = function(*(a + step * d for a, d in zip(arrays, directions, strict=True)))
    behind = function(*(a - step * d for a, d in zip(arrays, directions, strict=True)))
    return (ahead - behind) / (2 * step)
