"""NumPy or CuPy: which module an array belongs to, devices, and copies between them.

With ``kernels/cuda/device.py`` this is the only file that imports CuPy. All above it
works from ``xp``, the array module, which :func:`get_array_module` finds from the
*type* of an array (NumPy arrays have a ``device`` attribute, too, which tells nothing).
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeGuard

import numpy as np

from dyrnn.errors import DeviceError
from dyrnn.typing import Array


class Device:
    """A place where arrays live: ``name``, its array module ``xp``, and ``send``."""

    name = "@numpy"
    xp: Any = np

    def send(self, array: Array) -> Array:
        """Return ``array`` on this device; the same object if it is there already."""
        return to_cpu(array)

    def use(self) -> None:
        """Make this device the current one of this thread."""

    def __eq__(self, other):
        return isinstance(other, Device) and self.name == other.name

    def __hash__(self):
        return hash(self.name)

    def __reduce__(self):
        return get_device, (self.name,)

    def __repr__(self):
        return f"<Device {self.name}>"


class GpuDevice(Device):
    """One CUDA device through CuPy."""

    def __init__(self, index: int) -> None:
        if not is_available():
            raise DeviceError(
                f"device @cupy:{index} was asked for, but no CUDA device can be used "
                "here. Install cupy-cuda12x on a machine with an NVIDIA driver, or use "
                "device -1 (the CPU)."
            )
        count = _cupy().cuda.runtime.getDeviceCount()
        if not 0 <= index < count:
            raise DeviceError(
                f"device @cupy:{index} was asked for, but there are {count} CUDA "
                f"devices, numbered from 0."
            )
        self.xp = _cupy()
        self.index = index
        self.name = f"@cupy:{index}"

    def send(self, array: Array) -> Array:
        with self.xp.cuda.Device(self.index):
            if isinstance(array, self.xp.ndarray) and array.device.id == self.index:
                return array
            if _module(type(array)) is self.xp:
                return self.xp.array(array)
            return self.xp.asarray(np.ascontiguousarray(to_cpu(array)))

    def use(self) -> None:
        self.xp.cuda.Device(self.index).use()


CPU = Device()
DeviceLike = Device | int | str  # what get_device takes

# Array type -> (its module, function that copies one to NumPy, its device).
_modules: dict[type, tuple[Any, Any, Any]] = {
    np.ndarray: (np, lambda array: array, lambda array: CPU),
}
_devices: dict[str, Device] = {"@numpy": CPU}


def register_array_module(
    array_type: type, xp: Any, to_numpy: Callable, device: Device
) -> None:
    """Make another array library known: its array class, module, and device.

    ``device`` is a :class:`Device` whose ``send`` copies to it; its ``name`` then works
    in :func:`get_device`.
    """
    _modules[array_type] = (xp, to_numpy, lambda array: device)
    _devices[device.name] = device


@lru_cache(maxsize=1)
def _cupy():
    """Return CuPy with its arrays registered, or None where it is not installed."""
    try:
        import cupy
    except ImportError:
        return None
    _modules[cupy.ndarray] = (
        cupy,
        lambda array: array.get(),
        lambda array: get_device((array.device.id,)),
    )
    return cupy


@lru_cache(maxsize=1)
def is_available() -> bool:
    """Whether a CUDA device can be used through CuPy."""
    cupy = _cupy()
    return cupy is not None and cupy.cuda.is_available()


@lru_cache(maxsize=64)
def _entry(array_type):
    for base in array_type.__mro__:
        if base in _modules:
            return _modules[base]
    if array_type.__module__.partition(".")[0] == "cupy" and _cupy() is not None:
        return _modules[_cupy().ndarray]
    return None


def _module(array_type):
    entry = _entry(array_type)
    return np if entry is None else entry[0]


def is_array(x: object) -> TypeGuard[Array]:
    """Whether ``x`` is an array of NumPy, CuPy or a registered module."""
    return type(x) is np.ndarray or _entry(type(x)) is not None


def get_array_module(*arrays: object) -> Any:
    """Return the module of the arrays: ``numpy``, ``cupy``; ``numpy`` without any.

    Raises
    ------
    DeviceError
        If the arrays belong to different modules.
    """
    found = None
    for array in arrays:
        array_type = type(array)
        entry = _modules.get(array_type) or _entry(array_type)
        if entry is None:
            continue
        if found is None:
            found = entry[0]
        elif found is not entry[0]:
            places = ", ".join(str(device_of(a)) for a in arrays if is_array(a))
            raise DeviceError(
                f"arrays of different devices in one computation: {places}. Move the "
                "batch with to_device, or the model with model.to_device."
            )
    return np if found is None else found


def device_of(array: Array) -> Device:
    """Return the :class:`Device` an array lives on."""
    entry = _entry(type(array))
    return CPU if entry is None else entry[2](array)


def get_device(spec: DeviceLike) -> Device:
    """Return the :class:`Device` that ``spec`` names.

    Parameters
    ----------
    spec : int, str or Device
        -1, ``"@numpy"``, ``"cpu"`` or ``"native"``: the CPU. ``N``, ``"N"``,
        ``"cuda:N"`` or ``"@cupy:N"``: CUDA device N. A :class:`Device` is returned as
        it is.
    """
    if isinstance(spec, Device):
        return spec
    if isinstance(spec, tuple):
        return _gpu(spec[0])
    text = str(spec).strip()
    if text in _devices:
        return _devices[text]
    if text in ("-1", "cpu", "native"):
        return CPU
    match = re.fullmatch(r"(?:(?:cuda|gpu|@cupy):)?(\d+)|cuda|gpu|@cupy", text)
    if match is None:
        raise ValueError(
            f"unknown device {spec!r}: use -1 or '@numpy' for the CPU, 0, 'cuda:0' or "
            "'@cupy:0' for a GPU"
        )
    return _gpu(int(match.group(1) or 0))


@lru_cache(maxsize=16)
def _gpu(index):
    return GpuDevice(index)


def to_cpu(array: Any) -> Any:
    """Return a NumPy array with the same values; a NumPy array is returned as it is."""
    if type(array) is np.ndarray or array is None:
        return array
    entry = _entry(type(array))
    return np.asarray(array) if entry is None else entry[1](array)


def to_device(array: Array, device: DeviceLike) -> Array:
    """Return ``array`` on ``device`` (anything :func:`get_device` takes)."""
    return get_device(device).send(array)
