"""One batch, one update."""

import contextlib
import warnings
from functools import partial

from dyrnn.chainer import backend
from dyrnn.chainer.backends import cuda
from dyrnn.chainer.dataset.bases import Iterator
from dyrnn.chainer.dataset.converting import _call_converter, concat_examples
from dyrnn.chainer.training.bases import Updater
from dyrnn.datasets.convert import call_with


class StandardUpdater(Updater):
    """Takes a batch of the main iterator and updates the main optimizer.

    Parameters
    ----------
    iterator : Iterator or dict of them
    optimizer : Optimizer or dict of them
    converter : callable
        ``converter(batch, device)`` returns arrays.
    device : optional
        Where the models and the arrays go.
    loss_func : callable, optional
        By default the target of the optimizer.
    loss_scale : float, optional
    auto_new_epoch : bool
        Whether to tell the optimizer of epochs.
    input_device : optional
        Where the arrays go, if not to ``device``.
    """

    def __init__(
        self,
        iterator,
        optimizer,
        converter=concat_examples,
        device=None,
        loss_func=None,
        loss_scale=None,
        auto_new_epoch=True,
        *,
        input_device=None,
    ):
        if device is not None:
            device = backend.get_device(device)
        if input_device is not None:
            input_device = backend.get_device(input_device)
        if isinstance(iterator, Iterator):
            iterator = {"main": iterator}
        if not isinstance(optimizer, dict):
            optimizer = {"main": optimizer}
        self._iterators = iterator
        self._optimizers = optimizer
        self.converter = converter
        self.loss_func = loss_func
        self.iteration = 0
        self._device = device
        self._input_device = device if input_device is None else input_device
        self.loss_scale = loss_scale
        self.auto_new_epoch = auto_new_epoch
        for optimizer in self._optimizers.values():
            if device is not None:
                self._send(optimizer.target, device)
            if loss_scale is not None:
                optimizer.set_loss_scale(loss_scale)
            if auto_new_epoch:
                optimizer.use_auto_new_epoch = True

    @staticmethod
    def _send(link, device):
        if device.xp is cuda.cupy:  # as to_gpu did: what is on a GPU stays there
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                link.to_gpu(device.device.id)
        else:
            link.to_device(device)

    @property
    def device(self):
        """Where the models are; subclasses of versions 2 to 5 write it."""
        return self._device

    @device.setter
    def device(self, spec):
        self._device = None if spec is None else backend.get_device(spec)
        self._input_device = self._device

    @property
    def input_device(self):
        return self._input_device

    @property
    def epoch(self):
        return self._iterators["main"].epoch

    @property
    def epoch_detail(self):
        return self._iterators["main"].epoch_detail

    @property
    def previous_epoch_detail(self):
        return self._iterators["main"].previous_epoch_detail

    @property
    def is_new_epoch(self):
        return self._iterators["main"].is_new_epoch

    def finalize(self):
        with contextlib.ExitStack() as stack:  # all, even if one of them raises
            for iterator in self._iterators.values():
                if hasattr(iterator, "finalize"):
                    stack.callback(iterator.finalize)

    def get_optimizer(self, name):
        return self._optimizers[name]

    def get_all_optimizers(self):
        return dict(self._optimizers)

    def get_iterator(self, name):
        """Return an iterator by its name."""
        return self._iterators[name]

    def update(self):
        """Do one step, and count it."""
        self.update_core()
        self.iteration += 1

    def update_core(self):
        """Do one step; what subclasses override."""
        iterator = self._iterators["main"]
        optimizer = self._optimizers["main"]
        arrays = _call_converter(self.converter, iterator.next(), self.input_device)
        loss_func = self.loss_func or optimizer.target
        call_with(partial(optimizer.update, loss_func), arrays)
        if self.auto_new_epoch and iterator.is_new_epoch:
            optimizer.new_epoch(auto=True)

    def serialize(self, serializer):
        for name, iterator in self._iterators.items():
            iterator.serialize(serializer[f"iterator:{name}"])
        for name, optimizer in self._optimizers.items():
            optimizer.serialize(serializer[f"optimizer:{name}"])
            optimizer.target.serialize(serializer[f"model:{name}"])
        self.iteration = serializer("iteration", self.iteration)
