"""A training that began in PyTorch goes on here, and back; needs PyTorch."""

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import interchange, optimizers
from dyrnn.errors import InterchangeError

GROUP = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
GROUP["amsgrad"] = False
V, B = 7, 4


class Model(dyrnn.Chain):
    def __init__(self, n_biases=2):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(V, 5)
            self.rnn = L.NStepLSTM(2, 5, 8, n_biases=n_biases)
            self.gru = L.GRU(8, 6)
            self.out = L.Linear(6, V)

    def forward(self, x):
        self.gru.reset_state()
        e = self.embed(x)
        y = self.rnn(None, None, [e[:, b] for b in range(B)])[-1]
        return self.out(self.gru(F.stack(y, 1)))


RULES = {
    "SGD": (lambda o, p: o.SGD(p, 0.5, momentum=0.9), optimizers.MomentumSGD),
    "Nesterov": (
        lambda o, p: o.SGD(p, 0.5, momentum=0.9, nesterov=True),
        optimizers.NesterovAG,
    ),
    "Adam": (lambda o, p: o.Adam(p, 0.01), optimizers.Adam),
    "AMSGrad": (
        lambda o, p: o.Adam(p, 0.01, amsgrad=True),
        lambda: optimizers.Adam(amsgrad=True),
    ),
    "AdamW": (lambda o, p: o.AdamW(p, 0.01, weight_decay=0.1), optimizers.AdamW),
}


@pytest.mark.parametrize("rule", RULES)
def test_losses_of_the_next_updates_are_equal(rule, rng):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    ids = rng.integers(0, V, (60, 2, 6, B))

    def there():
        parts = {"embed": nn.Embedding(V, 5), "rnn": nn.LSTM(5, 8, 2)}
        net = nn.ModuleDict({**parts, "gru": nn.GRU(8, 6), "out": nn.Linear(6, V)})
        return net, RULES[rule][0](torch.optim, net.parameters())

    def step_there(net, optimizer, x, t):
        optimizer.zero_grad()
        y = net["rnn"](net["embed"](torch.tensor(x)))[0]
        y = net["out"](net["gru"](y)[0])
        labels = torch.tensor(t).reshape(-1)
        loss = nn.functional.cross_entropy(y.reshape(-1, V), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def step_here(model, optimizer, x, t):
        loss = F.softmax_cross_entropy(model(x).reshape((-1, V)), t.reshape(-1))
        model.cleargrads()
        loss.backward()
        optimizer.update()
        return float(loss.array)

    torch.manual_seed(0)
    net, optimizer = there()
    names = [name for name, _ in net.named_parameters()]
    for pair in ids[:20]:
        step_there(net, optimizer, *pair)
    model = Model()
    interchange.load(net, model, "torch")
    mine = RULES[rule][1]().setup(model)
    interchange.load_optimizer(optimizer, mine, names)
    for pair in ids[20:40]:
        losses = step_there(net, optimizer, *pair), step_here(model, mine, *pair)
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    net, optimizer = there()
    arrays = interchange.to_arrays(model, "torch")
    net.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    state = interchange.to_optimizer_state(mine, optimizer, names)
    optimizer.load_state_dict(state)
    for pair in ids[40:]:
        losses = step_there(net, optimizer, *pair), step_here(model, mine, *pair)
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def state_of(model, step=3, **settings):
    """Return what Adam of PyTorch would have, and the names of the parameters."""
    arrays = interchange.to_arrays(model, "torch")
    entries = {
        k: {"step": step, "exp_avg": 0 * array + k, "exp_avg_sq": 0 * array + 1}
        for k, array in enumerate(arrays.values())
    }
    group = {**GROUP, **settings, "params": list(entries)}
    return {"state": entries, "param_groups": [group]}, list(arrays)


def test_state_of_arrays_is_taken_by_name():
    model = Model()
    adam = optimizers.Adam().setup(model)
    state, names = state_of(model)
    order = np.random.default_rng(0).permutation(len(names))
    state["state"] = {k: state["state"][old] for k, old in enumerate(order)}
    interchange.load_optimizer(state, adam, [names[old] for old in order])
    assert (adam.t, adam.lr) == (3, 0.1)
    held = adam._states[model.gru.lateral.b]
    assert held.t == 3
    assert (held.arrays["m"] == names.index("gru.bias_hh_l0")).all()


@pytest.mark.parametrize(
    ("model", "rule", "settings", "message"),
    [
        (Model(1), optimizers.Adam, {}, "one bias where PyTorch trains two"),
        (Model(), optimizers.SGD, {}, "of Adam or AdamW, but this is SGD"),
        (Model(), optimizers.Adam, {"amsgrad": True}, "amsgrad is set differently"),
        (Model(), optimizers.Adam, {"eps": 0.1}, "eps is 0.1, which PyTorch adds else"),
        (Model(), optimizers.Adam, {"weight_decay": 0.1}, r"call optimizer.add_hook"),
    ],
)
def test_states_that_do_not_fit(model, rule, settings, message):
    optimizer = rule().setup(model)
    state, names = state_of(model, **settings)
    with pytest.raises(InterchangeError, match=message):
        interchange.load_optimizer(state, optimizer, names)
    assert optimizer.t == 0
    assert not optimizer._states
    state, _ = state_of(Model())
    with pytest.raises(InterchangeError, match="give parameters="):
        interchange.load_optimizer(state, optimizer)


OTHERS = "RMSprop NAdam RAdam Adamax Adagrad Adadelta Rprop ASGD".split()
RMSPROP = {"lr": 0.1, "alpha": 0.99, "eps": 1e-8, "momentum": 0, "weight_decay": 0}


@pytest.mark.parametrize("rule", [optimizers.SGD, optimizers.Adam])
def test_states_of_other_rules_are_refused(rule):
    model = L.Linear(2, 3)
    optimizer = rule().setup(model)
    states = [{"state": {}, "param_groups": [{**RMSPROP, "params": [0, 1]}]}]
    try:
        import torch
    except ImportError:
        pass
    else:
        params = [torch.zeros(3, 2), torch.zeros(3)]
        states += [getattr(torch.optim, name)(params) for name in OTHERS]
    for state in states:
        with pytest.raises(InterchangeError, match="only states of SGD, Adam and Ad"):
            interchange.load_optimizer(state, optimizer, ["weight", "bias"])


def hooked(rule, *hooks, **settings):
    with dyrnn.using_config("dtype", np.dtype(np.float64)):
        optimizer = rule(**settings).setup(L.Linear(2, 3))
    for hook in hooks:
        optimizer.add_hook(hook)
    return optimizer


def adam_group(**settings):
    group = {**GROUP, "eps": 1e-30, **settings, "params": [0, 1]}
    return {"state": {}, "param_groups": [group]}


SGD_GROUP = {"lr": 0.1, "momentum": 0.9, "dampening": 0, "nesterov": False}
DECAY, LASSO = dyrnn.optimizer_hooks.WeightDecay, dyrnn.optimizer_hooks.Lasso


@pytest.mark.parametrize(
    ("decay", "hooks", "fits"),
    [
        (0.0, [], True),
        (0.1, [DECAY(0.1)], True),
        (0.1, [], False),
        (0.1, [DECAY(0.2)], False),
        (0.1, [LASSO(0.1)], False),
        (0.0, [DECAY(0.1)], False),
        (0.0, [LASSO(0.1)], False),
        (0.1, [DECAY(0.1), LASSO(0.2)], False),
    ],
)
@pytest.mark.parametrize("rule", [optimizers.MomentumSGD, optimizers.Adam])
def test_penalties_are_the_same_in_both(rule, decay, hooks, fits):
    optimizer = hooked(rule, *hooks)
    state = adam_group(weight_decay=decay)
    if rule is optimizers.MomentumSGD:
        group = {**SGD_GROUP, "weight_decay": decay, "params": [0, 1]}
        state = {"state": {}, "param_groups": [group]}
    if fits:
        interchange.load_optimizer(state, optimizer, ["weight", "bias"])
        return
    with pytest.raises(InterchangeError, match="hook"):
        interchange.load_optimizer(state, optimizer, ["weight", "bias"])


@pytest.mark.parametrize("lr", [0.1, 0.0])
@pytest.mark.parametrize("rate", [0.0, 0.01])
@pytest.mark.parametrize("is_decoupled", [True, False])
def test_a_decay_goes_back_to_where_it_is_one(lr, rate, is_decoupled):
    pytest.importorskip("torch")
    adam = hooked(optimizers.AdamW, lr=lr, eps=1e-30, weight_decay_rate=rate)
    like = adam_group(
        weight_decay=0.5 * is_decoupled, decoupled_weight_decay=is_decoupled
    )
    if rate and not (lr and is_decoupled):
        with pytest.raises(InterchangeError, match="weight_decay_rate is 0.01"):
            interchange.to_optimizer_state(adam, like, ["weight", "bias"])
        return
    state = interchange.to_optimizer_state(adam, like, ["weight", "bias"])
    (group,) = state["param_groups"]
    assert group["weight_decay"] * lr == pytest.approx(rate)


def test_momentum_in_double_precision_keeps_all_digits():
    momentum = hooked(optimizers.MomentumSGD)
    buffers = {0: np.full((3, 2), 1 / 3), 1: np.full(3, 1 / 7)}
    state = {k: {"momentum_buffer": array} for k, array in buffers.items()}
    group = {**SGD_GROUP, "params": [0, 1]}
    whole = {"state": state, "param_groups": [group]}
    interchange.load_optimizer(whole, momentum, ["weight", "bias"])
    for param, buffer in zip(momentum.target.params(), buffers.values(), strict=True):
        assert (momentum._states[param].arrays["v"] == -0.1 * buffer).all()
    group["lr"] = 0.0  # the momentum here would be 0
    with pytest.raises(InterchangeError, match="with lr=0"):
        interchange.load_optimizer(whole, momentum, ["weight", "bias"])


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"state": {}, "param_groups": []},
        {"state": {}, "param_groups": [{}]},
        {"param_groups": [{**GROUP, "params": [0, 1]}]},
        {"state": {}, "param_groups": [{**GROUP, "params": [0, 1], "betas": (0.9,)}]},
    ],
)
def test_what_is_no_state_is_refused(state):
    with pytest.raises(InterchangeError, match="no state of an optimizer"):
        interchange.load_optimizer(state, hooked(optimizers.Adam), ["weight", "bias"])


def test_named_parameters_are_names():
    adam = hooked(optimizers.Adam)
    named = iter([("weight", None), ("bias", None)])
    interchange.load_optimizer(adam_group(), adam, named)
    with pytest.raises(InterchangeError, match="parameters are names"):
        interchange.load_optimizer(adam_group(), adam, adam.target.params())
