"""Errors and comparisons of the tests of functions and links."""

import contextlib

from dyrnn.chainer._variable import Variable
from dyrnn.chainer.testing.array import assert_allclose
from dyrnn.chainer.utils.misc import _format_array_props, _raise_from


class _TestError(AssertionError):
    """What a test of a function or link fails with."""

    @classmethod
    def check(cls, expr, message):
        """Fail unless ``expr`` is true."""
        if not expr:
            raise cls(message)

    @classmethod
    def fail(cls, message, exc=None):
        """Fail, because of an exception if one is given."""
        if exc is not None:
            _raise_from(cls, message, exc)
        raise cls(message)

    @classmethod
    @contextlib.contextmanager
    def raise_if_fail(cls, message, error_types=AssertionError):
        """Fail where the block does."""
        try:
            yield
        except error_types as error:
            cls.fail(message, error)


class FunctionTestError(_TestError):
    """A function is wrong."""


class LinkTestError(_TestError):
    """A link is wrong."""


def check_array_types(arrays, device, func_name):
    """Raise TypeError unless it is a tuple of the device's arrays."""
    if not isinstance(arrays, tuple):
        raise TypeError(f"`{func_name}()` must return a tuple, not {type(arrays)}.")
    kinds = device.supported_array_types
    if not all(a is None or isinstance(a, kinds) for a in arrays):
        raise TypeError(
            f"{func_name}() must return a tuple of arrays supported by device {device} "
            f"or None.\nActual: {tuple(type(a) for a in arrays)}"
        )


def check_variable_types(variables, device, func_name, error):
    """Fail unless it is a tuple of variables of the device's arrays."""
    if not isinstance(variables, tuple):
        error.fail(f"`{func_name}()` must return a tuple, not {type(variables)}.")
    if not all(isinstance(v, Variable) for v in variables):
        kinds = ", ".join(str(type(v)) for v in variables)
        error.fail(f"{func_name}() must return a tuple of Variables.\nActual: {kinds}")
    if not all(isinstance(v.array, device.supported_array_types) for v in variables):
        kinds = ", ".join(str(type(v.array)) for v in variables)
        error.fail(
            f"{func_name}() must return a tuple of Variables of arrays supported by "
            f"device {device}.\nActual: {kinds}"
        )


def check_arrays_equal(actual, expected, error, **options):
    """Fail unless numbers, types, shapes and values are the same."""
    message, details = _difference(actual, expected, options)
    if message is None:
        return
    message += (
        f"\nExpected shapes and dtypes: {_format_array_props(expected)}"
        f"\nActual shapes and dtypes:   {_format_array_props(actual)}\n"
    )
    error.fail(message + details)


def _difference(actual, expected, options):
    if len(actual) != len(expected):
        return (
            f"Number of outputs ({len(actual)}, {len(expected)}) does not match",
            "",
        )
    pairs = list(zip(actual, expected, strict=True))
    if any(y.dtype != e.dtype or y.shape != e.shape for y, e in pairs):
        return "Shapes and/or dtypes do not match", ""
    errors = {}
    for i, (y, e) in enumerate(pairs):
        try:
            assert_allclose(y, e, **options)
        except AssertionError as error:
            errors[i] = error
    if not errors:
        return None, ""
    indices = ", ".join(map(str, errors))
    details = "".join(
        f"Error details of output [{i}]:\n{error}\n" for i, error in errors.items()
    )
    return (
        "Outputs do not match the expected values.\n"
        f"Indices of outputs that do not match: {indices}",
        "\n\n" + details,
    )
