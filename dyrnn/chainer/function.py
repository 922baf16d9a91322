"""``chainer.Function``: functions in the style of version 1, on arrays throughout."""

import warnings
import weakref

from dyrnn.chainer._backprop_utils import check_grad_type
from dyrnn.chainer.backend import get_device_from_array, using_device
from dyrnn.chainer.backends import cuda
from dyrnn.chainer.configuration import force_backprop_mode, no_backprop_mode
from dyrnn.chainer.function_hook import FunctionHook
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.variable import Variable

__all__ = [
    "Function",
    "FunctionAdapter",
    "FunctionHook",
    "force_backprop_mode",
    "no_backprop_mode",
]


class FunctionAdapter(FunctionNode):
    """The node of an old-style function; it holds the function, once that is called."""

    _function = None
    _weak_function = None

    def __init__(self, function):
        super().__init__()
        self._weak_function = weakref.ref(function)
        function._owned_node = self

    @property
    def function(self):
        """The old-style function."""
        if self._function is not None:
            return self._function
        return self._weak_function and self._weak_function()

    @property
    def label(self):
        return self._function.label

    @property
    def _impl_name(self):
        return type(self._function).__name__

    def check_type_forward(self, in_types):
        self._function.check_type_forward(in_types)

    def forward(self, inputs):
        self.retain_inputs(range(len(inputs)))
        return self._function.forward(inputs)

    def backward(self, target_input_indexes, grad_outputs):
        in_data = [None] * len(self.inputs)
        for i, x in zip(
            self._input_indexes_to_retain, self.get_retained_inputs(), strict=True
        ):
            in_data[i] = None if x is None else x.array
        in_data = tuple(in_data)
        gys = tuple([None if gy is None else gy.array for gy in grad_outputs])
        with using_device(get_device_from_array(*in_data, *gys)):
            gxs = self._function.backward(in_data, gys)
        for x, gx in zip(self.inputs, gxs, strict=False):
            if gx is not None:
                check_grad_type(self, x, True, gx)
        return tuple([self._as_variable(gxs[i]) for i in target_input_indexes])

    def _as_variable(self, gx):
        if gx is None:
            return None
        variable = Variable(gx)
        variable.node._old_style_grad_generator = self._function.label
        return variable


class Function:
    """A function on arrays: ``forward(inputs)``, ``backward(inputs, grad_outputs)``.

    Both return tuples of arrays. It cannot be differentiated twice.
    """

    _node = None
    _owned_node = None

    def __call__(self, *inputs):
        node = self.node
        node._function = self
        node._weak_function = None
        self._node = weakref.ref(node)
        self._owned_node = None
        outputs = node.apply(inputs)
        return outputs[0] if len(outputs) == 1 else outputs

    @property
    def node(self):
        """The FunctionAdapter."""
        node = self._node and self._node()
        if node is None:
            node = self._owned_node
        return FunctionAdapter(self) if node is None else node

    @property
    def inputs(self):
        """The nodes of the inputs."""
        return self.node.inputs

    @property
    def outputs(self):
        """Weak references to the nodes of the outputs."""
        return self.node.outputs

    @property
    def local_function_hooks(self):
        """The hooks of this function alone."""
        return self.node.local_function_hooks

    @property
    def label(self):
        """The function's name in texts and drawings."""
        return type(self).__name__

    @property
    def output_data(self):
        """The retained outputs."""
        return self.node.output_data

    @property
    def rank(self):
        """The number of functions before it."""
        return self.node.rank

    @property
    def stack(self):
        """Where it was applied; in debug mode."""
        return self.node.stack

    def check_type_forward(self, in_types):
        """Raise ``type_check.InvalidType`` where inputs are not as expected."""

    def forward(self, inputs):
        """Compute the outputs."""
        if any(isinstance(x, cuda.ndarray) for x in inputs):
            return self.forward_gpu(inputs)
        return self.forward_cpu(inputs)

    def forward_cpu(self, inputs):
        """Compute the outputs on NumPy arrays."""
        raise NotImplementedError

    def forward_gpu(self, inputs):
        """Compute the outputs on CuPy arrays."""
        raise NotImplementedError

    def backward(self, inputs, grad_outputs):
        """Compute the gradients of the inputs."""
        if any(isinstance(x, cuda.ndarray) for x in inputs + grad_outputs):
            return self.backward_gpu(inputs, grad_outputs)
        return self.backward_cpu(inputs, grad_outputs)

    def backward_cpu(self, inputs, grad_outputs):
        """Compute the gradients on NumPy arrays."""
        return (None,) * len(inputs)

    def backward_gpu(self, inputs, grad_outputs):
        """Compute the gradients on CuPy arrays."""
        return (None,) * len(inputs)

    def unchain(self):
        """Cut the function out of the graph."""
        self.node.unchain()

    def add_hook(self, hook, name=None):
        """Call a hook around this function."""
        self.node.add_hook(hook, name)

    def delete_hook(self, name):
        """Do not call a hook any more."""
        self.node.delete_hook(name)

    def retain_inputs(self, indexes):
        """Keep these inputs for ``backward``."""
        self.node.retain_inputs(indexes)

    def retain_outputs(self, indexes, retain_after_backward=False):
        """Keep these outputs for ``backward``."""
        if retain_after_backward:
            warnings.warn(
                "retain_after_backward option has no effect",
                DeprecationWarning,
                stacklevel=1,
            )
        self.node.retain_outputs(indexes)
