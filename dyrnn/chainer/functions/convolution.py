"""Convolution and pooling over any number of axes, made of other functions.

Patches of the input are laid out as columns; a convolution is a product with them.
"""

import numpy as np

from dyrnn.chainer.functions.images import Im2Col, Im2ColGrad
from dyrnn.chainer.functions.nodes import check_inputs, functions
from dyrnn.chainer.utils import argument, conv, type_check
from dyrnn.chainer.utils.conv_nd import as_tuple
from dyrnn.chainer.variable import as_variable

_NO_DETERMINISTIC = (
    "deterministic argument is not supported anymore. Use "
    "chainer.using_config('cudnn_deterministic', value) context where value is either "
    "`True` or `False`."
)


class Patches(Im2Col):
    """What a filter sees at each place, as channels; for any number of axes."""

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))
        type_check.expect(
            in_types[0].dtype.kind == "f", in_types[0].ndim == 2 + len(self.sizes[0])
        )

    def forward(self, inputs):
        (x,) = inputs
        ksize, stride, pad, cover_all, dilate = self.sizes
        axes = zip(x.shape[2:], ksize, stride, pad, dilate, strict=True)
        outs = [conv.get_conv_outsize(*axis[:4], cover_all, axis[4]) for axis in axes]
        y = conv.columns(x, ksize, outs, stride, pad, dilate)
        return (y.reshape(len(x), -1, *outs),)

    def backward(self, indexes, gys):
        return PatchesGrad(self.inputs[0].shape, *self.sizes).apply(gys)


class PatchesGrad(Im2ColGrad):
    """The sum of patches, each where it was."""

    def backward(self, indexes, gys):
        return Patches(*self.sizes).apply(gys)


def _check(in_types):
    x, w = in_types[:2]
    type_check._argname((x, w), ("x", "W"))
    type_check.expect(
        x.dtype.kind == "f", w.dtype.kind == "f", x.ndim == w.ndim, x.ndim > 2
    )
    if type_check.eval(in_types.size()) == 3:
        b = in_types[2]
        type_check._argname((b,), ("b",))
        type_check.expect(b.dtype == x.dtype, b.ndim == 1, b.shape[0] == w.shape[0])


def _convolve(x, W, stride, padding, cover_all, dilate):
    """Multiply the filters (out, c, *k) by the patches of x (n, c, *dims)."""
    ksize = W.shape[2:]
    (patches,) = Patches(ksize, stride, padding, cover_all, dilate).apply((x,))
    F = functions()
    y = F.tensordot(F.reshape(W, (W.shape[0], -1)), patches, axes=((1,), (1,)))
    return F.moveaxis(y, 0, 1)


def convolution_nd(x, W, b=None, stride=1, pad=0, cover_all=False, dilate=1, groups=1):
    """Convolve x (n, c, *dims) with filters W (out, c / groups, *k); add b (out,).

    Returns
    -------
    Variable (n, out, *places)
    """
    F = functions()
    x, W = as_variable(x), as_variable(W)
    check_inputs("ConvolutionND", _check, *([x, W] if b is None else [x, W, b]))
    n = W.ndim - 2
    stride, pad, dilate = (as_tuple(size, n) for size in (stride, pad, dilate))
    if x.shape[1] != W.shape[1] * groups or W.shape[0] % groups:
        raise ValueError(
            f"filters of shape {W.shape} in {groups} groups do not fit {x.shape[1]} "
            f"channels: W needs {x.shape[1]} / {groups} of them on its second axis, "
            "and a first axis that the groups divide"
        )
    sizes = stride, pad, cover_all, dilate
    if groups == 1:
        y = _convolve(x, W, *sizes)
    else:
        pairs = zip(F.split_axis(x, groups, 1), F.split_axis(W, groups, 0), strict=True)
        y = F.concat([_convolve(part, w, *sizes) for part, w in pairs], 1)
    if b is not None:
        y += F.broadcast_to(F.reshape(b, (1, -1) + (1,) * n), y.shape)
    return y


def convolution_1d(x, W, b=None, stride=1, pad=0, cover_all=False, dilate=1, groups=1):
    """:func:`convolution_nd` over one axis."""
    _check_ndim(x, 1)
    return convolution_nd(x, W, b, stride, pad, cover_all, dilate, groups)


def convolution_2d(x, W, b=None, stride=1, pad=0, cover_all=False, **kwargs):
    """:func:`convolution_nd` over two axes; ``dilate`` and ``groups`` by keyword."""
    dilate, groups = argument.parse_kwargs(
        kwargs, ("dilate", 1), ("groups", 1), deterministic=_NO_DETERMINISTIC
    )
    _check_ndim(x, 2)
    return convolution_nd(x, W, b, stride, pad, cover_all, dilate, groups)


def convolution_3d(x, W, b=None, stride=1, pad=0, cover_all=False, dilate=1, groups=1):
    """:func:`convolution_nd` over three axes."""
    _check_ndim(x, 3)
    return convolution_nd(x, W, b, stride, pad, cover_all, dilate, groups)


def dilated_convolution_2d(x, W, b=None, stride=1, pad=0, dilate=1, cover_all=False):
    """:func:`convolution_2d` with gaps between the elements of the filters."""
    return convolution_2d(x, W, b, stride, pad, cover_all, dilate=dilate)


def _transpose(x, W, outsize, stride, padding, dilate):
    """Add the filters (in, out, *k), times each place of x, to an image."""
    F = functions()
    columns = F.tensordot(F.reshape(W, (W.shape[0], -1)), x, axes=((0,), (1,)))
    shape = (x.shape[0], W.shape[1], *outsize)
    sizes = W.shape[2:], stride, padding, False, dilate
    return PatchesGrad(shape, *sizes).apply((F.moveaxis(columns, 0, 1),))[0]


def _check_transposed(in_types):
    x, w = in_types[:2]
    type_check._argname((x, w), ("x", "W"))
    type_check.expect(
        x.dtype.kind == "f",
        w.dtype.kind == "f",
        x.ndim == w.ndim,
        x.ndim > 2,
        x.shape[1] == w.shape[0],
    )


def deconvolution_nd(x, W, b=None, stride=1, pad=0, outsize=None, dilate=1, groups=1):
    """Transpose a convolution: filters W (channels, out / groups, *k), b (out,).

    Parameters
    ----------
    outsize : tuple of int, optional
        Size of each axis of the result; several sizes have convolutions of one size.
    """
    F = functions()
    x, W = as_variable(x), as_variable(W)
    check_inputs("DeconvolutionND", _check_transposed, x, W)
    n = W.ndim - 2
    stride, pad, dilate = (as_tuple(size, n) for size in (stride, pad, dilate))
    if outsize is None:
        axes = zip(x.shape[2:], W.shape[2:], stride, pad, dilate, strict=True)
        outsize = [conv.get_deconv_outsize(*axis[:4], d=axis[4]) for axis in axes]
    sizes = tuple(outsize), stride, pad, dilate
    if groups == 1:
        y = _transpose(x, W, *sizes)
    else:
        pairs = zip(F.split_axis(x, groups, 1), F.split_axis(W, groups, 0), strict=True)
        y = F.concat([_transpose(part, w, *sizes) for part, w in pairs], 1)
    if b is not None:
        y += F.broadcast_to(F.reshape(b, (1, -1) + (1,) * n), y.shape)
    return y


def deconvolution_1d(x, W, b=None, stride=1, pad=0, outsize=None, dilate=1, groups=1):
    """:func:`deconvolution_nd` over one axis."""
    _check_ndim(x, 1)
    return deconvolution_nd(x, W, b, stride, pad, outsize, dilate, groups)


def deconvolution_2d(x, W, b=None, stride=1, pad=0, outsize=None, **kwargs):
    """:func:`deconvolution_nd` over two axes; ``dilate`` and ``groups`` by keyword."""
    dilate, groups = argument.parse_kwargs(
        kwargs, ("dilate", 1), ("groups", 1), deterministic=_NO_DETERMINISTIC
    )
    _check_ndim(x, 2)
    return deconvolution_nd(x, W, b, stride, pad, outsize, dilate, groups)


def deconvolution_3d(x, W, b=None, stride=1, pad=0, outsize=None, dilate=1, groups=1):
    """:func:`deconvolution_nd` over three axes."""
    _check_ndim(x, 3)
    return deconvolution_nd(x, W, b, stride, pad, outsize, dilate, groups)


def _check_ndim(x, n):
    if x.ndim != n + 2:
        raise ValueError(
            f"The number of dimensions under channel dimension of the input 'x' should "
            f"be {n}, but the actual ndim was {x.ndim - 2}."
        )


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
    _check_ndim(x, 1)
    return max_pooling_nd(x, ksize, stride, pad, cover_all, return_indices)


def max_pooling_2d(x, ksize, stride=None, pad=0, cover_all=True, return_indices=False):
    """:func:`max_pooling_nd` over two axes."""
    _check_ndim(x, 2)
    return max_pooling_nd(x, ksize, stride, pad, cover_all, return_indices)


def max_pooling_3d(x, ksize, stride=None, pad=0, cover_all=True, return_indices=False):
    """:func:`max_pooling_nd` over three axes."""
    _check_ndim(x, 3)
    return max_pooling_nd(x, ksize, stride, pad, cover_all, return_indices)


def average_pooling_1d(x, ksize, stride=None, pad=0, pad_value=0):
    """:func:`average_pooling_nd` over one axis."""
    _check_ndim(x, 1)
    return average_pooling_nd(x, ksize, stride, pad, pad_value)


def average_pooling_2d(x, ksize, stride=None, pad=0):
    """:func:`average_pooling_nd` over two axes, zeros being around them."""
    _check_ndim(x, 2)
    return average_pooling_nd(x, ksize, stride, pad)


def average_pooling_3d(x, ksize, stride=None, pad=0, pad_value=0):
    """:func:`average_pooling_nd` over three axes."""
    _check_ndim(x, 3)
    return average_pooling_nd(x, ksize, stride, pad, pad_value)
