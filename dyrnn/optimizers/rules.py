"""Update rules: how a parameter changes, given its gradient.

Each class has its hyperparameters, the arrays it keeps, and the formula, ``rule``. See
:mod:`dyrnn.optimizers.optimizer` for what they share.
"""

import math
from contextlib import contextmanager

from dyrnn.backend import get_array_module
from dyrnn.optimizers.optimizer import Optimizer, working_dtype


class SGD(Optimizer):
    """Stochastic gradient descent: ``p -= lr * g``."""

    ranges = {"lr": math.inf}
    skips_absent_rows = True
    kernel = "SGD"

    def __init__(self, lr=0.01):
        self.lr = lr
        super().__init__()

    def numbers(self, t):
        return (self.lr,)

    def factor(self):
        return self.lr

    def rule(self, p, g, state, t):
        p -= g


class ASGD(SGD):
    """Averaged SGD: as SGD, and keeps the mean of all values since update ``start``.

    Train with the plain values; evaluate, and save the final model, inside
    ``with optimizer.averaged():``. Assign ``optimizer.start = optimizer.t`` to begin
    averaging anew.

    References
    ----------
    Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", SIAM
    Journal on Control and Optimization 30(4), 1992.
    """

    ranges = {"lr": math.inf, "start": math.inf}

    def __init__(self, lr=0.01, start=0):
        self.start = start
        super().__init__(lr)

    @property
    def skips_absent_rows(self):
        return self.t <= self.start

    def init_state(self, param):
        return {"average": param.array.astype(working_dtype(param.dtype))}

    def rule(self, p, g, state, t):
        p -= g
        n = self.t - self.start
        if n > 0:
            average = state["average"]
            average += (p - average) * (1.0 / n)

    @contextmanager
    def averaged(self):
        """Put the averages into the parameters inside the ``with`` block."""
        kept = {}
        if self.t > self.start:
            kept = {param: param.array.copy() for param in self._states}
        try:
            for param in kept:
                param.array[...] = self._states[param]["average"]
            yield
        finally:
            for param, values in kept.items():
                param.array[...] = values


class MomentumSGD(Optimizer):
    """SGD with momentum: ``v = momentum * v - lr * g; p += v``."""

    ranges = {"lr": math.inf, "momentum": 1.0}
    kernel = "MomentumSGD"

    def __init__(self, lr=0.01, momentum=0.9):
        self.lr = lr
        self.momentum = momentum
        super().__init__()

    def numbers(self, t):
        return self.lr, self.momentum

    def init_state(self, param):
        return {"v": _filled(param)}

    def factor(self):
        return self.lr

    def rule(self, p, g, state, t):
        v = state["v"]
        v *= self.momentum
        v -= g
        p += v


class NesterovAG(MomentumSGD):
    """Nesterov's accelerated gradient, taken at the parameters looked ahead.

    ``v = momentum * v - lr * g; p += momentum * v - lr * g``

    References
    ----------
    Bengio, Boulanger-Lewandowski, Pascanu, "Advances in optimizing recurrent networks",
    ICASSP 2013.
    """

    kernel = "NesterovAG"

    def rule(self, p, g, state, t):
        v = state["v"]
        v *= self.momentum
        v -= g
        p += self.momentum * v
        p -= g


class AdaGrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients.

    ``h += g ** 2; p -= lr * g / (sqrt(h) + eps)``

    References
    ----------
    Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 12, 2011.
    """

    ranges = {"lr": math.inf, "eps": math.inf}
    skips_absent_rows = True
    kernel = "AdaGrad"

    def __init__(self, lr=0.001, eps=1e-8):
        self.lr = lr
        self.eps = eps
        super().__init__()

    def numbers(self, t):
        return self.lr, self.eps

    def init_state(self, param):
        return {"h": _filled(param)}

    def rule(self, p, g, state, t):
        h = state["h"]
        h += g * g
        g *= self.lr
        g /= h**0.5 + self.eps
        p -= g


class AdaDelta(Optimizer):
    """Steps in units of earlier steps, without a learning rate.

    References
    ----------
    Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, 2012.
    """

    ranges = {"rho": 1.0, "eps": math.inf}
    kernel = "AdaDelta"

    def __init__(self, rho=0.95, eps=1e-6):
        self.rho = rho
        self.eps = eps
        super().__init__()

    def numbers(self, t):
        return self.rho, self.eps

    def init_state(self, param):
        return {"msg": _filled(param), "msdx": _filled(param)}

    def rule(self, p, g, state, t):
        msg, msdx = state["msg"], state["msdx"]
        _decay(msg, self.rho, g * g)
        g *= ((msdx + self.eps) / (msg + self.eps)) ** 0.5
        _decay(msdx, self.rho, g * g)
        p -= g


class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squared gradients.

    ``ms = alpha * ms + (1 - alpha) * g ** 2; p -= lr * g / (sqrt(ms) + eps)``

    References
    ----------
    Tieleman, Hinton, "Lecture 6.5: rmsprop", Coursera, 2012.
    """

    ranges = {"lr": math.inf, "alpha": 1.0, "eps": math.inf}
    kernel = "RMSprop"

    def __init__(self, lr=0.01, alpha=0.99, eps=1e-8):
        self.lr = lr
        self.alpha = alpha
        self.eps = eps
        super().__init__()

    def numbers(self, t):
        return self.lr, self.alpha, self.eps

    def init_state(self, param):
        return {"ms": _filled(param)}

    def rule(self, p, g, state, t):
        ms = state["ms"]
        _decay(ms, self.alpha, g * g)
        g *= self.lr
        g /= ms**0.5 + self.eps
        p -= g


class RMSpropGraves(Optimizer):
    """RMSprop with the variance of the gradient instead of its square, and momentum.

    References
    ----------
    Graves, "Generating sequences with recurrent neural networks", arXiv:1308.0850,
    2013, equations 38 to 41.
    """

    ranges = {"lr": math.inf, "alpha": 1.0, "momentum": 1.0, "eps": math.inf}
    kernel = "RMSpropGraves"

    def __init__(self, lr=1e-4, alpha=0.95, momentum=0.9, eps=1e-4):
        self.lr = lr
        self.alpha = alpha
        self.momentum = momentum
        self.eps = eps
        super().__init__()

    def numbers(self, t):
        return self.lr, self.alpha, self.momentum, self.eps

    def init_state(self, param):
        return {"n": _filled(param), "g": _filled(param), "delta": _filled(param)}

    def rule(self, p, g, state, t):
        n, mean, delta = state["n"], state["g"], state["delta"]
        _decay(n, self.alpha, g * g)
        _decay(mean, self.alpha, g)
        g *= self.lr
        g /= (n - mean * mean + self.eps) ** 0.5
        delta *= self.momentum
        delta -= g
        p += delta


class Adam(Optimizer):
    """Running means of the gradient and of its square, both corrected for their start.

    ``m += (1 - beta1) * (g - m); v += (1 - beta2) * (g ** 2 - v);``
    ``p -= eta * (alpha_t * m / (sqrt(v) + eps) + weight_decay_rate * p)`` with
    ``alpha_t = alpha * sqrt(1 - beta2 ** t) / (1 - beta1 ** t)``.

    Parameters
    ----------
    alpha : float
        The learning rate; ``optimizer.lr`` is the same number.
    beta1, beta2 : float
        Decay of the two means.
    eps : float
        Added to the uncorrected root, as in the second form of the paper's algorithm.
    eta : float
        A factor of the whole step, for schedules together with weight decay.
    weight_decay_rate : float
        Decay apart from the gradient: AdamW.
    amsgrad : bool
        Divide by the root of the largest ``v`` seen.

    References
    ----------
    Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015. Loshchilov,
    Hutter, "Decoupled weight decay regularization", ICLR 2019. Reddi, Kale, Kumar, "On
    the convergence of Adam and beyond", ICLR 2018.
    """

    ranges = {
        "alpha": math.inf,
        "beta1": 1.0,
        "beta2": 1.0,
        "eps": math.inf,
        "eta": math.inf,
        "weight_decay_rate": math.inf,
    }
    kernel = "Adam"

    def __init__(
        self,
        alpha=0.001,
        beta1=0.9,
        beta2=0.999,
        eps=1e-8,
        eta=1.0,
        weight_decay_rate=0.0,
        amsgrad=False,
    ):
        self.alpha = alpha
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.eta = eta
        self.weight_decay_rate = weight_decay_rate
        self.amsgrad = amsgrad
        super().__init__()

    @property
    def lr(self):
        """The learning rate ``alpha``."""
        return self.alpha

    @lr.setter
    def lr(self, value):
        self.alpha = value

    def step_size(self, t):
        """Return ``eta * alpha_t``."""
        correction = math.sqrt(1.0 - self.beta2**t) / (1.0 - self.beta1**t)
        return self.eta * self.alpha * correction

    def numbers(self, t):
        decay = self.eta * self.weight_decay_rate
        return self.step_size(t), self.beta1, self.beta2, self.eps, decay

    def init_state(self, param):
        state = {"m": _filled(param), "v": _filled(param)}
        if self.amsgrad:
            state["vhat"] = _filled(param)
        return state

    def rule(self, p, g, state, t):
        m, v = state["m"], state["v"]
        _decay(m, self.beta1, g)
        g *= g
        _decay(v, self.beta2, g)
        if self.amsgrad:
            xp = get_array_module(p)
            xp.maximum(state["vhat"], v, out=state["vhat"])
            v = state["vhat"]
        step = v**0.5
        step += self.eps
        step = m / step
        step *= self.step_size(t)
        if self.weight_decay_rate:
            p *= 1.0 - self.eta * self.weight_decay_rate
        p -= step


class AdamW(Adam):
    """Adam with ``weight_decay_rate`` 0.01 by default."""

    kernel = "Adam"

    def __init__(
        self,
        alpha=0.001,
        beta1=0.9,
        beta2=0.999,
        eps=1e-8,
        eta=1.0,
        weight_decay_rate=0.01,
    ):
        super().__init__(alpha, beta1, beta2, eps, eta, weight_decay_rate)


class SMORMS3(Optimizer):
    """A learning rate for each element, by the signal-to-noise ratio of its gradient.

    References
    ----------
    Funk, "RMSprop loses to SMORMS3 - beware the epsilon!", 2015,
    https://sifter.org/simon/journal/20150420.html
    """

    ranges = {"lr": math.inf, "eps": math.inf}
    kernel = "SMORMS3"

    def __init__(self, lr=0.001, eps=1e-16):
        self.lr = lr
        self.eps = eps
        super().__init__()

    def numbers(self, t):
        return self.lr, self.eps

    def init_state(self, param):
        return {"mem": _filled(param, 1.0), "g": _filled(param), "g2": _filled(param)}

    def rule(self, p, g, state, t):
        xp = get_array_module(p)
        memory, mean, square = state["mem"], state["g"], state["g2"]
        r = 1.0 / (memory + 1.0)
        mean += r * (g - mean)
        square += r * (g * g - square)
        x = mean * mean / (square + self.eps)
        g *= xp.minimum(x, self.lr)
        g /= square**0.5 + self.eps
        p -= g
        memory *= 1.0 - x
        memory += 1.0


def _decay(mean, rate, value):
    """Update a running mean in place: ``rate * mean + (1 - rate) * value``."""
    mean *= rate
    mean += (1.0 - rate) * value


def _filled(param, value=0.0):
    xp = param.xp
    return xp.full(param.shape, value, dtype=working_dtype(param.dtype))
