"""Gradients on their way: lists not yet added up, checks, one step of a function."""

import shutil
import traceback

from dyrnn.chainer import _backend, _operations
from dyrnn.chainer.backend import contains_nan


def raise_grad_error(exc_type, func, message):
    """Raise, and name the function whose gradient is wrong."""
    detail = ""
    if func is not None:
        detail = f"Function `{func._impl_name}` ({func.label}) has a bug.\n"
        if func.stack:
            detail += "Stacktrace of the function is below:\n"
            detail += "".join(traceback.format_list(func.stack))
        detail += (
            "\nPlease look at its backward method: it must return a gradient of the "
            "type and shape of each input.\n"
        )
    raise exc_type(detail + message)


def check_grad_type(func, x, is_node_x, gx):
    """Raise unless the array ``gx`` can be the gradient of a variable or node."""
    data = x._data if is_node_x else x._data[0]
    if data is None and not is_node_x:
        return  # a parameter without values yet
    if x.dtype is None or x.shape is None:
        return
    kinds = _backend.array_types()
    if not isinstance(gx, kinds):
        raise_grad_error(
            TypeError,
            func,
            f"Type of grad is invalid:\nExpected: Any of {kinds}\nActual: {type(gx)}",
        )
    if data is not None and not _backend.is_arrays_compatible((gx, data)):
        raise_grad_error(
            TypeError,
            func,
            f"Type of data and grad mismatch\ngrad: {type(gx)} != data: {type(data)}",
        )
    if gx.dtype != x.dtype:
        raise_grad_error(
            TypeError,
            func,
            f"Dtype of data and grad mismatch\ngrad: {gx.dtype} != data: {x.dtype}",
        )
    if gx.shape != x.shape:
        raise_grad_error(
            ValueError,
            func,
            f"Shape of data and grad mismatch\ngrad: {gx.shape} != data: {x.shape}",
        )


def _reduce(grads):
    """Add up a list of gradients in place; return the sum or None."""
    if len(grads) > 1:
        grads[:] = [_operations.functions.add(*grads)]
    return grads[0] if grads else None


def _taken_from_leaf(node):
    """Return the gradient a leaf's variable holds, and take it away there."""
    variable = node.get_variable_or_none()
    if variable is None:
        return None
    gradient = variable.grad_var
    variable.grad_var = None
    return gradient


class GradTable:
    """Gradients by node, each a list whose sum is the gradient.

    With ``accumulate_grad_inputs`` a leaf starts with the gradient it has already.
    """

    def __init__(self, accumulate_grad_inputs=False):
        self.grads = {}
        self._load_if_new = accumulate_grad_inputs

    def __setitem__(self, node, grad):
        self.grads[node] = [] if grad is None else [grad]

    def accumulate(self, node, grad):
        """Add a gradient."""
        self.get_as_list(node).append(grad)

    def get_as_list(self, node):
        """Return the node's list, a new one if need be."""
        if node not in self.grads:
            start = None
            if self._load_if_new and node.creator_node is None:
                node._check_old_style_gradient()
                start = _taken_from_leaf(node)
            self[node] = start
        return self.grads[node]

    def pop(self, node):
        """Take the node's gradient, added up, out of the table."""
        if node is None:
            return None
        if node in self.grads:
            return _reduce(self.grads.pop(node))
        return _taken_from_leaf(node) if self._load_if_new else None

    def assert_no_grads(self):
        """Check that each gradient has been used."""
        assert all(not grads for grads in self.grads.values())


def backprop_step(func, target_input_indexes, grad_outputs, grad_inputs, is_debug):
    """Run one function's ``backward`` and append to the lists in ``grad_inputs``."""
    nodes = [func.inputs[i] for i in target_input_indexes]
    if getattr(func.backward_accumulate, "is_default", False) is not True:
        lists = [grad_inputs[node] for node in nodes]
        held = tuple([grads.pop() if grads else None for grads in lists])
        gxs = run(
            func, func.backward_accumulate, target_input_indexes, grad_outputs, held
        )
    else:
        gxs = run(func, func.backward, target_input_indexes, grad_outputs)
        gxs = selected(func, target_input_indexes, gxs, is_debug)
    for i, node, gx in zip(target_input_indexes, nodes, gxs, strict=False):
        if gx is None or gx.raw_array is None:
            continue
        grads = grad_inputs[node]
        grads.append(gx)
        if is_debug:
            _check_against(func, i, gx, node, grads[0])
    if is_debug:
        for grads in grad_inputs.values():
            if any(contains_nan(gx.data) for gx in grads):
                raise RuntimeError(
                    f"NaN is detected on backward computation of {func.label}"
                )
    if not func.lazy_grad_sum:
        for grads in grad_inputs.values():
            _reduce(grads)


def run(func, method, *args):
    """Call a method of a function; an error says where the function was applied."""
    try:
        return method(*args)
    except Exception as error:
        if func.stack is not None:
            columns = shutil.get_terminal_size()[0]
            lines = "".join(traceback.format_list(func.stack[:-1]))
            note = f"\n{'-' * columns}\nStacktrace of the function is below:\n{lines}"
            first = error.args[0] if error.args else ""
            error.args = (f"{first}{note}", *error.args[1:])
        raise


def selected(func, indexes, gxs, is_debug):
    """Return the gradients of the wanted inputs out of what ``backward`` returned."""
    if is_debug:
        for gx in gxs:
            if gx is not None and not hasattr(gx, "raw_array"):
                raise ValueError(
                    func._get_error_message(
                        "type of gradients returned from backward is incorrect: "
                        f"{type(gx)} != expected {_variable_type(func)}"
                    )
                )
    n, n_inputs, n_wanted = len(gxs), len(func.inputs), len(indexes)
    if n == n_inputs:
        return tuple([gxs[i] for i in indexes])
    if n != n_wanted:
        expected = f"{n_inputs}"
        if n_inputs != n_wanted:
            expected += f" or {n_wanted}"
        raise ValueError(
            func._get_error_message(
                "number of gradients returned from backward is incorrect: "
                f"{n} != expected {expected}"
            )
        )
    return gxs


def _variable_type(func):
    return type(func.inputs[0].get_variable())


def _check_against(func, i, gx, node, other):
    for what, found, expected in (
        ("shape", gx.shape, node.shape),
        ("shape", gx.shape, other.shape),
        ("dtype", gx.dtype, other.dtype),
    ):
        if found != expected:
            raise ValueError(
                func._get_error_message(
                    f"{what} of gradients returned from backward is incorrect: "
                    f"input-index={i}, actual {found} != expected {expected}"
                )
            )
