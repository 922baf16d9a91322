"""Hyperparameters that change during training, such as the learning rate.

A shift counts how often it was called, and sets an attribute of the optimizer to a
function of that count; so its trigger says what a step is. It sets the value when
training begins, too; after a resume, the optimizer has its own value back.
"""

from __future__ import annotations

from dyrnn.training import Extension
from dyrnn.training.triggers import Monitor, better, is_improvement

__all__ = [
    "ExponentialShift",
    "InverseShift",
    "LinearShift",
    "MultistepShift",
    "PolynomialShift",
    "ReduceOnPlateau",
    "StepShift",
    "WarmupShift",
]


class _Shift(Extension):
    """Sets ``attr`` of the optimizer to ``value(t)``, t being the number of calls."""

    def __init__(self, attr, init=None, target=None, optimizer=None):
        self.attr = attr
        self.init = init
        self.target = target
        self.optimizer = optimizer
        self.t = 0
        self._has_begun = False

    def value(self, t):
        """The value after ``t`` calls, from ``self.init`` on."""
        raise NotImplementedError(f"{type(self).__name__} must define value(self, t)")

    def initialize(self, trainer):
        if not (self._has_begun and _is_restored(self, trainer)):
            self._set(trainer)
        self._has_begun = True

    def __call__(self, trainer):
        self.t += 1
        self._set(trainer)

    def _set(self, trainer):
        optimizer = _optimizer(self, trainer)
        if self.init is None:
            self.init = _attribute(self, optimizer)
        setattr(optimizer, self.attr, self._bounded(self.value(self.t)))

    def _bounded(self, value):
        if self.target is None:
            return value
        # The target bounds the value from the side it moves to.
        falls = self.target < self.init
        return max(value, self.target) if falls else min(value, self.target)

    def serialize(self, s):
        """Save or load the number of calls and the first value."""
        self._has_begun = s("has_begun", self._has_begun)
        self.t = s("t", self.t)
        self.init = s("init", self.init)


def _optimizer(extension, trainer):
    return extension.optimizer or trainer.updater.get_optimizer("main")


def _is_restored(extension, trainer):
    """Whether a snapshot holds the hyperparameter itself.

    Then a resume must leave it alone: another shift may have set it since.
    """
    optimizer = _optimizer(extension, trainer)
    known = trainer.updater.get_all_optimizers().values()
    is_alias = isinstance(getattr(type(optimizer), extension.attr, None), property)
    is_saved = extension.attr in optimizer.ranges or is_alias
    return is_saved and any(optimizer is each for each in known)


def _attribute(extension, optimizer):
    if not hasattr(optimizer, extension.attr):
        numbers = sorted(
            name
            for name, value in vars(optimizer).items()
            if isinstance(value, float) and not name.startswith("_")
        )
        raise AttributeError(
            f"{type(extension).__name__}: {type(optimizer).__name__} has no "
            f"{extension.attr!r} to change; it has: {', '.join(numbers)}"
        )
    return getattr(optimizer, extension.attr)


class ExponentialShift(_Shift):
    """``init * rate**t``, up or down to ``target`` if there is one.

    Parameters
    ----------
    attr : str
        Name of the hyperparameter, such as ``"lr"``.
    rate : float
        Positive.
    init : float, optional
        By default the optimizer's value when training begins.
    target : float, optional
        The value stops there.
    optimizer : optimizer, optional
        By default the updater's main one.
    """

    def __init__(self, attr, rate, init=None, target=None, optimizer=None):
        if rate <= 0:
            raise ValueError(f"ExponentialShift: rate must be positive, got {rate}")
        super().__init__(attr, init, target, optimizer)
        self.rate = rate

    def value(self, t):
        return self.init * self.rate**t


class LinearShift(_Shift):
    """From the first value to the second, in equal steps within a range of calls.

    Parameters
    ----------
    attr : str
    value_range : (float, float)
    time_range : (int, int)
        Calls between which the value moves; before and after it stays.
    optimizer : optimizer, optional
    """

    def __init__(self, attr, value_range, time_range, optimizer=None):
        if not time_range[0] < time_range[1]:
            raise ValueError(
                f"LinearShift: time_range must be two rising numbers, got {time_range}"
            )
        super().__init__(attr, value_range[0], None, optimizer)
        self.value_range = value_range
        self.time_range = time_range

    def value(self, t):
        (first, last), (start, stop) = self.value_range, self.time_range
        rate = min(max((t - start) / (stop - start), 0.0), 1.0)
        return first + rate * (last - first)


class StepShift(_Shift):
    """``init * gamma**(t // step)``.

    Parameters
    ----------
    attr : str
    gamma : float
    step : int
        Calls from one change to the next.
    init, target : float, optional
    optimizer : optimizer, optional
    """

    def __init__(self, attr, gamma, step, init=None, target=None, optimizer=None):
        if step < 1:
            raise ValueError(f"StepShift: step must be at least 1, got {step}")
        super().__init__(attr, init, target, optimizer)
        self.gamma = gamma
        self.step = step

    def value(self, t):
        return self.init * self.gamma ** (t // self.step)


class MultistepShift(_Shift):
    """``init * gamma**n``, n being how many of the given steps are behind.

    Parameters
    ----------
    attr : str
    gamma : float
    step_value : sequence of int
        Numbers of calls at which the value changes.
    init : float, optional
    optimizer : optimizer, optional
    """

    def __init__(self, attr, gamma, step_value, init=None, optimizer=None):
        super().__init__(attr, init, None, optimizer)
        self.gamma = gamma
        self.step_value = tuple(step_value)

    def value(self, t):
        return self.init * self.gamma ** sum(t >= step for step in self.step_value)


class PolynomialShift(_Shift):
    """``init * (1 - t / max_count)**rate``: falls to zero, and stays there.

    Parameters
    ----------
    attr : str
    rate : float
        Exponent; 1 falls in a straight line.
    max_count : int
        Calls until zero.
    init, target : float, optional
    optimizer : optimizer, optional
    """

    def __init__(self, attr, rate, max_count, init=None, target=None, optimizer=None):
        if max_count < 1:
            raise ValueError(
                f"PolynomialShift: max_count must be at least 1, got {max_count}"
            )
        super().__init__(attr, init, target, optimizer)
        self.rate = rate
        self.max_count = max_count

    def value(self, t):
        return self.init * max(1 - t / self.max_count, 0.0) ** self.rate


class InverseShift(_Shift):
    """``init / (1 + gamma * t)**power``.

    Parameters
    ----------
    attr : str
    gamma, power : float
    init, target : float, optional
    optimizer : optimizer, optional
    """

    def __init__(self, attr, gamma, power, init=None, target=None, optimizer=None):
        super().__init__(attr, init, target, optimizer)
        self.gamma = gamma
        self.power = power

    def value(self, t):
        return self.init * (1 + self.gamma * t) ** -self.power


class WarmupShift(_Shift):
    """From ``warmup_start`` to ``init`` in ``warmup_iter`` equal steps.

    Parameters
    ----------
    attr : str
    warmup_start : float
    warmup_iter : int
    init : float, optional
        By default the optimizer's value when training begins.
    optimizer : optimizer, optional
    """

    def __init__(self, attr, warmup_start, warmup_iter, init=None, optimizer=None):
        if warmup_iter < 1:
            raise ValueError(
                f"WarmupShift: warmup_iter must be at least 1, got {warmup_iter}"
            )
        super().__init__(attr, init, None, optimizer)
        self.warmup_start = warmup_start
        self.warmup_iter = warmup_iter

    def value(self, t):
        rate = min(t / self.warmup_iter, 1.0)
        return self.warmup_start + rate * (self.init - self.warmup_start)


class ReduceOnPlateau(Extension):
    """Multiplies a hyperparameter by ``factor`` when a value stops improving.

    Parameters
    ----------
    attr : str
        Name of the hyperparameter, such as ``"lr"``.
    factor : float
        Between 0 and 1.
    monitor : str
        Name of the observed value.
    patience : int
        So many looks in a row without a new best are borne.
    mode : {"auto", "min", "max"}
        Which values are better; ``"auto"`` takes higher ones for names with
        ``accuracy`` in them.
    min_value : float
        The hyperparameter does not fall below.
    check_trigger : trigger
        When the value is looked at; the extension itself runs at every iteration.
    optimizer : optimizer, optional
        By default the updater's main one.
    """

    def __init__(
        self,
        attr,
        factor=0.5,
        monitor="validation/main/loss",
        patience=0,
        mode="auto",
        min_value=0.0,
        check_trigger=(1, "epoch"),
        optimizer=None,
    ):
        if not 0 < factor < 1:
            raise ValueError(
                f"ReduceOnPlateau: factor must be between 0 and 1, got {factor}"
            )
        self.attr = attr
        self.factor = factor
        self.patience = patience
        self.min_value = min_value
        self.optimizer = optimizer
        self.better = better(mode, monitor)
        self.best_value = None
        self.count = 0
        self.current = None
        self._monitor = Monitor("ReduceOnPlateau", monitor, check_trigger)

    def initialize(self, trainer):
        optimizer = _optimizer(self, trainer)
        if self.current is None:
            self.current = _attribute(self, optimizer)
        elif not _is_restored(self, trainer):
            setattr(optimizer, self.attr, self.current)

    def __call__(self, trainer):
        value = self._monitor(trainer)
        if value is None:
            return
        if is_improvement(self.better, value, self.best_value):
            self.best_value, self.count = value, 0
            return
        self.count += 1
        if self.count > self.patience:
            self.count = 0
            optimizer = _optimizer(self, trainer)
            value = getattr(optimizer, self.attr) * self.factor
            self.current = max(value, self.min_value)
            setattr(optimizer, self.attr, self.current)

    def serialize(self, s):
        """Save or load the best value, the count, and the hyperparameter's value."""
        self.best_value = s("best_value", self.best_value)
        self.count = s("count", self.count)
        self.current = s("current", self.current)
        self._monitor.serialize(s["monitor"])
