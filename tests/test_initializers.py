"""What initializers fill arrays with."""

import math

import numpy as np
import pytest

import dyrnn.random
from dyrnn import initializers
from dyrnn.config import using_config
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import ShapeError
from dyrnn.initializers import generate_array, get_initializer
from tests.arrays import every_device, xp

SHAPE = (300, 200)
# Class and standard deviation for SHAPE with scale 0.5: outputs 300, inputs 200.
DRAWS = {
    initializers.Uniform: 0.5 / math.sqrt(3),
    initializers.Normal: 0.5,
    initializers.LeCunNormal: 0.5 / math.sqrt(200),
    initializers.LeCunUniform: 0.5 / math.sqrt(200),
    initializers.GlorotNormal: 0.5 * math.sqrt(2 / 500),
    initializers.GlorotUniform: 0.5 * math.sqrt(2 / 500),
    initializers.HeNormal: 0.5 * math.sqrt(2 / 200),
    initializers.HeUniform: 0.5 * math.sqrt(2 / 200),
}


@pytest.mark.parametrize("cls", DRAWS)
def test_draw_has_the_deviation_of_its_formula(cls):
    array = generate_array(cls(0.5), SHAPE)
    assert array.std() == pytest.approx(DRAWS[cls], rel=0.01)
    assert array.mean() == pytest.approx(0, abs=DRAWS[cls] * 0.02)
    if "Uniform" in cls.__name__:
        assert abs(array).max() == pytest.approx(DRAWS[cls] * math.sqrt(3), rel=0.01)
    else:
        assert abs(array).max() > DRAWS[cls] * 3


@pytest.mark.parametrize("cls", [*DRAWS, initializers.Orthogonal])
def test_draws_come_from_their_own_stream_and_repeat(cls):
    dyrnn.random.seed(5)
    first = generate_array(cls(), (4, 3))
    second = generate_array(cls(), (4, 3))
    dyrnn.random.seed(5)
    dyrnn.random.stream("dropout").generator.random(10)
    assert xp.array_equal(generate_array(cls(), (4, 3)), first)
    assert not xp.array_equal(first, second)


def test_fans_count_the_axes_after_the_second():
    array = generate_array(initializers.LeCunNormal(), (50, 10, 4, 5))
    assert array.std() == pytest.approx(1 / math.sqrt(200), rel=0.05)


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4), (4, 2, 3)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape):
    array = generate_array(initializers.Orthogonal(2.0, np.float64), shape)
    matrix = array.reshape(len(array), -1)
    if len(matrix) > matrix.shape[1]:
        matrix = matrix.T
    assert matrix @ matrix.T == pytest.approx(4 * xp.eye(len(matrix)), abs=1e-12)


def test_orthogonal_fills_an_empty_array():
    assert generate_array(initializers.Orthogonal(), (0, 3)).shape == (0, 3)


def test_constants():
    assert xp.array_equal(generate_array(initializers.Zero(), (2,)), [0, 0])
    assert xp.array_equal(generate_array(initializers.One(), (2,)), [1, 1])
    assert xp.isnan(generate_array(initializers.NaN(), (2,))).all()
    assert xp.array_equal(generate_array(initializers.Constant(3), (2,)), [3, 3])
    assert xp.array_equal(
        generate_array(initializers.Identity(2.0), (2, 2)), [[2, 0], [0, 2]]
    )


def test_type_is_that_of_the_initializer_or_the_configuration():
    assert generate_array(initializers.Zero(), (1,)).dtype == np.float32
    assert generate_array(initializers.Zero(np.float64), (1,)).dtype == np.float64
    assert generate_array(initializers.Zero(np.float64), (1,), "f2").dtype == "f2"
    with using_config("dtype", np.float64):
        assert generate_array(0.0, (1,)).dtype == np.float64
    assert Parameter(initializers.Normal(1.0, np.float16), (2,)).dtype == np.float16


@every_device
def test_get_initializer_takes_callables_numbers_arrays_and_none():
    normal = initializers.Normal()
    assert get_initializer(normal) is normal
    assert get_initializer(2).value == 2.0
    assert get_initializer(np.float32(2)).value == 2.0
    values = xp.arange(3.0)
    xp.testing.assert_array_equal(generate_array(values, (3,)), values)
    assert generate_array(values, (3,)).dtype == np.float64
    assert isinstance(get_initializer(None), initializers.LeCunNormal)
    assert get_initializer(None, normal) is normal


@every_device
def test_wrong_use_says_what_is_needed():
    with pytest.raises(ShapeError, match=r"fill a matrix .*, not shape \(3,\)"):
        generate_array(initializers.GlorotUniform(), (3,))
    with pytest.raises(ShapeError, match=r"square matrices, not .* \(2, 3\)"):
        generate_array(initializers.Identity(), (2, 3))
    with pytest.raises(ShapeError, match=r"shape \(2,\) .* shape \(3,\)"):
        generate_array(xp.zeros(2), (3,))
    with pytest.raises(ValueError, match="Normal: scale is -1; use a number >= 0"):
        initializers.Normal(-1)
    with pytest.raises(ValueError, match="Uniform: scale is nan"):
        initializers.Uniform(math.nan)
    with pytest.raises(TypeError, match="an array or None, not a str"):
        get_initializer("normal")
    with pytest.raises(NotImplementedError, match="Initializer defines no __call__"):
        initializers.Initializer()(xp.zeros(1))
