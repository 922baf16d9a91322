"""Random values, drawn from NumPy's global generator as Chainer's scripts expect."""

import numpy as np

from dyrnn import initializers as core
from dyrnn.chainer import _backend, backend
from dyrnn.chainer.initializer import Initializer, get_fans
from dyrnn.chainer.utils import argument
from dyrnn.chainer.utils.array import size_of_shape


class _Random(Initializer):
    """``scale``, and a generator ``rng`` where the global one is not wanted."""

    def __init__(self, scale=0.05, dtype=None, **kwargs):
        self.scale = scale
        (self.rng,) = argument.parse_kwargs(kwargs, ("rng", None))
        super().__init__(dtype)

    def __call__(self, array):
        self._check(array)
        xp = _backend.get_array_module(array)
        generator = xp.random if self.rng is None else self.rng
        self._fill(array, self.draw(generator, array.shape))

    def _fill(self, array, values):
        backend.copyto(array, values.astype(array.dtype, copy=False))


class Normal(_Random, core.Normal):
    """Normal distribution of standard deviation ``scale``."""


class Uniform(_Random, core.Uniform):
    """Uniform distribution between minus and plus ``scale``."""


class _Fan(_Random):
    """A distribution whose width follows from the numbers of inputs and outputs."""

    def __init__(self, scale=1.0, dtype=None, **kwargs):
        super().__init__(scale, dtype, **kwargs)

    def __call__(self, array):
        get_fans(array.shape)
        super().__call__(array)


class LeCunNormal(_Fan, core.LeCunNormal):
    """Standard deviation ``scale * sqrt(1 / fan_in)``."""


class GlorotNormal(_Fan, core.GlorotNormal):
    """Standard deviation ``scale * sqrt(2 / (fan_in + fan_out))``."""


class HeNormal(_Fan, core.HeNormal):
    """Standard deviation ``scale * sqrt(2 / fan)`` of the ``fan_option``."""

    def __init__(self, scale=1.0, dtype=None, fan_option="fan_in", **kwargs):
        self.fan_option = fan_option
        super().__init__(scale, dtype, **kwargs)

    def fan(self, shape):
        if self.fan_option not in ("fan_in", "fan_out"):
            raise ValueError("fan_option should be either 'fan_in' or 'fan_out'.")
        return get_fans(shape)[self.fan_option == "fan_out"]


class LeCunUniform(_Fan, core.LeCunUniform):
    """Bound ``scale * sqrt(3 / fan_in)``."""


class GlorotUniform(_Fan, core.GlorotUniform):
    """Bound ``scale * sqrt(6 / (fan_in + fan_out))``."""


class HeUniform(_Fan, core.HeUniform):
    """Bound ``scale * sqrt(6 / fan_in)``."""


# mode: (whether more inputs than outputs are refused, whether fewer are)
_MODES = {
    "auto": (False, False),
    "projection": (False, True),
    "embedding": (True, False),
    "basis": (True, True),
}


class Orthogonal(_Random, core.Orthogonal):
    """Orthogonal rows or columns of length ``scale``."""

    def __init__(self, scale=1.1, dtype=None, mode="auto", **kwargs):
        super().__init__(scale, dtype, **kwargs)
        self.mode = mode
        if mode not in _MODES:
            choices = ", ".join(map(repr, _MODES))
            raise ValueError(f"Invalid mode: {mode!r}. Choose from {choices}.")

    def __call__(self, array):
        self._check(array)
        rng = np.random if self.rng is None else self.rng
        if not array.shape:
            array[...] = self.scale * (2 * int(rng.randint(2)) - 1)
            return
        if not array.size:
            raise ValueError("Array to be initialized must be non-empty.")
        n_out, n_in = len(array), size_of_shape(array.shape[1:])
        no_more, no_fewer = _MODES[self.mode]
        if (n_in > n_out and no_more) or (n_in < n_out and no_fewer):
            raise ValueError(
                f"Cannot make orthogonal {self.mode}. shape = {array.shape}, "
                f"interpreted as {n_in}-dim input and {n_out}-dim output."
            )
        draw = backend.CpuDevice().send(rng.normal(size=(n_out, n_in)))
        q = self.scale * self.orthonormal(draw.T if n_in > n_out else draw)
        self._fill(array, (q.T if n_in > n_out else q).reshape(array.shape))


class _LinearFilter(Initializer):
    """Linear interpolation as a convolution."""

    is_normalized = False

    def __init__(self, interpolation="linear", dtype=None):
        if interpolation != "linear":
            raise ValueError(f"Unsupported interpolation method: {interpolation}")
        super().__init__(dtype)

    def __call__(self, array):
        self._check(array)
        in_c, out_c, *sizes = array.shape
        assert out_c in (1, in_c)
        for size in sizes:
            if size != sizes[0]:
                raise ValueError(f"ksize must be all same: {sizes[0]} != {size}")
        size = sizes[0]
        factor = (size + 1) // 2
        center = factor - (1.0 if size % 2 else 0.5)
        values = np.ones(())
        for axis in np.ogrid[(slice(size),) * len(sizes)]:
            values = values * (1.0 - abs(axis - center) / factor)
        if self.is_normalized:
            values /= values.sum()
        xp = _backend.get_array_module(array)
        channels = xp.arange(in_c)
        array[...] = 0.0
        array[channels, 0 if out_c == 1 else channels] = xp.asarray(values)


class UpsamplingDeconvFilter(_LinearFilter):
    """Weights of a deconvolution that interpolates."""


class DownsamplingConvFilter(_LinearFilter):
    """Weights of a convolution that averages."""

    is_normalized = True
