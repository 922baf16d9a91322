"""``chainer.config``: settings of this thread over those of all threads.

Environment variables (``CHAINER_DTYPE`` and others) are read here and nowhere else in
this package.
"""

import os
import sys
import threading
import warnings

import numpy as np

from dyrnn.config import config as core_config


class Mixed16:
    """Mark for float16 arrays with float32 parameters; no NumPy type."""

    dtype = np.dtype(np.float16)

    def __repr__(self):
        return "dtype('mixed16')"


mixed16 = Mixed16()


def environment(name, default=None):
    """Return an environment variable of Chainer's."""
    return os.environ.get(name, default)


def _flag(name, default):
    return bool(int(environment(name, default)))


def _dtype(name):
    if name == "mixed16":
        return mixed16
    if name not in ("float16", "float32", "float64"):
        raise TypeError(
            f'incorrect dtype name in CHAINER_DTYPE: "{name}". '
            "Only float16/32/64 are allowed."
        )
    return np.dtype(name)


def _write(config, names, file):
    width = max(map(len, names))
    for name in names:
        file.write(f"{name:<{width}} {getattr(config, name)}\n")


class GlobalConfig:
    """Settings for all threads; a plain object, scripts add their own."""

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "train":
            type(core_config).train = bool(value)  # of all threads

    def show(self, file=None):
        """Print all settings, sorted by name."""
        _write(self, sorted(vars(self)), file or sys.stdout)


class LocalConfig:
    """Settings of the current thread; those it has not set are the global ones."""

    def __init__(self, global_config):
        object.__setattr__(self, "_global", global_config)
        object.__setattr__(self, "_local", threading.local())

    def __getattr__(self, name):
        own = vars(self._local)
        return own[name] if name in own else getattr(self._global, name)

    def __setattr__(self, name, value):
        setattr(self._local, name, value)
        if name == "train" and self._global is global_config:
            # The rules of the core look at it, in this thread, as of now.
            vars(core_config)[name] = bool(value)

    def __delattr__(self, name):
        delattr(self._local, name)
        if name == "train" and self._global is global_config:
            vars(core_config).pop(name, None)

    def show(self, file=None):
        """Print all settings, sorted by name, as this thread sees them."""
        names = sorted({*vars(self._global), *vars(self._local)})
        _write(self, names, file or sys.stdout)


def _from_environment():
    """Return the settings that a new process has."""
    return {
        "debug": _flag("CHAINER_DEBUG", "0"),
        "cudnn_deterministic": False,
        "warn_nondeterministic": False,
        "enable_backprop": True,
        "keep_graph_on_report": _flag("CHAINER_KEEP_GRAPH_ON_REPORT", "0"),
        "train": True,
        "type_check": _flag("CHAINER_TYPE_CHECK", "1"),
        "use_cudnn": environment("CHAINER_USE_CUDNN", "auto"),
        "use_cudnn_tensor_core": "auto",
        "autotune": False,
        "schedule_func": None,
        "use_static_graph": True,
        "use_ideep": environment("CHAINER_USE_IDEEP", "never"),
        "lazy_grad_sum": _flag("CHAINER_LAZY_GRAD_SUM", "0"),
        "cudnn_fast_batch_normalization": False,
        "dtype": _dtype(environment("CHAINER_DTYPE", "float32")),
        "in_recomputing": False,
        "compute_mode": None,
    }


for _name in _from_environment():
    setattr(GlobalConfig, _name, None)
global_config = GlobalConfig()
vars(global_config).update(_from_environment())
config = LocalConfig(global_config)


class ConfigContext:
    """What :func:`using_config` returns."""

    def __init__(self, target, name, value):
        self.config = target
        self.name = name
        self.value = value
        self._before = ()

    def __enter__(self):
        own = vars(self.config._local)
        self._before = (own[self.name],) if self.name in own else ()
        setattr(self.config, self.name, self.value)

    def __exit__(self, *_):
        if self._before:
            setattr(self.config, self.name, self._before[0])
        else:
            delattr(self.config, self.name)


def current():
    """Return all settings as this thread has them: a dictionary, to read several of."""
    return {**vars(global_config), **vars(config._local)}


def using_config(name, value, config=config):
    """Set ``config.NAME`` for the current thread inside a ``with`` block."""
    return ConfigContext(config, name, value)


class BackpropMode(ConfigContext):
    """``config.enable_backprop`` inside a ``with`` block."""

    def __init__(self, value):
        super().__init__(config, "enable_backprop", value)


def no_backprop_mode():
    """Record no graph inside the ``with`` block."""
    return BackpropMode(False)


def force_backprop_mode():
    """Record a graph inside the block, even within :func:`no_backprop_mode`."""
    return BackpropMode(True)


def is_debug():
    """Return whether the debug mode is on in this thread."""
    return bool(config.debug)


def set_debug(debug):
    """Switch the debug mode of this thread."""
    config.debug = debug


class DebugMode(ConfigContext):
    """Debug mode inside a ``with`` block; :func:`using_config` does it, too."""

    def __init__(self, debug):
        warnings.warn(
            "chainer.DebugMode is deprecated. "
            'Use chainer.using_config("debug", ...) instead.',
            DeprecationWarning,
            stacklevel=1,
        )
        super().__init__(config, "debug", debug)


def get_dtype(dtype=None, map_mixed16=None):
    """Return ``dtype`` as NumPy's type; None means ``config.dtype``."""
    if dtype is None:
        dtype = config.dtype
    if dtype is mixed16 and map_mixed16 is not None:
        dtype = map_mixed16
    return np.dtype(dtype.dtype if dtype is mixed16 else dtype)


def get_compute_mode():
    """Return ``config.compute_mode``, which nothing here reads."""
    return config.compute_mode
