"""Update rules, hyperparameters, hooks and loss scales."""

import copy
import pickle

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import optimizer_hooks, optimizers
from dyrnn.chainer.optimizer import (
    GradientMethod,
    Hyperparameter,
    Optimizer,
    UpdateRule,
    WeightDecay,
)
from dyrnn.chainer.serializers import NpzDeserializer, load_npz, save_npz
from tests.chainer.models import Model, examples

ALL = [getattr(optimizers, name) for name in optimizers.__all__]


def gradients(model, seed):
    rng = np.random.default_rng(seed)
    for param in model.params():
        param.grad = rng.normal(size=param.shape).astype(param.dtype)


def batch():
    return chainer.dataset.concat_examples(examples()[:])


@pytest.mark.parametrize("method", ALL)
def test_loss_goes_down(method):
    model = Model()
    optimizer = method(lr=0.1) if "lr" in vars(method()) else method()
    optimizer.setup(model)
    x, t = batch()
    first = float(model(x, t).array)
    for _ in range(20):
        optimizer.update(model, x, t)
    assert float(model(x, t).array) < first
    assert optimizer.t == 20


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("method", ALL)
def test_update_keeps_the_type_and_the_array(method, dtype):
    options = (
        {"eps": 1e-4} if method in (optimizers.RMSprop, optimizers.SMORMS3) else {}
    )
    model = Model(dtype)
    arrays = [param.array for param in model.params()]
    optimizer = method(**options).setup(model)
    gradients(model, 0)
    optimizer.update()
    for param, array in zip(model.params(), arrays, strict=True):
        assert (
            param.array is array and array.dtype == dtype and np.isfinite(array).all()
        )


@pytest.mark.parametrize("method", ALL)
def test_state_is_saved_and_loaded(method, tmp_path):
    model, other = Model(), Model()
    a, b = method().setup(model), method().setup(other)
    for seed in range(3):
        gradients(model, seed)
        a.update()
    save_npz(tmp_path / "optimizer.npz", a)
    load_npz(tmp_path / "optimizer.npz", b)
    assert b.t == 3
    other.copyparams(model)
    for rule in (param.update_rule for param in other.params()):
        if hasattr(rule, "beta_power"):  # M-SVAG does not save it, in Chainer either
            rule.beta_power = model.l.W.update_rule.beta_power
    for net, optimizer in ((model, a), (other, b)):
        gradients(net, 9)
        optimizer.update()
    for p, q in zip(model.params(), other.params(), strict=True):
        np.testing.assert_array_equal(p.array, q.array)


@pytest.mark.parametrize("method", ALL)
def test_hyperparameters_are_arguments_attributes_and_defaults_of_rules(method):
    names = list(method._arguments.parameters)
    optimizer = method(0.25).setup(Model())
    rule = optimizer.target.l.W.update_rule
    assert getattr(optimizer, names[0]) == 0.25
    setattr(optimizer, names[0], 0.5)
    assert getattr(rule.hyperparam, names[0]) == 0.5
    setattr(rule.hyperparam, names[0], 0.75)
    assert getattr(optimizer, names[0]) == 0.5
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        method(nonsense=1)


def test_rules_take_hyperparameters_of_their_own():
    from dyrnn.chainer.optimizers.rules import MomentumSGDRule

    parent = Hyperparameter()
    parent.lr, parent.momentum = 0.1, 0.2
    rule = MomentumSGDRule(parent, momentum=0.7)
    assert (rule.hyperparam.lr, rule.hyperparam.momentum) == (0.1, 0.7)
    assert rule.hyperparam.parent is parent
    assert repr(rule.hyperparam) == "Hyperparameter(lr=0.1, momentum=0.7)"
    assert MomentumSGDRule().hyperparam.get_dict() == {"lr": 0.01, "momentum": 0.9}
    with pytest.raises(AttributeError, match="_parent is not set up yet"):
        Hyperparameter.__new__(Hyperparameter).lr  # noqa: B018


def test_a_subclass_may_have_arguments_of_its_own():
    class Half(optimizers.SGD):
        def __init__(self, twice):
            super().__init__(lr=twice / 2)

    assert Half(3.0).lr == 1.5
    assert pickle.loads(pickle.dumps(optimizers.Adam(0.5))).alpha == 0.5
    assert copy.deepcopy(optimizers.AMSGrad()).amsgrad


def test_adam_knows_its_step_only_after_the_first():
    optimizer = optimizers.AdaBound(alpha=0.1).setup(Model())
    rule = optimizer.target.l.W.update_rule
    with pytest.raises(RuntimeError, match="Can't determine the learning rate of Adam"):
        optimizer.alpha_t  # noqa: B018
    with pytest.raises(RuntimeError, match="Can't determine the bounds of AdaBound"):
        rule.bounds  # noqa: B018
    gradients(optimizer.target, 0)
    optimizer.update()
    with pytest.warns(DeprecationWarning, match="Adam.lr has been renamed"):
        assert optimizer.lr == pytest.approx(0.1 * 0.001**0.5 / 0.1)
    with pytest.warns(DeprecationWarning, match="AdamRule.lr has been renamed"):
        assert rule.lr == rule.alpha_t
    assert rule.bounds[0] < 0.1 < rule.bounds[1]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (optimizers.Adam, "eps of Adam optimizer is too small for float32"),
        (optimizers.RMSprop, "eps of RMSprop optimizer is too small for float32"),
    ],
)
def test_eps_that_vanishes_is_refused(method, message):
    optimizer = method(eps=1e-60).setup(Model())
    gradients(optimizer.target, 0)
    with pytest.raises(ValueError, match=message):
        optimizer.update()


def test_weight_decay_of_adamw_does_not_pass_the_moments():
    model = Model()
    before = model.l.W.array.copy()
    optimizer = optimizers.AdamW(weight_decay_rate=0.25).setup(model)
    for param in model.params():
        param.grad = np.zeros_like(param.array)
    optimizer.update()
    np.testing.assert_allclose(model.l.W.array, 0.75 * before)


def test_hooks_run_by_timing_in_order():
    calls = []

    def hook(name, timing, for_each=False):
        def call(*args):
            calls.append((name, len(args)))

        call.timing, call.name, call.call_for_each_param = timing, name, for_each
        return call

    optimizer = optimizers.SGD().setup(Model())
    optimizer.add_hook(hook("b", "post"))
    optimizer.add_hook(hook("a", "pre"))
    optimizer.add_hook(hook("c", "pre", for_each=True))
    rule = optimizer.target.l.W.update_rule
    rule.add_hook(hook("rule", "pre"))
    rule.add_hook(hook("named", "pre"), name="after", timing="post")
    gradients(optimizer.target, 0)
    optimizer.update()
    assert calls == [
        ("a", 1),
        ("c", 2),
        ("c", 2),
        ("rule", 2),
        ("named", 2),
        ("b", 1),
    ]
    calls.clear()
    optimizer.remove_hook("a")
    optimizer.remove_hook("b")
    rule.remove_hook("rule")
    rule.remove_hook("after")
    optimizer.update()
    assert calls == [("c", 2)] * 2


def test_hooks_that_cannot_be_added():
    with pytest.raises(RuntimeError, match="Optimizer is not set up. Call `setup`"):
        optimizers.SGD().add_hook(print)
    with pytest.raises(RuntimeError, match="Optimizer is not set up"):
        optimizers.SGD().remove_hook("x")
    with pytest.raises(TypeError, match="optimization target must be a link"):
        optimizers.SGD().setup(3)
    optimizer = optimizers.SGD().setup(Model())
    with pytest.raises(TypeError, match="hook function must be callable"):
        optimizer.add_hook(3)
    with pytest.raises(
        ValueError, match=r"timing must be one of \('pre', 'post', 'auto'"
    ):
        optimizer.add_hook(print, timing="late")
    optimizer.add_hook(print)
    with pytest.raises(KeyError, match='hook "print" already exists'):
        optimizer.add_hook(print)
    with pytest.raises(
        ValueError, match="the name of the hook function is not specified"
    ):
        optimizer.add_hook(type("Nameless", (), {"__call__": print})())
    with pytest.raises(ValueError, match="timing must be either 'pre' or 'post'"):
        optimizer.call_hooks("auto")

    def odd(optimizer):
        pass

    odd.timing = "now"
    with pytest.warns(UserWarning, match="defaulting timing to 'pre'"):
        optimizer.add_hook(odd)


def apply(hook, W=(3.0, -4.0), g=(6.0, 8.0), setup=None):
    link = chainer.Link()
    with link.init_scope():
        link.W = chainer.Parameter(np.array(W, np.float32))
    optimizer = optimizers.SGD(0.0).setup(link)
    optimizer.add_hook(hook)
    if setup:
        setup(link)
    link.W.grad = None if g is None else np.array(g, np.float32)
    optimizer.update()
    return link.W.grad


def test_hooks_change_gradients():
    hooks = optimizer_hooks
    np.testing.assert_allclose(apply(hooks.GradientClipping(5.0)), [3, 4])
    np.testing.assert_allclose(apply(hooks.GradientClipping(50.0)), [6, 8])
    np.testing.assert_allclose(apply(hooks.GradientClipping(5.0), g=None), [0, 0])
    np.testing.assert_allclose(apply(hooks.WeightDecay(0.5)), [7.5, 6])
    np.testing.assert_allclose(apply(hooks.Lasso(0.5)), [6.5, 7.5])
    np.testing.assert_allclose(apply(hooks.GradientHardClipping(-1, 7)), [6, 7])
    noisy = apply(hooks.GradientNoise(0.3))
    assert np.abs(noisy - [6, 8]).max() > 1e-4 and noisy.dtype == np.float32


def test_noise_shrinks_with_time():
    hook = optimizer_hooks.GradientNoise(1.0)
    rule = type("Rule", (), {"t": 0})()
    first = hook.noise_func(np, (4000,), np.float32, hook, rule).std()
    rule.t = 99
    later = hook.noise_func(np, (4000,), np.float32, hook, rule).std()
    assert later / first == pytest.approx(100**-0.275, rel=0.1)


def test_old_names_of_hooks_warn():
    with pytest.warns(
        DeprecationWarning, match="Use chainer.optimizer_hooks.WeightDecay"
    ):
        hook = WeightDecay(0.5)
    assert isinstance(hook, optimizer_hooks.WeightDecay) and hook.rate == 0.5
    assert WeightDecay.__name__ == "WeightDecay"


def test_version_1_did_by_hand_what_hooks_do():
    model = Model()
    optimizer = optimizers.SGD().setup(model)
    optimizer.zero_grads()
    assert not model.l.W.grad.any()
    gradients(model, 0)
    norm = optimizer.compute_grads_norm()
    optimizer.clip_grads(norm / 2)
    assert optimizer.compute_grads_norm() == pytest.approx(norm / 2)
    before = model.l.W.grad.copy()
    optimizer.weight_decay(0.5)
    np.testing.assert_allclose(
        model.l.W.grad, before + 0.5 * model.l.W.array, rtol=1e-6
    )
    optimizer.zero_grad()
    optimizer.accumulate_grads([np.ones_like(p.array) for p in model.params()])
    assert (model.l.b.grad == 1).all()


def test_epochs_are_counted_by_the_script_or_by_the_updater():
    optimizer = optimizers.SGD().setup(Model())
    optimizer.new_epoch()
    assert optimizer.epoch == 1
    with pytest.raises(RuntimeError, match="invalid new_epoch call with auto=True"):
        optimizer.new_epoch(auto=True)
    optimizer.use_auto_new_epoch = True
    with pytest.raises(RuntimeError, match="duplicated new_epoch with the updater"):
        optimizer.new_epoch()


def test_a_disabled_rule_leaves_its_parameter():
    model = Model()
    optimizer = optimizers.SGD(1.0).setup(model)
    before = model.l.W.array.copy()
    model.l.W.update_rule.enabled = False
    gradients(model, 0)
    optimizer.update()
    np.testing.assert_array_equal(model.l.W.array, before)
    assert model.l.b.array.any() and model.l.W.update_rule.t == 0


def test_parameters_without_sizes_are_left_alone():
    link = chainer.Link()
    with link.init_scope():
        link.W = chainer.Parameter()
    optimizer = optimizers.Adam().setup(link)
    link.cleargrads()
    optimizer.update()
    assert link.W.array is None and link.W.update_rule.state is None
    link.W.initialize((2,))
    link.W.grad = np.ones(2, np.float32)
    optimizer.update()
    assert set(link.W.update_rule.state) == {"m", "v"}


def test_state_of_an_unused_rule_is_loaded_by_its_keys():
    model = Model()
    optimizer = optimizers.Adam().setup(model)
    with pytest.raises(KeyError, match="l/W/m"):
        one = np.array(1)
        NpzDeserializer({"t": one, "epoch": one, "l/W/t": one}).load(optimizer)


def test_float16_is_updated_by_way_of_float32():
    tiny = np.float16(2**-12)
    link = chainer.Link()
    with link.init_scope():
        link.W = chainer.Parameter(np.ones(1, np.float16))
    optimizer = optimizers.SGD(1.0).setup(link)
    optimizer.use_fp32_update()
    for _ in range(8):
        link.W.grad = np.full(1, tiny)
        optimizer.update()
    assert link.W.array[0] == np.float16(1 - 8 * 2**-12)
    assert optimizers.SGD().setup(link).target is link


def test_loss_scale_cancels_out():
    model, plain = Model(), Model()
    x, t = batch()
    optimizer = optimizers.SGD(0.1).setup(model)
    optimizer.set_loss_scale(64.0)
    optimizer.update(model, x, t)
    optimizers.SGD(0.1).setup(plain).update(plain, x, t)
    np.testing.assert_allclose(model.l.W.array, plain.l.W.array, rtol=1e-6)


def test_dynamic_loss_scale_halves_at_a_gradient_that_is_not_finite():
    model = Model()
    optimizer = optimizers.SGD(0.1).setup(model)
    optimizer.loss_scaling(interval=10)
    gradients(model, 0)
    optimizer.update()
    assert optimizer._loss_scale == 2.0
    before = model.l.W.array.copy()
    model.l.b.grad[0] = np.inf
    with pytest.warns(
        UserWarning, match="Non finite number found in param.grad of /l/b"
    ):
        optimizer.update()
    assert optimizer._loss_scale == 1.0 and not optimizer.is_safe_to_update()
    np.testing.assert_array_equal(model.l.W.array, before)
    gradients(model, 1)
    optimizer.update()
    assert optimizer._loss_scale == pytest.approx(2**0.1)


def test_loss_scales_that_make_no_sense():
    optimizer = optimizers.SGD().setup(Model())
    with pytest.raises(ValueError, match="loss_scale must be a positive number"):
        optimizer.set_loss_scale(0)
    with pytest.raises(ValueError, match="interval must be greater than or equal to 1"):
        optimizer.loss_scaling(interval=0)


def test_use_cleargrads_is_old():
    model = Model()
    optimizer = optimizers.SGD(0.1).setup(model)
    with pytest.warns(DeprecationWarning, match="use_cleargrads is deprecated"):
        optimizer.use_cleargrads(False)
    with pytest.warns(DeprecationWarning, match="zerograds? is deprecated"):
        optimizer.update(model, *batch())


def test_base_classes_ask_for_methods():
    model = Model()
    with pytest.raises(NotImplementedError):
        Optimizer().update()
    with pytest.raises(NotImplementedError):
        GradientMethod().setup(model)
    gradients(model, 0)
    with pytest.raises(NotImplementedError):
        UpdateRule().update(model.l.W)
    with pytest.raises(RuntimeError, match="ChainerX is not available"):
        UpdateRule().update_core_chainerx(model.l.W)
