"""Trainings and predictions in threads, as one after the other."""

import threading

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import random
from dyrnn.engine.hooks import FunctionHook
from tests.test_refused_updates import state_of
from tools import train_in_threads


def test_training_in_threads_is_training_one_after_the_other():
    before = state_of(random)
    done, problems = train_in_threads.search(2)
    assert problems == []
    assert sum(done.values()) == 8
    assert state_of(random) == before  # the shared streams


def test_a_hook_sees_its_own_thread():
    seen = []

    class Names(FunctionHook):
        def forward_before(self, node, arrays):
            seen.append(type(node).__name__)

    with Names():
        thread = threading.Thread(target=lambda: F.exp(np.ones(2)))
        thread.start()
        thread.join()
        F.tanh(np.ones(2))
    assert seen == ["Tanh"]


def test_a_model_with_state_that_two_threads_call_at_once_is_refused():
    inside, go = threading.Event(), threading.Event()

    class Slow(L.GRU):
        def step(self, z):
            inside.set()
            go.wait(10)
            return super().step(z)

    layer, x = Slow(2, 3), np.ones((1, 2), np.float32)
    thread = threading.Thread(target=lambda: layer(x))
    thread.start()
    inside.wait(10)
    try:
        with pytest.raises(RuntimeError, match=r"Slow: two threads .* model.copy\(\)"):
            layer(x)
    finally:
        go.set()
        thread.join()
    assert layer(x).shape == (1, 3)
    assert layer.copy()(x).shape == (1, 3)
