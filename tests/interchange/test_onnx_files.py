"""ONNX files that others write: operations, older forms, and what cannot run."""

import math

import numpy as np
import pytest

from dyrnn.errors import InterchangeError
from dyrnn.interchange import from_onnx
from dyrnn.interchange.graphs import decode, encode
from dyrnn.interchange.onnx_models import OnnxModel
from tests.interchange.test_onnx import close, node, runners, small_graph
from tools.fuzz_weights import search


def test_older_files_have_axes_as_attributes(rng):
    x = rng.standard_normal((3, 2, 4)).astype(np.float32)
    graph = small_graph(
        node("Unsqueeze", ["x"], ["a"], axes=[0]),
        node("Squeeze", ["a"], ["b"], axes=[0]),
        node("Slice", ["b"], ["c"], starts=[1], ends=[3], axes=[2]),
        node("ReduceSum", ["c"], ["d"], axes=[2], keepdims=1),
        node("Split", ["x"], ["e", "f"], split=[1, 3], axis=2),
        node("Add", ["d", "f"], ["g"]),
        node("Constant", [], ["one"], value=np.ones((1, 1, 1), np.float32)),
        node("Concat", ["e", "g"], ["h"], axis=2),
        node("Mul", ["h", "one"], ["y"]),
        opset=11,
    )
    y = OnnxModel(decode(encode(graph)))(x).array
    total = x[..., 1:3].sum(2, keepdims=True)
    close(y, np.concatenate([x[..., :1], x[..., 1:] + total], 2))


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_an_older_softmax_is_over_all_that_follows(op, rng):
    x = rng.standard_normal((3, 2, 4)).astype(np.float32)
    e = np.exp(x) / np.exp(x).sum((1, 2), keepdims=True)
    expected = np.log(e) if op == "LogSoftmax" else e
    graph = small_graph(node(op, ["x"], ["y"]), opset=11)
    for run in runners(graph):
        close(run(x=x)["y"], expected)


def test_sizes_and_integers_of_a_file(rng):
    x = rng.standard_normal((3, 2, 4)).astype(np.float32)
    graph = small_graph(
        node("Shape", ["x"], ["size"], start=-1),
        node("Sub", ["zero", "size"], ["negative"]),
        node("Div", ["negative", "three"], ["quotient"]),
        node("Cast", ["quotient"], ["number"], to=1),
        node("Mul", ["x", "number"], ["y"]),
        arrays={"zero": np.array([0]), "three": np.array([3])},
    )
    for run in runners(graph):
        close(run(x=x)["y"], -x)  # -4 / 3, towards 0


def test_operations_that_others_write(rng):
    x = rng.standard_normal((3, 2, 4)).astype(np.float32)
    lengths = np.array([2, 1, 2])
    erf = 2 * norm_cdf(x * 2**0.5) - 1
    turned = np.stack([np.concatenate([a[:n][::-1], a[n:]]) for a, n in
                       zip(x, lengths, strict=True)])  # fmt: skip
    cases = {
        "Erf": (x, {}, [], erf),
        "Tile": (x, {}, [np.array([1, 2, 1])], np.tile(x, (1, 2, 1))),
        "CumSum": (
            x,
            {"reverse": 1},
            [np.array(1)],
            np.flip(np.cumsum(np.flip(x, 1), 1), 1),
        ),
        "ReduceLogSumExp": (
            x,
            {"axes": [1], "keepdims": 0},
            [],
            np.log(np.exp(x).sum(1)),
        ),
        "ReverseSequence": (x, {"time_axis": 1, "batch_axis": 0}, [lengths], turned),
    }
    for op, (x, attributes, others, expected) in cases.items():
        arrays = {f"a{i}": array for i, array in enumerate(others)}
        graph = small_graph(
            node(op, ["x", *arrays], ["y"], **attributes), arrays=arrays
        )
        graph.outputs[0].shape = expected.shape
        for run in runners(graph):
            close(run(x=x)["y"], expected)
    graph = small_graph(
        node("CumSum", ["x", "axis"], ["y"], exclusive=1), arrays={"axis": np.array(1)}
    )
    with pytest.raises(InterchangeError, match="exclusive=1"):
        OnnxModel(graph)(x)


def norm_cdf(x):
    return np.vectorize(lambda v: math.erfc(-v / 2**0.5) / 2)(x).astype(np.float32)


def test_a_reverse_layer_of_a_file(rng):
    shapes = {"W": (1, 8, 4), "R": (1, 8, 2), "B": (1, 16)}
    arrays = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    graph = small_graph(
        node("LSTM", ["x", *arrays], ["y"], hidden_size=2, direction="reverse"),
        arrays=arrays,
    )
    graph.outputs[0].shape = ("time", 1, "batch", 2)
    x = rng.standard_normal((3, 2, 4)).astype(np.float32)
    found = [run(x=x)["y"] for run in runners(graph)]
    for y in found[1:]:
        close(found[0], y)
    graph.nodes[0].attributes["direction"] = "forward"
    close(found[0], OnnxModel(graph)(x[::-1]).array[::-1])


BROKEN = {
    "Einsum": (small_graph(node("Einsum", ["x"], ["y"])), "are not read: Einsum"),
    "order": (small_graph(node("Tanh", ["z"], ["y"])), "uses .'z'., which nothing"),
    "output": (small_graph(node("Tanh", ["x"], ["z"])), "nothing computes .*'y'"),
    "twice": (
        small_graph(node("Tanh", ["x"], ["y"]), node("Tanh", ["x"], ["y"])),
        "computed twice",
    ),
    "inputs": (small_graph(node("Tanh", [], ["y"])), "lacks inputs"),
    "opset": (small_graph(node("Tanh", ["x"], ["y"]), opset=3), "opset 3, not 7 to"),
    "weights": (
        small_graph(node("LSTM", ["x", "x", "x"], ["y"])),
        "weights are not arrays of the file",
    ),
    "shapes": (
        small_graph(
            node("GRU", ["x", "W", "W"], ["y"], hidden_size=2),
            arrays={"W": np.ones((1, 5, 4), np.float32)},
        ),
        r"GRU: W has the shape \(1, 5, 4\)",
    ),
}
ones = {"w": np.ones(2, np.float32)}
normalize = node("BatchNormalization", ["x", *"wwww"], ["y"], training_mode=1)
BROKEN["training"] = small_graph(normalize, arrays=ones), "of training, or"
dropout = node("Dropout", ["x"], ["z", "y"])
BROKEN["second output"] = small_graph(dropout), "nothing computes .*'y'"
for option in ({"layout": 1}, {"clip": 1.0}, {"activations": ["Elu"] * 2}):
    weights = {"W": np.ones((1, 6, 4), np.float32), "R": np.ones((1, 6, 2), np.float32)}
    layer = node("GRU", ["x", "W", "R"], ["y"], hidden_size=2, **option)
    BROKEN[str(option)] = small_graph(layer, arrays=weights), "GRU: .* not read"


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_cannot_run_are_refused(name):
    graph, message = BROKEN[name]
    with pytest.raises(InterchangeError, match=message):
        OnnxModel(decode(encode(graph)))


def test_files_that_are_no_model_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    for data in (b"", b"PK\3\4 some zip", b"\x08\x08", b"\x3a\xff\xff\xff\x7f"):
        path.write_bytes(data)
        with pytest.raises(InterchangeError, match="no ONNX file"):
            from_onnx(path)


def test_damaged_files_raise_the_one_error():
    outcomes, wrong, peak, slowest = search(".onnx", 150)
    assert not wrong and set(outcomes) == {"read", "refused"}
    assert peak < 2**26 and slowest < 5
