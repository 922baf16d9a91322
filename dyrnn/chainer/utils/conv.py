"""Windows of images: sizes of convolutions, and images as columns and back.

An image (n, c, *dims) has columns (n, c, *ksize, *outs): what each element of the
kernel sees. For any number of axes.
"""

import itertools

from dyrnn.chainer import _backend


def get_conv_outsize(size, k, s, p, cover_all=False, d=1):
    """Return the output size of a convolution along one axis."""
    span = k + (k - 1) * (d - 1)
    extra = s - 1 if cover_all else 0
    return (size + p * 2 - span + extra) // s + 1


def get_deconv_outsize(size, k, s, p, cover_all=False, d=1):
    """Return the output size of a transposed convolution along one axis."""
    span = (k - 1) * d + 1
    extra = 1 - s if cover_all else 0
    return s * (size - 1) + span + extra - 2 * p


def _overlap(size, out, s, start):
    """Return which outputs an element of the kernel has inside, and its inputs.

    It begins at the input ``start``, which may be in the padding, and steps by ``s``.
    """
    first = max(0, -(start // s))
    end = max(first, min(out, -((start - size) // s)))
    begin = max(0, first * s + start)
    return slice(first, end), slice(begin, begin + (end - first) * s, s)


def _overlaps(ksize, dims, outs, stride, pad, dilate):
    """Yield pairs of index for columns and for images, one for each kernel element."""
    axes = list(zip(dims, outs, stride, pad, dilate, strict=True))
    for position in itertools.product(*map(range, ksize)):
        slices = [
            _overlap(size, out, s, k * d - p)
            for k, (size, out, s, p, d) in zip(position, axes, strict=True)
        ]
        outer, inner = zip(*slices, strict=True)
        yield (..., *position, *outer), (..., *inner)


def columns(img, ksize, outs, stride, pad, dilate, pval=0):
    """Return an image's columns; ``pval`` is what lies outside."""
    col = _backend.get_array_module(img).full(
        (*img.shape[:2], *ksize, *outs), pval, dtype=img.dtype
    )
    for outer, inner in _overlaps(ksize, img.shape[2:], outs, stride, pad, dilate):
        col[outer] = img[inner]
    return col


def from_columns(col, dims, stride, pad, dilate):
    """Return the image (n, c, *dims) that is the sum of columns."""
    ksize, outs = col.shape[2 : 2 + len(dims)], col.shape[2 + len(dims) :]
    xp = _backend.get_array_module(col)
    img = xp.zeros((*col.shape[:2], *dims), dtype=col.dtype)
    for outer, inner in _overlaps(ksize, dims, outs, stride, pad, dilate):
        img[inner] += col[outer]
    return img


def im2col_cpu(
    img,
    kh,
    kw,
    sy,
    sx,
    ph,
    pw,
    pval=0,
    cover_all=False,
    dy=1,
    dx=1,
    out_h=None,
    out_w=None,
):
    """Return columns (n, c, kh, kw, out_h, out_w) of images (n, c, h, w)."""
    h, w = img.shape[2:]
    if out_h is None:
        out_h = get_conv_outsize(h, kh, sy, ph, cover_all, dy)
    assert out_h > 0, "Height in the output should be positive."
    if out_w is None:
        out_w = get_conv_outsize(w, kw, sx, pw, cover_all, dx)
    assert out_w > 0, "Width in the output should be positive."
    return columns(img, (kh, kw), (out_h, out_w), (sy, sx), (ph, pw), (dy, dx), pval)


def im2col(
    img, kh, kw, sy, sx, ph, pw, cover_all=False, dy=1, dx=1, out_h=None, out_w=None
):
    """:func:`im2col_cpu` with zeros outside, on any device."""
    return im2col_cpu(img, kh, kw, sy, sx, ph, pw, 0, cover_all, dy, dx, out_h, out_w)


def col2im(col, sy, sx, ph, pw, h, w, dy=1, dx=1):
    """Return images (n, c, h, w) that are sums of columns."""
    return from_columns(col, (h, w), (sy, sx), (ph, pw), (dy, dx))


im2col_gpu = im2col
col2im_cpu = col2im_gpu = col2im
