"""Triggers by reported values: what Chainer saves and says, the core's comparisons."""

import operator
import warnings

from dyrnn.chainer.reporter import DictSummary
from dyrnn.chainer.training.triggers.counting import get_trigger
from dyrnn.training import triggers


class _Means:
    """The mean of a reported value over an interval."""

    def __init__(self, key, trigger):
        self._key = key
        self._interval_trigger = get_trigger(trigger)
        self._summary = DictSummary()

    def _mean(self, trainer):
        """Return the mean where the interval ends (None: there is none), else False."""
        key, observation = self._key, trainer.observation
        if key in observation:
            self._summary.add({key: observation[key]})
        if not self._interval_trigger(trainer):
            return False
        means, self._summary = self._summary.compute_mean(), DictSummary()
        return means.get(key)


class BestValueTrigger(_Means, triggers.BestValueTrigger):
    """Fires when the mean of a value over an interval is the best so far.

    Parameters
    ----------
    key : str
        The reported value.
    compare : callable
        ``compare(best, new)``: whether the new one is better.
    trigger : tuple or callable
        The interval.
    """

    def __init__(self, key, compare, trigger=(1, "epoch")):
        _Means.__init__(self, key, trigger)
        triggers.BestValueTrigger.__init__(self, key, compare, trigger=None)

    def __call__(self, trainer):
        mean = self._mean(trainer)
        if mean is None:
            raise KeyError(self._key)
        return mean is not False and self._monitor.look(float(mean))

    def serialize(self, serializer):
        self._interval_trigger.serialize(serializer["interval_trigger"])
        self._summary.serialize(serializer["summary"])
        best = serializer("best_value", self._monitor.best_value)
        self._monitor.best_value = best


class MaxValueTrigger(BestValueTrigger):
    """Fires when a value is the largest so far."""

    def __init__(self, key, trigger=(1, "epoch")):
        super().__init__(key, operator.lt, trigger)


class MinValueTrigger(BestValueTrigger):
    """Fires when a value is the smallest so far."""

    def __init__(self, key, trigger=(1, "epoch")):
        super().__init__(key, operator.gt, trigger)


class EarlyStoppingTrigger(_Means, triggers.EarlyStoppingTrigger):
    """Fires when a value has not improved for a while: for ``stop_trigger``.

    Parameters
    ----------
    check_trigger : tuple or callable
        When to look.
    monitor : str
        The reported value.
    patience : int
        How many looks may show no better value (3 by default).
    mode : str
        ``"max"``, ``"min"``, or ``"auto"``: accuracies shall grow, others shrink.
    verbose : bool
    max_trigger : tuple or callable
        When to stop in any case.
    """

    def __init__(
        self,
        check_trigger=(1, "epoch"),
        monitor="main/loss",
        patience=None,
        mode="auto",
        verbose=False,
        max_trigger=(100, "epoch"),
        *,
        patients=None,
    ):
        if patients is not None and patience is not None:
            raise TypeError(
                "Both 'patience' and 'patients' arguments are specified. 'patients' is "
                "an alias of the former. Specify only 'patience'."
            )
        patience = patients if patience is None else patience
        _Means.__init__(self, monitor, check_trigger)
        self.patience = 3 if patience is None else patience
        self.monitor = monitor
        self.verbose = verbose
        self.max_trigger = get_trigger(max_trigger)
        if mode not in ("max", "min"):
            mode = "max" if "accuracy" in monitor else "min"
        self._looks = triggers.Patience("EarlyStoppingTrigger", monitor, mode, None)
        if verbose:
            print(
                f"early stopping: operator is {dict(max='greater', min='less')[mode]}"
            )

    def serialize(self, serializer):
        """Do nothing: Chainer's snapshots have no place for it."""

    def __call__(self, trainer):
        mean = self._mean(trainer)
        if self.max_trigger(trainer):
            return True
        if mean is False:
            return False
        if self.monitor not in trainer.observation:
            warnings.warn(f"{self.monitor} is not in observation", stacklevel=2)
            return False
        self._looks.look(float(mean))
        is_over = self.count >= self.patience
        if is_over and self.verbose:
            print(f"Epoch {trainer.updater.epoch}: early stopping")
        return is_over
