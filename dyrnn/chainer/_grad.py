"""``chainer.grad``: gradients of some outputs with respect to some inputs."""

import collections

from dyrnn.chainer import _backprop, _backprop_utils, configuration
from dyrnn.chainer._variable import Variable, as_variable


def grad(
    outputs,
    inputs,
    grad_outputs=None,
    grad_inputs=None,
    set_grad=False,
    retain_grad=False,
    enable_double_backprop=False,
    loss_scale=None,
):
    """Return the gradients of ``outputs`` with respect to ``inputs``.

    Parameters
    ----------
    outputs, inputs : sequence of Variable
    grad_outputs : sequence of Variable, optional
        Gradients of the outputs; ones by default.
    grad_inputs : sequence of Variable, optional
        Gradients to which those of the inputs are added.
    set_grad : bool
        Whether the inputs' ``grad_var`` shall be set.
    retain_grad : bool
        Whether that of all variables on the way shall be set.
    enable_double_backprop : bool
        Whether the gradients shall have a graph.
    loss_scale : float, optional
        Factor of the default ``grad_outputs``.

    Returns
    -------
    list of Variable or None
        None for an input that no output depends on.
    """
    _backprop.check_sequence("outputs", outputs)
    _backprop.check_sequence("inputs", inputs)
    if grad_outputs is not None:
        _backprop.check_same_length("outputs", outputs, "grad_outputs", grad_outputs)
    if grad_inputs is not None:
        _backprop.check_same_length("inputs", inputs, "grad_inputs", grad_inputs)
    for y in outputs:
        y.node._check_old_style_gradient()
    wanted = _nodes_between(outputs, inputs)
    grads = _backprop_utils.GradTable()
    for y, gy in zip(outputs, grad_outputs or (None,) * len(outputs), strict=True):
        if gy is None:
            gy = Variable(y.xp.ones_like(y.array), requires_grad=False)
            if loss_scale is not None:
                gy.data *= loss_scale
        grads[y.node] = as_variable(gy)
    for x, gx in zip(inputs, grad_inputs or (None,) * len(inputs), strict=True):
        if gx is not None:
            grads[x.node] = gx
    with configuration.using_config("enable_backprop", enable_double_backprop):
        found = _propagate(outputs, inputs, wanted, retain_grad, grads, loss_scale)
    result = [found[x.node] for x in inputs]
    if set_grad:
        for x, gx in zip(inputs, result, strict=True):
            x.grad_var = gx
    return result


def _nodes_between(outputs, inputs):
    """Return the nodes that lie on a way from an input to an output."""
    users = collections.defaultdict(list)
    seen = set()
    stack = [y.creator_node for y in outputs if y.creator_node is not None]
    while stack:
        func = stack.pop()
        if func in seen:
            continue
        seen.add(func)
        for x in func.inputs:
            x._check_old_style_gradient()
            if x.requires_grad:
                users[x].append(func)
                if x.creator_node is not None:
                    stack.append(x.creator_node)
    wanted, seen = set(), set()
    stack = [x.node for x in inputs]
    while stack:
        node = stack.pop()
        wanted.add(node)
        for func in users[node]:
            if func not in seen:
                seen.add(func)
                ys = [ref() for ref in func.outputs]
                stack += [y for y in ys if y is not None and y in users]
    return wanted


def _propagate(outputs, inputs, wanted, retain_grad, grads, loss_scale):
    queue = _backprop.RankQueue()
    for y in outputs:
        queue.push(y.creator_node)
    input_nodes = {x.node: None for x in inputs}
    found = {}
    is_debug = configuration.is_debug()
    while queue:
        func = queue.pop()
        ys = [ref() for ref in func.outputs]
        gys = _backprop.taken_gradients(grads, ys)
        for node, gy in zip(ys, gys, strict=True):
            if node is None:
                continue
            if node in input_nodes:
                found[node] = gy
            if retain_grad:
                y = node.get_variable_or_none()
                if y is not None:
                    y.grad_var = gy
                    y._loss_scale = loss_scale
        indexes = tuple([i for i, x in enumerate(func.inputs) if x in wanted])
        if not indexes:
            continue
        x_grads = {}
        for i in indexes:
            x = func.inputs[i]
            if x not in x_grads:
                x_grads[x] = grads.get_as_list(x)
        _backprop.run_step(func, indexes, gys, x_grads, is_debug)
        for node, gxs in x_grads.items():
            if gxs:
                queue.push(node.creator_node)
    for node in input_nodes:
        if node not in found:
            found[node] = grads.pop(node)
    return found
