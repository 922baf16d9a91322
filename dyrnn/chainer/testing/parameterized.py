"""Test classes for each of a list of parameters."""

import functools
import itertools
import types
import unittest

import numpy as np

from dyrnn.chainer.testing import _bundle
from dyrnn.chainer.utils.misc import _raise_from


def _shorten(text, length):
    if len(text) <= length:
        return text
    left = (length - 3) // 2
    return text[:left] + "..." + text[left + 3 - length :]


def _param_to_str(value):
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else repr(value)


def _make_class_name(base_class_name, i_param, param):
    parts = [
        f"{key}={_shorten(_param_to_str(value), 100)}"
        for key, value in sorted(param.items())
    ]
    values = _shorten(", ".join(parts), 5000)
    return f"{base_class_name}_param_{i_param}_{{{values}}}"


def _as_method(function):
    """Keep a plain function from being given ``self``."""
    return lambda self, *args, **kwargs: function(*args, **kwargs)


def _generate(base, params):
    for i, param in enumerate(params):
        members = {
            key: _as_method(value) if isinstance(value, types.FunctionType) else value
            for key, value in param.items()
        }

        def text(self, param=param):
            return f"{base.__str__(self)}  parameter: {param}"

        members["__str__"] = text
        generator = functools.partial(_naming_parameters, base, param)
        yield _make_class_name(base.__name__, i, param), members, generator


def _naming_parameters(base, param, method):
    """Let a test method's errors show the parameters."""

    @functools.wraps(method)
    def test(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except unittest.SkipTest:
            raise
        except Exception as error:
            lines = [
                "Parameterized test failed.\n",
                f"Base test method: {base.__name__}.{method.__name__}",
                "Test parameters:",
                *(f"  {key}: {value}" for key, value in sorted(param.items())),
            ]
            _raise_from(_plain(type(error)), "\n".join(lines) + "\n", error)

    return test


def _plain(error_class):
    """Return an error class that is made from a message alone."""
    try:
        error_class("")
    except TypeError:
        return AssertionError
    return error_class


def parameterize(*params):
    """Make a test class for each dictionary of attributes."""
    return _bundle.make_decorator(lambda base: _generate(base, params))


def _values_to_dicts(names, values):
    assert isinstance(names, str), f"names are one text, as 'a,b', not {names!r}"
    assert isinstance(values, (list, tuple)), f"values are a list, not {values!r}"
    names = names.split(",")
    if len(names) == 1:
        return [{names[0]: value} for value in values]
    for row in values:
        assert len(row) == len(names), f"{row!r} has not a value for each of {names}"
    return [dict(zip(names, row, strict=True)) for row in values]


def from_pytest_parameterize(names, values):
    """Return dictionaries from pytest's form: names, and rows of values."""
    return _values_to_dicts(names, values)


def parameterize_pytest(names, values):
    """:func:`parameterize` in pytest's form."""
    return parameterize(*from_pytest_parameterize(names, values))


def product(parameter):
    """Return all combinations: of values by name, or of lists of dictionaries."""
    if isinstance(parameter, dict):
        lists = [_values_to_dicts(*item) for item in sorted(parameter.items())]
        return product_dict(*lists)
    if not isinstance(parameter, list):
        raise TypeError(
            f"parameter must be either dict or list. Actual: {type(parameter)}"
        )
    if not all(
        isinstance(one, list) and all(isinstance(d, dict) for d in one)
        for one in parameter
    ):
        raise TypeError("parameter must be list of lists of dicts")
    return product_dict(*parameter)


def product_dict(*parameters):
    """Return all combinations of one dictionary out of each list, merged."""
    return [
        {key: value for one in dicts for key, value in one.items()}
        for dicts in itertools.product(*parameters)
    ]


_product_dict_orig = product_dict


def _pairwise_product_dict(*parameters):
    """Return few combinations, which still have each pair of choices."""
    if len(parameters) <= 2:
        return _product_dict_orig(*parameters)
    choices = list(itertools.product(*(range(len(p)) for p in parameters)))
    np.random.RandomState(seed=0).shuffle(choices)
    seen: set[tuple] = set()
    kept = []
    for choice in choices:
        pairs = set(itertools.combinations(enumerate(choice), 2))
        if not pairs <= seen:
            seen |= pairs
            kept.append(choice)
    return [
        {
            key: value
            for i, dicts in zip(choice, parameters, strict=True)
            for key, value in dicts[i].items()
        }
        for choice in sorted(kept)
    ]
