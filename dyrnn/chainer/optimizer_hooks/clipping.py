"""Hooks that bound or scale gradients."""

import numpy as np

from dyrnn.chainer import backend


def _sum_sqnorm_grads(params):
    """Return the sum of all squared gradients, and its device (None: several)."""
    by_device = {}
    for param in params:
        by_device.setdefault(param.device.name, []).append(param)
    sums = []
    for group in by_device.values():
        with backend.using_device(group[0].device):
            flat = [param.grad.ravel() for param in group]
            sums.append(sum([gradient.dot(gradient) for gradient in flat]))
    if len(sums) == 1:
        return sums[0], params[0].device
    return sum([float(s) for s in sums]), None


class GradientClipping:
    """Scale all gradients together so that their L2 norm is ``threshold`` at most."""

    name = "GradientClipping"
    timing = "pre"

    def __init__(self, threshold):
        self.threshold = threshold

    def __call__(self, opt):
        params = list(opt.target.params(False))
        squares, device = _sum_sqnorm_grads(params)
        device = backend.CpuDevice() if device is None else device
        with backend.using_device(device), np.errstate(divide="ignore"):
            rate = self.threshold / device.xp.sqrt(squares)
            if device.xp is np:
                if rate >= 1:
                    return
            else:  # without waiting for the GPU
                rate = rate.clip(None, 1)
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
                bounds = self.lower_bound, self.upper_bound
                param.device.xp.clip(gradient, *bounds, out=gradient)


class GradientLARS:
    """Scale each gradient by the norm of its weight over its own.

    References
    ----------
    You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks",
    arXiv:1708.03888.
    """

    name = "GradientLARS"
    call_for_each_param = True
    timing = "pre"

    def __init__(self, threshold=1e-2, weight_decay=0.0, eps=1e-9):
        self.threshold = threshold
        self.weight_decay = weight_decay
        self.eps = eps

    def __call__(self, rule, param):
        p, g = param.array, param.grad
        if p is None or g is None:
            return
        with backend.using_device(param.device):
            xp = param.device.xp
            weight, gradient = xp.linalg.norm(p), xp.linalg.norm(g)
            local = weight / (self.eps + gradient + self.weight_decay * weight)
            rate = xp.where(weight > self.threshold, local, 1.0)
            g += self.weight_decay * p
            g *= rate
