"""Links in files: keys, lazy shapes, carried state."""

import copy

import numpy as np
import pytest

from dyrnn.engine.core import Variable
from dyrnn.errors import SnapshotError
from dyrnn.link import Link
from dyrnn.serializers import load_npz, save_npz
from tests.arrays import every_device, one_device, xp
from tests.toys import Counter, Model

pytestmark = every_device


@pytest.fixture
def model(rng):
    model = Model()
    model(Variable(rng.normal(size=(4, 5)).astype(np.float32)))
    return model


PATHS = ["/scale", "/second/W", "/second/b", "/first/W", "/first/b"]


class Checkpoint:
    """Parameters and carried state of a model, as an updater saves them."""

    def __init__(self, model):
        self.model = model

    def serialize(self, s):
        self.model.serialize(s["model"])
        self.model.serialize_state(s["state"])


class TestSerialize:
    def test_keys_are_paths(self, model, tmp_path):
        save_npz(tmp_path / "model.npz", model)
        with np.load(tmp_path / "model.npz") as file:
            assert {f"/{key}" for key in file.files} >= set(PATHS)

    def test_loads_values_state_and_lazy_shapes(self, model, tmp_path, device):
        model.add_persistent("mean", np.arange(2.0))
        model.add_persistent("count", 3)
        save_npz(tmp_path / "file", Checkpoint(model))
        other = Model()
        other.add_persistent("mean", np.zeros(2))
        other.add_persistent("count", 0)
        other.to_device(device)
        load_npz(tmp_path / "file", Checkpoint(other))
        assert other.second.total.device == device
        other.to_cpu()
        for mine, theirs in zip(model.params(), other.params(), strict=True):
            assert np.array_equal(mine.array, theirs.array)
        assert np.array_equal(other.mean, [0, 1])
        assert other.count == 3
        assert np.array_equal(other.second.total.array, model.second.total.array)
        assert not other.second.total.requires_grad

    def test_state_of_none_is_loaded_as_none(self, tmp_path):
        fresh, used = Model(), Model()
        x = Variable(xp.ones((4, 5), np.float32))
        used(x)
        fresh.copyparams(used)
        save_npz(tmp_path / "file", Checkpoint(fresh))
        load_npz(tmp_path / "file", Checkpoint(used))
        assert used.second.total is None

    def test_state_that_is_no_array_is_refused(self, model, tmp_path):
        class Damaged(Checkpoint):
            def serialize(self, s):
                self.model.serialize(s["model"])
                s["state"]["second"]("total", 5)

        save_npz(tmp_path / "file", Damaged(model))
        with pytest.raises(SnapshotError, match=r"Counter.total is carried over time"):
            load_npz(tmp_path / "file", Checkpoint(model))

    def test_a_failed_load_leaves_a_lazy_model_lazy(self, model, tmp_path):
        save_npz(tmp_path / "file", model)
        other = Model()
        other.add_persistent("missing", 1)
        with pytest.raises(SnapshotError, match="missing"):
            load_npz(tmp_path / "file", other)
        assert not other.first.W.is_initialized

    def test_state_is_declared_where_it_is_made(self, tmp_path):
        class Declared(Counter):
            def __init__(self):
                super().__init__()
                with self.state_scope():
                    self.last = None
                    self.mean = Variable(xp.zeros(2, np.float32))
                    self.mean = None
                self.other = 1

        link = Declared()
        link.W.initialize((2, 2))
        assert link.carried == ("total", "last", "mean")
        assert Declared.carried == Counter.carried
        link.last = xp.ones(2, np.float32)
        other = Declared()
        save_npz(tmp_path / "file", Checkpoint(link))
        load_npz(tmp_path / "file", Checkpoint(other))
        assert xp.array_equal(other.last.array, xp.ones(2))
        assert copy.deepcopy(link).carried == link.copy().carried == link.carried
        link.reset_state()
        assert link.last is None

    @one_device("no arrays")
    def test_state_is_a_variable_or_none(self):
        link = Link()
        with (
            pytest.raises(TypeError, match=r"Link.hs: a list cannot be carried"),
            link.state_scope(),
        ):
            link.hs = [None, None]

    @one_device("no arrays")
    def test_one_name_of_a_state_needs_no_tuple(self):
        class One(Counter):
            carried = "total"

        assert One().carried == ("total",)

    def test_reset_state_reaches_all_links(self, model):
        model.reset_state()
        assert model.second.total is None
