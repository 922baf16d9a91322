"""A gradient that is NaN or infinite reaches no parameter, and leaves no trace."""

import numpy as np
import pytest

import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import Chain, optimizers, random, using_config
from dyrnn.errors import NonFiniteError
from dyrnn.iterators import SerialIterator, WindowIterator
from dyrnn.optimizers import hooks, restoring
from dyrnn.serializers.protocol import capture
from dyrnn.training import BPTTUpdater, StandardUpdater
from tests.arrays import every_device, xp

pytestmark = every_device

RULES = [
    getattr(optimizers, name)
    for name in (
        *("SGD", "ASGD", "MomentumSGD", "NesterovAG", "AdaGrad", "AdaDelta", "RMSprop"),
        *("RMSpropGraves", "Adam", "AdamW", "SMORMS3"),
    )
]
HOOKS = [
    None,
    hooks.WeightDecay(0.1),
    hooks.Lasso(0.1),
    hooks.GradientHardClipping(-1, 1),
    hooks.GradientNoise(0.1),
    hooks.GradientClipping(1.0),
]

pytestmark = pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")


def state_of(*objects):
    """All bytes that a snapshot would hold of the objects."""
    found = []
    for each in objects:
        contents = capture(each, copy=True)
        arrays = {key: (a.dtype, a.tobytes()) for key, a in contents.arrays.items()}
        found.append((arrays, contents.values))
    return found


def nan_gradient(x):
    """A loss of 0 with a gradient that is 0 / 0."""
    return F.mean(F.sqrt(F.square(x - x)))


def inf_gradient(x):
    """A loss of 0 with a gradient that is 1 / 0."""
    return F.sum(F.sqrt(x - x.array))


@pytest.mark.parametrize("loss", [nan_gradient, inf_gradient])
@pytest.mark.parametrize("hook", HOOKS, ids=lambda h: type(h).__name__)
@pytest.mark.parametrize("rule", RULES)
def test_rules_and_hooks_refuse(rule, hook, loss):
    layer, embed = L.Linear(2, 3), L.EmbedID(4, 2)
    model = Chain(layer=layer, embed=embed)
    optimizer = rule().setup(model)
    if hook is not None:
        optimizer.add_hook(hook)
    ids = xp.array([1, 1, 3])
    optimizer.update(lambda: F.sum(layer(embed(ids)) ** 2))
    before = state_of(model, optimizer)
    with pytest.raises(NonFiniteError, match=r"nothing was updated"):
        optimizer.update(lambda: loss(layer(embed(ids))))
    assert state_of(model, optimizer) == before


def test_a_hook_may_repair_a_gradient():
    layer = L.Linear(2, 3)
    optimizer = optimizers.SGD(1.0).setup(layer)

    def repair(optimizer):
        for _, _, total in optimizer.updates:
            xp.nan_to_num(total.dense(), copy=False)

    optimizer.add_hook(repair)
    optimizer.update(lambda: nan_gradient(layer(xp.ones((1, 2), np.float32))))
    assert optimizer.t == 1 and xp.isfinite(layer.W.array).all()


def test_a_hook_that_breaks_a_gradient_is_refused():
    layer = L.Linear(2, 3)
    optimizer = optimizers.SGD(1.0).setup(layer)
    optimizer.add_hook(lambda o: o.updates[0][2].scale(np.inf), "breaks")
    before = state_of(layer, optimizer)
    with pytest.raises(NonFiniteError, match="of parameter /W .* has infinity"):
        optimizer.update(lambda: F.sum(layer(xp.ones((1, 2), np.float32))))
    assert state_of(layer, optimizer) == before


def test_gradients_whose_squares_would_overflow():
    for rule in RULES:
        layer = L.Linear(1, 1, nobias=True)
        optimizer = rule().setup(layer)
        layer.W.grad = xp.full((1, 1), 1e25, np.float32)
        if not optimizer.states or optimizer.is_linear or rule is optimizers.ASGD:
            optimizer.update()
            continue
        with pytest.raises(NonFiniteError, match=r"up to 1e\+25, of which the squares"):
            optimizer.update()
        assert optimizer.t == 0
        optimizer.add_hook(hooks.GradientClipping(1.0))
        optimizer.update()
        assert xp.isfinite(layer.W.array).all()


def test_clipping_of_finite_numbers_with_infinite_squares():
    layer = L.Linear(2, 2)
    layer.W.array, layer.b.array = xp.zeros((2, 2)), xp.zeros(2)
    optimizer = optimizers.SGD(1.0).setup(layer)
    optimizer.add_hook(hooks.GradientClipping(5.0))
    layer.W.grad, layer.b.grad = xp.full((2, 2), -1.5e200), xp.array([0.0, 4e200])
    optimizer.update()
    xp.testing.assert_allclose(layer.W.array, 1.5, rtol=1e-14)
    xp.testing.assert_allclose(layer.b.array, [0, -4], rtol=1e-14)


class Normed(Chain):
    """Everything that a forward pass changes: running statistics, a count, a state."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.rnn = L.LSTM(1, 3)
            self.norm = L.BatchNormalization(3)
            self.out = L.Linear(3, 1)
        self.add_persistent("calls", 0)

    def forward(self, x, t):
        self.calls += 1
        y = self.out(F.dropout(self.norm(self.rnn(x)), 0.5))
        return F.mean(F.sqrt(F.square((y - t) * x)))


def data(bad):
    """Points (x, t), the third batch with NaN in the loss or in its gradient."""
    x = xp.linspace(-1, 1, 24, dtype=np.float32).reshape(24, 1)
    if bad == "gradient":
        x[9] = 0
    return [
        (each, xp.full(1, np.nan if k == 9 and bad == "loss" else 2, "f4"))
        for k, each in enumerate(x)
    ]


@pytest.mark.parametrize("bad", ["gradient", "loss"])
def test_a_refused_update_goes_on_with_the_next_batch(bad):
    # A run that catches the error is one that never had the batch, but for the random
    # numbers, which stay drawn.
    def run(skips):
        random.seed(3)
        model = Normed()
        optimizer = optimizers.Adam().setup(model)
        iterator = SerialIterator(data(bad), 4, shuffle=False)
        iterator.goes_on = True  # the model carries its state
        updater = StandardUpdater(iterator, optimizer)
        for number in range(6):
            before = state_of(model, optimizer)
            carried = model.rnn.h
            if number == 2 and skips:
                iterator.next()
                F.dropout(xp.zeros((4, 3), np.float32), 0.5)
                continue
            try:
                updater.update()
            except NonFiniteError:
                assert number == 2
                assert state_of(model, optimizer) == before
                assert model.rnn.h is carried
        return (
            state_of(model, optimizer),
            model.rnn.h.array.tobytes(),
            updater.iteration,
        )

    assert run(False) == run(True)
    assert run(False)[2] == 5


def test_one_step_of_a_window_makes_it_refused():
    x = xp.ones((40, 1), np.float32)
    x[7] = 0

    class Model(Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.rnn, self.out = L.LSTM(1, 3), L.Linear(3, 1)

        def forward(self, x, t):
            return F.mean(F.sqrt(F.square(self.out(self.rnn(x)) * x)))

    for options in ({}, {"window": False}):
        model = Model()
        optimizer = optimizers.SGD(0.1).setup(model)
        updater = BPTTUpdater(WindowIterator(x, 2, 5), optimizer, **options)
        refused = 0
        for _ in range(3):
            before = state_of(model, optimizer)
            state = None if model.rnn.h is None else model.rnn.h.array.tobytes()
            try:
                updater.update()
            except NonFiniteError:
                refused += 1
                assert state_of(model, optimizer) == before
                assert model.rnn.h.array.tobytes() == state
        assert refused == 1
        assert all(xp.isfinite(p.array).all() for p in model.params())


def test_a_loop_of_ones_own_puts_back_what_it_asks_for():
    model = Normed()
    optimizer = optimizers.SGD().setup(model)
    x = xp.array([[0.5], [1.0]], np.float32)
    before = state_of(model)
    with pytest.raises(NonFiniteError), restoring(model):
        loss = model(x, np.nan * x)
        model.cleargrads()
        loss.backward()
        optimizer.update()
    assert state_of(model) == before and model.rnn.h is None


class TestDebugMode:
    def test_names_the_operation_and_the_line(self):
        w = L.Linear(2, 2)
        y = w(xp.ones((1, 2), np.float32))
        with using_config("debug", True):
            loss = F.mean(F.sqrt(F.square(y - y)))
            with pytest.raises(
                NonFiniteError,
                match=(
                    r"backward of Sqrt, called at .*test_refused_updates.py:\d+, "
                    r"computed infinity in the gradient of its input 0, of shape"
                ),
            ):
                loss.backward()

    def test_sees_into_promises(self):
        layer = L.Linear(2, 2)
        with using_config("debug", True):
            y = layer(xp.full((1, 2), 1e30, np.float32))
            y.grad = xp.full((1, 2), 1e30, np.float32)
            with pytest.raises(NonFiniteError, match="backward of Linear.* input 1"):
                y.backward()

    def test_node_made_before(self):
        y = F.sqrt(L.Linear(2, 2)(xp.ones((1, 2), np.float32)) * 0)
        with (
            using_config("debug", True),
            pytest.raises(
                NonFiniteError, match="an unknown line, before debug mode began"
            ),
        ):
            F.sum(y).backward()
