"""Sampled and hierarchical losses, and the conditional random field."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import random
from dyrnn.config import using_config
from dyrnn.engine.gradients import Rows
from dyrnn.errors import ShapeError
from tests.arrays import every_device, here, xp
from tests.links.checks import check_parameter_gradients, randomize

COUNTS = [5, 1, 0, 4, 10]
TREE = ((0, (3, 1)), (4, 2))


@pytest.fixture(autouse=True)
def _double():
    with using_config("dtype", np.float64):
        yield


@pytest.fixture
def x(rng):
    return rng.normal(size=(4, 3))


@pytest.fixture
def labels():
    return xp.array([4, 0, -1, 3])


class TestWalkerAlias:
    def test_draws_with_the_given_weights(self):
        ids = L.WalkerAlias(COUNTS).sample((40000,))
        share = np.bincount(ids, minlength=5) / 40000
        np.testing.assert_allclose(share, np.array(COUNTS) / 20, atol=0.01)
        assert share[2] == 0

    def test_shape_and_repetition(self):
        sampler = L.WalkerAlias([1, 1])
        random.seed(3)
        first = sampler.sample((2, 3))
        random.seed(3)
        assert np.array_equal(sampler.sample((2, 3)), first)

    @pytest.mark.parametrize("weights", [[], [0, 0], [1, -1], [np.nan], [np.inf]])
    def test_weights_are_checked(self, weights):
        with pytest.raises(ValueError, match="numbers >= 0, not all 0"):
            L.WalkerAlias(weights)


def drawn_again(link, shape):
    random.seed(7)
    ids = here(link.sampler.sample(shape))
    random.seed(7)
    return ids


def softplus(a):
    return xp.logaddexp(0, a)


@every_device
def test_negative_sampling_follows_its_formula(rng, x, labels):
    link = randomize(L.NegativeSampling(3, COUNTS, 6), rng)
    ids = drawn_again(link, (4, 6))
    losses = link(x, labels, reduce="no").array
    W = link.W.array
    for n in (0, 1, 3):
        expected = softplus(-x[n] @ W[labels[n]]) + softplus(W[ids[n]] @ x[n]).sum()
        expected = float(expected)
        assert float(losses[n]) == pytest.approx(expected, rel=1e-12)
    assert losses[2] == 0
    random.seed(7)
    assert float(link(x, labels)) == pytest.approx(float(losses.sum()))
    assert link.sampler.threshold.shape == (5,)


@every_device
def test_black_out_follows_its_formula(rng, x, labels):
    link = randomize(L.BlackOut(3, COUNTS, 6), rng)
    ids = drawn_again(link, (4, 6))
    losses = link(x, labels, reduce="no").array
    for n in (0, 1, 3):
        e = xp.exp(link.W.array[[int(labels[n]), *ids[n].tolist()]] @ x[n])
        p = e / e.sum()
        expected = float(-xp.log(p[0]) - xp.log(1 - p[1:]).sum())
        assert float(losses[n]) == pytest.approx(expected, rel=1e-12)
    assert losses[2] == 0
    random.seed(7)
    assert float(link(x, labels)) == pytest.approx(float(losses[labels != -1].mean()))


@pytest.mark.parametrize("cls", [L.NegativeSampling, L.BlackOut])
def test_sampled_losses_have_right_and_sparse_gradients(cls, rng, x, labels):
    link = randomize(cls(3, COUNTS, 6), rng)

    def loss():
        random.seed(7)
        return link(x, labels)

    check_parameter_gradients(link, loss, rng)
    link.cleargrads()
    loss().backward()
    assert isinstance(link.W.total.settled()[0], Rows)


@pytest.mark.parametrize("cls", [L.NegativeSampling, L.BlackOut])
def test_sampled_losses_on_a_device(cls, rng, x, device, labels):
    link = randomize(cls(3, COUNTS, 6), rng)
    random.seed(7)
    expected = float(link(x, labels).array)
    random.seed(7)
    found = link.to_device(device)(device.send(x), device.send(labels))
    assert float(found) == pytest.approx(expected, rel=1e-12)


class TestBinaryHierarchicalSoftmax:
    @every_device
    def test_probabilities_add_up_to_one(self, rng, x, labels):
        link = randomize(L.BinaryHierarchicalSoftmax(3, TREE), rng)
        assert link.W.shape == (4, 3)
        losses = [
            [float(link(x[n : n + 1], xp.array([t])).array) for t in range(5)]
            for n in range(4)
        ]
        xp.testing.assert_allclose(xp.exp(-xp.array(losses)).sum(axis=1), 1)
        total = sum(losses[n][int(labels[n])] for n in (0, 1, 3))
        assert float(link(x, labels).array) == pytest.approx(total)

    @every_device
    def test_gradients(self, rng, x, labels):
        link = randomize(L.BinaryHierarchicalSoftmax(3, TREE), rng)
        check_parameter_gradients(link, lambda: link(x, labels), rng)

    def test_on_a_device(self, rng, x, device, labels):
        link = randomize(L.BinaryHierarchicalSoftmax(3, TREE), rng)
        expected = float(link(x, labels).array)
        found = link.to_device(device)(device.send(x), device.send(labels))
        assert float(found) == pytest.approx(expected, rel=1e-12)

    def test_samples_follow_the_probabilities(self, rng, device):
        link = randomize(L.BinaryHierarchicalSoftmax(3, TREE), rng)
        x = np.repeat(rng.normal(size=(1, 3)), 20000, axis=0)
        p = [np.exp(-float(link(x[:1], np.array([t])).array)) for t in range(5)]
        link.to_device(device)
        share = np.bincount(link.sample(x), minlength=5) / 20000
        np.testing.assert_allclose(share, p, atol=0.015)
        # Down the tree by the likelier branch.
        assert len(set(link.argmax(x))) == 1

    def test_huffman_tree_gives_frequent_classes_short_paths(self):
        tree = L.BinaryHierarchicalSoftmax.create_huffman_tree(
            {0: 8, 1: 5, 2: 6, 3: 4, 4: 1, 5: 2}
        )
        link = L.BinaryHierarchicalSoftmax(2, tree)
        lengths = (link.signs != 0).sum(axis=1)
        assert lengths[4] == lengths[5] == 4
        assert lengths[3] == 3
        assert lengths[[0, 1, 2]].tolist() == [2, 2, 2]

    def test_wrong_trees_and_labels(self, x):
        cls = L.BinaryHierarchicalSoftmax
        with pytest.raises(ValueError, match="a node has 3 branches"):
            cls(3, (0, 1, 2))
        with pytest.raises(ValueError, match="leaf 0 is there twice"):
            cls(3, (0, 0))
        with pytest.raises(ValueError, match="needs at least 2 leaves"):
            cls(3, 0)
        with pytest.raises(ValueError, match="1 classes were given; a tree needs"):
            cls.create_huffman_tree({0: 1})
        with pytest.raises(
            ValueError, match="label 9 at position .3,. is out of range: use 0 to 4"
        ):
            cls(3, TREE)(x, xp.array([0, 1, 2, 9]))


@every_device
def test_labels_must_fit(x, labels):
    link = L.NegativeSampling(3, COUNTS, 2)
    with pytest.raises(ShapeError, match=r"\(4, 3\) and t \(3,\); they must be \(B, "):
        link(x, labels[:3])
    with pytest.raises(
        ValueError, match="NegativeSampling: reduce='max' is unknown; use one of"
    ):
        link(x, labels, reduce="max")


@every_device
def test_crf_hands_its_costs_to_the_function(rng):
    link = randomize(L.CRF1d(3), rng)
    xs, ys = rng.normal(size=(4, 2, 3)), rng.integers(3, size=(4, 2))
    lengths = xp.array([4, 2])
    expected = F.crf1d(link.cost, xs, ys, lengths).array
    assert float(link(xs, ys, lengths).array) == float(expected)
    check_parameter_gradients(link, lambda: link(xs, ys, lengths), rng)
    found, expected = link.argmax(xs, lengths), F.argmax_crf1d(link.cost, xs, lengths)
    assert xp.array_equal(found[0].array, expected[0].array)
    assert L.CRF1d(2, xp.eye(2)).cost.array.tolist() == [[1, 0], [0, 1]]
