"""What can be moved to a device: links, and whatever holds arrays."""

import warnings

from dyrnn.chainer import backend
from dyrnn.chainer.backends import cuda, intel64

_METHODS = {"to_cpu": "@numpy", "to_gpu": "@cupy:N", "to_intel64": "@intel64"}


class DeviceResident:
    """Something with arrays on a device."""

    _device = backend.CpuDevice()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name in vars(cls):
            if name in ("to_chx", "from_chx", "to_device"):
                raise TypeError(f"method {name!r} is final.")
            if name in _METHODS:
                text = f"Overriding method {name!r}."
                warnings.warn(text, DeprecationWarning, stacklevel=2)

    def __init__(self):
        self._overridden_to_methods = tuple(
            name
            for name in _METHODS
            if getattr(self, name).__func__ is not getattr(DeviceResident, name)
        )

    def device_resident_accept(self, visitor):
        """Show the visitor all that is on the device."""
        visitor.visit_device_resident(self)

    @property
    def device(self):
        """The device."""
        return self._device

    @property
    def xp(self):
        """The array module."""
        return self.device.xp

    def to_cpu(self):
        """Move to main memory."""
        return self._move(backend.CpuDevice(), "to_cpu", {})

    def to_gpu(self, device=None):
        """Move what is not on a GPU yet to one."""
        cuda.check_cuda_available()
        device = backend.GpuDevice(cuda._get_device_or_current(device))
        return self._move(device, "to_gpu", {"device": device.device})

    def to_intel64(self):
        """Say that iDeep is not there."""
        intel64.check_ideep_available()

    def _move(self, device, method, kwargs):
        visitor = _ToDeviceVisitor(
            device, entry_method_info=(method, kwargs), starting_device_resident=self
        )
        self.device_resident_accept(visitor)
        return self

    def to_chx(self):
        """Say that ChainerX is not there."""
        raise RuntimeError("ChainerX is not available.")

    def from_chx(self):
        """Do nothing: nothing is ChainerX's."""
        return self

    def to_device(self, device):
        """Move to a device, GPU to GPU included."""
        self.device_resident_accept(_ToDeviceVisitor(backend.get_device(device)))
        return self


class DeviceResidentsVisitor:
    """Sees all device residents, arrays and variables of a model."""

    def visit_device_resident(self, device_resident):
        """Do something with a link."""
        raise NotImplementedError

    def visit_array(self, arr):
        """Return what shall take the array's place."""
        raise NotImplementedError

    def visit_variable(self, param):
        """Do something with a parameter."""
        raise NotImplementedError


class _ToDeviceVisitor(DeviceResidentsVisitor):
    """Moves what it sees; from ``to_gpu`` not between GPUs, as in Chainer."""

    def __init__(self, device, entry_method_info=None, starting_device_resident=None):
        if entry_method_info is not None:
            method = entry_method_info[0]
            warnings.warn(
                f"{method} is deprecated. "
                f"Please use to_device('{_METHODS[method]}') instead.",
                DeprecationWarning,
                stacklevel=1,
            )
        self._device = device
        self._entry = entry_method_info
        self._start = starting_device_resident

    def visit_device_resident(self, device_resident):
        device_resident._device = self._device
        overridden = device_resident._overridden_to_methods
        if not overridden or device_resident is self._start:
            return
        name, kwargs = self._entry or self._method()
        if name in overridden:
            getattr(device_resident, name)(**kwargs)

    def _method(self):
        if isinstance(self._device, backend.GpuDevice):
            return "to_gpu", {"device": self._device.device.id}
        return "to_cpu", {}

    def visit_array(self, arr):
        if self._stays(backend.get_device_from_array(arr)):
            return arr
        return self._device.send(arr)

    def visit_variable(self, param):
        if not self._stays(param.device):
            param.to_device(self._device)

    def _stays(self, device):
        if self._entry is None or self._entry[0] != "to_gpu":
            return False
        if not isinstance(device, backend.GpuDevice) or device == self._device:
            return False
        here, there = device.device.id, self._device.device.id
        warnings.warn(
            "You are trying to transfer a DeviceResident to "
            f"GPU-{there} which is already on GPU-{here}. to_gpu does nothing then; "
            "use to_device to move between GPUs.",
            RuntimeWarning,
            stacklevel=5,
        )
        return True
