"""Devices: their names, what moves between them, and what they refuse."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import backend, kernels, optimizers
from dyrnn.errors import DeviceError
from dyrnn.serializers import load_npz, save_npz

STRICT = backend.get_device("@strict")
X = np.ones((2, 3), np.float32)
IDS = np.zeros(2, np.int32)


@pytest.fixture
def two_gpus(monkeypatch):
    """A CuPy that finds two GPUs; nothing is computed on them."""
    used = []

    class Device:
        def __init__(self, index):
            self.index = index

        def use(self):
            used.append(self.index)

    runtime = SimpleNamespace(getDeviceCount=lambda: 2)
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime, Device=Device))
    monkeypatch.setattr(backend, "_cupy", lambda: cupy)
    monkeypatch.setattr(backend, "is_available", lambda: True)
    backend._gpu.cache_clear()
    yield used
    backend._gpu.cache_clear()


@pytest.mark.parametrize("spec", [-1, "-1", "@numpy", "cpu", "native", backend.CPU])
def test_names_of_the_cpu(spec):
    assert backend.get_device(spec) is backend.CPU


@pytest.mark.parametrize("spec", [1, "1", "cuda:1", "gpu:1", "@cupy:1", np.int64(1)])
def test_names_of_a_gpu(spec, two_gpus):
    device = backend.get_device(spec)
    assert device.name == "@cupy:1"
    assert device == backend.get_device(device) == backend.get_device((1,))
    assert device != backend.get_device("cuda") == backend.get_device(0)
    assert pickle.loads(pickle.dumps(device)) == copy.copy(device) == device
    assert repr(device) == "<Device @cupy:1>"
    device.use()
    assert two_gpus == [1]


def test_a_gpu_that_is_not_there_is_refused(two_gpus):
    with pytest.raises(
        DeviceError, match="@cupy:2 was asked for, but there are 2 CUDA"
    ):
        backend.get_device(2)


@pytest.mark.parametrize("spec", ["gpu0", "cuda:x", "", "-2", None, 1.5])
def test_names_of_nothing_are_refused(spec):
    with pytest.raises(ValueError, match="unknown device .*use -1 or '@numpy'"):
        backend.get_device(spec)


@pytest.mark.skipif(backend.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "ask",
    [
        lambda: backend.get_device(0),
        lambda: backend.to_device(X, "cuda:0"),
        lambda: L.Linear(3, 2).to_gpu(),
        lambda: L.Linear(3, 2).to_device("@cupy:0"),
        lambda: optimizers.SGD().setup(L.Linear(3, 2)).target.to_device("0"),
        lambda: dyrnn.datasets.concat_examples([1, 2], device=0),
    ],
)
def test_without_a_gpu_asking_for_one_says_what_to_do(ask):
    assert not dyrnn.is_available()
    with pytest.raises(DeviceError, match="no CUDA device can be used here. Install"):
        ask()


@pytest.mark.parametrize(
    "mix",
    [
        lambda x, there: x + there,
        lambda x, there: F.concat((dyrnn.Variable(x), there)),
        lambda x, there: L.Linear(3, 2)(there),
        lambda x, there: L.Linear(3, 2).to_device(STRICT)(x),
        lambda x, there: L.LSTM(3, 2)(there[None]),
        lambda x, there: L.EmbedID(4, 3).to_device(STRICT)(IDS),
        lambda x, there: F.softmax_cross_entropy(there, IDS),
        lambda x, there: F.softmax_cross_entropy(x, STRICT.send(IDS)),
        lambda x, there: F.accuracy(there, IDS),
        lambda x, there: F.linear_softmax_cross_entropy(there, there, None, IDS),
    ],
)
def test_arrays_of_two_devices_do_not_mix(mix):
    with pytest.raises(DeviceError, match="different devices.*Move the batch with to_"):
        mix(X, dyrnn.Variable(STRICT.send(X)))


def test_arrays_move_and_come_back(device):
    there = backend.to_device(X, device)
    assert backend.device_of(there) == device
    assert backend.to_device(there, device) is there
    back = backend.to_cpu(there)
    assert type(back) is np.ndarray
    np.testing.assert_array_equal(back, X)
    turned = backend.to_cpu(device.send(X.T))
    np.testing.assert_array_equal(turned, X.T)
    assert backend.to_cpu(None) is None


def test_rows_are_added_to_their_ids(rng, device):
    ids, rows = rng.integers(0, 5, 20), rng.normal(size=(20, 3))
    target = rng.normal(size=(6, 3))
    expected = target.copy()
    np.add.at(expected, ids, rows)
    target, rows = device.send(target), device.send(rows)
    kernels.add_rows_by_id(target, device.send(ids), rows)
    kernels.add_rows_by_id(target, device.send(ids[:0]), rows[:0])
    np.testing.assert_allclose(backend.to_cpu(target), expected, rtol=1e-12)


@pytest.mark.parametrize(("home", "away"), [("@numpy", "@strict"), ("@strict",) * 2])
def test_a_model_and_its_optimizer_are_saved_and_loaded_on_any_device(
    home, away, tmp_path
):
    def make(place):
        model = L.Linear(3, 2).to_device(place)
        optimizer = optimizers.Adam().setup(model)
        loss = F.sum(model(model.device.send(X)) ** 2)
        loss.backward()
        optimizer.update()
        return model, optimizer

    for place, other in ((home, away), (away, home)):
        saved, loaded = make(place), make(other)
        for i, name in enumerate(("model.npz", "optimizer.npz")):
            save_npz(tmp_path / name, saved[i])
            load_npz(tmp_path / name, loaded[i])
        (W, _), (again, _) = (list(model.params()) for model, _ in (saved, loaded))
        assert again.device == backend.get_device(other)
        np.testing.assert_array_equal(
            backend.to_cpu(again.array), backend.to_cpu(W.array)
        )
        states = [
            optimizer._states[p] for p, (_, optimizer) in ((W, saved), (again, loaded))
        ]
        assert backend.device_of(states[1].arrays["m"]) == backend.get_device(other)
        np.testing.assert_array_equal(*(backend.to_cpu(s.arrays["m"]) for s in states))
