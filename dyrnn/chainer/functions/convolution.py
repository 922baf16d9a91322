"""Convolution and its transpose, over any number of axes and in groups.

With images x (N, C, *dims), outputs y (N, K, *outs) and weights W (K, C / groups,
*ksize), three operations are linear in each of their two arguments: x and W make a y,
y and W an x, x and y a W. The gradients of each are the other two, so all can be
differentiated as often as one likes.
"""

import dataclasses
import math

from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.utils import argument, conv, type_check
from dyrnn.chainer.utils.conv_nd import as_tuple

NO_DETERMINISTIC = (
    "deterministic argument is not supported anymore. Use "
    "chainer.using_config('cudnn_deterministic', value) instead."
)


@dataclasses.dataclass(frozen=True)
class _Windows:
    """Where the kernel lies in an image at each output."""

    ksize: tuple
    dims: tuple
    outs: tuple
    stride: tuple
    pad: tuple
    dilate: tuple
    groups: int

    def _columns(self, x):
        """Return (N, groups, inputs of an output, outputs)."""
        col = conv.columns(x, self.ksize, self.outs, self.stride, self.pad, self.dilate)
        size = x.shape[1] // self.groups * math.prod(self.ksize)
        return col.reshape(len(x), self.groups, size, math.prod(self.outs))

    def _rows(self, y):
        """Return (N, groups, channels of a group, outputs)."""
        size = y.shape[1] // self.groups
        return y.reshape(len(y), self.groups, size, math.prod(self.outs))

    def _matrices(self, W):
        """Return (groups, channels of a group, inputs of an output)."""
        return W.reshape(self.groups, len(W) // self.groups, math.prod(W.shape[1:]))

    def outputs(self, x, W):
        """Convolve."""
        y = self._matrices(W) @ self._columns(x)
        return y.reshape(len(x), len(W), *self.outs).astype(x.dtype, copy=False)

    def images(self, y, W):
        """Convolve, transposed."""
        col = self._matrices(W).transpose(0, 2, 1) @ self._rows(y)
        channels = W.shape[1] * self.groups
        return conv.from_columns(
            col.reshape(len(y), channels, *self.ksize, *self.outs),
            self.dims,
            self.stride,
            self.pad,
            self.dilate,
        ).astype(y.dtype, copy=False)

    def weights(self, x, y):
        """Return the sum of all products of an output and its inputs."""
        places = len(x) * math.prod(self.outs)
        rows = self._rows(y).transpose(1, 2, 0, 3)
        columns = self._columns(x).transpose(1, 0, 3, 2)
        rows = rows.reshape(*rows.shape[:2], places)
        columns = columns.reshape(self.groups, places, columns.shape[-1])
        W = rows @ columns
        return W.reshape(y.shape[1], x.shape[1] // self.groups, *self.ksize)


class _Filter(FunctionNode):
    """Images or outputs with weights, and a bias if one is given."""

    def __init__(self, windows=None):
        self.windows = windows

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        y = self.compute(*inputs[:2])
        if len(inputs) == 3:
            y += inputs[2].reshape(-1, *(1,) * len(self.windows.ksize))
        return (y,)

    def backward(self, indexes, grad_outputs):
        x, W = self.get_retained_inputs()
        (gy,) = grad_outputs
        gradients = []
        if 0 in indexes:
            gradients += self.adjoint(self.windows).apply((gy, W))
        if 1 in indexes:
            node = _Weights(self.windows, W.dtype)
            gradients += node.apply(self.image_and_output(x, gy))
        if 2 in indexes:
            gb = functions().sum(gy, axis=(0, *range(2, gy.ndim)))
            gradients.append(functions().cast(gb, self.inputs[2].dtype))
        return gradients


class _Convolve(_Filter):
    def compute(self, x, W):
        return self.windows.outputs(x, W)

    def adjoint(self, windows):
        return _Transpose(windows)

    def image_and_output(self, x, gy):
        return x, gy


class _Transpose(_Filter):
    def compute(self, y, W):
        return self.windows.images(y, W)

    def adjoint(self, windows):
        return _Convolve(windows)

    def image_and_output(self, y, gx):
        return gx, y


class _Weights(FunctionNode):
    def __init__(self, windows, dtype):
        self.windows = windows
        self.dtype = dtype

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        return (self.windows.weights(*inputs).astype(self.dtype, copy=False),)

    def backward(self, indexes, grad_outputs):
        x, y = self.get_retained_inputs()
        (gW,) = grad_outputs
        gradients = []
        if 0 in indexes:
            gradients += _Transpose(self.windows).apply((y, gW))
        if 1 in indexes:
            gradients += _Convolve(self.windows).apply((x, gW))
        return gradients


def _check_floats(in_types, ndim):
    """Expect images and weights of so many axes, and perhaps a bias."""
    n_in = in_types.size()
    type_check.expect(n_in >= 2, n_in <= 3)
    type_check._argname(in_types, ("x", "W", "b")[: type_check.eval(n_in)])
    for in_type in in_types[:2]:
        type_check.expect(in_type.dtype.kind == "f", in_type.ndim == ndim + 2)
    if type_check.eval(n_in) == 3:
        type_check.expect(in_types[2].dtype.kind == "f", in_types[2].ndim == 1)


def _check_groups(channels, groups, which):
    if channels % groups != 0:
        raise TypeError(
            f"The number of groups must be a divisor of that of {which} channels"
        )


class ConvolutionND(_Convolve):
    """Node of :func:`convolution_nd`."""

    def __init__(self, ndim, stride=1, pad=0, cover_all=False, dilate=1, groups=1):
        super().__init__()
        self.ndim = ndim
        self.stride = as_tuple(stride, ndim)
        self.pad = as_tuple(pad, ndim)
        self.cover_all = cover_all
        self.dilate = as_tuple(dilate, ndim)
        self.groups = groups

    def check_type_forward(self, in_types):
        _check_floats(in_types, self.ndim)
        if type_check.eval(in_types.size()) == 3:
            type_check.expect(in_types[2].shape[0] == in_types[1].shape[0])

    def check_sizes(self, outs):
        """Raise unless there are outputs."""
        assert all(out > 0 for out in outs), "Output sizes should be positive."

    def forward(self, inputs):
        x, W = inputs[:2]
        dims, ksize = x.shape[2:], W.shape[2:]
        _check_groups(x.shape[1], self.groups, "input")
        _check_groups(len(W), self.groups, "output")
        if x.shape[1] != W.shape[1] * self.groups:
            raise ValueError(
                f"filters of shape {W.shape} in {self.groups} groups do not fit "
                f"{x.shape[1]} channels: W needs {x.shape[1] // self.groups} of them "
                "on its second axis"
            )
        axes = zip(dims, ksize, self.stride, self.pad, self.dilate, strict=True)
        outs = tuple(
            [
                conv.get_conv_outsize(size, k, s, p, self.cover_all, d)
                for size, k, s, p, d in axes
            ]
        )
        self.check_sizes(outs)
        self.windows = _Windows(
            ksize, dims, outs, self.stride, self.pad, self.dilate, self.groups
        )
        return super().forward(inputs)


def _check_sizes_2d(outs, verb):
    for name, out in zip(("Height", "Width"), outs, strict=True):
        if out <= 0:
            raise RuntimeError(f"{name} in the output {verb} be positive.")


def _check_dilate(dilate):
    if min(as_tuple(dilate, 2)) < 1:
        raise ValueError(f"Dilate should be positive, but {dilate} is supplied.")


class Convolution2DFunction(ConvolutionND):
    """Node of :func:`convolution_2d`."""

    def __init__(self, stride=1, pad=0, cover_all=False, *, dilate=1, groups=1):
        super().__init__(2, stride, pad, cover_all, dilate, groups)
        _check_dilate(dilate)

    def check_type_forward(self, in_types):
        super().check_type_forward(in_types)
        x, W = in_types[:2]
        type_check.expect(x.shape[1] == W.shape[1] * self.groups)
        if type_check.eval(in_types.size()) == 3:
            type_check.expect(in_types[2].dtype == x.dtype)

    def check_sizes(self, outs):
        _check_sizes_2d(outs, "should")


class DeconvolutionND(_Transpose):
    """Node of :func:`deconvolution_nd`."""

    def __init__(self, ndim, stride=1, pad=0, outsize=None, dilate=1, groups=1):
        super().__init__()
        self.ndim = ndim
        self.stride = as_tuple(stride, ndim)
        self.pad = as_tuple(pad, ndim)
        self.outs = (None,) * ndim if outsize is None else tuple(outsize)
        assert len(self.outs) == ndim
        self.dilate = as_tuple(dilate, ndim)
        self.groups = groups

    def check_type_forward(self, in_types):
        _check_floats(in_types, self.ndim)
        x, W = in_types[:2]
        type_check.expect(x.shape[1] == W.shape[0])
        axes = zip(self.outs, self.stride, self.pad, self.dilate, strict=True)
        for i, (out, s, p, d) in enumerate(axes, 2):
            if out is not None:
                least = conv.get_conv_outsize(out, W.shape[i], s, p, False, d)
                most = conv.get_conv_outsize(out, W.shape[i], s, p, True, d)
                type_check.expect(least <= x.shape[i], x.shape[i] <= most)

    def check_sizes(self, dims):
        """Raise unless the image has a size."""
        assert all(size > 0 for size in dims), "Output sizes should be positive."

    def forward(self, inputs):
        x, W = inputs[:2]
        outs, ksize = x.shape[2:], W.shape[2:]
        _check_groups(x.shape[1], self.groups, "input")
        axes = zip(
            self.outs, outs, ksize, self.stride, self.pad, self.dilate, strict=True
        )
        self.outs = tuple(
            [
                conv.get_deconv_outsize(out, k, s, p, d=d) if size is None else size
                for size, out, k, s, p, d in axes
            ]
        )
        self.check_sizes(self.outs)
        self.windows = _Windows(
            ksize, self.outs, outs, self.stride, self.pad, self.dilate, self.groups
        )
        return super().forward(inputs)


class Deconvolution2DFunction(DeconvolutionND):
    """Node of :func:`deconvolution_2d`."""

    def __init__(self, stride=1, pad=0, outsize=None, *, dilate=1, groups=1):
        super().__init__(2, stride, pad, outsize, dilate, groups)
        _check_dilate(dilate)

    def check_type_forward(self, in_types):
        super().check_type_forward(in_types)
        if type_check.eval(in_types.size()) == 3:
            type_check.expect(in_types[2].dtype == in_types[0].dtype)

    def check_sizes(self, dims):
        _check_sizes_2d(dims, "must")


def _apply(node, x, W, b):
    return node.apply((x, W) if b is None else (x, W, b))[0]


def check_ndim(x, ndim):
    """Raise unless images have so many axes."""
    actual = len(x.shape[2:])
    if actual != ndim:
        raise ValueError(
            "The number of dimensions under channel dimension of the input 'x' should "
            f"be {ndim}. But the actual ndim was {actual}."
        )


def convolution_nd(x, W, b=None, stride=1, pad=0, cover_all=False, dilate=1, groups=1):
    """Sums of what a kernel sees at each place of images.

    Parameters
    ----------
    x : Variable, (N, C, *dims), float
    W : Variable, (K, C / groups, *ksize), float
    b : Variable, (K,), optional
    stride, pad, dilate : int or tuple of int
        Steps of the kernel, zeros around the image, and steps inside the kernel, for
        each axis.
    cover_all : bool
        Whether the last, incomplete step counts.
    groups : int
        Into how many parts both kinds of channels are cut; a part of the outputs sees
        one part of the inputs.

    Returns
    -------
    y : Variable, (N, K, *outs), same dtype as x
    """
    node = ConvolutionND(len(x.shape[2:]), stride, pad, cover_all, dilate, groups)
    return _apply(node, x, W, b)


def convolution_1d(x, W, b=None, stride=1, pad=0, cover_all=False, dilate=1, groups=1):
    """:func:`convolution_nd` of one axis."""
    check_ndim(x, 1)
    return convolution_nd(x, W, b, stride, pad, cover_all, dilate, groups)


def convolution_2d(x, W, b=None, stride=1, pad=0, cover_all=False, **kwargs):
    """:func:`convolution_nd` of two axes; ``dilate`` and ``groups`` by keyword."""
    kwargs.pop("cudnn_fast", None)
    dilate, groups = argument.parse_kwargs(
        kwargs, ("dilate", 1), ("groups", 1), deterministic=NO_DETERMINISTIC
    )
    node = Convolution2DFunction(stride, pad, cover_all, dilate=dilate, groups=groups)
    return _apply(node, x, W, b)


def convolution_3d(x, W, b=None, stride=1, pad=0, cover_all=False, dilate=1, groups=1):
    """:func:`convolution_nd` of three axes."""
    check_ndim(x, 3)
    return convolution_nd(x, W, b, stride, pad, cover_all, dilate, groups)


def deconvolution_nd(x, W, b=None, stride=1, pad=0, outsize=None, dilate=1, groups=1):
    """Transpose of :func:`convolution_nd`: images whose outputs are ``x``.

    Parameters
    ----------
    x : Variable, (N, C, *outs), float
    W : Variable, (C, K / groups, *ksize), float
    b : Variable, (K,), optional
    stride, pad, dilate : int or tuple of int
    outsize : tuple of int, optional
        Size of the images, where several are possible; the smallest by default.
    groups : int

    Returns
    -------
    y : Variable, (N, K, *dims), same dtype as x
    """
    node = DeconvolutionND(len(x.shape[2:]), stride, pad, outsize, dilate, groups)
    return _apply(node, x, W, b)


def deconvolution_1d(x, W, b=None, stride=1, pad=0, outsize=None, dilate=1, groups=1):
    """:func:`deconvolution_nd` of one axis."""
    check_ndim(x, 1)
    return deconvolution_nd(x, W, b, stride, pad, outsize, dilate, groups)


def deconvolution_2d(x, W, b=None, stride=1, pad=0, outsize=None, **kwargs):
    """:func:`deconvolution_nd` of two axes; ``dilate`` and ``groups`` by keyword."""
    dilate, groups = argument.parse_kwargs(
        kwargs, ("dilate", 1), ("groups", 1), deterministic=NO_DETERMINISTIC
    )
    node = Deconvolution2DFunction(stride, pad, outsize, dilate=dilate, groups=groups)
    return _apply(node, x, W, b)


def deconvolution_3d(x, W, b=None, stride=1, pad=0, outsize=None, dilate=1, groups=1):
    """:func:`deconvolution_nd` of three axes."""
    check_ndim(x, 3)
    return deconvolution_nd(x, W, b, stride, pad, outsize, dilate, groups)


def dilated_convolution_2d(x, W, b=None, stride=1, pad=0, dilate=1, cover_all=False):
    """:func:`convolution_2d` with steps inside the kernel."""
    return convolution_2d(x, W, b, stride, pad, cover_all, dilate=dilate)


def depthwise_convolution_2d(x, W, b=None, stride=1, pad=0):
    """:func:`convolution_2d` of each channel by itself.

    Parameters
    ----------
    x : Variable, (N, C, height, width)
    W : Variable, (multiplier, C, height, width)
    b : Variable, (C * multiplier,), optional
    stride, pad : int or pair of int
    """
    multiplier, channels, *ksize = W.shape
    W = functions().transpose(W, (1, 0, 2, 3))
    W = functions().reshape(W, (channels * multiplier, 1, *ksize))
    return convolution_2d(x, W, b, stride, pad, groups=channels)
