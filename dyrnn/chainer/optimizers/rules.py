"""Gradient descent, with kinds of momentum, and steps by past squared gradients."""

import numpy as np

from dyrnn import optimizers as core
from dyrnn.chainer.optimizers.declared import Method, Rule
from dyrnn.optimizers.rules import blend


class SGDRule(Rule):
    """Update rule of :class:`SGD`."""

    core = core.SGD


class SGD(Method):
    """Stochastic gradient descent."""

    rule = SGDRule


class MomentumSGDRule(Rule):
    """Update rule of :class:`MomentumSGD`."""

    core = core.MomentumSGD


class MomentumSGD(Method):
    """Gradient descent with momentum."""

    rule = MomentumSGDRule


class CorrectedMomentumSGDRule(MomentumSGDRule):
    """Update rule of :class:`CorrectedMomentumSGD`."""

    cuda = "v = momentum * v - g; p += lr * v;"

    @staticmethod
    def rule(p, g, v, lr, momentum):
        v *= momentum
        v -= g
        p += lr * v


class CorrectedMomentumSGD(Method):
    """Momentum that a change of the learning rate acts on at once.

    References
    ----------
    Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour",
    arXiv:1706.02677, section 3.
    """

    rule = CorrectedMomentumSGDRule


class NesterovAGRule(MomentumSGDRule):
    """Update rule of :class:`NesterovAG`: the core's, looking ahead a step farther."""

    cuda = """
        v = momentum * v - lr * g;
        p += momentum * momentum * v - (1 + momentum) * lr * g;"""

    @staticmethod
    def rule(p, g, v, lr, momentum):
        v *= momentum
        v -= lr * g
        core.NesterovAG.rule(p, g, v.copy(), lr, momentum)


class NesterovAG(Method):
    """Nesterov's accelerated gradient.

    References
    ----------
    Bengio, Boulanger-Lewandowski, Pascanu, "Advances in Optimizing Recurrent
    Networks", arXiv:1212.0901.
    """

    rule = NesterovAGRule


class AdaGradRule(Rule):
    """Update rule of :class:`AdaGrad`."""

    core = core.AdaGrad


class AdaGrad(Method):
    """AdaGrad (Duchi, Hazan, Singer, JMLR 12, 2011)."""

    rule = AdaGradRule


class AdaDeltaRule(Rule):
    """Update rule of :class:`AdaDelta`."""

    core = core.AdaDelta


class AdaDelta(Method):
    """Zeiler's AdaDelta (arXiv:1212.5701)."""

    rule = AdaDeltaRule


class RMSpropRule(Rule):
    """Update rule of :class:`RMSprop`."""

    core = core.RMSprop
    hyperparams = dict(lr=0.01, alpha=0.99, eps=1e-8, eps_inside_sqrt=False)
    cuda = None

    @property
    def rule(self):
        is_inside = self.hyperparam.eps_inside_sqrt
        return _eps_inside_sqrt if is_inside else self.core.rule

    def numbers(self, param):
        numbers = super().numbers(param)
        check_eps("RMSprop", numbers["eps"], param.dtype)
        del numbers["eps_inside_sqrt"]
        return numbers


def _eps_inside_sqrt(p, g, ms, lr, alpha, eps):
    blend(ms, alpha, g * g)
    p -= lr * g / (ms + eps) ** 0.5


class RMSprop(Method):
    """RMSprop (Tieleman and Hinton, Coursera lecture 6.5, 2012)."""

    rule = RMSpropRule


class RMSpropGravesRule(Rule):
    """Update rule of :class:`RMSpropGraves`."""

    core = core.RMSpropGraves


class RMSpropGraves(Method):
    """RMSprop by the variance, with momentum (Graves, arXiv:1308.0850)."""

    rule = RMSpropGravesRule


class SMORMS3Rule(Rule):
    """Update rule of :class:`SMORMS3`."""

    core = core.SMORMS3


class SMORMS3(Method):
    """Funk's SMORMS3 (sifter.org/~simon/journal/20150420.html)."""

    rule = SMORMS3Rule


def check_eps(name, eps, dtype):
    """Refuse a number that is 0 in the type it is computed in."""
    dtype = np.dtype(dtype)
    if eps != 0 and dtype.type(eps) == 0:
        raise ValueError(
            f"eps of {name} optimizer is too small for {dtype.name} ({eps})"
        )
