"""One test class made into many, each put into the module where it was written."""

import functools
import itertools
import sys
import types


class Bundle:
    """What a decorator leaves in place of the class."""

    def __init__(self, cases):
        self.cases = cases


def decorator(make):
    """Return a class decorator; ``make(base)`` yields the classes that it becomes."""

    def decorate(cases):
        made = []
        for base in cases.cases if isinstance(cases, Bundle) else [cases]:
            module = sys.modules[base.__module__]
            if isinstance(cases, Bundle):  # made by a decorator further in
                delattr(module, base.__name__)
            for cls in make(base):
                cls.__module__ = base.__module__
                setattr(module, cls.__name__, cls)
                made.append(cls)
        return Bundle(made)

    return decorate


def with_tests(base, name, members, wrap):
    """Return a class whose test methods are the base's, each wrapped."""
    tests = {
        key: wrap(getattr(base, key)) for key in dir(base) if key.startswith("test_")
    }
    return type(name, (base,), {**members, **tests})


def parameterize(*params):
    """Make a test class for each dictionary of attributes."""

    def make(base):
        for i, param in enumerate(params):
            members = {key: _member(value) for key, value in param.items()}
            name = f"{base.__name__}_param_{i}_{{{_text(param)}}}"
            wrap = functools.partial(_naming_parameters, base.__name__, param)
            yield with_tests(base, name, members, wrap)

    return decorator(make)


def _member(value):
    """Keep a plain function from being given ``self``."""
    return staticmethod(value) if isinstance(value, types.FunctionType) else value


def _text(param):
    return ", ".join(
        f"{key}={getattr(value, '__name__', repr(value))}"[:100]
        for key, value in sorted(param.items())
    )


def _naming_parameters(case, param, method):
    """Let a test method's errors show the parameters."""

    @functools.wraps(method)
    def test(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            if error.args and isinstance(error.args[0], str):
                where = f"{case}.{method.__name__} with {_text(param)}"
                error.args = f"{error.args[0]}\nin {where}", *error.args[1:]
            raise

    return test


def from_pytest_parameterize(names, values):
    """Return dictionaries from pytest's form: names, and rows of values."""
    assert isinstance(names, str), f"names are one text, as 'a,b', not {names!r}"
    assert isinstance(values, (list, tuple)), f"values are a list, not {values!r}"
    names = names.split(",")
    rows = values if len(names) > 1 else [(value,) for value in values]
    for row in rows:
        assert len(row) == len(names), f"{row!r} has not a value for each of {names}"
    return [dict(zip(names, row, strict=True)) for row in rows]


def parameterize_pytest(names, values):
    """:func:`parameterize` in pytest's form."""
    return parameterize(*from_pytest_parameterize(names, values))


def product(parameter):
    """Return all combinations: of values by name, or of lists of dictionaries."""
    if isinstance(parameter, dict):
        items = sorted(parameter.items())
        return product_dict(*[from_pytest_parameterize(*item) for item in items])
    if not isinstance(parameter, list):
        raise TypeError(
            f"parameter must be either dict or list. Actual: {type(parameter)}"
        )
    for dicts in parameter:
        if not isinstance(dicts, list) or not all(isinstance(d, dict) for d in dicts):
            raise TypeError("parameter must be list of lists of dicts")
    return product_dict(*parameter)


def product_dict(*parameters):
    """Return all combinations of one dictionary out of each list, merged."""
    return [
        {key: value for one in dicts for key, value in one.items()}
        for dicts in itertools.product(*parameters)
    ]
