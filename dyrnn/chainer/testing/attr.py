"""Marks of tests that need something: ``@attr.gpu`` and so on."""

import unittest

from dyrnn.chainer.configuration import environment

_gpu_limit = int(environment("CHAINER_TEST_GPU_LIMIT", "-1"))


def _pytest_error():
    try:
        import pytest  # noqa: F401
    except ImportError as error:
        return error
    return None


def is_available():
    """Return whether pytest is installed."""
    return _pytest_error() is None


def check_available():
    """Raise RuntimeError unless pytest is installed."""
    error = _pytest_error()
    if error is not None:
        raise RuntimeError(
            f"{__name__} is not available.\n\nReason: {type(error).__name__}: {error}"
        )


def get_error():
    """Return the error of importing pytest, or None."""
    return _pytest_error()


def _mark(name):
    def mark(*args, **kwargs):
        check_available()
        import pytest

        return getattr(pytest.mark, name)(*args, **kwargs)

    mark.__name__ = name
    return mark


chainerx = _mark("chainerx")
cudnn = _mark("cudnn")
ideep = _mark("ideep")
slow = _mark("slow")
_gpu = _mark("gpu")


def multi_gpu(gpu_num):
    """Mark a test that needs this many GPUs."""

    def decorator(test):
        skip = unittest.skipIf(
            0 <= _gpu_limit < gpu_num, reason=f"{gpu_num} GPUs required"
        )
        return skip(_gpu(test))

    return decorator


def gpu(test):
    """Mark a test that needs a GPU."""
    return multi_gpu(1)(test)
