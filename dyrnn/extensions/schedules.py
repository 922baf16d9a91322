"""Hyperparameters that change during training, such as the learning rate.

A shift counts how often it was called, and sets an attribute of the optimizer to a
function of that count; so its trigger says what a step is. It sets the value when
training begins, too; after a resume, the optimizer has its own value back.
"""

from __future__ import annotations

from dataclasses import dataclass

from dyrnn.optimizers.optimizer import Optimizer
from dyrnn.training import Extension
from dyrnn.training.triggers import Patience
from dyrnn.typing import TriggerLike


class Shift(Extension):
    """Sets ``attr`` of the optimizer to ``value(t)``, t being the number of calls.

    Parameters
    ----------
    attr : str
        Name of the hyperparameter, such as ``"lr"``.
    init : float, optional
        By default the optimizer's value when training begins.
    target : float, optional
        Where the value stops.
    optimizer : optimizer, optional
        By default the updater's main one.
    """

    target = None  # of those that take none

    def __init__(
        self,
        attr: str,
        init: float | None = None,
        target: float | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        self.attr = attr
        self.init = init
        self.target = target
        self.optimizer = optimizer
        self.__post_init__()

    def __post_init__(self):
        self.t = 0
        self._has_begun = False

    def value(self, t):
        """The value after ``t`` calls, from ``self.init`` on."""
        raise NotImplementedError(f"{type(self).__name__} must define value(self, t)")

    def bounded(self, t):
        """The value after ``t`` calls, not beyond the target."""
        value = self.value(t)
        if self.target is None:
            return value
        # The target bounds the value from the side it moves to.
        falls = self.target < self.init
        return max(value, self.target) if falls else min(value, self.target)

    def initialize(self, trainer):
        if not (self._has_begun and _is_restored(self, trainer)):
            self._set(trainer)
        self._has_begun = True

    def __call__(self, trainer):
        self.t += 1
        self._set(trainer)

    def _set(self, trainer):
        optimizer = _optimizer(self, trainer)
        present = _attribute(self, optimizer)
        if self.init is None:
            self.init = present
        setattr(optimizer, self.attr, self.bounded(self.t))

    def _require(self, condition, what, given):
        if not condition:
            raise ValueError(f"{type(self).__name__}: {what}, got {given}")

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
    is_saved = extension.attr in optimizer.ranges
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


@dataclass(eq=False)
class ExponentialShift(Shift):
    """``init * rate**t``, up or down to ``target`` if there is one."""

    attr: str
    rate: float
    init: float | None = None
    target: float | None = None
    optimizer: Optimizer | None = None

    def __post_init__(self):
        super().__post_init__()
        self._require(self.rate > 0, "rate must be positive", self.rate)

    def value(self, t):
        return self.init * self.rate**t


@dataclass(eq=False)
class LinearShift(Shift):
    """From the first of ``value_range`` to the second, in equal steps.

    ``time_range`` are the numbers of calls between which the value moves; before and
    after it stays.
    """

    attr: str
    value_range: tuple[float, float]
    time_range: tuple[int, int]
    optimizer: Optimizer | None = None

    def __post_init__(self):
        super().__post_init__()
        self.init = self.value_range[0]
        start, stop = self.time_range
        self._require(
            start < stop, "time_range must be two rising numbers", self.time_range
        )

    def value(self, t):
        (first, last), (start, stop) = self.value_range, self.time_range
        rate = min(max((t - start) / (stop - start), 0.0), 1.0)
        return first + rate * (last - first)


@dataclass(eq=False)
class StepShift(Shift):
    """``init * gamma**(t // step)``, up or down to ``target`` if there is one."""

    attr: str
    gamma: float
    step: int
    init: float | None = None
    target: float | None = None
    optimizer: Optimizer | None = None

    def __post_init__(self):
        super().__post_init__()
        self._require(self.step >= 1, "step must be at least 1", self.step)

    def value(self, t):
        return self.init * self.gamma ** (t // self.step)


@dataclass(eq=False)
class MultistepShift(Shift):
    """``init * gamma**n``, n of the numbers of calls in ``step_value`` being behind."""

    attr: str
    gamma: float
    step_value: list[int]
    init: float | None = None
    optimizer: Optimizer | None = None

    def value(self, t):
        return self.init * self.gamma ** sum(t >= step for step in self.step_value)


@dataclass(eq=False)
class PolynomialShift(Shift):
    """``init * (1 - t / max_count)**rate``: falls to zero, and stays there."""

    attr: str
    rate: float
    max_count: int
    init: float | None = None
    target: float | None = None
    optimizer: Optimizer | None = None

    def __post_init__(self):
        super().__post_init__()
        self._require(
            self.max_count >= 1, "max_count must be at least 1", self.max_count
        )

    def value(self, t):
        return self.init * max(1 - t / self.max_count, 0.0) ** self.rate


@dataclass(eq=False)
class InverseShift(Shift):
    """``init / (1 + gamma * t)**power``, up or down to ``target`` if there is one."""

    attr: str
    gamma: float
    power: float
    init: float | None = None
    target: float | None = None
    optimizer: Optimizer | None = None

    def value(self, t):
        return self.init * (1 + self.gamma * t) ** -self.power


@dataclass(eq=False)
class WarmupShift(Shift):
    """From ``warmup_start`` to ``init`` in ``warmup_iter`` equal steps."""

    attr: str
    warmup_start: float
    warmup_iter: int
    init: float | None = None
    optimizer: Optimizer | None = None

    def __post_init__(self):
        super().__post_init__()
        self._require(
            self.warmup_iter >= 1, "warmup_iter must be at least 1", self.warmup_iter
        )

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
        How many checks in a row may pass without a new best.
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
        attr: str,
        factor: float = 0.5,
        monitor: str = "validation/main/loss",
        patience: int = 0,
        mode: str = "auto",
        min_value: float = 0.0,
        check_trigger: TriggerLike = (1, "epoch"),
        optimizer: Optimizer | None = None,
    ) -> None:
        if not 0 < factor < 1:
            raise ValueError(
                f"ReduceOnPlateau: factor must be between 0 and 1, got {factor}"
            )
        self.attr = attr
        self.factor = factor
        self.patience = patience
        self.min_value = min_value
        self.optimizer = optimizer
        self.current = None
        self._looks = Patience("ReduceOnPlateau", monitor, mode, check_trigger)

    def initialize(self, trainer):
        optimizer = _optimizer(self, trainer)
        if self.current is None:
            self.current = _attribute(self, optimizer)
        elif not _is_restored(self, trainer):
            setattr(optimizer, self.attr, self.current)

    def __call__(self, trainer):
        self._looks(trainer)
        if self._looks.count > self.patience:
            self._looks.count = 0
            optimizer = _optimizer(self, trainer)
            value = getattr(optimizer, self.attr) * self.factor
            self.current = max(value, self.min_value)
            setattr(optimizer, self.attr, self.current)

    def serialize(self, s):
        """Save or load the best value, the count, and the hyperparameter's value."""
        self._looks.serialize(s)
        self.current = s("current", self.current)
