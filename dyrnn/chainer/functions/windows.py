"""Pooling over any number of axes, made of other functions.

The windows of the input are laid out as rows; a pool is what is taken from each.
"""

import numpy as np

from dyrnn.chainer.functions.convolution import check_ndim
from dyrnn.chainer.functions.images import Im2Col, Im2ColGrad, check_image
from dyrnn.chainer.functions.nodes import check_inputs, functions
from dyrnn.chainer.utils import conv, type_check
from dyrnn.chainer.utils.conv_nd import as_tuple
from dyrnn.chainer.variable import as_variable


class Patches(Im2Col):
    """What a window shows at each place, as channels; for any number of axes."""

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        type_check.expect(
            in_types[0].dtype.kind == "f", in_types[0].ndim == 2 + len(self.sizes[0])
        )

    def compute(self, xp, x):
        ksize, stride, pad, cover_all, dilate = self.sizes
        axes = zip(x.shape[2:], ksize, stride, pad, dilate, strict=True)
        outs = [conv.get_conv_outsize(*axis[:4], cover_all, axis[4]) for axis in axes]
        y = conv.columns(x, ksize, outs, stride, pad, dilate)
        return y.reshape(len(x), -1, *outs)

    def rule(self, gy):
        return PatchesGrad(self.inputs[0].shape, *self.sizes).apply((gy,))[0]


class PatchesGrad(Im2ColGrad):
    """The sum of patches, each where it was."""

    def rule(self, gy):
        return Patches(*self.sizes).apply((gy,))[0]


def _windows(x, ksize, stride, padding, cover_all, fill):
    """Return the windows of x as (n * c * places, elements), and the result's shape."""
    F = functions()
    x = as_variable(x)
    n = x.ndim - 2
    ksize, padding = as_tuple(ksize, n), as_tuple(padding, n)
    stride = ksize if stride is None else as_tuple(stride, n)
    outs = [
        conv.get_conv_outsize(size, k, s, p, cover_all)
        for size, k, s, p in zip(x.shape[2:], ksize, stride, padding, strict=True)
    ]
    widths = [
        (p, max(0, (out - 1) * s + k - size - p))
        for size, k, s, p, out in zip(
            x.shape[2:], ksize, stride, padding, outs, strict=True
        )
    ]
    if any(map(any, widths)):
        width = [(0, 0), (0, 0), *widths]
        x = F.pad(x, width, "constant", constant_values=fill)
    sizes = ksize, stride, (0,) * n, False, (1,) * n
    (patches,) = Patches(*sizes).apply((x,))
    shape = *x.shape[:2], *outs
    patches = F.reshape(patches, (*x.shape[:2], -1, *patches.shape[2:]))
    patches = patches[(..., *(slice(0, out) for out in outs))]
    patches = F.moveaxis(patches, 2, -1)
    return F.reshape(patches, (-1, patches.shape[-1])), shape


def max_pooling_nd(x, ksize, stride=None, pad=0, cover_all=True, return_indices=False):
    """Return the largest number of each window; the first one, if there are several.

    With ``return_indices``, their places in the windows are returned, too.
    """
    F = functions()
    windows, shape = _windows(x, ksize, stride, pad, cover_all, -np.inf)
    largest = windows.array.argmax(axis=1)
    y = F.reshape(F.select_item(windows, largest), shape)
    return (y, largest.reshape(shape)) if return_indices else y


def average_pooling_nd(x, ksize, stride=None, pad=0, pad_value=0):
    """Return the mean of each window; ``pad_value`` None leaves the padding out."""
    F = functions()
    windows, shape = _windows(x, ksize, stride, pad, False, 0)
    y = F.sum(windows, axis=1)
    if pad_value is None:
        ones = windows.xp.ones(x.shape, x.dtype)
        inside, _ = _windows(ones, ksize, stride, pad, False, 0)
        return F.reshape(y / inside.array.sum(axis=1), shape)
    return F.reshape(y * (1.0 / windows.shape[1]), shape)


def max_pooling_1d(x, ksize, stride=None, pad=0, cover_all=True, return_indices=False):
    """:func:`max_pooling_nd` over one axis."""
    check_ndim(x, 1)
    return max_pooling_nd(x, ksize, stride, pad, cover_all, return_indices)


def max_pooling_2d(x, ksize, stride=None, pad=0, cover_all=True, return_indices=False):
    """:func:`max_pooling_nd` over two axes."""
    check_ndim(x, 2)
    return max_pooling_nd(x, ksize, stride, pad, cover_all, return_indices)


def max_pooling_3d(x, ksize, stride=None, pad=0, cover_all=True, return_indices=False):
    """:func:`max_pooling_nd` over three axes."""
    check_ndim(x, 3)
    return max_pooling_nd(x, ksize, stride, pad, cover_all, return_indices)


def average_pooling_1d(x, ksize, stride=None, pad=0, pad_value=0):
    """:func:`average_pooling_nd` over one axis."""
    check_ndim(x, 1)
    return average_pooling_nd(x, ksize, stride, pad, pad_value)


def average_pooling_2d(x, ksize, stride=None, pad=0):
    """:func:`average_pooling_nd` over two axes, zeros being around them."""
    check_inputs("AveragePooling2D", check_image, x)
    return average_pooling_nd(x, ksize, stride, pad)


def average_pooling_3d(x, ksize, stride=None, pad=0, pad_value=0):
    """:func:`average_pooling_nd` over three axes."""
    check_ndim(x, 3)
    return average_pooling_nd(x, ksize, stride, pad, pad_value)
