"""Trainings and predictions in threads, as one after the other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import Chain, optimizers, random
from dyrnn.engine.hooks import FunctionHook
from dyrnn.iterators import SerialIterator
from dyrnn.training import StandardUpdater, Trainer
from tests.test_refused_updates import state_of


class Model(Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.first, self.rnn = L.Linear(3, 8), L.GRU(8, 8)
            self.out = L.Linear(8, 1)

    def forward(self, x, t):
        self.reset_state()
        h = F.dropout(self.rnn(F.dropout(self.first(x), 0.3)), 0.3)
        return F.mean_squared_error(self.out(h), t)


def train(seed, out):
    with random.Streams(seed):
        data = np.random.default_rng(seed).normal(size=(20, 4)).astype(np.float32)
        iterator = SerialIterator([(row[:3], row[3:]) for row in data], 4)
        optimizer = optimizers.Adam().setup(Model())
        updater = StandardUpdater(iterator, optimizer)
        trainer = Trainer(updater, (12, "iteration"), out / str(seed))
        trainer.run()
        return repr(state_of(updater))


def test_training_in_threads_is_training_one_after_the_other(tmp_path):
    alone = [train(seed, tmp_path) for seed in range(4)]
    before = state_of(random)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: train(seed, tmp_path), range(4)))
    assert together == alone
    assert len(set(alone)) == 4
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
