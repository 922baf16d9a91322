"""What ``python -m dyrnn.chainer`` changes in the text of old programs, and where."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from dyrnn.chainer import modernize, old_numpy


def run(folder, text, **env):
    script = folder / "old.py"
    script.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, "-m", "dyrnn.chainer", str(script)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


OLD = """
import math
import numpy as np
import chainer
import chainer.links as L

class Model(chainer.Chain):
    def __init__(self):
        super(Model, self).__init__()
        with self.init_scope():
            self.l = L.Linear(1, 1, initialW=1.5)
    def __call__(self, x, data):
        print(x.data.shape, self.name, data["a"])
        return self.l(chainer.Variable(x.data * 1))

y = Model()(np.full((1, 1), 1.5, np.float32), {"a": 3}).data
z, table, text = y, np.zeros((2, 2)), "7"
table[1, 0] = y
table[1, 1] += y
table[0] = y
kept, n = {}, np.array([4])
kept["y"] = y  # in a dictionary: y is of one number
assert math.sqrt(z) == float(y) - 0.75 == 1.5 and int(text) + int("1", 8) == 8
print("%.2f %s %d%%" % (z, y, n), "%g" % y, "%s" % z, float(n + y * 2))
assert table.tolist() == [[2.25, 2.25], [2.25, 2.25]] and kept["y"] == 2.25
"""


def test_what_numpy_wants_otherwise_is_changed_in_memory(tmp_path):
    done = run(tmp_path, OLD)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(1, 1) None 3\n2.25 [[2.25]] 4% 2.25 [[2.25]] 8.5\n"
    (line,) = done.stderr.splitlines()
    assert (
        "old.py was changed in memory for NumPy in lines 13, 14, 18, 19, 20, 22, "
        in line
    )
    assert "`python -m dyrnn.chainer.modernize` shows how" in line
    assert (tmp_path / "old.py").read_text() == OLD


def test_the_changes_are_printed_as_a_diff(tmp_path):
    (tmp_path / "old.py").write_text(OLD)
    command = [sys.executable, "-W", "error", "-m", "dyrnn.chainer.modernize", "old.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("--- old.py\n+++ old.py\n")
    assert "-table[0] = y\n" in done.stdout
    new = modernize.modernized(OLD)
    assert all(
        "+" + line + "\n" in done.stdout
        for line in new.splitlines()
        if line not in OLD.splitlines()
    )
    assert modernize.modernized(new) == new
    (tmp_path / "old.py").write_text(new)
    assert run(tmp_path, new).stderr == ""


@pytest.mark.parametrize(
    "text",
    [
        "x = float(line)",
        "def f(x):\n    x = np.zeros(3)\n    return float(x)",
        "for x in y.data:\n    print('%f' % x)",
        "x = np.zeros(3)\nx = text\nfloat(x)",
        "table[i:j] = x.data",
        "table[i] = x.data.sum(axis=0)",
        "int(self.data), int(args.data), float(x.data, 2), '%s' % x.data",
        "class A(object):\n    def f(self, x):\n        return x.data",
        "class A(Chain):\n    def f(self, x):\n        x.data = self.data",
    ],
)
def test_what_is_not_seen_to_be_an_array_stays(text):
    assert modernize.modernized(text) == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("float(y.data)", "float(y.data.item())"),
        ("float(-F.sum(y).array[0])", "float((-F.sum(y).array[0]).item())"),
        ("x = xp.ones(1)\nz = x\nint(z)", "x = xp.ones(1)\nz = x\nint(z.item())"),
        ("'ä%% %5.2f' % cuda.to_cpu(x)", "'ä%% %5.2f' % cuda.to_cpu(x).item()"),
        ("math.exp(\n  float(x.grad)\n)", "math.exp(\n  float(x.grad.item())\n)"),
        ("float(x.data + y)", "float((x.data + y).item())"),
        ("math.pow(2, x.data.mean())", "math.pow(2, x.data.mean().item())"),
    ],
)
def test_what_is_seen_to_be_an_array_gives_its_number(old, new):
    assert modernize.modernized(old) == new


@pytest.mark.parametrize(
    "wrong",
    ["x[0] = np.ones(2)", "float(np.ones(2))", "'%f' % np.ones(2)", "'%d' % 'a'"],
)
def test_what_was_wrong_before_is_wrong_still(tmp_path, wrong):
    done = run(tmp_path, f"import numpy as np\nx = np.zeros(2)\n{wrong}\n")
    assert done.stderr.count("Error: ") and 'old.py", line 3' in done.stderr


def test_float64_beside_float32_is_float32(tmp_path):
    done = run(
        tmp_path,
        """
        import numpy as np
        import chainer, chainer.functions as F, chainer.links as L
        root, x = np.sqrt(2), np.ones((2, 3), np.float32)
        link = L.Linear(3, 2)
        y = link(root * x)
        assert y.dtype == link(chainer.Variable(root * x)).dtype == np.float32
        v = chainer.Variable(root * x)
        F.sum(link(F.tanh(v))).backward()
        assert v.grad.dtype == np.float64 and link.W.grad.dtype == np.float32
        assert F.mean_squared_error(y, np.zeros((2, 2))).dtype == np.float32
        assert F.tanh(root * x).dtype == (root * x).dtype == np.float64
        """,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    "setting",
    [
        "chainer.config.dtype = np.float64",
        "chainer.Parameter(np.zeros(1))",
        "chainer.Parameter(chainer.initializers.Zero(np.float64)).initialize(1)",
    ],
)
def test_a_program_that_sets_float64_is_left_alone(tmp_path, setting):
    done = run(
        tmp_path,
        f"""
        import numpy as np
        import chainer, chainer.functions as F
        {setting}
        F.mean_squared_error(np.zeros(2, np.float32), np.zeros(2))
        """,
    )
    assert "InvalidType" in done.stderr


def test_an_edited_program_is_left_alone():
    from dyrnn import chainer

    with pytest.raises(chainer.utils.type_check.InvalidType):
        chainer.functions.mean_squared_error(np.zeros(2, np.float32), np.zeros(2))


def test_numbers_are_printed_without_their_types(tmp_path):
    done = run(
        tmp_path,
        """
        import numpy as np
        print([np.float32(0.5), np.int64(2)], {"a": np.float64(3)}, np.zeros(1))
        """,
    )
    assert done.stdout == "[0.5, 2] {'a': 3.0} [0.]\n"


def test_functions_of_numpy_take_what_they_took(tmp_path):
    done = run(
        tmp_path,
        """
        import numpy as np
        rows = map(np.array, [[1, 2], [3, 4]])
        assert np.vstack(rows).shape == (2, 2) and np.asfarray([1]).dtype == float
        assert np.fromstring(b"\\1\\2", np.uint8).tolist() == [1, 2]
        assert np.fromstring("1,2", int, sep=",").tolist() == [1, 2]
        assert np.array([1, 2], copy=False).tolist() == [1, 2]
        drawn = [np.float32(0.5), np.ones((1, 1), np.float32)]  # as plt.plot takes it
        assert np.atleast_1d(drawn).tolist() == [0.5, 1]
        assert np.atleast_1d([[1], [1, 2]]).shape == np.asanyarray(drawn).shape == (2,)
        """,
    )
    assert done.stderr == ""


def test_what_python_has_dropped_is_there(tmp_path):
    done = run(
        tmp_path,
        """
        import collections, fractions, inspect, random, time
        from collections import Iterable, Mapping
        assert isinstance([], Iterable) and isinstance({}, collections.Mapping)
        assert fractions.gcd(4, 6) == 2 and time.clock() >= 0
        assert inspect.getargspec(lambda x, *y: x).args == ["x"]
        assert sorted(random.sample({1, 2, 3}, 3)) == [1, 2, 3]
        assert random.sample({"a": 1}.keys(), k=1) == ["a"]
        """,
    )
    assert done.returncode == 0, done.stderr  # Python 3.10 warns of some


def test_modules_that_python_has_dropped_are_there(tmp_path):
    done = run(
        tmp_path,
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import configparser, imp, os
        from distutils.util import strtobool
        from distutils.version import LooseVersion, StrictVersion
        configparser.SafeConfigParser()
        folder = os.path.dirname(__file__)
        with open(os.path.join(folder, "model.py"), "w") as file:
            file.write("size = 3")
        model = imp.load_source("model", os.path.join(folder, "model.py"))
        assert model.size == 3 and imp.reload(model) is model
        assert [strtobool(text) for text in ("Yes", "0")] == [1, 0]
        versions = ["1.9", "1.10.2", "7.8.1", "8.0b1"]
        assert sorted(versions, key=LooseVersion) == versions
        assert LooseVersion("2.0") <= "2.0" and str(LooseVersion("2.0b1")) == "2.0b1"
        versions = ["1.0a2", "1.0b1", "1.0", "1.9.9", "1.10"]
        assert sorted(versions, key=StrictVersion) == versions
        assert StrictVersion("1.0") == StrictVersion("1.0.0")
        try:
            StrictVersion("one")
        except ValueError as error:
            assert "invalid version number 'one'" in str(error)
        else:
            assert False
        """,
    )
    assert done.returncode == 0, done.stderr


def test_modules_in_the_folder_of_a_program_are_changed_and_no_others(tmp_path):
    convert = "import numpy as np\nvalue = float(np.ones((1, 1)))\n"
    for name in ("program/helper.py", "program/agents/dqn.py", "added/other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(convert)
    (tmp_path / "program/agents/__init__.py").write_text("")
    done = run(
        tmp_path / "program",
        """
        import os, sys
        sys.path.append(os.path.join(os.path.dirname(__file__), os.pardir, "added"))
        import helper
        from agents import dqn
        assert helper.value == dqn.value == 1
        try:
            import other
        except TypeError as error:
            assert "only 0-dimensional" in str(error)
        """,
    )
    lines = done.stderr.splitlines()
    assert [line.partition(" was changed")[0][-6:] for line in lines] == [
        "per.py",
        "dqn.py",
    ]


def test_a_notebook_runs_unedited_after_one_more_cell(tmp_path):
    (tmp_path / "helper.py").write_text("half = lambda y: float(y.data) / 2")
    kernel = textwrap.dedent(
        """
        import importlib

        class Shell:  # what IPython does with %load_ext and with a cell
            input_transformers_post = []

            def load_ext(self, name):
                importlib.import_module(name).load_ipython_extension(self)

            def run_cell(self, text, space={}):
                lines = text.splitlines(keepends=True)
                for transform in self.input_transformers_post:
                    lines = transform(lines)
                exec(compile("".join(lines), "cell", "exec"), space)

        shell = Shell()
        for _ in "load", "reload":
            shell.load_ext("dyrnn.chainer")
        shell.run_cell("import numpy as np, chainer, chainer.links as L, helper")
        shell.run_cell("y = L.Linear(2, np.int(1), initialW=2)(np.ones((1, 2), 'f'))")
        shell.run_cell("print('%.1f' % y.data, float(y.data), helper.half(y))")
        print(len(shell.input_transformers_post))
        """
    )
    command = [sys.executable, "-c", kernel]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [" was changed in memory" in x for x in done.stderr.splitlines()] == [
        True
    ] * 2
    assert done.stdout == "4.0 4.0 2.0\n1\n"


def test_tolerance_ends_with_other_errors():
    array = old_numpy._tolerant(np.array)
    with pytest.raises(ValueError, match="inhomogeneous"):
        array([[1], [1, 2]], np.float32)
    with pytest.raises(ValueError, match="invalid literal"):
        array(["a"], int)
