"""``chainer.backend``: devices by their specifiers, and arrays on them."""

import numpy as np

from dyrnn.chainer._backend import Device, get_array_module
from dyrnn.chainer.backends import _cpu, cuda
from dyrnn.chainer.backends._cpu import CpuDevice
from dyrnn.chainer.backends.cuda import GpuDevice
from dyrnn.chainer.backends.intel64 import Intel64Device

__all__ = [
    "ChainerxDevice",
    "CpuDevice",
    "Device",
    "GpuDevice",
    "Intel64Device",
    "copyto",
    "from_chx",
    "get_array_module",
    "get_device",
    "get_device_from_array",
    "to_chx",
    "using_device",
]


class ChainerxDevice(Device):
    """Type of ChainerX's devices; none exists."""

    def __init__(self, device):
        raise RuntimeError("ChainerX is not available.")


def to_chx(array):
    """Say that ChainerX is not there."""
    raise RuntimeError("ChainerX is not available.")


def from_chx(array):
    """Return the arrays as they are: none is ChainerX's."""
    return array


def get_device(device_spec):
    """Return the device of a number (-1: the CPU), ``"@numpy"``, ``"@cupy:0"``, ..."""
    if isinstance(device_spec, Device):
        return device_spec
    if cuda.available and isinstance(device_spec, cuda.Device):
        return GpuDevice(device_spec)
    if isinstance(device_spec, str) and device_spec.lstrip("-+").isdigit():
        device_spec = int(device_spec)
    if isinstance(device_spec, (int, np.integer)):
        return (
            GpuDevice.from_device_id(device_spec) if device_spec >= 0 else CpuDevice()
        )
    if not isinstance(device_spec, str):
        raise TypeError(
            "Device specifier must be a backend.Device, cuda.Device, chainerx.Device, "
            f"integer or a string. Actual: {type(device_spec)}"
        )
    if not device_spec.startswith("@"):
        raise RuntimeError(
            f"Tried to parse ChainerX device specifier '{device_spec}', but ChainerX "
            "is not available. Note that device specifiers without '@' prefix are "
            "assumed to be ChainerX device specifiers."
        )
    module, colon, number = device_spec[1:].partition(":")
    if module == "numpy" and not colon:
        return CpuDevice()
    if module == "cupy" and colon:
        return GpuDevice.from_device_id(int(number))
    if module == "intel64" and not colon:
        return Intel64Device()
    raise ValueError(
        "Device specifiers starting with '@' must be followed by a module name and "
        "depending on the module, module specific precise device specifiers. "
        f"Actual: {device_spec}"
    )


def using_device(device_spec):
    """Return a context in which the device is the current one."""
    return get_device(device_spec).create_context()


def get_device_from_array(*arrays):
    """Return the device of the first array that is on a GPU, else the CPU."""
    for array in arrays:
        device = GpuDevice.from_array(array)
        if device is not None:
            return device
    return CpuDevice()


def guess_device_from_array_module(xp):
    """Return the current device of an array module."""
    return GpuDevice(cuda.Device()) if xp is cuda.cupy else CpuDevice()


def copyto(dst, src):
    """Copy the values of one array into another one, across devices."""
    if isinstance(dst, np.ndarray):
        np.copyto(dst, _cpu._to_cpu(src))
    elif isinstance(dst, cuda.ndarray):
        if not isinstance(src, (np.ndarray, cuda.ndarray)):
            raise TypeError(f"cannot copy from non-array object of type {type(src)}")
        cuda.cupy.copyto(dst, cuda.to_gpu(src, device=dst.device))
    else:
        raise TypeError(f"cannot copy to non-array object of type {type(dst)}")


def contains_nan(x):
    """Return whether any element is not a number."""
    if x.dtype.kind not in "fc":
        return False
    return bool(get_array_module(x).isnan(x).any())
