"""Random layers, beside PyTorch and onnxruntime, where these are there."""

import math

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import interchange
from dyrnn.config import no_backprop_mode, using_config
from dyrnn.engine.core import as_array
from dyrnn.errors import InterchangeError
from dyrnn.interchange.graphs import Graph, Node, Value, encode
from dyrnn.interchange.onnx_models import OnnxModel

SEEDS = range(60)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ACTIVATIONS = ["Tanh", "Sigmoid", "Relu", "LeakyRelu", "HardSigmoid", "Elu", "Softsign"]


def recurrent_node(seed):
    """Return the graph of a node with random sizes and attributes, and its inputs."""
    rng = np.random.default_rng(seed)
    op = str(rng.choice(list(GATES)))
    T, B, size, H = rng.integers(1, 5, 4).tolist()
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    D = 1 + (direction == "bidirectional")
    n = GATES[op]
    attributes = {"hidden_size": H, "direction": direction}
    shapes = [(D, n * H, size), (D, n * H, H)]
    arrays = dict(zip("WR", shapes, strict=True))
    names = ["x", "W", "R", "", "", ""]
    if rng.random() < 0.6:
        names[3], arrays["B"] = "B", (D, 2 * n * H)
    given = {"x": rng.standard_normal((T, B, size))}
    if rng.random() < 0.5:
        names[4], given["lengths"] = "lengths", rng.integers(1, T + 1, B)
    if rng.random() < 0.5:
        names[5], given["h"] = "h", rng.standard_normal((D, B, H))
    if op == "LSTM":
        names += ["", ""]
        if rng.random() < 0.5:
            names[6], given["c"] = "c", rng.standard_normal((D, B, H))
        if rng.random() < 0.3:
            names[7], arrays["P"] = "P", (D, 3 * H)
    if op == "GRU":
        attributes["linear_before_reset"] = int(rng.random() < 0.7)
    if rng.random() < 0.3:
        count = {"LSTM": 3, "GRU": 2, "RNN": 1}[op] * D
        chosen = rng.choice(ACTIVATIONS, count).tolist()
        attributes["activations"] = chosen if rng.random() < 0.5 else chosen[:1] * count
    if rng.random() < 0.15:
        attributes["clip"] = 0.5
    weights = {k: rng.standard_normal(s).astype("f4") for k, s in arrays.items()}
    given = {
        k: a.astype(np.int32 if k == "lengths" else np.float32)
        for k, a in given.items()
    }
    names = names[: max(k for k, name in enumerate(names) if name) + 1]
    inputs = [Value(k, a.dtype, a.shape) for k, a in given.items()]
    outputs = [
        Value("y", np.dtype(np.float32), (T, D, B, H)),
        Value("y_h", np.dtype(np.float32), (D, B, H)),
    ]
    node = Node(op, names, ["y", "y_h"], attributes)
    return Graph([node], inputs, outputs, weights, {}), given


def in_onnxruntime(graph, given):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(encode(graph), options, providers=providers)
    return session.run(None, given)


@pytest.mark.parametrize("start", SEEDS[::20])
def test_recurrent_nodes_do_as_in_onnxruntime(start):
    """A node is computed as there, or refused, but never computed otherwise."""
    equal = 0
    for seed in range(start, start + 20):
        graph, given = recurrent_node(seed)
        try:
            wanted = in_onnxruntime(graph, given)
        except pytest.skip.Exception:
            raise
        except Exception:  # has no such activation
            continue
        try:
            with using_config("train", False), no_backprop_mode():
                ys = OnnxModel(graph)(*given.values())
        except InterchangeError:
            continue
        equal += 1
        T = given["x"].shape[0]
        lengths = given.get("lengths", [T] * given["x"].shape[1])
        y, y_h = (np.array(as_array(y)) for y in ys)
        for b, end in enumerate(lengths):
            for found, expected in ((y[:end, :, b], wanted[0][:end, :, b]),):
                np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
        np.testing.assert_allclose(y_h, wanted[1], rtol=0, atol=2e-6)
    assert equal >= 5


def torch_layer(seed):
    """Return a recurrent layer of PyTorch, one here, and what the second gives."""
    nn = pytest.importorskip("torch").nn
    rng = np.random.default_rng(seed)
    size, H = rng.integers(1, 6, 2).tolist()
    kind = str(rng.choice(["LSTM", "GRU", "tanh", "relu"]))
    n_layers, is_two_way = int(rng.integers(1, 4)), bool(rng.random() < 0.5)
    settings = {"bias": bool(rng.random() < 0.8), "bidirectional": is_two_way}
    more = {}
    if kind == "LSTM" and H > 1 and rng.random() < 0.3:
        settings["proj_size"] = more["proj_size"] = int(rng.integers(1, H))
    if kind in ("tanh", "relu"):
        there = nn.RNN(size, H, n_layers, nonlinearity=kind, **settings)
    else:
        there = getattr(nn, kind)(size, H, n_layers, **settings)
    name = {"tanh": "RNNTanh", "relu": "RNNReLU"}.get(kind, kind)
    stack = getattr(L, f"NStep{'Bi' * is_two_way}{name}")
    if kind != "GRU":
        more["n_biases"] = int(rng.integers(1, 3))
    return there, stack(n_layers, size, H, **more)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("start", SEEDS[::20])
def test_layers_do_as_in_pytorch(tmp_path, start):
    torch = pytest.importorskip("torch")
    for seed in range(start, start + 20):
        torch.manual_seed(seed)
        there, here = torch_layer(seed)
        module = torch.nn.ModuleDict({"norm": torch.nn.LayerNorm(there.input_size)})
        module["rnn"] = there
        with torch.no_grad():
            for param in module.parameters():
                param.copy_(torch.randn(param.shape) * 0.7)
        model = dyrnn.Chain(
            norm=L.LayerNormalization(there.input_size, eps=1e-5), rnn=here
        )
        interchange.load(module, model, "torch")
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 6, 3).tolist()
        xs = [rng.standard_normal((n, there.input_size)).astype("f4") for n in lengths]
        with using_config("train", False), no_backprop_mode():
            rows = F.split_axis(
                model.norm(np.concatenate(xs)), np.cumsum(lengths)[:-1], 0
            )
            *_, ys = model.rnn(*[None] * here.n_states, list(rows))
        for x, y in zip(xs, ys, strict=True):
            with torch.no_grad():
                wanted = there(module["norm"](torch.tensor(x)))[0].numpy()
            np.testing.assert_allclose(y.array, wanted, rtol=2e-5, atol=2e-5)
        path = tmp_path / f"{seed}.safetensors"  # and back
        interchange.save(path, model)
        other = type(there)(
            there.input_size,
            there.hidden_size,
            there.num_layers,
            bidirectional=there.bidirectional,
            **({"proj_size": there.proj_size} if there.proj_size else {}),
            **({"nonlinearity": there.nonlinearity} if there.mode[:3] == "RNN" else {}),
        )
        again = torch.nn.ModuleDict({"norm": module["norm"], "rnn": other})
        arrays = interchange.to_arrays(model, "torch")
        again.load_state_dict({k: torch.from_numpy(a) for k, a in arrays.items()})
        with torch.no_grad():
            x = torch.tensor(xs[0])
            difference = (again["rnn"](x)[0] - there(x)[0]).abs().max()
        assert float(difference) < 1e-5 * max(
            1, float(there(x)[0].detach().abs().max())
        )


def elementwise(seed):
    """Return a graph of random operations in a row, with its input."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 5, 3).tolist())
    nodes, arrays, name, now = [], {}, "x", shape
    unary = "Tanh Sigmoid Relu Abs Neg Exp Softplus Erf Sin Cos".split()
    for k in range(int(rng.integers(1, 7))):
        which = int(rng.integers(9))
        inputs, attributes, axis = [name], {}, int(rng.integers(-3, 3))
        if which == 0:
            op = str(rng.choice(unary))
        elif which == 1:
            op, attributes = str(rng.choice(["LeakyRelu", "Elu"])), {"alpha": 0.3}
        elif which == 2:
            op, attributes = str(rng.choice(["Softmax", "LogSoftmax"])), {"axis": axis}
        elif which == 3:
            op, perm = "Transpose", rng.permutation(3).tolist()
            attributes, now = {"perm": perm}, tuple(now[i] for i in perm)
        elif which == 4:
            op = str(rng.choice(["Add", "Sub", "Mul", "Div", "Max", "Min"]))
            kept = tuple(n if rng.random() < 0.6 else 1 for n in now)
            other = rng.standard_normal(kept[int(rng.integers(3)) :]).astype("f4")
            arrays[f"a{k}"] = np.where(other == 0, 1, other).astype("f4")
            inputs = [name, f"a{k}"] if rng.random() < 0.5 else [f"a{k}", name]
        elif which == 5:
            op = str(rng.choice(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"]))
            attributes = {"keepdims": 1}
            if op == "ReduceSum":
                arrays[f"a{k}"] = np.array([axis])
                inputs.append(f"a{k}")
            else:
                attributes["axes"] = [axis]
            now = tuple(1 if i == axis % 3 else n for i, n in enumerate(now))
        elif which == 6:
            op, n = "Slice", now[axis]
            bounds = rng.integers(-n - 1, n + 2, 2).tolist()
            step = int(rng.choice([1, 1, 2, -1]))
            wide = range(n)[slice(*bounds, step)]
            if not wide:
                continue
            for what, value in zip("seax", (*bounds, axis, step), strict=True):
                arrays[f"{what}{k}"] = np.array([value])
                inputs.append(f"{what}{k}")
            now = tuple(len(wide) if i == axis % 3 else m for i, m in enumerate(now))
        elif which == 7:
            op, attributes, inputs = "Concat", {"axis": axis}, [name, name]
            now = tuple(2 * m if i == axis % 3 else m for i, m in enumerate(now))
        else:
            op, size = "MatMul", int(rng.integers(1, 5))
            arrays[f"a{k}"] = rng.standard_normal((now[-1], size)).astype("f4")
            inputs, now = [name, f"a{k}"], (*now[:-1], size)
        if math.prod(now) > 400:
            break
        name = f"v{k}"
        nodes.append(Node(op, inputs, [name], attributes))
    nodes.append(Node("Identity", [name], ["y"], {}))
    float32 = np.dtype(np.float32)
    given = {"x": rng.standard_normal(shape).astype("f4")}
    inputs = [Value("x", float32, shape)]
    outputs = [Value("y", float32, now)]
    return Graph(nodes, inputs, outputs, arrays, {}), given


@pytest.mark.parametrize("start", SEEDS[::20])
def test_operations_in_a_row_do_as_in_onnxruntime(start):
    for seed in range(start, start + 20):
        graph, given = elementwise(seed)
        (wanted,) = in_onnxruntime(graph, given)
        with (
            using_config("train", False),
            no_backprop_mode(),
            np.errstate(all="ignore"),
        ):
            y = np.asarray(as_array(OnnxModel(graph)(given["x"])))
        scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0)
        np.testing.assert_allclose(y / scale, wanted / scale, rtol=1e-5, atol=3e-6)
