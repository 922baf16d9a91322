"""Rates, gradients by layer, and gates: what is drawn, and that nothing changes."""

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import extensions, training
from dyrnn.extensions.insights import gate_saturation, plot_lr_range
from dyrnn.links.recurrent import call_checks
from dyrnn.serializers.protocol import capture
from tests.arrays import every_device, host, xp
from tests.training.toys import text

pytestmark = every_device


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gates_of(layer, x):
    """The gates by the formulas of the layer, in NumPy: (T, B, H) each."""
    W, U = host(layer.upward.W.array), host(layer.lateral.W.array)
    b, h, c, found = host(layer.upward.b.array), 0.0, 0.0, []
    h = np.zeros((x.shape[1], layer.out_size))
    for step in x:
        if isinstance(layer, L.LSTM):
            i, f, g, o = np.split(step @ W.T + b + h @ U.T, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            found.append([sigmoid(i), sigmoid(f), sigmoid(o)])
        else:
            p, a = step @ W.T + b, h @ U.T + host(layer.lateral.b.array)
            (pr, pz, pn), (ar, az, an) = (np.split(each, 3, axis=1) for each in (p, a))
            r, z = sigmoid(pr + ar), sigmoid(pz + az)
            h = (1 - z) * np.tanh(pn + r * an) + z * h
            found.append([r, z])
    return np.moveaxis(np.array(found), 1, 0)


@pytest.mark.parametrize("kind", [L.LSTM, L.GRU])
@pytest.mark.parametrize("by_steps", [False, True])
def test_shares_of_gates_are_those_of_the_formulas(kind, by_steps):
    layer = kind(3, 4)
    for param in layer.params():
        param.array[...] *= 4
    x = np.random.default_rng(0).normal(size=(9, 5, 3)).astype(np.float32)

    class Model(dyrnn.Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.rnn = layer

        def forward(self, x):
            dyrnn.report({"value": 1.0}, self)
            return F.stack([self.rnn(s) for s in x]) if by_steps else self.rnn(x)

    found = gate_saturation(Model(), xp.array(x))
    names = ["input", "forget", "output"] if kind is L.LSTM else ["reset", "update"]
    assert list(found) == [f"/rnn/{name}" for name in names]
    for (shut, opened), gates in zip(found.values(), gates_of(layer, x), strict=True):
        np.testing.assert_allclose(shut, (gates < 0.1).mean((0, 1)))
        np.testing.assert_allclose(opened, (gates > 0.9).mean((0, 1)))
    assert layer.h is None and not call_checks


def test_projected_and_bare_layers_are_looked_at():
    x = xp.ones((4, 2, 3), np.float32)
    assert len(gate_saturation(L.LSTM(3, 6, proj_size=2), x)["/forget"][0]) == 6
    assert list(gate_saturation(L.GRU(3, 6), x)) == ["/reset", "/update"]


def test_a_model_without_gates_is_named():
    with pytest.raises(ValueError, match="Linear called no L.LSTM or L.GRU"):
        gate_saturation(L.Linear(2, 3), xp.ones((1, 2), np.float32))


class LanguageModel(dyrnn.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(7, 4)
            self.rnn = L.LSTM(4, 5)
            self.out = L.Linear(5, 7)

    def forward(self, x):
        return self.out(F.dropout(self.rnn(self.embed(x)), 0.3))


def trainer_of(out, watched):
    dyrnn.random.seed(0)
    layers = LanguageModel()
    optimizer = dyrnn.optimizers.Adam(0.01).setup(L.Classifier(layers))
    batches = dyrnn.iterators.WindowIterator(text(120), 4, steps=5)
    updater = training.BPTTUpdater(batches, optimizer)
    trainer = training.Trainer(updater, (6, "iteration"), out)
    trainer.extend(extensions.LogReport(trigger=(2, "iteration")))
    if watched:
        every = 2, "iteration"
        trainer.extend(extensions.GradientNorms(optimizer.target, every))
        window = text(20).reshape(10, 2)
        trainer.extend(extensions.GateSaturation(layers, window), trigger=every)
    return trainer


def test_a_training_goes_on_as_if_nobody_looked(tmp_path):
    pytest.importorskip("matplotlib")
    ours, meant = (trainer_of(tmp_path / name, name == "a") for name in "ab")
    for trainer in meant, ours:
        dyrnn.random.seed(1)
        trainer.run()
    mine, theirs = (capture(each.updater).arrays for each in (ours, meant))
    assert mine.keys() == theirs.keys() and mine
    for key, array in theirs.items():
        xp.testing.assert_array_equal(mine[key], array)
    row = extensions.read_log(tmp_path / "a/log.jsonl")[-1]
    grads = {p: q.grad for p, q in ours.updater.get_optimizer().target.namedparams()}
    assert len(grads) == len([key for key in row if key.startswith("grad_norm/")])
    for path, grad in grads.items():
        expected = np.linalg.norm(host(grad))
        assert row[f"grad_norm{path}"] == pytest.approx(expected, rel=1e-5)
    assert 0 <= row["gates/rnn/forget/open"] <= 1
    for name in "gradients.png", "gates.png":
        assert (tmp_path / "a" / name).read_bytes().startswith(b"\x89PNG")


def test_range_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    trainer = trainer_of(tmp_path, False)
    trainer.updater.update()
    found = training.lr_range_test(trainer.updater, 1e-4, 10, 12)
    assert plot_lr_range(found, tmp_path / "rates.svg")
    assert "<svg" in (tmp_path / "rates.svg").read_text()
    assert plot_lr_range([(0.1, 2.0), (1.0, float("inf"))], tmp_path / "one.png")
    with pytest.raises(ValueError, match="no finite losses"):
        plot_lr_range([(0.1, float("nan"))])
