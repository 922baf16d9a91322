"""Triggers by iterations, epochs and time: what Chainer saves, the core's formulas."""

import warnings

from dyrnn.training import triggers


def get_trigger(trigger):
    """Return a trigger: of ``(1, "epoch")`` and the like; None never fires."""
    if trigger is None:
        return _never_fire_trigger
    return trigger if callable(trigger) else IntervalTrigger(*trigger)


_never_fire_trigger = triggers.NeverFire()


class _Counting:
    """Fires as the count passes certain values since the last call.

    The counts of the last call are saved; a snapshot that lacks them makes a guess.
    """

    def __init__(self, unit):
        if unit not in triggers.UNITS:
            raise ValueError("Trigger unit must be either 'epoch' or 'iteration'.")
        self.unit = unit
        self._previous_iteration = 0
        self._previous_epoch_detail = 0.0

    def _advance(self, updater):
        """Return the counts at the last call and now."""
        if self.unit == "epoch":
            now = updater.epoch_detail
            previous = self._previous_epoch_detail
            if previous < 0:
                previous = updater.previous_epoch_detail
        else:
            now = updater.iteration
            previous = self._previous_iteration
            if previous < 0:
                previous = now - 1
        self._previous_iteration = updater.iteration
        if hasattr(updater, "epoch_detail"):
            self._previous_epoch_detail = updater.epoch_detail
        return previous, now

    def serialize(self, serializer):
        for name, what, guess in (
            ("iteration", "iteration", "guesses it using current iteration"),
            (
                *("epoch_detail", "epoch_detail"),
                "uses the value of trainer.updater.previous_epoch_detail",
            ),
        ):
            attribute = f"_previous_{name}"
            try:
                value = serializer(attribute[1:], getattr(self, attribute))
            except KeyError:
                warnings.warn(
                    f"The previous value of {what} is not saved. {type(self).__name__} "
                    f"{guess}. If this trigger is not called at every iteration, it "
                    "may not work correctly.",
                    stacklevel=3,
                )
                value = -1
            setattr(self, attribute, value)


class IntervalTrigger(_Counting, triggers.IntervalTrigger):
    """Fires every ``period`` epochs or iterations; the period may be a fraction."""

    def __init__(self, period, unit):
        super().__init__(unit)
        self.period = period
        self.count = 0

    def __call__(self, trainer):
        previous, now = self._advance(trainer.updater)
        if self.unit == "epoch":
            self.count = self._count(now)
        return self.fires(previous, now)

    def get_training_length(self):
        """Return (period, unit): how long training is, if this stops it."""
        return self.period, self.unit

    def __str__(self):
        return f"{type(self).__name__}({self.period}, '{self.unit}')"


class ManualScheduleTrigger(_Counting, triggers.ManualScheduleTrigger):
    """Fires at the given epochs or iterations.

    Attributes
    ----------
    finished : bool
        Whether the last point is over.
    """

    def __init__(self, points, unit):
        super().__init__(unit)
        self.points = points if isinstance(points, list) else [points]
        self.finished = False
        self._is_unsure = False  # whether a snapshot did not say `finished`

    def __call__(self, trainer):
        previous, now = self._advance(trainer.updater)
        fire = self.fires(previous, now)
        if (fire or self._is_unsure) and now >= max(self.points):
            self.finished = True
        self._is_unsure = False
        return fire

    def serialize(self, serializer):
        super().serialize(serializer)
        try:
            self.finished = serializer("finished", self.finished)
        except KeyError:
            warnings.warn(
                "The flag of finished is not saved. ManualScheduleTrigger set the flag "
                "to `False` to force initialization and reset in next `__call__`.",
                stacklevel=2,
            )
            self.finished = False
            self._is_unsure = True


class OnceTrigger(triggers.OnceTrigger):
    """Fires in the first iteration, and with ``call_on_resume`` in that of a resume."""

    def __init__(self, call_on_resume=False):
        super().__init__(call_on_resume)
        self.finished = False

    def serialize(self, serializer):
        try:
            is_first = serializer("_flag_first", not self.finished)
        except KeyError:
            warnings.warn(
                "The flag is not saved. OnceTrigger guess it is not first when "
                "resumed. If this trigger is resumed before first called, it may not "
                "work correctly.",
                stacklevel=2,
            )
            is_first = False
        is_resumed = self.call_on_resume and not self.finished  # not called yet
        self.finished = not (is_first or is_resumed)


class TimeTrigger(triggers.TimeTrigger):
    """Fires every ``period`` seconds, once for each, as soon as it is over."""

    def __call__(self, trainer):
        fire = self._next_time < trainer.elapsed_time
        if fire:
            self._next_time += self.period
        return fire

    def serialize(self, serializer):
        self._next_time = serializer("next_time", self._next_time)
