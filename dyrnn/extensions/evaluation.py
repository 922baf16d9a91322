"""Looking at a model on data it does not train on."""

from __future__ import annotations

import contextlib
import copy
import itertools
import warnings
from collections.abc import Callable
from typing import Any

from dyrnn import backend, random
from dyrnn.backend import DeviceLike
from dyrnn.config import no_backprop_mode, using_config
from dyrnn.datasets import concat_examples
from dyrnn.datasets.convert import call_with, target_count
from dyrnn.engine.core import Variable
from dyrnn.engine.counts import Tally, divisors_of
from dyrnn.iterators.base import is_window
from dyrnn.link import Link
from dyrnn.metrics import Metric
from dyrnn.reporter import (
    DictSummary,
    Observation,
    Reporter,
    get_current_reporter,
    report,
)
from dyrnn.training import PRIORITY_WRITER, Extension
from dyrnn.training.undeclared import Watch, reset_keeping
from dyrnn.training.windows import Doubts, finalize_all, unrelated_examples
from dyrnn.typing import Batches

_TOLD = "Means over batches weigh by it."


class Evaluator(Extension):
    """Reports the means of what a model says over a validation set.

    They are reported as ``validation/main/loss`` and so on. Each value counts as the
    labels that it is the mean of, see `dyrnn.report`, so that means do not depend on
    batch sizes and padding. Training goes on as if nothing had happened: a model that
    carries state over time is evaluated from a fresh state, as ``reset_state`` makes
    it, and gets its own back, also where it is declared nowhere.

    Parameters
    ----------
    iterator : iterator or dict of iterators
        With ``repeat=False``. It is started anew for each evaluation.
    target : Link or dict of Links
        What reports: by its registered name, which is ``main`` for a single one.
    converter : callable (batch, device)
        Makes arguments of a batch; a window is taken as the arguments themselves.
    device : int, str or Device, optional
        Where to compute.
    eval_hook : callable (evaluator), optional
        Called before each evaluation.
    eval_func : callable, optional
        Called with the arguments; by default the target. Its result is reported as the
        loss if it reports none itself.
    metrics : dict of Metrics, optional
        By the names under which they are reported, ``validation/main/f1`` say. What
        ``eval_func`` or the model adds to them in an evaluation counts, see
        `dyrnn.metrics`.
    name : str, optional
        What the trainer calls it, and the prefix: ``name/main/loss``. Of two with one
        name, or without, the second one is called ``name_1``.

    Notes
    -----
    An order that the iterator shuffles, and what the model draws, come from the random
    streams of an evaluation, see `dyrnn.random.scope`: they are the same each time.
    """

    trigger = (1, "epoch")
    priority = PRIORITY_WRITER
    default_name = "validation"

    def __init__(
        self,
        iterator: Batches | dict[str, Batches],
        target: Link | dict[str, Link],
        converter: Callable = concat_examples,
        device: DeviceLike | None = None,
        eval_hook: Callable | None = None,
        eval_func: Callable | None = None,
        name: str | None = None,
        metrics: dict[str, Metric] | None = None,
    ) -> None:
        self._iterators = iterator if isinstance(iterator, dict) else {"main": iterator}
        self._targets = target if isinstance(target, dict) else {"main": target}
        self.converter = converter
        self.device = None if device is None else backend.get_device(device)
        self.eval_hook = eval_hook
        self.eval_func = eval_func
        self.name = name
        self.metrics = _checked(metrics or {})
        self._doubts = Doubts(self)
        self._found: dict[type, dict] | None = None  # state that an updater saw
        self._world: Any = None  # the trainer's, while it evaluates
        self._most: int | None = None  # batches, in a dry run

    def get_iterator(self, name: str = "main") -> Any:
        """The iterator called ``name``."""
        return self._iterators[name]

    def get_target(self, name: str = "main") -> Link:
        """The link called ``name``."""
        return self._targets[name]

    def __call__(self, trainer=None):
        """Evaluate, report the means with this evaluator's prefix, and return them."""
        reporter = Reporter()
        named = getattr(trainer, "extensions", {}).items()
        names = [name for name, extension in named if extension is self]
        prefix = names[0] if names else self.name or self.default_name
        self._register_targets(reporter, prefix + "/")
        watch = getattr(getattr(trainer, "updater", None), "_watch", None)
        self._found = None if watch is None else watch.found
        self._world = getattr(trainer, "world", None)
        self._most = 2 if getattr(trainer, "is_dry_run", False) else None
        world = self._world
        with (
            contextlib.nullcontext() if world is None else world.announce(prefix),
            reporter,
            random.scope("evaluation"),
            using_config("train", False),
            no_backprop_mode(),
        ):
            means = self.evaluate()
        report(means)
        return means

    def _register_targets(self, reporter, prefix):
        for name, target in self._targets.items():
            reporter.add_observer(prefix + name, target)
            reporter.add_observers(prefix + name, target.namedlinks(skipself=True))

    def evaluate(self) -> dict:
        """The means over the validation set; override it to evaluate otherwise."""
        iterator, target = self.get_iterator(), self.get_target()
        function = self.eval_func or target
        if self.eval_hook is not None:
            self.eval_hook(self)
        reporter: Any = get_current_reporter()  # the one of __call__
        loss_key = reporter.name_of(target) + "/loss"
        summary = DictSummary()
        sums: dict[Any, list] = {}  # what they were divided by: sizes of their batches
        no_means: set[str] = set()
        n_batches = 0
        for metric in self.metrics.values():
            metric.reset()
        with self._state_set_aside():
            for batch in self._batches(iterator):
                n_batches += 1
                arguments = self._arguments(iterator, batch)
                observation = Observation()
                default = target_count(arguments, batch)
                scope = unrelated_examples(
                    self._targets.values(), iterator, batch, arguments, self.converter
                )
                window = None
                if is_window(iterator, batch):
                    window = (*arguments[-1].shape, 1)[:2]
                tally = Tally(default, window)
                with reporter.scope(observation), tally, scope:
                    result = call_with(function, arguments)
                    if result is not None and loss_key not in observation:
                        report({"loss": result}, target)
                if isinstance(result, Variable) and not tally.is_told:
                    sums.setdefault(divisors_of(result), []).append(default)
                    if tally.is_unclear(result):
                        found = "was computed from sums"
                        self._doubts.tell(found, tally.count_of(result), _TOLD)
                summary.add(observation)
                no_means.update(tally.no_means)
        self._tell_of_sums(sums)
        if n_batches > 1:
            self._doubts.tell_no_means(sorted(no_means))
        if self._world is not None:
            summary = self._world.merge(summary)
        return {**summary.compute_mean(), **self._scores(reporter.name_of(target))}

    def _scores(self, prefix):
        """Return what the metrics say of all batches, of all processes."""
        if self.metrics and self._world is not None:
            self._world.add_up([metric.sums for metric in self.metrics.values()])
        for name, metric in self.metrics.items():
            if not metric.sums.any():
                warnings.warn(
                    f"Evaluator: the metric {name!r} counted nothing in an evaluation: "
                    "does the model, or eval_func, call its add()?",
                    stacklevel=2,
                )
        return {
            f"{prefix}/{key}": score
            for name, metric in self.metrics.items()
            for key, score in metric.reported(name).items()
        }

    def _tell_of_sums(self, sums):
        """Warn if all losses were sums, divided by one number whatever the batch."""
        if len(sums) != 1:
            return
        ((divisors, sizes),) = sums.items()
        if not divisors or len(set(sizes)) == 1:
            return
        over = divisors[0]
        divided = "" if over is None else f" divided by {over:g}"
        found = f"is a sum over each batch{divided}, of sizes {set(sizes)},"
        self._doubts.tell(found, sizes[-1] if over is None else over, _TOLD)

    def _batches(self, iterator):
        if self._world is None:
            return itertools.islice(_one_pass(iterator), self._most)
        return self._world.own_batches(_one_pass(iterator))

    def _arguments(self, iterator, batch):
        if not is_window(iterator, batch):
            return self.converter(batch, self.device)
        if self.device is None:
            return batch
        return tuple(self.device.send(array) for array in batch)

    @contextlib.contextmanager
    def _state_set_aside(self):
        """Clear the state that the targets carry over time, and put it back after."""
        targets = self._targets.values()
        links = [link for target in targets for link in target.links()]
        kept = [
            (link, name, getattr(link, name)) for link in links for name in link.carried
        ]
        watch = Watch(list(targets))
        put_back = reset_keeping(
            targets, lambda: watch.found if self._found is None else self._found
        )
        is_alone = self._found is None
        try:
            with watch.update() if is_alone else contextlib.nullcontext():
                yield
        finally:
            for target in targets:
                target.reset_state()
            put_back()
            for link, name, value in kept:
                setattr(link, name, value)

    def finalize(self):
        """Release what the iterators hold."""
        finalize_all(self._iterators.values())


def _checked(metrics):
    """Return metrics by name, if they are that."""
    is_dict = isinstance(metrics, dict)
    odd = [m for m in metrics.values() if not isinstance(m, Metric)] if is_dict else []
    if not is_dict or odd:
        raise TypeError(
            f"Evaluator: metrics is {metrics!r:.80}; give a dictionary of "
            'dyrnn.metrics by name, such as {"f1": dyrnn.metrics.F1(3)}'
        )
    return dict(metrics)


def _one_pass(iterator):
    if getattr(iterator, "repeat", False):
        raise ValueError(
            f"Evaluator: the {type(iterator).__name__} never ends. Create it with "
            "repeat=False."
        )
    if hasattr(iterator, "reset"):
        iterator.reset()
        return iterator
    return copy.copy(iterator)
