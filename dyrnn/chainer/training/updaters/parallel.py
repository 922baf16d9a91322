"""One batch on several devices, from one process."""

import copy

import numpy as np

from dyrnn.chainer import backend
from dyrnn.chainer.configuration import force_backprop_mode
from dyrnn.chainer.dataset.converting import _call_converter, concat_examples
from dyrnn.chainer.training.updaters.standard import StandardUpdater
from dyrnn.datasets.convert import call_with


class ParallelUpdater(StandardUpdater):
    """Deals the examples of each batch out to copies of the model.

    Parameters
    ----------
    models : dict of Link, optional
        ``"main"`` is the optimizer's target. By default copies are made.
    devices : dict
        Where each model is; needs a ``"main"``.
    """

    def __init__(
        self,
        iterator,
        optimizer,
        converter=concat_examples,
        models=None,
        devices=None,
        loss_func=None,
        loss_scale=None,
        auto_new_epoch=True,
    ):
        super().__init__(
            iterator,
            optimizer,
            converter,
            loss_func=loss_func,
            loss_scale=loss_scale,
            auto_new_epoch=auto_new_epoch,
        )
        if models is None:
            if devices is None:
                raise ValueError("either models or devices must be specified")
            if "main" not in devices:
                raise KeyError("'devices' must contain a 'main' key.")
            models = {"main": optimizer.target}
            for name in devices:
                if name != "main":
                    models[name] = copy.deepcopy(optimizer.target)
                    models[name].to_device(devices[name])
            optimizer.target.to_device(devices["main"])
        self._devices = devices
        self._models = models

    def _others(self):
        main = self.get_optimizer("main").target
        return {k: model for k, model in self._models.items() if model is not main}

    def connect_trainer(self, trainer):
        for name, model in self._others().items():
            trainer.reporter.add_observer(name, model)

    def update_core(self):
        optimizer = self.get_optimizer("main")
        iterator = self.get_iterator("main")
        batch = iterator.next()
        losses = []
        for i, (key, model) in enumerate(self._models.items()):
            device = None if self._devices is None else self._devices[key]
            device = None if device is None else backend.get_device(device)
            part = batch[i :: len(self._models)]
            arrays = _call_converter(self.converter, part, device)
            with (
                force_backprop_mode(),
                backend.using_device(device or model.device),
            ):
                losses.append(call_with(self.loss_func or model, arrays))
        for model in self._models.values():
            model.cleargrads()
        for loss in losses:
            loss.backward(loss_scale=self.loss_scale)
        for model in self._others().values():
            optimizer.target.addgrads(model)
        optimizer.update()
        for model in self._others().values():
            model.copyparams(optimizer.target)
        if self.auto_new_epoch and iterator.is_new_epoch:
            optimizer.new_epoch(auto=True)


def _filled(link):
    """Return the parameters that have elements, in the order of their names."""
    return [param for _, param in sorted(link.namedparams()) if param.size]


def _gather(link, what, function):
    if link.xp is np:
        raise RuntimeError(f"{function} works only on a GPU.")
    arrays = []
    for param in _filled(link):
        array = getattr(param, what)
        if array is None:
            array = link.xp.zeros(param.shape, np.float32)
        arrays.append(array.ravel().astype(np.float32))
    return link.xp.concatenate(arrays)


def _scatter(link, array, what):
    start = 0
    for param in _filled(link):
        part = array[start : start + param.size].reshape(param.shape)
        start += param.size
        setattr(param, what, part.astype(param.dtype))


def gather_grads(link):
    """Return all gradients of a link on a GPU as one float32 array, 0 if missing."""
    return _gather(link, "grad", "gather_grads")


def gather_params(link):
    """Return all parameters of a link on a GPU as one float32 array."""
    return _gather(link, "array", "gather_params")


def scatter_grads(link, array):
    """Give a link the gradients that :func:`gather_grads` has returned."""
    _scatter(link, array, "grad")


def scatter_params(link, array):
    """Give a link the parameters that :func:`gather_params` has returned."""
    _scatter(link, array, "array")


class MultiprocessParallelUpdater(StandardUpdater):
    """A process for each GPU in Chainer; here it only says that there is none."""

    def __init__(self, *args, **kwargs):
        raise RuntimeError(
            "MultiprocessParallelUpdater is not available: it needs NCCL of CuPy 7. "
            "Use ParallelUpdater, or StandardUpdater on one device."
        )

    @staticmethod
    def available():
        """Return False."""
        return False
