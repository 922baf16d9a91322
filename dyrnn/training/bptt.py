"""One iteration of backpropagation through time, truncated at a number of steps.

`BPTTUpdater` takes the next few time steps of long sequences, while the state of the
model is carried on (Williams and Peng, "An Efficient Gradient-Based Algorithm for
On-Line Training of Recurrent Network Trajectories", Neural Computation 2(4), 1990).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import numpy as np

from dyrnn.backend import DeviceLike
from dyrnn.datasets import concat_examples
from dyrnn.engine.counts import SUM, Tally, kind_of, largest
from dyrnn.errors import ShapeError, SnapshotError
from dyrnn.iterators.base import is_window
from dyrnn.optimizers.optimizer import Optimizer
from dyrnn.reporter import Observation, get_current_reporter, means_of
from dyrnn.serializers.protocol import count
from dyrnn.training.undeclared import declaration, holds_variable
from dyrnn.training.updaters import StandardUpdater
from dyrnn.training.windows import (
    check_goes_on,
    check_window,
    loss_of_steps,
    loss_of_window,
    steps_of,
    takes_windows,
)
from dyrnn.typing import Batches


class BPTTUpdater(StandardUpdater):
    """Updates a recurrent model with the next steps of its sequences.

    The loss of an update is ``steps * (sum of losses / counted labels)`` of its window:
    without ignored labels, the sum over the steps of the mean over the batch, so that
    learning rates and clipping thresholds mean what they do in the published settings
    of language models. It is the same by steps and by windows, and over several
    machines by one exchange: the sums of gradients times ``label_count``, and of the
    counts. What is reported is the mean per label, over all steps.

    A loss that is a sum over the batch, as `F.sum` and `NegativeSampling` return it, is
    taken as it is: the sum over the whole window, in both modes. Divided by something,
    as in ``F.sum(losses * mask) / mask.sum()``, it is the mean over so many labels. A
    mean of sums over the first axis, ``F.mean(F.sum(losses, axis=0))``, is the sum over
    the steps of a window. Of losses that are added, as in ``loss + 0.5 * auxiliary``,
    each counts its own labels. Of what else is computed from sums, the loss cannot know
    it, and a warning says once what to write.

    Parameters
    ----------
    iterator : iterator or dict of iterators
        Its batches are time steps or windows, see `dyrnn.iterators.Iterator`.
    optimizer : optimizer or dict of optimizers
        Set up with a model that keeps its state from call to call.
    bprop_len : int, optional
        Steps per update; gradients do not flow further back. An iterator over windows
        has it as its ``steps``.
    device : int, str or Device, optional
        Where to compute; a window moves there in one piece.
    window : bool, optional
        True calls the model once per update, with ``(T, B, ...)``; False once per step,
        with ``(B, ...)``: the same loss and gradients, and much slower. By default, the
        model is given windows if it has links that carry state, and each of them says
        so, ``takes_windows = True``. A resumed run goes on as the snapshot was made.
        Say False where the model itself computes along an axis counted from the front,
        as in ``F.mean(h, axis=0)``.
    converter : callable (batch, device)
        Makes arrays of the batch of one time step.
    loss_func : callable, optional
        Called with the arrays, returns the mean loss; by default the model itself. One
        that does not come straight from a loss of `dyrnn.functions` may say how many
        labels it counts, ``loss.count = n``; else steps count their losses' labels.
    reset_at_epoch : bool
        Clear the model's state when a new pass over the data begins.
    accumulate : int
        Windows, one after the other, whose gradients make one update, as those of a
        batch of so many times the rows: ``steps * (sum of losses / counted labels)`` of
        all of them.
    """

    def __init__(
        self,
        iterator: Batches | dict[str, Batches],
        optimizer: Optimizer | dict[str, Optimizer],
        bprop_len: int | None = None,
        device: DeviceLike | None = None,
        window: bool | None = None,
        converter: Callable = concat_examples,
        loss_func: Callable | None = None,
        reset_at_epoch: bool = False,
        accumulate: int = 1,
    ) -> None:
        super().__init__(iterator, optimizer, converter, device, loss_func, accumulate)
        check_goes_on(self.get_iterator())
        self.bprop_len = steps_of(self.get_iterator(), bprop_len)
        self._chooses = window is None
        if window is None:
            # The loss may also be a method of the model.
            models = [each.target for each in self._optimizers.values()]
            models.append(getattr(loss_func, "__self__", loss_func))
            window = takes_windows(*models)
        self.window = bool(window)
        self.reset_at_epoch = reset_at_epoch

    def _compute(self):
        """Take a window; return its loss, the parts of its mean, and its weights."""
        epoch = self.epoch
        arrays = self._next_window()
        length = len(arrays[0])
        if self.window:
            size, shape = arrays[-1].size, (*arrays[-1].shape, 1)[:2]
            with Tally(size, shape) as tally:
                loss = self._loss_of_window(arrays)
                is_unclear = tally.is_unclear(loss)
                loss, parts, doubt = loss_of_window(loss, tally)
        else:
            loss, parts, doubt = *self._loss_of_steps(arrays, length), None
            is_unclear = False
        if doubt is not None:
            told = (
                "An update takes that of all steps, steps times the mean. By steps "
                "(window=False) it may be another."
            )
            self._doubts.tell(doubt, largest([n for _, n in parts]), told)
        if self.reset_at_epoch and self.epoch != epoch:
            self.get_optimizer().target.reset_state()
        weights = [math.nan if is_unclear else n for _, n in parts]
        return loss, parts, None if kind_of(loss) == SUM else weights

    def _backward(self, loss, factor=1.0, adds=False):
        super()._backward(loss, factor, adds)
        loss.unchain_backward()

    def update(self):
        """Do one iteration."""
        watched = not self._watch.is_over
        super().update()
        if watched and self.window and self._chooses:
            self._refuse_own_state()

    def _refuse_own_state(self):
        """Refuse a model with undeclared state, which may not be made for windows."""
        for kind, values in self._watch.found.items():
            if self._watch.is_over or any(map(holds_variable, values.values())):
                raise TypeError(
                    f"BPTTUpdater: {kind.__name__} has a state of its own, "
                    f"{', '.join(values)}, and was called with a window (T, B, ...). "
                    f"{declaration(kind, values)} If its forward takes windows, say "
                    "takes_windows = True in the class, too."
                )

    def _loss_of_window(self, arrays):
        try:
            return self._loss(arrays)
        except ShapeError as error:
            if self._chooses:
                error.args = (
                    f"{error} (The model was called with a window (T, B, ...); if it "
                    "takes single steps, say BPTTUpdater(..., window=False).)",
                )
            raise

    def _loss_of_steps(self, arrays, length):
        """Call the model once per step; return the loss, and the parts of its mean.

        Of all that the model reports, the means over the steps are left.
        """
        steps, seen = [], []
        reporter = get_current_reporter()
        scope = contextlib.nullcontext() if reporter is None else reporter.scope({})
        with Tally(arrays[-1][0].size) as tally, scope:
            for step in range(length):
                tally.labels = None
                if reporter is not None:
                    reporter.observation = Observation()
                    seen.append(reporter.observation)
                loss = self._loss(tuple(array[step] for array in arrays))
                steps.append(tally.parts_of(loss))
        if reporter is not None:
            means = means_of(seen)
            means.add_to(reporter.observation)
        return loss_of_steps(steps, kind_of(loss) == SUM)

    def _next_window(self):
        """Arrays (T, B, ...) of the next steps, on the device."""
        iterator = self.get_iterator()
        next_window = getattr(iterator, "next_window", None)
        if next_window is not None:
            arrays = self._next(next_window, self.bprop_len)
        else:
            batch = self._next(iterator.next)
            if is_window(iterator, batch):
                arrays = batch
                check_window(iterator, arrays)
            else:
                batches = [batch]
                batches += [self._next(iterator.next) for _ in range(1, self.bprop_len)]
                steps = [self.converter(batch, None) for batch in batches]
                arrays = [np.stack(column) for column in zip(*steps, strict=True)]
        if self.device is not None:
            arrays = [self.device.send(array) for array in arrays]
        return tuple(arrays)

    def serialize(self, s):
        """Save or load what `StandardUpdater` does, and whether by steps or windows."""
        super().serialize(s)
        if s.has("bprop_len"):  # which a program may change on the way
            self.bprop_len = count(s, "bprop_len", self.bprop_len)
        if not s.loading:
            s("window", self.window)
            return
        # Where the file is older than the choice, updates went step by step by default.
        default = self.window and not self._chooses
        window = s("window", default) if s.has("window") else default
        if window != self.window and not self._chooses:
            raise SnapshotError(
                f"BPTTUpdater: the snapshot was made with window={window}, and this is "
                f"window={self.window}: go on with the same, or leave it out"
            )
        self.window = window
