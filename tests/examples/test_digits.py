"""Digits are read row by row, in either direction, as far as scikit-learn is there."""

import re
import sys

import numpy as np
import pytest

import dyrnn.links as L
from tests.examples.running import load, run

EXAMPLE = "digits/train_digits.py"


@pytest.mark.parametrize("options", [(), ("--bidirectional", "--cell", "gru")])
def test_it_learns_to_read(tmp_path, options):
    pytest.importorskip("sklearn")
    text = run(EXAMPLE, "--test", *options, cwd=tmp_path)
    accuracy = re.search(r"^accuracy: (\S+) % of 450 digits$", text, re.MULTILINE)
    assert float(accuracy[1]) > 40  # chance is 10


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(FileNotFoundError, match="pip install scikit-learn"):
        load(EXAMPLE).load("row")


def test_both_ends_of_a_picture_are_read(rng):
    reader = load(EXAMPLE).Reader(L.GRU, 4, bidirectional=True)
    x = rng.normal(size=(8, 3, 5)).astype(np.float32)
    y = reader(x).array
    assert y.shape == (3, 10)
    for step in (0, 7):
        other = x.copy()
        other[step] += 1
        assert not np.allclose(reader(other).array, y)
    reader.reset_state()
    np.testing.assert_array_equal(reader(x).array, y)
