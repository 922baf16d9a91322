"""Extensions that report values, or look at parameters."""

from dyrnn.chainer._backend import array_types, get_array_module
from dyrnn.chainer.reporter import DictSummary, report
from dyrnn.chainer.training.bases import PRIORITY_EDITOR, PRIORITY_WRITER, Extension
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


# The cumulative normal distribution at -3, -2, ..., 3 standard deviations.
_PERCENTILES = (0.13, 2.28, 15.87, 50, 84.13, 97.72, 99.87)


class ParameterStatistics(Extension):
    """Reports statistics of parameters and gradients.

    Parameters
    ----------
    links : Link or list of Link
    statistics : dict of callables
        By default mean, std, min, max, zeros and percentiles.
    report_params, report_grads : bool
    prefix : str, optional
        Of the reported names.
    trigger : tuple or callable
        The interval over which means are taken.
    skip_nan_params : bool
        Whether arrays with NaN are not looked at further.
    """

    default_name = "parameter_statistics"
    priority = PRIORITY_WRITER
    report_key_template = "{prefix}{link_name}{param_name}/{attr_name}/{function_name}"
    default_statistics = {
        **observations.STATISTICS,
        "percentile": lambda x: get_array_module(x).percentile(x, _PERCENTILES),
    }

    def __init__(
        self,
        links,
        statistics="default",
        report_params=True,
        report_grads=True,
        prefix=None,
        trigger=(1, "epoch"),
        skip_nan_params=False,
    ):
        self._links = links if isinstance(links, (list, tuple)) else (links,)
        if statistics == "default":
            statistics = self.default_statistics
        self._statistics = dict(statistics or {})
        self._attrs = ["data"] * bool(report_params) + ["grad"] * bool(report_grads)
        self._prefix = prefix
        self._trigger = get_trigger(trigger)
        self._summary = DictSummary()
        self._skip_nan_params = skip_nan_params

    def __call__(self, trainer):
        statistics = {}
        for link in self._links:
            for param_name, param in link.namedparams():
                for attr_name in self._attrs:
                    values = getattr(param, attr_name).ravel()
                    for function_name in self._statistics:
                        key = self.report_key_template.format(
                            prefix=f"{self._prefix}/" if self._prefix else "",
                            link_name=getattr(link, "name", "None"),
                            param_name=param_name,
                            attr_name=attr_name,
                            function_name=function_name,
                        )
                        value = self._compute(function_name, values)
                        if isinstance(value, array_types()) and value.size > 1:
                            statistics.update(
                                {f"{key}/{i}": v for i, v in enumerate(value)}
                            )
                        else:
                            statistics[key] = value
        self._summary.add(statistics)
        if self._trigger(trainer):
            report(self._summary.compute_mean())
            self._summary = DictSummary()

    def _compute(self, function_name, values):
        xp = get_array_module(values)
        if self._skip_nan_params and xp.isnan(values).any():
            return float("nan")
        return self._statistics[function_name](values)

    def register_statistics(self, name, function):
        """Add a statistic, or replace one."""
        self._statistics[name] = function
