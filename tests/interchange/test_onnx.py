"""Models as ONNX files: written here, judged by onnxruntime where it is there.

Without it, files are read back and run by ``OnnxModel``. A file that PyTorch wrote,
with what onnxruntime computed of it, is in tests/golden.
"""

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import interchange
from dyrnn.config import no_backprop_mode, using_config
from dyrnn.errors import InterchangeError
from dyrnn.interchange import from_onnx, to_onnx
from dyrnn.interchange.graphs import Graph, Node, Value, decode, encode
from dyrnn.interchange.matching import match
from dyrnn.interchange.onnx_layers import SYSTEM, by_order, layers_of
from dyrnn.interchange.onnx_models import OnnxModel
from dyrnn.interchange.tracing import trace
from tests.interchange.models import GOLDEN, D, H, V

CELLS = [L.LSTM, L.GRU, L.ElmanRNN]
STEPS_ONLY = [L.MGU, L.StatefulPeepholeLSTM, L.StatefulZoneoutLSTM]
STACKS = [L.NStepLSTM, L.NStepBiLSTM, L.NStepGRU, L.NStepBiGRU]
STACKS += [L.NStepRNNTanh, L.NStepBiRNNTanh, L.NStepRNNReLU, L.NStepBiRNNReLU]


class Words(dyrnn.Chain):
    """A language model."""

    def __init__(self, cell, V=20, H=6, n_layers=2):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(V, H)
            self.layers = dyrnn.ChainList(*[cell(H, H) for _ in range(n_layers)])
            self.out = L.Linear(H, V)

    def forward(self, x):
        h = F.dropout(self.embed(x))
        for layer in self.layers:
            h = F.dropout(layer(h))
        return F.softmax(self.out(h))


class Tagger(dyrnn.Chain):
    """Tags the words of a list of sentences, and the sentences."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(20, 5)
            self.rnn = L.NStepBiLSTM(1, 5, 4, 0.2)
            self.word, self.sentence = L.Linear(8, 3), L.Linear(8, 2)

    def forward(self, xs):
        ends = np.cumsum([len(x) for x in xs])[:-1]
        rows = F.split_axis(self.embed(F.concat(xs, axis=0)), ends, 0)
        h, _, ys = self.rnn(None, None, rows)
        whole = self.sentence(F.concat([h[-2], h[-1]], axis=1))
        return whole, [F.log_softmax(self.word(y)) for y in ys]


class Ends(dyrnn.Chain):
    """Reads a window with lengths, in the ways a forward may."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.rnn, self.out = L.LSTM(5, 4), L.Linear(4, 3)

    def forward(self, x, lengths):
        weights = self.rnn.upward.W, self.rnn.lateral.W, self.rnn.upward.b
        h, _, y = F.lstm_window(x, None, None, *weights, lengths)
        mean = F.mean(self.out(y), axis=0)
        return mean, self.out(h), y[::-1][1:, :, :2], y.reshape((-1, 4))


def evaluate(model, *arguments):
    with using_config("train", False), no_backprop_mode():
        return model(*arguments)


def randomize(model, rng):
    for param in model.params():
        param.array += rng.standard_normal(param.shape).astype(np.float32) * 0.3
    return model


def runners(graph):
    """Yield functions that run a graph: ours, and onnxruntime's if it is there."""
    data = encode(graph)
    model = OnnxModel(decode(data))

    def ours(**given):
        values = evaluate(lambda: model._run(given))
        return {v.name: np.asarray(getattr(values[v.name], "array", values[v.name]))
                for v in model.graph.outputs}  # fmt: skip

    yield ours
    try:
        import onnxruntime
    except ImportError:
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        data, options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    yield lambda **given: dict(zip(names, session.run(None, given), strict=True))


def node(op, inputs, outputs, **attributes):
    return Node(op, inputs, outputs, attributes)


def small_graph(*nodes, opset=17, arrays=None):
    x = Value("x", np.dtype(np.float32), ("time", "batch", 4))
    y = Value("y", np.dtype(np.float32), ("time", "batch", 4))
    return Graph(list(nodes), [x], [y], arrays or {}, opset=opset)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_steps_in_parts_are_the_window(cell, rng):
    model = randomize(Words(cell), rng)
    x = rng.integers(0, 20, (9, 2))
    graph = trace(model, x[:2])
    whole = evaluate(model, x).array
    for run in runners(graph):
        names = [v.name for v in graph.inputs[1:]]
        states = {name: np.zeros((2, 6), np.float32) for name in names}
        parts = []
        for start, end in ((0, 4), (4, 5), (5, 9)):
            y = run(x=x[start:end], **states)
            parts.append(y["y"])
            states = {name: y[f"{name}_next"] for name in names}
        close(np.concatenate(parts), whole)


@pytest.mark.parametrize("cell", [*CELLS, *STEPS_ONLY])
def test_a_model_of_steps(cell, rng):
    model = randomize(Words(cell), rng)
    x = rng.integers(0, 20, (5, 3)).astype(np.int32)
    graph = trace(model, x[0])
    expected = [evaluate(model, step).array for step in x]
    for run in runners(graph):
        states = {v.name: np.zeros((3, 6), np.float32) for v in graph.inputs[1:]}
        for step, wanted in zip(x, expected, strict=True):
            y = run(x=step, **states)
            close(y["y"], wanted)
            states = {name: y[f"{name}_next"] for name in states}


@pytest.mark.parametrize("kind", STACKS)
def test_lists_of_sequences_are_windows_with_lengths(kind, rng):
    model = randomize(kind(2, 5, 4, 0.1), rng)
    n, D = model.n_states, model.directions
    xs = [rng.standard_normal((k, 5)).astype(np.float32) for k in (3, 6, 1)]
    states = [rng.standard_normal((2 * D, 3, 4)).astype(np.float32) for _ in range(n)]
    padded = np.zeros((6, 3, 5), np.float32)
    for i, x in enumerate(xs):
        padded[: len(x), i] = x
    lengths = np.array([3, 6, 1], np.int32)
    given = dict(zip(("hx", "cx"), states, strict=False))
    for carried in ({}, given):
        start = list(carried.values()) or [None] * n
        *after, ys = evaluate(model, *start, xs)
        example = [None if s is None else s[:, :1] for s in start]
        graph = trace(model, *example, xs[:1])
        for run in runners(graph):
            found = list(run(xs=padded, lengths=lengths, **carried).values())
            for a, b in zip(found, after, strict=False):
                close(a, b.array)
            for i, y in enumerate(ys):
                close(found[-1][: len(y), i], y.array)
                assert not found[-1][len(y) :, i].any()


def test_a_forward_over_lists(rng):
    model = randomize(Tagger(), rng)
    xs = [rng.integers(0, 20, n) for n in (4, 2, 7)]
    padded = np.zeros((7, 3), np.int64)
    for i, x in enumerate(xs):
        padded[: len(x), i] = x
    whole, ys = evaluate(model, xs)
    graph = trace(model, xs)
    assert [v.shape for v in graph.outputs] == [("batch", 2), ("time", "batch", 3)]
    for run in runners(graph):
        found = run(xs=padded, lengths=np.array([4, 2, 7], np.int32))
        close(found["y0"], whole.array)
        for i, y in enumerate(ys):
            close(found["y1"][: len(y), i], y.array)


def test_a_forward_with_lengths(rng):
    model = randomize(Ends(), rng)
    x = rng.standard_normal((6, 3, 5)).astype(np.float32)
    lengths = np.array([6, 2, 3])
    graph = trace(model, x, lengths)
    ys = evaluate(model, x, lengths)
    for run in runners(graph):
        for found, y in zip(run(x=x, lengths=lengths).values(), ys, strict=True):
            close(found, y.array)


@pytest.mark.parametrize("second", [L.LSTM, L.GRU])
def test_a_bidirectional_layer_has_no_state(second, rng):
    layer = L.Bidirectional(L.LSTM(5, 4), second(5, 4))
    model = randomize(dyrnn.Sequential(layer, L.Linear(8, 3)), rng)
    x = rng.standard_normal((6, 3, 5)).astype(np.float32)
    lengths = np.array([4, 1, 6])
    for arguments in ((x,), (x, lengths)):
        graph = trace(layer, *arguments)
        assert len(graph.inputs) == len(arguments) and len(graph.outputs) == 1
        y = evaluate(layer, *arguments).array
        given = dict(zip([each.name for each in graph.inputs], arguments, strict=True))
        for run in runners(graph):
            (found,) = run(**given).values()
            for b, n in enumerate(lengths if len(arguments) > 1 else [6] * 3):
                close(found[:n, b], y[:n, b])
    graph = trace(model, x)
    for run in runners(graph):
        (found,) = run(**{graph.inputs[0].name: x}).values()
        close(found, evaluate(model, x).array)


def test_functions_of_a_forward(rng):
    """Each function that has a counterpart, in steps and windows."""

    def forward(x):
        x = F.layer_normalization(x, np.ones(4, np.float32), np.ones(4, np.float32))
        a, b = F.split_axis(F.leaky_relu(x), 2, axis=-1)
        y = F.concat((F.elu(a) * 2 - b, F.relu(b) / 3.0, F.softplus(a, 2.0)))
        y = F.maximum(y, 0.1) ** 2 + F.minimum(abs(y), F.exp(-y)) + F.sin(y) * F.cos(y)
        y = F.clip(F.sqrt(y + 4.0), 0.5, 2.0) + F.log(y + 5.0) + F.square(F.sigmoid(y))
        y = F.swish(y) + F.softsign(y) + F.hard_sigmoid(y)
        y = F.stack((y, F.broadcast_to(y[:1], y.shape)), axis=-1)
        y = F.sum(y, axis=-1) + F.max(y, axis=-1) - F.min(y, axis=(0, -1))
        y = y + F.gelu(y) + F.gelu(y, True) + F.selu(y) + F.cumsum(y, -1) * 0.1
        y = y + F.logsumexp(y, -1, keepdims=True) * 0.1
        z = F.matmul(y[..., None, :], y[..., None])
        return F.linear_interpolate(F.sigmoid(y), y, F.tanh(y)), F.squeeze(z, -1), y.T

    model = dyrnn.Sequential(forward)
    for shape in ((3, 4), (5, 2, 4)):
        x = rng.standard_normal(shape).astype(np.float32)
        ys = evaluate(model, x)
        for run in runners(trace(model, x)):
            for found, y in zip(run(x0=x).values(), ys, strict=True):
                np.testing.assert_allclose(found, y.array, rtol=1e-5, atol=1e-5)


def test_a_first_step_without_a_state_is_warned_of(rng):
    model = randomize(Words(L.StatefulGRU), rng)
    x = rng.integers(0, 20, (6, 2))
    with pytest.warns(UserWarning, match="first step is not that from a state"):
        further = trace(model, x)
    first = trace(model, x, carry=False)
    whole = evaluate(model, x).array
    for start, go_on in zip(runners(first), runners(further), strict=True):
        y = start(x=x[:2])
        states = {v.name: y[f"{v.name}_next"] for v in further.inputs[1:]}
        close(y["y"], whole[:2])
        close(go_on(x=x[2:], **states)["y"], whole[2:])


def test_a_classifier_is_its_predictor(rng):
    predictor = randomize(Words(L.LSTM), rng)
    x = rng.integers(0, 20, (4, 2))
    expected = evaluate(predictor, x).array
    for run in runners(trace(L.Classifier(predictor), x, carry=False)):
        close(run(x=x)["y"], expected)


def test_a_method_can_be_what_is_exported(rng):
    class Loss(Words):
        def forward(self, x, t):
            return F.softmax_cross_entropy(self.logits(x), t)

        def logits(self, x):
            return super().forward(x)

    model = randomize(Loss(L.GRU), rng)
    x = rng.integers(0, 20, (4, 2))
    expected = evaluate(model.logits, x).array
    for run in runners(trace(model, x, call=model.logits, carry=False)):
        close(run(x=x)["y"], expected)
    with pytest.raises(InterchangeError, match="SoftmaxCrossEntropy, called at"):
        trace(model, x, x)


def test_an_export_leaves_the_model_as_it_was(rng, tmp_path):
    model = Words(L.LSTM)
    evaluate(model, rng.integers(0, 20, (3, 2)))
    before = [layer.h.array for layer in model.layers]
    weights = [p.array.copy() for p in model.params()]
    to_onnx(model, tmp_path / "m.onnx", np.zeros((1, 1), int))
    assert all(
        a is layer.h.array for a, layer in zip(before, model.layers, strict=True)
    )
    for a, p in zip(weights, model.params(), strict=True):
        np.testing.assert_array_equal(a, p.array)
    stack = L.NStepGRU(1, 2, 3)
    to_onnx(stack, tmp_path / "s.onnx", None, [np.zeros((2, 2), np.float32)])
    assert "function" not in vars(stack)


def test_a_file_comes_back_as_a_link_that_carries_its_state(rng, tmp_path):
    model = randomize(Words(L.LSTM), rng)
    x = rng.integers(0, 20, (8, 3))
    to_onnx(model, tmp_path / "m.onnx", x)
    again = from_onnx(tmp_path / "m.onnx")
    parts = [evaluate(again, x[:3]), evaluate(again, x[3:])]
    close(np.concatenate([y.array for y in parts]), evaluate(model, x).array)
    again.reset_state()
    close(evaluate(again, x[:3]).array, parts[0].array)


class Net(dyrnn.Chain):
    """The model of tests/golden/interchange/torch.onnx."""

    def __init__(self, eps=1e-5):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(V, D)
            self.gru = L.NStepBiGRU(2, D, H)
            self.lstm, self.rnn = L.LSTM(2 * H, H), L.ElmanRNN(H, H)
            self.norm, self.out = L.LayerNormalization(H, eps=eps), L.Linear(H, V)

    def forward(self, ids):
        self.reset_state()
        e = self.embed(ids)
        _, ys = self.gru(None, [e[:, b] for b in range(ids.shape[1])])
        y = self.rnn(self.lstm(F.stack(ys, axis=1)))
        return F.log_softmax(self.out(self.norm(y)), axis=2)


def test_a_file_of_pytorch_and_its_layers(tmp_path):
    known = np.load(GOLDEN / "onnx.npz")
    ids, y = known["ids"], known["y"]
    close(evaluate(from_onnx(GOLDEN / "torch.onnx"), ids).array, y)
    weights = {k: known[k] for k in set(known) - {"ids", "y"}}
    first, second, third = Net(), Net(), Net()
    interchange.load(weights, first, "torch")
    interchange.load(GOLDEN / "torch.onnx", second)
    assert isinstance(second.lstm, L.LSTM)
    for model in (first, second):
        close(evaluate(model, ids).array, y)
    (tmp_path / "m.ONNX").write_bytes((GOLDEN / "torch.onnx").read_bytes())
    names = {"gru": ["gru", "gru_1"], "lstm": "lstm", "out": "linear"}
    interchange.load(tmp_path / "m.ONNX", third, names=names)
    for (path, a), (_, b) in zip(
        second.namedparams(), third.namedparams(), strict=True
    ):
        np.testing.assert_array_equal(a.array, b.array, path)


@pytest.mark.parametrize(
    ("model", "names", "message"),
    [
        (Net(1e-3), {}, "layer_norm: eps is 1e-05, but 0.001 in LayerNorm"),
        (Net(), {"out": None}, r"linear/W \(7, 4\): left over"),
        (Net(), {"lstm": "gru_1"}, r"gru_1/W: shape \(12, 8\), expected \(16, 8\)"),
        (L.LSTM(D, H), {}, r"lstm/W: shape \(16, 8\), expected \(16, 3\)"),
        (L.NStepLSTM(2, 2 * H, H), {}, r"lstm \(one more\)/W \(16, 4\): missing"),
        (L.StatefulGRU(D, H), {}, "gru: reset_after is True, but False in Stateful"),
        (L.StatefulPeepholeLSTM(D, H), {}, "no counterpart in ONNX"),
    ],
)
def test_layers_of_a_file_that_do_not_fit(model, names, message):
    before = {path: p.array.copy() for path, p in model.namedparams()}
    with pytest.raises(InterchangeError, match=message):
        interchange.load(GOLDEN / "torch.onnx", model, names=names)
    for path, p in model.namedparams():
        np.testing.assert_array_equal(p.array, before[path])


def test_maps_and_cells_of_a_file_have_their_biases(rng):
    a, b = np.float32(rng.normal(size=(2, 3))), np.float32(rng.normal(size=3))
    arrays = {"a": a, "b": b, "w": a[None], "r": np.eye(2, 2, dtype=np.float32)[None]}
    nodes = [
        node("Gemm", ["x", "a", "b"], ["y"], alpha=2.0, beta=3.0),
        node("Transpose", ["a"], ["t"], perm=[1, 0]),
        node("MatMul", ["y", "t"], ["z"]),
    ]
    source = layers_of(small_graph(*nodes, arrays=arrays))
    close(source.arrays["linear/W"], 2 * a.T)
    close(source.arrays["linear/b"], 3 * b)
    close(source.arrays["linear_1/W"], a)
    assert "a" not in source.arrays and "w" in source.arrays
    B = np.float32(rng.normal(size=(1, 12)))
    weights = {"W": np.ones((1, 6, 3)), "R": np.ones((1, 6, 2)), "B": B}
    arrays = {k: np.float32(v) for k, v in weights.items()}
    gru = L.StatefulGRU(3, 2)
    graph = small_graph(node("GRU", ["x", "W", "R", "B"], ["y"]), arrays=arrays)
    source = layers_of(graph)
    match(gru, source, SYSTEM, by_order(gru, source, {}))
    close(gru.W.b.array, B[0, 4:6] + B[0, 10:])
    assert not gru.U.b.array.any()


def test_a_link_from_a_file_trains_as_the_model(rng):
    model = randomize(Words(L.GRU), rng)
    x, t = rng.integers(0, 20, (2, 8, 3))
    again = OnnxModel(decode(encode(trace(model, x))))
    losses = []
    for m in (model, again):
        optimizer = dyrnn.optimizers.Adam(lr=0.01).setup(m)
        losses.append([])
        for _ in range(3):
            m.reset_state()
            with using_config("train", m is again):
                loss = -F.mean(F.log(F.select_item(m(x).reshape((-1, 20)), t.ravel())))
            m.cleargrads()
            loss.backward()
            optimizer.update()
            losses[-1].append(float(loss.array))
    assert losses[0][0] > losses[0][2]
    with using_config("train", False):
        close(losses[0][0], losses[1][0])


def hidden(h):
    """Return a function with state that nothing declares."""
    kept = []

    def forward(x):
        y = x + (kept[-1] if kept else 0.0)
        kept.append(F.sum(x).array * np.float32(0.1))
        return y

    return forward


FORWARDS = {
    "numpy": (lambda x: F.tanh(x * 2), "NumPy code in a forward is not recorded"),
    "value": (lambda x: F.tanh(x) + F.tanh(x).array.max(), "Add, called at .*number"),
    "branch": (lambda x: F.tanh(x) if len(x) < 9 else F.relu(x), "decides by values"),
    "loop": (lambda x: F.stack([F.tanh(v) for v in x]), "loop over time"),
    "noise": (lambda x: F.gaussian(F.tanh(x), F.tanh(x)), "no recorded operation"),
    "places": (
        lambda x: F.tanh(x) + np.arange(len(x), dtype=np.float32)[:, None, None],
        "no recorded operation",
    ),
    "state": (hidden(None), "number|no recorded|does not compute"),
    "pad": (
        lambda x: F.pad(F.tanh(x), 1, "constant"),
        "Pad, called at .*test_onnx.py",
    ),
    "mask": (lambda x: F.tanh(x)[x > 0], "mask as an index"),
    "text": (lambda x: "yes", "returns a str"),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_what_is_not_recorded_is_refused_by_name(name, rng):
    forward, message = FORWARDS[name]
    x = rng.standard_normal((6, 3, 5)).astype(np.float32)
    with pytest.raises(InterchangeError, match=message):
        trace(dyrnn.Sequential(forward), x)


def test_what_mixes_a_list_of_sequences_is_refused(rng):
    class Mean(Tagger):
        def forward(self, xs):
            _, ys = super().forward(xs)
            return F.mean(ys[0], axis=0)

    with pytest.raises(InterchangeError, match="other than row by row"):
        trace(Mean(), [rng.integers(0, 20, 5)])


def test_wrong_arguments_are_refused(rng):
    with pytest.raises(ValueError, match="/W waits for its shape"):
        trace(L.Linear(3), np.zeros((2, 2), np.float32))
    with pytest.raises(TypeError, match="must be a link, not a function"):
        trace(lambda x: x, np.zeros(3))
    with pytest.raises(InterchangeError, match="which axes of shape .* are time"):
        trace(L.Linear(3, 3), np.zeros((2, 2, 2, 3), np.float32))
    graph = trace(
        dyrnn.Sequential(F.tanh), np.ones((2, 4, 2, 3), np.float32), axes=[("batch",)]
    )
    assert graph.inputs[0].shape == ("batch", 4, 2, 3)


def test_a_double_model_is_exported_in_single_precision(rng):
    with using_config("dtype", np.float64):
        model = Words(L.LSTM)
    x = rng.integers(0, 20, (4, 2))
    expected = evaluate(model, x).array
    assert expected.dtype == np.float64
    for run in runners(trace(model, x, carry=False)):
        close(run(x=x)["y"], expected)


@pytest.mark.parametrize("example", [np.zeros((2, 2), np.int32), np.ones((2,), int)])
@pytest.mark.parametrize("padding", [0, 3, -1])
def test_what_numpy_does_with_other_ids_is_seen(tmp_path, example, padding):
    class Masked(dyrnn.Chain):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.embed, self.rnn = L.EmbedID(7, 4), L.LSTM(4, 3)

        def forward(self, x):
            mask = (x != padding).astype(np.float32)[..., None]
            return self.rnn(self.embed(x)) * mask

    path = tmp_path / "masked.onnx"
    if padding == -1:  # no id is: it is a factor of 1
        to_onnx(Masked(), path, example)
        return
    with pytest.raises(InterchangeError, match="does not compute y as the model"):
        to_onnx(Masked(), path, example)
    assert not path.exists()


def test_models_in_half_precision_and_without_numbers_are_saved(tmp_path):
    class Log(dyrnn.Chain):
        def forward(self, x):
            return F.log(dyrnn.as_variable(x))

    x = np.array([[0.5, 2.0]], np.float32)
    with np.errstate(invalid="ignore"):
        to_onnx(Log(), tmp_path / "log.onnx", x)  # of some numbers it has none
    found = from_onnx(tmp_path / "log.onnx")(x)
    np.testing.assert_allclose(found.array, np.log(x), rtol=1e-6)
    with using_config("dtype", np.dtype(np.float16)):
        half = dyrnn.Sequential(L.Linear(3, 40), L.Linear(40, 2))
        to_onnx(half, tmp_path / "half.onnx", np.ones((2, 3), np.float16))
