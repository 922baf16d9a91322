import numpy as np
import pytest

from dyrnn.chainer.utils import conv, conv_nd


@pytest.mark.parametrize(
    ("k", "s", "p", "d"), [(3, 1, 1, 1), (2, 3, 2, 2), (2, 2, -1, 1)]
)
def test_columns_are_what_each_kernel_element_sees(k, s, p, d):
    img = np.arange(1.0, 29).reshape(1, 1, 4, 7)
    col = conv.im2col_cpu(img, k, k, s, s, p, p, pval=-9, dy=d, dx=d)
    wide = np.pad(img[0, 0], 20, constant_values=-9)
    for (i, j, y, x), value in np.ndenumerate(col[0, 0]):
        assert value == wide[20 + y * s - p + i * d, 20 + x * s - p + j * d]


def test_images_from_columns_are_the_transpose():
    img = np.random.rand(2, 3, 5, 4, 6)
    options = {"stride": (1, 2, 3), "pad": (0, 1, 2), "dilate": 1}
    col = conv_nd.im2col_nd(img, (3, 1, 2), **options)
    other = np.random.rand(*col.shape)
    image = conv_nd.col2im_nd(other, dims=img.shape[2:], **options)
    np.testing.assert_allclose((col * other).sum(), (img * image).sum())
    with pytest.raises(AssertionError):
        conv_nd.im2col_nd(img, (3, 1), **options)
    with pytest.raises(AssertionError, match="Output sizes should be positive"):
        conv_nd.im2col_nd(img, (9, 1, 2), **options)
