"""The link that convolves."""

from dyrnn.chainer import functions
from dyrnn.chainer.functions.convolution import NO_DETERMINISTIC, pair
from dyrnn.chainer.links.connection_links import WeightAndBias
from dyrnn.chainer.utils import argument
from dyrnn.chainer.variable import as_array


class Convolution2D(WeightAndBias):
    """Convolution over two axes, with a kernel for each pair of channels, and a bias.

    Without ``ksize``, the first two arguments are the output's channels and the kernel;
    those of the input are found at the first call. ``dilate`` is given by keyword.
    """

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
        super().__init__()
        # The last three are version 1's.
        self.dilate, self.groups, wscale, bias, _ = argument.parse_kwargs(
            kwargs,
            ("dilate", 1),
            ("groups", 1),
            ("wscale", 1),
            ("bias", 0),
            ("use_cudnn", True),
            deterministic=NO_DETERMINISTIC,
        )
        if ksize is None:
            out_channels, ksize, in_channels = in_channels, out_channels, None
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.ksize = ksize
        self.stride = pair(stride)
        self.pad = pair(pad)
        self._add_parameters(
            in_channels, out_channels, nobias, initialW, initial_bias, wscale, bias
        )

    def _initialize_params(self, in_channels):
        self.W.initialize((self.out_channels, in_channels, *pair(self.ksize)))

    @property
    def printable_specs(self):
        for name in ("in_channels", "out_channels", "ksize", "stride", "pad"):
            yield name, getattr(self, name)
        yield "nobias", self.b is None
        yield "dilate", self.dilate

    @classmethod
    def from_params(cls, W, b=None, stride=1, pad=0, nobias=False, **kwargs):
        """Make a link from its parameters' values."""
        out_channels, in_channels, *ksize = W.shape
        if b is not None and out_channels != b.size:
            raise ValueError("`out_channels` does not match the size of `b`")
        initial = {"initialW": as_array(W), "initial_bias": as_array(b)}
        sizes = in_channels, out_channels, tuple(ksize)
        return cls(*sizes, stride, pad, nobias, **initial, **kwargs)

    def forward(self, x):
        """Convolve images (N, in_channels, height, width)."""
        if self.W.array is None:
            self._initialize_params(x.shape[1])
        options = {"dilate": self.dilate, "groups": self.groups}
        return functions.convolution_2d(
            x, self.W, self.b, self.stride, self.pad, **options
        )
