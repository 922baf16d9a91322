"""Convolution and pooling over images (N, C, height, width), made of other functions.

What a kernel sees at each place becomes a row: a convolution is then a linear map of
rows, and a pool is what is taken from each.
"""

import math

import numpy as np

from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.utils import argument, conv, type_check
from dyrnn.chainer.variable import as_variable
from dyrnn.chainer.worlds import check_inputs

NO_DETERMINISTIC = (
    "deterministic argument is not supported anymore. Use "
    "chainer.using_config('cudnn_deterministic', value) instead."
)


def pair(x):
    """Return a pair; one number stands for both."""
    return tuple(x) if hasattr(x, "__getitem__") else (x, x)


class Patches(FunctionNode):
    """What the kernel sees at each place, (N * places, C * elements of the kernel)."""

    def __init__(self, ksize, outs, stride, pad, dilate=(1, 1), fill=0):
        self.windows = ksize, outs, stride, pad, dilate
        self.fill = fill

    def forward(self, inputs):
        (x,) = inputs
        columns = conv.columns(x, *self.windows, self.fill)
        ksize, outs = self.windows[:2]
        shape = len(x) * math.prod(outs), x.shape[1] * math.prod(ksize)
        return (columns.transpose(0, 4, 5, 1, 2, 3).reshape(shape),)

    def backward(self, indexes, gys):
        return PatchesGrad(self.inputs[0].shape, *self.windows).apply(gys)


class PatchesGrad(FunctionNode):
    """The sum of patches, each where it was."""

    def __init__(self, shape, *windows):
        self.shape = shape
        self.windows = windows

    def forward(self, inputs):
        (gy,) = inputs
        n, channels, *dims = self.shape
        ksize, outs, *steps = self.windows
        columns = gy.reshape(n, *outs, channels, *ksize).transpose(0, 3, 4, 5, 1, 2)
        return (conv.from_columns(columns, dims, *steps),)

    def backward(self, indexes, gys):
        return Patches(*self.windows).apply(gys)


def _places(x, ksize, stride, pad, cover_all, dilate=(1, 1)):
    """Return (height, width) of the output."""
    axes = zip(x.shape[2:], ksize, stride, pad, dilate, strict=True)
    outs = [conv.get_conv_outsize(n, k, s, p, cover_all, d) for n, k, s, p, d in axes]
    for name, out in zip(("Height", "Width"), outs, strict=True):
        if out <= 0:
            raise RuntimeError(f"{name} in the output should be positive.")
    return tuple(outs)


def _check_convolution(in_types):
    n = type_check.eval(in_types.size())
    type_check._argname(in_types, ("x", "W", "b")[:n])
    x, W = in_types[:2]
    type_check.expect(
        x.dtype.kind == "f",
        W.dtype.kind == "f",
        x.ndim == 4,
        W.ndim == 4,
        x.shape[1] == W.shape[1],
    )
    if n == 3:
        b = in_types[2]
        type_check.expect(b.dtype == x.dtype, b.ndim == 1, b.shape[0] == W.shape[0])


def convolution_2d(x, W, b=None, stride=1, pad=0, cover_all=False, **kwargs):
    """Sums of what a kernel sees at each place of images.

    Parameters
    ----------
    x : Variable, (N, C, height, width), float
    W : Variable, (K, C, kernel height, kernel width), float
    b : Variable, (K,), optional
    stride, pad, dilate : int or pair of int
        Steps of the kernel, zeros around the image, and steps inside the kernel;
        ``dilate`` by keyword.
    cover_all : bool
        Whether the last, incomplete step counts.

    Returns
    -------
    y : Variable, (N, K, height, width), same dtype as x
    """
    kwargs.pop("cudnn_fast", None)
    dilate, groups = argument.parse_kwargs(
        kwargs, ("dilate", 1), ("groups", 1), deterministic=NO_DETERMINISTIC
    )
    if groups != 1:
        raise NotImplementedError(
            "convolution_2d has no groups here: split the channels with split_axis, "
            "convolve each part, and join them with concat"
        )
    args = (x, W) if b is None else (x, W, b)
    check_inputs("Convolution2DFunction", _check_convolution, *args)
    F = functions()
    stride, pad, dilate = pair(stride), pair(pad), pair(dilate)
    if min(dilate) < 1:
        raise ValueError(f"Dilate should be positive, but {dilate} is supplied.")
    outs = _places(x, W.shape[2:], stride, pad, cover_all, dilate)
    (rows,) = Patches(W.shape[2:], outs, stride, pad, dilate).apply((x,))
    y = F.linear(rows, F.reshape(W, (W.shape[0], rows.shape[1])), b)
    return F.transpose(F.reshape(y, (x.shape[0], *outs, W.shape[0])), (0, 3, 1, 2))


def _pools(label, x, ksize, stride, pad, cover_all, fill):
    """Return the elements of each pool as a row, and the shape of the output."""
    check_inputs(label, _check_image, x)
    x = as_variable(x)
    ksize, pad = pair(ksize), pair(pad)
    stride = ksize if stride is None else pair(stride)
    outs = _places(x, ksize, stride, pad, cover_all)
    # Each channel is an image of its own.
    images = functions().reshape(x, (x.shape[0] * x.shape[1], 1, *x.shape[2:]))
    (rows,) = Patches(ksize, outs, stride, pad, fill=fill).apply((images,))
    return rows, (*x.shape[:2], *outs)


def _check_image(in_types):
    type_check._argname(in_types, ("x",))
    type_check.expect(in_types[0].dtype.kind == "f", in_types[0].ndim == 4)


def max_pooling_2d(x, ksize, stride=None, pad=0, cover_all=True, return_indices=False):
    """Return the largest number of each window; the first one, if there are several.

    With ``return_indices``, their places in the windows are returned, too.
    """
    F = functions()
    rows, shape = _pools("MaxPooling2D", x, ksize, stride, pad, cover_all, -np.inf)
    largest = rows.array.argmax(axis=1)
    y = F.reshape(F.select_item(rows, largest), shape)
    return (y, largest.reshape(shape)) if return_indices else y


def average_pooling_2d(x, ksize, stride=None, pad=0):
    """Return the mean of each window, zeros being around the image."""
    F = functions()
    rows, shape = _pools("AveragePooling2D", x, ksize, stride, pad, False, 0)
    return F.reshape(F.mean(rows, axis=1), shape)
