"""Connections, noise and recurrent layers: what the table of functions cannot say."""

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import backend, kernels, random, testing
from dyrnn.config import using_config
from dyrnn.engine import gradients
from dyrnn.engine.core import Variable
from dyrnn.engine.higher_order import grad
from tests.arrays import every_device, one_device, xp

pytestmark = every_device


def variables(rng, *shapes, dtype=np.float64):
    return [Variable(rng.normal(size=shape).astype(dtype)) for shape in shapes]


# Connections


def test_steps_of_one_weight_share_one_product_backwards(rng, monkeypatch):
    x, W, b = variables(rng, (5, 3, 4), (2, 4), (2,))
    calls = []
    product = kernels.matmul

    def counted(a, b):
        calls.append(b is W.array)
        return product(a, b)

    monkeypatch.setattr(kernels, "matmul", counted)

    def run(is_window):
        steps = [x] if is_window else [x[t] for t in range(5)]
        loss = sum(F.sum(F.square(F.linear(step, W, b))) for step in steps)
        return [g.array for g in grad(loss, [x, W, b])]

    for window, by_step in zip(run(True), run(False), strict=True):
        testing.assert_allclose(by_step, window, rtol=1e-12, atol=1e-12)
    assert sum(calls) == 2  # once for the window, once for all five steps


def test_scaled_rows_of_several_losses_go_through_one_product(rng):
    x, W, b = variables(rng, (4, 3, 2), (5, 2), (5,))
    t = rng.integers(0, 5, (4, 3))

    def run(steps):
        loss = sum(
            F.softmax_cross_entropy(F.linear(x[s], W, b), t[s], normalize=False)
            for s in steps
        )
        return loss, grad(loss, [x, W, b])

    loss, found = run(range(4))
    expected_loss, expected = run([slice(None)])
    testing.assert_allclose(loss, expected_loss, rtol=1e-12)
    for a, b in zip(found, expected, strict=True):
        testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_features_may_be_spread_over_several_axes(rng):
    x, W = rng.normal(size=(2, 3, 4)), rng.normal(size=(5, 12))
    y = F.linear(x, W, n_batch_axes=1)
    testing.assert_allclose(y, x.reshape(2, 12) @ W.T)


def test_gradient_of_an_embedding_has_the_rows_used(device):
    W = Variable(device.send(np.ones((9, 2))))
    y = F.embed_id(device.send(np.array([[7, 2], [7, -1]])), W, ignore_label=-1)
    F.sum(y).backward()
    if device == backend.CPU:  # elsewhere the number of rows would be waited for
        assert isinstance(W.total.settled()[0], gradients.Rows)
    expected = np.zeros((9, 2))
    expected[2], expected[7] = 1, 2
    testing.assert_allclose(W.grad, expected)


@one_device("chooses its device")
def test_id_out_of_range_on_a_device_gives_nan_without_waiting(synchronisations):
    device = backend.get_device("@strict")
    W = device.send(xp.ones((4, 2)))
    with synchronisations() as count:
        rows = F.embed_id(device.send(xp.array([1, 4, -1])), W)
        loss = F.softmax_cross_entropy(W, device.send(xp.array([0, 1, 2, 0])))
    assert count() == 0
    is_nan = xp.isnan(backend.to_cpu(rows.array))
    assert is_nan.all(axis=1).tolist() == [False, True, True]
    assert xp.isnan(backend.to_cpu(loss.array))


# Noise


def test_dropout_drops_its_share_and_keeps_the_mean(xp):
    x = xp.ones((200, 500), np.float32)
    y = backend.to_cpu(F.dropout(x, 0.3).array)
    low, high = np.unique(y)
    assert low == 0 and abs(high - 1 / 0.7) < 1e-4  # ratios are multiples of 2**-16
    assert abs((y == 0).mean() - 0.3) < 0.01
    assert abs(y.mean() - 1) < 0.01


def test_dropout_without_effect_returns_its_input_and_draws_nothing(rng):
    (x,) = variables(rng, (3, 4))
    before = random.stream("dropout").generator.bit_generator.state["state"]
    assert F.dropout(x, 0) is x
    with using_config("train", False):
        assert F.dropout(x, 0.5) is x
    after = random.stream("dropout").generator.bit_generator.state["state"]
    assert np.array_equal(before["counter"], after["counter"])


def test_every_device_draws_the_same(rng, device):
    x = rng.normal(size=(4, 5))
    for function in (F.dropout, lambda x: F.gumbel_softmax(x, 1.0)):
        random.seed(5)
        expected = function(x).array
        random.seed(5)
        testing.assert_allclose(function(device.send(x)), expected)


def test_zoneout_keeps_elements_or_takes_the_mean(rng):
    h, x = rng.normal(size=(2, 100, 100))
    y = F.zoneout(h, x, 0.2).array
    assert ((y == h) | (y == x)).all()
    assert abs((y == h).mean() - 0.2) < 0.02
    assert F.zoneout(h, x, 0).array is x
    with using_config("train", False):
        testing.assert_allclose(F.zoneout(h, x, 0.2), 0.2 * h + 0.8 * x)


def test_gaussian_takes_and_returns_its_noise():
    mean, ln_var = xp.full((2, 3), 5.0), xp.full((2, 3), xp.log(4.0))
    y, eps = F.gaussian(mean, ln_var, return_eps=True)
    testing.assert_allclose(y, 5 + 2 * eps)
    testing.assert_allclose(F.gaussian(mean, ln_var, eps=eps), y)


# Recurrent layers


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_lstm_step_by_step_equals_the_window(rng, dtype, error):
    shapes = (6, 4, 3), (4, 5), (4, 5), (20, 3), (20, 5), (20,)
    inputs = x, h, c, W, U, b = variables(rng, *shapes, dtype=dtype)
    weights = rng.normal(size=(6, 4, 5)).astype(dtype)

    def by_step():
        ys, c_t, h_t = [], c, h
        for t in range(6):
            c_t, h_t = F.lstm_step(F.linear(x[t], W, b), h_t, c_t, U)
            ys.append(h_t)
        return h_t, c_t, F.stack(ys)

    results = []
    for h_last, c_last, y in (by_step(), F.lstm_window(x, h, c, W, U, b)):
        loss = F.mean(y * weights + F.square(h_last) - c_last)
        results.append([loss, *grad(loss, inputs)])
    for a, b in zip(*results, strict=True):
        testing.assert_allclose(a, b, rtol=error, atol=error)


def test_missing_states_and_biases_are_zeros(rng, device):
    x, W, U = (
        device.send(rng.normal(size=shape)) for shape in ((4, 3, 2), (6, 2), (6, 2))
    )
    zeros, bias = device.send(np.zeros((3, 2))), device.send(np.zeros(6))
    found = F.gru_window(x, None, W, U)
    for a, b in zip(found, F.gru_window(x, zeros, W, U, bias, bias), strict=True):
        testing.assert_allclose(a, b)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_window_with_lengths_does_not_wait_for_a_device(cell, synchronisations, rng):
    gates, states = {"lstm": (4, 2), "gru": (3, 1), "rnn": (1, 1)}[cell]
    send = backend.get_device("@strict").send
    x = Variable(send(rng.normal(size=(4, 3, 2))))
    W = Variable(send(rng.normal(size=(gates * 2, 2))))
    lengths = send(xp.array([4, 0, 2]))
    run = getattr(F, f"{cell}_window")
    with synchronisations() as count:
        *_, y = run(x, *[None] * states, W, W, lengths=lengths)
        F.sum(y).backward()
    assert count() == 0
    assert not backend.to_cpu(y.array)[:, 1].any()


def test_padding_has_no_influence(rng):
    x, h, c, W, U = variables(rng, (4, 3, 2), (3, 2), (3, 2), (8, 2), (8, 2))
    lengths = [2, 4, 0]
    other = x.array.copy()
    for k, n in enumerate(lengths):
        other[n:, k] = 1e3
    for a, b in zip(
        F.lstm_window(x, h, c, W, U, lengths=lengths),
        F.lstm_window(other, h, c, W, U, lengths=lengths),
        strict=True,
    ):
        testing.assert_allclose(a, b, rtol=0, atol=0)
    _, _, y = F.lstm_window(x, h, c, W, U, lengths=lengths)
    (gx,) = grad(F.sum(y), [x])
    assert not any(gx.array[n:, k].any() for k, n in enumerate(lengths))


@pytest.mark.parametrize("window", [F.lstm_window, F.gru_window, F.rnn_window])
def test_padding_may_be_nan(window, rng):
    n, n_states = {F.lstm_window: (4, 2), F.gru_window: (3, 1), F.rnn_window: (1, 1)}[
        window
    ]
    weights = variables(rng, (n * 2, 2), (n * 2, 2), (n * 2,))
    x = rng.random((4, 3, 2))
    lengths = [2, 4, 0]
    found = []
    for padding in (0.0, np.nan):
        for k, m in enumerate(lengths):
            x[m:, k] = padding
        v = Variable(x.copy())
        *_, y = window(v, *[None] * n_states, *weights, lengths=lengths)
        gradients = grad(F.sum(y * y), [v, *weights], create_graph=True)
        second = grad(sum(F.sum(g * g) for g in gradients[1:]), [v, *weights])
        for weight in weights:
            weight.cleargrad()
        F.sum(y * y).backward()
        first = [w.grad for w in weights]
        found.append([*first, *[g.array for g in (y, *gradients, *second)]])
    for plain, with_nan in zip(*found, strict=True):
        xp.testing.assert_array_equal(plain, with_nan)


def test_sequences_without_elements_leave_all_states(rng):
    hx, cx = variables(rng, (1, 2, 2), (1, 2, 2))
    ws, bs = [[xp.ones((8, 3)), xp.ones((8, 2))]], [[xp.ones(8), xp.ones(8)]]
    empty = xp.zeros((0, 3))
    hy, cy, ys = F.n_step_lstm(1, 0.0, hx, cx, ws, bs, [empty, empty])
    assert hy is hx and cy is cx and [y.shape for y in ys] == [(0, 2)] * 2


def test_stacked_weights_are_those_of_the_gates(rng):
    xs = [rng.normal(size=(n, 3)) for n in (2, 4)]
    ws = [rng.normal(size=(2, 3)) for _ in range(4)]
    ws += [rng.normal(size=(2, 2)) for _ in range(4)]
    bs = [rng.normal(size=2) for _ in range(8)]
    apart = F.n_step_lstm(1, 0.0, None, None, [ws], [bs], xs)[2]
    stacked = [xp.concatenate(ws[:4]), xp.concatenate(ws[4:])]
    biases = [xp.concatenate(bs[:4]), xp.concatenate(bs[4:])]
    together = F.n_step_lstm(1, 0.0, None, None, [stacked], [biases], xs)[2]
    for a, b in zip(apart, together, strict=True):
        testing.assert_allclose(a, b, rtol=0, atol=0)


def test_dropout_is_between_layers_only(rng):
    xs = [rng.normal(size=(n, 2)) for n in (3, 1)]
    ws = [[rng.normal(size=(2, 2)) for _ in range(2)] for _ in range(2)]
    bs = [[rng.normal(size=2) for _ in range(2)] for _ in range(2)]

    def run(n, ratio):
        return F.n_step_rnn(n, ratio, None, ws[:n], bs[:n], xs)[1][0].array

    assert xp.array_equal(run(1, 0.5), run(1, 0.0))
    assert not xp.array_equal(run(2, 0.5), run(2, 0.0))


@pytest.mark.parametrize("function", [F.layer_normalization, F.batch_normalization])
def test_normalization_of_halves_squares_them_as_floats(function, rng):
    x = (rng.normal(size=(4, 4)) * 1e4).astype(np.float16)
    gy = rng.normal(size=x.shape).astype(np.float16)
    found = []
    for dtype in (np.float16, np.float64):
        v = Variable(x.astype(dtype))
        y = function(v, xp.ones(4, dtype), xp.zeros(4, dtype))
        y.grad = gy.astype(dtype)
        y.backward()
        assert y.dtype == v.grad.dtype == dtype
        found.append((y.array, v.grad))
    xp.testing.assert_allclose(found[0][0], found[1][0], rtol=2e-3, atol=1e-3)
    xp.testing.assert_allclose(found[0][1], found[1][1], rtol=2e-2, atol=1e-6)
