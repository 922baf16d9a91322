"""Hyperparameters that change during training, such as the learning rate.

A shift counts how often it was called, and sets an attribute of the optimizer to a
function of that count; so its trigger says what a step is. It sets the value when
training begins, too; after a resume, the optimizer has its own value back.

Schedules of one attribute compose, in any order: each is a factor of the value that the
attribute has when training begins, ``base``, and their product counts. So a warm-up and
a decay need not know of each other. A schedule that says its values itself, such as
`LinearShift` or one with ``init``, says the base, too: its highest value, or ``init``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass

from dyrnn.arguments import check_number, check_whole
from dyrnn.optimizers.optimizer import Optimizer
from dyrnn.training import Extension
from dyrnn.training.triggers import Patience, is_default
from dyrnn.typing import TriggerLike


class Schedule(Extension):
    """Base of extensions that change ``attr`` of an optimizer, together with others.

    A subclass has ``attr`` and ``optimizer``, and defines ``own()``.
    """

    attr: str
    optimizer: Optimizer | None
    base: float | None = None  # known when training begins; None in files without it
    _has_begun = False

    def own(self):
        """The value that this schedule alone would give the attribute."""
        raise NotImplementedError

    def nominal(self):
        """What ``own`` is a share of, where the schedule says so itself, or None."""

    def initialize(self, trainer):
        is_resumed, self._has_begun = self._has_begun, True
        if not is_resumed:
            self._begin(trainer)
        if not (is_resumed and _is_restored(self, trainer)):
            self._set(trainer)

    def _begin(self, trainer):
        """Take the base from the others, who may have changed the attribute, or see."""
        peers = self._peers(trainer)
        known = {each.base for each in peers} - {None}
        if known:
            self.base = known.pop()
            return
        said = {each.nominal(): each for each in peers}
        said.pop(None, None)
        if len(said) > 1:
            texts = (f"{type(each).__name__} {value}" for value, each in said.items())
            raise ValueError(
                f"schedules of {self.attr!r} start from different values: "
                f"{', '.join(texts)}. Let all have the same highest value, or leave "
                "init out: then it is the optimizer's."
            )
        self.base = next(iter(said), _attribute(self, _optimizer(self, trainer)))

    def _peers(self, trainer):
        """All schedules of this attribute of this optimizer, itself included."""
        optimizer = _optimizer(self, trainer)
        return [
            each
            for each in trainer.extensions.values()
            if isinstance(each, Schedule)
            and each.attr == self.attr
            and _optimizer(each, trainer) is optimizer
        ]

    def _set(self, trainer):
        optimizer = _optimizer(self, trainer)
        _attribute(self, optimizer)
        setattr(optimizer, self.attr, self._composed(self._peers(trainer)))

    def _composed(self, peers):
        if self.base is None:  # a run that began when the last one to act decided
            return self.own()
        values = [each.own() for each in peers if each._has_begun]
        values = [value for value in values if value != self.base]
        if len(values) <= 1 or not self.base:
            return values[0] if values else self.base
        product = self.base
        for value in values:
            product *= value / self.base
        return product

    def serialize(self, s):
        """Save or load whether it has begun, and from which value."""
        self._has_begun = (
            s("has_begun", self._has_begun) if s.has("has_begun") else True
        )
        self.base = s("base", self.base) if s.has("base") else None


class Shift(Schedule):
    """Sets ``attr`` of the optimizer to ``value(t)``, t being the number of calls.

    Parameters
    ----------
    attr : str
        Name of the hyperparameter, such as ``"lr"``.
    init : float, optional
        By default the optimizer's value when training begins.
    target : float, optional
        Where the value stops, before other schedules of the attribute change it.
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
        for field in fields(self) if is_dataclass(self) else ():
            self._check(field)
        self.t = 0
        self._said = self.init

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

    def own(self):
        return self.bounded(self.t)

    def nominal(self):
        return self._said

    def _begin(self, trainer):
        super()._begin(trainer)
        if self.init is None:
            self.init = self.base

    def __call__(self, trainer):
        self.t += 1
        self._set(trainer)

    def _check(self, field):
        """Refuse the value of a field that is no number, where it says one."""
        name, value = f"{type(self).__name__}: {field.name}", getattr(self, field.name)
        kind = getattr(field.type, "__name__", str(field.type))
        if value is None and field.default is None:
            return
        if kind == "int":
            check_whole(name, value)
        elif kind in ("float", "float | None"):
            check_number(name, value)
        elif kind.startswith(("tuple[", "list[")):
            if not isinstance(value, Iterable) or isinstance(value, str):
                raise TypeError(f"{name} is {value!r:.60}; give numbers, as in (0, 1)")
            for each in value:
                check_number(name, each)

    def _require(self, condition, what, given):
        if not condition:
            raise ValueError(f"{type(self).__name__}: {what}, got {given}")

    def serialize(self, s):
        """Save or load the number of calls and the first value, unless it is given."""
        super().serialize(s)
        self.t = s("t", self.t)
        init = s("init", self.init)
        if self._said is None:
            self.init = init


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
        self.init = None
        super().__post_init__()
        self._require(len(self.value_range) == 2, "value_range has two", "others")
        self._require(len(self.time_range) == 2, "time_range has two", "others")
        self.init = self._said = self.value_range[0]
        start, stop = self.time_range
        self._require(
            start < stop, "time_range must be two rising numbers", self.time_range
        )

    def nominal(self):
        return max(self.value_range, key=abs)

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
class CosineShift(Shift):
    """From ``init`` to ``target`` along half a cosine, in ``max_count`` steps.

    A `WarmupShift` of the same attribute beside it makes the usual warm-up first.

    References
    ----------
    Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR
    2017, without the restarts.
    """

    attr: str
    max_count: int
    target: float = 0.0
    init: float | None = None
    optimizer: Optimizer | None = None

    def __post_init__(self):
        super().__post_init__()
        self._require(
            self.max_count >= 1, "max_count must be at least 1", self.max_count
        )

    def value(self, t):
        return _between(self.init, self.target, t / self.max_count)


@dataclass(eq=False)
class OneCycleShift(Shift):
    """Up to ``init`` and down again in ``max_count`` steps, along half cosines.

    Parameters
    ----------
    attr : str
    max_count : int
        Steps of the whole cycle.
    rise : float
        The share of them that goes up.
    start, end : float
        Where the cycle begins and ends, as shares of ``init``.
    init : float, optional
        The highest value, by default the optimizer's when training begins.

    References
    ----------
    Smith, Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large
    Learning Rates", arXiv:1708.07120, 2017.
    """

    attr: str
    max_count: int
    rise: float = 0.3
    start: float = 0.04
    end: float = 4e-6
    init: float | None = None
    optimizer: Optimizer | None = None

    def __post_init__(self):
        super().__post_init__()
        self._require(
            self.max_count >= 2, "max_count must be at least 2", self.max_count
        )
        self._require(0 < self.rise < 1, "rise must be between 0 and 1", self.rise)
        for name in ("start", "end"):
            share = getattr(self, name)
            self._require(0 <= share <= 1, f"{name} must be from 0 to 1", share)

    def value(self, t):
        top = self.rise * self.max_count
        if t <= top:
            return _between(self.start * self.init, self.init, t / top)
        return _between(
            self.init, self.end * self.init, (t - top) / (self.max_count - top)
        )


def _between(first, last, share):
    """Return a value on the way along half a cosine, and ``last`` from its end on."""
    return last + (first - last) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


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


class ReduceOnPlateau(Schedule):
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
        Which values are better; ``"auto"`` goes by the words of the name, such as
        ``loss`` and ``f1``.
    min_value : float
        The hyperparameter does not fall below, unless another schedule lowers it.
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
        check_number("ReduceOnPlateau: factor", factor)
        check_whole("ReduceOnPlateau: patience", patience)
        check_number("ReduceOnPlateau: min_value", min_value)
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

    def set_interval(self, trigger):
        if is_default(self._looks.trigger):
            self._looks.trigger = trigger
            return True
        return False

    def own(self):
        return self.current

    def _begin(self, trainer):
        super()._begin(trainer)
        self.current = self.base

    def __call__(self, trainer):
        self._looks(trainer)
        if self._looks.count > self.patience:
            self._looks.count = 0
            is_alone = self.base is None or len(self._peers(trainer)) == 1
            optimizer = _optimizer(self, trainer)
            value = getattr(optimizer, self.attr) if is_alone else self.current
            self.current = max(value * self.factor, self.min_value)
            self._set(trainer)

    def serialize(self, s):
        """Save or load the best value, the count, and the hyperparameter's value."""
        super().serialize(s)
        self._looks.serialize(s)
        self.current = s("current", self.current)
        self._has_begun = self._has_begun and self.current is not None
