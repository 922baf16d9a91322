"""The same tests for every function: each runs over all rows of the table."""

import pickle
import types

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import backend, testing
from tests.functions.running import in_type, is_float, run
from tests.functions.table import CASES

DIFFERENTIABLE = [case for case in CASES if case.has_gradient]
each = pytest.mark.parametrize("case", CASES, ids=str)
each_differentiable = pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)


def test_every_public_function_has_a_row():
    missing = set(F.__all__) - {case.name for case in CASES}
    assert not missing, (
        f"functions without a row in tests/functions/table_*.py: {missing}"
    )


def test_every_row_names_a_public_function():
    assert {case.name for case in CASES} <= set(F.__all__)


@pytest.mark.parametrize("case", [c for c in CASES if c.reference], ids=str)
def test_forward_agrees_with_numpy(case, device):
    outputs, _ = run(case, [device.send(x) for x in case.inputs])
    expected = case.reference(*case.inputs)
    if isinstance(expected, (np.ndarray, np.generic)):
        expected = [expected]
    for y, desired in zip(outputs, expected, strict=True):
        assert y.shape == desired.shape
        testing.assert_allclose(y, desired, rtol=1e-9, atol=1e-11)


@each_differentiable
def test_every_element_of_the_jacobian_is_right(case):
    tolerance = case.tolerance
    testing.check_jacobian(case.function, case.inputs, tolerance, tolerance / 10)


@each_differentiable
def test_gradient_is_differentiable_or_refuses(case):
    if case.has_second_gradient:
        testing.check_double_backward(
            case.function, case.inputs, rtol=10 * case.tolerance, atol=case.tolerance
        )
    else:
        with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
            testing.check_double_backward(case.function, case.inputs)


@each_differentiable
def test_gradients_agree_between_devices(case, device):
    if device == backend.CPU:
        pytest.skip("the one to compare with")
    _, expected = run(case, case.inputs)
    _, found = run(case, [device.send(x) for x in case.inputs])
    for gx, desired in zip(found, expected, strict=True):
        assert (gx is None) == (desired is None)
        if gx is not None:
            assert backend.device_of(gx) == device
            testing.assert_allclose(gx, desired, rtol=1e-8, atol=1e-10)


@each
def test_layout_in_memory_does_not_matter(case):
    # Every second element along the last axis of a reversed, wider array.
    def scattered(x):
        if x.ndim == 0:
            return x
        wide = np.repeat(x, 2, axis=-1)[..., ::-1]
        view = wide[..., ::2][..., ::-1]
        return np.asfortranarray(view) if x.ndim == 2 else view

    inputs = [scattered(x) for x in case.inputs]
    for x, copy in zip(case.inputs, inputs, strict=True):
        np.testing.assert_array_equal(x, copy)
    for found, expected in zip(run(case, inputs), run(case, case.inputs), strict=True):
        for a, b in zip(found, expected, strict=True):
            if a is not None:
                testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("case", [c for c in CASES if c.keeps_dtype], ids=str)
def test_type_is_kept(case, dtype, device):
    outputs, gradients = run(
        case, [device.send(x) for x in in_type(case.inputs, dtype)]
    )
    for y in outputs:
        assert y.dtype == dtype or not is_float(y)
    for gx in gradients:
        assert gx is None or gx.dtype == dtype


@each
def test_inputs_are_not_written_to(case):
    inputs = [x.copy() for x in case.inputs]
    for x in inputs:
        x.flags.writeable = False
    run(case, inputs)


def test_functions_can_be_pickled():
    functions = [each for each in vars(F).values() if type(each) is types.FunctionType]
    assert len(functions) > 100
    for function in functions:
        assert pickle.loads(pickle.dumps(function)) is function
