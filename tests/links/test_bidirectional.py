"""Two layers in two directions against sequences turned by hand."""

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import datasets, iterators, optimizers, training
from dyrnn.backend import to_cpu
from dyrnn.config import using_config
from dyrnn.engine.core import Variable
from dyrnn.errors import ShapeError
from dyrnn.serializers import load_npz, save_npz
from tests.arrays import every_device, one_device, xp
from tests.links.checks import check_parameter_gradients, randomize

pytestmark = every_device

T, B, I, H = 6, 5, 3, 4
LENGTHS = [4, 0, T, 1, 3]
PAIRS = {
    "LSTM": lambda: (L.LSTM(I, H), L.LSTM(I, H)),
    "projection and GRU": lambda: (L.LSTM(I, 7, proj_size=H), L.GRU(I, H)),
    "StatefulGRU and MGU": lambda: (L.StatefulGRU(I, H), L.MGU(I, H)),
    "Jordan and Elman": lambda: (L.JordanRNN(I, 6, H), L.ElmanRNN(I, H, F.softsign)),
    "peepholes and zoneout": lambda: (
        L.StatefulPeepholeLSTM(I, H),
        L.StatefulZoneoutLSTM(I, H),
    ),
}


@pytest.fixture(autouse=True)
def _double():
    with using_config("dtype", np.float64), using_config("train", False):
        yield


def make(pair, rng, device="@numpy", **options):
    return randomize(L.Bidirectional(*PAIRS[pair](), **options), rng).to_device(device)


def by_hand(layer, x):
    """Return the outputs of one sequence (length, I) in each direction."""
    outputs = []
    for link, order in ((layer.forward_layer, 1), (layer.backward_layer, -1)):
        link.reset_state()
        steps = [link(step[None]) for step in x[::order]][::order]
        outputs.append(F.concat(steps, axis=0))
    return outputs


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("form", ["window", "padding", "list"])
def test_each_sequence_is_read_from_both_its_ends(pair, form, rng, device):
    layer = make(pair, rng, device)
    lengths = [T] * B if form == "window" else LENGTHS
    x, weights = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, 2 * H))
    for b, n in enumerate(lengths):
        x[n:, b] = np.nan
    x, weights = device.send(x), device.send(weights)
    inputs = Variable(x)
    if form == "list":
        ys = layer([inputs[:n, b] for b, n in enumerate(lengths)])
    else:
        layer(x[:, :2])  # another batch, of which nothing is left
        y = layer(inputs, *[lengths] * (form == "padding"))
        ys = [y[:n, b] for b, n in enumerate(lengths)]
        for b, n in enumerate(lengths):
            assert not y.array[n:, b].any()
    layer.cleargrads()
    sum(F.sum(y * weights[: len(y), b]) for b, y in enumerate(ys)).backward()
    found = [inputs.grad, *[param.grad for param in layer.params()]]
    layer.cleargrads()
    inputs.cleargrad()
    for b, n in enumerate(lengths):
        assert ys[b].shape == (n, 2 * H)
        if n > 0:
            own = F.concat(by_hand(layer, inputs[:n, b]), axis=1)
            F.sum(own * weights[:n, b]).backward()
            np.testing.assert_allclose(
                to_cpu(ys[b].array), to_cpu(own.array), rtol=1e-10, atol=1e-13
            )
    expected = [inputs.grad, *[param.grad for param in layer.params()]]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(to_cpu(one), to_cpu(other), rtol=1e-8, atol=1e-12)


def test_merges(rng, device):
    x = device.send(rng.normal(size=(T, B, I)))
    layer = make("LSTM", rng, device, merge=None)
    ahead, back = (to_cpu(y.array) for y in layer(x, LENGTHS))
    layer.merge = "sum"
    np.testing.assert_array_equal(to_cpu(layer(x, LENGTHS).array), ahead + back)
    layer.merge = "concat"
    both = np.concatenate((ahead, back), axis=2)
    np.testing.assert_array_equal(to_cpu(layer(x, LENGTHS).array), both)
    # The last states are those at the end of each way.
    np.testing.assert_array_equal(to_cpu(layer.backward_layer.h.array), back[0])
    ends = [ahead[n - 1, b] if n else np.zeros(H) for b, n in enumerate(LENGTHS)]
    np.testing.assert_array_equal(to_cpu(layer.forward_layer.h.array), ends)
    layer.merge = None
    pair = layer([x[:n, b] for b, n in enumerate(LENGTHS)])
    assert [[y.shape for y in ys] for ys in pair] == [[(n, H) for n in LENGTHS]] * 2


def test_windows_and_lists_of_no_steps():
    layer = L.Bidirectional(L.GRU(I, H), L.GRU(I, H))
    assert layer(xp.ones((0, B, I))).shape == (0, B, 2 * H)
    assert layer(xp.ones((0, B, I)), [0] * B).shape == (0, B, 2 * H)
    assert [y.shape for y in layer([xp.ones((0, I))])] == [(0, 2 * H)]


def test_weights_may_be_shared_and_are_saved_by_path(rng, tmp_path):
    one = L.GRU(I, H)
    layer = randomize(L.Bidirectional(one, one.copy(), merge="sum"), rng)
    assert len(list(layer.params())) == 4
    x = Variable(rng.normal(size=(T, B, I)))
    check_parameter_gradients(layer, lambda: F.sum(layer(x, LENGTHS) ** 2), rng)

    layer, other = (make("Jordan and Elman", rng, x.device) for _ in range(2))
    paths = [path for path, _ in layer.namedparams()]
    assert paths[0] == "/forward_layer/upward/W"
    assert paths[-1] == "/backward_layer/lateral/W"
    save_npz(tmp_path / "model.npz", layer)
    load_npz(tmp_path / "model.npz", other)
    xp.testing.assert_array_equal(layer(x).array, other(x).array)


def test_misuse_is_refused():
    rnn = L.GRU(I, H)
    with pytest.raises(TypeError, match="backward is a Linear, but must be a re"):
        L.Bidirectional(rnn, L.Linear(I, H))
    with pytest.raises(
        ValueError, match=r"one layer, with one state.*forward.copy\(\)"
    ):
        L.Bidirectional(rnn, rnn)
    with pytest.raises(ValueError, match="merge='mean' is unknown; use one of"):
        L.Bidirectional(rnn, rnn.copy(), "mean")
    with pytest.raises(ShapeError, match="outputs of 4 and of 5 units cannot be added"):
        L.Bidirectional(rnn, L.GRU(I, 5), "sum")
    layer = L.Bidirectional(rnn, L.LSTM(I, H))
    with pytest.raises(ShapeError, match=r"\(5, 3\); it must be \(time.* no future"):
        layer(xp.ones((B, I)))
    with pytest.raises(ShapeError, match="lengths must be 5 integers"):
        layer(xp.ones((T, B, I)), [1])
    with pytest.raises(
        ShapeError, match=r"x\[1\] has shape \(2, 4\).* 3 features as x"
    ):
        layer([xp.ones((T, I)), xp.ones((2, 4))])
    with pytest.raises(TypeError, match="a list of sequences has its own"):
        layer([xp.ones((T, I))], [T])
    with pytest.raises(ValueError, match="empty list"):
        layer([])


class Tagger(dyrnn.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.rnn = L.Bidirectional(L.GRU(1, 8), L.GRU(1, 8))
            self.out = L.Linear(16, 2)

    def forward(self, x, t, lengths):
        return F.softmax_cross_entropy(self.out(self.rnn(x, lengths)), t)


def test_a_tagger_learns_what_only_the_future_tells(rng):
    def example():
        x = rng.normal(size=(rng.integers(2, 9), 1))
        return x, (x[-1] > 0).astype(np.int32).repeat(len(x))

    data = [example() for _ in range(64)]
    iterator = iterators.SerialIterator(data, 16)
    optimizer = optimizers.Adam(lr=0.02).setup(Tagger())

    def converter(batch, device=None):
        return datasets.time_major(batch, device, padding=(0, -1))

    updater = training.StandardUpdater(iterator, optimizer, converter)
    with using_config("train", True):
        for _ in range(60):
            updater.update()
    x, t, lengths = converter(data)
    assert optimizer.target(x, t, lengths).item() < 0.1


@one_device("no arrays")
def test_it_is_pytorchs_packed_lstm(rng):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.LSTM(I, H, bidirectional=True).double()
    forward, backward = (L.LSTM(I, H, n_biases=2) for _ in range(2))
    for link, suffix in ((forward, ""), (backward, "_reverse")):
        for child, key in ((link.upward, "ih"), (link.lateral, "hh")):
            for name, kind in (("W", "weight"), ("b", "bias")):
                values = getattr(theirs, f"{kind}_{key}_l0{suffix}").detach().numpy()
                getattr(child, name).array[...] = values
    x, lengths = rng.normal(size=(T, B, I)), [4, 2, T, 1, 3]
    rnn = torch.nn.utils.rnn
    packed = rnn.pack_padded_sequence(torch.tensor(x), lengths, enforce_sorted=False)
    y, (h, _) = theirs(packed)
    expected = rnn.pad_packed_sequence(y)[0].detach().numpy()
    layer = L.Bidirectional(forward, backward)
    np.testing.assert_allclose(layer(x, lengths).array, expected, rtol=1e-10)
    ends = np.stack((layer.forward_layer.h.array, layer.backward_layer.h.array))
    np.testing.assert_allclose(ends, h.detach().numpy(), rtol=1e-10)


def test_lengths_may_be_of_any_integer_type(rng):
    x = Variable(rng.normal(size=(T, B, I)))
    layer = make("LSTM", rng, x.device)
    expected = layer(x, LENGTHS).array
    for dtype in "bBHIQ":
        layer.reset_state()
        found = layer(x, xp.array(LENGTHS, dtype)).array
        xp.testing.assert_array_equal(found, expected)
