"""Parameters with hyperparameters of their own, by the patterns of their paths."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import Chain, extensions, optimizers, random, training
from dyrnn.backend import to_cpu
from dyrnn.iterators import SerialIterator
from dyrnn.serializers import load_npz, save_npz
from tests.arrays import xp


class Model(Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embed, self.out = L.EmbedID(5, 3), L.Linear(3, 2)

    def forward(self, ids, t):
        return F.mean_squared_error(self.out(self.embed(ids)), t)


IDS = np.array([0, 3, 3])


def updated(optimizer, device, prepare=lambda optimizer: None, n=3):
    """Return the parameters after some updates, and before."""
    random.seed(1)
    model = Model().to_device(device)
    before = {path: to_cpu(p.array).copy() for path, p in model.namedparams()}
    optimizer.setup(model)
    prepare(optimizer)
    t = device.send(xp.ones((3, 2), np.float32))
    for _ in range(n):
        optimizer.update(model, device.send(IDS), t)
    return {path: to_cpu(p.array) for path, p in model.namedparams()}, before


@pytest.mark.parametrize(
    "make", [optimizers.SGD, optimizers.MomentumSGD, optimizers.Adam]
)
def test_a_share_of_the_rate_is_another_rate(make, device):
    def prepare(optimizer):
        optimizer.scale("/out/*", lr=0.5)
        optimizer.scale("*/b", lr=0.5)

    found, _ = updated(make(lr=0.1), device, prepare, n=1)
    for path, lr in {"/embed/W": 0.1, "/out/W": 0.05, "/out/b": 0.025}.items():
        meant, _ = updated(make(lr=lr), device, n=1)
        np.testing.assert_allclose(found[path], meant[path], rtol=1e-6)


def test_decay_may_leave_the_biases_alone(device):
    def decay(optimizer):
        optimizer.scale("*/b", weight_decay_rate=0)

    found, _ = updated(optimizers.AdamW(lr=0.1, weight_decay_rate=0.5), device, decay)
    plain, _ = updated(optimizers.Adam(lr=0.1), device, n=1)
    first, _ = updated(
        optimizers.AdamW(lr=0.1, weight_decay_rate=0.5), device, decay, n=1
    )
    np.testing.assert_allclose(first["/out/b"], plain["/out/b"], rtol=1e-6)
    assert abs(first["/out/W"] - plain["/out/W"]).max() > 1e-3
    assert np.isfinite(found["/out/W"]).all()


def test_what_is_frozen_stays_until_it_is_thawed(device):
    optimizer = optimizers.Adam(0.1)
    found, before = updated(optimizer, device, lambda o: o.freeze("/embed/*"))
    np.testing.assert_array_equal(found["/embed/W"], before["/embed/W"])
    assert abs(found["/out/W"] - before["/out/W"]).min() > 0.01
    optimizer.thaw("/embed/*")
    t = device.send(np.ones((3, 2), np.float32))
    optimizer.update(optimizer.target, device.send(IDS), t)
    moved = to_cpu(optimizer.target.embed.W.array) != before["/embed/W"]
    assert moved[IDS].all()


def test_a_schedule_changes_the_base_of_all(device):
    def prepare(optimizer):
        optimizer.scale("/out/*", lr=0.5)
        optimizer.lr = 0.2

    found, _ = updated(optimizers.SGD(lr=9.0), device, prepare, n=1)
    meant, _ = updated(optimizers.SGD(lr=0.1), device, n=1)
    np.testing.assert_allclose(found["/out/W"], meant["/out/W"], rtol=1e-6)


def trainer_for(out, stop):
    random.seed(1)
    model = Model()
    optimizer = optimizers.Adam(0.05).setup(model)
    optimizer.scale("/out/*", lr=0.5)
    optimizer.freeze("*/b")
    data = [(np.int32(i % 5), np.float32([i, -i])) for i in range(8)]
    updater = training.StandardUpdater(SerialIterator(data, 3), optimizer)
    trainer = training.Trainer(updater, (stop, "iteration"), out)
    trainer.extend(extensions.snapshot(autoload=True), trigger=(1, "iteration"))
    return trainer, model


def test_a_resumed_run_has_the_same_groups(tmp_path):
    trainer, model = trainer_for(tmp_path / "a", 6)
    trainer.run()
    trainer_for(tmp_path / "b", 2)[0].run()
    resumed, other = trainer_for(tmp_path / "b", 6)
    resumed.run()
    for a, b in zip(model.params(), other.params(), strict=True):
        np.testing.assert_array_equal(a.array, b.array)
    assert not model.out.b.array.any()
    plain = optimizers.Adam(0.05).setup(Model())
    save_npz(tmp_path / "o.npz", trainer.updater.get_optimizer())
    plain.update(plain.target, IDS, np.ones((3, 2), np.float32))
    load_npz(tmp_path / "o.npz", plain)
    assert (
        plain.settings()["frozen"] == ["*/b"]
        and plain.settings()["lr of /out/*"] == 0.5
    )


# fmt: off
REFUSED = [
    (lambda o: o.scale("/emb/*", lr=0.1), "'/emb/.' is the path of no parameter; there "
     "are: /embed/W, /out/W, /out/b"),
    (lambda o: o.scale("*", rate=0.1), "no hyperparameter 'rate'; there are: lr"),
    (lambda o: o.scale("*", lr=-1), "lr=-1; a factor is a number >= 0"),
    (lambda o: o.freeze("/x"), "'/x' is the path of no parameter"),
    (lambda o: o.thaw("/out/*"), "'/out/.' is not frozen; frozen are: none"),
]
# fmt: on


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_groups_of_nothing_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(optimizers.SGD().setup(Model()))
