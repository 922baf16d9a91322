"""``chainer.FunctionNode``: one application of a function with Chainer's signatures."""

import collections
import traceback
import weakref

import numpy as np

from dyrnn.chainer import _backend, casting, configuration
from dyrnn.chainer._grad import grad
from dyrnn.chainer._variable import Variable, as_variable
from dyrnn.chainer.backend import contains_nan, get_device_from_array, using_device
from dyrnn.chainer.backends import cuda
from dyrnn.chainer.function_hook import FunctionHook, hooks_of
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.misc import _check_arrays_forward_compatible

__all__ = ["FunctionNode", "grad"]


class FunctionNode:
    """A differentiable function; subclass it, and ``apply`` an instance once.

    ``forward(inputs)`` takes and returns tuples of arrays (or ``forward_cpu`` and
    ``forward_gpu`` do). ``backward(indexes, grad_outputs)`` takes and returns tuples of
    variables, a gradient for each of the inputs ``indexes``, or for all.
    """

    inputs = None
    outputs = None
    rank = 0
    stack = None
    lazy_grad_sum = False
    is_elementwise = False
    chainerx_device = None
    _is_chainerx_fallback_mode = False
    _output_count = None
    _input_indexes_to_retain = None
    _output_indexes_to_retain = None
    _retained_output_data = None
    _local_function_hooks = None

    @property
    def local_function_hooks(self):
        """The hooks of this function alone, by name."""
        if self._local_function_hooks is None:
            self._local_function_hooks = collections.OrderedDict()
        return self._local_function_hooks

    @property
    def _n_local_function_hooks(self):
        return len(self._local_function_hooks or ())

    @property
    def label(self):
        """The function's name in texts and drawings."""
        return type(self).__name__

    @property
    def _impl_name(self):
        return type(self).__name__

    @property
    def output_data(self):
        """The retained outputs as arrays, None for the others."""
        if self._retained_output_data is None:
            raise RuntimeError("retained output data is gone")
        out = [None] * self._output_count
        for i, data in zip(
            self._output_indexes_to_retain, self._retained_output_data, strict=True
        ):
            out[i] = data
        return tuple(out)

    def __call__(self, *args, **kwargs):
        name = type(self).__name__
        if type(self).__module__.startswith(("chainer.", "dyrnn.chainer.")):
            raise RuntimeError(
                f"Chainer's built-in function class object ({name}) which is derived "
                "from chainer.FunctionNode has been called as if it were a callable. "
                "Use FunctionNode.apply() method instead, or better the function of "
                "the same name in lower case."
            )
        raise RuntimeError(
            f"A function class object ({name}) which is derived from "
            "chainer.FunctionNode has been called as if it were a callable. "
            "Use apply() method instead."
        )

    def apply(self, inputs):
        """Compute the outputs, and record the function in the graph.

        Parameters
        ----------
        inputs : tuple of Variable or array

        Returns
        -------
        tuple of Variable
        """
        settings = configuration.current()
        variables, arrays = [], []
        is_on_host, requires_grad, is_volatile = True, False, False
        for x in inputs:
            if not isinstance(x, Variable):
                arrays.append(x)
            else:
                arrays.append(x._data[0])
                variables.append(x)
                requires_grad = requires_grad or x._requires_grad
                is_volatile = is_volatile or x._volatile
            is_on_host = is_on_host and isinstance(arrays[-1], np.ndarray)
        if casting.is_on and casting.is_mixed(arrays):
            return self.apply(casting.of_one_type(inputs))
        in_data = tuple(arrays)
        if not is_on_host:
            _check_arrays_forward_compatible(in_data, self.label)
        if settings["debug"]:
            self.stack = traceback.extract_stack()
        if len(variables) < len(arrays):
            variables = [as_variable(x) for x in inputs]
        if settings["type_check"]:
            self._check_data_type_forward(in_data)
        hooks = hooks_of(self)
        for hook in hooks:
            hook.forward_preprocess(self, in_data)
        self._input_indexes_to_retain = self._output_indexes_to_retain = None
        if is_on_host:
            outputs = self.forward(in_data)
        else:
            with using_device(get_device_from_array(*in_data)):
                outputs = self.forward(in_data)
        self._check_outputs(outputs)
        for hook in hooks:
            hook.forward_postprocess(self, in_data)
        if settings["debug"]:
            for y in outputs:
                if y is not None and contains_nan(y):
                    raise RuntimeError(
                        f"NaN is detected on forward computation of {self.label}"
                    )
        self._output_count = len(outputs)
        ys = []
        for y in outputs:  # they have passed the checks of Variable()
            ys.append(Variable.__new__(Variable))
            ys[-1]._init(y, requires_grad=requires_grad)
        if is_volatile:
            for y in ys:
                y._volatile = True
        elif settings["enable_backprop"]:
            self.lazy_grad_sum = settings["lazy_grad_sum"]
            self._record(variables, arrays, ys, outputs)
        return tuple(ys)

    def _record(self, variables, arrays, ys, outputs):
        """Enter the function into the graph, and let nodes keep what it retains."""
        nodes, refs, rank = [], [], 0
        for x in variables:
            nodes.append(x._node)
            rank = max(rank, x._node._rank)
        self.rank = rank
        for y in ys:
            node = y._node
            node._creator_node, node._rank = self, rank + 1
            refs.append(weakref.ref(node))
        self.inputs, self.outputs = tuple(nodes), tuple(refs)
        for i in self._input_indexes_to_retain or ():
            nodes[i]._data = arrays[i]
        if self._output_indexes_to_retain is not None:
            kept = []
            for i in self._output_indexes_to_retain:
                ys[i]._node._data = outputs[i]
                kept.append(outputs[i])
            self._retained_output_data = tuple(kept)

    def _check_outputs(self, outputs):
        if not isinstance(outputs, tuple):
            raise TypeError(
                f"forward output must be a tuple ({self.label})\n"
                f"Actual: {type(outputs)}"
            )
        if len(outputs) == 1 and isinstance(outputs[0], np.ndarray):
            return
        if self.is_elementwise and any(y.shape != outputs[0].shape for y in outputs):
            shapes = ", ".join(repr(y.shape) for y in outputs)
            raise RuntimeError(
                "An elementwise function returned outputs with different shapes.\n"
                f"Function: {self.label}\nOutput shapes: {shapes}"
            )
        if _backend.is_arrays_compatible(outputs):
            return
        if not all(isinstance(y, _backend.array_types()) for y in outputs):
            raise TypeError(
                "forward output must be a tuple of ndarrays.\n"
                f"Function: {self.label}\n"
                f"Actual output types: {tuple(type(y) for y in outputs)}"
            )
        kinds = ", ".join(str(type(y)) for y in outputs)
        raise TypeError(
            "incompatible array types are mixed in the forward output "
            f"({self.label}).\nActual: {kinds}"
        )

    def _check_data_type_forward(self, in_data):
        state = type_check._state
        state.light_mode = True
        try:
            self.check_type_forward(type_check.LightTypeInfoTuple(in_data))
            return
        except type_check.InvalidType:
            pass  # once more, with a message
        finally:
            state.light_mode = False
        with type_check.get_function_check_context(self):
            types = type_check.get_types(in_data, "in_types", False)
            try:
                self.check_type_forward(types)
            except type_check.InvalidType as error:
                given = ", ".join(f"{x.dtype} {x.shape}" for x in in_data)
                error.args = (f"{error.args[0]}\nInputs: {given}",)
                raise

    def check_type_forward(self, in_types):
        """Raise ``type_check.InvalidType`` where inputs are not as expected."""

    def forward(self, inputs):
        """Compute the outputs: tuple of arrays in, tuple of arrays out."""
        assert len(inputs) > 0
        if isinstance(inputs[0], cuda.ndarray):
            return self.forward_gpu(inputs)
        return self.forward_cpu(inputs)

    def forward_cpu(self, inputs):
        """Compute the outputs on NumPy arrays."""
        raise NotImplementedError

    def forward_gpu(self, inputs):
        """Compute the outputs on CuPy arrays."""
        raise NotImplementedError

    def retain_inputs(self, indexes):
        """Keep these inputs for ``backward``; call it in ``forward``."""
        self._input_indexes_to_retain = indexes

    def retain_outputs(self, indexes):
        """Keep these outputs for ``backward``; call it in ``forward``."""
        self._output_indexes_to_retain = indexes

    def backward(self, target_input_indexes, grad_outputs):
        """Compute the gradients of the inputs ``target_input_indexes``."""
        return (None,) * len(target_input_indexes)

    def backward_accumulate(self, target_input_indexes, grad_outputs, grad_inputs):
        """Compute gradients, and add those there are already."""
        gxs = self.backward(target_input_indexes, grad_outputs)
        if len(gxs) == len(self.inputs):
            gxs = [gxs[i] for i in target_input_indexes]
        else:
            assert len(gxs) == len(target_input_indexes)
        return tuple(
            [
                gx if held is None else held if gx is None else gx + held
                for gx, held in zip(gxs, grad_inputs, strict=True)
            ]
        )

    backward_accumulate.is_default = True

    def _get_error_message(self, message):
        lines = [message, f"  function={self._impl_name} ({self.label})"]
        for i, x in enumerate(self.inputs or ()):
            lines.append(f"    input {i}: shape={x.shape} dtype={x.dtype}")
        for i, ref in enumerate(self.outputs or ()):
            y = ref()
            what = "not available" if y is None else f"shape={y.shape} dtype={y.dtype}"
            lines.append(f"    output {i}: {what}")
        return "\n".join(lines)

    def get_retained_inputs(self):
        """Return the retained inputs as variables."""
        if self._input_indexes_to_retain is None or self.inputs is None:
            return ()
        found = []
        for i in self._input_indexes_to_retain:
            node = self.inputs[i]
            found.append(None if node._data is None else node.get_variable())
        return tuple(found)

    def get_retained_outputs(self):
        """Return the retained outputs as variables."""
        if self._output_indexes_to_retain is None or self.outputs is None:
            return ()
        if self._retained_output_data is None:
            raise ValueError(
                self._get_error_message("retain_outputs is not called in forward.")
            )
        found, outputs = [], list(self.outputs)
        for i, data in zip(
            self._output_indexes_to_retain, self._retained_output_data, strict=True
        ):
            node = outputs[i]()
            if node is None:  # nobody holds it: make it again
                variable = Variable(data)
                variable.creator_node = self
                outputs[i] = weakref.ref(variable.node)
            else:
                variable = node.get_variable()
            found.append(None if variable.raw_array is None else variable)
        self.outputs = tuple(outputs)
        return tuple(found)

    def unchain(self):
        """Cut the function out of the graph."""
        for ref in self.outputs:
            y = ref()
            if y is not None:
                y._creator_node = None
        self.inputs = None
        self.outputs = None

    def add_hook(self, hook, name=None):
        """Call a hook around this function."""
        if not isinstance(hook, FunctionHook):
            raise TypeError("Hook must be of type FunctionHook")
        name = hook.name if name is None else name
        hooks = self.local_function_hooks
        if name in hooks:
            raise KeyError(f"Hook {name} already exists")
        hooks[name] = hook
        hook.added(self)

    def delete_hook(self, name):
        """Do not call a hook any more."""
        if name not in self.local_function_hooks:
            raise KeyError(f"Hook {name} does not exist")
        self.local_function_hooks[name].deleted(self)
        del self.local_function_hooks[name]
