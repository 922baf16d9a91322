"""Parameters: leaf variables with an initial value, moved and saved with their link."""

import numpy as np

from dyrnn import backend
from dyrnn.config import config
from dyrnn.engine.core import Variable, rebuild
from dyrnn.initializers import InitializerLike
from dyrnn.typing import Shape


class Parameter(Variable):
    """A leaf variable that an optimizer changes.

    Parameters
    ----------
    initializer : initializer, number, array or None
        Called as ``initializer(array)`` to fill a new array, or a constant, or the
        values themselves. None fills with NaN, which shows if it is used.
    shape : tuple of int, optional
        Without a shape (and without an array) the parameter waits for
        :meth:`initialize`.
    """

    __slots__ = ("_target", "initializer")

    def __init__(
        self,
        initializer: InitializerLike = None,
        shape: Shape | None = None,
        name: str | None = None,
    ) -> None:
        self.initializer = initializer
        self._target = backend.CPU
        if isinstance(shape, (int, np.integer)):
            shape = (int(shape),)
        array = initializer if backend.is_array(initializer) and shape is None else None
        super().__init__(array, name)
        if array is None and shape is not None:
            self.initialize(shape)

    @property
    def is_initialized(self) -> bool:
        """Whether the parameter has values yet."""
        return self.array is not None

    def initialize(self, shape: Shape) -> None:
        """Make the array of ``shape`` and fill it."""
        initializer = self.initializer
        dtype = getattr(initializer, "dtype", None) or config.dtype
        array = np.empty(shape, dtype=dtype)
        if callable(initializer):
            initializer(array)
        elif initializer is None:
            array.fill(np.nan)
        else:
            array[...] = backend.to_cpu(initializer)
        self.array = self._target.send(array)

    def to_device(self, device: backend.DeviceLike) -> None:
        """Move the values and the gradient to a device."""
        self._target = backend.get_device(device)
        if self.array is not None:
            grad = self.grad
            self.array = self._target.send(self.array)
            self.grad = None if grad is None else self._target.send(grad)

    def __getattr__(self, name):
        """Say why ``shape`` and the like are missing; called where they are."""
        if name in ("shape", "ndim", "size", "dtype") and self.array is None:
            raise RuntimeError(
                f"parameter {self.name or ''} has no values yet: its size is found at "
                "the first call of its link. Call the model once, or give in_size."
            )
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __reduce__(self):
        _, values = super().__reduce__()
        initializer = self.initializer if self.array is None else None
        return _rebuild_parameter, (*values, initializer, self._target)


def _rebuild_parameter(cls, array, name, requires_grad, grad, initializer, target):
    parameter = rebuild(cls, array, name, requires_grad, grad)
    parameter.initializer = initializer
    parameter._target = target
    return parameter
