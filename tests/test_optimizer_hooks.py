"""What hooks do to gradients."""

import math

import numpy as np
import pytest

import dyrnn.random
from dyrnn import kernels, optimizers
from dyrnn.backend import to_cpu
from dyrnn.engine.gradients import Rows, Sum
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import NonFiniteError
from dyrnn.link import Chain, Link
from dyrnn.optimizers.hooks import (
    GradientClipping,
    GradientHardClipping,
    GradientNoise,
    GradientRescaling,
    Lasso,
    WeightDecay,
    clip_by_global_norm,
)
from tests.arrays import every_device, one_device, xp

pytestmark = every_device


def setup(*gradients, device=None, values=1.0):
    """Return an optimizer of a model whose parameters p0, p1, ... have gradients."""
    model = Link()
    with model.init_scope():
        for i, gradient in enumerate(gradients):
            array = xp.full(gradient.shape, values, gradient.dtype)
            setattr(model, f"p{i}", Parameter(array))
            getattr(model, f"p{i}").grad = gradient.copy()
    if device is not None:
        model.to_device(device)
    return optimizers.SGD(1.0).setup(model)


def set_rows(param, ids, values):
    param._gradient = Sum(Rows(ids, values, param.shape))


def grads(optimizer):
    return [param.grad for param in optimizer.target.to_cpu().params()]


class TestGradientClipping:
    def test_scales_all_gradients_by_one_factor(self, rng, device):
        gradients = [rng.normal(size=(30, 20)), rng.normal(size=7)]
        norm = math.sqrt(sum((g**2).sum() for g in gradients))
        optimizer = setup(*gradients, device=device)
        GradientClipping(2.0)(optimizer)
        for found, g in zip(grads(optimizer), gradients, strict=True):
            np.testing.assert_allclose(found, g * (2.0 / norm), rtol=1e-12)

    def test_leaves_small_gradients_as_they_are(self, rng, device):
        gradients = [rng.normal(size=5).astype(np.float32), np.zeros(2, np.float32)]
        optimizer = setup(*gradients, device=device)
        for threshold in (1000.0, np.linalg.norm(gradients[0].astype(float)) + 1e-9):
            GradientClipping(threshold)(optimizer)
        for found, g in zip(grads(optimizer), gradients, strict=True):
            assert found.tobytes() == g.tobytes()

    def test_norm_of_zero_is_no_division(self, device):
        optimizer = setup(np.zeros(3), device=device)
        GradientClipping(1.0)(optimizer)
        assert np.array_equal(grads(optimizer)[0], [0, 0, 0])

    def test_no_gradients_at_all(self):
        optimizer = setup(xp.zeros(3))
        optimizer.target.cleargrads()
        GradientClipping(1.0)(optimizer)
        assert optimizer.target.p0.grad is None

    @pytest.mark.parametrize("size", [1e20, 1e-25])
    def test_squares_that_leave_the_type_are_summed_in_float64(self, size):
        optimizer = setup(xp.full(4, size, np.float32))
        GradientClipping(size / 4)(optimizer)
        xp.testing.assert_allclose(grads(optimizer)[0], size / 8, rtol=1e-6)

    def test_norm_is_exact_for_many_elements(self, rng):
        g = rng.normal(size=1_000_000).astype(np.float32) + 5
        (square,) = kernels.squared_norms([g])
        expected = float((g.astype(float) ** 2).sum())
        assert float(square) == pytest.approx(expected, rel=1e-6)

    def test_half_precision(self):
        optimizer = setup(xp.full(4, 400, np.float16))
        GradientClipping(8.0)(optimizer)
        assert grads(optimizer)[0].tolist() == [4, 4, 4, 4]

    def test_sparse_gradients_stay_sparse(self, device):
        optimizer = setup(np.zeros((5, 2)), device=device)
        p = optimizer.target.p0
        set_rows(p, device.send(np.array([1, 1])), device.send(np.ones((2, 2))))
        GradientClipping(1.0)(optimizer)
        assert isinstance(p.total.settled()[0], Rows) or device.name != "@numpy"
        expected = np.zeros((5, 2))
        expected[1] = 1 / math.sqrt(2)  # two rows of one id add up to (2, 2)
        np.testing.assert_allclose(grads(optimizer)[0], expected)

    def test_twice_is_once(self, rng):
        optimizer = setup(rng.normal(size=5))
        clip = GradientClipping(0.5)
        clip(optimizer)
        clip(optimizer)
        assert np.linalg.norm(grads(optimizer)[0]) == pytest.approx(0.5)

    def test_frozen_parameters_do_not_count(self):
        model = Chain(a=Link(), b=Link())
        for link in model.children():
            link.add_param("W", (1,), 0.0)
            link.W.grad = xp.full(1, 3.0, np.float32)
        model.a.disable_update()
        GradientClipping(3.0)(optimizers.SGD().setup(model))
        assert model.b.W.grad == 3.0

    @one_device("a device is not waited for")
    @pytest.mark.parametrize(
        "bad, word",
        [(math.nan, "NaN"), (math.inf, "infinity"), (-math.inf, "infinity")],
    )
    def test_non_finite_gradients_raise_before_anything_changes(self, bad, word):
        optimizer = setup(xp.ones(2), xp.array([[1.0, bad]]))
        optimizer.add_hook(GradientClipping(1.0))
        message = rf"parameter /p1 \(1, 2\) has {word}; nothing was updated"
        with pytest.raises(NonFiniteError, match=message):
            optimizer.update()
        assert optimizer.t == 0
        assert xp.array_equal(optimizer.target.p0.array, [1, 1])

    @one_device("no arrays")
    @pytest.mark.parametrize("threshold", [0, -1, math.nan, math.inf])
    def test_threshold_must_be_positive(self, threshold):
        with pytest.raises(ValueError, match=f"threshold is {threshold}; use a num"):
            GradientClipping(threshold)
        hook = GradientClipping(1.0)
        with pytest.raises(ValueError, match="threshold is"):
            hook.threshold = threshold
        assert hook.threshold == 1.0


class TestClippingOnADevice:
    """What is different where waiting for the device would cost time."""

    @pytest.fixture
    def device(self):
        return dyrnn.backend.get_device("@strict")

    def test_nothing_waits(self, rng, device, synchronisations):
        optimizer = setup(rng.normal(size=(3, 4)), rng.normal(size=3), device=device)
        optimizer.add_hook(GradientClipping(0.1))
        with synchronisations() as count:
            for _ in range(3):
                optimizer.update()
        assert count() == 0

    def test_non_finite_gradients_become_zero_and_are_told_later(self, device):
        optimizer = setup(np.ones(2), np.ones(2), device=device)
        optimizer.add_hook(GradientClipping(10.0, check_interval=4))
        model = optimizer.target
        model.p1.grad = device.send(np.array([1.0, math.nan]))
        optimizer.update()
        model.p0.grad = device.send(np.ones(2))
        model.p1.grad = device.send(np.zeros(2))
        optimizer.update()
        optimizer.update()
        with pytest.raises(
            NonFiniteError, match=r"/p1 \(2,\) was NaN or infinite within the last 4"
        ):
            optimizer.update()
        model.to_cpu()
        assert np.array_equal(model.p0.array, [-1, -1])
        assert np.array_equal(model.p1.array, [1, 1])


class TestGradientRescaling:
    @pytest.mark.parametrize(
        ("norm", "expected"), [(24.0, 24.0), (26.0, 5 * 26**0.5), (1e4, 500.0)]
    )
    def test_the_norm_becomes_its_root_times_the_threshold(
        self, norm, expected, device
    ):
        vectors = np.array([0.6 * norm, 0]), np.array([0.8 * norm])
        optimizer = setup(*vectors, device=device)
        GradientRescaling(5)(optimizer)
        assert np.linalg.norm(np.concatenate(grads(optimizer))) == (
            pytest.approx(expected)
        )

    @one_device("a device is not waited for")
    def test_what_is_not_finite_is_refused(self):
        optimizer = setup(xp.array([1.0, np.nan]))
        with pytest.raises(NonFiniteError, match="/p0 .* has NaN"):
            GradientRescaling(5)(optimizer)
        with pytest.raises(ValueError, match="GradientRescaling: threshold is 0"):
            GradientRescaling(0)


def test_clip_by_global_norm_returns_new_arrays_and_the_norm(xp):
    arrays = [xp.asarray([3.0]), None, xp.asarray([[4.0], [12.0]])]
    clipped, norm = clip_by_global_norm(arrays, 6.5)
    assert norm == 13
    assert clipped[0].tolist() == [1.5] and clipped[1] is None
    assert clipped[2].tolist() == [[2], [6]] and arrays[0].tolist() == [3]
    same, _ = clip_by_global_norm(arrays[:1], 6.5)
    assert same[0].tolist() == [3]
    with pytest.raises(NonFiniteError, match="norm of the arrays is inf"):
        clip_by_global_norm([xp.asarray([np.inf])], 1)
    with pytest.raises(ValueError, match="limit is 0"):
        clip_by_global_norm(arrays, 0)
    one, _ = clip_by_global_norm((x for x in arrays[:1]), 1.0)
    assert len(one) == 1
    for wrong in (arrays[0], {"W": arrays[0]}, [xp.asarray([3, 4])], [[3.0, 4.0]]):
        with pytest.raises(
            TypeError, match="clip_by_global_norm: (arrays is|an array)"
        ):
            clip_by_global_norm(wrong, 1)
    with pytest.raises(TypeError, match="limit is '5'; use a number"):
        clip_by_global_norm(arrays, "5")


def test_the_global_norm_is_tensorflows(xp):
    """The norm of a tutorial: 82.9156, the root of 6875."""
    arrays = [xp.asarray(a, np.float32) for a in ([[75.0]], [35.0, 5.0])]
    clipped, norm = clip_by_global_norm(arrays, 5)
    assert f"{norm:.4f}" == "82.9156"
    found = [to_cpu(a) for a in clipped]
    np.testing.assert_allclose(found[0], [[75 * 5 / norm]], rtol=1e-6)
    np.testing.assert_allclose(found[1], [35 * 5 / norm, 25 / norm], rtol=1e-6)


class TestGradientHardClipping:
    def test_limits_each_element(self, device):
        optimizer = setup(np.array([-3.0, 0.5, 3.0]), device=device)
        GradientHardClipping(-1, 2)(optimizer)
        assert np.array_equal(grads(optimizer)[0], [-1, 0.5, 2])

    def test_sparse_gradients_stay_sparse_where_zero_is_allowed(self):
        for limits, absent in (((-1, 2), 0), ((1, 2), 1)):
            optimizer = setup(xp.zeros((3, 1)))
            set_rows(optimizer.target.p0, xp.array([1]), xp.array([[5.0]]))
            GradientHardClipping(*limits)(optimizer)
            is_sparse = isinstance(optimizer.target.p0.total.settled()[0], Rows)
            assert is_sparse == (absent == 0 and xp.ndarray is np.ndarray)
            assert grads(optimizer)[0].tolist() == [[absent], [2], [absent]]

    @one_device("no arrays")
    def test_limits_in_order(self):
        with pytest.raises(ValueError, match="lower 2 must not be above upper 1"):
            GradientHardClipping(2, 1)


def test_weight_decay_and_lasso_add_to_the_gradients(device):
    for hook, expected in ((WeightDecay(0.5), 1 - 1.0), (Lasso(0.5), 1 - 0.5)):
        optimizer = setup(np.ones(2), device=device, values=-2.0)
        hook(optimizer)
        assert np.array_equal(grads(optimizer)[0], [expected] * 2)


def test_weight_decay_reaches_rows_without_gradient():
    optimizer = setup(xp.zeros((3, 1)), values=2.0)
    set_rows(optimizer.target.p0, xp.array([1]), xp.array([[5.0]]))
    WeightDecay(0.5)(optimizer)
    assert grads(optimizer)[0].tolist() == [[1], [6], [1]]


def test_noise_has_its_variance_and_repeats(device):
    found = []
    for t in (0, 9):
        dyrnn.random.seed(1)
        optimizer = setup(np.zeros(20000, np.float32), device=device)
        optimizer.t = t
        GradientNoise(0.25)(optimizer)
        found.append(grads(optimizer)[0])
        assert found[-1].var() == pytest.approx(0.25 / (1 + t) ** 0.55, rel=0.05)
    np.testing.assert_allclose(found[0] / 10**0.275, found[1], rtol=1e-5)


@one_device("no arrays")
@pytest.mark.parametrize("cls", [WeightDecay, Lasso, GradientNoise])
def test_rates_must_not_be_negative(cls):
    for rate in (-1, math.nan):
        with pytest.raises(ValueError, match=f"{cls.__name__}: .*{rate}.*; use"):
            cls(rate)
