"""The adaptive softmax is a softmax: probabilities, losses, gradients, counts."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import optimizers
from dyrnn.config import using_config
from dyrnn.errors import ShapeError
from dyrnn.iterators import WindowIterator
from dyrnn.link import Chain
from dyrnn.training import BPTTUpdater
from tests.arrays import here
from tests.links.checks import check_parameter_gradients, randomize


@pytest.fixture(autouse=True)
def _double():
    with using_config("dtype", np.float64):
        yield


def made(rng, cutoffs=(3, 7), size=6, n_classes=12):
    return randomize(L.AdaptiveSoftmax(size, n_classes, list(cutoffs), 2.0), rng)


@pytest.mark.parametrize("cutoffs", [(3, 7), (1,), (11,), (1, 2, 3)])
def test_losses_are_those_of_the_probabilities(rng, cutoffs):
    link = made(rng, cutoffs)
    x, t = rng.normal(size=(4, 10, 6)), rng.integers(-1, 12, (4, 10))
    p = np.exp(here(link.log_prob(x).array))
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-12)
    of_labels = np.take_along_axis(p, np.maximum(t, 0)[..., None], 2)[..., 0]
    meant = np.where(t < 0, 0, -np.log(of_labels))
    np.testing.assert_allclose(link(x, t, reduce="no").array, meant, rtol=1e-10)
    mean = meant.sum() / (t >= 0).sum()
    assert float(link(x, t)) == pytest.approx(mean, rel=1e-12)
    rows = link(x.reshape(-1, 6), t.reshape(-1).astype(np.int8))
    assert float(rows) == pytest.approx(mean, rel=1e-12)


def test_gradients(rng):
    link = made(rng)
    x, t = rng.normal(size=(9, 6)), np.array([0, 2, 3, 6, 7, 11, -1, 5, 8])
    check_parameter_gradients(link, lambda: link(x, t), rng)


def test_clusters_without_labels_have_no_gradient(rng):
    link = made(rng)
    link.cleargrads()
    link(rng.normal(size=(2, 6)), np.array([0, 4])).backward()
    assert link.tails[0][1].W.grad is not None
    assert link.tails[1][1].W.grad is None
    assert float(link(rng.normal(size=(2, 6)), np.array([-1, -1]))) == 0


def test_windows_and_steps_train_alike(rng):
    class Model(Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.embed, self.rnn = L.EmbedID(12, 6), L.LSTM(6, 6)
                self.out = made(np.random.default_rng(5))

        def forward(self, x, t):
            return self.out(self.rnn(self.embed(x)), t)

    text = rng.integers(0, 12, 200).astype(np.int32)
    found = []
    for window in (True, False):
        model = randomize(Model(), np.random.default_rng(3))
        optimizer = optimizers.SGD(0.5).setup(model)
        updater = BPTTUpdater(WindowIterator(text, 4, 5), optimizer, window=window)
        for _ in range(3):
            updater.update()
        found.append({name: here(p.array) for name, p in model.namedparams()})
    for name, array in found[0].items():
        np.testing.assert_allclose(array, found[1][name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cutoffs", [[], [0, 4], [4, 4], [5, 3], [12], [2.5], [[1]]])
def test_cutoffs_are_checked(cutoffs):
    with pytest.raises(ValueError, match="whole numbers that ascend between 0 and"):
        L.AdaptiveSoftmax(4, 12, cutoffs)


def test_arguments_are_checked(rng):
    link = made(rng)
    with pytest.raises(ShapeError, match=r"x has shape \(2, 6\) and t \(3,\)"):
        link(np.ones((2, 6)), np.zeros(3, int))
    with pytest.raises(ValueError, match="label"):
        link(np.ones((2, 6)), np.array([1, 12]))
    with pytest.raises(ValueError, match="div_value=0.5"):
        L.AdaptiveSoftmax(4, 12, [3], 0.5)


def test_it_is_pytorchs(rng):
    torch = pytest.importorskip("torch")
    link = made(rng)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(6, 12, [3, 7], div_value=2.0).double()
    with torch.no_grad():
        theirs.head.weight.copy_(torch.from_numpy(link.head.W.array))
        for ours, tail in zip(link.tails, theirs.tail, strict=True):
            for layer, weights in zip(ours, tail, strict=True):
                weights.weight.copy_(torch.from_numpy(layer.W.array))
    x, t = rng.normal(size=(30, 6)), rng.integers(0, 12, 30)
    found = theirs(torch.from_numpy(x), torch.from_numpy(t)).loss.item()
    assert float(link(x, t)) == pytest.approx(found, rel=1e-12)
    assert float(F.mean(-link.log_prob(x)[np.arange(30), t])) == pytest.approx(found)
