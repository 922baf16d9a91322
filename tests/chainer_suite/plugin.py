"""A plugin of pytest: a checkout's tests of Chainer, run on ``dyrnn.chainer``.

``CHAINER_CHECKOUT`` says where the checkout is, ``CHAINER_OUTCOMES`` which file gets a
line of JSON for each case. What judges, ``chainer.testing`` and
``chainer.gradient_check``, is the checkout's own, except for the file that tests
gradient checking.
"""

import importlib
import importlib.abc
import importlib.metadata
import importlib.util
import json
import os
import sys
import types
import unittest
import unittest.mock
import zlib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

import dyrnn.chainer
from dyrnn.chainer import old_numpy, old_python
from tests.chainer_suite.cases import short_id

CHECKOUT = Path(os.environ["CHAINER_CHECKOUT"])
OUTCOMES = os.environ["CHAINER_OUTCOMES"]
LEFT_OUT = ("chainerx", "cudnn", "gpu", "ideep", "multi_gpu", "slow", "theano")


class Judges(importlib.abc.MetaPathFinder):
    """Finds what judges in the checkout, not in dyrnn."""

    def __init__(self, *names):
        self.names = names

    def find_spec(self, fullname, path=None, target=None):
        if not any(f"{fullname}.".startswith(f"{name}.") for name in self.names):
            return None
        place = CHECKOUT.joinpath(*fullname.split("."))
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if not file.exists():
            return None
        return importlib.util.spec_from_file_location(fullname, file)


def adapt():
    """Provide what the tests expect of Python, NumPy and pytest of their time."""
    old_numpy.revive_names()
    old_python.revive()
    kinds = {"int": "bhiq", "uint": "BHIQ", "float": "efd", "complex": "FD"}
    types_of = {
        kind: [np.dtype(c).type for c in codes] for kind, codes in kinds.items()
    }
    np.sctypes = {**types_of, "others": [bool, object, bytes, str, np.void]}
    for old, new in {
        "assertEquals": "assertEqual",
        "assertNotEquals": "assertNotEqual",
        "assertRaisesRegexp": "assertRaisesRegex",
        "assertRegexpMatches": "assertRegex",
        "assertItemsEqual": "assertCountEqual",
        "assert_": "assertTrue",
    }.items():
        if not hasattr(unittest.TestCase, old):
            setattr(unittest.TestCase, old, getattr(unittest.TestCase, new))
    sys.modules.setdefault("mock", unittest.mock)
    sys.modules["pkg_resources"] = pkg_resources()


def pkg_resources():
    """Return a stand-in for what setuptools no longer has: ``WorkingSet().require``."""
    module = types.ModuleType("pkg_resources")

    class ResolutionError(Exception):
        pass

    class WorkingSet:
        def require(self, *texts):
            for requirement in map(Requirement, texts):
                try:
                    found = importlib.metadata.version(requirement.name)
                except importlib.metadata.PackageNotFoundError as error:
                    raise ResolutionError(str(requirement)) from error
                if not requirement.specifier.contains(found):
                    raise ResolutionError(f"{requirement}: {found} is installed")

    vars(module).update(ResolutionError=ResolutionError, WorkingSet=WorkingSet)
    return module


def borrow(*names):
    """Load modules of the checkout in place of dyrnn's of these names."""
    sys.meta_path.insert(0, Judges(*names))
    for name in [*sys.modules]:
        if any(f"{name}.".startswith(f"{judge}.") for judge in names):
            del sys.modules[name]
    for name in names:
        importlib.import_module(name)


def write(**values):
    with open(OUTCOMES, "a", encoding="utf-8") as file:
        print(json.dumps(values), file=file)


def pytest_configure(config):
    for name in (*LEFT_OUT, "parametrize_device", "parametrize_device_name"):
        config.addinivalue_line("markers", f"{name}: of Chainer's tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items[:] = [
        item for item in items if not any(map(item.get_closest_marker, LEFT_OUT))
    ]


def pytest_runtest_setup(item):
    """Start NumPy's random numbers anew: a failure comes again."""
    np.random.seed(zlib.crc32(item.nodeid.encode()))


def pytest_collectreport(report):
    if report.failed:
        write(id="", outcome="failed", why=str(report.longrepr))


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        is_expected = hasattr(report, "wasxfail") and report.outcome == "skipped"
        write(
            id=short_id(report.nodeid),
            outcome="passed" if is_expected else report.outcome,
            why=str(report.longrepr) if report.failed else "",
        )


adapt()
dyrnn.chainer.install()
judges = ["chainer.testing", "chainer.gradient_check"]
if not sys.argv[-1].endswith("test_gradient_check.py"):
    borrow(*judges)
else:
    borrow(judges[0])
