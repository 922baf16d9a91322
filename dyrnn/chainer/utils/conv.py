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
