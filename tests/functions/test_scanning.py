"""``F.scan`` repeats a step: Theano's examples, gradients, and what it refuses."""

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import Variable
from dyrnn.errors import ShapeError
from dyrnn.testing import check_backward, check_double_backward
from tests.arrays import every_device, xp


def test_doubling_three_times():
    y = F.scan(lambda prior: prior * 2, outputs_info=5, n_steps=3)
    assert y.array.tolist() == [10, 20, 40]


def test_sequence_elements_come_before_the_prior_result(xp):
    s = xp.asarray([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    first = xp.asarray([0.5, 0.5], dtype=np.float32)
    y = F.scan(lambda s, prior: s + 2 * prior, s, first)
    assert y.array.tolist() == [[2, 1], [4, 3], [9, 7]]
    assert y.dtype == np.float32


def test_arguments_are_elements_then_priors_then_constants():
    def step(a, b, prior, constant):
        return prior + a * b, a - constant

    total, difference = F.scan(step, ([1, 2, 3], [4, 5, 6, 7]), (0, None), 1)
    assert total.array.tolist() == [4, 14, 32]
    assert difference.array.tolist() == [0, 1, 2]


def test_lists_are_several_as_in_theano(xp):
    x = xp.asarray([[1, 0], [1, 1], [0, 1]], dtype=np.float32)
    wx, wRec = (xp.asarray(w, dtype=np.float32) for w in (1.0, 0.5))

    def step(x, s, wx, wRec):
        s = x * wx + s * wRec
        return s, F.sum(s)

    results, updates = F.scan(
        fn=step,
        sequences=[x],
        outputs_info=[xp.zeros(2, dtype=np.float32), None],
        non_sequences=[wx, wRec],
        return_updates=True,
    )
    s, total = results
    assert s.array.tolist() == [[1, 0], [1.5, 1], [0.75, 1.5]]
    assert total.array.tolist() == [1, 2.5, 2.25]
    assert updates == {}
    y = F.scan(lambda a, b, p, c: p + a * b * c, [[1, 2], [3, 4]], [0], [10])
    assert y.array.tolist() == [30, 110]


def test_integers_stay_integers_and_floats_are_those_of_the_configuration():
    assert F.scan(lambda p: p * 2, None, 5, n_steps=3).dtype.kind == "i"
    assert F.scan(lambda x: x * x, [1, 2]).dtype.kind == "i"
    assert F.scan(lambda x, p: p + x, [1, 2], 0.5).dtype.kind == "f"
    assert F.scan(lambda p: p * 2, None, 0.5, n_steps=3).dtype == np.float32


def test_without_first_values_each_step_is_on_its_own():
    assert F.scan(lambda x: x * x, [1, 2, 3]).array.tolist() == [1, 4, 9]


def test_n_steps_may_be_less_than_the_sequences():
    y = F.scan(lambda x, prior: x + prior, [1, 2, 3], 0, n_steps=2)
    assert y.array.tolist() == [1, 3]


@every_device
def test_gradients_flow_through_all_steps(rng):
    def power(a, w):
        return F.scan(lambda prior, w: F.tanh(prior * w), None, a, w, n_steps=4)

    inputs = [rng.uniform(0.5, 1, 3), rng.uniform(0.5, 1, 3)]
    check_backward(power, inputs)
    check_double_backward(power, inputs)
    check_backward(
        lambda s: F.scan(lambda x, p: x + p * p, s, xp.array(0.5)), [rng.random(4)]
    )


def test_a_step_may_do_what_python_can():
    halvings = []

    def collatz(n):
        if n.item() % 2 == 0:
            halvings.append(n.item())
            return n / 2
        return 3 * n + 1

    y = F.scan(collatz, outputs_info=Variable(np.float32(6)), n_steps=8)
    assert y.array.tolist() == [3, 10, 5, 16, 8, 4, 2, 1]
    assert len(halvings) == 6


def test_wrong_steps_are_refused():
    with pytest.raises(ValueError, match="scan: give sequences or n_steps"):
        F.scan(lambda x: x, outputs_info=1)
    with pytest.raises(ValueError, match=r"n_steps=3, but .* sequences are \[2\] long"):
        F.scan(lambda x: x, [1, 2], n_steps=3)
    with pytest.raises(ValueError, match="fn returned 2 results, but .* 1 entries"):
        F.scan(lambda p: (p, p), outputs_info=1, n_steps=2)
    with pytest.raises(TypeError, match="n_steps must be an integer, not 2.0"):
        F.scan(lambda p: p, outputs_info=1, n_steps=2.0)
    with pytest.raises(TypeError, match="a value is None.* return several as a tuple"):
        F.scan(lambda x: None, [1, 2])
    with pytest.raises(TypeError, match="a value is a dict"):
        F.scan(lambda x, p: p, [1, 2], {"initial": 0})
    with pytest.raises(ShapeError, match=r"step 1 have shapes \[\(3,\)\].* \[\(2,\)\]"):
        F.scan(lambda p: F.concat([p, xp.ones(1)], 0), None, xp.ones(1), n_steps=2)


@every_device
def test_numbers_are_where_the_sequences_are():
    x = xp.arange(3.0)
    assert F.scan(lambda x, p, c: x + p * c, x, 1, 2).array.tolist() == [2, 5, 12]


@every_device
def test_a_sequence_may_be_read_backwards():
    x = xp.array([1, 2, 4])
    y = F.scan(lambda x, p: x + p, x, 0, go_backwards=True)
    assert y.array.tolist() == [4, 6, 7]
    y = F.scan(lambda x, p: x + p, x, 0, n_steps=2, go_backwards=True)
    assert y.array.tolist() == [4, 6]
