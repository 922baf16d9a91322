"""The formulas of the update rules, against which the optimizers are held.

Each is a generator that is sent gradients and gives the new values.
"""

import math

import numpy as np
import pytest

from dyrnn import optimizers

sqrt = np.sqrt


def sgd(p, lr=0.01):
    while True:
        g = yield p
        p = p - lr * g


def momentum_sgd(p, lr=0.01, momentum=0.9):
    v = 0
    while True:
        g = yield p
        v = momentum * v - lr * g
        p = p + v


def nesterov(p, lr=0.01, momentum=0.9):
    v = 0
    while True:
        g = yield p
        before = v
        v = momentum * v - lr * g
        p = p - momentum * before + (1 + momentum) * v


def adagrad(p, lr=0.001, eps=1e-8):
    h = 0
    while True:
        g = yield p
        h = h + g**2
        p = p - lr * g / (sqrt(h) + eps)


def adadelta(p, rho=0.95, eps=1e-6):
    mean_g = mean_d = 0
    while True:
        g = yield p
        mean_g = rho * mean_g + (1 - rho) * g**2
        d = sqrt(mean_d + eps) / sqrt(mean_g + eps) * g
        mean_d = rho * mean_d + (1 - rho) * d**2
        p = p - d


def rmsprop(p, lr=0.01, alpha=0.99, eps=1e-8):
    ms = 0
    while True:
        g = yield p
        ms = alpha * ms + (1 - alpha) * g**2
        p = p - lr * g / (sqrt(ms) + eps)


def rmsprop_graves(p, lr=1e-4, alpha=0.95, momentum=0.9, eps=1e-4):
    n = mean = delta = 0
    while True:
        g = yield p
        n = alpha * n + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        delta = momentum * delta - lr * g / sqrt(n - mean**2 + eps)
        p = p + delta


def rmsprop_nesterov(p, lr=0.001, alpha=0.9, momentum=0.5, eps=1e-4):
    n = mean = v = 0
    while True:
        g = yield p
        n = alpha * n + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        step = lr * g / np.maximum(sqrt(n - mean**2), eps)
        v = momentum * v - step
        p = p + momentum * v - step


def rprop(p, lr=0.01):
    step, previous = np.full_like(p, lr), np.zeros_like(p)
    while True:
        g = yield p
        step = np.where(g * previous > 0, step * 1.2, step)
        step = np.where(g * previous < 0, step * 0.5, step)
        previous = np.where(g * previous < 0, 0, g)
        p = p - step * np.sign(previous)


def adam(p, decay=0.0, amsgrad=False):
    m = v = largest = 0
    t = 0
    while True:
        g = yield p
        t += 1
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        largest = np.maximum(largest, v) if amsgrad else v
        step = 0.001 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m
        p = p - step / (sqrt(largest) + 1e-8) - decay * p


def smorms3(p, lr=0.001, eps=1e-16):
    mem, mean, square = np.ones_like(p), 0, 0
    while True:
        g = yield p
        r = 1 / (mem + 1)
        mean = (1 - r) * mean + r * g
        square = (1 - r) * square + r * g**2
        x = mean**2 / (square + eps)
        p = p - g * np.minimum(lr, x) / (sqrt(square) + eps)
        mem = 1 + mem * (1 - x)


RULES = {
    "SGD": (optimizers.SGD, sgd),
    "ASGD": (optimizers.ASGD, sgd),
    "MomentumSGD": (optimizers.MomentumSGD, momentum_sgd),
    "NesterovAG": (optimizers.NesterovAG, nesterov),
    "AdaGrad": (optimizers.AdaGrad, adagrad),
    "AdaDelta": (optimizers.AdaDelta, adadelta),
    "RMSprop": (optimizers.RMSprop, rmsprop),
    "RMSpropGraves": (optimizers.RMSpropGraves, rmsprop_graves),
    "RMSpropNesterov": (optimizers.RMSpropNesterov, rmsprop_nesterov),
    "Rprop": (optimizers.Rprop, rprop),
    "Adam": (optimizers.Adam, adam),
    "AMSGrad": (lambda: optimizers.Adam(amsgrad=True), lambda p: adam(p, amsgrad=True)),
    "AdamW": (optimizers.AdamW, lambda p: adam(p, decay=0.01)),
    "SMORMS3": (optimizers.SMORMS3, smorms3),
}
every_rule = pytest.mark.parametrize("name", RULES)
