"""Requirements, warnings and patches."""

import contextlib
import functools
import importlib.metadata
import operator
import re
import sys
import unittest
import unittest.mock
import warnings

_COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _numbers(version):
    return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])]


def _is_met(requirement):
    """Return whether e.g. ``numpy>=1.10,<3`` is installed."""
    name, rest = re.fullmatch(r"\s*([\w.-]+)(.*)", requirement).groups()
    try:
        installed = _numbers(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False
    for condition in filter(None, rest.split(",")):
        symbol, version = re.fullmatch(r"\s*([=!<>]+)\s*(\S+)\s*", condition).groups()
        wanted = _numbers(version)
        length = max(len(installed), len(wanted))
        padded = [v + [0] * (length - len(v)) for v in (installed, wanted)]
        if not _COMPARE[symbol](*padded):
            return False
    return True


def _text(requirements):
    return f"requires: {','.join(requirements)}"


def with_requires(*requirements):
    """Skip a test unless all requirements are met."""
    met = all(map(_is_met, requirements))
    return unittest.skipIf(not met, _text(requirements))


def without_requires(*requirements):
    """Skip a test if all requirements are met."""
    met = all(map(_is_met, requirements))
    return unittest.skipIf(met, _text(requirements))


@contextlib.contextmanager
def assert_warns(expected):
    """Raise AssertionError unless the block warns with this category."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    if not any(isinstance(w.message, expected) for w in caught):
        name = getattr(expected, "__name__", str(expected))
        raise AssertionError(f"{name} not triggerred")


def _import_object_from_name(fullname):
    first, *rest = fullname.split(".")
    if first not in sys.modules:
        raise RuntimeError(f"Can't import {first}")
    return functools.reduce(getattr, rest, sys.modules[first])


def patch(target, *args, **kwargs):
    """``mock.patch`` of an object that still does what it did."""
    wraps = kwargs.pop("wraps", None)
    if wraps is None:
        wraps = _import_object_from_name(target)
    return unittest.mock.patch(target, *args, wraps=wraps, **kwargs)
