"""Variables in Chainer's sense: an array, its gradient, and a node of the graph.

Its place in the graph is a :class:`VariableNode`, which see. Arithmetic is installed by
``functions``; see ``_operations.py``.
"""

import warnings

from dyrnn.chainer import (
    _backend,
    _backprop,
    _operations,
    _texts,
    backend,
    configuration,
    flag,
)
from dyrnn.chainer._backprop_utils import check_grad_type
from dyrnn.chainer._texts import NoComparisons
from dyrnn.chainer._variable_node import VariableNode
from dyrnn.chainer.backends import cuda, intel64
from dyrnn.chainer.utils import argument


def _create_variable(data, name, grad, requires_grad, device):
    variable = Variable(data, name=name, grad=grad, requires_grad=requires_grad)
    variable.to_device(device)
    return variable


class Variable(NoComparisons):
    """An array with a gradient and a history.

    Parameters
    ----------
    data : numpy.ndarray or cupy.ndarray, optional
    volatile : bool, str or Flag, optional
        Version 1: true or "on" means that nothing computed from it is recorded.
    name : str, optional
    grad : array, optional
        The first gradient.
    requires_grad : bool
        Whether backpropagation shall compute a gradient.
    """

    __array_priority__ = 200
    _has_chainerx_array = False
    _grad = None
    _grad_var = None
    _grad_valid = True
    _loss_scale = None
    _device = None
    _volatile = False

    def __init__(self, data=None, volatile=False, **kwargs):
        name, grad, requires_grad, grad_valid, layout = argument.parse_kwargs(
            kwargs,
            ("name", None),
            ("grad", None),
            ("requires_grad", True),
            ("_grad_valid", True),
            ("layout", None),
        )
        assert isinstance(requires_grad, bool)
        if layout is not None:
            raise ValueError("dyrnn.chainer has no memory layouts; leave layout None")
        kinds = _backend.array_types()
        if data is not None and not isinstance(data, kinds):
            raise TypeError(
                f"{' or '.join(map(str, kinds))} are expected. Actual: {type(data)}. "
                "Variable takes an array, such as np.array(data, np.float32)."
            )
        self._init(data, name, grad, grad_valid, requires_grad)
        if volatile is not False:
            self.volatile = volatile

    @property
    def volatile(self):
        """Whether nothing computed from it is recorded: flag.ON or flag.OFF."""
        return flag.Flag(self._volatile)

    @volatile.setter
    def volatile(self, value):
        self._volatile = flag.Flag(value) is flag.ON

    @staticmethod
    def _init_unchecked(data=None, device=None, is_chainerx_array=None, **kwargs):
        """Make a variable without the checks of ``Variable(data, ...)``."""
        variable = Variable.__new__(Variable)
        variable._init(data, **kwargs)
        variable._device = device
        return variable

    def _init(
        self, data, name=None, grad=None, grad_valid=True, requires_grad=True, node=None
    ):
        self._requires_grad = requires_grad
        self._data = [data]
        if grad is not None:
            self._grad = grad
        if not grad_valid:
            self._grad_valid = False
        self._node = VariableNode(self, name) if node is None else node

    def __copy__(self):
        return self._copy_to(Variable())

    def _copy_to(self, target):
        vars(target).clear()
        vars(target).update(vars(self))
        target._node = VariableNode(target, self.name)
        return target

    def __reduce__(self):
        return _create_variable, (
            self.array,
            self.name,
            self.grad,
            self._requires_grad,
            self.device,
        )

    def __repr__(self):
        return _texts.variable_repr(self)

    def __str__(self):
        return _texts.variable_str(self)

    # Places

    @property
    def device(self):
        """The device of the array."""
        if self._device is None:
            self._device = backend.get_device_from_array(self._data[0])
        return self._device

    @property
    def xp(self):
        """The array module."""
        return self.device.xp

    def to_cpu(self):
        """Move to main memory."""
        self.to_device(backend.CpuDevice())

    def to_gpu(self, device=None):
        """Move to a GPU."""
        cuda.check_cuda_available()
        self.to_device(cuda._get_device_or_current(device))

    def to_intel64(self):
        """Say that iDeep is not there."""
        intel64.check_ideep_available()

    def to_chx(self):
        """Say that ChainerX is not there."""
        raise RuntimeError("ChainerX is not available.")

    def from_chx(self):
        """Do nothing: the array is not ChainerX's."""

    def to_device(self, device):
        """Move the array and the gradient to a device."""
        self._to_device(device)

    def _to_device(self, device):
        device = backend.get_device(device)
        array, gradient = self._data[0], self.grad_var
        self._device = device
        if array is None or backend.get_device_from_array(array) == device:
            return
        self._data = [device.send(array)]
        if gradient is not None:
            gradient._to_device(device)
            self._grad = gradient.raw_array
        if self._node._data is not None:
            self._node.retain_data()

    # What it is

    @property
    def name(self):
        """Name for texts and drawings."""
        return self._node.name

    @name.setter
    def name(self, name):
        self._node.name = name

    @property
    def layout(self):
        """None: there are no memory layouts."""
        return None

    @property
    def raw_array(self):
        """The array."""
        return self._data[0]

    @property
    def array(self):
        """The array."""
        return self._data[0]

    @array.setter
    def array(self, array):
        self._node._update_data_info(array)
        self._data[0] = array

    @property
    def data(self):
        """The array, by its older name."""
        return self.array

    @data.setter
    def data(self, array):
        self.array = array

    @property
    def chx_array(self):
        """Nothing: the array is not ChainerX's."""
        raise ValueError(
            "chx_array is not available for Variable with non-ChainerX array."
        )

    @property
    def shape(self):
        return self._data[0].shape

    @property
    def ndim(self):
        return self._data[0].ndim

    @property
    def size(self):
        return self._data[0].size

    @property
    def dtype(self):
        return self._data[0].dtype

    @property
    def T(self):
        """The array's transpose."""
        return _operations.functions.transpose(self)

    def __len__(self):
        return len(self.array)

    def __pos__(self):
        return self

    def summary(self):
        """Return a short text."""
        return (
            f"<variable {self.name}>" if self.name else f"<variable at 0x{id(self):x}>"
        )

    def debug_print(self):
        """Return a text with the array's and the gradient's statistics."""
        return _texts.debug_print(self)

    # The graph

    @property
    def node(self):
        """The variable's node."""
        return self._node

    @property
    def label(self):
        """Shape and type, for drawings of the graph."""
        return self._node.label

    @property
    def rank(self):
        """The number of functions on the longest way here."""
        return self._node.rank

    @property
    def requires_grad(self):
        """Whether a gradient is computed for it."""
        return self._requires_grad

    @property
    def creator(self):
        """The function that made it; an old-style one as it was written."""
        return self._node.creator

    @creator.setter
    def creator(self, func):
        self._node.creator = func

    @property
    def creator_node(self):
        """The FunctionNode that made it."""
        return self._node._creator_node

    @creator_node.setter
    def creator_node(self, func):
        self._node.creator_node = func

    def set_creator(self, gen_func):
        """Set the function that made it."""
        self._node.set_creator(gen_func)

    def set_creator_node(self, fnode):
        """Set the FunctionNode that made it."""
        self._node.set_creator_node(fnode)

    def retain_data(self):
        """Let the node keep the array."""
        self._node.data = self._data[0]

    def unchain(self):
        """Forget the function that made it."""
        self.creator_node = None

    def unchain_backward(self):
        """Cut the whole graph behind it."""
        stack, seen = [self.creator_node], {None}
        while stack:
            func = stack.pop()
            if func not in seen:
                seen.add(func)
                for x in func.inputs:
                    stack.append(x._creator_node)
                func.unchain()

    # Gradients

    @property
    def grad(self):
        """The gradient array, or None."""
        if not self._grad_valid:
            raise RuntimeError(
                "Cannot retrieve Variable.grad. Either it must be set manually or "
                "Variable.cleargrad() must be called beforehand."
            )
        return self._grad if self._grad_var is None else self._grad_var.array

    @grad.setter
    def grad(self, array):
        if array is not None:
            check_grad_type(None, self, False, array)
        self._grad = array
        self._grad_var = None
        self._grad_valid = True

    @property
    def grad_var(self):
        """The gradient as a variable, or None."""
        if self._grad_var is None and self._grad is not None:
            self._grad_var = Variable(self._grad)
        return self._grad_var

    @grad_var.setter
    def grad_var(self, gradient):
        if gradient is not None:
            check_grad_type(None, self, False, gradient.array)
        self._set_grad_var_without_check(gradient)

    def _set_grad_var_without_check(self, gradient):
        self._grad_var = gradient
        self._grad = None if gradient is None else gradient.array

    def cleargrad(self):
        """Forget the gradient."""
        self._grad = self._grad_var = None
        self._grad_valid = True

    def zerograd(self):
        """Set the gradient to zeros; older than :meth:`cleargrad`."""
        warnings.warn(
            "Variable.zerograd is deprecated. Use Variable.cleargrad instead.",
            DeprecationWarning,
            stacklevel=1,
        )
        self._grad_valid = True
        if self.array is None:
            return
        if self._grad is None:
            self._grad = self.xp.zeros_like(self.array)
            self._grad_var = None
            return
        if self._grad_var is not None:
            self._grad_var.unchain()
        self._grad.fill(0)

    def copydata(self, var):
        """Take over another variable's values; either is initialized if need be."""
        if var.array is None:
            if self.array is None:
                return
            var.initialize(self.shape)
        elif self.array is None:
            self.initialize(var.shape)
        backend.copyto(self.array, var.array)

    def addgrad(self, var):
        """Add another variable's gradient to this one's."""
        if var.grad is None:
            return
        added = var.grad_var
        if self.array is None:
            self.initialize(var.shape)
        if added.device != self.device:
            added = _operations.functions.copy(added, self.device)
        own = self.grad_var
        self.grad_var = added if own is None else added + own

    def backward(
        self, retain_grad=False, enable_double_backprop=False, loss_scale=None
    ):
        """Backpropagate to all leaves.

        A variable of one element starts with 1 (times ``loss_scale``); any other one
        needs a gradient, and without it nothing happens.
        """
        if self.array.size == 1 and self.grad_var is None:
            if self.array.ndim != 0:
                warnings.warn(
                    "Treating a variable with only one element as a scalar in "
                    "Variable.backward is deprecated. A scalar variable must be a "
                    "0-dimensional array. Apply chainer.functions.squeeze to obtain a "
                    "scalar variable. If the size of this variable accidentally "
                    "becomes one, set zero to grad.",
                    DeprecationWarning,
                    stacklevel=1,
                )
            self.grad = self.xp.ones_like(self.array)
            if loss_scale is not None:
                self.grad *= loss_scale
        node, gradient = self.node, self.grad_var
        if gradient is None:
            return
        self.grad_var = None
        with configuration.using_config("enable_backprop", enable_double_backprop):
            _backprop._backprop_to_all([(node, gradient)], retain_grad, loss_scale)

    # Operations

    def item(self):
        """Return the only element as a Python number."""
        return self.array.item()

    def mean(self, axis=None, *, weights=None, keepdims=False):
        """Average."""
        return _operations.functions.average(self, axis, weights, keepdims)

    def sum(self, axis=None, keepdims=False):
        """Sum over axes."""
        return _operations.functions.sum(self, axis, keepdims)

    def astype(self, dtype, copy=True):
        """Convert to a type."""
        return _operations.functions.cast(self, dtype)

    def reshape(self, *shape):
        """Change the shape."""
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            (shape,) = shape
        return _operations.functions.reshape(self, shape)

    def transpose(self, *axes):
        """Permute the axes."""
        if not axes:
            axes = None
        elif len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list))):
            (axes,) = axes
        return _operations.functions.transpose(self, axes)


VariableNode.variable_type = Variable


def as_variable(obj):
    """Return ``obj`` as a variable; an array becomes one without a gradient."""
    return obj if isinstance(obj, Variable) else Variable(obj, requires_grad=False)


def as_array(obj):
    """Return the array of a variable; anything else as it is."""
    return obj.array if isinstance(obj, Variable) else obj
