import numpy as np
import pytest

from dyrnn.chainer.utils import conv


@pytest.mark.parametrize(
    ("k", "s", "p", "d"), [(3, 1, 1, 1), (2, 3, 2, 2), (2, 2, -1, 1)]
)
def test_columns_are_what_each_kernel_element_sees(k, s, p, d):
    img = np.arange(1.0, 29).reshape(1, 1, 4, 7)
    outs = [conv.get_conv_outsize(n, k, s, p, d=d) for n in (4, 7)]
    col = conv.columns(img, (k, k), outs, (s, s), (p, p), (d, d), -9)
    wide = np.pad(img[0, 0], 20, constant_values=-9)
    for (i, j, y, x), value in np.ndenumerate(col[0, 0]):
        assert value == wide[20 + y * s - p + i * d, 20 + x * s - p + j * d]


def test_images_from_columns_are_the_transpose():
    img = np.random.rand(2, 3, 5, 4, 6)
    steps = (1, 2, 3), (0, 1, 2), (1, 1, 1)
    col = conv.columns(img, (3, 1, 2), (3, 3, 3), *steps)
    other = np.random.rand(*col.shape)
    image = conv.from_columns(other, img.shape[2:], *steps)
    np.testing.assert_allclose((col * other).sum(), (img * image).sum())
