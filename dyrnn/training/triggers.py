"""When something happens: callables that take the trainer and return True or False.

Progress is read from the updater: ``iteration``, and ``epoch_detail`` with its value
before this update, ``previous_epoch_detail``. So most triggers have no state, and ask
the same question after a resume as without one. A trigger that remembers something has
a ``serialize`` of its own; a snapshot saves it with what it belongs to.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from dyrnn.arguments import check_number, check_whole
from dyrnn.description import Shown
from dyrnn.reporter import Summary
from dyrnn.typing import TriggerLike

UNITS = ("epoch", "iteration")

# Epochs are floating point: 0.3 / 0.1 is a little less than 3.
_EPSILON = 1e-9


def _checked_period(owner, period, unit):
    if isinstance(period, str) and period in UNITS:
        raise TypeError(
            f"{owner}: got ({period!r}, {unit!r}), but the number comes first: "
            f"({unit!r}, {period!r})"
        )
    if unit not in UNITS:
        raise ValueError(
            f"{owner}: unit {unit!r:.60} is not known; use one of {', '.join(UNITS)}, "
            "as in (2, 'epoch')"
        )
    if unit == "iteration":
        try:
            period = operator.index(period)
        except TypeError:
            raise TypeError(
                f"{owner}: a number of iterations must be an integer, got {period!r}"
            ) from None
    if isinstance(period, str | bool | None) or not hasattr(period, "__float__"):
        raise TypeError(
            f"{owner}: got ({period!r:.60}, {unit!r}), but a number comes first, "
            f"such as (2, {unit!r})"
        )
    if not 0 < period < math.inf:
        raise ValueError(
            f"{owner}: the period must be positive, got ({period!r}, {unit!r})"
        )
    return period


def _progress(trainer, unit):
    """How far training is, before and after this update."""
    updater = trainer.updater
    if unit == "iteration":
        return updater.iteration - 1, updater.iteration
    return updater.previous_epoch_detail, updater.epoch_detail


def _is_forced(trainer):
    """Whether this is the last update of a dry run, in which all intervals end."""
    end = getattr(trainer, "all_fire_at", None)
    return end is not None and end == trainer.updater.iteration


class Trigger(Shown):
    """Base class of triggers: called with the trainer, returns whether it fires.

    Any callable will do as a trigger; what remembers something needs a ``serialize``.
    """

    def __call__(self, trainer):
        """Whether it fires in this iteration."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__")

    def serialize(self, s):
        """Save or load what must survive a resume: nothing."""


class _Callable(Trigger):
    """A function of the trainer as a trigger."""

    def __init__(self, function):
        self.function = function

    def __call__(self, trainer):
        return self.function(trainer)


class IntervalTrigger(Trigger):
    """Fires every ``period`` epochs or iterations.

    Parameters
    ----------
    period : int or float
        A positive number; fractions of an epoch are allowed.
    unit : {"epoch", "iteration"}
    """

    def __init__(self, period: float, unit: str) -> None:
        self.period = _checked_period("IntervalTrigger", period, unit)
        self.unit = unit

    def __call__(self, trainer):
        return _is_forced(trainer) or self.fires(*_progress(trainer, self.unit))

    def fires(self, before, now):
        """Whether a multiple of the period was reached in between."""
        return self._count(now) > self._count(before)

    def _count(self, progress):
        return math.floor(progress / self.period + _EPSILON)

    def __repr__(self):
        return f"{type(self).__name__}({self.period!r}, {self.unit!r})"


def is_every(trigger, period, unit):
    """Whether a trigger fires at each multiple of so many epochs or iterations."""
    return isinstance(trigger, IntervalTrigger) and (
        (trigger.period, trigger.unit) == (period, unit)
    )


def is_default(trigger):
    """Whether a trigger is that of an extension which was given none: each epoch."""
    return is_every(trigger, 1, "epoch")


def interval_of(owner, own, given):
    """Return what ends the intervals: the trigger of the owner, or of ``extend``."""
    if is_default(own):
        return given
    if is_every(given, 1, "iteration"):  # it looks at every iteration
        return own
    name = type(owner).__name__
    raise ValueError(
        f"extend: {name} has a trigger that ends its intervals, and was given another, "
        f"{given!r}. It must look at every iteration: say {name}(..., trigger=...) only"
    )


class StopTrigger(Trigger):
    """Fires from ``length`` epochs or iterations on: the end of training.

    A trainer makes one from a tuple. A run that is resumed at or beyond its end stops
    at once.
    """

    def __init__(self, length: float, unit: str) -> None:
        self.period = _checked_period("StopTrigger", length, unit)
        self.unit = unit

    def __call__(self, trainer):
        return _progress(trainer, self.unit)[1] >= self.period - _EPSILON

    def __repr__(self):
        return f"StopTrigger({self.period!r}, {self.unit!r})"

    def get_training_length(self):
        """The length and its unit."""
        return self.period, self.unit


class ManualScheduleTrigger(Trigger):
    """Fires as each of the given points is reached.

    Parameters
    ----------
    points : number or sequence of numbers
        Epochs, or fractions of them, or iterations.
    unit : {"epoch", "iteration"}
    """

    def __init__(self, points: float | Sequence[float], unit: str) -> None:
        points = [points] if isinstance(points, int | float) else list(points)
        self.points = [
            _checked_period("ManualScheduleTrigger", point, unit) for point in points
        ]
        self.unit = unit

    def __call__(self, trainer):
        return _is_forced(trainer) or self.fires(*_progress(trainer, self.unit))

    def fires(self, before, now):
        """Whether a point was reached in between."""
        before, now = before + _EPSILON, now + _EPSILON
        return any(before < point <= now for point in self.points)


class OnceTrigger(Trigger):
    """Fires the first time it is asked, and with ``call_on_resume`` after a resume."""

    def __init__(self, call_on_resume: bool = False) -> None:
        self.call_on_resume = call_on_resume
        self.finished = False

    def __call__(self, trainer):
        fires, self.finished = not self.finished, True
        return fires

    def serialize(self, s):
        """Save or load whether it has fired."""
        self.finished = s("finished", self.finished)
        if s.loading and self.call_on_resume:
            self.finished = False


class NeverFire(Trigger):
    """Never fires: for an extension that acts at its other hooks only."""

    def __call__(self, trainer):
        return False


class TimeTrigger(Trigger):
    """Fires every ``period`` seconds of training, resumed time included."""

    def __init__(self, period: float) -> None:
        check_number("TimeTrigger: period", period)
        if not 0 < period < math.inf:
            raise ValueError(f"TimeTrigger: the period must be positive, got {period}")
        self.period = period
        self._next_time = float(period)

    def __call__(self, trainer):
        if trainer.elapsed_time < self._next_time:
            return _is_forced(trainer)
        missed = (trainer.elapsed_time - self._next_time) // self.period
        self._next_time += (missed + 1) * self.period
        return True

    def serialize(self, s):
        """Save or load the time of the next firing."""
        self._next_time = s("next_time", self._next_time)


class AnyTrigger(Trigger):
    """Fires when at least one of several triggers does; all of them are asked."""

    def __init__(self, *triggers: Callable) -> None:
        self.triggers = [get_trigger(trigger) for trigger in triggers]

    def __call__(self, trainer):
        return any([trigger(trainer) for trigger in self.triggers])

    def serialize(self, s):
        """Save or load the triggers it combines."""
        for number, trigger in enumerate(self.triggers):
            trigger.serialize(s[str(number)])


class _Monitor(Shown):
    """The mean of an observed value over a trigger's intervals, and the best so far.

    Called at every iteration, it returns whether the mean is a new best when the
    trigger fires, and None when it does not. NaN is never better.

    Raises
    ------
    KeyError
        If the trigger fires and the value was not observed since the last time.
    """

    def __init__(self, owner, key, better, trigger):
        self.best_value = None
        self._owner = owner
        self._key = key
        self._better = better
        self.trigger = get_trigger(trigger)
        self._summary = Summary()
        self._seen = False

    def __repr__(self):
        best = "" if self.best_value is None else f", best {self.best_value:.6g}"
        return f"{self._key!r}, {self.trigger!r}{best}"

    def __call__(self, trainer):
        observation = trainer.observation
        if self._key in observation:
            self._summary.add(observation[self._key], observation.weight(self._key))
            self._seen = True
        if not self.trigger(trainer):
            return None
        if not self._seen:
            raise KeyError(
                f"{self._owner}: {self._key!r} was not observed when its value was "
                f"needed, in iteration {trainer.updater.iteration}. Available: "
                f"{', '.join(sorted(observation)) or 'nothing'}. An Evaluator must run "
                "as often and with a higher priority."
            )
        mean = self._summary.compute_mean()
        self._summary, self._seen = Summary(), False
        return self.look(mean)

    def look(self, value):
        """Whether a value is a new best."""
        best = self.best_value
        if math.isnan(value) or not (best is None or self._better(value, best)):
            return False
        self.best_value = value
        return True

    def serialize(self, s):
        """Save or load the best value, the running mean, and the trigger."""
        self.best_value = s("best_value", self.best_value)
        monitor = s["monitor"]
        self._summary.serialize(monitor["summary"])
        self._seen = monitor("seen", self._seen)
        self.trigger.serialize(monitor["trigger"])


_LOWER = frozenset(
    "bits bpc bpd bpw cer cost costs cross crossentropy deviation distance divergence "
    "entropy err error errors kl loss losses mae mape mse nll penalty perplexity ppl "
    "regret risk rmse smape ter wer".split()
)
_HIGHER = frozenset(
    "acc accuracy ap auc auroc bleu chrf correct correlation cosine dice exact f f1 f2 "
    "fscore gain hits iou jaccard kappa map match mcc meteor mrr ndcg precision prauc "
    "r2 recall return reward rewards rouge score sensitivity similarity specificity "
    "success top1 top5".split()
)


def _better(owner, key):
    """Return whether lower or higher values of this name are better: its last word."""
    words = re.findall(
        "[a-z]+[0-9]*", re.sub("([a-z0-9])([A-Z])", r"\1 \2", key).lower()
    )
    for word in reversed(words):
        if word in _LOWER or word in _HIGHER:
            return "min" if word in _LOWER else "max"
    raise ValueError(
        f"{owner}: whether lower or higher values of {key!r} are better, its name does "
        "not tell: say mode='min' or mode='max'"
    )


class Patience(_Monitor):
    """Counts the checks of an observed value since its last best.

    Parameters
    ----------
    owner : str
        Who asks, for error messages.
    key : str
        Name of the observed value.
    mode : {"auto", "min", "max"}
        Which values are better; ``"auto"`` goes by the words of the name, such as
        ``loss`` and ``f1``.
    trigger : trigger
        When it is looked at.

    Attributes
    ----------
    count : int
    best_value : float or None
    """

    def __init__(self, owner: str, key: str, mode: str, trigger: TriggerLike) -> None:
        modes = {"min": operator.lt, "max": operator.gt}
        if mode not in (*modes, "auto"):
            raise ValueError(f"mode {mode!r} is not known; use one of auto, max, min")
        better = modes[_better(owner, key) if mode == "auto" else mode]
        super().__init__(owner, key, better, trigger)
        self.count = 0

    def look(self, value):
        """Whether a value is a new best; counted from there."""
        is_best = super().look(value)
        self.count = 0 if is_best else self.count + 1
        return is_best

    def serialize(self, s):
        super().serialize(s)
        self.count = s("count", self.count)


class BestValueTrigger(Trigger):
    """Fires when a value is the best so far, compared once per interval.

    Parameters
    ----------
    key : str
        Name of the observed value, such as ``"validation/main/loss"``.
    compare : callable (best, new) -> bool
        Whether the new value is better. NaN is never better.
    trigger : trigger, default (1, "epoch")
        When values are compared; a value observed more often is averaged.

    Attributes
    ----------
    best_value : float or None
    """

    def __init__(
        self, key: str, compare: Callable, trigger: TriggerLike = (1, "epoch")
    ) -> None:
        self._monitor = _Monitor(
            type(self).__name__, key, lambda new, best: compare(best, new), trigger
        )

    @property
    def best_value(self):
        return self._monitor.best_value

    def __repr__(self):
        return f"{type(self).__name__}({self._monitor!r})"

    def __call__(self, trainer):
        return bool(self._monitor(trainer))

    def serialize(self, s):
        """Save or load the best value and the running mean."""
        self._monitor.serialize(s)


class MinValueTrigger(BestValueTrigger):
    """Fires when a value is the lowest so far."""

    def __init__(self, key: str, trigger: TriggerLike = (1, "epoch")) -> None:
        super().__init__(key, operator.gt, trigger)


class MaxValueTrigger(BestValueTrigger):
    """Fires when a value is the highest so far."""

    def __init__(self, key: str, trigger: TriggerLike = (1, "epoch")) -> None:
        super().__init__(key, operator.lt, trigger)


class EarlyStoppingTrigger(Trigger):
    """A stop trigger: fires when a value has not improved for some time.

    Parameters
    ----------
    check_trigger : trigger, default (1, "epoch")
        When the value is looked at.
    monitor : str
        Name of the observed value.
    patience : int
        Fires after so many checks in a row without a new best.
    mode : {"auto", "min", "max"}
        Which values are better; ``"auto"`` goes by the words of the name, such as
        ``loss`` and ``f1``.
    max_trigger : (int, str), default (100, "epoch")
        The end of training in any case.
    """

    def __init__(
        self,
        check_trigger: TriggerLike = (1, "epoch"),
        monitor: str = "main/loss",
        patience: int = 3,
        mode: str = "auto",
        max_trigger: tuple[float, str] = (100, "epoch"),
    ) -> None:
        check_whole("EarlyStoppingTrigger: patience", patience)
        if patience < 1:
            raise ValueError(
                f"EarlyStoppingTrigger: patience must be at least 1, got {patience}"
            )
        self.patience = patience
        self.max_trigger = pair_of(StopTrigger, max_trigger)
        self._looks = Patience("EarlyStoppingTrigger", monitor, mode, check_trigger)

    @property
    def best_value(self):
        return self._looks.best_value

    @property
    def count(self):
        """How many looks ago it was observed."""
        return self._looks.count

    def __repr__(self):
        return (
            f"EarlyStoppingTrigger({self._looks!r}, {self.count} of {self.patience} "
            f"looks without a new one, at most {self.max_trigger!r})"
        )

    def __call__(self, trainer):
        if trainer.updater.iteration == 0:
            return False
        self._looks(trainer)
        return self.count >= self.patience or self.max_trigger(trainer)

    def get_training_length(self):
        """The longest training can be, and its unit."""
        return self.max_trigger.get_training_length()

    def serialize(self, s):
        """Save or load the best value, how long ago it was, and the running mean."""
        self._looks.serialize(s)


def get_trigger(trigger: TriggerLike) -> Any:
    """The trigger that ``trigger`` stands for.

    Parameters
    ----------
    trigger : callable, (number, unit) or None
        A pair is an `IntervalTrigger`, any callable will do; None never fires.
    """
    if trigger is None:
        return NeverFire()
    if callable(trigger):
        return trigger if hasattr(trigger, "serialize") else _Callable(trigger)
    if isinstance(trigger, tuple | list):
        return pair_of(IntervalTrigger, trigger)
    raise _no_trigger(trigger)


def pair_of(kind, pair):
    """Return a trigger of a number and a unit."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise _no_trigger(pair)
    return kind(*pair)


def _no_trigger(trigger):
    return TypeError(
        f"a trigger is a callable taking the trainer, or a pair like (1, 'epoch'); "
        f"got {trigger!r:.80}"
    )
