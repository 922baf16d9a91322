"""One iteration: take a batch, compute the loss, go backward, update the parameters.

`StandardUpdater` does so for a batch of independent examples; ``bptt.py`` for the next
few time steps of long sequences.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.backend import DeviceLike
from dyrnn.datasets import concat_examples
from dyrnn.datasets.convert import call_with, target_count
from dyrnn.engine.core import Variable, as_array
from dyrnn.engine.counts import Tally, largest
from dyrnn.errors import NonFiniteError
from dyrnn.iterators.base import positive_integer
from dyrnn.iterators.serial import claim_orders
from dyrnn.link import Link
from dyrnn.optimizers.optimizer import Optimizer
from dyrnn.optimizers.refused import restoring
from dyrnn.reporter import (
    Parts,
    get_current_reporter,
    read_scalars,
    report,
)
from dyrnn.serializers.protocol import count
from dyrnn.training.accumulation import add_up, serialize_numbers
from dyrnn.training.undeclared import (
    Numbers,
    Watch,
    own_state_of,
    serialize_gradients,
)
from dyrnn.training.windows import (
    Doubts,
    check_graph,
    check_optimizers,
    cut_history,
    finalize_all,
    total,
    unrelated_examples,
)
from dyrnn.typing import Batches

# Losses on a device are looked at after so many updates, or when a log is written.
_MAX_UNCHECKED = 256


class StandardUpdater:
    """Updates a model with one batch of examples per iteration.

    Parameters
    ----------
    iterator : iterator or dict of iterators
        Gives the batches; in a dictionary, the one called ``"main"``.
    optimizer : optimizer or dict of optimizers
        Set up with its model. In a dictionary, the model of the one called ``"main"``
        computes the loss (or ``loss_func`` does), and each updates its own model.
    converter : callable (batch, device)
        Makes arrays of a batch: one, or a tuple or dictionary of arguments.
    device : int, str or Device, optional
        Where to compute; the models are moved there. By default, arrays stay where
        they are.
    loss_func : callable, optional
        Called with the arrays, returns the loss; by default the model itself.
    accumulate : int
        Batches whose gradients make one update: that of the batches joined, which may
        be more than the memory holds. Means are over the labels of all of them. An
        iteration takes so many batches, with the same parameters.

    Attributes
    ----------
    iteration : int
        Updates done.
    update_time : float
        Seconds the last update took, without extensions.
    mean_loss, label_count : number or array
        The loss of this update as a mean, and of how many labels; known before the
        hooks of the optimizer run, on a GPU without waiting for it.
    loss_weights : list or None
        What the losses were divided by; None: a sum. See `Tally.weights_of`.
    scope : callable
        Returns the context in which an update is computed; by default an empty one.
    without_examples : tuple of classes
        Errors by which a batch is known to have nothing for this process.

    Notes
    -----
    If the model does not report its loss, the updater does, as ``main/loss``. What is
    reported counts as the labels that it is the mean of, see `dyrnn.report`.

    Examples that are sequences (T, ...) come time first by ``converter=time_major`` of
    `dyrnn.datasets`, and a model with recurrent layers calls ``self.reset_state()``
    first in its ``forward``. Where the iterator gives examples that do not follow each
    other, `SerialIterator` and those like it, such a layer refuses a window with the
    batch first, and the state of another batch.

    A loss or a gradient that is NaN or infinite raises `NonFiniteError`, and the update
    is refused: parameters, the optimizer's state, the state that the model carries and
    its running statistics are as before, and ``iteration`` does not count it. The batch
    stays taken and random numbers stay drawn, so that a program which catches the error
    and calls `update` again goes on with the next batch. On a GPU that would mean to
    wait for each loss, so there it is raised when the log is read or a snapshot
    written, and names the first such iteration; gradients are set to zero until then.
    """

    def __init__(
        self,
        iterator: Batches | dict[str, Batches],
        optimizer: Optimizer | dict[str, Optimizer],
        converter: Callable = concat_examples,
        device: DeviceLike | None = None,
        loss_func: Callable | None = None,
        accumulate: int = 1,
    ) -> None:
        self.accumulate = positive_integer(
            f"{type(self).__name__}: accumulate", accumulate
        )
        self._iterators = iterator if isinstance(iterator, dict) else {"main": iterator}
        self._optimizers = (
            optimizer if isinstance(optimizer, dict) else {"main": optimizer}
        )
        self._check_arguments()
        claim_orders(self._iterators.values())
        self.converter = converter
        self.loss_func = loss_func
        self.device = None if device is None else backend.get_device(device)
        self.iteration = 0
        self.previous_epoch_detail = self.epoch_detail
        self.is_new_epoch = False
        self.update_time = 0.0
        self.mean_loss: Any = math.nan
        self.label_count: Any = 0
        self.loss_weights: list | None = None
        self.scope: Callable = contextlib.nullcontext
        self.without_examples: tuple = ()
        self._is_added_up = False
        self._unchecked = []
        self._settings: Any = None  # what the program set, by optimizer
        self._set_accumulate = self.accumulate
        self._numbers: Any = None
        targets = self._models()
        self._watch = Watch(targets)
        self._doubts = Doubts(self)
        self.own_state = own_state_of(self)
        if self.device is not None:
            for target in targets:
                target.to_device(self.device)

    def __repr__(self):
        parts = [
            f"{self.iteration} updates",
            f"{self.epoch_detail:.2f} epochs",
            *map(repr, self._iterators.values()),
            *map(repr, self._optimizers.values()),
        ]
        if self.accumulate > 1:
            parts.insert(2, f"{self.accumulate} batches each")
        return f"<{type(self).__name__}: {', '.join(parts)}>"

    def _models(self):
        return list(self._models_by_name().values())

    def _models_by_name(self):
        return {name: each.target for name, each in self._optimizers.items()}

    def _link_of_loss(self):
        """The link that ``loss_func`` is or a method of, in a list, if there is one."""
        link = getattr(self.loss_func, "__self__", self.loss_func)
        return [link] if isinstance(link, Link) else []

    def _check_arguments(self):
        """Refuse what is not an iterator, and not an optimizer with a model."""
        kind = type(self).__name__
        self.get_iterator()
        self.get_optimizer()
        for name, iterator in self._iterators.items():
            if not hasattr(iterator, "next"):
                raise TypeError(
                    f"{kind}: iterator {name!r} is of type {type(iterator).__name__}, "
                    f"which has no next(). Call {kind}(iterator, optimizer), with a "
                    "dyrnn.iterators.SerialIterator or the like."
                )
        for name, optimizer in self._optimizers.items():
            if not hasattr(optimizer, "target"):
                raise TypeError(
                    f"{kind}: optimizer {name!r} is of type "
                    f"{type(optimizer).__name__}, which is not an optimizer. Call "
                    f"{kind}(iterator, optimizer), with optimizer = "
                    "dyrnn.optimizers.Adam().setup(model) or the like."
                )
            if optimizer.target is None:
                raise ValueError(
                    f"{kind}: optimizer {name!r} has no model to train; call "
                    "optimizer.setup(model) first."
                )

    def _named(self, kind, given, name):
        if name not in given:
            names = ", ".join(map(repr, given)) or "none"
            raise KeyError(
                f"{type(self).__name__}: no {kind} {name!r}; there are: {names}"
            )
        return given[name]

    @property
    def epoch(self) -> int:
        """Complete passes over the data."""
        return self._iterators["main"].epoch

    @property
    def epoch_detail(self) -> float:
        """Passes over the data, with the fraction of the current one."""
        return self._iterators["main"].epoch_detail

    def get_iterator(self, name: str = "main") -> Any:
        """The iterator called ``name``."""
        return self._named("iterator", self._iterators, name)

    def get_all_iterators(self) -> dict[str, Any]:
        """All iterators by name."""
        return dict(self._iterators)

    def get_optimizer(self, name: str = "main") -> Optimizer:
        """The optimizer called ``name``."""
        return self._named("optimizer", self._optimizers, name)

    def get_all_optimizers(self) -> dict[str, Optimizer]:
        """All optimizers by name."""
        return dict(self._optimizers)

    def note_settings(self) -> None:
        """Remember what the program sets, at the first call, before others change it.

        A snapshot keeps it: where a resumed program sets something else, it is told
        that the snapshot's value holds.
        """
        if self._settings is None:
            self._settings = {
                name: each.settings() for name, each in self._optimizers.items()
            }
            self._set_accumulate = self.accumulate
            self._numbers = Numbers(self._models_by_name())
            self._watch.begin()
            self.own_state.begin()

    def update(self) -> None:
        """Do one iteration."""
        self.note_settings()
        epoch, epoch_detail = self.epoch, self.epoch_detail
        if self.device is not None:
            self.device.use()
        self._forget_loss()
        start = time.perf_counter()
        is_known = self._watch.is_over
        try:
            watch = contextlib.nullcontext() if is_known else self._watch.update()
            with restoring(*self._models(), *self._link_of_loss()), watch, self.scope():
                self.update_core()
        except NonFiniteError as error:
            raise _located(error, self.iteration + 1) from error
        if self.accumulate > 1 and not self._is_added_up:
            raise TypeError(
                f"{type(self).__name__}: accumulate is {self.accumulate}, but its own "
                "update_core adds up nothing: let it call super().update_core(), or "
                "leave accumulate out"
            )
        self.update_time = time.perf_counter() - start
        self.iteration += 1
        self.previous_epoch_detail = epoch_detail
        self.is_new_epoch = self.epoch != epoch
        if self.is_new_epoch:
            for optimizer in self._optimizers.values():
                optimizer.new_epoch()
        if len(self._unchecked) >= _MAX_UNCHECKED:
            self.check_finite()

    def update_core(self):
        """Do the work of one iteration; override this for another way to train."""
        self._is_added_up = self.accumulate > 1
        if self._is_added_up:
            add_up(self)
        else:
            loss, *told = self._compute()
            self._report_loss(*told)
            self._backward(loss)
        self._step()

    def _compute(self):
        """Take a batch; return its loss, the parts of its mean, and its weights."""
        batch = self._next(self.get_iterator().next)
        arrays = self.converter(batch, self.device)
        scope = unrelated_examples(
            self._models(), self.get_iterator(), batch, arrays, self.converter
        )
        with scope, Tally(target_count(arrays, batch)) as tally:
            loss = self._loss(arrays)
        parts = tally.parts_of(loss)
        if tally.is_unclear(loss) and not tally.is_told:
            told = "Means over batches weigh by it."
            count = largest([n for _, n in parts])
            self._doubts.tell("was computed from sums", count, told)
        return loss, parts, tally.weights_of(loss)

    def _backward(self, loss, factor=1.0, adds=False):
        """Compute the gradients of a loss, or add them to those that are there."""
        self.check_loss(loss)
        for model in () if adds else self._models():
            model.cleargrads()
        if isinstance(factor, float):
            loss = loss if factor == 1.0 else loss * factor
        else:
            loss = loss * factor.astype(loss.dtype)
        loss.backward()
        check_graph(type(self).__name__, loss, self._optimizers.values())

    def _step(self):
        """Update all models by the gradients that are there."""
        if len(self._optimizers) > 1:
            check_optimizers(type(self).__name__, self._optimizers)
        for optimizer in self._optimizers.values():
            optimizer.update()
        for model in self._models():
            cut_history(model)

    def _loss(self, arrays):
        """Return the loss as ``loss_func`` or the model computes it."""
        function = self.loss_func or self.get_optimizer().target
        loss = call_with(function, arrays)
        if not hasattr(loss, "backward") or loss.size != 1:
            name = getattr(function, "__name__", type(function).__name__)
            found = getattr(loss, "shape", None)
            found = "" if found is None else f" of shape {found}"
            raise TypeError(
                f"{type(self).__name__}: {name} returned a {type(loss).__name__}"
                f"{found}, but the loss is a Variable with one element. Return it as "
                "such, e.g. F.softmax_cross_entropy(y, t)."
            )
        return loss.reshape(())

    def _next(self, read, *steps):
        try:
            return read(*steps)
        except StopIteration:
            raise RuntimeError(
                f"the training iterator ended in iteration {self.iteration + 1}, "
                f"before the stop trigger fired. Create it with repeat=True."
            ) from None

    def _report_loss(self, parts, weights):
        """Report the mean loss, unless the model has said itself what its loss is."""
        self.loss_weights = weights
        parts = [(as_array(mean), count) for mean, count in parts]
        self.mean_loss, self.label_count = total(parts), largest([n for _, n in parts])
        reporter, model = get_current_reporter(), self.get_optimizer().target
        name = None if reporter is None else reporter.name_of(model)
        if name is not None and f"{name}/loss" not in reporter.observation:
            report({"loss": self.mean_loss}, model, weight=Parts(parts))

    def _forget_loss(self):
        """Forget the loss of an update before, where a loop goes on with one dict."""
        reporter = get_current_reporter()
        if reporter is not None:
            for model in self._models():
                reporter.observation.pop(f"{reporter.name_of(model)}/loss", None)

    def check_loss(self, loss):
        """Refuse a non-finite loss; call this between the loss and the update."""
        array = loss.array if isinstance(loss, Variable) else loss
        if isinstance(array, np.ndarray | np.generic | float):
            if not math.isfinite(array):
                raise NonFiniteError(_diagnosis(array))
        else:
            self._unchecked.append((self.iteration + 1, array))

    def check_finite(self):
        """Raise `NonFiniteError` if a loss of a past update was NaN or infinite."""
        unchecked, self._unchecked = self._unchecked, []
        values = read_scalars([array for _, array in unchecked])
        for (iteration, _), value in zip(unchecked, values, strict=True):
            if not math.isfinite(value):
                raise _located(_diagnosis(value), iteration)

    def finalize(self) -> None:
        """Release what the iterators hold."""
        finalize_all(self._iterators.values())

    def serialize(self, s):
        """Save or load the iterators, optimizers and models, and their carried state.

        A model with a loss that was not finite is not saved.
        """
        self.check_finite()
        self.note_settings()
        for name, iterator in self._iterators.items():
            if not hasattr(iterator, "serialize"):
                raise TypeError(
                    f"a snapshot cannot hold the place in the data of iterator {name!r}"
                    f": {type(iterator).__name__} has no serialize(self, s). Write one "
                    "that saves its position and order, or use one of dyrnn.iterators."
                )
            iterator.serialize(s["iterator:" + name])
        for name, optimizer in self._optimizers.items():
            optimizer.target.serialize(s["model:" + name])
            optimizer.serialize(s["optimizer:" + name])
            optimizer.target.serialize_state(s["carried:" + name])
        self._numbers.serialize(s)
        if not type(self).update_core.__module__.startswith("dyrnn."):
            # An update in each iteration leaves no gradients to the next one.
            optimizers = self._optimizers.items()
            are_added_up = {name: o.t != self.iteration for name, o in optimizers}
            serialize_gradients(s, self._models_by_name(), are_added_up)
        if s.has("settings"):
            saved = s("settings", self._settings)
            for name, optimizer in self._optimizers.items() if s.loading else ():
                optimizer.tell_changes(saved.get(name), self._settings[name])
            self._settings = saved
        self._set_accumulate, self.accumulate = serialize_numbers(
            s, self._set_accumulate, self.accumulate
        )
        self._watch.check(s)
        self.own_state.serialize(s)
        self.iteration = count(s, "iteration", self.iteration)
        self.previous_epoch_detail = float(
            s("previous_epoch_detail", float(self.previous_epoch_detail))
        )
        self.is_new_epoch = s("is_new_epoch", bool(self.is_new_epoch))


def _located(problem, iteration):
    error = NonFiniteError(f"in iteration {iteration}: {problem}")
    error.iteration = iteration
    return error


def _diagnosis(value):
    return (
        f"the loss is {float(value)}. A lower learning rate or gradient clipping may "
        "help; config.debug = True names the operation. Go on from the last snapshot."
    )
