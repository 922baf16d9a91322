"""Convolutions and poolings, which the encoders of texts use, beside plain loops."""

import numpy as np
import pytest

import dyrnn.chainer as chainer
import dyrnn.chainer.functions as F
import dyrnn.chainer.links as L
from dyrnn.chainer import gradient_check
from dyrnn.chainer.utils.type_check import InvalidType


def draw(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape)


def convolved(x, W, b, stride, pad, dilate):
    """Go over all places."""
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    kh, kw = (dilate * (k - 1) + 1 for k in W.shape[2:])
    rows = range(0, x.shape[2] - kh + 1, stride)
    columns = range(0, x.shape[3] - kw + 1, stride)
    y = np.empty((len(x), len(W), len(rows), len(columns)))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            part = x[:, :, top : top + kh : dilate, left : left + kw : dilate]
            y[:, :, i, j] = np.einsum("nchw,ochw->no", part, W) + b
    return y


@pytest.mark.parametrize(("stride", "pad", "dilate"), [(1, 0, 1), (2, 1, 1), (1, 2, 2)])
def test_convolution_is_that_of_plain_loops(stride, pad, dilate):
    x, W, b = draw(2, 3, 6, 7), draw(4, 3, 3, 2), draw(4)

    def convolve(x, W, b):
        return F.convolution_2d(x, W, b, stride, pad, dilate=dilate)

    y = convolve(x, W, b)
    expected = convolved(x, W, b, stride, pad, dilate)
    np.testing.assert_allclose(y.array, expected, atol=1e-12)
    gy = draw(*y.shape)
    gradient_check.check_backward(convolve, (x, W, b), gy, dtype=np.float64)


def test_groups_see_their_own_channels():
    x, W = draw(2, 4, 5), draw(6, 2, 3)
    y = F.convolution_1d(x, W, groups=2).array
    apart = [F.convolution_1d(x[:, :2], W[:3]), F.convolution_1d(x[:, 2:], W[3:])]
    np.testing.assert_allclose(y, F.concat(apart).array, atol=1e-12)
    with pytest.raises(ValueError, match=r"\(6, 2, 3\) in 1 groups do not fit 4 chann"):
        F.convolution_1d(x, W)
    with pytest.raises(InvalidType, match="W.ndim"):
        F.convolution_1d(x, draw(6, 2))


def test_deconvolution_is_the_transpose():
    x, W = draw(2, 3, 6, 7), draw(4, 3, 3, 2)
    y = F.convolution_2d(x, W, stride=2, pad=1)
    gy = draw(*y.shape)
    back = F.deconvolution_2d(gy, W, stride=2, pad=1, outsize=(6, 7))
    np.testing.assert_allclose((y.array * gy).sum(), (back.array * x).sum())
    assert F.deconvolution_2d(gy, W, stride=2, pad=1).shape == (2, 3, 5, 6)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("function", [F.convolution_nd, F.deconvolution_nd])
def test_filters_are_differentiated_twice(function, groups):
    x, W, b = draw(2, 4, 5, 4), draw(4, 4 // groups, 2, 3), draw(4)

    def filtered(x, W, b):
        y = function(x, W, b, (1, 2), 1, dilate=(2, 1), groups=groups)
        return y * y

    gy = draw(*filtered(x, W, b).shape)
    gradient_check.check_double_backward(filtered, (x, W, b), gy, (x, W, b), atol=1e-4)


@pytest.mark.parametrize("function", [F.convolution_2d, F.deconvolution_2d])
def test_outputs_have_the_type_of_the_images(function):
    x = chainer.Variable(draw(2, 4, 5, 5).astype(np.float16))
    W = chainer.Variable(draw(4, 4, 3, 3).astype(np.float32))
    y = function(x, W)
    y.grad = np.ones_like(y.array)
    y.backward()
    assert [v.dtype for v in (y, x.grad, W.grad)] == ["f2", "f2", "f4"]


def test_filters_that_do_not_fit_are_refused():
    x, W = draw(1, 3, 4, 4), draw(2, 3, 2, 2)
    with pytest.raises(TypeError, match="divisor of that of input channels"):
        F.convolution_nd(x, W, groups=2)
    with pytest.raises(RuntimeError, match="Height in the output should be positive"):
        F.convolution_2d(x, draw(2, 3, 9, 2))
    with pytest.raises(ValueError, match="Dilate should be positive, but 0"):
        F.convolution_2d(x, W, dilate=0)
    with pytest.raises(ValueError, match="should be 3. But the actual ndim was 2"):
        F.deconvolution_3d(x, W)
    with pytest.raises(ValueError, match="number of output channels must be divisible"):
        L.Convolution1D(4, 3, 2, groups=2)
    with pytest.raises(ValueError, match="does not match the size of `b`"):
        L.Convolution2D.from_params(W, np.zeros(3))


def test_links_of_filters_find_their_channels():
    x = draw(2, 4, 6, 6).astype(np.float32)
    link = L.Convolution2D(2, (3, 1), stride=2)
    assert link(x).shape == (2, 2, 2, 3) and link.W.shape == (2, 4, 3, 1)
    assert "ksize=(3, 1), stride=(2, 2)" in str(link)
    again = L.Convolution2D.from_params(link.W, link.b, stride=2)
    np.testing.assert_array_equal(again(x).array, link(x).array)
    link = L.Deconvolution2D(None, 2, 3, groups=2)
    assert link(x).shape == (2, 2, 8, 8) and link.W.shape == (4, 1, 3, 3)
    line = L.ConvolutionND.from_params(draw(6, 2, 5).astype("f"), nobias=True, groups=2)
    assert line(x[:, :, 0]).shape == (2, 6, 2) and line.b is None
    assert L.DilatedConvolution2D(4, 2, 3, dilate=2)(x).shape == (2, 2, 2, 2)
    shapes = F.depthwise_convolution_2d(x, draw(2, 4, 3, 3).astype("f")).shape
    assert shapes == (2, 8, 4, 4)


def test_pooling_takes_the_first_of_equal_numbers():
    x = chainer.Variable(np.zeros((1, 1, 4, 4), np.float32))
    y = F.max_pooling_2d(x, 2)
    y.grad = np.ones_like(y.array)
    y.backward()
    np.testing.assert_array_equal(x.grad[0, 0, :2, :2], [[1, 0], [0, 0]])
    x = np.arange(10.0).reshape(1, 1, 10)
    np.testing.assert_array_equal(F.max_pooling_1d(x, 4).array[0, 0], [3, 7, 9])
    y = F.max_pooling_1d(x, 4, cover_all=False)
    np.testing.assert_array_equal(y.array[0, 0], [3, 7])
    y = F.average_pooling_1d(x, 2, pad=1, pad_value=None)
    np.testing.assert_array_equal(y.array[0, 0], [0, 1.5, 3.5, 5.5, 7.5, 9])
    y, places = F.max_pooling_nd(x, 3, 3, return_indices=True)
    np.testing.assert_array_equal(places[0, 0], [2, 2, 2, 0])
    with pytest.raises(InvalidType, match="x.ndim == 4"):
        F.average_pooling_2d(x, 2)


def test_an_encoder_of_text_learns():
    rng = np.random.default_rng(1)
    np.random.seed(0)
    words = rng.integers(0, 9, (40, 12)).astype(np.int32)
    labels = (words == 3).any(axis=1).astype(np.int32)

    class Encoder(chainer.Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.embed = L.EmbedID(9, 8)
                self.filters = L.Convolution2D(8, 6, (3, 1), pad=(1, 0))
                self.out = L.Linear(None, 2)

        def forward(self, x):
            h = F.expand_dims(F.transpose(self.embed(x), (0, 2, 1)), 3)
            return self.out(F.max(F.relu(self.filters(h)), axis=2))

    model = L.Classifier(Encoder())
    optimizer = chainer.optimizers.Adam(0.01).setup(model)
    losses = []
    for _ in range(60):
        optimizer.update(model, words, labels)
        losses.append(float(model.loss.array))
    assert losses[-1] < 0.2 < losses[0]
