"""What new parameters hold: constants, and random draws scaled to a layer's size.

An initializer is called with a NumPy array and fills it in place. Random ones draw from
the stream ``"initializer"`` of :mod:`dyrnn.random`, so one seed fixes a whole model.
Give a parameter an initializer, a number, an array, or None for the link's default.

The scaled ones keep the variance of signals from layer to layer; ``fan_in`` and
``fan_out`` are the numbers of inputs and outputs of a unit, W being (outputs, inputs).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from dyrnn import backend, random
from dyrnn.config import config
from dyrnn.errors import ShapeError
from dyrnn.typing import Array, Shape

# A function fills the array it is given; None is the link's default.
InitializerLike = Callable[[Array], Any] | Array | float | None


class Initializer:
    """Base of all: ``__call__(array)`` fills ``array``; ``dtype`` is None for any."""

    def __init__(self, dtype: DTypeLike | None = None) -> None:
        self.dtype = None if dtype is None else np.dtype(dtype)

    def __call__(self, array: Array) -> None:
        raise NotImplementedError(f"{type(self).__name__} defines no __call__")


class Constant(Initializer):
    """Fill with one value, or with the values of an array of the same shape."""

    def __init__(self, value: float | Array, dtype: DTypeLike | None = None) -> None:
        super().__init__(dtype)
        self.value = value

    def __call__(self, array: Array) -> None:
        value = self.value if backend.is_array(self.value) else np.asarray(self.value)
        if value.ndim and value.shape != array.shape:
            raise ShapeError(
                f"initial values of shape {value.shape} were given for a parameter of "
                f"shape {array.shape}"
            )
        array[...] = backend.device_of(array).send(value)[()]


class Zero(Constant):
    """Fill with 0."""

    def __init__(self, dtype: DTypeLike | None = None) -> None:
        super().__init__(0.0, dtype)


class One(Constant):
    """Fill with 1."""

    def __init__(self, dtype: DTypeLike | None = None) -> None:
        super().__init__(1.0, dtype)


class NaN(Constant):
    """Fill with NaN: whoever forgets to set the values will see it."""

    def __init__(self, dtype: DTypeLike | None = None) -> None:
        super().__init__(math.nan, dtype)


class Random(Initializer):
    """Base of the random ones: ``draw(generator, shape)`` returns the values."""

    def __init__(self, scale: float = 0.05, dtype: DTypeLike | None = None) -> None:
        super().__init__(dtype)
        self.scale = _checked_scale(self, scale)

    def __call__(self, array: Array) -> None:
        generator = random.stream("initializer").generator
        array[...] = self.draw(generator, array.shape)

    def draw(self, generator, shape):
        """Return values drawn from a generator, or from a module such as np.random."""
        raise NotImplementedError(f"{type(self).__name__} defines no draw")


class Uniform(Random):
    """Draw from the uniform distribution over [-scale, scale)."""

    def bound(self, shape):
        """Return the width to either side for an array of ``shape``."""
        return self.scale

    def draw(self, generator, shape):
        bound = self.bound(shape)
        return generator.uniform(-bound, bound, shape)


class Normal(Random):
    """Draw from the normal distribution of mean 0 and standard deviation ``scale``."""

    def deviation(self, shape):
        """Return the standard deviation for an array of ``shape``."""
        return self.scale

    def draw(self, generator, shape):
        return generator.normal(0.0, self.deviation(shape), shape)


class _Scaled(Random):
    """A draw with standard deviation ``scale * gain / sqrt(fan)``."""

    gain = 1.0

    def __init__(self, scale: float = 1.0, dtype: DTypeLike | None = None) -> None:
        super().__init__(scale, dtype)

    def fan(self, shape):
        return fans(shape)[0]

    def deviation(self, shape):
        return self.scale * self.gain / math.sqrt(max(self.fan(shape), 1))

    def bound(self, shape):
        return math.sqrt(3.0) * self.deviation(shape)


class LeCunNormal(_Scaled, Normal):
    """Normal with standard deviation ``scale / sqrt(fan_in)``.

    References
    ----------
    LeCun, Bottou, Orr, Mueller, "Efficient BackProp", 1998.
    """


class LeCunUniform(_Scaled, Uniform):
    """Uniform with standard deviation ``scale / sqrt(fan_in)``."""


class GlorotNormal(_Scaled, Normal):
    """Normal with standard deviation ``scale * sqrt(2 / (fan_in + fan_out))``.

    References
    ----------
    Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.
    """

    def fan(self, shape):
        return sum(fans(shape)) / 2


class GlorotUniform(_Scaled, Uniform):
    """Uniform with standard deviation ``scale * sqrt(2 / (fan_in + fan_out))``."""

    def fan(self, shape):
        return sum(fans(shape)) / 2


class HeNormal(_Scaled, Normal):
    """Normal with standard deviation ``scale * sqrt(2 / fan_in)``, for ReLU.

    References
    ----------
    He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015.
    """

    gain = math.sqrt(2.0)


class HeUniform(_Scaled, Uniform):
    """Uniform with standard deviation ``scale * sqrt(2 / fan_in)``."""

    gain = math.sqrt(2.0)


class Orthogonal(Random):
    """A random matrix with orthonormal rows or columns, whichever are fewer.

    Axes after the first count as one.

    References
    ----------
    Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", ICLR 2014.
    """

    def __init__(self, scale: float = 1.0, dtype: DTypeLike | None = None) -> None:
        super().__init__(scale, dtype)

    def draw(self, generator, shape):
        size = math.prod(shape)
        if size == 0:
            return np.empty(shape)
        rows = shape[0] if shape else 1
        few, many = sorted((rows, size // rows))
        q = self.orthonormal(generator.normal(size=(many, few)))
        return self.scale * (q if rows == many else q.T).reshape(shape)

    @staticmethod
    def orthonormal(matrix):
        """Return orthonormal columns that span those of a matrix, without bias."""
        q, r = np.linalg.qr(matrix)
        # The signs make the draw uniform over the orthogonal matrices.
        return q * np.where(np.diag(r) < 0, -1.0, 1.0)


class Identity(Initializer):
    """``scale`` times the unit matrix; for square matrices."""

    def __init__(self, scale: float = 1.0, dtype: DTypeLike | None = None) -> None:
        super().__init__(dtype)
        self.scale = _checked_scale(self, scale)

    def __call__(self, array: Array) -> None:
        if array.ndim != 2 or array.shape[0] != array.shape[1]:
            raise ShapeError(
                f"Identity fills square matrices, not an array of shape {array.shape}"
            )
        array[...] = self.scale * backend.get_array_module(array).eye(len(array))


def get_initializer(
    initializer: InitializerLike, default: InitializerLike = None
) -> Callable[[Array], Any]:
    """Return a callable for an initializer, number or array; ``default`` for None."""
    if initializer is None:
        initializer = LeCunNormal() if default is None else default
    if callable(initializer):
        return initializer
    if backend.is_array(initializer):
        return Constant(initializer, initializer.dtype)
    if isinstance(initializer, (int, float, np.number)):
        return Constant(float(initializer))
    raise TypeError(
        f"an initializer is a callable, a number, an array or None, not a "
        f"{type(initializer).__name__}"
    )


def generate_array(
    initializer: InitializerLike,
    shape: Shape,
    dtype: DTypeLike | None = None,
    xp: Any = np,
) -> Array:
    """Return a new array filled by ``initializer`` (or a number, or an array)."""
    initializer = get_initializer(initializer)
    dtype = dtype or getattr(initializer, "dtype", None) or config.dtype
    array = xp.empty(shape, dtype)
    initializer(array)
    return array


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the numbers of inputs and of outputs of a unit."""
    if len(shape) < 2:
        raise ShapeError(
            f"scaled initializers fill a matrix (outputs, inputs), not shape {shape}"
        )
    rest = math.prod(shape[2:])
    return shape[1] * rest, shape[0] * rest


def _checked_scale(initializer, scale):
    if not 0 <= scale < math.inf:
        raise ValueError(
            f"{type(initializer).__name__}: scale is {scale}; use a number >= 0"
        )
    return float(scale)
