"""Tests that compute run on each backend; for those that do not, the reason is here.

A test takes `xp` or `device`, or it or its file is marked `every_device`. One of a
marked file says in ``@one_device("reason")`` why not; the others are in files listed.
"""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# Files and folders in which tests without `xp`, `device` or `every_device` may stand.
ONE_BACKEND = {
    "chainer": "its names ask for arrays of NumPy or CuPy; the core runs on each",
    "datasets": "texts and ids are NumPy's until a converter sends them",
    "examples": "programs as a user runs them: each is a process of its own",
    "extensions": "pictures, terminals and files",
    "functions": "messages, names, and numerical gradients; the table runs them all",
    "interchange": "files of other libraries, read into NumPy arrays",
    "iterators": "positions, orders and examples that are no arrays",
    "kernels": "each compares a fast form with the plain one, on the machine it is for",
    "links": "messages, names, and one that compares the devices itself",
    "serializers": "files hold NumPy arrays",
    "test_arguments.py": "messages",
    "test_annotations.py": "reads signatures",
    "test_architecture.py": "reads the sources",
    "test_backend.py": "chooses devices itself",
    "test_backends.py": "reads the tests",
    "test_bad_inputs.py": "messages, of which many come from values on the CPU",
    "test_command_line.py": "options",
    "test_config.py": "settings and threads",
    "test_console.py": "terminals",
    "test_doctests.py": "runs the documentation",
    "test_documents.py": "runs the documentation",
    "test_reference.py": "runs the documentation",
    "test_gpu_benchmark.py": "needs a GPU or none",
    "test_initializers.py": "drawn on the CPU, then sent",
    "test_optimizer_groups.py": "a snapshot, refusals; what computes takes `device`",
    "test_packaging.py": "builds packages",
    "test_parameter.py": "shapes and messages",
    "test_real_texts.py": "texts",
    "test_prediction.py": "refusals and threads",
    "test_reporter.py": "names, threads and files",
    "test_numpy_calls.py": "NumPy's functions",
    "test_sampling.py": "draws on the CPU",
    "test_strict.py": "about the stand-in itself",
    "distributed": "programs that several processes of the CPU run",
    "test_testing.py": "numerical gradients, which are NumPy's",
    "test_threads.py": "threads and processes of the CPU",
    "test_tracked_files.py": "reads files",
    "training": "signals, files, messages, replays and generators of NumPy",
}
FIXTURES = {"xp", "device", "on_every_device"}


def functions_of(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def backends_of(path):
    """Yield each test of a file, if it runs on each backend, and if it says why not."""
    functions = functions_of(path)
    fixtures = {
        node.name: {each.arg for each in node.args.args}
        for node in functions
        if any("fixture" in ast.unparse(each) for each in node.decorator_list)
    }

    is_marked = "\npytestmark = every_device" in path.read_text(encoding="utf-8")

    def runs_on_each(names):
        return bool(names & FIXTURES) or any(
            runs_on_each(fixtures[name] - {name}) for name in names & fixtures.keys()
        )

    for node in functions:
        if node.name.startswith("test_"):
            decorators = {ast.unparse(each) for each in node.decorator_list}
            names = {each.arg for each in node.args.args}
            says_why = any(each.startswith("one_device(") for each in decorators)
            runs = is_marked or "every_device" in decorators or runs_on_each(names)
            yield node.name, runs and not says_why, says_why


def reason_for(name):
    return ONE_BACKEND.get(name) or ONE_BACKEND.get(name.split("/")[0])


FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))


@pytest.mark.parametrize("name", FILES)
def test_a_test_runs_on_each_backend_or_its_file_says_why_not(name):
    found = backends_of(TESTS / name)
    alone = [test for test, runs, says_why in found if not (runs or says_why)]
    assert not alone or reason_for(name), (
        f"{name}: {', '.join(alone)} run on NumPy only. Take the fixture `xp` or "
        "`device`, mark it `every_device`, or say in ONE_BACKEND of "
        "tests/test_backends.py why not"
    )


def test_no_reason_is_left_over():
    for name in ONE_BACKEND:
        paths = [TESTS / name] if name.endswith(".py") else (TESTS / name).rglob("*.py")
        alone = [
            test
            for path in paths
            if path.name.startswith("test_")
            for test, runs, says_why in backends_of(path)
            if not (runs or says_why)
        ]
        assert alone, f"all tests of {name} run on each backend: strike its reason"
