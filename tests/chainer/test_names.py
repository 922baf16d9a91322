"""Chainer's module paths, its configuration, and scripts run unedited."""

import importlib
import io
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from dyrnn import chainer
from dyrnn.chainer import absent
from dyrnn.chainer.utils import type_check
from tests.chainer import names_page
from tests.chainer.toys import Product, exp, product, variable


def python(*args, cwd):
    return subprocess.run(
        [sys.executable, *args], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def test_a_script_runs_unedited(tmp_path):
    script = tmp_path / "old.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            import chainer, chainerx, chainermn
            import chainer.functions as F, chainer.links as L
            from chainer import cuda, Variable, Chain, optimizers, serializers
            from chainer.training import extensions
            from chainer.functions.rnn import lstm
            import chainer.functions.math.basic_math
            import helper
            assert __name__ == "__main__" and not chainerx.is_available()
            assert chainer.functions.rnn.lstm is lstm
            print(sys.argv, helper.x, chainer.__name__)
            """
        )
    )
    (tmp_path / "helper.py").write_text("x = 3")
    done = python("-m", "dyrnn.chainer", str(script), "-n", "3", cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout.split("] ")[1] == "3 dyrnn.chainer\n"
    assert "'-n', '3'" in done.stdout


def test_a_script_that_is_not_there_is_named(tmp_path):
    for name in ("nofile.py", "."):
        done = python("-m", "dyrnn.chainer", name, cwd=tmp_path)
        assert done.returncode == 2
        assert f"there is no file {name!r}. usage: python -m" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_what_numpy_has_dropped_is_there_for_unedited_scripts(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("")
    (tmp_path / "data" / "labels.py").write_text(
        "import numpy as np\nlabel = int(np.array([7]))\n"
    )
    script = tmp_path / "old.py"
    script.write_text(
        textwrap.dedent(
            """
            import pickle
            import numpy as np
            import chainer.functions as F
            from data import labels
            x = np.zeros(3, np.float) + np.Inf + np.asscalar(np.array([2]))
            assert x.dtype == np.float_ and np.product([2, 3]) == 6
            assert np.alltrue(np.in1d([1], [1, 2])) and np.int is int
            loss = F.sum(np.ones((1, 1), np.float32), axis=1)
            assert float(loss.array) == 1.0 and int("12", 8) == 10 and labels.label == 7
            ragged = np.array([[1, 2], [3]])
            assert ragged.dtype == np.object and ragged.shape == (2,)
            pairs = [(np.arange(n), n) for n in range(5)]
            mixed = np.random.permutation(pairs)
            assert mixed.shape == (5, 2) and all(len(a) == n for a, n in mixed)
            class Kept(object):
                pass
            assert isinstance(pickle.loads(pickle.dumps(Kept())), Kept)
            float(np.zeros(2))
            """
        )
    )
    done = python("-m", "dyrnn.chainer", str(script), cwd=tmp_path)
    assert "ValueError: can only convert an array of size 1" in done.stderr
    assert f'File "{script}", line 19' in done.stderr, done.stderr
    assert not list(tmp_path.glob("**/*.pyc"))


def test_without_a_script_usage_is_shown(tmp_path):
    for args in ([], ["-m"]):
        done = python("-m", "dyrnn.chainer", *args, cwd=tmp_path)
        assert done.returncode == 2 and "usage: python -m dyrnn.chainer" in done.stdout


def test_a_module_runs_unedited(tmp_path):
    """As ``python -m pytest`` does, for tests of models written for Chainer."""
    (tmp_path / "test_old.py").write_text(
        "import numpy as np, chainer.functions as F\n"
        "def test_sum():\n"
        "    assert F.sum(np.ones(3, 'f')).array == 3\n"
    )
    args = "-m", "pytest", "-q", "-p", "no:cacheprovider"
    done = python("-m", "dyrnn.chainer", *args, cwd=tmp_path)
    assert "1 passed" in done.stdout and done.returncode == 0


def test_a_name_that_is_not_there_says_where_to_look():
    with pytest.raises(AttributeError, match="docs/chainer.md lists them"):
        chainer.functions.no_such_function  # noqa: B018
    with pytest.raises(AttributeError, match="see scipy.stats|or scipy.stats"):
        chainer.distributions  # noqa: B018
    chainer.install()
    with pytest.raises(
        ImportError, match="not part of dyrnn.chainer: it holds weights"
    ):
        from chainer.links import VGG16Layers  # noqa: F401
    with pytest.raises(ImportError, match="or scipy.stats"):
        importlib.import_module("chainer.distributions")
    assert not hasattr(chainer.links, "VGG16Layers")


def test_the_page_of_names_is_right():
    text = names_page.PAGE.read_text(encoding="utf-8")
    assert sum(map(len, names_page.sections(text).values())) > 480
    assert absent.TABLE.keys() <= names_page.sections(text).keys()
    hint = "python -m tests.chainer.names_page updates it"
    assert names_page.updated(text) == text, hint


def test_each_absent_name_says_what_to_use():
    chainer.install()
    for path, advice in absent.ADVICE.items():
        module, _, name = f"chainer.{path}".rpartition(".")
        with pytest.raises(AttributeError, match=re.escape(advice)):
            getattr(importlib.import_module(module), name)


def test_a_suggestion_of_python_follows_the_reason_why_a_name_is_absent(tmp_path):
    done = python(
        "-c",
        "import dyrnn.chainer.functions as F; F.roi_max_pooling_2d",
        cwd=tmp_path,
    )
    assert "torchvision.ops has its like" in done.stderr
    assert ".." not in done.stderr
    if sys.version_info >= (3, 11):
        assert done.stderr.endswith("like. Did you mean: 'max_pooling_2d'?\n")


def test_paths_are_views_that_pass_patches_on(monkeypatch):
    chainer.install()
    import chainer as legacy

    view = legacy.initializers.uniform
    assert view.Uniform is chainer.initializers.Uniform
    monkeypatch.setattr(view, "HeUniform", 3)
    assert chainer.initializers.random_values.HeUniform == 3
    monkeypatch.undo()
    assert chainer.initializers.random_values.HeUniform is view.HeUniform
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        view.nothing  # noqa: B018


def test_paths_can_be_loaded_again():
    chainer.install()
    for name in ("chainer.training.extensions.evaluator", "chainer.datasets.mnist"):
        view = importlib.import_module(name)
        assert importlib.reload(importlib.reload(view)) is view
        assert view.__spec__.name == name
    from chainer.training.extensions import evaluator

    assert evaluator.Evaluator is chainer.training.extensions.Evaluator


def test_configuration_is_local_to_the_thread():
    with chainer.using_config("train", False):
        assert not chainer.config.train and chainer.global_config.train
    assert chainer.config.train
    out = io.StringIO()
    chainer.config.show(out)
    assert "enable_backprop" in out.getvalue()
    assert chainer.get_dtype() == np.float32
    assert chainer.get_dtype(chainer.mixed16, map_mixed16=np.float32) == np.float32
    with pytest.warns(DeprecationWarning, match="DebugMode is deprecated"):
        mode = chainer.DebugMode(True)
    with mode:
        assert chainer.is_debug()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda x: x[0].ndim == 2, "Expect: in_types[0].ndim == 2\nActual: 1 != 2"),
        (
            lambda x: x[0].shape[0] + 2 * x[1].shape[0] > 9,
            "Expect: in_types[0].shape[0] + 2 * in_types[1].shape[0] > 9\n"
            "Actual: 9 <= 9",
        ),
        (
            lambda x: (x[0].shape[0] - 1) * 2 == -x[1].size,
            "Expect: (in_types[0].shape[0] - 1) * 2 == -in_types[1].size\n"
            "Actual: 4 != -3",
        ),
        (lambda x: x.size() == 1, "Expect: in_types.size == 1\nActual: 2 != 1"),
        (lambda x: x[0].dtype == x[1].dtype, "Actual: float64 != float32"),
    ],
)
def test_expectations_are_quoted(make, text):
    class Checked(Product):
        def check_type_forward(self, in_types):
            type_check.expect(make(in_types))

    x = variable(1, 2, 3)
    with pytest.raises(type_check.InvalidType) as caught:
        Checked().apply((x, x.array.astype("f")))
    assert text in str(caught.value)
    assert "Invalid operation is performed in: Checked (Forward)" in str(caught.value)
    with chainer.using_config("type_check", False):
        Checked().apply((x, x))


def test_expressions_have_no_truth_value():
    with pytest.raises(RuntimeError, match="cannot be evaluated as bool"):
        bool(type_check.Variable(1, "x") == 1)


def test_broadcast_is_expected():
    with pytest.raises(type_check.InvalidType, match=r"a = \(2,\)"):
        shapes = type_check.Variable((2,), "a"), type_check.Variable((3,), "b")
        type_check.expect_broadcast_shapes(*shapes)


def test_a_function_is_called_by_apply():
    with pytest.raises(RuntimeError, match="Use apply.. method instead"):
        Product()(variable(1), variable(1))


def test_forward_must_return_arrays():
    class Wrong(chainer.FunctionNode):
        def forward(self, inputs):
            return inputs[0]

    with pytest.raises(TypeError, match="forward output must be a tuple .Wrong."):
        Wrong().apply((variable(1),))
    Wrong.forward = lambda self, inputs: ([1],)
    with pytest.raises(TypeError, match="forward output must be a tuple of ndarrays"):
        Wrong().apply((variable(1),))


def test_graphs_are_drawn():
    x = variable(1, name="x")
    y = product(exp(x), x)
    graph = chainer.computational_graph.build_computational_graph([y])
    text = graph.dump()
    assert text.startswith("digraph graphname{rankdir=TB;") and text.count("->") == 5
    assert 'label="x: (1), float64"' in text and 'label="Exp"' in text
    functions = chainer.computational_graph.build_computational_graph(
        [y], remove_variable=True
    ).dump()
    assert functions.count("->") == 1
    with pytest.raises(ValueError, match="rankdir must be in TB, BT, LR or RL."):
        chainer.computational_graph.build_computational_graph([y], rankdir="up")
    with pytest.raises(NotImplementedError, match="only dot format is supported"):
        graph.dump("png")


def test_alias_samples_follow_the_weights():
    np.random.seed(0)
    sampler = chainer.utils.WalkerAlias([5, 3, 4, 1, 2])
    counts = np.bincount(sampler.sample((30000,)), minlength=5)
    np.testing.assert_allclose(counts / 2000, [5, 3, 4, 1, 2], atol=0.2)


@pytest.mark.parametrize(
    ("name", "shape", "std"),
    [
        ("LeCunNormal", (300, 400), 1 / 20),
        ("GlorotUniform", (300, 500), 1 / 20),
        ("HeNormal", (300, 800), 1 / 20),
        ("Normal", (300, 300), 1 / 20),
    ],
)
def test_initial_values_have_their_spread(name, shape, std):
    np.random.seed(0)
    array = np.empty(shape, np.float32)
    getattr(chainer.initializers, name)()(array)
    np.testing.assert_allclose(array.std(), std, rtol=0.02)


def test_orthogonal_values_are_orthogonal():
    array = np.empty((4, 7), np.float32)
    chainer.initializers.Orthogonal(2.0)(array)
    np.testing.assert_allclose(array @ array.T, 4 * np.eye(4), atol=1e-5)
    with pytest.raises(ValueError, match="Cannot make orthogonal embedding"):
        chainer.initializers.Orthogonal(mode="embedding")(array)


def test_reports_go_under_the_observers_name():
    reporter = chainer.Reporter()
    observer = object()
    reporter.add_observer("main", observer)
    chainer.report({"lost": 1})
    with reporter:
        chainer.report({"loss": variable(1)}, observer)
        chainer.report({"x": 2})
        with pytest.raises(KeyError, match="Given observer is not registered"):
            chainer.report({"x": 2}, object())
    assert set(reporter.observation) == {"main/loss", "x"}
    summary = chainer.DictSummary()
    summary.add({"a": 1.0, "b": (2.0, 3)})
    summary.add({"a": 3.0, "b": (6.0, 1), "text": "no number"})
    assert summary.compute_mean() == {"a": 2, "b": 3}
    assert summary.make_statistics()["a.std"] == 1


def test_an_entry_in_sys_modules_is_enough(tmp_path):
    script = """
        import sys
        import dyrnn.chainer
        try:
            import chainer
        except ModuleNotFoundError:
            sys.modules["chainer"] = dyrnn.chainer
        import chainer.functions as F, chainerx
        from chainer.functions.math import basic_math
        from chainer.training.extensions import LogReport
        assert F is dyrnn.chainer.functions and basic_math.add is F.add
        assert LogReport is dyrnn.chainer.training.extensions.LogReport
        assert "chainer.functions.math" in sys.modules
    """
    done = python("-c", textwrap.dedent(script), cwd=tmp_path)
    assert done.stderr == ""


class Seen(chainer.FunctionHook):
    name = "Seen"

    def __init__(self):
        self.labels = []

    def forward_postprocess(self, function, in_data):
        self.labels.append(("forward", function.label))

    def backward_postprocess(self, function, in_data, out_grad):
        self.labels.append(("backward", function.label))


def test_function_hooks_see_forward_and_backward():
    x = variable(1, 2)
    with Seen() as seen:
        y = exp(x)
        y.grad = np.ones(2)
        y.backward()
    # The gradient is a product, too, and has its own call.
    assert seen.labels == [
        ("forward", "Exp"),
        ("forward", "Product"),
        ("backward", "Exp"),
    ]
