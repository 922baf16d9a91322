"""Weights beside those that are trained: the best so far, and their average.

Both are in snapshots, so a run that is resumed ends with the same.
"""

from __future__ import annotations

from dyrnn import backend
from dyrnn.arguments import check_number
from dyrnn.errors import SnapshotError
from dyrnn.link import Link
from dyrnn.serializers.protocol import Keeper, Restorer, count
from dyrnn.training import Extension
from dyrnn.training.triggers import Patience, is_default
from dyrnn.typing import TriggerLike


class BestWeights(Extension):
    """Keeps the weights with which a value was best, and restores them in the end.

    Snapshots go on holding those that are trained, so a resumed run goes on from them.

    Parameters
    ----------
    monitor : str
        Name of the observed value.
    mode : {"auto", "min", "max"}
        Which values are better; ``"auto"`` goes by the words of the name, such as
        ``loss`` and ``f1``.
    check_trigger : trigger
        When the value is looked at; the extension itself runs at every iteration.
    target : Link, optional
        What to keep, by default the model of the updater's main optimizer.

    Attributes
    ----------
    best_value : float or None
    iteration : int
        That of the best value, 0 before there is one.
    """

    def __init__(
        self,
        monitor: str = "validation/main/loss",
        mode: str = "auto",
        check_trigger: TriggerLike = (1, "epoch"),
        target: Link | None = None,
    ) -> None:
        self.iteration = 0
        self.target = target
        self._looks = Patience("BestWeights", monitor, mode, check_trigger)
        self._kept: dict = {}
        self._trained: dict = {}  # what the model had before it got the best
        self._has_failed = False

    @property
    def best_value(self):
        return self._looks.best_value

    def set_interval(self, trigger):
        if is_default(self._looks.trigger):
            self._looks.trigger = trigger
            return True
        return False

    def initialize(self, trainer):
        self._has_failed, self._trained = False, {}
        if self.target is None:
            self.target = trainer.updater.get_optimizer("main").target

    def __call__(self, trainer):
        if self._looks(trainer):
            self._kept = self._weights()
            self.iteration = trainer.updater.iteration

    def on_error(self, trainer, error, traceback):
        self._has_failed = True  # training may go on from where it is
        if self._trained:  # a signal came after the end, and now a snapshot does
            self.target.serialize(Restorer(self._trained))
            self._trained = {}

    def finalize(self):
        """Restore the best weights, unless an error or a signal ended training."""
        if self._kept and not self._has_failed:
            self._trained = self._weights()
            self.restore()

    def _weights(self):
        keeper = Keeper()
        self.target.serialize(keeper)
        return _copied(keeper.kept)

    def restore(self) -> None:
        """Give the model its best weights."""
        if self.target is None or not self._kept:
            raise RuntimeError(
                "BestWeights: there was no value yet, so nothing is kept"
            )
        self.target.serialize(Restorer(_copied(self._kept)))

    def serialize(self, s):
        """Save or load the best value, and the weights that are kept."""
        self._looks.serialize(s)
        self.iteration = count(s, "iteration", self.iteration)
        names = s("names", sorted(self._kept))
        if s.loading:
            if not all(isinstance(name, str) for name in names):
                raise SnapshotError(f"names of weights are not texts: {names!r:.80}")
            self._kept = dict.fromkeys(names)
        for name in names:
            self._kept[name] = s["weights"](name, self._kept[name])


def _copied(values):
    return {k: v.copy() if backend.is_array(v) else v for k, v in values.items()}


class WeightAverage(Extension):
    """A copy of the model whose weights are a running mean of those that are trained.

    After each update, ``mean += (1 - d) * (weights - mean)``. Evaluate and save the
    copy, ``average.model``, in place of the model::

        average = extensions.WeightAverage(model, 0.999)
        trainer.extend(average)
        trainer.extend(extensions.Evaluator(iterator, average.model))
        trainer.extend(extensions.snapshot_object(average.model, "model.npz"))

    Parameters
    ----------
    model : Link
        What is trained.
    decay : float or None
        ``d`` is at most this, and ``(1 + t) / (10 + t)`` after t other updates, so that
        the initial weights do not count for long. None takes the mean of all updates
        alike.
    start : int
        Updates after which averaging begins; until then the copy follows the model.

    Attributes
    ----------
    model : Link
        With parameters and running statistics of its own.
    """

    priority = 400  # before an evaluator that looks at it

    def __init__(
        self, model: Link, decay: float | None = 0.999, start: int = 0
    ) -> None:
        if decay is not None:
            check_number("WeightAverage: decay", decay)
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(
                f"WeightAverage: decay={decay!r}; use 0 to below 1, or None"
            )
        self.source = model
        self.decay = decay
        self.start = start
        self.model = model.copy("copy")
        self.model.reset_state()

    def __call__(self, trainer):
        pairs = zip(self.model.links(), self.source.links(), strict=True)
        for mine, theirs in pairs:
            for name in theirs._persistent:
                value = getattr(theirs, name)
                value = value.copy() if backend.is_array(value) else value
                setattr(mine, name, value)
        t = trainer.updater.iteration - self.start
        if t <= 0:
            rate = 1.0
        elif self.decay is None:
            rate = 1 / t
        else:
            rate = 1 - min(self.decay, t / (9 + t))
        for mean, param in zip(self.model.params(), self.source.params(), strict=True):
            if not mean.is_initialized and param.is_initialized:
                mean.initialize(param.shape)
                mean.array[...] = param.array
            elif param.is_initialized:
                mean.array += (param.array - mean.array) * rate

    def serialize(self, s):
        """Save or load the averages."""
        self.model.serialize(s["model"])
