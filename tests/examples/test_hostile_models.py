"""Files that claim to be models of the examples, and are not."""

import time

import numpy as np
import pytest

from dyrnn.datasets import Vocabulary
from dyrnn.errors import SnapshotError
from dyrnn.serializers import save_npz
from tests.examples import running

WORDS = Vocabulary(["a", "b", "<eos>"], "word").to_json()
PTB = {"n_units": 4, "n_layers": 2, "dropout": 0.5, "cell": "fused"}
NUMBERS = [None, "x", [], {}, True, -1, 0, 1.5, 10**9, 10**30, float("nan")]


def models():
    for key in PTB:
        for value in NUMBERS:
            if (key, value) != ("dropout", 0):
                yield "ptb", {"vocabulary": WORDS, "model": {**PTB, key: value}}
    for model in (*NUMBERS[:4], {**PTB, "forward": 1}, {"n_layers": 2}):
        yield "ptb", {"vocabulary": WORDS, "model": model}
    for units in (*NUMBERS, *([4, value] for value in NUMBERS), [4, 5, 6]):
        yield "char", {"vocabulary": WORDS, "units": units}
    for words in (None, 3, [], ["word"], ["word", ["a"] * 3], ["x", ["a"]], [1, [2]]):
        yield "ptb", {"vocabulary": words, "model": PTB}
        yield "char", {"vocabulary": words, "units": [4, 5]}


@pytest.fixture(scope="module")
def examples():
    generate = running.load("ptb/generate.py")
    char = running.load("char_rnn/train_char_rnn.py")
    ptb = generate.RNNForLM(3, **PTB), generate.load_model
    return {"ptb": ptb, "char": (char.CharRNN(3, [4, 5]), char.load_model)}


def test_what_the_metadata_claims_is_compared_with_the_arrays(tmp_path, examples):
    count, path = 0, tmp_path / "model.npz"
    start = time.process_time()
    for name, metadata in models():
        model, load = examples[name]
        save_npz(path, model, metadata=metadata)
        with pytest.raises((ValueError, SnapshotError)):
            print(metadata, load(path))
        count += 1
    assert count > 80
    assert time.process_time() - start < 60


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("ptb", {"vocabulary": WORDS, "model": PTB}),
        ("ptb", {"vocabulary": WORDS, "model": {"n_units": 4}}),
        ("char", {"vocabulary": WORDS, "units": [4, 5]}),
    ],
)
def test_a_true_model_loads(tmp_path, examples, name, metadata):
    model, load = examples[name]
    save_npz(tmp_path / "model.npz", model, metadata=metadata)
    loaded, _ = load(tmp_path / "model.npz")
    for found, expected in zip(loaded.params(), model.params(), strict=True):
        np.testing.assert_array_equal(found.array, expected.array)
