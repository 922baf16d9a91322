"""One iteration: take a batch, compute the loss, go backward, update the parameters.

`StandardUpdater` does so for a batch of independent examples; `BPTTUpdater` for the
next few time steps of long sequences, by backpropagation through time, truncated at the
steps of this update while the state of the model is carried on (Williams and Peng, "An
Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network
Trajectories", Neural Computation 2(4), 1990).
"""

from __future__ import annotations

import inspect
import math
import time
import warnings

import numpy as np

from dyrnn import backend
from dyrnn.datasets import concat_examples
from dyrnn.engine.core import Variable
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import NonFiniteError
from dyrnn.iterators.base import positive_integer
from dyrnn.link import Link
from dyrnn.reporter import default_weight, get_current_reporter, read_scalars, report

__all__ = ["BPTTUpdater", "StandardUpdater"]

# Losses on a device are looked at after so many updates, or when a log is written.
_MAX_UNCHECKED = 256

# Classes of links with state that snapshots leave out, as their user has been told.
_warned: set[type] = set()


class StandardUpdater:
    """Updates a model with one batch of examples per iteration.

    Parameters
    ----------
    iterator : iterator or dict of iterators
        Gives the batches; in a dictionary, the one called ``"main"``.
    optimizer : optimizer or dict of optimizers
        Set up with its model.
    converter : callable (batch, device)
        Makes arrays of a batch: one, or a tuple or dictionary of arguments.
    device : int, str or Device, optional
        Where to compute; the models are moved there. By default, arrays stay where
        they are.
    loss_func : callable, optional
        Called with the arrays, returns the loss; by default the model itself.

    Attributes
    ----------
    iteration : int
        Updates done.
    update_time : float
        Seconds the last update took, without extensions.

    Notes
    -----
    If the model does not report its loss, the updater does, as ``main/loss``. What is
    reported without a weight counts as many times as the batch has targets.

    A loss that is NaN or infinite raises `NonFiniteError` before the parameters change.
    On a GPU that would mean to wait for each loss, so there it is raised when the log
    is read or a snapshot written, and names the first such iteration.
    """

    def __init__(
        self,
        iterator,
        optimizer,
        converter=concat_examples,
        device=None,
        loss_func=None,
    ):
        self._iterators = iterator if isinstance(iterator, dict) else {"main": iterator}
        self._optimizers = (
            optimizer if isinstance(optimizer, dict) else {"main": optimizer}
        )
        for kind, given in (
            ("iterator", self._iterators),
            ("optimizer", self._optimizers),
        ):
            self._named(kind, given, "main")
        self._check_arguments()
        self.converter = converter
        self.loss_func = loss_func
        self.device = None if device is None else backend.get_device(device)
        self.iteration = 0
        self.previous_epoch_detail = self.epoch_detail
        self.is_new_epoch = False
        self.update_time = 0.0
        self._unchecked = []
        if self.device is not None:
            for each in self._optimizers.values():
                each.target.to_device(self.device)

    def _check_arguments(self):
        """Refuse what is no iterator, and no optimizer with a model."""
        kind = type(self).__name__
        for name, iterator in self._iterators.items():
            if not hasattr(iterator, "next"):
                raise TypeError(
                    f"{kind}: iterator {name!r} is of type {type(iterator).__name__}, "
                    f"which has no next(). Call {kind}(iterator, optimizer), with a "
                    "dyrnn.iterators.SerialIterator or the like."
                )
        for name, optimizer in self._optimizers.items():
            if not hasattr(optimizer, "update") or not hasattr(optimizer, "target"):
                raise TypeError(
                    f"{kind}: optimizer {name!r} is of type "
                    f"{type(optimizer).__name__}, which is no optimizer. Call "
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
                f"{type(self).__name__}: no {kind} is called {name!r}; there are: "
                f"{names}"
            )
        return given[name]

    @property
    def epoch(self):
        """Complete passes over the data."""
        return self._iterators["main"].epoch

    @property
    def epoch_detail(self):
        """Passes over the data, with the fraction of the current one."""
        return self._iterators["main"].epoch_detail

    def get_iterator(self, name="main"):
        """The iterator called ``name``."""
        return self._named("iterator", self._iterators, name)

    def get_optimizer(self, name="main"):
        """The optimizer called ``name``."""
        return self._named("optimizer", self._optimizers, name)

    def get_all_optimizers(self):
        """All optimizers by name."""
        return dict(self._optimizers)

    def update(self):
        """Do one iteration."""
        epoch, epoch_detail = self.epoch, self.epoch_detail
        if self.device is not None:
            self.device.use()
        start = time.perf_counter()
        try:
            self.update_core()
        except NonFiniteError as error:
            raise _located(error, self.iteration + 1) from error
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
        batch = self._next(self.get_iterator())
        arrays = self.converter(batch, self.device)
        optimizer = self.get_optimizer()
        with default_weight(target_count(arrays, batch)):
            loss = self._loss(arrays)
            self._report_loss(loss, optimizer.target)
        self.check_loss(loss)
        optimizer.target.cleargrads()
        loss.backward()
        optimizer.update()
        _cut_history(optimizer.target)

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
        return loss.reshape(()) if loss.ndim else loss

    def _next(self, iterator, *steps):
        try:
            return iterator.next_window(*steps) if steps else iterator.next()
        except StopIteration:
            raise RuntimeError(
                f"the training iterator ended in iteration {self.iteration + 1}, "
                f"before the stop trigger fired. Create it with repeat=True."
            ) from None

    def _report_loss(self, loss, target):
        reporter = get_current_reporter()
        if reporter is not None and reporter.name_of(target) is not None:
            key = reporter.name_of(target) + "/loss"
            if key not in reporter.observation:
                report({"loss": loss}, target)

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

    def finalize(self):
        """Release what the iterators hold."""
        for iterator in self._iterators.values():
            iterator.finalize()

    def serialize(self, s):
        """Save or load the iterators, optimizers and models, and their carried state.

        A model with a loss that was not finite is not saved.
        """
        self.check_finite()
        for name, iterator in self._iterators.items():
            iterator.serialize(s["iterator:" + name])
        for name, optimizer in self._optimizers.items():
            optimizer.target.serialize(s["model:" + name])
            optimizer.serialize(s["optimizer:" + name])
            if hasattr(optimizer.target, "serialize_state"):
                if not s.loading:
                    warn_of_lost_state(optimizer.target)
                optimizer.target.serialize_state(s["carried:" + name])
        self.iteration = s("iteration", self.iteration)
        self.previous_epoch_detail = float(
            s("previous_epoch_detail", float(self.previous_epoch_detail))
        )
        self.is_new_epoch = s("is_new_epoch", bool(self.is_new_epoch))


class BPTTUpdater(StandardUpdater):
    """Updates a recurrent model with the next ``bprop_len`` steps of its sequences.

    The loss of an update is the sum over the steps of the mean over the batch, so
    learning rates and clipping thresholds mean what they do in the published settings
    of language models; what is reported is the mean per target.

    Parameters
    ----------
    iterator : iterator or dict of iterators
        Its ``next()`` gives a batch for a time step, a list of examples ``(x, t)``, or
        a window of ``bprop_len`` steps, a tuple of arrays ``(T, B, ...)``. If it has
        ``next_window(n)``, that is called for a window.
    optimizer : optimizer or dict of optimizers
        Set up with a model that keeps its state from call to call.
    bprop_len : int
        Steps per update; gradients do not flow further back.
    device : int, str or Device, optional
        Where to compute; a window moves there in one piece.
    window : bool
        False calls the model once per step, with ``(B, ...)``; True once per update,
        with ``(T, B, ...)``: the same loss and gradients, and much faster.
    converter : callable (batch, device)
        Makes arrays of the batch of one time step.
    loss_func : callable, optional
        Called with the arrays, returns the mean loss; by default the model itself.
    reset_at_epoch : bool
        Clear the model's state when a new pass over the data begins.
    """

    def __init__(
        self,
        iterator,
        optimizer,
        bprop_len,
        device=None,
        window=False,
        converter=concat_examples,
        loss_func=None,
        reset_at_epoch=False,
    ):
        bprop_len = positive_integer("BPTTUpdater: bprop_len", bprop_len)
        super().__init__(iterator, optimizer, converter, device, loss_func)
        steps = getattr(self.get_iterator(), "steps", bprop_len)
        if steps != bprop_len:
            raise ValueError(
                f"BPTTUpdater: the iterator gives windows of {steps} steps, but "
                f"bprop_len is {bprop_len}. Use the same number for both."
            )
        self._check_pass(bprop_len)
        self.bprop_len = bprop_len
        self.window = window
        self.reset_at_epoch = reset_at_epoch

    def update_core(self):
        """Do the work of one iteration."""
        optimizer = self.get_optimizer()
        model = optimizer.target
        epoch = self.epoch
        arrays = self._next_window()
        length = len(arrays[0])
        if self.window:
            loss = self._loss(arrays) * length
        else:
            loss = 0
            for step in range(length):
                loss += self._loss(tuple(array[step] for array in arrays))
        # A model may have reported its last step; the mean over all of them counts.
        if get_current_reporter() is not None:
            report({"loss": loss.array / length}, model, weight=arrays[-1].size)
        self.check_loss(loss)
        model.cleargrads()
        loss.backward()
        loss.unchain_backward()
        optimizer.update()
        _cut_history(model)
        if self.reset_at_epoch and self.epoch != epoch:
            model.reset_state()

    def _check_pass(self, bprop_len):
        """Refuse a window in which every track goes round the data."""
        iterator = self.get_iterator()
        if hasattr(iterator, "next_window") and hasattr(iterator, "dataset"):
            steps = -(-len(iterator.dataset) // iterator.batch_size)
            if bprop_len > steps:
                raise ValueError(
                    f"BPTTUpdater: bprop_len is {bprop_len}, but a pass over the data "
                    f"has {steps} steps. Decrease bprop_len or the batch size, or use "
                    "a longer text."
                )

    def _next_window(self):
        """Arrays (T, B, ...) of the next steps, on the device."""
        iterator = self.get_iterator()
        if hasattr(iterator, "next_window"):
            arrays = self._next(iterator, self.bprop_len)
        else:
            batch = self._next(iterator)
            if isinstance(batch, tuple):  # a window, as of WindowIterator
                arrays = batch
            else:
                batches = [batch]
                batches += [self._next(iterator) for _ in range(self.bprop_len - 1)]
                steps = [self.converter(batch, None) for batch in batches]
                arrays = [np.stack(column) for column in zip(*steps, strict=True)]
        if self.device is not None:
            arrays = [self.device.send(array) for array in arrays]
        return tuple(arrays)


def _cut_history(model):
    """Keep of the carried state its values only, as a snapshot does.

    A state that this update's loss did not depend on would take its graph into the
    next one's, and gradients further back than in a run that was resumed in between.
    """
    for link in model.links():
        for name in link.carried:
            state = getattr(link, name)
            if isinstance(state, Variable):
                state.unchain_backward()


def _located(problem, iteration):
    return NonFiniteError(f"in iteration {iteration}: {problem}")


def _diagnosis(value):
    return (
        f"the loss is {float(value)}. A lower learning rate or gradient clipping may "
        "help; config.debug = True names the operation. Go on from the last snapshot."
    )


def warn_of_lost_state(model):
    """Warn, once a class, of links with variables that look carried over time.

    A link that resets a state of its own, but does not name it in ``carried``, goes on
    without it after a resume.
    """
    for link in model.links():
        cls = type(link)
        if cls.reset_state is Link.reset_state or cls in _warned:
            continue
        # Not all variables: a link may also keep its last loss, to be looked at.
        names = _names_in_reset_state(cls).difference(link.carried)
        values = vars(link).items()
        lost = [k for k, v in values if k in names and _has_variable(v)]
        if lost:
            _warned.add(cls)
            warnings.warn(
                f"{cls.__name__} resets a state of its own, but a snapshot leaves out "
                f"its {', '.join(lost)}, so that a resumed run would differ. Name them "
                f"in the class, carried = {(*link.carried, *lost)!r}, each with one "
                "variable or None.",
                stacklevel=2,
            )


def _names_in_reset_state(cls):
    methods = [vars(base).get("reset_state") for base in cls.__mro__]
    codes = [getattr(inspect.unwrap(m), "__code__", None) for m in methods if m]
    return {name for code in codes if code for name in code.co_names}


def _has_variable(value):
    if isinstance(value, list | tuple):
        return any(map(_has_variable, value))
    return isinstance(value, Variable) and not isinstance(value, Parameter)


def call_with(function, arrays):
    """Call a function with a tuple as arguments, a dict as keywords, or one array."""
    if isinstance(arrays, tuple):
        return function(*arrays)
    if isinstance(arrays, dict):
        return function(**arrays)
    return function(arrays)


def target_count(arrays, batch):
    """How many targets a mean over the batch is taken of: the last argument's size."""
    if isinstance(arrays, dict):
        arrays = tuple(arrays.values())
    last = arrays[-1] if isinstance(arrays, tuple) else arrays
    if isinstance(last, list | tuple) and all(hasattr(x, "size") for x in last):
        return sum(array.size for array in last)
    return last.size if hasattr(last, "size") else len(batch)
