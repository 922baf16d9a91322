"""The exceptions dyrnn raises where a built-in one would say too little.

Everything else raises the built-in types: ``ValueError`` for a value, ``TypeError`` for
a type, ``RuntimeError`` for calls in the wrong order.
"""


class ShapeError(ValueError):
    """Arrays of shapes that do not fit together."""


class DeviceError(TypeError):
    """Arrays of different devices in one computation, or a device that is not there."""


class NonFiniteError(ArithmeticError):
    """A loss, gradient or value that is NaN or infinite where it must be finite.

    Attributes
    ----------
    iteration : int or None
        Of the training, if it was in one.
    """

    iteration: int | None = None


class SnapshotError(Exception):
    """A file that cannot be loaded: damaged, hostile, or made for something else."""


class InterchangeError(ValueError):
    """Weights of another system that are damaged, or do not fit to the model."""
