"""Evaluation of models on a validation set."""

import copy
import warnings

from tqdm import tqdm

from dyrnn.chainer import backend, reporter
from dyrnn.chainer.configuration import no_backprop_mode, using_config
from dyrnn.chainer.dataset.converting import _call_converter, concat_examples
from dyrnn.chainer.iterators.ordering import OrderedIterator
from dyrnn.chainer.training.bases import Extension
from dyrnn.datasets.convert import call_with
from dyrnn.extensions import evaluation


class Evaluator(evaluation.Evaluator, Extension):
    """Reports the means of what a model reports over a validation set.

    Parameters
    ----------
    iterator : Iterator or dict of them
        Goes over the set once.
    target : Link or dict of them
    converter : callable
    device : optional
        Where the arrays go.
    eval_hook : callable, optional
        Called with the evaluator before each evaluation.
    eval_func : callable, optional
        By default the main target.
    progress_bar : bool
    """

    def __init__(
        self,
        iterator,
        target,
        converter=concat_examples,
        device=None,
        eval_hook=None,
        eval_func=None,
        *,
        progress_bar=False,
    ):
        super().__init__(iterator, target, converter, None, eval_hook, eval_func)
        self.device = None if device is None else backend.get_device(device)
        self._progress_bar = progress_bar
        for key, one in self._iterators.items():
            if isinstance(one, OrderedIterator) and one.repeat:
                warnings.warn(
                    f"The `repeat` property of the iterator {key} is set to `True`. "
                    "Typically, the evaluator sweeps over iterators until they stop, "
                    "but as the property being `True`, this iterator might not stop "
                    "and evaluation could go into an infinite loop. We recommend to "
                    "check the configuration of iterators",
                    stacklevel=2,
                )

    def get_all_iterators(self):
        """Return all iterators, a dictionary by name."""
        return dict(self._iterators)

    def get_all_targets(self):
        """Return all targets, a dictionary by name."""
        return dict(self._targets)

    def __call__(self, trainer=None):
        observer = reporter.Reporter()
        self._register_targets(observer, "" if self.name is None else f"{self.name}/")
        with observer, using_config("train", False):
            result = self.evaluate()
        reporter.report(result)
        return result

    def evaluate(self):
        """Return the means; what subclasses override."""
        iterator = self._iterators["main"]
        function = self.eval_func or self._targets["main"]
        if self.eval_hook:
            self.eval_hook(self)
        if hasattr(iterator, "reset"):
            iterator.reset()
        else:
            warnings.warn(
                "This iterator does not have the reset method. Evaluator copies the "
                "iterator instead of resetting. This behavior is deprecated. Please "
                "implement the reset method.",
                DeprecationWarning,
                stacklevel=1,
            )
            iterator = copy.copy(iterator)
        summary = reporter.DictSummary()
        for batch in tqdm(iterator, disable=not self._progress_bar):
            observation = {}
            with reporter.report_scope(observation):
                arrays = _call_converter(self.converter, batch, self.device)
                with no_backprop_mode():
                    call_with(function, arrays)
            summary.add(observation)
        return summary.compute_mean()
