"""What ``python -m dyrnn.chainer`` changes in the text of old programs, and where."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from dyrnn.chainer import old_numpy, old_sources


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


def test_an_array_of_one_number_is_a_number(tmp_path):
    done = run(
        tmp_path,
        """
        import math
        import numpy as np
        y = np.full((1, 1), 2.25, np.float32)
        table, kept, row, boxes = np.zeros((3, 2)), {}, [0, 0], np.empty(1, object)
        table[0], table[1, 0], kept["y"], row[0], boxes[0] = 1, 2, y, y, y
        table[0, 0] = y
        table[2, 1] += y
        kept["y"] = row[1] = y
        row[0] = y
        boxes[0] = y[0]
        assert table.tolist() == [[2.25, 1], [2, 0], [0, 2.25]]
        assert kept["y"] is row[0] is row[1] is y and boxes[0].shape == (1,)
        assert math.sqrt(y) == 1.5 and math.pi > 3
        print("%.1f %d%% %s %r" % (y, y, y, y[0, 0]), "%.1f" % y, "%s" % [y.size])
        print("%(a).1f %(b)s" % {"a": y, "b": y}, "%s" % y)
        for dtype in ((), (np.float32,)):
            row = np.array([0.5, y[0, 0], y[0]], *dtype).astype(np.float32)
            assert row.tolist() == [0.5, 2.25, 2.25]
        """,
    )
    assert done.stderr == ""
    assert done.stdout == "2.2 2% [[2.25]] 2.25 2.2 [1]\n2.2 [[2.25]] [[2.25]]\n"


@pytest.mark.parametrize(
    "wrong",
    ["x[0] = np.ones(2)", "x[0] += 1; y[0] = 1", "'%f' % np.ones(2)", "'%d' % 'a'"],
)
def test_what_was_wrong_before_is_wrong_still(tmp_path, wrong):
    done = run(tmp_path, f"import numpy as np\nx = np.zeros(2)\n{wrong}\n")
    assert done.stderr.count("Error: ") and 'old.py", line 3' in done.stderr


def test_an_array_decides_on_the_type_of_its_product_with_a_number(tmp_path):
    done = run(
        tmp_path,
        """
        import numpy as np
        x, half, root = np.ones(3, np.float32), np.ones(3, np.float16), np.sqrt(2)
        for y in (root * x, x / root, x + np.array(2.0), root - x):
            assert y.dtype == np.float32
        assert (half * np.float32(2)).dtype == np.float16
        assert (x * np.ones(3)).dtype == (root * np.arange(3)).dtype == np.float64
        assert (x * half).dtype == np.float32 and (x[0] * root).dtype == np.float64
        assert x[int(np.array([1])) + 1] == x[len(x) - 1 - len(x)] == 1
        assert root / root == 1 and [1] + [2] == [1, 2] and 2 * "a" + "b" == "aab"
        """,
    )
    assert done.stderr == ""


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


def test_modules_of_programs_are_known_wherever_they_are(tmp_path):
    """Those which the program looks for itself, and installed ones for Chainer."""
    convert = "import numpy as np\nvalue = float(np.ones((1, 1)))\n"
    for name, text in (
        ("added/helper.py", convert),
        ("installed/agents/__init__.py", "import chainer\n"),
        ("installed/agents/dqn.py", "# for chainer\n" + convert),
        ("installed/agents/other.py", convert),
        ("program/site/other.py", convert),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = run(
        tmp_path / "program",
        """
        import os, sys
        sys.path.append(os.path.join(os.path.dirname(__file__), os.pardir, "added"))
        import helper
        from agents import dqn
        from agents import other
        assert helper.value == dqn.value == 1
        import other
        """,
        PYTHONPATH=os.pathsep.join(
            [*sys.path, str(tmp_path / "installed"), str(tmp_path / "program/site")]
        ),
    )
    assert "TypeError: only 0-dimensional" in done.stderr or not done.stderr
    assert done.stderr == "" or "program/site/other.py" in done.stderr


def test_no_expression_is_evaluated_twice_that_acts():
    source = "calls.append(1)\nmake()[0] = y\nx.y[0][1] = y\n"
    calls: list[int] = []
    x = type("X", (), {"y": [np.zeros(2)]})
    table = np.zeros((1, 1))

    def make():
        calls.append(2)
        return table

    code = old_sources.compiled(source, "old.py")
    vars_ = {"calls": calls, "make": make, "y": np.ones((1, 1)), "x": x}
    exec(code, vars_ | {old_sources._STORED: old_sources._stored_in})
    assert calls == [1, 2] and table.tolist() == [[1]] and x.y[0].tolist() == [0, 1]


def test_a_notebook_runs_unedited_after_one_more_cell(tmp_path):
    (tmp_path / "helper.py").write_text("half = lambda y: float(y) / 2")
    kernel = textwrap.dedent(
        """
        import ast, importlib

        class Shell:  # what IPython does with %load_ext and with a cell
            ast_transformers = []

            def load_ext(self, name):
                importlib.import_module(name).load_ipython_extension(self)

            def run_cell(self, text, space={}):
                tree = ast.parse(text)
                for transformer in self.ast_transformers:
                    tree = transformer.visit(tree)
                exec(compile(ast.fix_missing_locations(tree), "cell", "exec"), space)

        shell = Shell()
        for _ in "load", "reload":
            shell.load_ext("dyrnn.chainer")
        shell.run_cell("import numpy as np, chainer, chainer.links as L, helper")
        shell.run_cell("y = L.Linear(2, np.int(1), initialW=2)(np.ones((1, 2), 'f'))")
        shell.run_cell("y = y.data")
        shell.run_cell("print('%.1f' % y, float(y), helper.half(y), [y[0, 0]])")
        print(len(shell.ast_transformers))
        """
    )
    command = [sys.executable, "-c", kernel]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "4.0 4.0 2.0 [4.0]\n1\n"


def test_tolerance_ends_with_other_errors():
    array = old_numpy._tolerant(np.array)
    with pytest.raises(ValueError, match="inhomogeneous"):
        array([[1], [1, 2]], np.float32)
    with pytest.raises(ValueError, match="invalid literal"):
        array(["a"], int)


def test_arrays_have_the_methods_they_lost(tmp_path):
    done = run(
        tmp_path,
        """
        import numpy as np
        x = np.arange(6.0).reshape(2, 3)
        assert x.ptp() == 5 and x.ptp(axis=0).tolist() == [3, 3, 3]
        x.itemset(5, 9)
        x.itemset((0, 0), -1)
        assert x.tolist() == [[-1, 1, 2], [3, 4, 9]]
        y = np.zeros(())
        y.itemset(3)
        assert y == 3 and np.array([1], "<i2").tostring() == bytes([1, 0])
        assert np.array([1], "<i2").newbyteorder()[0] == 256
        class Own(object):
            def ptp(self, k):
                return k
        assert Own().ptp(3) == 3
        x.nothing()
        """,
    )
    assert done.stderr.splitlines()[-1].startswith("AttributeError: 'numpy.ndarray'")
    assert 'old.py", line 16' in done.stderr, done.stderr


def test_data_of_an_array_is_the_array(tmp_path):
    done = run(
        tmp_path,
        """
        import numpy as np
        from chainer import Variable
        class Own(object):
            data = 3
        x, y = np.zeros((2, 1), np.float32), Variable(np.zeros((2, 1), np.float32))
        for z in (x, y):
            assert z.data.astype(int).shape == (2, 1) and z.data is not Own().data
            z.data[0, 0] = np.ones((1, 1))
            z.data[1] += 2
            assert Variable(z.data).data.tolist() == [[1], [2]]
        class OnGPU(np.ndarray):
            data = type("Memory", (), {"ptr": 16})
        assert [x.view(OnGPU)][0].data.ptr == 16
        y.data = x.data * 2
        assert x.data is x and y.data[1, 0] == 4 and Own().data == 3
        [].data
        """,
    )
    assert done.stderr.splitlines()[-1].startswith("AttributeError: 'list' object")
