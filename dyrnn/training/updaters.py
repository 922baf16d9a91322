"""One iteration: take a batch, compute the loss, go backward, update the parameters.

`StandardUpdater` does so for a batch of independent examples; `BPTTUpdater` for the
next few time steps of long sequences, by backpropagation through time, truncated at the
steps of this update while the state of the model is carried on (Williams and Peng, "An
Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network
Trajectories", Neural Computation 2(4), 1990).
"""

from __future__ import annotations

import math
import operator
import time

import numpy as np

from dyrnn import backend
from dyrnn.core import Variable
from dyrnn.datasets import concat_examples
from dyrnn.errors import NonFiniteError
from dyrnn.reporter import default_weight, get_current_reporter, read_scalars, report

__all__ = ["BPTTUpdater", "StandardUpdater"]

# Losses on a device are looked at after so many updates, or when a log is written.
_MAX_UNCHECKED = 256


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
            if "main" not in given:
                raise KeyError(
                    f"{type(self).__name__}: no {kind} is called 'main'; "
                    f"got {', '.join(map(str, given)) or 'none'}"
                )
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
        return self._iterators[name]

    def get_optimizer(self, name="main"):
        """The optimizer called ``name``."""
        return self._optimizers[name]

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
            loss = call_with(self.loss_func or optimizer.target, arrays)
            self._report_loss(loss, optimizer.target)
        self.check_loss(loss)
        optimizer.target.cleargrads()
        loss.backward()
        optimizer.update()

    def _next(self, iterator):
        try:
            return iterator.next()
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
        if operator.index(bprop_len) < 1:
            raise ValueError(
                f"BPTTUpdater: bprop_len must be at least 1, got {bprop_len}"
            )
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
        loss_func = self.loss_func or model
        epoch = self.epoch
        arrays = self._next_window()
        length = len(arrays[0])
        if self.window:
            loss = loss_func(*arrays) * length
        else:
            loss = 0
            for step in range(length):
                loss += loss_func(*(array[step] for array in arrays))
        # A model may have reported its last step; the mean over all of them counts.
        if get_current_reporter() is not None:
            report({"loss": loss.array / length}, model, weight=arrays[-1].size)
        self.check_loss(loss)
        model.cleargrads()
        loss.backward()
        loss.unchain_backward()
        optimizer.update()
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
            arrays = iterator.next_window(self.bprop_len)
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


def _located(problem, iteration):
    return NonFiniteError(f"in iteration {iteration}: {problem}")


def _diagnosis(value):
    return (
        f"the loss is {float(value)}. A lower learning rate or gradient clipping may "
        "help; config.debug = True names the operation. Go on from the last snapshot."
    )


def call_with(function, arrays):
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
    if isinstance(last, list | tuple):
        return sum(array.size for array in last)
    return last.size if hasattr(last, "size") else len(batch)
