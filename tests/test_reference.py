"""Every public name has a page, with an example that runs."""

import doctest
import importlib.util
import inspect
from pathlib import Path

import pytest

import dyrnn

ROOT = Path(__file__).resolve().parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)
NAMES = reference.reference()


def failures(lines, name):
    """Run an example after what all begin with; return what went otherwise."""
    names: dict = {"__name__": "example"}
    exec(reference.SETUP, names)
    text = "\n".join(lines) + "\n"
    test = doctest.DocTestParser().get_doctest(text, names, name, name, 0)
    report: list = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    runner.run(test, out=report.append)
    assert test.examples
    return "".join(report)


@pytest.mark.parametrize("package", NAMES)
def test_every_public_name_has_one_example(package):
    extra = reference.examples(package)
    with_doctest = {n for n, v in NAMES[package].items() if ">>> " in (v.__doc__ or "")}
    assert NAMES[package].keys() - with_doctest - extra.keys() == set()
    assert extra.keys() - NAMES[package].keys() == set(), "no public names"


@pytest.mark.parametrize("package", NAMES)
def test_examples_of_names_run(package, tmp_path, monkeypatch, capfd):
    for number, (name, lines) in enumerate(reference.examples(package).items()):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        with dyrnn.random.Streams(0):
            assert failures(lines, name) == ""


def test_a_wrong_example_is_found():
    assert "Expected" in failures([">>> 1 + 1", "3"], "x")
    assert failures([">>> model.predictor is layers", "True"], "x") == ""


def test_every_public_name_has_a_docstring():
    bare = [n for names in NAMES.values() for n, v in names.items() if not v.__doc__]
    assert bare == []
    assert inspect.getdoc(dyrnn.Variable)


def test_pages_are_written(tmp_path):
    reference.write_pages(tmp_path)
    pages = {path.name for path in tmp_path.iterdir()}
    assert {"index.rst", "dyrnn.links.package.rst", "dyrnn.links.LSTM.rst"} <= pages
    assert len(pages) == 1 + len(NAMES) + sum(map(len, NAMES.values()))
