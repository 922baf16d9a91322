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


def check_inputs(label, check, *inputs):
    """Check the inputs of a function that is made of others, under its own name."""
    if config.type_check:
        arrays = tuple([_backend.raw(x) for x in inputs])
        _checker(label, check)()._check_data_type_forward(arrays)


@functools.cache
def _checker(label, check):
    rules = {"label": label, "check_type_forward": staticmethod(check)}
    return type(label, (FunctionNode,), rules)
