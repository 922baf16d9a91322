"""Every example in a docstring gives what it says."""

import doctest
import importlib
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

import dyrnn

ROOT = Path(__file__).resolve().parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def with_examples(paths):
    return sorted(p for p in paths if ">>> " in p.read_text(encoding="utf-8"))


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = sorted(map(module_name, with_examples(ROOT.glob("dyrnn/**/*.py"))))


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_module(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": np}, optionflags=FLAGS)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_example_of_the_package_learns():
    (block,) = re.findall(r"::\n\n((?:    .*\n|\n)+)", dyrnn.__doc__)
    names: dict = {}
    exec(textwrap.dedent(block), names)
    assert 0 <= names["loss"].item() < 10


def test_a_wrong_example_is_found():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "x", "x", 0)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    assert runner.run(test, out=lambda text: None).failed == 1


def test_the_library_has_examples():
    assert "dyrnn.config" in NAMES
