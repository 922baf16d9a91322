"""Work is cut into parts that cover it once; errors and settings cross threads."""

import os
import threading
from functools import partial

import numpy as np
import pytest

from dyrnn.kernels import machine


def add_one(counts, part):
    counts[part] += 1


@pytest.fixture(params=[1, 2, 3])
def threads(request, monkeypatch):
    monkeypatch.setattr(machine, "threads", request.param)
    return request.param


@pytest.mark.parametrize("size", [0, 1, 2, 5, 64, 100])
@pytest.mark.parametrize("grain", [1, 16])
def test_parts_cover_the_range_once(threads, size, grain):
    counts = np.zeros(size)
    machine.parallel(partial(add_one, counts), size, grain)
    assert (counts == 1).all()
    assert len(machine.shares(size, grain)) <= threads


def test_an_error_in_any_part_reaches_the_caller(threads):
    for bad in range(4):

        def run(part, bad=bad):
            if part.start <= bad < part.stop:
                raise ValueError("in a part")

        with pytest.raises(ValueError, match="in a part"):
            machine.parallel(run, 4)


def test_parts_see_the_error_state_of_the_caller(threads):
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        machine.parallel(lambda part: np.log(np.zeros(part.stop - part.start)), 6)


def test_parallel_work_may_be_nested_and_concurrent(threads):
    counts = np.zeros((4, 6, 10))

    def outer(k):
        def run(part):
            for row in range(part.start, part.stop):
                line = counts[k, row]
                machine.parallel(partial(add_one, line), 10)

        machine.parallel(run, 6)

    callers = [threading.Thread(target=outer, args=(k,)) for k in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (counts == 1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_parallel_work_goes_on_in_a_forked_child(monkeypatch):
    monkeypatch.setattr(machine, "threads", 2)
    total = np.zeros(2)
    machine.parallel(partial(add_one, total), 2)
    child = os.fork()
    if child == 0:
        machine.parallel(partial(add_one, total), 2)
        os._exit(0 if (total == 2).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
