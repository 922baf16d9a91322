"""Recurrent links: formulas, step against window, state, shrinking batches."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.backend import to_cpu
from dyrnn.config import using_config
from dyrnn.engine.core import Variable
from dyrnn.errors import ShapeError
from dyrnn.initializers import Orthogonal
from dyrnn.link import Chain
from dyrnn.serializers import load_npz, save_npz
from dyrnn.testing import check_backward
from tests.arrays import every_device, one_device, xp
from tests.comparing import close
from tests.links.checks import check_parameter_gradients, randomize

pytestmark = every_device

T, B, I, H = 5, 4, 3, 2

LINKS = {
    "LSTM": lambda: L.LSTM(I, H),
    "LSTM projected": lambda: L.LSTM(I, 7, proj_size=H),
    "LSTM two biases": lambda: L.LSTM(I, H, n_biases=2),
    "GRU": lambda: L.GRU(I, H),
    "ElmanRNN": lambda: L.ElmanRNN(I, H),
    "ElmanRNN relu": lambda: L.ElmanRNN(I, H, F.relu),
    "ElmanRNN sigmoid": lambda: L.ElmanRNN(I, H, "sigmoid"),
    "ElmanRNN two biases": lambda: L.ElmanRNN(I, H, n_biases=2),
    "JordanRNN": lambda: L.JordanRNN(I, 6, H),
    "JordanRNN tanh": lambda: L.JordanRNN(I, 6, H, output_activation=F.tanh),
    "StatefulPeepholeLSTM": lambda: L.StatefulPeepholeLSTM(I, H),
    "StatefulZoneoutLSTM": lambda: L.StatefulZoneoutLSTM(I, H, 0.3, 0.4),
    "StatefulGRU": lambda: L.StatefulGRU(I, H),
    "MGU": lambda: L.MGU(I, H),
}
every_link = pytest.mark.parametrize("name", LINKS)


@pytest.fixture(autouse=True)
def _double():
    with using_config("dtype", np.float64):
        yield


@pytest.fixture
def make(rng, device):
    """Make a link on each device whose parameters, also biases, are all random."""
    return lambda name: randomize(LINKS[name](), rng).to_device(device)


@pytest.fixture
def x(rng, device):
    return device.send(rng.normal(size=(T, B, I)))


def sigmoid(a):
    return 1 / (1 + xp.exp(-a))


@one_device("no arrays")
def test_every_recurrent_link_has_a_row():
    public = {
        name
        for name in L.__all__
        if isinstance(getattr(L, name), type)
        and issubclass(getattr(L, name), L.Recurrent)
    }
    assert {key.partition(" ")[0] for key in LINKS} == public - {"Recurrent"}


# Formulas, step by step, from the attributes the documentation names.


def lstm(link, x):
    W, b, U = link.upward.W.array, link.upward.b.array, link.lateral.W.array
    b = b if link.lateral.b is None else b + link.lateral.b.array
    V = xp.eye(H) if link.projection is None else link.projection.W.array
    c, h = xp.zeros((B, V.shape[1])), xp.zeros((B, H))
    for step in x:
        i, f, g, o = xp.split(step @ W.T + h @ U.T + b, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * xp.tanh(g)
        h = (sigmoid(o) * xp.tanh(c)) @ V.T
        yield h


def zoneout_lstm(link, x):
    """In evaluation, where the random choice is replaced by its mean."""
    W, b, U = link.upward.W.array, link.upward.b.array, link.lateral.W.array
    c = h = xp.zeros((B, H))
    for step in x:
        i, f, g, o = xp.split(step @ W.T + h @ U.T + b, 4, axis=1)
        new = sigmoid(f) * c + sigmoid(i) * xp.tanh(g)
        h = 0.4 * h + 0.6 * sigmoid(o) * xp.tanh(new)
        c = 0.3 * c + 0.7 * new
        yield h


def peephole_lstm(link, x):
    W, b, U = link.upward.W.array, link.upward.b.array, link.lateral.W.array
    p_i, p_f, p_o = link.peephole.array
    c = h = xp.zeros((B, H))
    for step in x:
        i, f, g, o = xp.split(step @ W.T + h @ U.T + b, 4, axis=1)
        c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * xp.tanh(g)
        h = sigmoid(o + p_o * c) * xp.tanh(c)
        yield h


def gru(link, x):
    W, b = link.upward.W.array, link.upward.b.array
    U, b_u = link.lateral.W.array, link.lateral.b.array
    h = xp.zeros((B, H))
    for step in x:
        x_r, x_z, x_n = xp.split(step @ W.T + b, 3, axis=1)
        a_r, a_z, a_n = xp.split(h @ U.T + b_u, 3, axis=1)
        r, z = sigmoid(x_r + a_r), sigmoid(x_z + a_z)
        h = (1 - z) * xp.tanh(x_n + r * a_n) + z * h
        yield h


def stateful_gru(link, x):
    def of(child, a):
        return a @ child.W.array.T + child.b.array

    h = None
    for step in x:
        if h is None:
            h = sigmoid(of(link.W_z, step)) * xp.tanh(of(link.W, step))
        else:
            r = sigmoid(of(link.W_r, step) + of(link.U_r, h))
            z = sigmoid(of(link.W_z, step) + of(link.U_z, h))
            h = (1 - z) * h + z * xp.tanh(of(link.W, step) + of(link.U, r * h))
        yield h


def elman(activation):
    def run(link, x):
        h = xp.zeros((B, H))
        for step in x:
            z = step @ link.upward.W.array.T + link.upward.b.array
            if link.lateral.b is not None:
                z = z + link.lateral.b.array
            h = activation(z + h @ link.lateral.W.array.T)
            yield h

    return run


def jordan(activation):
    def run(link, x):
        y = xp.zeros((B, H))
        for step in x:
            z = step @ link.upward.W.array.T + link.upward.b.array
            h = xp.tanh(z + y @ link.lateral.W.array.T)
            y = activation(h @ link.output.W.array.T + link.output.b.array)
            yield y

    return run


def mgu(link, x):
    U_f, U = link.lateral_f.W.array, link.lateral.W.array
    h = xp.zeros((B, H))
    for step in x:
        z = step @ link.upward.W.array.T + link.upward.b.array
        f = sigmoid(z[:, :H] + h @ U_f.T)
        h = (1 - f) * h + f * xp.tanh(z[:, H:] + (f * h) @ U.T)
        yield h


FORMULAS = {
    "LSTM": lstm,
    "LSTM projected": lstm,
    "LSTM two biases": lstm,
    "GRU": gru,
    "ElmanRNN": elman(np.tanh),
    "ElmanRNN relu": elman(lambda a: np.maximum(a, 0)),
    "ElmanRNN sigmoid": elman(sigmoid),
    "ElmanRNN two biases": elman(np.tanh),
    "JordanRNN": jordan(lambda a: a),
    "JordanRNN tanh": jordan(np.tanh),
    "StatefulPeepholeLSTM": peephole_lstm,
    "StatefulZoneoutLSTM": zoneout_lstm,
    "StatefulGRU": stateful_gru,
    "MGU": mgu,
}


@every_link
def test_link_follows_its_formula(name, make, x, device):
    link = make(name)
    link.to_cpu()
    expected = np.stack(list(FORMULAS[name](link, to_cpu(x))))
    link.to_device(device)
    with using_config("train", False):
        window = link(x)
        link.reset_state()
        steps = [link(step) for step in x]
    assert window.shape == (T, B, H)
    found = np.stack([to_cpu(y.array) for y in steps])
    close(found, expected, rtol=1e-12, atol=1e-14)
    close(to_cpu(window.array), expected, rtol=1e-12, atol=1e-14)


@every_link
def test_step_and_window_give_the_same_loss_and_gradients(name, make, rng, x, device):
    link = make(name)
    weights = device.send(rng.normal(size=(T, B, H)))
    results = []
    for is_window in (True, False):
        with using_config("train", "Zoneout" not in name):
            link.reset_state()
            link.cleargrads()
            link(x[0])  # so that the window starts from a state
            inputs = Variable(x)
            if is_window:
                loss = (link(inputs) * weights).sum()
            else:
                loss = sum((link(inputs[i]) * weights[i]).sum() for i in range(T))
            loss.backward()
        state = [getattr(link, key).array for key in link.carried]
        gradients = [param.grad for param in link.params()]
        results.append([loss.array, inputs.grad, *state, *gradients])
    for window, step in zip(*results, strict=True):
        close(window, step, rtol=1e-12, atol=1e-12)


@every_link
@pytest.mark.parametrize("is_window", [True, False])
def test_gradient_is_right(name, is_window, rng):
    link, x = randomize(LINKS[name](), rng), rng.normal(size=(T, B, I))
    weights = rng.normal(size=(T, B, H))

    def run(x):
        link.reset_state()
        if is_window:
            return link(x)
        return F.stack([link(x[i]) for i in range(T)], axis=0)

    with using_config("train", False):
        check_backward(run, [x])
        check_parameter_gradients(link, lambda: (run(Variable(x)) * weights).sum(), rng)


@every_link
def test_state_is_carried_until_reset(name, make, x):
    link = make(name)
    with using_config("train", False):
        assert getattr(link, link.carried[0]) is None
        whole = link(x).array
        link.reset_state()
        parts = F.concat([link(x[:2]), link(x[2:])], axis=0)
        close(parts, whole, rtol=1e-12, atol=1e-14)
        assert not np.allclose(to_cpu(link(x).array), to_cpu(whole))
        link.reset_state()
        assert all(getattr(link, key) is None for key in link.carried)
        close(link(x).array, whole, rtol=1e-12, atol=1e-14)


@every_link
def test_smaller_batches_keep_the_other_rows(name, make, x):
    link, single = make(name), make(name)
    single.copyparams(link)
    with using_config("train", False):
        link(x[0])
        first = [getattr(link, key).array.copy() for key in link.carried]
        assert link(x[1, :2]).shape == (2, H)
        assert link(x[2:4, :1]).shape == (2, 1, H)
        assert link(x[0, :0]).shape == (0, H)
        assert link(x[:, :0]).shape == (T, 0, H)
        single(x[0, :1])
        single(x[1, :1])
        single(x[2:4, :1])
    for key, before in zip(link.carried, first, strict=True):
        state = getattr(link, key).array
        assert state.shape == (B, link.sizes[key])
        close(state[2:], before[2:], rtol=0)
        close(state[:1], getattr(single, key).array, rtol=1e-12)
        assert not np.allclose(to_cpu(state[:2]), to_cpu(before[:2]))


@every_link
def test_window_without_steps_changes_nothing(name, make, x):
    link = make(name)
    link(x)
    before = [getattr(link, key).array.copy() for key in link.carried]
    assert link(x[:0]).shape == (0, B, H)
    for key, array in zip(link.carried, before, strict=True):
        close(getattr(link, key).array, array, rtol=0)


@every_link
def test_wrong_shapes_are_named(name, make, x, device):
    model = Chain(l1=make(name))
    model.forward = lambda x: model.l1(x)
    with pytest.raises(ShapeError, match=r"^Chain: l1: .*\(4, 7\)"):
        model(device.send(np.ones((4, 7))))
    with pytest.raises(ShapeError, match=r"\(2, 2, 2, 2\); it must be \(batch, feat"):
        model(device.send(np.ones((2, 2, 2, 2))))
    model.l1.reset_state()
    model(x[0])
    size = model.l1.sizes[model.l1.carried[0]]
    message = rf"\(9, 3\), but the state has shape \(4, {size}\): a batch may shrink, n"
    with pytest.raises(ShapeError, match=message):
        model(device.send(np.ones((9, I))))


@every_link
def test_input_size_is_found_at_the_first_call(name, x, device):
    cls = getattr(L, name.partition(" ")[0])
    link = cls(None, 6, H) if cls is L.JordanRNN else cls(H)
    assert link.to_device(device)(x).shape == (T, B, H)
    if cls is not L.JordanRNN:
        assert cls(None, H).to_device(device)(x[0]).shape == (B, H)


@every_link
def test_carried_state_is_saved_and_the_graph_is_not(name, make, x, tmp_path):
    class Snapshot:
        def __init__(self, link):
            self.link = link

        def serialize(self, s):
            self.link.serialize(s["link"])
            self.link.serialize_state(s["state"])

    link, other = make(name), make(name)
    with using_config("train", False):
        link(x)
        save_npz(tmp_path / "file", Snapshot(link))
        load_npz(tmp_path / "file", Snapshot(other))
        assert other.__dict__[link.carried[0]].node is None
        close(link(x), other(x), rtol=0)


def test_set_state(x, device):
    link = L.LSTM(I, H).to_device(device)
    link.set_state(np.ones((B, H)), Variable(np.zeros((B, H))))
    assert link.c.device == device
    link(x[0])
    h = link.h
    link.set_state(link.c, h)
    assert link.h is h
    with pytest.raises(
        ShapeError, match=r"state h has shape \(4, 5\); it must be .*2\)"
    ):
        link.set_state(np.ones((B, H)), np.ones((B, 5)))


def test_gradients_flow_through_the_carried_state_until_it_is_cut(make, x):
    link = make("LSTM")
    inputs = Variable(x)
    link(inputs[0])
    link(inputs[1]).sum().backward()
    assert to_cpu(inputs.grad[0] != 0).all()
    inputs.cleargrad()
    loss = link(inputs[2]).sum()
    loss.backward()
    loss.unchain_backward()
    inputs.cleargrad()
    link(inputs[3]).sum().backward()
    assert not to_cpu(inputs.grad[:3]).any()


def test_fresh_lstm_forgets_little_and_draws_each_gate_alone():
    link = L.LSTM(I, H)
    assert link.upward.b.array.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert link.lateral.b is None
    assert [path for path, _ in link.namedparams()] == [
        "/upward/W",
        "/upward/b",
        "/lateral/W",
    ]
    U = L.LSTM(I, H, lateral_init=Orthogonal()).lateral.W.array
    for block in xp.split(U, 4):
        close(block @ block.T, xp.eye(H), atol=1e-12)
    values = xp.arange(8.0 * H).reshape(8, H)
    assert xp.array_equal(L.LSTM(I, H, lateral_init=values).lateral.W.array, values)
    link = L.LSTM(I, H, bias_init=3, forget_bias_init=5)
    assert link.upward.b.array.tolist() == [3, 3, 5, 5, 3, 3, 3, 3]


def test_zoneout_keeps_elements_while_training(make, x):
    link = make("StatefulZoneoutLSTM")
    link.c_ratio, link.h_ratio = 0.0, 0.5
    h = link(x[0]).array
    kept = to_cpu(link(x[1]).array == h)
    assert 0 < kept.sum() < kept.size


def test_stateless_layers_are_steps_of_the_stateful_ones(make, x, device):
    lstm = make("LSTM")
    stateless = L.StatelessLSTM(I, H)
    stateless.to_device(device).copyparams(lstm)
    c, h = stateless(None, None, x[0])
    c, h = stateless(c, h, x[1])
    lstm(x[:2])
    close(c.array, lstm.c.array, rtol=1e-12)
    close(h.array, lstm.h.array, rtol=1e-12)

    gru = make("StatefulGRU")
    stateless = L.StatelessGRU(I, H)
    stateless.to_device(device).copyparams(gru)
    h = stateless(stateless(None, x[0]), x[1])
    close(h.array, gru(x[:2])[1].array, rtol=1e-12)


def test_recurrent_links_of_ones_own_define_step(device):
    class Sum(L.Recurrent):
        def inputs(self, x):
            return x

        def step(self, z):
            self.h = self.h + z
            return self.h

    link = Sum(3)
    x = device.send(np.ones((T, B, 3)))
    assert link(x).array[:, 0, 0].tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(NotImplementedError, match="Recurrent defines no step"):
        L.Recurrent(3).step(x)


@one_device("no arrays")
def test_sizes_are_checked():
    with pytest.raises(ValueError, match="LSTM: out_size is 0; use an integer >= 1"):
        L.LSTM(3, 0)
    with pytest.raises(ValueError, match="Linear: in_size is -1"):
        L.GRU(-1, 3)
    with pytest.raises(ValueError, match=r"Linear: out_size is 2.5"):
        L.Linear(3, 2.5)


@every_link
def test_sequences_of_a_padded_batch_are_as_if_alone(name, make, rng, x, device):
    link = make(name)
    lengths = [3, T, 1, 4]
    weights = device.send(rng.normal(size=(T, B, H)))
    padded, alone = x.copy(), x
    for b, n in enumerate(lengths):
        padded[n:, b] = np.nan
    with using_config("train", False):
        y = link(padded, lengths)
        states = [getattr(link, key).array for key in link.carried]
        link.cleargrads()
        F.sum(y * weights).backward()
        found = {key: to_cpu(p.grad) for key, p in link.namedparams()}
        link.cleargrads()
        for b, n in enumerate(lengths):
            link.reset_state()
            own = link(alone[:n, b : b + 1])
            F.sum(own * weights[:n, b : b + 1]).backward()
            expected = np.zeros((T, H))
            expected[:n] = to_cpu(own.array)[:, 0]
            close(to_cpu(y.array)[:, b], expected, rtol=1e-12)
            for state, key in zip(states, link.carried, strict=True):
                end = to_cpu(getattr(link, key).array)[0]
                close(to_cpu(state)[b], end, rtol=1e-12)
    for key, param in link.namedparams():
        close(found[key], to_cpu(param.grad), rtol=1e-10, atol=1e-12)


def test_lengths_of_a_step_are_refused():
    with pytest.raises(ShapeError, match="one step; lengths go with a window"):
        L.GRU(I, H)(xp.ones((B, I)), [1] * B)


class TestTrees:
    def test_child_sum_follows_its_formula(self, rng, device):
        link = L.ChildSumTreeLSTM(I, H)
        randomize(link, rng)
        x = rng.normal(size=(B, I))
        z = x @ link.upward.W.array.T + link.upward.b.array
        for n in (0, 1, 3):
            cs, hs = rng.normal(size=(n, B, H)), rng.normal(size=(n, B, H))
            igo = z[:, : 3 * H] + hs.sum(axis=0) @ link.lateral.W.array.T
            i, g, o = np.split(igo, 3, axis=1)
            c = sigmoid(i) * np.tanh(g)
            for c_child, h_child in zip(cs, hs, strict=True):
                f = z[:, 3 * H :] + h_child @ link.lateral_f.W.array.T
                c = c + sigmoid(f) * c_child
            inputs = [device.send(array) for array in (*cs, *hs, x)]
            found_c, found_h = link.to_device(device)(*inputs)
            link.to_cpu()
            close(found_c, c, rtol=1e-12)
            close(found_h, sigmoid(o) * np.tanh(c), rtol=1e-12)

    def test_n_ary_follows_its_formula(self, rng, device):
        link = L.NaryTreeLSTM(I, H, 2)
        x, cs, hs = rng.normal(size=(B, I)), *rng.normal(size=(2, 2, B, H))
        z = x @ link.upward.W.array.T + link.upward.b.array
        z += hs[0] @ link.lateral1.W.array.T + hs[1] @ link.lateral2.W.array.T
        i, g, o, f1, f2 = np.split(z, 5, axis=1)
        c = sigmoid(i) * np.tanh(g) + sigmoid(f1) * cs[0] + sigmoid(f2) * cs[1]
        inputs = [device.send(array) for array in (*cs, *hs, x)]
        found_c, found_h = link.to_device(device)(*inputs)
        close(found_c, c, rtol=1e-12)
        close(found_h, sigmoid(o) * np.tanh(c), rtol=1e-12)

    @pytest.mark.parametrize("cls", [L.ChildSumTreeLSTM, L.NaryTreeLSTM])
    def test_gradients(self, cls, rng):
        link = cls(I, H)
        states = list(rng.normal(size=(4, B, H)))
        check_backward(lambda *xs: list(link(*xs)), [*states, rng.normal(size=(B, I))])

    def test_wrong_numbers_of_children(self, rng):
        x, h = xp.ones((B, I)), xp.ones((B, H))
        with pytest.raises(
            ValueError, match="c and h of every child, then x; there ar"
        ):
            L.ChildSumTreeLSTM(I, H)(h, x)
        with pytest.raises(ValueError, match="1 children were given, but n_ary is 2"):
            L.NaryTreeLSTM(I, H)(h, h, x)
