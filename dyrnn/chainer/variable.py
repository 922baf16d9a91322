"""``chainer.variable``: variables, and parameters with their initial values."""

import numpy as np

from dyrnn.chainer import _backend, backend, casting, initializers
from dyrnn.chainer._backprop_utils import check_grad_type as _check_grad_type
from dyrnn.chainer._texts import variable_repr, variable_str
from dyrnn.chainer._variable import (
    Variable,
    VariableNode,
    _create_variable,
    as_array,
    as_variable,
)
from dyrnn.chainer.backends import cuda

__all__ = [
    "Parameter",
    "Variable",
    "VariableNode",
    "_check_grad_type",
    "_create_variable",
    "as_array",
    "as_variable",
    "variable_repr",
    "variable_str",
]


class Parameter(Variable):
    """A variable that a link registers and an optimizer updates.

    Parameters
    ----------
    initializer : initializer, array or number, optional
        None fills with NaN.
    shape : int or tuple, optional
        Without it, and without an array, the parameter waits for ``initialize``.
    name : str, optional
    """

    initializer = None
    _grad_initializer = None

    def __init__(self, initializer=None, shape=None, name=None, *, layout=None):
        kinds = _backend.array_types()
        if initializer is None:
            initializer = initializers.NaN()
        elif np.isscalar(initializer):
            initializer = initializers.Constant(initializer)
        if shape is not None:
            xp = np
            if isinstance(initializer, kinds):
                xp = _backend.get_array_module(initializer)
                initializer = initializers.Constant(initializer)
            data = initializers.generate_array(initializer, shape, xp)
            casting.see_parameter(data.dtype)
            grad = xp.full_like(data, np.nan)
            super().__init__(data, name=name, grad=grad, layout=layout)
        elif isinstance(initializer, kinds):
            casting.see_parameter(initializer.dtype)
            super().__init__(initializer, name=name, layout=layout)
        else:
            super().__init__(name=name, _grad_valid=False, layout=layout)
            dtype = getattr(initializer, "dtype", None)
            self._grad_initializer = initializers.NaN(dtype)
        self._initial_device = backend.CpuDevice()
        self.update_rule = None
        self.initializer = initializer

    def __copy__(self):
        return self._copy_to(Parameter())

    def __reduce__(self):
        return _recover_parameter, (
            self.array,
            self.name,
            self._grad,
            self._grad_valid,
            self.initializer,
            self.update_rule,
            self.device,
        )

    @property
    def is_initialized(self):
        """Whether it has values."""
        return self._data[0] is not None

    @property
    def dtype(self):
        if self._data[0] is not None:
            return self._data[0].dtype
        if hasattr(self.initializer, "dtype"):
            return np.dtype(self.initializer.dtype)
        raise RuntimeError(
            "Dtype of the parameter is not determined yet because it's uninitialized "
            "and dtype was not explicitly given."
        )

    def to_cpu(self):
        return self.to_device(backend.CpuDevice())

    def to_gpu(self, device=None):
        cuda.check_cuda_available()
        self.to_device(backend.get_device(cuda._get_device_or_current(device)))

    def to_device(self, device):
        device = backend.get_device(device)
        self._initial_device = device
        self._to_device(device)

    def cleargrad(self):
        super().cleargrad()
        if not self.is_initialized:
            self._grad_initializer = None

    def zerograd(self):
        super().zerograd()
        if not self.is_initialized:
            dtype = getattr(self.initializer, "dtype", None)
            self._grad_initializer = initializers.Zero(dtype)

    def initialize(self, shape):
        """Make the array and, unless it was cleared, the gradient."""
        device = self._initial_device

        def generate(initializer):
            return initializers.generate_array(
                initializer, shape, device.xp, device=device
            )

        data = generate(self.initializer)
        casting.see_parameter(data.dtype)
        first = self._grad_initializer
        grad = None if first is None else generate(first)
        self.array = data
        self._device = None
        self.grad = grad

    def update(self):
        """Let the update rule, if there is one, change the values."""
        if self.update_rule is not None:
            self.update_rule.update(self)


def _recover_parameter(
    data, name, grad, grad_valid, initializer, update_rule, device=None
):
    if device is None:  # pickled before grad_valid was
        device, update_rule = update_rule, initializer
        initializer, grad_valid = grad_valid, True
    parameter = Parameter(initializer=initializer, name=name)
    parameter.array = data
    parameter._grad = grad
    parameter._grad_valid = grad_valid
    parameter.update_rule = update_rule
    parameter.to_device(device)
    return parameter
