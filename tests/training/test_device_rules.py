"""Training on the stand-in device: nothing leaves it, waits, or comes out different."""

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import optimizers
from dyrnn.optimizers.hooks import GradientClipping
from tests.arrays import every_device, xp
from tests.strict import synchronisations

pytestmark = every_device

OPTIMIZERS = [
    value
    for value in vars(optimizers).values()
    if isinstance(value, type)
    and issubclass(value, optimizers.Optimizer)
    and value is not optimizers.Optimizer
]
VOCABULARY, STEPS, BATCH = 12, 5, 4


class LanguageModel(dyrnn.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(VOCABULARY, 8)
            self.rnn = L.LSTM(8, 8)
            self.out = L.Linear(8, VOCABULARY)

    def forward(self, x):
        return self.out(F.dropout(self.rnn(self.embed(x)), 0.5))


def windows(n):
    """Return n windows of ids, each with the ids that follow."""
    ids = xp.random.default_rng(0).integers(0, VOCABULARY, (n * STEPS + 1, BATCH))
    ids = ids.astype(np.int32)
    starts = range(0, n * STEPS, STEPS)
    return [(ids[i : i + STEPS], ids[i + 1 : i + STEPS + 1]) for i in starts]


def update(model, optimizer, x, t, by_step):
    if by_step:
        losses = [
            F.softmax_cross_entropy(model(a), b) for a, b in zip(x, t, strict=True)
        ]
        loss = sum(losses) / len(losses)
    else:
        loss = F.softmax_cross_entropy(model(x), t)
    model.cleargrads()
    loss.backward()
    loss.unchain_backward()
    optimizer.update()
    return loss


def train(optimizer_class, device, by_step):
    """Return the parameters after a few updates, and how often the last one waited."""
    dyrnn.random.seed(0)
    model = LanguageModel()
    model.to_device(device)
    optimizer = optimizer_class().setup(model)
    optimizer.add_hook(GradientClipping(0.1))
    device = dyrnn.get_device(device)
    for x, t in windows(3):
        batch = device.send(x), device.send(t)
        with synchronisations() as count:
            update(model, optimizer, *batch, by_step)
    return {name: p.array for name, p in model.namedparams()}, count()


@pytest.mark.parametrize("by_step", [True, False])
@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_an_update_stays_on_its_device(optimizer_class, by_step):
    expected, _ = train(optimizer_class, "@numpy", by_step)
    actual, waits = train(optimizer_class, "@strict", by_step)
    assert waits == 0
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        assert dyrnn.get_array_module(array).__name__ == "strict"
        xp.testing.assert_allclose(array.get(), expected[name], rtol=1e-5, atol=1e-6)
