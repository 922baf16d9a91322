"""From a list of examples to arrays on a device."""

import numpy as np

from dyrnn.chainer import backend
from dyrnn.chainer._backend import array_types


class Converter:
    """Base class of converters: ``converter(batch, device)`` returns arrays."""

    def __call__(self, batch, device):
        raise NotImplementedError("Concrete class must implement __call__.")


class _ArbitraryCallableConverter(Converter):
    """A function as a converter; it is given a device object."""

    def __init__(self, base_callable):
        if not callable(base_callable):
            raise TypeError(f"Can only wrap a callable. Actual: {type(base_callable)}")
        self.base_callable = base_callable

    def __call__(self, *args, **kwargs):
        if len(args) >= 2:
            args = (args[0], _get_device(args[1]), *args[2:])
        elif "device" in kwargs:
            kwargs["device"] = _get_device(kwargs["device"])
        return self.base_callable(*args, **kwargs)


def converter():
    """Return a decorator that makes a function of (batch, device) a converter."""
    return _ArbitraryCallableConverter


def _call_converter(converter, batch, device):
    """Call a converter of any age: old ones are given a number for the device."""
    if isinstance(converter, Converter) or device is None:
        return converter(batch, device)
    return converter(batch, -1 if device.xp is np else device.device.id)


def to_device(device, x):
    """Send an array to a device; None leaves it where it is."""
    device = _get_device(device)
    return x if device is None else device.send(x)


def _get_device(spec):
    return None if spec is None else backend.get_device(spec)


def concat_examples_func(batch, device=None, padding=None):
    """Stack examples to arrays: one, or a tuple or dictionary as the examples are.

    Parameters
    ----------
    batch : list of arrays, numbers, tuples or dicts
    device : optional
        Where the arrays go.
    padding : number, or tuple or dict of numbers, optional
        What fills up examples of smaller shapes.
    """
    if not batch:
        raise ValueError("batch is empty")
    first = batch[0]
    if isinstance(first, tuple):
        keys = range(len(first))
        fill = padding if isinstance(padding, tuple) else [padding] * len(first)
    elif isinstance(first, dict):
        keys = first
        fill = padding if isinstance(padding, dict) else dict.fromkeys(keys, padding)
    else:
        return to_device(device, _concat_arrays(batch, padding))
    columns = {
        key: to_device(device, _concat_arrays([e[key] for e in batch], fill[key]))
        for key in keys
    }
    return tuple(columns.values()) if isinstance(first, tuple) else columns


def _concat_arrays(arrays, padding):
    if not isinstance(arrays[0], array_types()):
        arrays = np.asarray(arrays)
    device = backend.get_device_from_array(arrays[0])
    with backend.using_device(device):
        if padding is None:
            return device.xp.concatenate([array[None] for array in arrays])
        shape = np.max([array.shape for array in arrays], axis=0).astype(int)
        result = device.xp.full((len(arrays), *shape), padding, dtype=arrays[0].dtype)
        for i, array in enumerate(arrays):
            result[(i, *map(slice, array.shape))] = array
        return result


concat_examples = _ArbitraryCallableConverter(concat_examples_func)


class ConcatWithAsyncTransfer:
    """As :func:`concat_examples`, for one device; kept for scripts that name it.

    The transfer is not asynchronous: CuPy's copies from main memory need no stream of
    their own to keep up with text batches.
    """

    def __init__(self, stream=None, compute_stream=None):
        self._stream = stream
        self.compute_stream = compute_stream
        self._device = None
        self._is_used = False

    def __call__(self, batch, device=None, padding=None):
        if not batch:
            raise ValueError("batch is empty")
        if not self._is_used:
            self._device, self._is_used = device, True
        if device != self._device:
            raise ValueError("device is different")
        return concat_examples(batch, device, padding)
