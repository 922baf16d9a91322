"""Small helpers of Chainer's ``utils``."""

import contextlib
import shutil
import sys
import tempfile
import warnings

import numpy as np

from dyrnn.chainer import _backend


def force_array(x, dtype=None):
    """Return a scalar as an array without axes, an array as the given type."""
    if np.isscalar(x):
        return np.array(x, dtype)
    return x if dtype is None else x.astype(dtype, copy=False)


def force_type(dtype, value):
    """Return the number or array as the given type."""
    if np.isscalar(value):
        return dtype.type(value)
    return value.astype(dtype, copy=False)


@contextlib.contextmanager
def tempdir(**kwargs):
    """Make a folder for the ``with`` block."""
    ignore_errors = kwargs.pop("ignore_errors", False)
    folder = tempfile.mkdtemp(**kwargs)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=ignore_errors)


def _repr_with_named_data(inst, **kwargs):
    values = " ".join(f"{key}={value}" for key, value in kwargs.items())
    cls = type(inst)
    module = public_name(cls.__module__)
    return f"<{module}.{cls.__qualname__} {values}>"


def public_name(module):
    """Return the module's name as Chainer's scripts know it."""
    return module.removeprefix("dyrnn.")


def _check_arrays_forward_compatible(arrays, label=None):
    if not _backend.is_arrays_compatible(arrays):
        where = "" if label is None else f" ({label})"
        kinds = ", ".join(str(type(a)) for a in arrays)
        raise TypeError(
            f"incompatible array types are mixed in the forward input{where}."
            f"\nActual: {kinds}"
        )


def _raise_from(exc_type, message, orig_exc):
    error = exc_type(
        f"{message}\n\n(caused by)\n{type(orig_exc).__name__}: {orig_exc}\n"
    )
    raise error.with_traceback(orig_exc.__traceback__) from None


def _format_array_props(arrays):
    return ", ".join(
        "None" if a is None else f"{a.shape}:{a.dtype.name}" for a in arrays
    )


def experimental(api_name):
    """Warn that a name may change, unless the package's flag switches it off."""
    package = sys.modules[__name__.partition(".utils")[0]]
    if not package.disable_experimental_feature_warning:
        warnings.warn(
            f"{api_name} is experimental. The interface can change in the future.",
            FutureWarning,
            stacklevel=2,
        )
