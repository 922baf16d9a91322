"""Tests that compute run on each backend; for those that do not, the reason is here."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# Files and folders in which tests without `xp`, `device` or `every_device` may stand.
ONE_BACKEND = {
    "chainer": "Chainer's names lead to the core, whose tests run on each backend",
    "datasets": "texts and ids are NumPy's until a converter sends them",
    "examples": "programs as a user runs them: each is a process of its own",
    "extensions": "files, tables and triggers; what they read is a Python number",
    "functions": "refusals, extremes and NumPy's own cases; the table runs them all",
    "interchange": "files of other libraries, read into NumPy arrays",
    "iterators": "positions and orders; arrays are sent by the converter",
    "kernels": "each compares a fast form with the plain one, on the machine it is for",
    "links": "refusals, files, random choices, numerical gradients",
    "serializers": "files hold NumPy arrays",
    "test_annotations.py": "reads signatures",
    "test_architecture.py": "reads the sources",
    "test_backend.py": "chooses devices itself",
    "test_backends.py": "reads the tests",
    "test_backprop.py": "very deep graphs and memory, where one device is enough",
    "test_bad_inputs.py": "messages",
    "test_command_line.py": "options",
    "test_config.py": "settings and threads",
    "test_console.py": "terminals",
    "test_core.py": "meets NumPy itself: operators, conversions, views, copies",
    "test_doctests.py": "runs the documentation",
    "test_documents.py": "runs the documentation",
    "test_reference.py": "runs the documentation",
    "test_gpu_benchmark.py": "needs a GPU or none",
    "test_gradients.py": "sums and sparse rows, by the bytes of NumPy",
    "test_initializers.py": "drawn on the CPU, then sent",
    "test_link.py": "names, copies and registration",
    "test_optimizer_groups.py": "a snapshot, refusals; what computes takes `device`",
    "test_optimizer_hooks.py": "refusals and messages",
    "test_optimizers.py": "each rule runs on each backend against its formula; the "
    "rest are files, types and messages",
    "test_packaging.py": "builds packages",
    "test_parameter.py": "shapes and messages",
    "test_real_texts.py": "texts",
    "test_refused_updates.py": "errors that a GPU tells some updates later",
    "test_prediction.py": "refusals and threads",
    "test_reporter.py": "names and files",
    "test_sampling.py": "draws on the CPU",
    "test_strict.py": "about the stand-in itself",
    "distributed": "programs that several processes of the CPU run",
    "test_testing.py": "numerical gradients, which are NumPy's",
    "test_threads.py": "threads and processes of the CPU",
    "test_tracked_files.py": "reads files",
    "training": "loops, snapshots and signals over models whose layers run elsewhere",
}
FIXTURES = {"xp", "device", "on_every_device"}


def functions_of(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def backends_of(path):
    """Yield each test of a file, and whether it runs on each backend."""
    functions = functions_of(path)
    fixtures = {
        node.name: {each.arg for each in node.args.args}
        for node in functions
        if any("fixture" in ast.unparse(each) for each in node.decorator_list)
    }

    def runs_on_each(names):
        return bool(names & FIXTURES) or any(
            runs_on_each(fixtures[name] - {name}) for name in names & fixtures.keys()
        )

    for node in functions:
        if node.name.startswith("test_"):
            decorators = {ast.unparse(each) for each in node.decorator_list}
            names = {each.arg for each in node.args.args}
            yield node.name, "every_device" in decorators or runs_on_each(names)


def reason_for(name):
    return ONE_BACKEND.get(name) or ONE_BACKEND.get(name.split("/")[0])


FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))


@pytest.mark.parametrize("name", FILES)
def test_a_test_runs_on_each_backend_or_its_file_says_why_not(name):
    alone = [test for test, runs in backends_of(TESTS / name) if not runs]
    assert not alone or reason_for(name), (
        f"{name}: {', '.join(alone)} run on NumPy only. Take the fixture `xp` or "
        "`device`, or say in ONE_BACKEND of tests/test_backends.py why not"
    )


def test_no_reason_is_left_over():
    for name in ONE_BACKEND:
        paths = [TESTS / name] if name.endswith(".py") else (TESTS / name).rglob("*.py")
        alone = [
            test
            for path in paths
            if path.name.startswith("test_")
            for test, runs in backends_of(path)
            if not runs
        ]
        assert alone, f"all tests of {name} run on each backend: strike its reason"
