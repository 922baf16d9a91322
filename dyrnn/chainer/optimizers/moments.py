"""Adam and its relatives."""

import math
import warnings

from dyrnn import optimizers as core
from dyrnn.backend import get_array_module
from dyrnn.chainer.optimizers.declared import Method, Rule
from dyrnn.chainer.optimizers.rules import check_eps
from dyrnn.kernels.updates import working_dtype
from dyrnn.optimizers.rules import blend


class _StepSize:
    """The step size of Adam's rule and of the optimizer."""

    _renamed: str

    @property
    def alpha_t(self):
        """The step size, corrected for the start from zeros."""
        hp, t = self.hyperparam, self.t
        if t == 0:
            raise RuntimeError(
                "Can't determine the learning rate of Adam optimizer because the "
                "update steps have not been started."
            )
        return hp.alpha * math.sqrt(1 - hp.beta2**t) / (1 - hp.beta1**t)

    @property
    def lr(self):
        warnings.warn(
            f"{self._renamed} has been renamed to AdamRule.alpha_t. Use of "
            f"{self._renamed} is deprecated in Chainer v6.",
            DeprecationWarning,
            stacklevel=1,
        )
        return self.alpha_t


class AdamRule(_StepSize, Rule):
    """Update rule of :class:`Adam`."""

    _renamed = "AdamRule.lr"
    core = core.Adam
    cuda = None
    hyperparams = dict(
        alpha=0.001,
        beta1=0.9,
        beta2=0.999,
        eps=1e-8,
        eta=1.0,
        weight_decay_rate=0,
        amsgrad=False,
        adabound=False,
        final_lr=0.1,
        gamma=1e-3,
    )

    def __init__(self, parent_hyperparam=None, *args, **kwargs):
        super().__init__(parent_hyperparam, *args, **kwargs)
        if self.hyperparam.adabound:
            self.initial_alpha = self.hyperparam.alpha

    @property
    def states(self):
        names = ("m", "v", "vhat") if self.hyperparam.amsgrad else ("m", "v")
        return dict.fromkeys(names, 0.0)

    @property
    def rule(self):
        return _bounded if self.hyperparam.adabound else self.core.rule

    def numbers(self, param):
        hp = self.hyperparam
        check_eps("Adam", hp.eps, working_dtype(param.dtype))
        numbers = {name: float(getattr(hp, name)) for name in ("beta1", "beta2", "eps")}
        numbers["decay"] = float(hp.eta * hp.weight_decay_rate)
        if hp.adabound:
            lower, upper = self.bounds
            numbers.update(lower=lower, upper=upper, eta=hp.eta, alpha_t=self.alpha_t)
        else:
            numbers["step_size"] = float(hp.eta * self.alpha_t)
        return numbers

    @property
    def bounds(self):
        """AdaBound's bounds of the step size, which close in on ``final_lr``."""
        if self.t == 0:
            raise RuntimeError(
                "Can't determine the bounds of AdaBound optimizer because the update "
                "steps have not been started."
            )
        hp = self.hyperparam
        final = hp.final_lr * hp.alpha / self.initial_alpha  # a schedule acts on both
        speed = hp.gamma * self.t
        return final * (1 - 1 / (speed + 1)), final * (1 + 1 / speed)


def _bounded(
    p, g, m, v, beta1, beta2, eps, decay, lower, upper, eta, alpha_t, vhat=None
):
    xp = get_array_module(p)
    blend(m, beta1, g)
    blend(v, beta2, g * g)
    if vhat is not None:
        v = xp.maximum(vhat, v, out=vhat)
    if decay:
        p *= 1.0 - decay
    p -= eta * (xp.clip(alpha_t / (v**0.5 + eps), lower, upper) * m)


class Adam(_StepSize, Method):
    """Adam, with decoupled weight decay, AMSGrad and AdaBound as options.

    References
    ----------
    Kingma, Ba, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980.
    """

    rule = AdamRule
    _renamed = "Adam.lr"


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101)."""

    arguments = "alpha beta1 beta2 eps eta weight_decay_rate"


class AMSGrad(Adam):
    """Adam by the largest second moment so far (Reddi, Kale, Kumar, ICLR 2018)."""

    arguments = "alpha beta1 beta2 eps eta"
    fixed = dict(amsgrad=True)


class AdaBound(Adam):
    """Adam whose steps become SGD's (Luo, Xiong, Liu, Sun, ICLR 2019)."""

    arguments = "alpha beta1 beta2 final_lr gamma eps eta"
    fixed = dict(adabound=True)


class AMSBound(Adam):
    """AMSGrad whose steps become SGD's (Luo, Xiong, Liu, Sun, ICLR 2019)."""

    arguments = "alpha beta1 beta2 final_lr gamma eps eta"
    fixed = dict(amsgrad=True, adabound=True)


class MSVAGRule(Rule):
    """Update rule of :class:`MSVAG`."""

    hyperparams = dict(lr=0.1, beta=0.9, eta=1.0, weight_decay_rate=0)
    states = {"m": 0.0, "v": 0.0}

    def __init__(self, parent_hyperparam=None, *args, **kwargs):
        super().__init__(parent_hyperparam, *args, **kwargs)
        self.beta_power = self.hyperparam.beta

    def numbers(self, param):
        return {**super().numbers(param), "power": self.beta_power}

    def update_core_cpu(self, param):
        super().update_core_cpu(param)
        if param.grad is not None:
            self.beta_power *= self.hyperparam.beta

    @staticmethod
    def rule(p, g, m, v, lr, beta, eta, weight_decay_rate, power):
        xp = get_array_module(p)
        rho = (1 - beta) ** 2 * (1 - power**2) / ((1 - power) ** 2 * (1 - beta**2))
        rho = min(rho, 0.9999)
        m += (1 - beta) * (g - m)
        v += (1 - beta) * (g * g - v)
        mean = m / (1 - power)
        variance = (v / (1 - power) - mean**2) / (1 - rho)
        factor = xp.clip(mean**2 / (mean**2 + rho * variance), 0, 1)
        factor = xp.where(xp.isnan(factor), 0, factor)
        p -= eta * (lr * mean * factor + weight_decay_rate * p)


class MSVAG(Method):
    """M-SVAG (Balles and Hennig, ICML 2018)."""

    rule = MSVAGRule
