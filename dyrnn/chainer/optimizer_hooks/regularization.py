"""Hooks that add a penalty's gradient, or noise, to gradients."""

import math

from dyrnn.chainer import backend


class WeightDecay:
    """Add ``rate`` times the parameter to its gradient."""

    name = "WeightDecay"
    call_for_each_param = True
    timing = "pre"

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, rule, param):
        p, g = param.array, param.grad
        if p is None or g is None:
            return
        rate = self.rate
        if param._loss_scale is not None:
            rate *= param._loss_scale
        with backend.using_device(param.device):
            g += rate * p


class Lasso:
    """Add ``rate`` times the sign of the parameter to its gradient."""

    name = "Lasso"
    call_for_each_param = True
    timing = "pre"

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, rule, param):
        p, g = param.array, param.grad
        if p is None or g is None:
            return
        with backend.using_device(param.device):
            g += self.rate * param.device.xp.sign(p)


def exponential_decay_noise(xp, shape, dtype, hook, opt):
    """Return normal noise whose variance is ``eta / (1 + t) ** 0.55``."""
    deviation = math.sqrt(hook.eta / (1 + opt.t) ** 0.55)
    return xp.asarray(xp.random.normal(0, deviation, shape)).astype(dtype)


class GradientNoise:
    """Add noise to each gradient.

    References
    ----------
    Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep
    Networks", arXiv:1511.06807.
    """

    name = "GradientNoise"
    call_for_each_param = True
    timing = "pre"

    def __init__(self, eta, noise_func=exponential_decay_noise):
        self.eta = eta
        self.noise_func = noise_func

    def __call__(self, rule, param):
        g = param.grad
        if g is not None:
            with backend.using_device(param.device):
                g += self.noise_func(param.device.xp, g.shape, g.dtype, self, rule)
