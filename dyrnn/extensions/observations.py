"""More values to observe, and values to refuse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dyrnn import backend
from dyrnn.errors import NonFiniteError
from dyrnn.link import Link
from dyrnn.reporter import Summary, read_scalars, report
from dyrnn.training import (
    PRIORITY_EDITOR,
    PRIORITY_WRITER,
    Extension,
    get_trigger,
)
from dyrnn.training.triggers import interval_of
from dyrnn.typing import TriggerLike


class observe_value(Extension):
    """Reports ``target_func(trainer)`` at every iteration, under the given key."""

    priority = PRIORITY_WRITER

    def __init__(self, observation_key: str, target_func: Callable) -> None:
        self._key = observation_key
        self._function = target_func

    def __call__(self, trainer):
        report({self._key: self._function(trainer)})


class observe_lr(observe_value):
    """Reports the learning rate of this iteration's update."""

    default_name = "observe_value"

    def __init__(
        self, optimizer_name: str = "main", observation_key: str = "lr"
    ) -> None:
        super().__init__(
            observation_key,
            lambda trainer: trainer.updater.get_optimizer(optimizer_name).lr,
        )


class MicroAverage(Extension):
    """Reports a quotient of sums, such as correct answers over all answers.

    Parameters
    ----------
    numerator_key, denominator_key : str
        Observed values, summed up over an interval. Where `BPTTUpdater` goes by steps,
        report them with ``weight=1``: they are sums, and no means of labels.
    result_key : str
        Where to report the quotient, at the interval's end; NaN if the sum of the
        denominators is zero.
    trigger : trigger, default (1, "epoch")
        The ends of the intervals.
    """

    priority = PRIORITY_EDITOR

    def __init__(
        self,
        numerator_key: str,
        denominator_key: str,
        result_key: str,
        trigger: TriggerLike = (1, "epoch"),
    ) -> None:
        self._keys = numerator_key, denominator_key
        self._result_key = result_key
        self._trigger = get_trigger(trigger)
        self._summaries = Summary(), Summary()

    def set_interval(self, trigger):
        self._trigger = interval_of(self, self._trigger, trigger)
        return True

    def __call__(self, trainer):
        # Both means are over the same number of values, so their quotient is that of
        # the sums.
        if self._keys[0] in trainer.observation:
            for key, summary in zip(self._keys, self._summaries, strict=True):
                summary.add(trainer.observation[key])
        if self._trigger(trainer):
            numerator, denominator = (each.compute_mean() for each in self._summaries)
            self._summaries = Summary(), Summary()
            quotient = numerator / denominator if denominator else math.nan
            report({self._result_key: quotient})

    def serialize(self, s):
        """Save or load both sums, and the trigger."""
        self._summaries[0].serialize(s["numerator"])
        self._summaries[1].serialize(s["denominator"])
        self._trigger.serialize(s["trigger"])


STATISTICS = {
    "mean": lambda array: array.mean(),
    "std": lambda array: array.std(),
    "min": lambda array: array.min(),
    "max": lambda array: array.max(),
    "zeros": lambda array: (array == 0).sum(),
}


class ParameterStatistics(Extension):
    """Reports statistics of parameters and gradients, computed where they are.

    Parameters
    ----------
    links : Link or sequence of Links
    statistics : dict of callables, optional
        From an array to a scalar, by name; by default mean, std, min, max, zeros.
    report_params, report_grads : bool
        Whether to report ``PATH/data/NAME`` and ``PATH/grad/NAME``.
    prefix : str, optional
        What to put before each key.
    trigger : trigger, default (1, "epoch")
        When they are computed.
    """

    priority = PRIORITY_WRITER

    def __init__(
        self,
        links: Link | Sequence[Link],
        statistics: dict[str, Callable] | None = None,
        report_params: bool = True,
        report_grads: bool = True,
        prefix: str | None = None,
        trigger: TriggerLike = (1, "epoch"),
    ) -> None:
        self._links = list(links) if isinstance(links, Sequence) else [links]
        self._statistics = dict(STATISTICS if statistics is None else statistics)
        self._report_params = report_params
        self._report_grads = report_grads
        self._prefix = f"{prefix}/" if prefix else ""
        self.trigger = trigger

    def __call__(self, trainer):
        for link in self._links:
            name = link.name or type(link).__name__
            for path, param in link.namedparams(include_uninit=False):
                key = f"{self._prefix}{name}{path}"
                if self._report_params:
                    self._report(f"{key}/data", param.array)
                if self._report_grads and param.grad is not None:
                    self._report(f"{key}/grad", param.grad)

    def _report(self, key, array):
        for name, statistic in self._statistics.items():
            report({f"{key}/{name}": statistic(array)})


class FailOnNonNumber(Extension):
    """Raises `NonFiniteError` if a parameter is NaN or infinite, and names it.

    The losses are watched by the updater anyway. On a GPU each call waits for the
    device once: give it a trigger.
    """

    def __call__(self, trainer):
        for name, optimizer in trainer.updater.get_all_optimizers().items():
            params = list(optimizer.target.namedparams(include_uninit=False))
            finite = read_scalars([_is_finite(param.array) for _, param in params])
            bad = [path for (path, _), ok in zip(params, finite, strict=True) if not ok]
            if bad:
                raise NonFiniteError(
                    f"parameters of {name!r} are NaN or infinite after iteration "
                    f"{trainer.updater.iteration}: {', '.join(bad)}"
                )


def _is_finite(array):
    return backend.get_array_module(array).isfinite(array).all()
