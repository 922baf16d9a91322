"""Stacks over lists of sequences against stacks of the stateful links."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.config import using_config
from dyrnn.engine.core import Variable
from tests.arrays import every_device
from tests.comparing import close
from tests.links.checks import check_parameter_gradients, randomize

I, H = 3, 2
LENGTHS = (2, 5, 1, 3)
SINGLE = {
    "RNNTanh": (L.ElmanRNN, 1),
    "RNNReLU": (lambda i, h: L.ElmanRNN(i, h, F.relu), 1),
    "GRU": (L.GRU, 1),
    "LSTM": (L.LSTM, 2),
    "LSTM projected": (lambda i, h: L.LSTM(i, CELLS, proj_size=h), 2),
    "LSTM two biases": (lambda i, h: L.LSTM(i, h, n_biases=2), 2),
}
CELLS = 3  # units whose output is projected


def make(kind, directions, n_layers, rng):
    """Return a stack with H outputs in each direction and random parameters."""
    name, _, variant = kind.partition(" ")
    cls = getattr(L, f"NStep{directions}{name}")
    if variant == "projected":
        return randomize(cls(n_layers, I, CELLS, proj_size=H), rng)
    options = {"n_biases": 2} if variant else {}
    return randomize(cls(n_layers, I, H, **options), rng)


@pytest.fixture(autouse=True)
def _double():
    with using_config("dtype", np.float64):
        yield


@pytest.fixture
def xs(rng):
    return [rng.normal(size=(n, I)) for n in LENGTHS]


def single_layer(kind, weights):
    """Return a stateful link with the weights of one layer of a stack."""
    link = SINGLE[kind][0](weights.W.shape[1], H)
    link.upward.W.array[...] = weights.W.array
    link.upward.b.array[...] = weights.b.array
    link.lateral.W.array[...] = weights.U.array
    if link.lateral.b is not None:
        link.lateral.b.array[...] = weights.b_u.array
    if weights.V is not None:
        link.projection.W.array[...] = weights.V.array
    return link


def run(link, x):
    link.reset_state()
    return link(x[:, None]).array[:, 0]


@pytest.mark.parametrize("kind", SINGLE)
def test_stack_is_layer_after_layer_for_each_sequence(kind, rng, xs, device):
    stack = make(kind, "", 2, rng)
    layers = [single_layer(kind, weights).to_device(device) for weights in stack]
    xs = [device.send(x) for x in xs]
    *states, ys = stack.to_device(device)(*[None] * SINGLE[kind][1], xs)
    for n, x in enumerate(xs):
        h = run(layers[1], run(layers[0], x))
        close(ys[n].array, h, rtol=1e-12, atol=1e-14)
        for k, layer in enumerate(layers):
            close(states[0].array[k, n], layer.h.array[0])
            if SINGLE[kind][1] == 2:
                close(states[1].array[k, n], layer.c.array[0])


@pytest.mark.parametrize("kind", SINGLE)
def test_both_directions_are_side_by_side(kind, rng, xs, device):
    stack = make(kind, "Bi", 2, rng)
    layers = [single_layer(kind, weights).to_device(device) for weights in stack]
    xs = [device.send(x) for x in xs]
    *states, ys = stack.to_device(device)(*[None] * SINGLE[kind][1], xs)
    assert states[0].shape == (4, len(xs), H)
    for n, x in enumerate(xs):
        h = x
        for k in (0, 2):
            backward = run(layers[k + 1], h[::-1])[::-1]
            h = device.xp.concatenate([run(layers[k], h), backward], axis=1)
        close(ys[n].array, h, rtol=1e-12, atol=1e-14)


@every_device
@pytest.mark.parametrize("kind", SINGLE)
@pytest.mark.parametrize("directions", ["", "Bi"])
def test_gradients_and_initial_states(kind, directions, rng, xs):
    stack = make(kind, directions, 1, rng)
    shape = len(directions) or 1, len(xs)
    sizes = (H, stack.out_size)[: SINGLE[kind][1]]
    states = [Variable(rng.normal(size=(*shape, size))) for size in sizes]

    def loss():
        *finals, ys = stack(*states, xs)
        return sum(((y * y).sum() for y in [*finals, *ys]), 0)

    check_parameter_gradients(stack, loss, rng)
    assert all(state.grad.any() for state in states)


def test_names_and_shapes():
    stack = L.NStepBiGRU(2, I, H)
    found = {path: param.shape for path, param in stack.namedparams()}
    assert len(found) == 16
    assert found["/1/W"] == (3 * H, I)
    assert found["/2/W"] == (3 * H, 2 * H)
    assert found["/3/b_u"] == (3 * H,)
    assert len(list(L.NStepLSTM(2, I, H).params())) == 6


def test_wrong_calls(xs):
    with pytest.raises(TypeError, match="NStepLSTM is called with hx, cx, xs; 2 argum"):
        L.NStepLSTM(1, I, H)(None, xs)
    with pytest.raises(TypeError, match="NStepGRU is called with hx, xs; 3 arguments"):
        L.NStepGRU(1, I, H)(None, None, xs)
    with pytest.raises(ValueError, match="n_biases is 3; use 1 or 2"):
        L.NStepLSTM(1, I, H, n_biases=3)
    with pytest.raises(ValueError, match="proj_size is 0; use an integer >= 1"):
        L.NStepLSTM(1, I, H, proj_size=0)
    with pytest.raises(ValueError, match="n_layers is 0"):
        L.NStepLSTM(0, I, H)
