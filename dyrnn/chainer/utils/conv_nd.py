"""Images of any number of axes as columns and back."""

from dyrnn.chainer.utils.conv import columns, from_columns, get_conv_outsize


def as_tuple(x, n):
    """Return a tuple of ``n`` numbers; one number stands for all."""
    if not hasattr(x, "__getitem__"):
        return (x,) * n
    assert len(x) == n
    return tuple(x)


def im2col_nd_cpu(img, ksize, stride, pad, pval=0, cover_all=False, dilate=1):
    """Return columns (n, c, *ksize, *outs) of images (n, c, *dims)."""
    dims = img.shape[2:]
    dilate = as_tuple(dilate, len(dims))
    assert len(dims) == len(ksize) == len(stride) == len(pad)
    axes = zip(dims, ksize, stride, pad, dilate, strict=True)
    outs = tuple(get_conv_outsize(d, k, s, p, cover_all, di) for d, k, s, p, di in axes)
    assert all(out > 0 for out in outs), "Output sizes should be positive."
    return columns(img, ksize, outs, stride, pad, dilate, pval)


def im2col_nd(img, ksize, stride, pad, cover_all=False, dilate=1):
    """:func:`im2col_nd_cpu` with zeros outside, on any device."""
    return im2col_nd_cpu(img, ksize, stride, pad, 0, cover_all, dilate)


def col2im_nd(col, stride, pad, dims, dilate=1):
    """Return images (n, c, *dims) that are sums of columns."""
    dilate = as_tuple(dilate, len(dims))
    assert len(stride) == len(pad) == len(dims)
    assert col.ndim == 2 + 2 * len(dims)
    return from_columns(col, dims, stride, pad, dilate)


im2col_nd_gpu = im2col_nd
col2im_nd_cpu = col2im_nd_gpu = col2im_nd
