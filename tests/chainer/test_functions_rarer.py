"""Functions that few programs use."""

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import functions as F


def test_black_out_is_small_for_the_right_label():
    x, W = np.eye(2), np.eye(3, 2) * 9
    t, samples = np.array([0, 1]), np.array([[2, 1], [2, 0]])
    loss = F.black_out(x, t, W, samples, reduce="no")
    p = 1 / (np.exp(9) + 2)
    np.testing.assert_allclose(
        loss.array, -np.log(np.exp(9) * p * (1 - p) ** 2), rtol=1e-6
    )
    assert F.black_out(x, t[::-1], W, samples[::-1, ::-1]).array > 9
    with pytest.raises(ValueError, match="valid for 'reduce'"):
        F.black_out(x, t, W, samples, reduce="sum")


def test_padding_is_cast():
    y = F.pad_sequence([np.ones(1, np.uint8), np.ones(2, np.uint8)], padding=-1)
    np.testing.assert_array_equal(y.array, [[1, 255], [1, 1]])


def test_the_best_path_has_a_gradient():
    cost = chainer.Variable(np.array([[0.0, 1], [0, 0]]))
    xs = [chainer.Variable(np.array([[0.5, 0], [0, 2]])), np.array([[0.0, 0.5]])]
    score, path = F.argmax_crf1d(cost, xs)
    np.testing.assert_array_equal(score.array, [2, 2])
    assert [list(labels) for labels in path] == [[0, 1], [1]]
    gx, gcost = chainer.grad([F.sum(score)], [xs[0], cost])
    np.testing.assert_array_equal(gx.array, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(gcost.array, [[0, 1], [0, 0]])


def test_mean_of_absolute_errors_is_added_up_in_float32():
    x = np.full(5000, 20, np.float16)  # their sum is no half
    assert F.mean_absolute_error(x, np.zeros_like(x)).array == 20
