"""Extensions that report values, or look at parameters."""

from dyrnn.chainer.reporter import report
from dyrnn.chainer.training.bases import PRIORITY_EDITOR, Extension
from dyrnn.chainer.training.triggers.counting import get_trigger
from dyrnn.errors import NonFiniteError
from dyrnn.extensions import observations


class observe_value(observations.observe_value):
    """Reports ``target_func(trainer)`` each epoch."""

    trigger = (1, "epoch")
    default_name = "_observe_value"


class observe_lr(observe_value, observations.observe_lr):
    """Reports the learning rate each epoch."""


class FailOnNonNumber(observations.FailOnNonNumber):
    """Stops training, with a RuntimeError, when a parameter is not finite."""

    def __call__(self, trainer):
        try:
            super().__call__(trainer)
        except NonFiniteError as error:
            raise RuntimeError(
                f"Kill the process since parameters diverge: {error}"
            ) from error


class MicroAverage(Extension):
    """Reports the quotient of two sums over an interval: an accuracy by tokens, say."""

    priority = PRIORITY_EDITOR

    def __init__(
        self, numerator_key, denominator_key, result_key, trigger=(1, "epoch")
    ):
        self._trigger = get_trigger(trigger)
        self._numerator_key = numerator_key
        self._denominator_key = denominator_key
        self._result_key = result_key
        self._numerator = 0
        self._denominator = 0

    def __call__(self, trainer):
        observation = trainer.observation
        if self._numerator_key not in observation:
            return
        if self._denominator_key not in observation:
            return
        self._numerator += observation[self._numerator_key]
        self._denominator += observation[self._denominator_key]
        if self._trigger(trainer):
            result = float(self._numerator) / self._denominator
            self._numerator = self._denominator = 0
            report({self._result_key: result})

    def serialize(self, serializer):
        self._numerator = serializer("_numerator", self._numerator)
        self._denominator = serializer("_denominator", self._denominator)


ParameterStatistics = observations.ParameterStatistics
