"""CUDA through CuPy, in Chainer's words; without a GPU, names that say so."""

import contextlib
import functools
import warnings

import numpy as np

from dyrnn import backend as _engine
from dyrnn.chainer import _backend
from dyrnn.chainer._backend import get_array_module
from dyrnn.chainer.backends import _cpu
from dyrnn.chainer.configuration import config

available = _engine.is_available()
cudnn_enabled = False
_integer_types = (int, np.integer)

if available:
    cupy = _engine.get_device(0).xp
    cuda = cupy.cuda
    ndarray, Device = cupy.ndarray, cupy.cuda.Device
    Event, Stream = cupy.cuda.Event, cupy.cuda.Stream
    memory_pool = cupy.get_default_memory_pool()
    pinned_memory_pool = cupy.get_default_pinned_memory_pool()
else:
    cupy = object()
    cuda = object()

    class ndarray:
        """Stand-in: nothing is an instance of it."""

    class Device(contextlib.nullcontext):
        """Stand-in: a device that does nothing."""

        def __init__(self, device=None):
            super().__init__(self)
            self.id = device

    class Event:
        """Stand-in."""

    class Stream:
        """Stand-in."""


class DummyDeviceType:
    """The device of arrays that are on no GPU."""

    id = -1

    def __int__(self):
        return -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def use(self):
        """Do nothing."""

    synchronize = use

    def __eq__(self, other):
        return isinstance(other, DummyDeviceType)

    __hash__ = None


DummyDevice = DummyDeviceType()


def check_cuda_available():
    """Raise RuntimeError unless a GPU and CuPy are there."""
    if not available:
        raise RuntimeError(
            "CUDA environment is not correctly set up: dyrnn finds no CUDA device it "
            "can use. Install cupy-cuda12x on a machine with an NVIDIA driver, or give "
            "device -1 (the CPU)."
        )


class GpuDevice(_backend.Device):
    """One CUDA device."""

    xp = cupy
    supported_array_types = (ndarray,)
    __hash__ = _backend.Device.__hash__

    def __init__(self, device):
        check_cuda_available()
        self.device = device

    @staticmethod
    def from_device_id(device_id):
        """Return the device of a number."""
        check_cuda_available()
        if not (isinstance(device_id, _integer_types) and device_id >= 0):
            raise ValueError(f"Invalid CUDA device ID: {device_id}")
        return GpuDevice(Device(device_id))

    @staticmethod
    def from_array(array):
        """Return the device of a CuPy array, None for others."""
        return GpuDevice(array.device) if isinstance(array, ndarray) else None

    @property
    def name(self):
        return f"@cupy:{self.device.id}"

    def __eq__(self, other):
        return isinstance(other, GpuDevice) and other.device == self.device

    def __repr__(self):
        return f"<{type(self).__name__} (cupy):{self.device.id}>"

    def __reduce__(self):
        return GpuDevice.from_device_id, (self.device.id,)

    def create_context(self):
        return Device(self.device.id)

    def send_array(self, array):
        return _array_to_gpu(array, self.device)

    def use(self):
        self.device.use()

    def is_array_supported(self, array):
        return isinstance(array, ndarray) and self.device == array.device


def get_device_from_id(device_id):
    """Return the CUDA device of a number, DummyDevice for None and negative ones."""
    if device_id is not None and device_id >= 0:
        check_cuda_available()
        return Device(int(device_id))
    return DummyDevice


def get_device_from_array(*arrays):
    """Return the CUDA device of the first CuPy array, else DummyDevice."""
    for array in arrays:
        if isinstance(array, ndarray):
            return array.device
    return DummyDevice


def get_device(*args):
    """Return the CUDA device of a number or an array; version 1."""
    warnings.warn(
        "get_device is deprecated. Please use get_device_from_id or "
        "get_device_from_array instead.",
        DeprecationWarning,
        stacklevel=1,
    )
    for arg in args:
        if isinstance(arg, _integer_types) and not isinstance(arg, bool):
            check_cuda_available()
            return Device(arg)
        if isinstance(arg, ndarray):
            return arg.device
        if available and isinstance(arg, Device):
            return arg
    return DummyDevice


def init(device=None):
    """Make a GPU current; version 1."""
    check_cuda_available()
    _get_device_or_current(device).use()


def _get_device_or_current(device):
    if device is None:
        return Device()
    if isinstance(device, Device):
        return device
    if not (isinstance(device, _integer_types) and device >= 0):
        raise ValueError(f"Invalid CUDA device specifier: {device}")
    return Device(int(device))


def to_gpu(array, device=None, stream=None):
    """Copy an array, or each of a list, to a GPU."""
    check_cuda_available()
    device = _get_device_or_current(None if device is DummyDevice else device)
    return _backend.convert_arrays(array, lambda a: _array_to_gpu(a, device))


def _array_to_gpu(array, device):
    if array is None:
        return None
    if not isinstance(array, (np.ndarray, np.generic, ndarray)):
        raise TypeError(
            "The array sent to gpu must be an array or a NumPy scalar."
            f"\nActual type: {type(array)}."
        )
    return _engine.get_device(f"@cupy:{device.id}").send(np.asarray(array))


def to_cpu(array, stream=None):
    """Copy an array, or each of a list, to main memory."""
    return _cpu._to_cpu(array)


def copy(array, out=None, out_device=None, stream=None):
    """Copy a CuPy array, to another GPU if so asked."""
    check_cuda_available()
    if out is None:
        with _get_device_or_current(out_device):
            out = cupy.empty_like(array)
    cupy.copyto(out, array)
    return out


def memoize(for_each_device=False):
    """Return CuPy's ``memoize``, or a decorator that changes nothing."""
    return cupy.memoize(for_each_device) if available else lambda function: function


def clear_memo():
    """Forget what was memoized."""
    if available:
        cupy.clear_memo()


def elementwise(*params, **kwargs):
    """Return a CuPy kernel for single elements: inputs, outputs, operation, name."""
    return _kernel("ElementwiseKernel", *params, **kwargs)


def reduce(*params, **kwargs):
    """Return a CuPy kernel for a reduction.

    In order: ``in_params``, ``out_params``, ``map_expr``, ``reduce_expr``,
    ``post_map_expr``, ``identity``, ``name``.
    """
    return _kernel("ReductionKernel", *params, **kwargs)


def raw(*params, **kwargs):
    """Return a CuPy kernel from CUDA code and its name."""
    return _kernel("RawKernel", *params, **kwargs)


def _kernel(kind, *args, **kwargs):
    check_cuda_available()
    return _cached_kernel(kind, *args, **kwargs)


@functools.cache
def _cached_kernel(kind, *args, **kwargs):
    return getattr(cupy, kind)(*args, **kwargs)


def fuse(*args, **kwargs):
    """Return the function as it is, or CuPy's ``fuse`` of it."""
    if available:
        return cupy.fuse(*args, **kwargs)
    if len(args) == 1 and not kwargs and callable(args[0]):
        return args[0]
    return lambda function: function


def should_use_cudnn(level, lowest_version=0):
    """Return False, after a look at the settings' spelling."""
    if level not in ("==always", ">=auto"):
        raise ValueError(
            f"invalid cuDNN use level: {level!r} "
            '(must be either of "==always" or ">=auto")'
        )
    _check_setting("use_cudnn")
    return False


def should_use_cudnn_tensor_core(dtype):
    """Return False, after a look at the settings' spelling."""
    _check_setting("use_cudnn_tensor_core")
    return False


def _check_setting(name):
    value = getattr(config, name)
    if value not in ("always", "auto", "never"):
        raise ValueError(
            f"invalid {name} configuration: {value!r} "
            '(must be either of "always", "auto", or "never")'
        )


__all__ = [name for name in globals() if not name.startswith("_")]
__all__ += ["get_array_module"]
