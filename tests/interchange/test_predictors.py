"""Predictors in NumPy and C against the model they were made from."""

import ast
import ctypes
import shutil
import subprocess
import sys

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn.engine.core import as_array
from dyrnn.errors import InterchangeError
from dyrnn.interchange import c_module, from_onnx, numpy_module, to_onnx
from dyrnn.interchange.__main__ import convert, show
from dyrnn.interchange.c_predictor import write_c
from dyrnn.interchange.graphs import Graph, Node, Value, dtype_code
from dyrnn.interchange.numpy_predictor import write_numpy
from dyrnn.interchange.onnx_models import OnnxModel
from tests.interchange.test_onnx import Words, evaluate, randomize

gcc = shutil.which("gcc") or shutil.which("cc")
CELLS = [L.LSTM, L.GRU, L.ElmanRNN, L.StatefulGRU, L.MGU, L.StatefulPeepholeLSTM]


class Mixed(dyrnn.Chain):
    """What a forward may do in a step, and a state that another one becomes."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.norm, self.rnn = L.LayerNormalization(4), L.LSTM(9, 3, proj_size=2)
            self.out = L.Highway(5)
        with self.state_scope():
            self.before = self.long_before = None

    def forward(self, x):
        if self.before is None:
            self.before = self.long_before = x * 0.0
        new = F.concat((self.long_before, self.norm(x), F.max(x, 1, keepdims=True)))
        self.long_before, self.before = self.before, x
        h = F.leaky_relu(self.rnn(new)) * F.elu(F.mean(x, axis=1, keepdims=True))
        h = F.concat((h, x[:, 1:]))
        return F.log_softmax(self.out(h)), F.sigmoid(h) - 0.5


def steps_of(model, x):
    model.reset_state()
    return [evaluate(model, step) for step in x]


def in_numpy(folder):
    """Return the predictor's model, imported in a process of its own by `python -c`."""
    sys.path.insert(0, str(folder))
    try:
        sys.modules.pop("predictor", None)
        import predictor

        return predictor.Model()
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("predictor", None)


@pytest.mark.parametrize("cell", CELLS)
def test_numpy_predicts_as_the_model(cell, rng, tmp_path):
    model = randomize(Words(cell), rng)
    x = rng.integers(0, 20, (6, 3))
    expected = [y.array for y in steps_of(model, x)]
    numpy_module(model, tmp_path / "predictor.py")
    found = in_numpy(tmp_path)
    for step, y in zip(x, expected, strict=True):
        np.testing.assert_allclose(found.step(step), y, rtol=0, atol=1e-6)
    found.reset_state()
    np.testing.assert_allclose(found.run(x), expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="call reset_state"):
        found.step(x[0][:1])
    with pytest.raises(ValueError, match="ids -1 to 3, not 0 to 19"):
        found.step(np.array([3, -1, 0]))


def test_a_numpy_predictor_needs_numpy_alone(tmp_path):
    numpy_module(Words(L.LSTM), tmp_path / "predictor.py")
    code = (
        "import sys, predictor; predictor.Model().step([1]); "
        "assert not {'dyrnn', 'tqdm', 'onnx'} & sys.modules.keys()"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_functions_of_a_step_in_numpy(rng, tmp_path):
    model = randomize(Mixed(), rng)
    x = rng.standard_normal((5, 2, 4)).astype(np.float32)
    expected = steps_of(model, x)
    numpy_module(model, tmp_path / "predictor.py", dyrnn.Variable(x[0]))
    steps = zip(*in_numpy(tmp_path).run(x), strict=True)
    for found, ys in zip(steps, expected, strict=True):
        for a, y in zip(found, ys, strict=True):
            np.testing.assert_allclose(a, y.array, rtol=0, atol=1e-6)


def in_c(folder, sizes, arguments=""):
    """Compile a predictor; return functions for a step, and to reset it."""
    command = [gcc, "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    command += [*arguments.split(), "-shared", "-fPIC", "model.c", "-o", "model.so"]
    subprocess.run([*command, "-lm"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "model.so"))
    state = ctypes.create_string_buffer(1 << 20)
    library.model_reset(state)

    def step(x):
        ys = [np.empty(n, np.float32) for n in sizes]
        kind = np.float32 if x.dtype.kind == "f" else np.int32
        x = np.ascontiguousarray(x, kind)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, *ys)]
        assert library.model_step(state, *pointers) == 0
        return ys

    step.compiled, step.state = library, state
    return step


@pytest.mark.skipif(gcc is None, reason="there is no C compiler")
@pytest.mark.parametrize("cell", CELLS)
def test_c_predicts_as_the_model(cell, rng, tmp_path):
    model = randomize(Words(cell), rng)
    x = rng.integers(0, 20, (6, 1))
    expected = [y.array[0] for y in steps_of(model, x)]
    c_module(model, tmp_path / "model.c")
    step = in_c(tmp_path, [20])
    for _ in range(2):
        found = [step(ids)[0] for ids in x]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        step.compiled.model_reset(step.state)
    ids, whole = x.astype(np.int32), np.empty((6, 20), np.float32)
    run = step.compiled.model_run
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (ids, whole)]
    assert run(step.state, 6, *pointers) == 0
    np.testing.assert_array_equal(whole, found)
    bad = np.array([20], np.int32)
    pointer = ctypes.c_void_p(bad.ctypes.data)
    assert step.compiled.model_step(step.state, pointer, pointer) == -1


@pytest.mark.skipif(gcc is None, reason="there is no C compiler")
def test_functions_of_a_step_in_c(rng, tmp_path):
    model = randomize(Mixed(), rng)
    x = rng.standard_normal((5, 1, 4)).astype(np.float32)
    expected = steps_of(model, x)
    c_module(model, tmp_path / "model.c", dyrnn.Variable(x[0]))
    step = in_c(tmp_path, [5, 5])
    for row, ys in zip(x, expected, strict=True):
        for found, y in zip(step(row), ys, strict=True):
            np.testing.assert_allclose(found, y.array[0], rtol=0, atol=1e-6)


@pytest.mark.skipif(gcc is None, reason="there is no C compiler")
def test_two_models_and_two_sequences_in_one_program(rng, tmp_path):
    names = {"model": randomize(Words(L.LSTM), rng), "other": Words(L.StatefulGRU)}
    for name, model in names.items():
        c_module(model, tmp_path / f"{name}.c")
    step = in_c(tmp_path, [20], "other.c")
    x = rng.integers(0, 20, (4, 2)).astype(np.int32)
    for name, model in names.items():
        expected = [y.array for y in steps_of(model, x)]
        states = [ctypes.create_string_buffer(1 << 20) for _ in range(2)]
        for state in states:
            getattr(step.compiled, f"{name}_reset")(state)
        y = np.empty(20, np.float32)
        for ids, wanted in zip(x, expected, strict=True):
            for b, state in enumerate(states):
                pointers = [ctypes.c_void_p(a.ctypes.data) for a in (ids[b:], y)]
                getattr(step.compiled, f"{name}_step")(state, *pointers)
                np.testing.assert_allclose(y, wanted[b], rtol=0, atol=1e-6)


@pytest.mark.skipif(gcc is None, reason="there is no C compiler")
def test_an_ignored_id_in_c(rng, tmp_path):
    model = dyrnn.Sequential(L.EmbedID(5, 3, ignore_label=-1), L.Linear(3, 2))
    randomize(model, rng)
    c_module(model, tmp_path / "model.c", np.array([-1, 0, 1, 4]))
    step = in_c(tmp_path, [2])
    for i in (-1, 3):
        y = evaluate(model, np.array([i])).array[0]
        np.testing.assert_allclose(step(np.array([i]))[0], y, rtol=0, atol=1e-6)


def test_what_is_no_step_is_refused(rng, tmp_path):
    model = Words(L.LSTM)
    with pytest.raises(InterchangeError, match="give an example of one step"):
        numpy_module(model, tmp_path / "m.py", np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="a Python file ends in .py"):
        numpy_module(model, tmp_path / "m.npz")
    with pytest.raises(ValueError, match="a C file that C can have"):
        c_module(model, tmp_path / "a-b.c")
    assert not list(tmp_path.iterdir())


def test_a_file_of_a_step_becomes_a_predictor(rng, tmp_path, capsys):
    model = randomize(Words(L.GRU), rng)
    x = rng.integers(0, 20, (4, 3))
    source = str(tmp_path / "step.onnx")
    to_onnx(model, source, x[0])
    convert(source, str(tmp_path / "predictor.py"))
    expected = [y.array for y in steps_of(model, x)]
    np.testing.assert_allclose(in_numpy(tmp_path).run(x), expected, rtol=0, atol=1e-6)
    convert(source, str(tmp_path / "predictor.c"))
    assert "predictor_step" in (tmp_path / "predictor.h").read_text()
    show(source)
    assert "input layers.0.h  float32 ('batch', 6)" in capsys.readouterr().out


def of_another_program(x):
    """Return a graph with what other programs write in files, and its results."""
    half = np.float32(0.5)
    arrays = {"half": half, "none": np.array([], np.int64), "kept": np.array([0, -1])}
    arrays |= {"one": np.array([1]), "last": np.array([-1]), "end": np.array([3])}
    rows = [
        (np.maximum(x, half), Node("Max", ["for", "half", "for"], ["class"])),
        (np.minimum(half, x), Node("Min", ["half", "half", "for"], ["expf"])),
        (x, Node("Max", ["for"], ["x_value"])),
        (np.exp(x), Node("Exp", ["for"], ["x"])),
        (x[:, :, 1:3], Node("Slice", ["for", "one", "end", "last"], ["memcpy"])),
        (x[0, 1:3], Node("Slice", ["squeezed", "one", "end"], ["part"])),
        (x.sum(), Node("ReduceSum", ["for"], ["sum"], {"keepdims": 0})),
        (x.sum(), Node("ReduceSum", ["for", "none"], ["total"], {"keepdims": 0})),
        (x, Node("ReduceSum", ["for"], ["same"], {"noop_with_empty_axes": 1})),
        (x.mean(2), Node("ReduceMean", ["for"], ["m"], {"axes": [-1], "keepdims": 0})),
        (x.reshape(1, -1), Node("Reshape", ["for", "kept"], ["flat"])),
        (x[:, :, [1]], Node("Gather", ["for", "one"], ["column"], {"axis": -1})),
        (x > 0, Node("Cast", ["signs"], ["y"], {"to": dtype_code(np.float32)})),
    ]
    nodes = [
        Node("Squeeze", ["for"], ["squeezed"], {"axes": [0]}),
        Node("Relu", ["for"], ["positive"]),
        Node("Cast", ["positive"], ["signs"], {"to": dtype_code(bool)}),
    ]
    wanted = [y for y, _ in rows]
    floats = np.dtype(np.float32)
    outputs = [
        Value(node.outputs[0], floats, np.shape(y))
        for y, (_, node) in zip(wanted, rows, strict=True)
    ]
    nodes += [node for _, node in rows]
    return Graph(nodes, [Value("for", floats, x.shape)], outputs, arrays), wanted


def test_a_file_of_another_program_in_numpy(rng, tmp_path):
    x = rng.standard_normal((1, 3, 4)).astype(np.float32)
    graph, wanted = of_another_program(x)
    write_numpy(tmp_path / "predictor.py", graph)
    model = OnnxModel(graph)
    for found in (in_numpy(tmp_path).step(x), [as_array(y) for y in model(x)]):
        for a, b in zip(found, wanted, strict=True):
            assert np.shape(a) == np.shape(b)
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.skipif(gcc is None, reason="there is no C compiler")
def test_a_file_of_another_program_in_c(rng, tmp_path):
    x = rng.standard_normal((1, 3, 4)).astype(np.float32)
    graph, wanted = of_another_program(x)
    place = [v.name for v in graph.outputs].index("column")  # has no C
    del graph.nodes[place - len(wanted)], graph.outputs[place], wanted[place]
    write_c(tmp_path / "model.c", graph)
    step = in_c(tmp_path, [np.size(y) for y in wanted], "-Wconversion")
    for a, b in zip(step(x), wanted, strict=True):
        np.testing.assert_allclose(a, np.reshape(b, -1), rtol=0, atol=1e-6)


def test_nothing_of_a_file_becomes_code(tmp_path):
    bad = '1"""\n__import__("os").abort()\n'
    x = Value(bad, np.dtype(np.float32), (bad, 2))
    y = Value("y", np.dtype(np.float32), (bad, 2))
    for op in ("LeakyRelu", "Softmax"):
        name = "alpha" if op == "LeakyRelu" else "axis"
        write_numpy(
            tmp_path / "p.py", Graph([Node(op, [bad], ["y"], {name: 1})], [x], [y], {})
        )
        tree = ast.parse((tmp_path / "p.py").read_text())
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        assert "__import__" not in names and "np" in names
        graph = Graph([Node(op, [bad], ["y"], {name: bad})], [x], [y], {})
        with pytest.raises(ValueError):
            write_numpy(tmp_path / "p.py", graph)


NAMES = "y y0 v1 x lengths s np M_PI HUGE_VAL named_w0 named_step int".split()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("of", ["argument", "parameter"])
def test_names_of_arguments_and_parameters_are_free(tmp_path, name, of):
    class Named(dyrnn.Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.rnn = L.LSTM(3, 4)
            if of == "parameter":
                self.add_param(name, (4,), initializer=dyrnn.initializers.Normal(1.0))

    taken = name if of == "argument" else "x"
    bias = f" + self._params[{name!r}]" if of == "parameter" else ""
    text = f"def forward(self, {taken}):\n    return self.rnn({taken}){bias}\n"
    exec(text, scope := {})
    Named.forward = scope["forward"]
    model = Named()
    x = np.random.default_rng(0).standard_normal((3, 1, 3)).astype(np.float32)
    expected = np.stack([as_array(y) for y in steps_of(model, x)])
    to_onnx(model, tmp_path / "step.onnx", x[0])
    replica = from_onnx(tmp_path / "step.onnx")
    assert all(
        np.abs(as_array(y) - t).max() < 1e-6
        for y, t in zip(steps_of(replica, x), expected, strict=True)
    )
    numpy_module(model, tmp_path / "predictor.py", x[0])
    predictor = in_numpy(tmp_path)
    assert np.abs(predictor.run(x) - expected).max() < 1e-6
    c_module(model, tmp_path / "named.c", x[0])
    if gcc and of == "argument":
        flags = "-std=c99 -pedantic -Wall -Wextra -Werror -fsyntax-only".split()
        subprocess.run([gcc, *flags, tmp_path / "named.c"], check=True)


@pytest.mark.skipif(gcc is None, reason="there is no C compiler")
@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        F.sigmoid,
        F.softmax,
        lambda x: F.clip(x, -1.0, 1.0),
        lambda x: F.max(x, axis=1, keepdims=True),
        lambda x: F.min(x, axis=1, keepdims=True),
        lambda x: F.elu(F.leaky_relu(x)),
    ],
)
def test_a_nan_stays_one(tmp_path, function):
    class Model(dyrnn.Chain):
        def forward(self, x):
            return function(dyrnn.as_variable(x))

    x = np.array([[-1.5, 2.0, 0.5]], np.float32)
    size = function(dyrnn.as_variable(x)).size
    c_module(Model(), tmp_path / "model.c", x)
    numpy_module(Model(), tmp_path / "predictor.py", x)
    in_python, step = in_numpy(tmp_path), in_c(tmp_path, [size])
    for value in (np.nan, np.inf, -np.inf, 0.25):
        for k in range(3):
            with np.errstate(all="ignore"):
                x[0, k] = value
                expected = function(dyrnn.as_variable(x)).array.reshape(-1)
                found = in_python.step(x).reshape(-1)
            np.testing.assert_allclose(found, expected, rtol=1e-6)
            np.testing.assert_allclose(step(x)[0], expected, rtol=1e-6)
            x[0, k] = 0.75


def test_arguments_of_another_shape_are_refused(tmp_path):
    words = dyrnn.Sequential(L.EmbedID(5, 3), L.LSTM(3, 4))
    numpy_module(words, tmp_path / "predictor.py")
    model = in_numpy(tmp_path)
    for ids in (3, [[1, 2]], [1.0], [True], ["a"], [-1], [5]):
        with pytest.raises(ValueError, match=r"^(x|ids|id)\w* "):
            model.step(np.array(ids))
    for window in ([], np.zeros((0, 1), int)):
        with pytest.raises(ValueError, match="at least one"):
            model.run(window)
    assert model.run([[1], [4]]).shape == (2, 1, 4)
    numpy_module(L.LSTM(3, 4), tmp_path / "predictor.py")
    model = in_numpy(tmp_path)
    for x in (np.zeros(3), np.zeros((2, 4)), np.zeros((2, 2, 3)), [["a", "b", "c"]]):
        with pytest.raises(ValueError, match="a step takes numbers .None, 3."):
            model.step(x)
    assert model.step(np.zeros((2, 3), int)).dtype == np.float32
    assert model.step([[0.0, 1.0, 2.0]] * 2).shape == (2, 4)


@pytest.mark.parametrize("shape", [(0, 3), (0, 2, 3), (2, 0, 3)])
def test_an_empty_example_is_refused(tmp_path, shape):
    with pytest.raises(InterchangeError, match="the example is empty"):
        to_onnx(L.LSTM(3, 2), tmp_path / "a.onnx", np.zeros(shape, np.float32))
