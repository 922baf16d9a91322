"""Update rules: how a parameter changes, given its gradient.

A class has its hyperparameters as fields, the arrays it keeps as ``states``, by name
with their first values, and the formula twice: ``rule`` on a block of an array, and
``cuda`` for one element of it. Both call hyperparameters and states by their names. See
:mod:`dyrnn.optimizers.optimizer` for what the rules share.
"""

import math
from contextlib import contextmanager
from dataclasses import dataclass

from dyrnn.backend import get_array_module
from dyrnn.optimizers.optimizer import Optimizer, share


@dataclass(eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent: ``p -= lr * g``."""

    lr: float = 0.01

    skips_absent_rows = True
    is_linear = True
    cuda = "p -= lr * g;"

    @staticmethod
    def rule(p, g, lr):
        p -= lr * g


@dataclass(eq=False)
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

    start: float = 0.0

    states = {"average": lambda p: p}

    @property
    def skips_absent_rows(self):
        return self.t <= self.start

    def numbers(self, t):
        return {"lr": self.lr, "count": self.t - self.start}

    @staticmethod
    def rule(p, g, average, lr, count):
        p -= lr * g
        if count > 0:
            average += (p - average) * (1.0 / count)

    @contextmanager
    def averaged(self):
        """Put the averages into the parameters inside the ``with`` block."""
        kept = {}
        if self.t > self.start:
            kept = {param: param.array.copy() for param in self._states}
        try:
            for param in kept:
                param.array[...] = self._states[param].arrays["average"]
            yield
        finally:
            for param, values in kept.items():
                param.array[...] = values


@dataclass(eq=False)
class MomentumSGD(Optimizer):
    """SGD with momentum: ``v = momentum * v - lr * g; p += v``."""

    lr: float = 0.01
    momentum: float = share(0.9)

    states = {"v": 0.0}
    is_linear = True
    cuda = "v = momentum * v - lr * g; p += v;"

    @staticmethod
    def rule(p, g, v, lr, momentum):
        v *= momentum
        v -= lr * g
        p += v


@dataclass(eq=False)
class NesterovAG(MomentumSGD):
    """Nesterov's accelerated gradient, taken at the parameters looked ahead.

    ``v = momentum * v - lr * g; p += momentum * v - lr * g``

    References
    ----------
    Bengio, Boulanger-Lewandowski, Pascanu, "Advances in optimizing recurrent networks",
    ICASSP 2013.
    """

    cuda = "v = momentum * v - lr * g; p += momentum * v - lr * g;"

    @staticmethod
    def rule(p, g, v, lr, momentum):
        step = lr * g
        v *= momentum
        v -= step
        p += momentum * v
        p -= step


@dataclass(eq=False)
class AdaGrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients.

    ``h += g ** 2; p -= lr * g / (sqrt(h) + eps)``

    References
    ----------
    Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 12, 2011.
    """

    lr: float = 0.001
    eps: float = 1e-8

    states = {"h": 0.0}
    skips_absent_rows = True
    cuda = "h += g * g; p -= lr * g / (sqrt(h) + eps);"

    @staticmethod
    def rule(p, g, h, lr, eps):
        h += g * g
        p -= lr * g / (h**0.5 + eps)


@dataclass(eq=False)
class AdaDelta(Optimizer):
    """Steps in units of earlier steps, without a learning rate.

    References
    ----------
    Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, 2012.
    """

    rho: float = share(0.95)
    eps: float = 1e-6

    states = {"msg": 0.0, "msdx": 0.0}
    cuda = """
        msg = rho * msg + (1 - rho) * g * g;
        A dx = g * sqrt((msdx + eps) / (msg + eps));
        msdx = rho * msdx + (1 - rho) * dx * dx;
        p -= dx;"""

    @staticmethod
    def rule(p, g, msg, msdx, rho, eps):
        blend(msg, rho, g * g)
        dx = g * ((msdx + eps) / (msg + eps)) ** 0.5
        blend(msdx, rho, dx * dx)
        p -= dx


@dataclass(eq=False)
class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squared gradients.

    ``ms = alpha * ms + (1 - alpha) * g ** 2; p -= lr * g / (sqrt(ms) + eps)``

    References
    ----------
    Tieleman, Hinton, "Lecture 6.5: rmsprop", Coursera, 2012.
    """

    lr: float = 0.01
    alpha: float = share(0.99)
    eps: float = 1e-8

    states = {"ms": 0.0}
    cuda = "ms = alpha * ms + (1 - alpha) * g * g; p -= lr * g / (sqrt(ms) + eps);"

    @staticmethod
    def rule(p, g, ms, lr, alpha, eps):
        blend(ms, alpha, g * g)
        p -= lr * g / (ms**0.5 + eps)


@dataclass(eq=False)
class RMSpropGraves(Optimizer):
    """RMSprop with the variance of the gradient instead of its square, and momentum.

    References
    ----------
    Graves, "Generating sequences with recurrent neural networks", arXiv:1308.0850,
    2013, equations 38 to 41.
    """

    lr: float = 1e-4
    alpha: float = share(0.95)
    momentum: float = share(0.9)
    eps: float = 1e-4

    states = {"n": 0.0, "mean": 0.0, "delta": 0.0}
    names_in_files = {"mean": "g"}
    cuda = """
        n = alpha * n + (1 - alpha) * g * g;
        mean = alpha * mean + (1 - alpha) * g;
        A variance = n - mean * mean;
        delta = momentum * delta - lr * g / sqrt((variance > 0 ? variance : 0) + eps);
        p += delta;"""

    @staticmethod
    def rule(p, g, n, mean, delta, lr, alpha, momentum, eps):
        blend(n, alpha, g * g)
        blend(mean, alpha, g)
        delta *= momentum
        # Of equal gradients the variance is 0, and may round below.
        variance = get_array_module(p).maximum(n - mean * mean, 0)
        delta -= lr * g / (variance + eps) ** 0.5
        p += delta


@dataclass(eq=False)
class RMSpropNesterov(Optimizer):
    """RMSprop by the variance of the gradient, not below a floor, looking ahead.

    ``v = momentum * v - lr * r; p += momentum * v - lr * r``, where
    ``r = g / sqrt(max(n - mean ** 2, eps ** 2))``, ``n`` and ``mean`` being running
    means of ``g ** 2`` and ``g``. Programs for Theano use it together with
    :class:`~dyrnn.optimizers.hooks.GradientRescaling`.

    References
    ----------
    Graves, arXiv:1308.0850, 2013, for the variance; Bengio, Boulanger-Lewandowski,
    Pascanu, "Advances in optimizing recurrent networks", ICASSP 2013, for the momentum.
    """

    lr: float = 0.001
    alpha: float = share(0.9)
    momentum: float = share(0.5)
    eps: float = 1e-4

    states = {"n": 0.0, "mean": 0.0, "v": 0.0}
    cuda = None  # its steps divide by small differences: one order of rounding for all

    @staticmethod
    def rule(p, g, n, mean, v, lr, alpha, momentum, eps):
        blend(n, alpha, g * g)
        blend(mean, alpha, g)
        variance = get_array_module(p).maximum(n - mean * mean, eps * eps)
        r = g / variance**0.5
        p -= lr * (1.0 + momentum) * r
        p += momentum * momentum * v
        v *= momentum
        v -= lr * r


@dataclass(eq=False)
class Rprop(Optimizer):
    """Steps of each element's own size, by the sign of its gradient only.

    A step grows while the sign stays and shrinks where it changes; there, the element
    waits for one update. For gradients of the whole data, not of batches. ``lr`` is the
    first step.

    References
    ----------
    Riedmiller, Braun, "A direct adaptive method for faster backpropagation learning:
    the RPROP algorithm", ICNN 1993; Igel, Hüsken, "Improving the Rprop learning
    algorithm", NC 2000: iRprop-.
    """

    lr: float = 0.01
    shrink: float = share(0.5)
    grow: float = 1.2
    min_step: float = 1e-6
    max_step: float = 50.0

    cuda = """
        int change = ((g > 0) - (g < 0)) * ((previous > 0) - (previous < 0));
        A factor = change > 0 ? grow : change < 0 ? shrink : (A)1;
        step *= factor;
        step = step < min_step ? min_step : step > max_step ? max_step : step;
        previous = change < 0 ? (A)0 : g;
        p -= previous > 0 ? step : previous < 0 ? -step : (A)0;"""

    @property
    def states(self):
        return {"step": self.lr, "previous": 0.0}

    def numbers(self, t):
        names = ("shrink", "grow", "min_step", "max_step")
        return {name: getattr(self, name) for name in names}

    @staticmethod
    def rule(p, g, step, previous, shrink, grow, min_step, max_step):
        xp = get_array_module(p)
        change = xp.sign(g) * xp.sign(previous)
        step *= xp.where(change > 0, grow, xp.where(change < 0, shrink, 1.0))
        xp.clip(step, min_step, max_step, out=step)
        previous[...] = xp.where(change < 0, 0.0, g)
        p -= xp.sign(previous) * step


@dataclass(eq=False)
class Adam(Optimizer):
    """Running means of the gradient and of its square, both corrected for their start.

    ``m += (1 - beta1) * (g - m); v += (1 - beta2) * (g ** 2 - v);``
    ``p -= eta * (lr_t * m / (sqrt(v) + eps) + weight_decay_rate * p)`` with
    ``lr_t = lr * sqrt(1 - beta2 ** t) / (1 - beta1 ** t)``.

    Parameters
    ----------
    lr : float
        The learning rate.
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

    lr: float = 0.001
    beta1: float = share(0.9)
    beta2: float = share(0.999)
    eps: float = 1e-8
    eta: float = 1.0
    weight_decay_rate: float = 0.0
    amsgrad: bool = False

    names_in_files = {"lr": "alpha"}

    def _refuse_alpha(self, *value):
        raise AttributeError(
            f"{type(self).__name__} calls its learning rate lr, not alpha"
        )

    # Assigned as an attribute that nothing reads, it would change nothing.
    alpha = property(_refuse_alpha, _refuse_alpha)

    @property
    def states(self):
        return dict.fromkeys(("m", "v", "vhat") if self.amsgrad else ("m", "v"), 0.0)

    def numbers(self, t):
        correction = math.sqrt(1.0 - self.beta2**t) / (1.0 - self.beta1**t)
        return {
            "step_size": self.eta * self.lr * correction,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "eps": self.eps,
            "decay": self.eta * self.weight_decay_rate,
        }

    @property
    def cuda(self):
        largest = "vhat = vhat > v ? vhat : v" if self.amsgrad else "A vhat = v"
        return f"""
            m = beta1 * m + (1 - beta1) * g;
            v = beta2 * v + (1 - beta2) * g * g;
            {largest};
            p = p * (1 - decay) - step_size * m / (sqrt(vhat) + eps);"""

    @staticmethod
    def rule(p, g, m, v, step_size, beta1, beta2, eps, decay, vhat=None):
        blend(m, beta1, g)
        blend(v, beta2, g * g)
        if vhat is not None:
            v = get_array_module(p).maximum(vhat, v, out=vhat)
        if decay:
            p *= 1.0 - decay
        p -= step_size * (m / (v**0.5 + eps))


@dataclass(eq=False)
class AdamW(Adam):
    """Adam with ``weight_decay_rate`` 0.01 by default."""

    weight_decay_rate: float = 0.01


@dataclass(eq=False)
class SMORMS3(Optimizer):
    """A learning rate for each element, by the signal-to-noise ratio of its gradient.

    References
    ----------
    Funk, "RMSprop loses to SMORMS3 - beware the epsilon!", 2015,
    https://sifter.org/simon/journal/20150420.html
    """

    lr: float = 0.001
    eps: float = 1e-16

    states = {"memory": 1.0, "mean": 0.0, "square": 0.0}
    names_in_files = {"memory": "mem", "mean": "g", "square": "g2"}
    cuda = """
        A r = 1 / (memory + 1);
        mean += r * (g - mean);
        square += r * (g * g - square);
        A x = mean * mean / (square + eps);
        p -= g * (x < lr ? x : lr) / (sqrt(square) + eps);
        memory = memory * (1 - x) + 1;"""

    @staticmethod
    def rule(p, g, memory, mean, square, lr, eps):
        r = 1.0 / (memory + 1.0)
        mean += r * (g - mean)
        square += r * (g * g - square)
        x = mean * mean / (square + eps)
        p -= g * get_array_module(p).minimum(x, lr) / (square**0.5 + eps)
        memory *= 1.0 - x
        memory += 1.0


def blend(mean, rate, value):
    """Update a running mean in place: ``rate * mean + (1 - rate) * value``."""
    mean *= rate
    mean += (1.0 - rate) * value
