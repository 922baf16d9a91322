"""Triggers by reported values."""

import operator
import warnings

from dyrnn.chainer.reporter import DictSummary
from dyrnn.chainer.training.triggers.counting import get_trigger


class BestValueTrigger:
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
        self._key = key
        self._best_value = None
        self._interval_trigger = get_trigger(trigger)
        self._compare = compare
        self._init_summary()

    def __call__(self, trainer):
        key, observation = self._key, trainer.observation
        if key in observation:
            self._summary.add({key: observation[key]})
        if not self._interval_trigger(trainer):
            return False
        value = float(self._summary.compute_mean()[key])
        self._init_summary()
        if self._best_value is None or self._compare(self._best_value, value):
            self._best_value = value
            return True
        return False

    def _init_summary(self):
        self._summary = DictSummary()

    def serialize(self, serializer):
        self._interval_trigger.serialize(serializer["interval_trigger"])
        self._summary.serialize(serializer["summary"])
        self._best_value = serializer("best_value", self._best_value)


class MaxValueTrigger(BestValueTrigger):
    """Fires when a value is the largest so far."""

    def __init__(self, key, trigger=(1, "epoch")):
        super().__init__(key, operator.lt, trigger)


class MinValueTrigger(BestValueTrigger):
    """Fires when a value is the smallest so far."""

    def __init__(self, key, trigger=(1, "epoch")):
        super().__init__(key, operator.gt, trigger)


class EarlyStoppingTrigger:
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
        self.count = 0
        self.patience = 3 if patience is None else patience
        self.monitor = monitor
        self.verbose = verbose
        self.already_warning = False
        self._max_trigger = get_trigger(max_trigger)
        self._interval_trigger = get_trigger(check_trigger)
        self._init_summary()
        grows = mode == "max" or (mode != "min" and "accuracy" in monitor)
        self._compare = operator.gt if grows else operator.lt
        self.best = float("-inf" if grows else "inf")
        if verbose:
            print(f"early stopping: operator is {'greater' if grows else 'less'}")

    def __call__(self, trainer):
        observation = trainer.observation
        if self.monitor in observation:
            self._summary.add({self.monitor: observation[self.monitor]})
        if self._max_trigger(trainer):
            return True
        if not self._interval_trigger(trainer):
            return False
        if self.monitor not in observation:
            warnings.warn(f"{self.monitor} is not in observation", stacklevel=2)
            return False
        value = self._summary.compute_mean()[self.monitor]
        self._init_summary()
        if self._compare(value, self.best):
            self.best = value
            self.count = 0
        else:
            self.count += 1
        if self._stop_condition() and self.verbose:
            print(f"Epoch {trainer.updater.epoch}: early stopping")
        return self._stop_condition()

    def _stop_condition(self):
        return self.count >= self.patience

    def _init_summary(self):
        self._summary = DictSummary()

    def get_training_length(self):
        """Return the length of the longest training."""
        return self._max_trigger.get_training_length()
