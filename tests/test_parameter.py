"""Parameters: copies, lazy values, devices."""

import copy
import pickle

import numpy as np
import pytest

from dyrnn import backend
from dyrnn.engine.parameter import Parameter


def test_parameter_survives_pickle_and_deepcopy():
    W = Parameter(np.array([1.0, 2.0]), name="W")
    W.grad = np.array([3.0, 4.0])
    for clone in (pickle.loads(pickle.dumps(W)), copy.deepcopy(W)):
        assert type(clone) is Parameter and clone.is_initialized
        assert clone.array.tolist() == [1, 2] and clone.array is not W.array
        assert clone.name == "W" and clone.grad.tolist() == [3, 4]
        clone.grad[...] = 0
    assert W.grad.tolist() == [3, 4]


def test_uninitialized_parameter_says_how_to_get_values():
    W = Parameter(0.5, name="W")
    assert not W.is_initialized
    with pytest.raises(RuntimeError, match="parameter W has no values yet"):
        _ = W.shape
    clone = pickle.loads(pickle.dumps(W))
    clone.initialize((2,))
    assert clone.array.tolist() == [0.5, 0.5] and clone.dtype == np.float32


def test_parameter_takes_its_gradient_along_to_a_device():
    W = Parameter(np.array([1.0, 2.0]))
    W.grad = np.array([3.0, 4.0])
    W.to_device("@strict")
    assert W.device.name == "@strict"
    assert backend.device_of(W.grad).name == "@strict"
    W.to_device(-1)
    assert W.grad.tolist() == [3, 4]
