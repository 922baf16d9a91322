"""Triggers by iterations, epochs and time."""

import warnings


def get_trigger(trigger):
    """Return a trigger: of ``(1, "epoch")`` and the like; None never fires."""
    if trigger is None:
        return _never_fire_trigger
    return trigger if callable(trigger) else IntervalTrigger(*trigger)


def _never_fire_trigger(trainer):
    return False


class _Counting:
    """Fires as the count passes certain values since the last call.

    The counts of the last call are saved; a snapshot that lacks them makes a guess.
    """

    def __init__(self, unit):
        if unit not in ("epoch", "iteration"):
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

    def _guess(self, what, how):
        warnings.warn(
            f"The previous value of {what} is not saved. {type(self).__name__} {how}. "
            "If this trigger is not called at every iteration, it may not work "
            "correctly.",
            stacklevel=4,
        )
        return -1

    def serialize(self, serializer):
        try:
            iteration = serializer("previous_iteration", self._previous_iteration)
        except KeyError:
            how = "guesses it using current iteration"
            iteration = self._guess("iteration", how)
        self._previous_iteration = iteration
        key = "previous_epoch_detail"
        try:
            detail = serializer(key, self._previous_epoch_detail)
        except KeyError:
            how = "uses the value of trainer.updater.previous_epoch_detail"
            detail = float(self._guess("epoch_detail", how))
        self._previous_epoch_detail = detail


class IntervalTrigger(_Counting):
    """Fires every ``period`` epochs or iterations; the period may be a fraction."""

    def __init__(self, period, unit):
        super().__init__(unit)
        self.period = period
        self.count = 0

    def __call__(self, trainer):
        previous, now = self._advance(trainer.updater)
        if self.unit == "epoch":
            self.count = now // self.period
        return previous // self.period != now // self.period

    def get_training_length(self):
        """Return (period, unit): how long training is, if this stops it."""
        return self.period, self.unit

    def __str__(self):
        return f"{type(self).__name__}({self.period}, '{self.unit}')"


class ManualScheduleTrigger(_Counting):
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
        fire = any([previous < point <= now for point in self.points])
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


class OnceTrigger:
    """Fires in the first iteration, and with ``call_on_resume`` in that of a resume."""

    def __init__(self, call_on_resume=False):
        self._flag_first = True
        self._flag_resumed = call_on_resume

    @property
    def finished(self):
        return not (self._flag_first or self._flag_resumed)

    def __call__(self, trainer):
        fire = not self.finished
        self._flag_first = self._flag_resumed = False
        return fire

    def serialize(self, serializer):
        try:
            self._flag_first = serializer("_flag_first", self._flag_first)
        except KeyError:
            warnings.warn(
                "The flag is not saved. OnceTrigger guess it is not first when "
                "resumed. If this trigger is resumed before first called, it may not "
                "work correctly.",
                stacklevel=2,
            )
            self._flag_first = False


class TimeTrigger:
    """Fires every ``period`` seconds."""

    def __init__(self, period):
        self._period = period
        self._next_time = period

    def __call__(self, trainer):
        fire = self._next_time < trainer.elapsed_time
        if fire:
            self._next_time += self._period
        return fire

    def serialize(self, serializer):
        self._next_time = serializer("next_time", self._next_time)
