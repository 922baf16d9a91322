"""Arrays where the test runs: on the CPU, on a GPU, or on the stand-in for one.

A test marked `every_device` (or a file, ``pytestmark = every_device``) runs on each
device. What it makes with `xp` of this file or draws with the fixture `rng` is there,
and so are the parameters of the links it makes; ``xp.testing`` compares arrays of any
device. Elsewhere `xp` is NumPy. A test that takes the fixture `device` or `xp` says
itself where its arrays are. One test of such a file that is not for each device says
why: ``@one_device("reason")``.
"""

from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from dyrnn import backend
from dyrnn.engine.parameter import Parameter
from dyrnn.link import Link

every_device = pytest.mark.usefixtures("on_every_device")
one_device = pytest.mark.one_device

_device = backend.CPU


def here(array):
    """Return an array of NumPy where the test runs; other things as they are."""
    return _device.send(array) if isinstance(array, np.ndarray) else array


def host(x):
    """Copy an array, or those of a list, to NumPy."""
    if isinstance(x, (list, tuple)):
        items = [host(item) for item in x]
        return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
    return backend.to_cpu(x) if backend.is_array(x) else x


def _by_numpy(function, result):
    def call(*args, **kwargs):
        kwargs = {name: host(value) for name, value in kwargs.items()}
        return result(function(*[host(x) for x in args], **kwargs))

    return call


class Comparisons:
    """``numpy.testing`` for arrays of each device."""

    def __getattr__(self, name):
        return _by_numpy(getattr(np.testing, name), lambda nothing: nothing)


class Draws:
    """A generator of NumPy whose draws are sent to where the test runs."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)

    def __getattr__(self, name):
        return _by_numpy(getattr(self.generator, name), here)


class Random:
    """As much of ``numpy.random`` as tests take."""

    default_rng = Draws

    def __getattr__(self, name):
        return getattr(np.random, name)


class Arrays:
    """The array module of the device; names that it does not have are NumPy's."""

    testing = Comparisons()
    random = Random()

    def __getattr__(self, name):
        module = _device.xp
        return getattr(module if hasattr(module, name) else np, name)


xp: Any = Arrays()


@contextmanager
def made_on(device):
    """Let `xp` make arrays on a device inside the block, and links parameters."""
    global _device
    before, initialize, new = _device, Parameter.__init__, Link.__new__
    register = Link.register_persistent

    def make_parameter(self, *args, **kwargs):
        initialize(self, *args, **kwargs)
        if self.array is None or type(self.array) is np.ndarray:
            self.to_device(device)

    def make_link(cls, *args, **kwargs):
        link = new(cls, *args, **kwargs)
        link._device = device
        return link

    def register_array(self, name):
        register(self, name)
        value = getattr(self, name)
        if backend.is_array(value):
            setattr(self, name, device.send(value))

    with pytest.MonkeyPatch.context() as patch:
        if device != backend.CPU:
            patch.setattr(Parameter, "__init__", make_parameter)
            patch.setattr(Link, "__new__", make_link)
            patch.setattr(Link, "register_persistent", register_array)
        _device = device
        try:
            yield
        finally:
            _device = before
