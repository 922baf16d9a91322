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


def test_filters_are_differentiated_twice():
    x, W, b = draw(2, 4, 5, 4), draw(4, 4, 2, 3), draw(4)

    def filtered(x, W, b):
        y = F.convolution_2d(x, W, b, (1, 2), 1, dilate=(2, 1))
        return y * y

    gy = draw(*filtered(x, W, b).shape)
    gradient_check.check_double_backward(filtered, (x, W, b), gy, (x, W, b), atol=1e-4)


def test_outputs_have_the_type_of_the_images():
    x = chainer.Variable(draw(2, 4, 5, 5).astype(np.float16))
    W = chainer.Variable(draw(4, 4, 3, 3).astype(np.float32))
    y = F.convolution_2d(x, W)
    y.grad = np.ones_like(y.array)
    y.backward()
    assert [v.dtype for v in (y, x.grad, W.grad)] == ["f2", "f2", "f4"]


def test_filters_that_do_not_fit_are_refused():
    x, W = draw(1, 3, 4, 4), draw(2, 3, 2, 2)
    with pytest.raises(NotImplementedError, match="no groups here: split the channels"):
        F.convolution_2d(x, W, groups=3)
    with pytest.raises(RuntimeError, match="Height in the output should be positive"):
        F.convolution_2d(x, draw(2, 3, 9, 2))
    with pytest.raises(ValueError, match="Dilate should be positive, but"):
        F.convolution_2d(x, W, dilate=0)
    with pytest.raises(InvalidType, match="W.ndim == 4"):
        F.convolution_2d(x, W[0])
    with pytest.raises(ValueError, match="does not match the size of `b`"):
        L.Convolution2D.from_params(W, np.zeros(3))


def test_links_of_filters_find_their_channels():
    x = draw(2, 4, 6, 6).astype(np.float32)
    link = L.Convolution2D(2, (3, 1), stride=2)
    assert link(x).shape == (2, 2, 2, 3) and link.W.shape == (2, 4, 3, 1)
    assert "ksize=(3, 1), stride=(2, 2)" in str(link)
    again = L.Convolution2D.from_params(link.W, link.b, stride=2)
    np.testing.assert_array_equal(again(x).array, link(x).array)
    link = L.Convolution2D(4, 2, 3, nobias=True, dilate=2)
    assert link(x).shape == (2, 2, 2, 2) and link.b is None


def test_pooling_takes_the_first_of_equal_numbers():
    x = chainer.Variable(np.zeros((1, 1, 4, 4), np.float32))
    y = F.max_pooling_2d(x, 2)
    y.grad = np.ones_like(y.array)
    y.backward()
    np.testing.assert_array_equal(x.grad[0, 0, :2, :2], [[1, 0], [0, 0]])
    x = np.arange(20.0).reshape(1, 2, 1, 10)
    y = F.max_pooling_2d(x, (1, 4))
    np.testing.assert_array_equal(y.array[0, :, 0], [[3, 7, 9], [13, 17, 19]])
    y = F.max_pooling_2d(x, (1, 4), cover_all=False)
    np.testing.assert_array_equal(y.array[0, :, 0], [[3, 7], [13, 17]])
    y = F.average_pooling_2d(x, (1, 2), pad=(0, 1))
    np.testing.assert_array_equal(y.array[0, 0, 0], [0, 1.5, 3.5, 5.5, 7.5, 4.5])
    y, places = F.max_pooling_2d(x, (1, 3), return_indices=True)
    np.testing.assert_array_equal(places[0, 0, 0], [2, 2, 2, 0])
    with pytest.raises(InvalidType, match="x.ndim == 4"):
        F.average_pooling_2d(x[0], 2)


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
