"""The command that runs Chainer's own tests, tried on a checkout made for it."""

import textwrap

import pytest

from tests.chainer_suite import run
from tests.chainer_suite.cases import (
    folded,
    load,
    read_cases,
    read_reasons,
    short_id,
    write_cases,
)

BACKEND = (
    "_use_chainerx_false__chainerx_device_None__use_cuda_false__cuda_device_None"
    "__use_cudnn_never__use_ideep_never"
)
IDS = [
    *(f"TestX_param_{n}::test_{name}" for n in (0, 1, 2, 7) for name in "ab"),
    *(f"TestY_param_{m}_param_{n}::test_a" for m in (0, 1) for n in (3, 4)),
    "TestZ::test_a",
    "test_alone",
    "test_function_param_0",
]
TESTS = """
import numpy as np
import pytest
from chainer import testing

@testing.parameterize({"n": 1}, {"n": 2})
class TestGood:
    def test_good(self):
        assert np.float_ is np.float64 and isinstance(self.n, int)

class TestBad:
    def test_bad(self):
        assert 1 + 1 == 3

@pytest.mark.gpu
def test_of_a_gpu():
    raise RuntimeError
"""
TESTING = """
def parameterize(*tables):
    def made(case):
        import sys
        for i, table in enumerate(tables):
            name = f"{case.__name__}_param_{i}_{{n={table['n']}}}"
            setattr(sys.modules[case.__module__], name, type(name, (case,), table))
    return made
"""


@pytest.fixture
def checkout(tmp_path):
    for name, text in {
        "chainer/_version.py": "__version__ = '7.8.1'\n",
        "chainer/testing/__init__.py": TESTING,
        "chainer/gradient_check.py": "",
        "tests/chainer_tests/__init__.py": "",
        "tests/chainer_tests/test_x.py": TESTS,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path


def test_ids_do_not_depend_on_values_and_versions():
    nodeid = f"a/test_x.py::TestX{BACKEND}_param_3_{{x=np.float64(1), y=(2,)}}::test_a"
    assert short_id(nodeid) == "TestX_param_3::test_a"
    nodeid = "test_x.py::TestX_param_0_{a=1}_param_12_{b={1: 2}}::test_a"
    assert short_id(nodeid) == "TestX_param_0_param_12::test_a"
    nodeid = "test_x.py::TestX_param_2_{name='{}_x_{'}::test_a"
    assert short_id(nodeid) == "TestX_param_2::test_a"


def test_cases_are_read_as_they_are_written():
    files = {"a/test_x.py": ("one", IDS), "b/test_y.py": ("one", ["test_alone"])}
    files["c/test_z.py"] = ("two", [])
    found = read_cases(write_cases(files))
    assert [(file, group) for file, (group, _) in found.items()] == [
        (file, group) for file, (group, _) in files.items()
    ]
    for file, (_, ids) in files.items():
        assert sorted(found[file][1]) == sorted(ids)
    assert folded(IDS)[0] == "TestX_param_{0-2,7}: test_a test_b"


def test_a_reason_stands_above_the_cases_that_it_is_for():
    files = {"test_x.py": ("one", IDS)}
    text = "# No\n# reason.\ntest_x.py::TestX_param_7*\n\n# Else.\ntest_x.py::TestZ::*"
    assert read_reasons(text, files) == {
        ("test_x.py", "TestX_param_7::test_a"): "No reason.",
        ("test_x.py", "TestX_param_7::test_b"): "No reason.",
        ("test_x.py", "TestZ::test_a"): "Else.",
    }
    with pytest.raises(ValueError, match="line 1: 'test_x.py' has no reason"):
        read_reasons("test_x.py", files)
    with pytest.raises(ValueError, match="names no case"):
        read_reasons("# No.\ntest_x.py::TestW*", files)


def test_the_lists_keep_most_cases_in_scope_and_almost_all_pass():
    cases, expected, outside = load()
    count = sum(len(ids) for _, ids in cases.values())
    assert count == 19_138 and count - len(outside) >= 17_000
    assert len(expected.keys() - outside.keys()) <= 0.005 * (count - len(outside))
    assert not expected.keys() & outside.keys()


def lists(*names):
    return [{("test_x.py", name): "a reason" for name in each} for each in names]


@pytest.mark.parametrize(
    ("expected", "outside", "code", "told"),
    [
        ({"bad"}, set(), 0, "0 of 3 not as expected"),
        (set(), {"bad"}, 0, "0 of 2 not as expected"),
        (set(), set(), 1, "test_x.py: 1\n    bad\n  AssertionError: no"),
        ({"good", "bad"}, set(), 1, f"test_x.py: 1\n    good\n  {run.SURPRISE}"),
    ],
)
def test_what_is_not_expected_fails(
    checkout, expected, outside, code, told, monkeypatch, capsys
):
    cases = {"test_x.py": ("a group", ["good", "fine", "bad"])}
    outcomes = dict.fromkeys(["good", "fine"], ("passed", ""))
    outcomes["bad"] = "failed", "some lines\nE   AssertionError: no\nfile:3"
    monkeypatch.setattr(run, "load", lambda: (cases, *lists(expected, outside)))
    monkeypatch.setattr(run, "run_file", lambda *args: (outcomes, ""))
    assert run.main([str(checkout)]) == code
    out = capsys.readouterr().out
    assert told in out
    assert f"a group{2:27}{1 - len(outside):8}{len(outside):10}" in out


def test_files_of_a_checkout_are_run(checkout, monkeypatch, capsys):
    ids = ["TestGood_param_0::test_good", "TestGood_param_1::test_good"]
    ids += ["TestBad::test_bad", "test_of_a_gpu"]
    cases = {"test_x.py": ("a group", ids)}
    monkeypatch.setattr(run, "load", lambda: (cases, *lists(["TestBad::test_bad"], [])))
    assert run.main([str(checkout)]) == 1
    out = capsys.readouterr().out
    assert "2 of     4 passed" in out and "1 of 4 not as expected" in out
    assert "    test_of_a_gpu\n  It did not run." in out


def test_a_folder_without_chainer_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run.main([str(tmp_path)])
    assert "is not a checkout of Chainer v7.8.1" in capsys.readouterr().err
