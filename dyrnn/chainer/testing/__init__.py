"""Chainer's names ``chainer.testing``: what programs use in tests of their own."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.testing import array, condition
from dyrnn.chainer.testing.array import assert_allclose
from dyrnn.chainer.testing.cases import (
    from_pytest_parameterize,
    parameterize,
    parameterize_pytest,
    product,
    product_dict,
)


def run_module(name, file):
    """Run a file's tests if it is the script."""
    if name == "__main__":
        import pytest

        pytest.main([file, "-vvs", "-x", "--pdb"])


__getattr__ = partial(folder_or_raise, __name__)
