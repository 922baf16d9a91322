"""Nodes by rule: most functions are a formula forward and one for the gradient.

``backward`` works on variables, so that a gradient can be differentiated again: the
rule is written in the functions of this package themselves, which find each other
through ``functions()``, since products need sums and sums need broadcasts.
"""

import functools

from dyrnn.chainer import _backend, _operations
from dyrnn.chainer.configuration import config
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.misc import force_array


def functions():
    """Return the package of functions."""
    return _operations.functions


def is_float(in_types, *names):
    """Expect as many inputs as names, all float and of one type."""
    type_check._argname(in_types, names)
    type_check.expect(in_types[0].dtype.kind == "f")
    for in_type in in_types[1:]:
        type_check.expect(in_types[0].dtype == in_type.dtype)


def are_alike(in_types, *names):
    """Expect as many inputs as names, all float, of one type and one shape."""
    is_float(in_types, *names)
    for in_type in in_types[1:]:
        type_check.expect(in_types[0].shape == in_type.shape)


class Arrangement(FunctionNode):
    """A function of one array, most often another arrangement of its elements.

    ``compute(xp, x)`` returns the output's array, ``rule(gy)`` the gradient as a
    variable; of the input it knows shape and type, from ``self.inputs[0]``.
    """

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("x",))

    def compute(self, xp, x):
        raise NotImplementedError

    def rule(self, gy):
        raise NotImplementedError

    def forward(self, inputs):
        return (self.compute(_backend.get_array_module(*inputs), *inputs),)

    def backward(self, indexes, gys):
        return (self.rule(*gys),)


class Formula(FunctionNode):
    """Elementwise function of float inputs: ``compute`` and ``rule``.

    ``compute(xp, *xs)`` returns the output's array, ``rule(gy, *xs)`` the inputs'
    gradients as variables, of the output's shape: broadcasts are undone here.
    """

    names: tuple = ("x",)
    needs_inputs = True

    def check_type_forward(self, in_types):
        is_float(in_types, *self.names)

    def compute(self, xp, *xs):
        raise NotImplementedError

    def rule(self, gy, *xs):
        raise NotImplementedError

    def forward(self, inputs):
        self.retain_inputs(tuple(range(len(inputs))) if self.needs_inputs else ())
        y = self.compute(_backend.get_array_module(*inputs), *inputs)
        return (force_array(y, self.output_type(*inputs)),)

    def output_type(self, *xs):
        """Return the type that the output is cast to."""
        return xs[0].dtype

    def backward(self, indexes, gys):
        xs = self.get_retained_inputs()
        gxs = self.rule(gys[0], *xs)
        gxs = gxs if isinstance(gxs, tuple) else (gxs,)
        sum_to = functions().sum_to
        return tuple(
            [
                None
                if gx is None or i not in indexes
                else sum_to(gx, self.inputs[i].shape)
                for i, gx in enumerate(gxs)
            ]
        )


class OfOutput(Formula):
    """A formula whose rule takes the output: ``rule(gy, y)``."""

    needs_inputs = False

    def forward(self, inputs):
        self.retain_outputs((0,))
        return super().forward(inputs)

    def backward(self, indexes, gys):
        (y,) = self.get_retained_outputs()
        return (self.rule(gys[0], y),)


def check_inputs(label, check, *inputs):
    """Check the inputs of a function that is made of others, under its own name."""
    if config.type_check:
        arrays = tuple([_backend.raw(x) for x in inputs])
        _checker(label, check)()._check_data_type_forward(arrays)


@functools.cache
def _checker(label, check):
    rules = {"label": label, "check_type_forward": staticmethod(check)}
    return type(label, (FunctionNode,), rules)
