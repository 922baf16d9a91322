"""Hooks that bound or scale gradients."""

import math

import numpy as np

from dyrnn import kernels
from dyrnn.chainer import backend
from dyrnn.optimizers import hooks


def squared_norm(params):
    """Return the sum of all squared gradients; of one GPU's, without waiting for it."""
    sums = {}
    for param in params:
        device = param.device
        with backend.using_device(device):
            flat = param.grad.ravel()
            if device.xp is np:
                (square,) = kernels.squared_norms([flat])
            else:
                square = flat.dot(flat)
            sums[device.name] = sums.get(device.name, 0) + square
    (first, *others) = sums.values()
    return float(first) + sum(map(float, others)) if others else first


class GradientClipping:
    """Scale all gradients together so that their L2 norm is ``threshold`` at most."""

    name = "GradientClipping"
    timing = "pre"

    def __init__(self, threshold):
        self.threshold = threshold

    def __call__(self, opt):
        params = list(opt.target.params(False))
        squares = squared_norm(params)
        if isinstance(squares, float):
            core = hooks.GradientClipping
            rate = core.rate(math.sqrt(squares), self.threshold)
            if rate == 1:
                return
        else:  # without waiting for the GPU
            xp = params[0].device.xp
            rate = (self.threshold / xp.sqrt(squares)).clip(None, 1)
        for param in params:
            gradient = param.grad
            with backend.using_device(param.device):
                gradient *= rate


class GradientHardClipping:
    """Clip each element of a gradient to ``lower_bound`` .. ``upper_bound``."""

    name = "GradientHardClipping"
    call_for_each_param = True
    timing = "pre"

    def __init__(self, lower_bound, upper_bound):
        self.lower_bound = lower_bound
        self.upper_bound = upper_bound

    def __call__(self, rule, param):
        gradient = param.grad
        if gradient is not None:
            with backend.using_device(param.device):
                core = hooks.GradientHardClipping
                core.limit(gradient, self.lower_bound, self.upper_bound)
