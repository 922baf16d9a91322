"""Chainer's names ``chainer.testing``: what programs use in tests of their own."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.testing import array, attr, condition, function_link
from dyrnn.chainer.testing.array import assert_allclose
from dyrnn.chainer.testing.cases import (
    fix_random,
    from_pytest_parameterize,
    parameterize,
    parameterize_pytest,
    product,
    product_dict,
)
from dyrnn.chainer.testing.function_link import (
    BackendConfig,
    FunctionTestCase,
    LinkTestCase,
    inject_backend_tests,
)


def run_module(name, file):
    """Run a file's tests if it is the script."""
    if name == "__main__":
        import pytest

        pytest.main([file, "-vvs", "-x", "--pdb"])


__getattr__ = partial(folder_or_raise, __name__)
