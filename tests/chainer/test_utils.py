import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import utils
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


def test_sparse_matrices_keep_their_entries():
    x = np.array([[[0, 2.0], [0, 0]], [[1, 0], [3, 0]]], np.float32)
    coo = utils.to_coo(x, ldnz=3, requires_grad=True)
    assert coo.data.shape == (2, 3) and coo.shape == (2, 2) and coo.order == "C"
    assert coo.row.dtype == np.int32 and coo.row[0].tolist() == [0, -1, -1]
    np.testing.assert_array_equal(coo.to_dense(), x)
    assert utils.to_coo(x[0]).data.array.tolist() == [2]
    assert isinstance(coo.data, chainer.Variable) and coo.data.requires_grad
    assert utils.get_order(np.array([1, 0]), np.array([0, 1])) == "F"
    assert utils.get_order(np.array([1, 0]), np.array([1, 0])) == "other"


def test_what_is_no_sparse_matrix_is_refused():
    one = np.ones(1, "i")
    with pytest.raises(ValueError, match="ndim of x must be 2 or 3"):
        utils.to_coo(one)
    with pytest.raises(ValueError, match="invalid index combination"):
        utils.get_order(one, -one)
    with pytest.raises(ValueError, match="shape of row and col must be the same"):
        utils.get_order(one, np.ones(2, "i"))
    for message, arguments in {
        "ndim of data must be 1": (one[0], one, one, (1, 1)),
        "ndim of data, row and col must": (one, one[None], one, (1, 1)),
        "length of shape": (one, one, one, (1,)),
        "must be greater than 0": (one, one, one, (0, 1)),
        "order must be": (one, one, one, (1, 1), "A"),
    }.items():
        with pytest.raises(ValueError, match=message):
            utils.CooMatrix(*arguments)
