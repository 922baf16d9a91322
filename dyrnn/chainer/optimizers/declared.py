"""Rules and optimizers whose arguments are declared, not written out.

A rule takes its formula, its states and, as far as they are not named otherwise, its
hyperparameters from the core's optimizer of the name; an optimizer has its ``rule``'s
hyperparameters as arguments, as attributes and as defaults.
"""

import dataclasses
import inspect
from typing import Any

from dyrnn import kernels, optimizers
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
    """An update of each element by itself, the same on every device.

    A subclass names the ``core``'s optimizer, or has a formula of its own:
    ``rule(p, g, **states, **numbers)``, as there.
    """

    is_elementwise = True
    core: Any = optimizers.Optimizer
    hyperparams: dict[str, Any] = {}
    states: Any = {}
    rule: Any = None
    cuda: Any = None
    _defaults = Hyperparameter()

    def __init_subclass__(cls):
        own = vars(cls)
        if "core" in own:
            fields = dataclasses.fields(cls.core)
            inherited = {
                "hyperparams": {each.name: each.default for each in fields},
                "states": cls.core.states,
                "rule": staticmethod(cls.core.rule),
                "cuda": cls.core.cuda,
            }
            for name, value in inherited.items():
                if name not in own:
                    setattr(cls, name, value)
        if "hyperparams" in vars(cls):
            cls._defaults = Hyperparameter()
            vars(cls._defaults).update(cls.hyperparams)

    def __init__(self, parent_hyperparam=None, *args, **kwargs):
        super().__init__(parent_hyperparam or self._defaults)
        given = _signature(self.hyperparams).bind(*args, **kwargs).arguments
        for name, value in given.items():
            if value is not None:
                setattr(self.hyperparam, name, value)

    def _key(self, name):
        """Return Chainer's name of a state."""
        return self.core.names_in_files.get(name, name)

    def init_state(self, param):
        for name, first in self.states.items():
            array = param.device.xp.full_like(param.array, first)
            self.state[self._key(name)] = array

    def numbers(self, param):
        """Return what the formula needs, by name."""
        return {
            name: float(getattr(self.hyperparam, name)) for name in self.hyperparams
        }

    def update_core_cpu(self, param):
        gradient = param.grad
        if gradient is not None:
            states = {name: self.state[self._key(name)] for name in self.states}
            items = [(param.array, gradient, states)]
            kernels.update(self, self.numbers(param), 1.0, items)

    def update_core_gpu(self, param):
        self.update_core_cpu(param)


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
