"""Rules and optimizers whose arguments are declared, not written out.

A rule says ``hyperparams = dict(lr=0.01)`` and ``step(param, gradient, xp)``; an
optimizer names its ``rule``, and has the rule's hyperparameters as arguments, as
attributes and as defaults.
"""

import inspect
from typing import Any

from dyrnn.chainer.optimizer import (
    GradientMethod,
    Hyperparameter,
    HyperparameterProxy,
    UpdateRule,
)


def _signature(defaults):
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature(
        [inspect.Parameter(k, kind, default=v) for k, v in defaults.items()]
    )


class Rule(UpdateRule):
    """An update of each element by itself, the same on every device."""

    is_elementwise = True
    hyperparams: dict[str, Any] = {}
    # Names of the state's arrays, which start as zeros.
    zeros: tuple[str, ...] = ()
    _defaults = Hyperparameter()

    def __init_subclass__(cls):
        if "hyperparams" in vars(cls):
            cls._defaults = Hyperparameter()
            vars(cls._defaults).update(cls.hyperparams)

    def __init__(self, parent_hyperparam=None, *args, **kwargs):
        super().__init__(parent_hyperparam or self._defaults)
        given = _signature(self.hyperparams).bind(*args, **kwargs).arguments
        for name, value in given.items():
            if value is not None:
                setattr(self.hyperparam, name, value)

    def init_state(self, param):
        for name in self.zeros:
            self.state[name] = param.device.xp.zeros_like(param.array)

    def update_core_cpu(self, param):
        gradient = param.grad
        if gradient is not None:
            self.step(param, gradient, param.device.xp)

    def update_core_gpu(self, param):
        self.update_core_cpu(param)

    def step(self, param, gradient, xp):
        """Update ``param.array`` in place."""
        raise NotImplementedError


class Method(GradientMethod):
    """An optimizer with the hyperparameters of its ``rule``.

    ``arguments`` names those that the constructor takes, in order, if not all;
    ``fixed`` has values of others.
    """

    rule: type[Rule] = Rule
    arguments: str = ""
    fixed: dict[str, Any] = {}
    _arguments = inspect.Signature()

    def __init_subclass__(cls):
        if "rule" in vars(cls) or "arguments" in vars(cls):
            defaults = cls.rule.hyperparams
            names = cls.arguments.split() or list(defaults)
            cls._arguments = _signature({name: defaults[name] for name in names})
            cls.__signature__ = cls._arguments
            for name in defaults:
                setattr(cls, name, HyperparameterProxy(name))
        elif "__init__" in vars(cls):
            own = inspect.signature(cls.__init__)
            cls.__signature__ = own.replace(parameters=[*own.parameters.values()][1:])

    def __init__(self, *args, **kwargs):
        super().__init__()
        bound = self._arguments.bind(*args, **kwargs)
        bound.apply_defaults()
        values = {**self.rule.hyperparams, **self.fixed, **bound.arguments}
        vars(self.hyperparam).update(values)

    def create_update_rule(self):
        return self.rule(self.hyperparam)
