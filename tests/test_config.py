"""One mode for all threads, and blocks with another one in a single thread."""

import threading

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import using_config
from dyrnn.config import config


@pytest.fixture(autouse=True)
def _put_back():
    before = {name: getattr(config, name) for name in ("train", "dtype", "debug")}
    yield
    for name, value in before.items():
        setattr(config, name, value)


def in_thread(function):
    """What a function returns in a new thread."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


class TestThreads:
    def test_an_assignment_holds_for_all(self):
        go, seen = [threading.Event() for _ in range(2)], []

        def run():  # it begins before the assignment
            seen.append(config.train)
            go[0].set()
            go[1].wait(10)
            seen.append(config.train)

        thread = threading.Thread(target=run)
        thread.start()
        go[0].wait(10)
        config.train = False
        go[1].set()
        thread.join()
        assert seen == [True, False]
        assert in_thread(lambda: config.train) is False
        in_thread(lambda: setattr(config, "train", True))
        assert config.train is True

    def test_dropout_is_off_in_the_threads_of_a_server(self):
        config.train = False
        x = np.ones((4, 4), np.float32)
        assert in_thread(lambda: F.dropout(x, 0.5).array).tobytes() == x.tobytes()

    def test_a_block_holds_for_one(self):
        with using_config("train", False):
            assert in_thread(lambda: config.train) is True
            config.dtype = np.float64  # another setting, of all threads
        assert config.train is True
        assert in_thread(lambda: config.dtype) == np.float64

    def test_a_block_keeps_its_value_when_another_thread_assigns(self):
        with using_config("train", True):
            in_thread(lambda: setattr(config, "train", False))
            assert config.train is True
        assert config.train is False


class TestBlocks:
    def test_nested(self):
        with using_config("train", False):
            with using_config("train", True):
                assert config.train
            assert not config.train
        assert config.train and "train" not in vars(config)

    def test_an_assignment_within_a_block_ends_with_it(self):
        with using_config("train", False):
            config.train = True
            assert config.train
            assert in_thread(lambda: config.train) is True
        with using_config("train", True):
            config.train = False
            assert in_thread(lambda: config.train) is True
        assert config.train

    def test_undone_after_an_error(self):
        with pytest.raises(KeyError), using_config("train", False):
            raise KeyError
        assert config.train

    def test_bad_values_change_nothing(self):
        before = dict(vars(config))
        for name, value in (("dtype", np.int32), ("threads", 0), ("trian", True)):
            with pytest.raises((ValueError, AttributeError)), using_config(name, value):
                pass
        assert vars(config) == before

    def test_deleting_goes_back_to_the_default(self):
        config.train = False
        del config.train
        assert config.train and in_thread(lambda: config.train)
