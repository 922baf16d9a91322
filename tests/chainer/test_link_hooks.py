import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import links as L
from dyrnn.chainer.link_hooks import SpectralNormalization, WeightStandardization


def call(link, n=3):
    return link(np.eye(n, dtype=np.float32)).array


def test_the_largest_singular_value_becomes_the_factor():
    link = L.Linear(3, 4, nobias=True)
    parameter, values = link.W, link.W.array.copy()
    link.add_hook(SpectralNormalization(n_power_iteration=50, factor=2))
    sigmas = np.linalg.svd(call(link), compute_uv=False)
    np.testing.assert_allclose(sigmas[0], 2, rtol=1e-3)
    assert link.W is parameter and "W_u" in link._persistent
    np.testing.assert_array_equal(parameter.array, values)


def test_the_estimate_goes_on_while_training_only():
    link = L.Linear(3, 4)
    hook = SpectralNormalization(use_gamma=True)
    link.add_hook(hook)
    before = link.W_u.copy()
    with chainer.using_config("train", False):
        call(link)
    np.testing.assert_array_equal(link.W_u, before)
    y = call(link)
    after, v = link.W_u.copy(), hook.v
    assert (after != before).any()
    with chainer.using_config("in_recomputing", True):
        np.testing.assert_allclose(call(link), y, rtol=1e-4)
    np.testing.assert_array_equal(link.W_u, after)
    assert hook.v is v


def test_gradients_arrive_at_weight_and_gamma():
    link = L.Linear(3, 2)
    link.add_hook(SpectralNormalization(use_gamma=True))
    np.testing.assert_allclose(
        link.gamma.array, np.linalg.norm(link.W.array, 2), rtol=1e-5
    )
    link.cleargrads()
    y = link(np.ones((2, 3), "f"))
    y.grad = np.ones_like(y.array)
    y.backward()
    assert link.W.grad.any() and link.gamma.grad.any()
    link.delete_hook("SpectralNormalization")
    assert not hasattr(link, "gamma") and not hasattr(link, "W_u")


def test_standardized_weights_have_mean_0_and_variance_1():
    link = L.Linear(None, 4, nobias=True)
    link.add_hook(WeightStandardization(eps=1e-9, name="own name"))
    W = call(link, 5).T
    np.testing.assert_allclose(W.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(W.var(1), 1, rtol=1e-3)
    link.delete_hook("own name")
    np.testing.assert_array_equal(call(link, 5).T, link.W.array)


def test_hooks_on_weights_say_what_is_wrong():
    with pytest.raises(ValueError, match="Weight 'w' does not exist"):
        L.Linear(2, 2).add_hook(WeightStandardization(weight_name="w"))
    with pytest.raises(ValueError, match="Expect W.shape.0. > 0"):
        L.Linear(2, 0).add_hook(SpectralNormalization())
    with pytest.raises(NotImplementedError, match="not supposed to be used as"):
        SpectralNormalization().__enter__()
