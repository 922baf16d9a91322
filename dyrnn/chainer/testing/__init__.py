"""Chainer's names ``chainer.testing``: tests of functions and links, parameterized."""

from functools import partial

from dyrnn.chainer.aliases import folder_or_raise
from dyrnn.chainer.testing import (
    _bundle,
    array,
    attr,
    backend,
    condition,
    function_link,
    helper,
    matrix,
    parameterized,
    random,
    unary_math_function_test,
)
from dyrnn.chainer.testing.array import assert_allclose
from dyrnn.chainer.testing.backend import BackendConfig, inject_backend_tests
from dyrnn.chainer.testing.function_link import (
    FunctionTestCase,
    FunctionTestError,
    InitializerArgument,
    LinkInitializersTestCase,
    LinkTestCase,
    LinkTestError,
)
from dyrnn.chainer.testing.helper import (
    assert_warns,
    patch,
    with_requires,
    without_requires,
)
from dyrnn.chainer.testing.matrix import generate_matrix
from dyrnn.chainer.testing.parameterized import (
    from_pytest_parameterize,
    parameterize,
    parameterize_pytest,
    product,
    product_dict,
)
from dyrnn.chainer.testing.random import fix_random, generate_seed
from dyrnn.chainer.testing.serializer import (
    save_and_load,
    save_and_load_hdf5,
    save_and_load_npz,
)
from dyrnn.chainer.testing.training import get_trainer_with_mock_updater
from dyrnn.chainer.testing.unary_math_function_test import (
    unary_math_function_unittest,
)


def run_module(name, file):
    """Run a file's tests if it is the script."""
    if name == "__main__":
        import pytest

        pytest.main([file, "-vvs", "-x", "--pdb"])


__getattr__ = partial(folder_or_raise, __name__)
