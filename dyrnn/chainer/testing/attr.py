"""Marks of tests that need something: ``@attr.gpu`` and so on."""

import unittest

from dyrnn.chainer.configuration import environment

_gpu_limit = int(environment("CHAINER_TEST_GPU_LIMIT", "-1"))


def _mark(name):
    def mark(test):
        import pytest

        return getattr(pytest.mark, name)(test)

    return mark


chainerx, cudnn, ideep, slow = map(_mark, ("chainerx", "cudnn", "ideep", "slow"))


def multi_gpu(gpu_num):
    """Mark a test that needs this many GPUs."""
    is_missing = 0 <= _gpu_limit < gpu_num
    skip = unittest.skipIf(is_missing, reason=f"{gpu_num} GPUs required")
    return lambda test: skip(_mark("gpu")(test))


def gpu(test):
    """Mark a test that needs a GPU."""
    return multi_gpu(1)(test)
