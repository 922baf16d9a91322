"""The stand-in has CuPy's rules; without this the tests that run on it prove little."""

import copy

import numpy as np
import pytest

from dyrnn import backend
from tests import strict
from tests.strict import synchronisations, xp


@pytest.fixture
def x():
    return xp.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))


def same(actual, expected):
    assert type(actual) is xp.ndarray
    expected = np.asarray(expected)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual.get(), expected)


def test_backend_knows_module_device_and_copies(x):
    device = backend.get_device("@strict")
    assert backend.get_array_module(x) is xp
    assert backend.device_of(x) == device and x.device == device
    assert device.send(x) is x
    host = np.ones(3)
    sent = device.send(host)
    host[0] = 5
    same(sent, np.ones(3))
    same(xp.asarray(host), host)
    assert type(backend.to_cpu(x)) is np.ndarray


def test_two_array_modules_in_one_computation_are_an_error(x):
    with pytest.raises(TypeError, match="@numpy"):
        backend.get_array_module(np.ones(3), x)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x, a: x + a,
        lambda x, a: a + x,
        lambda x, a: a @ x.T,
        lambda x, a: x == a,
        lambda x, a: xp.maximum(x, a),
        lambda x, a: xp.concatenate((x, a)),
        lambda x, a: np.add(a, x),
        lambda x, a: np.concatenate((a, x)),
        lambda x, a: x.__iadd__(a),
        lambda x, a: a.__iadd__(x),
        lambda x, a: x.__setitem__(0, a[0]),
        lambda x, a: x[np.array([0])],
        lambda x, a: xp.exp(a),
        lambda x, a: xp.sum(a),
        lambda x, a: xp.add(x, x, out=a),
        lambda x, a: xp.zeros_like(a),
    ],
)
def test_numpy_arrays_are_no_operands(x, compute):
    with pytest.raises(TypeError, match="Unsupported type|takes arrays"):
        compute(x, np.ones((2, 3), np.float32))


@pytest.mark.parametrize("convert", [np.asarray, np.array, np.ascontiguousarray])
def test_implicit_conversion_to_numpy_is_refused(x, convert):
    with pytest.raises(TypeError, match="Implicit conversion"):
        convert(x)


def test_scalars_are_operands_and_keep_the_dtype(x):
    a = x.get()
    same(2 * x - 1, 2 * a - 1)
    same(np.float32(2) * x, np.float32(2) * a)
    same(np.float64(2) * x, np.float64(2) * a)
    same(1 / (x + 1), 1 / (a + 1))
    same(xp.where(x > 2, x, 0), np.where(a > 2, a, 0).astype(np.float32))
    same(xp.maximum(x, 2), np.maximum(a, 2))


def test_reductions_and_elements_are_arrays_without_dimensions(x):
    a = x.get()
    for result, expected in [
        (x.sum(), a.sum()),
        (xp.max(x), a.max()),
        (x[1, 2], a[1, 2]),
        (xp.array_equal(x, x), True),
        (xp.dot(x[0], x[0]), a[0] @ a[0]),
        (next(iter(x[0])), a[0, 0]),
    ]:
        assert result.shape == ()
        same(result, expected)


def test_numpys_functions_reach_ours(x):
    same(np.exp(x), np.exp(x.get()))
    same(np.sum(x, axis=0), x.get().sum(axis=0))
    out = xp.empty_like(x)
    assert np.tanh(x, out=out) is out
    same(out, np.tanh(x.get()))
    same(np.add.reduce(x), np.add.reduce(x.get()))


@pytest.mark.parametrize("name", ["errstate", "nditer", "random", "block", "bogus"])
def test_names_cupy_lacks_are_missing(name):
    with pytest.raises(AttributeError):
        getattr(xp, name)


@pytest.mark.parametrize(
    ("compute", "error"),
    [
        (lambda x: xp.sum(x, where=x > 1), TypeError),
        (lambda x: x.max(initial=0), TypeError),
        (lambda x: xp.exp(x, where=x > 1), TypeError),
        (lambda x: xp.sum([1, 2]), TypeError),
        (lambda x: xp.argsort(x, kind="quicksort"), ValueError),
        (lambda x: xp.maximum.reduce(x), NotImplementedError),
        (lambda x: xp.repeat(x, xp.asarray([1, 2]), axis=0), ValueError),
        (lambda x: x.__setitem__(0, [1, 2, 3]), TypeError),
        (lambda x: range(xp.asarray(3)), TypeError),
    ],
)
def test_arguments_and_methods_cupy_lacks_are_errors(x, compute, error):
    with pytest.raises(error):
        compute(x)


def test_ids_out_of_range_wrap_around(x):
    a = x.get()
    same(x[xp.asarray([2, -3])], a[[0, 1]])
    same(x[xp.arange(2), xp.asarray([3, -1])], a[[0, 1], [0, 2]])
    x[xp.asarray([5])] = 7
    same(x[1], np.full(3, 7, np.float32))


def test_in_place_operations_keep_the_array(x):
    before, view = x, x[0]
    x += 1
    x[1] *= 2
    x[:, 0] = xp.asarray([8, 9], dtype=xp.float32)
    xp.add.at(x, xp.asarray([0, 0]), xp.ones(3, xp.float32))
    assert x is before
    same(x, np.array([[10, 4, 5], [9, 10, 12]], np.float32))
    same(view, x[0].get())


def test_copies_are_independent(x):
    for y in (x.copy(), copy.copy(x), copy.deepcopy(x), xp.array(x)):
        y.fill(-1)
    same(x, np.arange(6, dtype=np.float32).reshape(2, 3))
    assert xp.asarray(x) is x


class Graphed:
    """Has the protocol of a variable: the operators of arrays must defer to it."""

    __array_ufunc__ = None

    def __radd__(self, other):
        return "radd"


def test_operators_defer_to_variables(x):
    assert x + Graphed() == "radd"
    x += Graphed()
    assert x == "radd"
    with pytest.raises(TypeError):
        np.add(xp.ones(2), Graphed())


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (lambda x: x + x.sum() * 2, 0),
        (lambda x: x[xp.asarray([0, 1])], 0),
        (lambda x: x.get(), 1),
        (lambda x: float(x[0, 0]), 1),
        (lambda x: x.sum().item(), 1),
        (lambda x: bool((x > 0).any()), 1),
        (lambda x: int(x[0, 0]), 1),
        (lambda x: f"{x.sum():.2f} {x}", 2),
        (lambda x: x[x > 1], 1),
        (lambda x: xp.flatnonzero(x), 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: xp.asnumpy(x), 1),
    ],
)
def test_waiting_for_the_device_is_counted(x, wait, expected):
    with synchronisations() as count:
        wait(x)
    x.get()
    assert count() == expected


def test_every_name_is_one_of_cupy():
    cupy = pytest.importorskip("cupy", reason="needs CuPy, not a GPU")
    names = strict.FUNCTIONS + strict.UFUNCS + strict.CONSTANTS
    assert [name for name in names if not hasattr(cupy, name)] == []
    assert [name for name in strict.LINALG if not hasattr(cupy.linalg, name)] == []
    assert [name for name in strict.METHODS if not hasattr(cupy.ndarray, name)] == []
