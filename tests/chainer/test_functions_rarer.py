"""Images as columns, views of memory, and losses of distances."""

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import functions as F
from dyrnn.chainer import gradient_check
from dyrnn.chainer.utils import type_check

IMAGE = np.random.default_rng(0).normal(size=(2, 1, 3, 4))


def check_gradients(function, x):
    rng = np.random.default_rng(1)
    gy, ggx = rng.normal(size=function(x).shape), rng.normal(size=x.shape)
    gradient_check.check_backward(function, x, gy)
    gradient_check.check_double_backward(lambda v: function(v) * 1, x, gy, ggx)


def test_patches_of_images():
    y = F.im2col(IMAGE, (2, 3), stride=(1, 2), pad=(0, 1))
    assert y.shape == (2, 6, 2, 2)
    np.testing.assert_array_equal(y.array[0, :, 1, 1], IMAGE[0, 0, 1:, 1:].ravel())
    assert not y.array[:, ::3, :, 0].any()  # left of the image there are zeros
    check_gradients(lambda x: F.im2col(x, 2, dilate=2, cover_all=True, pad=1), IMAGE)


def test_images_resized():
    image = np.arange(4, dtype="f").reshape(1, 1, 2, 2)
    halves = [[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]]
    np.testing.assert_array_equal(F.resize_images(image, (3, 3)).array[0, 0], halves)
    areas = F.resize_images(image, (1, 4), align_corners=False).array[0, 0]
    np.testing.assert_array_equal(areas, [[1, 1.25, 1.75, 2]])
    nearest = F.resize_images(image, (1, 3), mode="nearest").array[0, 0]
    np.testing.assert_array_equal(nearest, [[0, 0, 1]])
    options = {"atol": 1e-2, "rtol": 1e-2}
    gradient_check.check_backward(
        lambda x: F.resize_images(x, (5, 3)),
        IMAGE.astype("f"), np.ones((2, 1, 5, 3), "f"), **options
    )  # fmt: skip
    with pytest.raises(ValueError, match="mode must be 'bilinear' or 'nearest'"):
        F.resize_images(image, (3, 3), mode="cubic")
    with pytest.raises(type_check.InvalidType, match="x.dtype == "):
        F.resize_images(IMAGE, (3, 3))


def test_images_sampled_along_affine_maps():
    image = np.arange(4.0).reshape(1, 1, 2, 2)
    mirror = np.array([[[-1.0, 0, 0], [0, 1, 0]]])
    grid = F.spatial_transformer_grid(mirror, (2, 3))
    np.testing.assert_array_equal(grid.array[0, 0], [[1, 0, -1]] * 2)
    y = F.spatial_transformer_sampler(image, grid)
    np.testing.assert_allclose(y.array[0, 0], [[1, 0.5, 0], [3, 2.5, 2]])
    # One point, (2, 0): half a pixel outside, between the rows.
    grid = F.spatial_transformer_grid(mirror + [0, 0, 1], (1, 1))
    assert F.spatial_transformer_sampler(image, grid).array == (1 + 3) / 2 / 2
    far = F.spatial_transformer_sampler(image, grid + 9)
    assert far.array == 0
    places = np.random.default_rng(2).uniform(-0.9, 0.9, (2, 2, 3, 3))
    check_gradients(lambda x: F.spatial_transformer_sampler(x, places), IMAGE)
    check_gradients(lambda g: F.spatial_transformer_sampler(IMAGE, g), places)
    with pytest.raises(type_check.InvalidType, match="theta.shape.2. == 3"):
        F.spatial_transformer_grid(np.ones((1, 2, 2)), (2, 2))


def test_views_of_memory():
    x = chainer.Variable(np.arange(6.0)[::-1])
    y = F.as_strided(x, (2, 3), (-1, 1), 3)
    np.testing.assert_array_equal(y.array, [[3, 4, 5], [2, 3, 4]])
    y.grad = np.ones((2, 3))
    y.backward()
    np.testing.assert_array_equal(x.grad, [1, 2, 2, 1, 0, 0])
    check_gradients(lambda v: F.as_strided(v, (2, 2), (2, 1), 0), np.arange(5.0))
    with pytest.raises(ValueError, match="too large index"):
        F.as_strided(x, (2, 3), (1, 2), 2)
    with pytest.raises(ValueError, match="too small index"):
        F.as_strided(x, (3,), (-1,), 1)


def test_elements_in_one_place_share_the_gradient():
    x = chainer.Variable(np.broadcast_to(np.ones(1), (4,)))
    (gx,) = chainer.grad([F.as_strided(x, (2,), (0,), 0)], [x], [np.array([3.0, 5])])
    np.testing.assert_array_equal(gx.array, [2, 2, 2, 2])


def test_pairs_of_no_distance_have_a_gradient():
    x = chainer.Variable(np.ones((2, 3), np.float16))
    F.contrastive(x, x.array, np.array([0, 1])).backward()
    np.testing.assert_array_equal(x.grad, np.zeros((2, 3)))
    with pytest.raises(type_check.InvalidType, match="y.dtype.kind == i"):
        F.contrastive(x, x, np.ones(2))
    with pytest.raises(type_check.InvalidType, match="anchor.shape == positive.shape"):
        F.triplet(x, x[:1], x)


def test_black_out_is_small_for_the_right_label():
    x, W = np.eye(2), np.eye(3, 2) * 9
    t, samples = np.array([0, 1]), np.array([[2, 1], [2, 0]])
    loss = F.black_out(x, t, W, samples, reduce="no")
    p = 1 / (np.exp(9) + 2)
    np.testing.assert_allclose(
        loss.array, -np.log(np.exp(9) * p * (1 - p) ** 2), rtol=1e-6
    )
    assert F.black_out(x, t[::-1], W, samples[::-1, ::-1]).array > 9
    with pytest.raises(ValueError, match="valid for 'reduce'"):
        F.black_out(x, t, W, samples, reduce="sum")


def test_clusters_at_their_means_cost_their_size():
    labels = np.array([[[1, 1, 2, 0]]])
    x = np.zeros((1, 2, 1, 4))
    x[0, 0, 0, :2], x[0, 1, 0, 2] = 3, 4
    loss = F.discriminative_margin_based_clustering_loss
    found = loss(x, labels, 0.5, 2.5, 2, norm=2, gamma=1)
    np.testing.assert_allclose([v.array for v in found], [0, 0, 3.5])
    found = loss(x, labels, 0.5, 4, 2, norm=1, beta=2, gamma=1)
    np.testing.assert_allclose([v.array for v in found], [0, 2, 3.5])
    with pytest.raises(ValueError, match="norm can only be 1 or 2"):
        loss(x, labels, 0.5, 4, 2, norm=3)


def test_padding_is_cast():
    y = F.pad_sequence([np.ones(1, np.uint8), np.ones(2, np.uint8)], padding=-1)
    np.testing.assert_array_equal(y.array, [[1, 255], [1, 1]])


def test_the_best_path_has_a_gradient():
    cost = chainer.Variable(np.array([[0.0, 1], [0, 0]]))
    xs = [chainer.Variable(np.array([[0.5, 0], [0, 2]])), np.array([[0.0, 0.5]])]
    score, path = F.argmax_crf1d(cost, xs)
    np.testing.assert_array_equal(score.array, [2, 2])
    assert [list(labels) for labels in path] == [[0, 1], [1]]
    gx, gcost = chainer.grad([F.sum(score)], [xs[0], cost])
    np.testing.assert_array_equal(gx.array, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(gcost.array, [[0, 1], [0, 0]])


def test_mean_of_absolute_errors_is_added_up_in_float32():
    x = np.full(5000, 20, np.float16)  # their sum is no half
    assert F.mean_absolute_error(x, np.zeros_like(x)).array == 20
