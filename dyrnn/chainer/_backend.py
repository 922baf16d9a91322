"""Devices in Chainer's words, and which arrays are arrays."""

import contextlib

import numpy as np

from dyrnn import backend


class Device:
    """A place for arrays: ``xp``, ``name``, ``send`` and ``use``."""

    @property
    def xp(self):
        raise NotImplementedError("Device implementation must override this property.")

    @property
    def name(self):
        raise NotImplementedError("Device implementation must override this property.")

    @property
    def supported_array_types(self):
        raise NotImplementedError("Device implementation must override this property.")

    def __str__(self):
        return self.name

    def __enter__(self):
        raise RuntimeError(
            "Device class does not support runtime context using `with` statement. "
            "Use chainer.using_device instead."
        )

    def __exit__(self, *_):
        pass

    def __eq__(self, other):
        raise NotImplementedError("Device implementation must override this method.")

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        return hash(self.name)

    # Version 4 had integers here; scripts still ask `updater.device >= 0`.
    def __ge__(self, other):
        return _index(self) >= _index(other)

    def __gt__(self, other):
        return _index(self) > _index(other)

    def __le__(self, other):
        return _index(self) <= _index(other)

    def __lt__(self, other):
        return _index(self) < _index(other)

    def create_context(self):
        """Return a context in which this device is the current one."""
        return contextlib.nullcontext()

    def send(self, arrays):
        """Return the array, or list or tuple of arrays, on this device."""
        return convert_arrays(arrays, self.send_array)

    def send_array(self, array):
        """Return one array on this device."""
        raise NotImplementedError("Device implementation must override this method.")

    def use(self):
        """Make this device the current one of this thread."""

    def is_array_supported(self, array):
        """Return whether this device can compute with the array."""
        raise NotImplementedError("Device implementation must override this method.")


def _index(device):
    if not isinstance(device, Device):
        return int(device)
    inner = getattr(device, "device", None)
    return -1 if inner is None else inner.id


def convert_arrays(arrays, convert):
    """Apply ``convert`` to an array, or once to each different one of a list."""
    if not isinstance(arrays, (list, tuple)):
        return convert(arrays)
    done = {id(a): convert(a) for a in arrays if a is not None}
    return type(arrays)([None if a is None else done[id(a)] for a in arrays])


def array_types():
    """Return the types of arrays a variable may hold."""
    if backend.is_available():
        return np.ndarray, backend.get_device(0).xp.ndarray
    return (np.ndarray,)


def cpu_array_types():
    """Return the types of arrays in main memory."""
    return (np.ndarray,)


def is_arrays_compatible(arrays):
    """Return whether all arrays (None aside) are of one array module."""
    arrays = [a for a in arrays if a is not None]
    if not arrays:
        return True
    kinds = array_types()
    if isinstance(arrays[0], kinds[1:]):
        return all(isinstance(a, kinds[1:]) for a in arrays)
    return all(isinstance(a, np.ndarray) for a in arrays)


def raw(x):
    """Return the array of a variable, else ``x`` itself."""
    return x.raw_array if hasattr(x, "raw_array") else x


def get_array_module(*args):
    """Return CuPy if any of the arrays or variables is CuPy's, else NumPy."""
    if backend.is_available():
        gpu = backend.get_device(0).xp
        if any(isinstance(raw(x), gpu.ndarray) for x in args):
            return gpu
    return np
