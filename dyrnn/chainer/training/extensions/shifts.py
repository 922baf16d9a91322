"""Schedules: extensions that set a hyperparameter of an optimizer."""

import numpy as np

from dyrnn.chainer.training.bases import Extension


class _Shift(Extension):
    """Sets ``attr`` to what :meth:`_value` gives after ``_t`` calls."""

    def __init__(self, attr, init, optimizer):
        self._attr = attr
        self._init = init
        self._optimizer = optimizer
        self._t = 0
        self._last_value = None

    def _get_optimizer(self, trainer):
        return self._optimizer or trainer.updater.get_optimizer("main")

    def _update_value(self, optimizer, value):
        setattr(optimizer, self._attr, value)
        self._last_value = value

    def initialize(self, trainer):
        optimizer = self._get_optimizer(trainer)
        if self._init is None:
            self._init = getattr(optimizer, self._attr)
        is_resumed = self._last_value is not None
        self._update_value(optimizer, self._last_value if is_resumed else self._first())

    def _first(self):
        return self._init

    def __call__(self, trainer):
        self._t += 1
        self._update_value(self._get_optimizer(trainer), self._value())

    def _value(self):
        raise NotImplementedError

    def serialize(self, serializer):
        self._t = serializer("_t", self._t)
        self._last_value = serializer("_last_value", self._last_value)
        if isinstance(self._last_value, np.ndarray):
            self._last_value = self._last_value.item()


def _bounded(value, target, grows):
    """Return ``target`` once the value is beyond it."""
    if target is None:
        return value
    is_beyond = value / target > 1 if grows else value / target < 1
    return target if is_beyond else value


class ExponentialShift(_Shift):
    """``init * rate ** t``, up or down to ``target``."""

    def __init__(self, attr, rate, init=None, target=None, optimizer=None):
        if rate < 0:
            raise ValueError("ExponentialShift does not support negative rate")
        super().__init__(attr, init, optimizer)
        self._rate = rate
        self._target = target

    def _value(self):
        value = self._init * self._rate**self._t
        return _bounded(value, self._target, self._rate > 1)


class InverseShift(_Shift):
    """``init * (1 + gamma * t) ** -power``, up or down to ``target``."""

    def __init__(self, attr, gamma, power, init=None, target=None, optimizer=None):
        if gamma < 0:
            raise ValueError("InverseShift does not support negative gamma")
        super().__init__(attr, init, optimizer)
        self._gamma = gamma
        self._power = power
        self._target = target

    def _value(self):
        value = self._init * (1 + self._gamma * self._t) ** (-self._power)
        return _bounded(value, self._target, self._power < 0)


class PolynomialShift(_Shift):
    """``init * (1 - t / max_count) ** rate``, up or down to ``target``."""

    def __init__(self, attr, rate, max_count, init=None, target=None, optimizer=None):
        super().__init__(attr, init, optimizer)
        self._rate = rate
        self._max_count = max_count
        self._target = target

    def _value(self):
        decay = max(1 - self._t / self._max_count, 0)
        value = self._init * decay**self._rate
        if self._target is not None:
            # The other way around than _bounded: the value may be 0.
            ratio = self._target / value if value else float("inf")
            if ratio > 1 if self._rate > 0 else ratio < 1:
                value = self._target
        return value


class StepShift(_Shift):
    """``init * gamma ** (t // step)``, up or down to ``target``."""

    def __init__(self, attr, gamma, step, init=None, target=None, optimizer=None):
        super().__init__(attr, init, optimizer)
        self._gamma = gamma
        self._step = step
        self._target = target

    def _value(self):
        value = self._init * self._gamma ** np.floor(self._t / self._step)
        return _bounded(value, self._target, self._gamma > 1)


class LinearShift(_Shift):
    """From one value to another between two times, in a straight line."""

    def __init__(self, attr, value_range, time_range, optimizer=None):
        super().__init__(attr, None, optimizer)
        self._value_range = value_range
        self._time_range = time_range

    def _first(self):
        return self._value()

    def _value(self):
        (start, end), (first, last) = self._time_range, self._value_range
        if self._t <= start:
            return first
        if self._t >= end:
            return last
        return first + (self._t - start) / (end - start) * (last - first)


class MultistepShift(_Shift):
    """``init`` times ``gamma`` for each of the steps in ``step_value`` reached."""

    def __init__(self, attr, gamma, step_value, init, optimizer=None):
        super().__init__(attr, init, optimizer)
        self._gamma = gamma
        self._step_value = step_value
        self._current_step = 0

    def initialize(self, trainer):
        optimizer = self._get_optimizer(trainer)
        if self._init is None:
            self._init = getattr(optimizer, self._attr)
        else:
            setattr(optimizer, self._attr, self._init)

    def _value(self):
        steps, current = self._step_value, self._current_step
        if current < len(steps) and self._t >= steps[current]:
            self._current_step += 1
        return self._init * self._gamma**self._current_step

    def serialize(self, serializer):
        self._t = serializer("_t", self._t)
        self._current_step = serializer("_current_step", self._current_step)


class WarmupShift(_Shift):
    """From ``warmup_start`` to ``init`` in ``warmup_iter`` steps, then no more."""

    def __init__(self, attr, warmup_start, warmup_iter, init, optimizer=None):
        super().__init__(attr, init, optimizer)
        self._warmup_start = warmup_start
        self._warmup_iter = warmup_iter

    def initialize(self, trainer):
        optimizer = self._get_optimizer(trainer)
        if self._warmup_start is None:
            self._warmup_start = getattr(optimizer, self._attr)
        else:
            setattr(optimizer, self._attr, self._warmup_start)

    def __call__(self, trainer):
        self._t += 1
        if self._t <= self._warmup_iter:
            self._update_value(self._get_optimizer(trainer), self._value())

    def _value(self):
        rest = self._warmup_iter - self._t
        return (self._t * self._init + rest * self._warmup_start) / self._warmup_iter

    def serialize(self, serializer):
        self._t = serializer("_t", self._t)
