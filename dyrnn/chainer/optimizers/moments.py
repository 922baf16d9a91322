"""Adam and its relatives."""

import math
import warnings

import numpy as np

from dyrnn.chainer.optimizers.declared import Method, Rule


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
    def zeros(self):
        return ("m", "v", "vhat") if self.hyperparam.amsgrad else ("m", "v")

    def step(self, param, gradient, xp):
        hp, array = self.hyperparam, param.array
        # Half precision has no room for squares of small numbers.
        dtype = np.dtype(np.float32 if array.dtype == np.float16 else array.dtype)
        if hp.eps != 0 and dtype.type(hp.eps) == 0:
            raise ValueError(
                f"eps of Adam optimizer is too small for {dtype.name} ({hp.eps})"
            )
        gradient = gradient.astype(dtype, copy=False)
        m, v = self.state["m"], self.state["v"]
        m += (1 - hp.beta1) * (gradient - m)
        v += (1 - hp.beta2) * (gradient * gradient - v)
        vhat = v
        if hp.amsgrad:
            vhat = self.state["vhat"]
            xp.maximum(vhat, v, out=vhat)
        step = self.alpha_t / (xp.sqrt(vhat.astype(dtype, copy=False)) + hp.eps)
        if hp.adabound:
            step = xp.clip(step, *self.bounds)
        if hp.weight_decay_rate:
            array *= 1 - hp.eta * hp.weight_decay_rate
        array -= hp.eta * (step * m)

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
