"""Losses and measures: what the table of functions cannot say."""

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import backend, testing
from dyrnn.engine.core import Variable
from dyrnn.engine.higher_order import grad
from tests.arrays import every_device, one_device, xp

pytestmark = every_device

CTC = F.connectionist_temporal_classification


@pytest.fixture
def window(rng):
    return rng.normal(size=(4, 3, 5)), rng.integers(0, 5, (4, 3))


def test_unnormalized_loss_of_a_window_is_the_sum_of_batch_means(window):
    x, t = window
    loss = F.softmax_cross_entropy(x, t, normalize=False)
    steps = [F.softmax_cross_entropy(x[k], t[k]).array for k in range(4)]
    testing.assert_allclose(loss, sum(steps), rtol=1e-14)


def test_loss_of_a_window_without_steps_is_zero():
    x, t = Variable(xp.zeros((0, 2, 3))), xp.zeros((0, 2), np.int32)
    loss = F.softmax_cross_entropy(x, t)
    loss.backward()
    assert loss.array == 0 and x.grad.shape == (0, 2, 3)
    assert F.softmax_cross_entropy(x, t, reduce="no").shape == (0, 2)
    assert grad(loss, [x], create_graph=True)[0].shape == (0, 2, 3)


def test_classes_may_be_on_axis_1(window):
    x, t = window
    apart = xp.ascontiguousarray(x.transpose(0, 2, 1))
    testing.assert_allclose(
        F.softmax_cross_entropy(apart, t), F.softmax_cross_entropy(x, t), rtol=1e-14
    )


@pytest.mark.parametrize("reduce", ["mean", "no"])
def test_class_weights_scale_the_gradient(window, device, reduce):
    x, t = window
    weight = device.send(np.array([0.0, 1, 2, 0.5, 3]))
    t = np.where(t == 3, -1, t)

    def loss(x):
        labels = x.device.send(t)
        scales = x.device.send(backend.to_cpu(weight))
        return F.softmax_cross_entropy(x, labels, True, scales, -1, reduce)

    testing.check_jacobian(loss, [x])
    testing.check_double_backward(loss, [x])
    found, expected = Variable(device.send(x)), Variable(x)
    for v in (found, expected):
        F.sum(loss(v)).backward()
    testing.assert_allclose(found.grad, expected.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_keep_their_precision(dtype):
    x = xp.array([[1000, 0, -1000], [-1000, -1001, -999]], dtype)
    loss = F.softmax_cross_entropy(x, xp.array([1, 0]), reduce="no")
    expected = [1000, 1 + np.log(1 + np.exp(-1) + np.exp(-2))]
    testing.assert_allclose(loss, expected, rtol=1e-6)
    assert loss.dtype == dtype


def test_impossible_class_may_cost_infinity():
    x = xp.array([[0, -np.inf], [0, -np.inf]])
    loss = F.softmax_cross_entropy(x, xp.array([0, 1]), reduce="no").array
    assert loss.tolist() == [0, np.inf]


def test_loss_does_not_wait_for_a_device(window, synchronisations):
    send = backend.get_device("@strict").send
    x, t = Variable(send(window[0])), send(window[1])
    with synchronisations() as count:
        for loss in (
            F.softmax_cross_entropy(x, t),
            F.sigmoid_cross_entropy(x[:, :, 0], t * 0),
            F.accuracy(x, t, ignore_label=0),
        ):
            if loss.requires_grad:
                loss.backward()
        F.classification_summary(x, t)
    assert count() == 0


@one_device("chooses its device")
def test_binary_labels_out_of_range_on_a_device_give_nan():
    send = backend.get_device("@strict").send
    loss = F.sigmoid_cross_entropy(
        send(xp.zeros(3)), send(xp.array([0, 2, -1])), reduce="no"
    )
    assert xp.isnan(backend.to_cpu(loss.array)).tolist() == [False, True, False]


def test_binary_loss_by_batch_size():
    x, t = xp.zeros((2, 3)), xp.array([[0, 1, -1], [-1, -1, -1]])
    testing.assert_allclose(F.sigmoid_cross_entropy(x, t, False), xp.log(2))
    testing.assert_allclose(F.sigmoid_cross_entropy(x, t), xp.log(2))
    assert float(F.sigmoid_cross_entropy(x, t * 0 - 1).array) == 0


# CTC


def test_ctc_of_padded_sequences_is_that_of_each_alone(rng, device):
    x = rng.normal(size=(6, 3, 4))
    t = np.array([[1, 1, 3], [2, 9, 9], [9, 9, 9]])
    input_length, label_length = np.array([6, 3, 2]), np.array([3, 1, 0])
    v = Variable(device.send(x))
    losses = CTC(
        v,
        device.send(t),
        0,
        device.send(input_length),
        device.send(label_length),
        reduce="no",
    )
    F.sum(losses).backward()
    for k in range(3):
        alone = Variable(x[: input_length[k], k : k + 1])
        loss = CTC(alone, t[k : k + 1, : label_length[k]], 0)
        loss.backward()
        testing.assert_allclose(losses[k], loss, rtol=1e-12)
        gx = backend.to_cpu(v.grad)[:, k]
        testing.assert_allclose(gx[: input_length[k]], alone.grad[:, 0], rtol=1e-9)
        assert not gx[input_length[k] :].any()


def test_ctc_padding_may_be_nan(rng):
    x, t, lengths = rng.normal(size=(5, 2, 3)), xp.array([[1, 2], [2, 2]]), [5, 3]
    x[3:, 1] = np.nan
    v = Variable(x)
    CTC(v, t, 0, xp.array(lengths)).backward()
    x[3:, 1] = 0
    expected = Variable(x)
    CTC(expected, t, 0, xp.array(lengths)).backward()
    xp.testing.assert_array_equal(v.grad, expected.grad)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_ctc_blank_may_exceed_the_type_of_the_labels(dtype, rng):
    x, t = rng.normal(size=(4, 2, 400)), xp.array([[1, 2], [2, 2]])
    testing.assert_allclose(CTC(x, t.astype(dtype), 399), CTC(x, t, 399), rtol=1e-14)


def test_ctc_takes_a_list_of_steps(rng):
    x, t = rng.normal(size=(4, 2, 3)), xp.array([[1, 2], [2, 2]])
    testing.assert_allclose(CTC(list(x), t, 0), CTC(x, t, 0), rtol=1e-14)


def test_ctc_of_too_few_steps_is_infinite_and_has_no_gradient(rng):
    x = Variable(rng.normal(size=(2, 1, 3)))
    loss = CTC(x, xp.array([[1, 1]]), 0)  # a blank is needed between equal labels
    assert float(loss.array) == np.inf
    loss.backward()
    assert not x.grad.any()


def test_ctc_of_a_long_sequence_does_not_underflow(rng):
    x = Variable(rng.normal(size=(500, 2, 5)).astype(np.float32))
    loss = CTC(x, rng.integers(1, 5, (2, 40)), 0)
    loss.backward()
    assert 100 < float(loss.array) < 2000
    testing.assert_allclose(x.grad.sum(axis=2), xp.zeros((500, 2)), atol=1e-3)


# Conditional random fields


@pytest.fixture
def chain(rng):
    x, lengths = rng.normal(size=(4, 3, 2)), xp.array([2, 4, 3])
    return rng.normal(size=(2, 2)), x, rng.integers(0, 2, (4, 3)), lengths


def test_crf_with_lengths_is_that_of_each_alone(chain, device):
    cost, x, y, lengths = chain
    inputs = [Variable(device.send(a)) for a in (cost, x)]
    losses = F.crf1d(*inputs, device.send(y), device.send(lengths), reduce="no")
    gradients = grad(F.sum(losses), inputs)
    given = [Variable(cost), Variable(x)]
    alone = [
        F.crf1d(given[0], [given[1][t, k : k + 1] for t in range(n)], y[:n, k : k + 1])
        for k, n in enumerate(lengths)
    ]
    testing.assert_allclose(losses, [float(loss.array) for loss in alone], rtol=1e-12)
    for a, b in zip(gradients, grad(sum(alone), given), strict=True):
        testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def test_crf_of_falling_batches_is_that_of_lengths(chain):
    cost, x, y, lengths = chain
    order = xp.argsort(-lengths)
    counts = [int((lengths > t).sum()) for t in range(4)]
    xs = [x[t, order[:n]] for t, n in enumerate(counts)]
    ys = [y[t, order[:n]] for t, n in enumerate(counts)]
    testing.assert_allclose(F.crf1d(cost, xs, ys), F.crf1d(cost, x, y, lengths))
    score, path = F.argmax_crf1d(cost, xs)
    expected_score, expected = F.argmax_crf1d(cost, x, lengths)
    testing.assert_allclose(score, expected_score.array[order])
    for t, n in enumerate(counts):
        assert path[t].tolist() == expected[t][order[:n]].tolist()
        assert not expected[t][order[n:]].any()


# Measures


def test_weighted_r2_score_of_columns():
    true = xp.array([[1.0, 5], [2, 5], [9, 5]])
    pred = true + xp.array([[0.5, 1], [0.5, 0], [100, 0]])
    weight = xp.array([1.0, 1, 0])
    score = F.r2_score(pred, true, weight, "raw_values").array
    assert score.tolist() == [0, 0]  # as bad as the mean; and a constant column
    assert float(F.r2_score(true, true).array) == 0.5


@pytest.mark.parametrize("shape", [(), (3,)])
def test_huber_loss_is_curved_where_both_are_equal(shape):
    x = Variable(xp.zeros(shape))
    y = F.huber_loss(x, xp.zeros(shape), 1, reduce="no")
    (gx,) = grad(F.sum(y), [x], create_graph=True)
    (ggx,) = grad(F.sum(gx), [x])
    xp.testing.assert_array_equal(ggx.array, xp.ones(shape))


def test_sequence_loss_weighs_labels_as_tensorflow_does(xp, rng):
    x = rng.normal(size=(4, 3, 5))
    t = rng.integers(0, 5, (4, 3)).astype(np.int32)
    weights = rng.random((4, 3))
    weights[2:, 0] = weights[:, 2] = 0
    shifted = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    losses = -np.take_along_axis(shifted, t[..., None], axis=-1)[..., 0] * weights
    arrays = [xp.asarray(a) for a in (x, t, weights)]
    for over_time, over_batch, axes in (
        (True, True, (0, 1)),
        (True, False, 0),
        (False, True, 1),
        (False, False, ()),
    ):
        y = F.sequence_loss(*arrays, over_time, over_batch)
        expected = losses.sum(axis=axes)
        if axes != ():
            expected = expected / np.maximum(weights.sum(axis=axes), 1e-12)
        np.testing.assert_allclose(backend.to_cpu(y.array), expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"weights \(3, 4\); both must be \(T, B\)"):
        F.sequence_loss(x, t, weights.T)


def test_sequence_loss_has_its_gradient(rng):
    x, weights = rng.normal(size=(3, 2, 4)), rng.random((3, 2))
    t = rng.integers(0, 4, (3, 2)).astype(np.int32)
    testing.check_backward(lambda x: F.sequence_loss(x, t, weights), [x])
