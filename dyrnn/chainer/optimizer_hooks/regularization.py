"""Hooks that add a penalty's gradient, or noise, to gradients."""

from dyrnn.chainer import backend
from dyrnn.optimizers import hooks


class _Penalty:
    """Adds the gradient of the core's penalty, of the weight ``rate``."""

    core = hooks.Penalty
    call_for_each_param = True
    timing = "pre"

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, rule, param):
        gradient = param.grad
        if param.array is not None and gradient is not None:
            with backend.using_device(param.device):
                gradient += self.core.slope(param.array, self.rate * self.scale(param))

    def scale(self, param):
        return 1


class WeightDecay(_Penalty):
    """Add ``rate`` times the parameter to its gradient."""

    name = "WeightDecay"
    core = hooks.WeightDecay

    def scale(self, param):
        return 1 if param._loss_scale is None else param._loss_scale


class Lasso(_Penalty):
    """Add ``rate`` times the sign of the parameter to its gradient."""

    name = "Lasso"
    core = hooks.Lasso


def exponential_decay_noise(xp, shape, dtype, hook, opt):
    """Return normal noise whose variance is ``eta / (1 + t) ** 0.55``."""
    deviation = hooks.GradientNoise.deviation(hook.eta, opt.t)
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
