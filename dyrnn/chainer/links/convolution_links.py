"""Links that convolve, over one to any number of axes, and their transposes."""

from dyrnn.chainer import functions
from dyrnn.chainer.functions.convolution import NO_DETERMINISTIC
from dyrnn.chainer.links.connection_links import WeightAndBias
from dyrnn.chainer.utils import argument
from dyrnn.chainer.utils.conv_nd import as_tuple
from dyrnn.chainer.variable import as_array

# Keywords of convolutions over two axes; the last three are version 1's.
_OPTIONS = (
    ("dilate", 1),
    ("groups", 1),
    ("wscale", 1),
    ("bias", 0),
    ("use_cudnn", True),
)


class _Filter(WeightAndBias):
    """A weight with a kernel for each pair of channels of a group, and a bias.

    Without ``ksize``, the first two arguments are the output's channels and the kernel;
    those of the input are found at the first call.
    """

    def __init__(
        self,
        ndim,
        in_channels,
        out_channels,
        ksize,
        dilate,
        groups,
        *parameters,
    ):
        super().__init__()
        if ksize is None:
            out_channels, ksize, in_channels = in_channels, out_channels, None
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.ksize = ksize
        self.dilate = as_tuple(dilate, ndim)
        self.groups = int(groups)
        self._kernel = as_tuple(ksize, ndim)
        self._add_parameters(in_channels, out_channels, *parameters)

    def _initialize_params(self, in_channels):
        for which, channels in ("output", self.out_channels), ("input", in_channels):
            if channels % self.groups != 0:
                raise ValueError(
                    f"the number of {which} channels must be divisible by the number "
                    "of groups"
                )
        self.W.initialize((*self._channels(in_channels), *self._kernel))

    def _channels(self, in_channels):
        return self.out_channels, in_channels // self.groups

    def forward(self, x):
        """Convolve images (N, in_channels, *dims)."""
        if self.W.array is None:
            self._initialize_params(x.shape[1])
        return self.apply(x)


class _TransposedFilter(_Filter):
    def _channels(self, in_channels):
        return in_channels, self.out_channels // self.groups


def _from_params(cls, W, b, groups, *ndim, **options):
    """Make a convolution from its parameters' values."""
    out_channels, in_channels = W.shape[0], W.shape[1] * groups
    if b is not None and out_channels != b.size:
        raise ValueError("`out_channels` does not match the size of `b`")
    return cls(
        *ndim,
        in_channels,
        out_channels,
        W.shape[2:],
        initialW=as_array(W),
        initial_bias=as_array(b),
        groups=groups,
        **options,
    )


class ConvolutionND(_Filter):
    """Convolution over ``ndim`` axes."""

    def __init__(
        self,
        ndim,
        in_channels,
        out_channels,
        ksize=None,
        stride=1,
        pad=0,
        nobias=False,
        initialW=None,
        initial_bias=None,
        cover_all=False,
        dilate=1,
        groups=1,
    ):
        parameters = (nobias, initialW, initial_bias)
        super().__init__(
            ndim, in_channels, out_channels, ksize, dilate, groups, *parameters
        )
        self.ksize = self._kernel
        self.stride = stride
        self.pad = pad
        self.cover_all = cover_all

    @classmethod
    def from_params(cls, W, b=None, stride=1, pad=0, nobias=False, **kwargs):
        """Make a link from its parameters' values."""
        cover_all, dilate, groups = argument.parse_kwargs(
            kwargs, ("cover_all", False), ("dilate", 1), ("groups", 1)
        )
        ndim = () if cls is not ConvolutionND else (W.ndim - 2,)
        options = {"cover_all": cover_all, "dilate": dilate}
        return _from_params(
            cls, W, b, groups, *ndim, stride=stride, pad=pad, nobias=nobias, **options
        )

    def apply(self, x):
        options = (self.stride, self.pad, self.cover_all, self.dilate, self.groups)
        return functions.convolution_nd(x, self.W, self.b, *options)


class Convolution1D(ConvolutionND):
    """Convolution over one axis."""

    def __init__(self, in_channels, out_channels, ksize, *args, **kwargs):
        super().__init__(1, in_channels, out_channels, ksize, *args, **kwargs)


class Convolution3D(ConvolutionND):
    """Convolution over three axes."""

    def __init__(self, in_channels, out_channels, ksize, *args, **kwargs):
        super().__init__(3, in_channels, out_channels, ksize, *args, **kwargs)


class Convolution2D(_Filter):
    """Convolution over two axes; ``dilate`` and ``groups`` by keyword."""

    def __init__(
        self,
        in_channels,
        out_channels,
        ksize=None,
        stride=1,
        pad=0,
        nobias=False,
        initialW=None,
        initial_bias=None,
        **kwargs,
    ):
        dilate, groups, *version_1 = argument.parse_kwargs(
            kwargs, *_OPTIONS, deterministic=NO_DETERMINISTIC
        )
        parameters = (nobias, initialW, initial_bias, *version_1[:2])
        super().__init__(
            2, in_channels, out_channels, ksize, dilate, groups, *parameters
        )
        self.stride = as_tuple(stride, 2)
        self.pad = as_tuple(pad, 2)

    @property
    def printable_specs(self):
        for name in ("in_channels", "out_channels", "ksize", "stride", "pad"):
            yield name, getattr(self, name)
        yield "nobias", self.b is None
        yield "dilate", self.dilate
        yield "groups", self.groups

    @classmethod
    def from_params(cls, W, b=None, stride=1, pad=0, nobias=False, **kwargs):
        """Make a link from its parameters' values."""
        dilate, groups = argument.parse_kwargs(kwargs, ("dilate", 1), ("groups", 1))
        options = {"nobias": nobias, "dilate": dilate}
        return _from_params(cls, W, b, groups, stride=stride, pad=pad, **options)

    def apply(self, x):
        options = {"dilate": self.dilate, "groups": self.groups}
        return functions.convolution_2d(
            x, self.W, self.b, self.stride, self.pad, **options
        )


class DilatedConvolution2D(Convolution2D):
    """Convolution over two axes with steps inside the kernel."""

    def __init__(
        self,
        in_channels,
        out_channels,
        ksize=None,
        stride=1,
        pad=0,
        dilate=1,
        nobias=False,
        initialW=None,
        initial_bias=None,
    ):
        parameters = (nobias, initialW, initial_bias)
        super().__init__(
            in_channels, out_channels, ksize, stride, pad, *parameters, dilate=dilate
        )


class DeconvolutionND(_TransposedFilter):
    """Transpose of a convolution over ``ndim`` axes."""

    def __init__(
        self,
        ndim,
        in_channels,
        out_channels,
        ksize=None,
        stride=1,
        pad=0,
        nobias=False,
        outsize=None,
        initialW=None,
        initial_bias=None,
        dilate=1,
        groups=1,
    ):
        parameters = (nobias, initialW, initial_bias)
        super().__init__(
            ndim, in_channels, out_channels, ksize, dilate, groups, *parameters
        )
        self.ksize = self._kernel
        self.stride = stride
        self.pad = pad
        self.outsize = outsize

    def apply(self, x):
        options = (self.stride, self.pad, self.outsize, self.dilate, self.groups)
        return functions.deconvolution_nd(x, self.W, self.b, *options)


class Deconvolution1D(DeconvolutionND):
    """Transpose of a convolution over one axis."""

    def __init__(self, in_channels, out_channels, ksize, *args, **kwargs):
        super().__init__(1, in_channels, out_channels, ksize, *args, **kwargs)


class Deconvolution3D(DeconvolutionND):
    """Transpose of a convolution over three axes."""

    def __init__(self, in_channels, out_channels, ksize, *args, **kwargs):
        super().__init__(3, in_channels, out_channels, ksize, *args, **kwargs)


class Deconvolution2D(_TransposedFilter):
    """Transpose of a convolution over two axes."""

    def __init__(
        self,
        in_channels,
        out_channels,
        ksize=None,
        stride=1,
        pad=0,
        nobias=False,
        outsize=None,
        initialW=None,
        initial_bias=None,
        **kwargs,
    ):
        dilate, groups, *version_1 = argument.parse_kwargs(
            kwargs, *_OPTIONS, deterministic=NO_DETERMINISTIC
        )
        parameters = (nobias, initialW, initial_bias, *version_1[:2])
        super().__init__(
            2, in_channels, out_channels, ksize, dilate, groups, *parameters
        )
        self.stride = as_tuple(stride, 2)
        self.pad = as_tuple(pad, 2)
        self.outsize = (None, None) if outsize is None else outsize

    def apply(self, x):
        options = {"dilate": self.dilate, "groups": self.groups}
        return functions.deconvolution_2d(
            x, self.W, self.b, self.stride, self.pad, self.outsize, **options
        )
