"""Arithmetic, mathematics, products, reductions: what the table does not see."""

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn.engine.core import Variable
from dyrnn.engine.higher_order import grad
from dyrnn.errors import ShapeError
from tests.arrays import every_device, xp
from tests.comparing import close, host

pytestmark = every_device


@pytest.fixture
def gradient(xp):
    """Return the gradients of a function of variables of each device."""

    def of(function, *values):
        xs = [Variable(xp.asarray(value)) for value in values]
        y = function(*xs)
        y.grad = xp.ones_like(y.array)
        y.backward()
        return [x.grad for x in xs]

    return of


def test_add_takes_two_or_more():
    with pytest.raises(ValueError, match="two or more arrays, but 1 was given"):
        F.add(xp.ones(2))


def test_gradient_keeps_the_type_of_each_operand(xp):
    a, b = Variable(xp.ones(3, np.float32)), Variable(xp.ones(3, np.float64))
    for function in (F.add, F.subtract, F.multiply, F.divide, F.power, F.maximum):
        a.cleargrad()
        b.cleargrad()
        F.sum(function(a, b)).backward()
        assert a.grad.dtype == np.float32 and b.grad.dtype == np.float64
    for function in (F.concatenate, F.stack):
        a.cleargrad()
        F.sum(function([a, b])).backward()
        assert a.grad.dtype == np.float32
    a.cleargrad()
    F.einsum("i,i->", a, b).backward()
    assert a.grad.dtype == np.float32


@pytest.mark.parametrize("operand", [[1, 2], None, 1j])
def test_operand_of_another_kind_is_refused(operand):
    x = Variable(xp.ones(2))
    for function in (F.add, F.multiply, F.power, F.maximum):
        with pytest.raises(TypeError, match=r"an input is of type \w+; use variables"):
            function(x, operand)


def test_power_at_zero(gradient):
    assert gradient(lambda x: x**2, [0.0, 3.0])[0].tolist() == [0, 6]
    assert gradient(lambda x: x**1, [0.0])[0].tolist() == [1]
    assert gradient(lambda x: x**0, [0.0])[0].tolist() == [0]
    ga, gb = gradient(F.power, [0.0, 2.0], [2.0, 3.0])
    close(ga, [0, 12])
    close(gb, [0, 8 * np.log(2)])
    ga, gb = gradient(F.power, [0.0, 0.0, 2.0], [0.0, 1.0, 0.0])
    close(ga, [0, 1, 0])
    close(gb, [0, 0, np.log(2)])
    assert gradient(lambda x: 0.0**x, [2.0])[0].tolist() == [0]


def test_gradient_of_absolute_at_zero_is_zero(gradient):
    assert gradient(F.absolute, [-2.0, 0.0, 2.0])[0].tolist() == [-1, 0, 1]


def test_equal_elements_share_the_gradient_of_an_extreme(gradient):
    for function in (F.max, F.min):
        assert gradient(function, [1.0, 1.0])[0].tolist() == [0.5, 0.5]
    for function in (F.maximum, F.minimum):
        a, b = gradient(function, [1.0], [1.0])
        assert a.tolist() == [1] and b.tolist() == [0]


def test_clip_passes_the_gradient_at_its_limits(gradient):
    found = gradient(lambda x: F.clip(x, 0.0, 1.0), [-0.5, 0.0, 0.5, 1.0, 1.5])[0]
    assert found.tolist() == [0, 1, 1, 1, 0]
    with pytest.raises(ValueError, match="a_min 2 is greater than a_max 1"):
        F.clip(np.ones(2), 2, 1)


@pytest.mark.parametrize("function", [F.sign, F.floor, F.ceil, F.argmax, F.argmin])
def test_steps_are_constants(function, xp):
    y = function(Variable(xp.asarray([0.5, -1.5])))
    assert isinstance(y, Variable) and not y.requires_grad


def test_expm1_and_log1p_are_accurate_near_zero(xp):
    x = xp.asarray([1e-12])
    close(F.expm1(x).array, x, rtol=1e-11)
    close(F.log1p(x).array, x, rtol=1e-11)


@pytest.mark.parametrize("base", [2, 10])
def test_logarithms_of_powers_of_their_base_are_exact(base, xp):
    log = {2: F.log2, 10: F.log10}[base]
    n = np.arange(-20.0, 20)
    assert log(xp.asarray(base**n)).array.tolist() == n.tolist()


def test_half_precision_is_added_up_in_single(gradient, xp):
    x = xp.ones((5000, 2), np.float16)
    assert F.sum(x, 0).array.tolist() == [5000, 5000]
    assert F.cumsum(x, 0).array[-1].tolist() == [5000, 5000]
    assert F.einsum("ij,ij->j", x, x).array.tolist() == [5000, 5000]
    assert gradient(lambda b: x + b, x[0])[0].tolist() == [5000, 5000]
    assert gradient(lambda v: F.cumsum(v, 0), x)[0][0].tolist() == [5000, 5000]
    assert (
        gradient(lambda a: F.einsum("ij,j->ij", x, a), x[0])[0].tolist() == [5000] * 2
    )
    big = xp.full(100, 6e4, np.float16)
    assert F.mean(big).item() == np.float16(6e4)


def test_mean_of_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"axis 0 of shape \(0, 3\): no elements"):
        F.mean(xp.zeros((0, 3)), 0)


def test_average_refuses_weights_of_another_shape():
    with pytest.raises(
        ValueError, match=r"weights have shape \(2,\), expected \(2, 3\)"
    ):
        F.average(xp.ones((2, 3)), 1, xp.ones(2))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_logsumexp_neither_overflows_nor_invents_nan(dtype, xp):
    x = xp.asarray([[6e4, 6e4], [-6e4, -6e4], [0, -np.inf], [-np.inf, -np.inf]], dtype)
    with np.errstate(over="ignore"):  # 6e4 + log 2 rounds to inf in no type
        y = F.logsumexp(x, 1).array
    expected = [6e4 + np.log(2), -6e4 + np.log(2), 0, -np.inf]
    close(y, expected, rtol=1e-3)
    assert F.logsumexp(xp.asarray([np.inf, 1.0])).item() == np.inf


def test_product_has_the_right_gradient_at_zeros(gradient):
    assert gradient(F.prod, [0.0, 2.0, 3.0])[0].tolist() == [6, 0, 0]
    assert gradient(F.prod, [0.0, 2.0, 0.0])[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("n", range(10))
def test_product_of_any_number_of_elements(n, xp):
    x = np.arange(1.0, n + 1)
    assert F.prod(xp.asarray(x)).item() == x.prod()
    close(F.prod(xp.ones((3, n)), 1), np.ones(3))
    assert F.prod(xp.ones((n, 2)), 0, keepdims=True).shape == (1, 2)
    if n:
        close(F.cumprod(xp.asarray(x)), x.cumprod())


def test_normalized_zeros_stay_zeros(xp):
    x = Variable(xp.asarray([[0.0, 0.0], [3.0, 4.0]], np.float32))
    y = F.normalize(x)
    close(y.array, [[0, 0], [0.6, 0.8]], rtol=1e-5)
    F.sum(y).backward()
    assert np.isfinite(host(x.grad)).all()


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_normalized_halves_have_length_one(size, xp):
    x = np.array([[3, 4]]) * size
    y = F.normalize(xp.asarray(x.astype(np.float16)))
    assert y.dtype == np.float16
    expected = np.array([[0.6, 0.8]]) / (1 + 1e-5 / (5 * size))
    close(y.array, expected, rtol=1e-2)


def test_products_refuse_shapes_that_do_not_fit():
    a = xp.ones((2, 3))
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(2, 3\) do not fit: 3 col"):
        F.matmul(a, a)
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(2,\) do not fit"):
        F.matmul(a, xp.ones(2))
    with pytest.raises(ShapeError, match="has no axes; use multiply"):
        F.matmul(a, xp.array(2.0))
    with pytest.raises(ShapeError, match="2 and 3 matrices do not pair"):
        F.batch_matmul(xp.ones((2, 3, 4)), xp.ones((3, 4, 3)))
    with pytest.raises(ShapeError, match=r"tensordot: axes \[1\] .* differ in length"):
        F.tensordot(a, a, axes=1)
    with pytest.raises(ShapeError, match=r"scale: y has shape \(2,\), but x \(2, 3\)"):
        F.scale(a, xp.ones(2))


def test_einsum_refuses_operands_that_do_not_fit():
    a = xp.ones((2, 2))
    with pytest.raises(ValueError, match="names 2 operands, 1 were given"):
        F.einsum("ij,jk", a)
    with pytest.raises(ShapeError, match=r"axes 'i' of \(2, 3\) differ in length"):
        F.einsum("ii", xp.ones((2, 3)))
    with pytest.raises(ShapeError, match=r"'ijk' does not name the axes of \(2, 2\)"):
        F.einsum("ijk->i", a)


def test_einsum_needs_only_the_gradients_asked_for(xp):
    x = Variable(xp.ones((2, 3)))
    y = F.einsum("ij,jk->", x, xp.ones((3, 4)))
    y.backward()
    assert x.grad.tolist() == [[4.0] * 3] * 2


def test_root_of_zero_has_an_infinite_gradient(xp):
    x = Variable(xp.asarray([0.0, 4.0]))
    with np.errstate(divide="ignore"):
        (gx,) = grad(F.sum(F.sqrt(x)), x)
    assert gx.array.tolist() == [np.inf, 0.25]
