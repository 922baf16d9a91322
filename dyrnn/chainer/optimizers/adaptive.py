"""Step sizes from past squared gradients, one for each element."""

from dyrnn.chainer.optimizers.declared import Method, Rule


class AdaGradRule(Rule):
    """Update rule of :class:`AdaGrad`."""

    hyperparams = dict(lr=0.001, eps=1e-8)
    zeros = ("h",)

    def step(self, param, gradient, xp):
        array, h, hp = param.array, self.state["h"], self.hyperparam
        h += gradient * gradient
        array -= hp.lr * gradient / (xp.sqrt(h) + hp.eps)


class AdaGrad(Method):
    """AdaGrad (Duchi, Hazan, Singer, JMLR 12, 2011)."""

    rule = AdaGradRule


class AdaDeltaRule(Rule):
    """Update rule of :class:`AdaDelta`."""

    hyperparams = dict(rho=0.95, eps=1e-6)
    zeros = ("msg", "msdx")

    def step(self, param, gradient, xp):
        array, hp = param.array, self.hyperparam
        msg, msdx = self.state["msg"], self.state["msdx"]
        msg *= hp.rho
        msg += (1 - hp.rho) * gradient * gradient
        dx = xp.sqrt((msdx + hp.eps) / (msg + hp.eps)) * gradient
        msdx *= hp.rho
        msdx += (1 - hp.rho) * dx * dx
        array -= dx


class AdaDelta(Method):
    """Zeiler's AdaDelta (arXiv:1212.5701)."""

    rule = AdaDeltaRule


class RMSpropRule(Rule):
    """Update rule of :class:`RMSprop`."""

    hyperparams = dict(lr=0.01, alpha=0.99, eps=1e-8, eps_inside_sqrt=False)
    zeros = ("ms",)

    def step(self, param, gradient, xp):
        array, ms, hp = param.array, self.state["ms"], self.hyperparam
        eps = gradient.dtype.type(hp.eps)
        if hp.eps != 0 and eps == 0:
            raise ValueError(
                f"eps of RMSprop optimizer is too small for {gradient.dtype.name} "
                f"({hp.eps})"
            )
        ms *= hp.alpha
        ms += (1 - hp.alpha) * gradient * gradient
        divisor = xp.sqrt(ms + eps) if hp.eps_inside_sqrt else xp.sqrt(ms) + eps
        array -= hp.lr * gradient / divisor


class RMSprop(Method):
    """RMSprop (Tieleman and Hinton, Coursera lecture 6.5, 2012)."""

    rule = RMSpropRule


class RMSpropGravesRule(Rule):
    """Update rule of :class:`RMSpropGraves`."""

    hyperparams = dict(lr=1e-4, alpha=0.95, momentum=0.9, eps=1e-4)
    zeros = ("n", "g", "delta")

    def step(self, param, gradient, xp):
        array, hp = param.array, self.hyperparam
        n, g, delta = (self.state[name] for name in self.zeros)
        n *= hp.alpha
        n += (1 - hp.alpha) * gradient * gradient
        g *= hp.alpha
        g += (1 - hp.alpha) * gradient
        delta *= hp.momentum
        delta -= hp.lr * gradient / xp.sqrt(n - g * g + hp.eps)
        array += delta


class RMSpropGraves(Method):
    """RMSprop by the variance, with momentum (Graves, arXiv:1308.0850)."""

    rule = RMSpropGravesRule


class SMORMS3Rule(Rule):
    """Update rule of :class:`SMORMS3`."""

    hyperparams = dict(lr=0.001, eps=1e-16)
    zeros = ("g", "g2")

    def init_state(self, param):
        self.state["mem"] = param.device.xp.ones_like(param.array)
        super().init_state(param)

    def step(self, param, gradient, xp):
        array, state, hp = param.array, self.state, self.hyperparam
        r = 1 / (state["mem"] + 1)
        state["g"] = g = (1 - r) * state["g"] + r * gradient
        state["g2"] = g2 = (1 - r) * state["g2"] + r * gradient * gradient
        x = g * g / (g2 + hp.eps)
        array -= gradient * xp.minimum(x, hp.lr) / (xp.sqrt(g2) + hp.eps)
        state["mem"] = 1 + state["mem"] * (1 - x)


class SMORMS3(Method):
    """Funk's SMORMS3 (sifter.org/~simon/journal/20150420.html)."""

    rule = SMORMS3Rule


class MSVAGRule(Rule):
    """Update rule of :class:`MSVAG`."""

    hyperparams = dict(lr=0.1, beta=0.9, eta=1.0, weight_decay_rate=0)
    zeros = ("m", "v")

    def __init__(self, parent_hyperparam=None, *args, **kwargs):
        super().__init__(parent_hyperparam, *args, **kwargs)
        self.beta_power = self.hyperparam.beta

    def step(self, param, gradient, xp):
        array, hp = param.array, self.hyperparam
        m, v = self.state["m"], self.state["v"]
        beta, power = hp.beta, self.beta_power
        rho = (1 - beta) ** 2 * (1 - power**2) / ((1 - power) ** 2 * (1 - beta**2))
        rho = min(rho, 0.9999)
        m += (1 - beta) * (gradient - m)
        v += (1 - beta) * (gradient * gradient - v)
        mean = m / (1 - power)
        variance = (v / (1 - power) - mean**2) / (1 - rho)
        factor = xp.clip(mean**2 / (mean**2 + rho * variance), 0, 1)
        factor = xp.where(xp.isnan(factor), 0, factor)
        array -= hp.eta * (hp.lr * mean * factor + hp.weight_decay_rate * array)
        self.beta_power *= beta


class MSVAG(Method):
    """M-SVAG (Balles and Hennig, ICML 2018)."""

    rule = MSVAGRule
