"""The cells example runs every cell, and its stack reads sequences as it says."""

import re

import numpy as np
import pytest

import dyrnn
import dyrnn.links as L
from tests.examples.running import load, run

EXAMPLE = "cells/train_cells.py"
example = load(EXAMPLE)


def batch_of(data):
    return example.padded(data, dyrnn.get_device("@numpy"))


@pytest.fixture
def data():
    return example.make_data(np.random.default_rng(0), 6, 9)


def accuracy(text, half):
    return float(re.search(rf"accuracy, {half} half: ([\d.]+) %", text)[1])


@pytest.mark.parametrize(
    "arguments", [("--bidirectional", "--layers", 2, "--dropout", 0.1), ("--bucket",)]
)
def test_short_sequences_are_learnt(tmp_path, arguments):
    text = run(EXAMPLE, "--test", "--epoch", 3, *arguments, cwd=tmp_path)
    assert accuracy(text, "short") > 95 and accuracy(text, "long") > 80


def test_bucketing_leaves_almost_no_padding(tmp_path):
    shares = []
    for arguments in ((), ("--bucket",)):
        text = run(EXAMPLE, "--test", "--epoch", 1, *arguments, cwd=tmp_path)
        shares.append(int(re.match(r"padding: (\d+) % of the steps\n", text)[1]))
    assert shares[0] > 20 and shares[1] <= 2


@pytest.mark.parametrize("name", example.CELLS)
def test_every_cell_learns_a_little(data, name):
    stack = example.Stack(example.CELLS[name], 8, 2, True, 0.0)
    model = L.Classifier(stack)
    optimizer = dyrnn.optimizers.Adam(0.02).setup(model)
    losses = []
    for _ in range(15):
        loss = model(*batch_of(data))
        model.cleargrads()
        loss.backward()
        optimizer.update()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert all(param.grad is not None for param in model.params())


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_and_other_sequences_do_not_matter(data, bidirectional):
    stack = example.Stack(L.GRU, 4, 2, bidirectional, 0.0)
    x, lengths, _ = batch_of(data)
    together = stack(x, lengths).array
    for k, (sequence, _) in enumerate(data):
        alone = stack(sequence[:, None], lengths[k : k + 1]).array
        np.testing.assert_allclose(together[k], alone[0], rtol=1e-4, atol=1e-6)


def test_bidirectional_stack_is_the_librarys_n_step_links(data):
    stack = example.Stack(L.LSTM, 4, 2, True, 0.0)
    n_step = L.NStepBiLSTM(2, 4, 4)
    for k, weights in enumerate(n_step):
        layer = (stack.forwards, stack.backwards)[k % 2][k // 2]
        weights.W.array[...] = layer.upward.W.array
        weights.U.array[...] = layer.lateral.W.array
        weights.b.array[...] = layer.upward.b.array
    x, lengths, _ = batch_of(data)
    hy, _, _ = n_step(None, None, [stack.embed(sequence) for sequence, _ in data])
    last = np.concatenate((hy.array[2], hy.array[3]), axis=1)
    expected = last @ stack.out.W.array.T + stack.out.b.array
    np.testing.assert_allclose(stack(x, lengths).array, expected, rtol=1e-4, atol=1e-5)
