"""Backpropagation on arrays, where no gradient of a gradient is asked for.

Gradients that arrive at a node are added up at once, but for the promises of
:mod:`dyrnn.engine.gradients`, which nodes with ``backward_arrays`` return: those of a
weight that is used at many steps are evaluated together, when they are read.
"""

import numpy as np

from dyrnn.chainer import _backprop_utils
from dyrnn.chainer._queue import RankQueue
from dyrnn.chainer._variable_node import VariableNode
from dyrnn.chainer.backend import get_device_from_array, using_device
from dyrnn.chainer.function_hook import hooks_of
from dyrnn.engine.gradients import Deferred, Sum


class Total:
    """What has arrived at a node: the sum of arrays, and promises."""

    __slots__ = ("array", "is_owned", "promises")

    def __init__(self):
        self.array = self.promises = None
        self.is_owned = False

    def add(self, term):
        """Add an array, which may be held elsewhere, or a promise."""
        if isinstance(term, Deferred):
            if self.promises is None:
                self.promises = Sum(term)
            else:
                self.promises.add(term)
        elif self.array is None:
            self.array = term
        elif self.is_owned:
            self.array += term
        else:
            self.array = self.array + term
            if isinstance(self.array, np.generic):
                self.array = np.asarray(self.array)
            self.is_owned = True

    def value(self):
        """Return the sum as an array, or None."""
        if self.promises is not None:
            promises, self.promises = self.promises, None
            self.add(promises.dense())
        return self.array


def backprop_to_leaves(outputs, retain_grad, loss_scale):
    """Run the graph backwards, and set the gradients of all leaves.

    Parameters
    ----------
    outputs : list of (VariableNode, Variable)
        Where to start, and with what gradients.
    retain_grad : bool
        Set those of the variables on the way, too.
    loss_scale : float or None
    """
    queue, totals, leaves = RankQueue(), {}, []

    def arrive(node, gradient):
        total = totals.get(node)
        if total is None:
            total = totals[node] = Total()
            if node._creator_node is None:
                leaves.append(node)
                _take_from_leaf(node, total)
            else:
                queue.push(node._creator_node)
        total.add(gradient)

    seeds = dict(outputs)
    for node, gradient in outputs:
        arrive(node, gradient.array)
    while queue:
        func = queue.pop()
        inputs, gys, nodes = func.inputs, [], []
        for ref in func.outputs:
            node = ref()
            is_there = node is not None and node._creator_node is not None
            total = totals.pop(node, None) if is_there else None
            gys.append(None if total is None else total.value())
            nodes.append(node)
        indexes = []
        for i, x in enumerate(inputs):
            if x._requires_grad:
                indexes.append(i)
        if not indexes:
            continue
        if retain_grad:
            for y, gy in zip(nodes, gys, strict=True):
                if y is not None:
                    first = seeds.get(y)  # which stays the same variable
                    is_same = first is not None and first.array is gy
                    y._set_grad_var_if_available(first if is_same else _variable(gy))
        indexes = tuple(indexes)
        gxs = _run(func, indexes, gys, totals)
        for i, gx in zip(indexes, gxs, strict=False):
            if isinstance(gx, VariableNode.variable_type):
                gx = gx._data[0]
            elif isinstance(gx, np.generic):
                gx = np.asarray(gx)
            if gx is not None:
                x = inputs[i]
                if gx.shape != x.shape or gx.dtype != x.dtype:
                    _backprop_utils.check_grad_type(func, x, True, gx)
                arrive(x, gx)
    for node in leaves:
        variable = node._variable()
        if variable is not None:
            variable._grad, variable._grad_var = totals.pop(node).value(), None
            variable._loss_scale = loss_scale


def _take_from_leaf(node, total):
    """Start with the gradient that the leaf's variable holds, and take it away."""
    node._check_old_style_gradient()
    variable = node._variable()
    if variable is not None:
        gradient = variable.grad_var
        if gradient is not None:
            total.add(gradient.array)
            variable.grad_var = None


def _variable(array):
    make = VariableNode.variable_type._init_unchecked
    return None if array is None else make(array)


def _run(func, indexes, gys, totals):
    """Run one function's step, with its hooks around it."""
    hooks = hooks_of(func)
    is_on_host = True
    for gy in gys:
        is_on_host = is_on_host and (gy is None or isinstance(gy, np.ndarray))
    if is_on_host and not hooks:
        return _gradients(func, indexes, gys, totals)
    in_data, out_data = tuple([x.data for x in func.inputs]), tuple(gys)
    with using_device(get_device_from_array(*in_data, *out_data)):
        for hook in hooks:
            hook.backward_preprocess(func, in_data, out_data)
        gxs = _gradients(func, indexes, gys, totals)
        for hook in hooks:
            hook.backward_postprocess(func, in_data, out_data)
    return gxs


def _gradients(func, indexes, gys, totals):
    """Return the gradients of the inputs ``indexes``."""
    backward = getattr(func, "backward_arrays", None)
    if backward is not None:
        return backward(indexes, gys)
    gys = tuple(map(_variable, gys))
    if getattr(func.backward_accumulate, "is_default", False) is not True:
        return _accumulated(func, indexes, gys, totals)
    gxs = _backprop_utils.run(func, func.backward, indexes, gys)
    return _backprop_utils.selected(func, indexes, gxs, False)


def _accumulated(func, indexes, gys, totals):
    """Run a ``backward_accumulate`` of a program's own: it adds to what arrived."""
    held = []
    for i in indexes:
        total = totals.get(func.inputs[i])
        held.append(None if total is None else _variable(total.value()))
        if total is not None:
            total.array, total.is_owned = None, False
    return _backprop_utils.run(
        func, func.backward_accumulate, indexes, gys, tuple(held)
    )
