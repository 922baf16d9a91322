"""Every update rule against its formula, sparse against dense, and exact resumption."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import pytest

import dyrnn.functions as F
from dyrnn import optimizers
from dyrnn.backend import get_device
from dyrnn.engine.core import Variable
from dyrnn.engine.gradients import Rows, Sum
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import DeviceError, NonFiniteError, SnapshotError
from dyrnn.link import Chain, Link
from dyrnn.links import EmbedID, Linear
from dyrnn.optimizers.hooks import GradientClipping
from dyrnn.optimizers.optimizer import Optimizer
from dyrnn.serializers import load_npz, save_npz
from tests.arrays import every_device, one_device, xp
from tests.update_rules import RULES, every_rule

pytestmark = every_device


def model_of(**arrays):
    link = Link()
    with link.init_scope():
        for name, array in arrays.items():
            setattr(link, name, Parameter(array))
    return link


def set_rows(param, ids, values):
    """Give a parameter a sparse gradient."""
    param._gradient = Sum(Rows(ids, values, param.shape))


@one_device("no arrays")
def test_every_optimizer_has_a_row():
    public = {
        name
        for name, value in vars(optimizers).items()
        if isinstance(value, type) and issubclass(value, Optimizer)
    }
    assert public - {"Optimizer"} == {
        type(make()).__name__ for make, _ in RULES.values()
    }


@every_rule
def test_rule_follows_its_formula(name, rng, device):
    make, formula = RULES[name]
    # More than one block of rows, and a block that is not full.
    start = {"W": rng.normal(size=(1100, 130)), "b": rng.normal(size=5)}
    model = model_of(**start).to_device(device)
    optimizer = make().setup(model)
    expected = {key: formula(array.copy()) for key, array in start.items()}
    for generator in expected.values():
        next(generator)
    for _ in range(4):
        for key, param in model.namedparams():
            g = rng.normal(size=param.shape)
            param.grad = device.send(g.copy())
            start[key[1:]] = expected[key[1:]].send(g)
        optimizer.update()
    model.to_cpu()
    for key, param in model.namedparams():
        np.testing.assert_allclose(param.array, start[key[1:]], rtol=1e-12, atol=1e-14)


@one_device("no arrays")
def test_parameters_of_two_devices_have_two_optimizers():
    model = Chain(embed=EmbedID(5, 3), out=Linear(3, 5))
    model.to_device("@strict").embed.to_cpu()
    ids = np.array([1, 2])

    def loss():
        h = F.copy(model.embed(ids), "@strict")
        return F.sum(model.out(h) ** 2)

    one = optimizers.Adam().setup(model)
    with pytest.raises(
        DeviceError, match=r"/embed/W on <.*numpy>, /out/W on <.*strict>"
    ):
        one.update(loss)
    both = [optimizers.Adam().setup(link) for link in (model.embed, model.out)]
    first = loss().item()
    for _ in range(3):
        model.cleargrads()
        loss().backward()
        for optimizer in both:
            optimizer.update()
    assert loss().item() < first


def test_variance_of_equal_gradients_does_not_round_below_0():
    model = model_of(W=xp.ones(50, np.float32))
    optimizer = optimizers.RMSpropGraves().setup(model)
    for _ in range(400):
        model.W.grad = xp.linspace(1, 1e4, 50, dtype=np.float32)
        optimizer.update()
    assert xp.isfinite(model.W.array).all()


@every_rule
def test_nothing_waits_for_a_device(name, synchronisations):
    device = get_device("@strict")
    model = model_of(W=xp.ones((4, 3)), x=xp.array(2.0)).to_device(device)
    optimizer = RULES[name][0]().setup(model)
    for param in model.params():
        param.grad = device.send(xp.ones(param.shape))
    with synchronisations() as count:
        for _ in range(3):
            optimizer.update()
    assert count() == 0


@every_rule
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rule_keeps_the_type_and_works_in_place(name, dtype, rng):
    model = model_of(
        W=rng.uniform(1, 2, size=(4, 3)).astype(dtype), x=xp.array(2.0, dtype)
    )
    arrays = [param.array for param in model.params()]
    before = [array.copy() for array in arrays]
    optimizer = RULES[name][0]().setup(model)
    for param in model.params():
        param.grad = xp.full(param.shape, 0.5, dtype)
    for _ in range(3):
        optimizer.update()
    for param, array, values in zip(model.params(), arrays, before, strict=True):
        assert param.array is array
        assert array.dtype == dtype
        assert (array < values).all()


def gradients_by_rows(rng, shape):
    """Return ids with duplicates, values, and the same as an array."""
    ids = rng.integers(0, shape[0] // 2, size=6)
    values = rng.normal(size=(6, shape[1])).astype(np.float32)
    return ids, values, Rows(ids, values, shape).dense()


@every_rule
def test_sparse_gradients_give_the_bytes_of_dense_ones(name, rng):
    start = rng.normal(size=(20, 3)).astype(np.float32)
    sparse, dense = model_of(W=start.copy()), model_of(W=start.copy())
    make = RULES[name][0]
    pair = [make().setup(sparse), make().setup(dense)]
    for _ in range(5):
        ids, values, array = gradients_by_rows(rng, (20, 3))
        set_rows(sparse.W, ids, values)
        dense.W.grad = array
        for optimizer in pair:
            optimizer.target.W.total.scale(0.3)  # as clipping does
            optimizer.update()
        xp.testing.assert_array_equal(sparse.W.array, dense.W.array)
    assert not xp.array_equal(sparse.W.array, start)


@one_device("sparse gradients are of the CPU")
@every_rule
def test_lazy_rows_leave_absent_rows_and_their_state_alone(name, rng):
    start = rng.normal(size=(4, 3))
    model, part = model_of(W=start.copy()), model_of(W=start[1:2].copy())
    lazy, plain = [RULES[name][0]().setup(link) for link in (model, part)]
    lazy.lazy_rows = True
    for ids in ([1, 2], [1, 3]):
        values = rng.normal(size=(2, 3))
        set_rows(model.W, xp.array(ids), values)
        part.W.grad = values[:1]
        lazy.update()
        plain.update()
    xp.testing.assert_array_equal(model.W.array[1], part.W.array[0])
    before = model.W.array.copy()
    state = copy.deepcopy(lazy._states[model.W].arrays)
    set_rows(model.W, xp.array([1]), rng.normal(size=(1, 3)))
    lazy.update()
    changed = (model.W.array != before).any(axis=1)
    assert changed.tolist() == [False, True, False, False]
    for key, array in lazy._states[model.W].arrays.items():
        xp.testing.assert_array_equal(array[[0, 2, 3]], state[key][[0, 2, 3]])


def test_the_steps_of_rprop_stay_within_their_limits():
    model = model_of(w=xp.ones(2))
    optimizer = optimizers.Rprop(1.0, max_step=1.3, min_step=0.2).setup(model)
    for t in range(12):
        model.w.grad = xp.array([1.0, (-1) ** (t // 2)])
        optimizer.update()
    assert optimizer._states[model.w].arrays["step"].tolist() == [1.3, 0.2]


@one_device("a device is not waited for")
def test_sgd_and_adagrad_never_make_a_sparse_gradient_dense(rng):
    for cls in (optimizers.SGD, optimizers.AdaGrad):
        model = model_of(W=rng.normal(size=(20, 3)))
        optimizer = cls().setup(model)
        optimizer.add_hook(GradientClipping(0.1))
        set_rows(model.W, xp.array([3]), rng.normal(size=(1, 3)))
        optimizer.update()
        assert isinstance(model.W.total.settled()[0], Rows)


@every_rule
def test_resuming_equals_not_stopping(name, rng, tmp_path):
    def gradient(step):
        return xp.random.default_rng(step).normal(size=(5, 3)).astype(np.float32)

    start = rng.normal(size=(5, 3)).astype(np.float32)
    make = RULES[name][0]
    model = Chain(layer=model_of(W=start, unused=xp.ones(2, np.float32)))
    optimizer = make().setup(model)
    for step in range(6):
        if step == 3:
            optimizer.new_epoch()
            if "lr" in optimizer.ranges:
                optimizer.lr = 0.123
            save_npz(tmp_path / "optimizer", optimizer)
            saved = copy.deepcopy(model)
        model.layer.W.grad = gradient(step)
        optimizer.update()
    other = make().setup(saved)
    load_npz(tmp_path / "optimizer", other)
    assert (other.t, other.epoch) == (3, 1)
    for step in range(3, 6):
        saved.layer.W.grad = gradient(step)
        other.update()
    assert saved.layer.W.array.tobytes() == model.layer.W.array.tobytes()


def test_hyperparameters_are_numbers_of_python_as_in_a_file(rng):
    gradient = rng.normal(size=(5, 3)).astype(np.float32)
    for lr in (np.float64(0.013), np.float32(0.013), xp.array(0.013), 0.013, 1):
        optimizer = optimizers.RMSprop(0.5).setup(model_of(W=xp.ones((5, 3))))
        optimizer.lr = lr
        optimizer.target.W.grad = gradient.astype(float)
        optimizer.update()
        assert type(optimizer.lr) is float
        assert optimizer.lr == lr


def test_what_is_frozen_is_that_of_the_file(tmp_path):
    def make():
        layers = {name: model_of(W=xp.ones(2)) for name in ("first", "second")}
        return optimizers.SGD().setup(Chain(**layers))

    saved, loaded = make(), make()
    saved.target["first"].disable_update()
    loaded.target["second"].disable_update()
    save_npz(tmp_path / "optimizer", saved)
    load_npz(tmp_path / "optimizer", loaded)
    links = dict(loaded.target.namedlinks())
    assert {path: link.update_enabled for path, link in links.items()} == {
        "/": True,
        "/first": False,
        "/second": True,
    }


def test_a_file_that_does_not_say_what_is_frozen_leaves_it(tmp_path):
    optimizer = optimizers.SGD().setup(model_of(W=xp.ones(2)))
    state = {"class": "SGD", "t": 3, "epoch": 1, "lr": 0.5, "steps": {}}

    class Old:
        def serialize(self, s):
            for name, value in state.items():
                s(name, value)

    save_npz(tmp_path / "optimizer", Old())
    optimizer.target.disable_update()
    load_npz(tmp_path / "optimizer", optimizer)
    assert optimizer.lr == 0.5
    assert not optimizer.target.update_enabled


class TestUpdate:
    def test_computes_the_gradients_of_a_loss_function(self):
        model = model_of(W=xp.array([1.0, 2.0]))
        model.W.grad = xp.array([100.0, 100.0])
        optimizer = optimizers.SGD(0.5).setup(model)

        def loss(x, *, factor):
            return (model.W * x * factor).sum()

        optimizer.update(loss, Variable(xp.array([1.0, 3.0])), factor=2.0)
        assert xp.array_equal(model.W.array, [0.0, -1.0])
        assert optimizer.t == 1

    @one_device("a device is not waited for")
    def test_a_loss_that_is_not_finite_changes_nothing(self):
        model = model_of(W=xp.ones(2))
        optimizer = optimizers.SGD(0.5).setup(model)
        with pytest.raises(
            NonFiniteError, match="the loss is nan; nothing was updated"
        ):
            optimizer.update(lambda: (model.W * math.nan).sum())
        assert xp.array_equal(model.W.array, [1, 1])
        assert optimizer.t == 0

    def test_parameters_without_gradient_or_values_are_skipped(self):
        model = model_of(W=xp.ones(2), unused=xp.ones(2))
        with model.init_scope():
            model.lazy = Parameter(1.0)
        optimizer = optimizers.Adam().setup(model)
        model.W.grad = xp.ones(2)
        optimizer.update()
        assert (model.W.array < 1).all()
        assert xp.array_equal(model.unused.array, [1, 1])

    def test_each_parameter_counts_its_own_updates(self):
        model = model_of(W=xp.ones(1), late=xp.ones(1))
        optimizer = optimizers.Adam().setup(model)
        model.W.grad = xp.ones(1)
        for _ in range(3):
            optimizer.update()
        model.late.grad = xp.ones(1)
        optimizer.update()
        # Adam's first step is lr, whatever the size of the gradient.
        assert float(model.late.array[0]) == pytest.approx(1 - 0.001)

    def test_frozen_links_do_not_change(self):
        model = Chain(a=model_of(W=xp.ones(1)), b=model_of(W=xp.ones(1)))
        model.a.disable_update()
        for param in model.params():
            param.grad = xp.ones(1)
        optimizers.SGD(0.5).setup(model).update()
        assert (model.a.W.array, model.b.W.array) == (1.0, 0.5)

    def test_a_shared_parameter_is_changed_once(self):
        model = Chain(a=model_of(W=xp.ones(1)), b=Link())
        with model.b.init_scope():
            model.b.W = model.a.W
        model.a.W.grad = xp.ones(1)
        optimizers.SGD(0.25).setup(model).update()
        assert model.a.W.array == 0.75

    def test_arrays_of_any_layout_and_size_are_changed(self, rng):
        values = rng.normal(size=(6, 4))
        model = model_of(
            transposed=values.T, strided=values.copy()[::2], empty=xp.zeros((0, 3))
        )
        expected = {path: p.array - 0.5 for path, p in model.namedparams()}
        for param in model.params():
            param.grad = xp.ones(param.shape)
        optimizers.SGD(0.5).setup(model).update()
        for path, param in model.namedparams():
            xp.testing.assert_array_equal(param.array, expected[path])

    def test_a_pending_clip_factor_is_applied(self):
        for name, (make, _) in RULES.items():
            clipped, plain = model_of(W=xp.ones(3)), model_of(W=xp.ones(3))
            clipped.W.grad, plain.W.grad = xp.full(3, 4.0), xp.full(3, 2.0)
            clipped.W.total.scale(0.5)
            for model in (clipped, plain):
                make().setup(model).update()
            xp.testing.assert_array_equal(clipped.W.array, plain.W.array, name)

    def test_the_gradient_itself_is_not_changed(self):
        for make, _ in RULES.values():
            model = model_of(W=xp.ones(3))
            model.W.grad = xp.full(3, 4.0)
            make().setup(model).update()
            assert xp.array_equal(model.W.grad, [4, 4, 4])

    def test_setup_starts_anew(self):
        model = model_of(W=xp.ones(1))
        optimizer = optimizers.MomentumSGD(1.0).setup(model)
        model.W.grad = xp.ones(1)
        optimizer.update()
        optimizer.setup(model)
        optimizer.update()
        assert (optimizer.t, model.W.array[0]) == (1, -1.0)


class TestAveragedSGD:
    def test_averages_all_values_since_start(self):
        model = model_of(W=xp.zeros(1))
        optimizer = optimizers.ASGD(1.0, start=2).setup(model)
        model.W.grad = -xp.ones(1)
        with optimizer.averaged():
            assert model.W.array == 0.0
        for _ in range(5):
            optimizer.update()
        with optimizer.averaged():
            assert model.W.array == 4
        assert model.W.array == 5
        optimizer.start = optimizer.t
        optimizer.update()
        with optimizer.averaged():
            assert model.W.array == 6

    def test_values_come_back_after_an_error(self):
        model = model_of(W=xp.zeros(1))
        optimizer = optimizers.ASGD(1.0).setup(model)
        model.W.grad = -xp.ones(1)
        optimizer.update()
        optimizer.update()
        with pytest.raises(KeyError), optimizer.averaged():
            raise KeyError
        assert model.W.array == 2

    def test_rows_stay_sparse_before_averaging_only(self):
        optimizer = optimizers.ASGD(start=1).setup(model_of(W=xp.ones(1)))
        assert optimizer.skips_absent_rows
        optimizer.t = 2
        assert not optimizer.skips_absent_rows


class TestOptimizersOfOnesOwn:
    def test_a_rule_names_its_states_and_hyperparameters(self):
        @dataclass(eq=False)
        class Momentum(Optimizer):
            rate: float = 0.5
            states = {"v": 1.0}

            @staticmethod
            def rule(p, g, v, rate):
                v += g
                p -= rate * v

        model = model_of(W=xp.zeros(2))
        optimizer = Momentum().setup(model)
        for _ in range(2):
            model.W.grad = xp.array([1.0, 3.0])
            optimizer.update()
        assert xp.array_equal(model.W.array, [-2.5, -5.5])
        with pytest.raises(ValueError, match="Momentum: rate is -1; use a number >= 0"):
            optimizer.rate = -1

    def test_a_whole_parameter_at_a_time(self):
        @dataclass(eq=False)
        class Normalized(Optimizer):
            lr: float

            def update_param(self, param, total, state):
                gradient = total.dense()
                param.array -= self.lr * gradient / xp.linalg.norm(gradient)

        model = model_of(W=xp.zeros(2))
        model.W.grad = xp.array([3.0, -4.0])
        Normalized(0.5).setup(model).update()
        xp.testing.assert_allclose(model.W.array, [-0.3, 0.4])

    def test_a_constructor_of_ones_own(self):
        class Half(optimizers.SGD):
            def __init__(self, twice):
                super().__init__(twice / 2)

        assert Half(3).setup(model_of(W=xp.ones(1))).lr == 1.5


class TestErrors:
    def test_hyperparameters_out_of_range(self):
        with pytest.raises(ValueError, match="SGD: lr is nan; use a number >= 0$"):
            optimizers.SGD(lr=math.nan)
        with pytest.raises(ValueError, match="Adam: lr is -1; use a number >= 0"):
            optimizers.Adam(lr=-1)
        with pytest.raises(
            TypeError, match="Adam has no argument 'alpha'; it takes: lr,"
        ):
            optimizers.Adam(alpha=0.1)
        for use in (lambda a: a.alpha, lambda a: setattr(a, "alpha", 0.1)):
            with pytest.raises(AttributeError, match="learning rate lr, not alpha"):
                use(optimizers.Adam())
        with pytest.raises(ValueError, match="beta1 is 1.0; use a number >= 0 and < 1"):
            optimizers.Adam(beta1=1.0)
        optimizer = optimizers.SGD().setup(model_of(W=xp.ones(1)))
        for bad in (-0.1, "fast", xp.ones(2)):
            with pytest.raises(ValueError, match="SGD: lr is "):
                optimizer.lr = bad
        assert optimizer.lr == 0.01

    @one_device("no arrays")
    def test_calls_before_setup(self):
        with pytest.raises(RuntimeError, match=r"SGD.update before setup: call optimi"):
            optimizers.SGD().update()
        with pytest.raises(RuntimeError, match=r"SGD.serialize before setup"):
            optimizers.SGD().serialize(None)
        with pytest.raises(TypeError, match=r"SGD.setup takes a link, not a list"):
            optimizers.SGD().setup([])

    @one_device("no arrays")
    def test_model_without_parameters_is_refused(self):
        with pytest.raises(ValueError, match=r"SGD.setup: Chain has no parameters to"):
            optimizers.SGD().setup(Chain())
        waiting = Chain(layer=Linear(None, 2, nobias=True))
        assert optimizers.SGD().setup(waiting).target is waiting

    def test_a_rule_that_is_missing(self):
        model = model_of(W=xp.ones(1))
        model.W.grad = xp.ones(1)
        with pytest.raises(NotImplementedError, match="neither rule nor update_param"):
            Optimizer().setup(model).update()

    def test_a_hook_may_replace_remove_and_add_gradients(self):
        model = model_of(a=xp.zeros(1), b=xp.zeros(1), c=xp.zeros(1))
        model.a.grad, model.b.grad = xp.ones(1), xp.ones(1)
        optimizer = optimizers.SGD(1.0).setup(model)

        def hook(optimizer):
            assert [path for path, _, _ in optimizer.updates] == ["/a", "/b"]
            model.a.grad, model.b.grad, model.c.grad = 2 * xp.ones(1), None, xp.ones(1)

        optimizer.add_hook(hook)
        optimizer.update()
        assert [param.array[0] for param in model.params()] == [-2, 0, -1]

    def test_a_hook_may_freeze_and_thaw(self):
        model = Chain(a=model_of(W=xp.zeros(1)), b=model_of(W=xp.zeros(1)))
        model.b.disable_update()
        optimizer = optimizers.SGD(1.0).setup(model)

        def hook(optimizer):
            model.a.disable_update()
            model.b.update_enabled = True

        optimizer.add_hook(hook)
        for link in (model.a, model.b):
            link.W.grad = xp.ones(1)
        optimizer.update()
        assert [param.array[0] for param in model.params()] == [0, -1]

    def test_hooks(self):
        optimizer = optimizers.SGD().setup(model_of(W=xp.ones(1)))
        calls = []
        optimizer.add_hook(calls.append, "log")
        optimizer.update()
        assert calls == [optimizer]
        with pytest.raises(ValueError, match="there is a hook 'log' already"):
            optimizer.add_hook(print, "log")
        with pytest.raises(KeyError, match="no hook 'x'; there are: log"):
            optimizer.remove_hook("x")
        optimizer.remove_hook("log")
        optimizer.update()
        assert len(calls) == 1
        with pytest.raises(TypeError, match="a hook is callable; a int is not"):
            optimizer.add_hook(3)

    def test_state_of_hooks_is_saved(self, tmp_path):
        class Hook:
            name = "hook"
            count = 0

            def __call__(self, optimizer):
                self.count += 1

            def serialize(self, s):
                self.count = s("count", self.count)

        optimizer, other = [
            optimizers.SGD().setup(model_of(W=xp.ones(1))) for _ in range(2)
        ]
        optimizer.add_hook(Hook())
        other.add_hook(Hook())
        optimizer.update()
        save_npz(tmp_path / "file", optimizer)
        load_npz(tmp_path / "file", other)
        assert other.hooks["hook"].count == 1

    def test_files_of_another_optimizer_or_model(self, tmp_path):
        model = model_of(W=xp.ones(1))
        optimizer = optimizers.Adam().setup(model)
        model.W.grad = xp.ones(1)
        optimizer.update()
        save_npz(tmp_path / "adam", optimizer)
        with pytest.raises(SnapshotError, match="optimizer Adam, but this is SGD"):
            load_npz(tmp_path / "adam", optimizers.SGD().setup(model))
        with pytest.raises(
            SnapshotError, match=r"parameter /W \(update 1\), which the"
        ):
            load_npz(tmp_path / "adam", optimizers.Adam().setup(model_of(V=xp.ones(1))))
        lazy = Link()
        lazy.add_param("W")
        with pytest.raises(SnapshotError, match="/W has no values yet; load the model"):
            load_npz(tmp_path / "adam", optimizers.Adam().setup(lazy))
        with pytest.raises(SnapshotError, match="W/m"):
            load_npz(tmp_path / "adam", optimizers.Adam().setup(model_of(W=xp.ones(2))))
