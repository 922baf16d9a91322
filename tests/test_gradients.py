import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn.engine.core import Variable
from dyrnn.engine.gradients import (
    Part,
    Product,
    Rows,
    Sum,
    densify,
    product,
    sum_to,
)
from tests.arrays import every_device, xp

pytestmark = every_device


def test_sum_of_products_is_the_sum_of_their_values(rng):
    pairs = [(rng.random((n, 3)), rng.random((n, 2))) for n in (4, 1, 5)]
    total = Sum(Product(pairs[0][0], pairs[0][1]))
    for gy, x in pairs[1:]:
        total.add(Product(gy, x))
    expected = sum(gy.T @ x for gy, x in pairs)
    xp.testing.assert_allclose(total.dense(), expected, rtol=1e-12)


def test_sum_of_rows_is_the_sum_of_their_values(rng):
    terms = [
        (xp.array(ids), rng.random((len(ids), 2)))
        for ids in ([3, 1, 3], [0], [1, 1, 3, 4])
    ]
    expected = xp.zeros((6, 2))
    for ids, values in terms:
        xp.add.at(expected, ids, values)
    first, *others = [Rows(ids, values, (6, 2)) for ids, values in terms]
    total = Sum(first)
    for term in others:
        total.add(term)
    rows = total.value()
    if isinstance(expected, np.ndarray):  # elsewhere the sum is dense
        assert isinstance(rows, Rows) and rows.is_unique
        assert rows.ids.tolist() == [0, 1, 3, 4]
    xp.testing.assert_allclose(total.dense(), expected, rtol=1e-12)


def test_parts_of_one_array_share_one_gradient(rng, monkeypatch):
    totals = []
    total = Part.total
    monkeypatch.setattr(
        Part, "total", staticmethod(lambda terms: totals.append(terms) or total(terms))
    )
    x, w = Variable(rng.random((6, 3))), rng.random((6, 3))
    h = x * 1.0
    F.sum(sum(h[t] * w[t] for t in range(6)) + F.sum(h[2:4]) + h[-1, 0]).backward()
    assert [len(terms) for terms in totals] == [8]
    expected = w.copy()
    expected[2:4] += 3  # added to each of three elements
    expected[-1, 0] += 3
    xp.testing.assert_allclose(x.grad, expected, rtol=1e-12)


def test_terms_of_all_kinds_add_up(rng):
    gy, x = rng.random((4, 5)), rng.random((4, 2))
    ids, values, array = xp.array([1, 1]), rng.random((2, 2)), rng.random((5, 2))
    total = Sum(array)
    total.add(Product(gy, x))
    total.add(Rows(ids, values, (5, 2)))
    total.add(array)
    expected = 2 * array + gy.T @ x
    xp.add.at(expected, ids, values)
    xp.testing.assert_allclose(total.dense(), expected, rtol=1e-12)


def test_borrowed_arrays_are_never_written_to(rng):
    terms = [rng.random(3) for _ in range(4)]
    for term in terms:
        term.flags.writeable = False
    total = Sum(terms[0])
    for term in terms[1:]:
        total.add(term)
    owned = total.value()
    owned *= 0
    alone = Sum(terms[0]).value()
    alone *= 0


def test_factor_is_applied_when_somebody_reads(rng):
    array, values = rng.random((4, 2)), rng.random((1, 2))
    for term in (array, Rows(xp.array([2]), values, (4, 2))):
        total = Sum(term)
        total.scale(0.5)
        value, rate = total.settled()
        assert rate == 0.5
        xp.testing.assert_allclose(densify(value), densify(term))
        total.add(term)
        xp.testing.assert_allclose(total.dense(), 1.5 * densify(term), rtol=1e-12)


def test_product_of_variables_is_differentiable(rng):
    gy, x = Variable(rng.random((4, 3))), Variable(rng.random((4, 2)))
    y = product(F, gy, x)
    assert isinstance(y, Variable) and y.requires_grad
    xp.testing.assert_allclose(y.array, gy.array.T @ x.array)
    assert isinstance(product(np, gy.array, x.array), Product)


def test_weight_used_at_many_steps_has_the_eager_gradient(rng):
    W = Variable(rng.random((3, 3)))
    x = rng.random((2, 3))

    def gradient(multiply):
        h = Variable(x, requires_grad=False)
        for _ in range(5):
            h = F.tanh(multiply(h))
        W.cleargrad()
        F.sum(h).backward()
        return W.grad

    deferred = gradient(lambda h: h @ W)
    # With a third axis the product is evaluated at once.
    eager = gradient(lambda h: F.matmul(h.reshape(1, 2, 3), W).reshape(2, 3))
    xp.testing.assert_allclose(deferred, eager, rtol=1e-12)


@pytest.mark.parametrize(
    "shape, target",
    [
        ((2, 3), (3,)),
        ((2, 3), (2, 1)),
        ((2, 3), ()),
        ((4, 2, 3), (1, 3)),
        ((2, 3), (2, 3)),
        ((2, 1, 3), (1, 1)),
    ],
)
def test_sum_to_undoes_broadcasting(shape, target, rng):
    gy = rng.random(shape)
    found = sum_to(gy, target)
    assert found.shape == target
    ones = Variable(xp.ones(target))
    y = F.broadcast_to(ones, shape)
    y.grad = gy
    y.backward()
    xp.testing.assert_allclose(found, ones.grad)
    xp.testing.assert_allclose(found.sum(), gy.sum())


def test_an_owned_array_is_taken_over_without_a_copy():
    array = xp.ones(3)
    total = Sum(array, owned=True)
    assert total.dense() is array
    total.add(xp.ones(3))
    xp.testing.assert_array_equal(total.dense(), 2 * xp.ones(3))


def test_a_lent_sum_is_not_written_to_by_its_reader():
    total = Sum(xp.ones(3), owned=True)
    lent = total.lend()
    owned = total.dense()
    owned *= 0
    xp.testing.assert_array_equal(lent, xp.ones(3))
