"""Schedules: the core's formulas, with what Chainer checks and saves."""

import numpy as np

from dyrnn.chainer.training.bases import Extension
from dyrnn.extensions import schedules


class _Shift(Extension):
    """Sets ``attr`` to the value of a schedule of the core after ``_t`` calls."""

    def __init__(self, rule):
        self._rule = rule
        self._optimizer = rule.optimizer
        self._t = 0
        self._last_value = None

    def _get_optimizer(self, trainer):
        return self._optimizer or trainer.updater.get_optimizer("main")

    def _update_value(self, trainer, value):
        setattr(self._get_optimizer(trainer), self._rule.attr, value)
        self._last_value = value

    def initialize(self, trainer):
        rule = self._rule
        if rule.init is None:
            rule.init = getattr(self._get_optimizer(trainer), rule.attr)
        is_resumed = self._last_value is not None
        first = self._last_value if is_resumed else rule.value(0)
        self._update_value(trainer, first)

    def __call__(self, trainer):
        self._t += 1
        self._update_value(trainer, self._rule.bounded(self._t))

    def serialize(self, serializer):
        self._t = serializer("_t", self._t)
        self._last_value = serializer("_last_value", self._last_value)
        if isinstance(self._last_value, np.ndarray):
            self._last_value = self._last_value.item()


class ExponentialShift(_Shift):
    """``init * rate ** t``, up or down to ``target``."""

    def __init__(self, attr, rate, init=None, target=None, optimizer=None):
        if rate < 0:
            raise ValueError("ExponentialShift does not support negative rate")
        super().__init__(
            schedules.ExponentialShift(attr, rate, init, target, optimizer)
        )


class InverseShift(_Shift):
    """``init * (1 + gamma * t) ** -power``, up or down to ``target``."""

    def __init__(self, attr, gamma, power, init=None, target=None, optimizer=None):
        if gamma < 0:
            raise ValueError("InverseShift does not support negative gamma")
        super().__init__(
            schedules.InverseShift(attr, gamma, power, init, target, optimizer)
        )


class PolynomialShift(_Shift):
    """``init * (1 - t / max_count) ** rate``, up or down to ``target``."""

    def __init__(self, attr, rate, max_count, init=None, target=None, optimizer=None):
        super().__init__(
            schedules.PolynomialShift(attr, rate, max_count, init, target, optimizer)
        )


class StepShift(_Shift):
    """``init * gamma ** (t // step)``, up or down to ``target``."""

    def __init__(self, attr, gamma, step, init=None, target=None, optimizer=None):
        super().__init__(
            schedules.StepShift(attr, gamma, step, init, target, optimizer)
        )


class LinearShift(_Shift):
    """From one value to another between two times, in a straight line."""

    def __init__(self, attr, value_range, time_range, optimizer=None):
        super().__init__(
            schedules.LinearShift(attr, value_range, time_range, optimizer)
        )


class MultistepShift(_Shift):
    """``init`` times ``gamma`` for each of the steps in ``step_value`` reached."""

    def __init__(self, attr, gamma, step_value, init, optimizer=None):
        super().__init__(
            schedules.MultistepShift(attr, gamma, step_value, init, optimizer)
        )

    def serialize(self, serializer):
        self._t = serializer("_t", self._t)
        # Chainer counts the steps that are behind; here they follow from the time.
        behind = sum(self._t >= step for step in self._rule.step_value)
        serializer("_current_step", behind)
        self._last_value = self._rule.value(self._t) if self._t else None


class WarmupShift(_Shift):
    """From ``warmup_start`` to ``init`` in ``warmup_iter`` steps, then no more."""

    def __init__(self, attr, warmup_start, warmup_iter, init, optimizer=None):
        rule = schedules.WarmupShift(attr, 0.0, warmup_iter, init, optimizer)
        rule.warmup_start = warmup_start  # None: as it is when training begins
        super().__init__(rule)

    def initialize(self, trainer):
        rule = self._rule
        if rule.warmup_start is None:
            rule.warmup_start = getattr(self._get_optimizer(trainer), rule.attr)
        else:
            self._update_value(trainer, rule.value(self._t))

    def __call__(self, trainer):
        self._t += 1
        if self._t <= self._rule.warmup_iter:
            self._update_value(trainer, self._rule.value(self._t))

    def serialize(self, serializer):
        self._t = serializer("_t", self._t)
