"""What initializers have in common."""

from dyrnn.initializers import fans


class Initializer:
    """Fills an array with first values: ``initializer(array)``."""

    def __init__(self, dtype=None):
        self.dtype = dtype

    def __call__(self, array):
        raise NotImplementedError

    def _check(self, array):
        if self.dtype is not None:
            assert array.dtype == self.dtype, f"{array.dtype} != {self.dtype}"


def get_fans(shape):
    """Return the numbers of inputs and of outputs of a unit."""
    if not isinstance(shape, tuple):
        raise ValueError(f"shape must be tuple. Actual type: {type(shape)}")
    if len(shape) < 2:
        raise ValueError(f"shape must be of length >= 2. Actual shape: {shape}")
    return fans(shape)
