"""What the functions share: each other, and checks of their inputs."""

from dyrnn.chainer import _operations
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
