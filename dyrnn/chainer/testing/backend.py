"""Tests written once for all backends."""

import functools

from dyrnn.chainer import backend
from dyrnn.chainer.configuration import using_config
from dyrnn.chainer.testing import _bundle, attr


class BackendConfig:
    """Where a test's arrays live, and settings of that backend; a context.

    Parameters
    ----------
    params : dict
        Of ``_props``'s names.
    """

    _props = [
        ("use_chainerx", False),
        ("chainerx_device", None),
        ("use_cuda", False),
        ("cuda_device", None),
        ("use_cudnn", "never"),
        ("cudnn_deterministic", False),
        ("autotune", False),
        ("cudnn_fast_batch_normalization", False),
        ("use_ideep", "never"),
    ]
    _device = None

    def __init__(self, params):
        if not isinstance(params, dict):
            raise TypeError("params must be a dict.")
        self._contexts = []
        for name, value in self._props:
            setattr(self, name, value)
        for name, value in params.items():
            if not hasattr(self, name):
                raise ValueError(f"Parameter {name} is not defined")
            setattr(self, name, value)
        if self.use_chainerx:
            assert isinstance(self.chainerx_device, str), (
                "'chainerx_device' parameter is expected to be a string "
                "representing a ChainerX device specifier"
            )
        if self.use_cuda and self.cuda_device is None:
            self.cuda_device = 0

    @property
    def xp(self):
        """The array module."""
        return self.device.xp

    @property
    def device(self):
        """The device."""
        if self._device is None:
            self._device = self._make_device()
        return self._device

    def _make_device(self):
        if self.use_cuda:
            return backend.GpuDevice.from_device_id(self.cuda_device)
        if self.use_chainerx:
            return backend.ChainerxDevice(self.chainerx_device)
        if self.use_ideep != "never":
            return backend.Intel64Device()
        return backend.CpuDevice()

    def __enter__(self):
        names = "use_cudnn cudnn_deterministic autotune use_ideep".split()
        contexts = [using_config(name, getattr(self, name)) for name in names]
        contexts.append(backend.using_device(self.device))
        for context in contexts:
            context.__enter__()
        self._contexts.append(contexts)
        return self

    def __exit__(self, *error):
        for context in reversed(self._contexts.pop()):
            context.__exit__(*error)

    def __repr__(self):
        values = [f"{name}={getattr(self, name)!r}" for name, _ in self._props]
        return f"<BackendConfig {' '.join(values)}>"

    def get_func_str(self):
        """Return the settings as part of a name."""
        parts = []
        for name, _ in self._props:
            value = getattr(self, name)
            text = str(value).lower() if isinstance(value, bool) else str(value)
            parts.append(f"{name}_{text}")
        return "__".join(parts)

    def get_pytest_marks(self):
        """Return the marks of tests on this backend."""
        marks = []
        if self.use_chainerx:
            marks.append(attr.chainerx)
            name, _, index = self.chainerx_device.partition(":")
            if name == "cuda":
                marks.append(attr.gpu)
                if int(index) >= 1:
                    marks.append(attr.multi_gpu(int(index) + 1))
        elif self.use_cuda:
            marks.append(attr.gpu)
            if self.use_cudnn != "never":
                marks.append(attr.cudnn)
            if self.cuda_device >= 1:
                marks.append(attr.multi_gpu(self.cuda_device + 1))
        elif self.use_ideep != "never":
            marks.append(attr.ideep)
        return marks

    def get_array(self, np_array):
        """Return the array, or each of a list, on the device."""
        return self.device.send(np_array)


def _with_config(method, config):
    @functools.wraps(method)
    def test(self, *args, **kwargs):
        return method(self, config, *args, **kwargs)

    for mark in config.get_pytest_marks():
        test = mark(test)
    return test


def _generate(base, method_names, params):
    def is_injected(method):
        return method_names is None or method.__name__ in method_names

    if method_names is not None:  # a class for the methods that are left alone
        yield base.__name__, {}, lambda m: None if is_injected(m) else m
    for param in params:
        config = BackendConfig(param)

        def generator(method, config=config):
            return _with_config(method, config) if is_injected(method) else None

        yield f"{base.__name__}_{config.get_func_str()}", {}, generator


def inject_backend_tests(method_names, params):
    """Give test methods a :class:`BackendConfig`, once for each of ``params``.

    Parameters
    ----------
    method_names : list of str or None
        None means all.
    params : list of dict
    """
    if not (method_names is None or isinstance(method_names, list)):
        raise TypeError("method_names must be either None or a list.")
    if not (isinstance(params, list) and all(isinstance(d, dict) for d in params)):
        raise TypeError("params must be a list of dicts.")
    return _bundle.make_decorator(lambda base: _generate(base, method_names, params))
