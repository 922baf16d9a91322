"""Gradient descent, with kinds of momentum."""

from dyrnn.chainer.optimizers.declared import Method, Rule


class SGDRule(Rule):
    """Update rule of :class:`SGD`."""

    hyperparams = dict(lr=0.01)

    def step(self, param, gradient, xp):
        array = param.array
        array -= self.hyperparam.lr * gradient


class SGD(Method):
    """Stochastic gradient descent."""

    rule = SGDRule


class MomentumSGDRule(Rule):
    """Update rule of :class:`MomentumSGD`."""

    hyperparams = dict(lr=0.01, momentum=0.9)
    zeros = ("v",)

    def step(self, param, gradient, xp):
        array, v = param.array, self.state["v"]
        v *= self.hyperparam.momentum
        v -= self.hyperparam.lr * gradient
        array += v


class MomentumSGD(Method):
    """Gradient descent with momentum."""

    rule = MomentumSGDRule


class CorrectedMomentumSGDRule(Rule):
    """Update rule of :class:`CorrectedMomentumSGD`."""

    hyperparams = dict(lr=0.01, momentum=0.9)
    zeros = ("v",)

    def step(self, param, gradient, xp):
        array, v = param.array, self.state["v"]
        v *= self.hyperparam.momentum
        v -= gradient
        array += self.hyperparam.lr * v


class CorrectedMomentumSGD(Method):
    """Momentum that a change of the learning rate acts on at once.

    References
    ----------
    Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour",
    arXiv:1706.02677, section 3.
    """

    rule = CorrectedMomentumSGDRule


class NesterovAGRule(Rule):
    """Update rule of :class:`NesterovAG`."""

    hyperparams = dict(lr=0.01, momentum=0.9)
    zeros = ("v",)

    def step(self, param, gradient, xp):
        array, v = param.array, self.state["v"]
        lr, momentum = self.hyperparam.lr, self.hyperparam.momentum
        v *= momentum
        v -= lr * gradient
        array += momentum * momentum * v
        array -= (1 + momentum) * lr * gradient


class NesterovAG(Method):
    """Nesterov's accelerated gradient.

    References
    ----------
    Bengio, Boulanger-Lewandowski, Pascanu, "Advances in Optimizing Recurrent
    Networks", arXiv:1212.0901.
    """

    rule = NesterovAGRule
