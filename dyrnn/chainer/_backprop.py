"""Backpropagation to all leaves, from the highest rank down."""

import warnings

from dyrnn.chainer import _backend, _backprop_utils, configuration
from dyrnn.chainer._backprop_arrays import backprop_to_leaves
from dyrnn.chainer._queue import RankQueue
from dyrnn.chainer.backend import get_device_from_array, using_device
from dyrnn.chainer.function_hook import hooks_of
from dyrnn.chainer.utils import argument


def run_step(func, indexes, out_grad, in_grad, is_debug):
    """One function's step with its hooks around it."""
    in_data = tuple([x.data for x in func.inputs])
    out_data = tuple([_backend.raw(g) for g in out_grad])
    hooks = hooks_of(func)
    with using_device(get_device_from_array(*in_data, *out_data)):
        for hook in hooks:
            hook.backward_preprocess(func, in_data, out_data)
        _backprop_utils.backprop_step(func, indexes, out_grad, in_grad, is_debug)
        for hook in hooks:
            hook.backward_postprocess(func, in_data, out_data)


def taken_gradients(grads, outputs):
    """Take the gradients of a function's outputs out of the table."""
    return tuple(
        [
            grads.pop(y) if y is not None and y.creator_node is not None else None
            for y in outputs
        ]
    )


def _backprop_to_all(outputs, retain_grad, loss_scale):
    settings = configuration.current()
    if not (settings["enable_backprop"] or settings["debug"]):
        backprop_to_leaves(outputs, retain_grad, loss_scale)
        return
    queue = RankQueue()
    grads = _backprop_utils.GradTable(accumulate_grad_inputs=True)
    leaves = {}  # a set in order

    def go_on(node):
        if node.creator_node is None:
            leaves[node] = None
        else:
            queue.push(node.creator_node)

    for node, gradient in outputs:
        grads.accumulate(node, gradient)
        go_on(node)
    is_debug = configuration.is_debug()
    while queue:
        func = queue.pop()
        inputs = func.inputs
        indexes = tuple([i for i, x in enumerate(inputs) if x.requires_grad])
        nodes = [y() for y in func.outputs]
        out_grad = taken_gradients(grads, nodes)
        if not indexes:
            continue
        in_grad = {}
        for i in indexes:
            in_grad.setdefault(inputs[i], None)
        for x in in_grad:
            in_grad[x] = grads.get_as_list(x)
        run_step(func, indexes, out_grad, in_grad, is_debug)
        if retain_grad:
            for y, gy in zip(nodes, out_grad, strict=True):
                if y is not None:
                    y._set_grad_var_if_available(gy)
        del out_grad
        for x, gxs in in_grad.items():
            for gx in gxs:
                if gx is not None:
                    _backprop_utils.check_grad_type(func, x, True, gx.raw_array)
            if gxs:
                go_on(x)
        del in_grad
    for node in leaves:
        variable = node.get_variable_or_none()
        gradient = grads.pop(node)
        if variable is not None:
            variable._set_grad_var_without_check(gradient)
            variable._loss_scale = loss_scale
    grads.assert_no_grads()


def check_outputs(outputs, grad_outputs):
    """Raise unless both are sequences of one length."""
    check_sequence("outputs", outputs)
    if grad_outputs is not None:
        check_same_length("outputs", outputs, "grad_outputs", grad_outputs)


def check_sequence(name, values, or_none=""):
    """Raise unless ``values`` is a tuple or a list."""
    if not isinstance(values, (tuple, list)):
        raise TypeError(
            f"{name} must be {'None, ' if or_none else ''}a tuple"
            f"{',' if or_none else ''} or a list, not {type(values)}."
        )


def check_same_length(name, values, grad_name, grads):
    """Raise unless ``grads`` is a sequence as long as ``values``."""
    check_sequence(grad_name, grads, or_none=True)
    if len(values) != len(grads):
        raise ValueError(
            f"{grad_name} must be of the same length as {name}.\n"
            f"len({name}) = {len(values)}, len({grad_name}) = {len(grads)}"
        )


def backward(outputs, grad_outputs=None, **kwargs):
    """Backpropagate from several variables at once.

    Parameters
    ----------
    outputs : sequence of Variable
    grad_outputs : sequence of Variable or None, optional
        Their gradients; by default what their ``grad_var`` hold.
    """
    (enable_double_backprop,) = argument.parse_kwargs(
        kwargs,
        ("enable_double_backprop", False),
        retain_grad="semantics for retain_grad=True is under discussion",
        loss_scale="chainer.backward does not support loss_scale option",
    )
    check_sequence("outputs", outputs)
    for y in outputs:
        if not hasattr(y, "raw_array"):
            raise TypeError(f"each output must be a Variable, not {type(y)}")
    check_outputs(outputs, grad_outputs)
    if grad_outputs is None:
        grad_outputs = []
        for y in outputs:
            gradient = y.grad_var
            if gradient is None:
                warnings.warn(
                    "outputs contains a Variable without grad, or duplicate outputs. "
                    "Note that chainer.backward does not set default grad.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            y.grad_var = None
            grad_outputs.append(gradient)
    pairs = zip(outputs, grad_outputs, strict=True)
    pairs = [(y.node, gy) for y, gy in pairs if gy is not None]
    with configuration.using_config("enable_backprop", enable_double_backprop):
        _backprop_to_all(pairs, False, None)
