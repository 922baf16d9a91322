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
