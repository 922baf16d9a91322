"""Files of commit 4fe7486 load, and runs go on from them as that code did."""

from pathlib import Path

import numpy as np
import pytest

import dyrnn
from dyrnn.chainer.serializers import load_npz as load_chainer_npz
from dyrnn.config import config
from dyrnn.serializers import environment, load_npz, read_manifest
from tests.golden import make_chainer_runs, make_runs

GOLDEN = Path(__file__).parent.parent / "golden" / "4fe7486"
CHAINER = GOLDEN.with_name("4fe7486-chainer")
BUILD = ("numpy", "blas", "machine", "processor", "threads")


class State:
    """Arrays and values of a file, as they are there."""

    def __init__(self, path):
        self.manifest = read_manifest(path)
        self.arrays = dict.fromkeys(self.manifest["arrays"])
        self.values = self.manifest["values"]
        load_npz(path, self)

    def serialize(self, s):
        self.arrays = {key: s(key, value) for key, value in self.arrays.items()}
        self.values = {key: s(key, value) for key, value in self.values.items()}


@pytest.fixture(scope="module")
def golden():
    return State(GOLDEN / "results.npz")


def is_same_arithmetic(manifest):
    """Whether this machine computes what that of the files did, to the last bit."""
    then, now = manifest["environment"], environment()
    return (
        all(then[key] == now[key] for key in BUILD)
        and manifest["metadata"]["arithmetic"] == make_runs.arithmetic()
    )


def assert_equal(golden, name, arrays):
    wanted = {
        key.removeprefix(f"{name}/"): array
        for key, array in golden.arrays.items()
        if key.startswith(f"{name}/")
    }
    assert arrays.keys() == wanted.keys()
    # Since then a cross entropy divides by the sums of its softmax before products.
    bits = name in ("model", "shuffled") and is_same_arithmetic(golden.manifest)
    for key, array in arrays.items():
        assert array.dtype == wanted[key].dtype and array.shape == wanted[key].shape
        if bits:
            assert array.tobytes() == wanted[key].tobytes(), key
        else:
            np.testing.assert_allclose(array, wanted[key], 1e-5, 1e-6, err_msg=key)


@pytest.mark.parametrize("name", make_runs.RUNS)
def test_a_run_goes_on_as_it_did(golden, name, tmp_path):
    dyrnn.random.seed(99)
    trainer = make_runs.make_trainer(name, tmp_path)
    trainer.extend(lambda trainer: None, "last", (1, "iteration"))
    load_npz(GOLDEN / f"{name}.npz", trainer)
    assert trainer.updater.iteration == make_runs.CUT
    assert trainer.updater.epoch_detail % 1  # in the middle of an epoch
    trainer.run()
    assert trainer.updater.iteration == make_runs.LENGTH
    arrays, values = make_runs.result(trainer)
    assert_equal(golden, name, arrays)
    wanted = golden.values[name]
    assert values["calls"] == wanted["calls"]
    np.testing.assert_allclose(values["losses"], wanted["losses"], 1e-5)


def test_a_model_computes_what_it_did(golden):
    config.native = False
    model = make_runs.Layers()
    load_npz(GOLDEN / "model.npz", model)
    assert_equal(golden, "model", make_runs.outputs(model))


def test_a_model_loads_from_the_snapshot_of_a_trainer():
    model = dyrnn.links.Classifier(make_runs.LanguageModel(["LSTM"], 0.3))
    load_npz(GOLDEN / "window.npz", model, path_in_file="updater/model:main")
    manifest = read_manifest(GOLDEN / "window.npz")
    assert sum(p.size for p in model.params()) == sum(
        entry["size"] // 4
        for key, entry in manifest["arrays"].items()
        if key.startswith("updater/model:main")
    )


# As in Chainer, early stopping looks at once when it was loaded without its interval.
@pytest.mark.filterwarnings("ignore:main/loss is not in observation")
@pytest.mark.parametrize("name", make_chainer_runs.RUNS)
def test_a_run_of_chainers_api_goes_on_as_it_did(name, tmp_path):
    golden = State(CHAINER / "results.npz")
    trainer = make_chainer_runs.make_trainer(name, str(tmp_path))
    trainer.extend(lambda trainer: None, "last", (1, "iteration"), priority=-1000)
    load_chainer_npz(CHAINER / f"{name}.npz", trainer)
    assert trainer.updater.iteration == make_chainer_runs.CUT
    np.random.seed(7)
    trainer.run()
    assert trainer.updater.iteration == make_chainer_runs.LENGTH
    arrays, losses = make_chainer_runs.result(trainer)
    assert_equal(golden, name, arrays)
    np.testing.assert_allclose(losses, golden.values[name], 1e-5)
