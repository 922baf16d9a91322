"""The CUDA kernels, run on the host, agree with the plain definitions."""

import copy
import os

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
import dyrnn.links as L
from dyrnn import backend, kernels, optimizers
from dyrnn.kernels import dispatch
from dyrnn.kernels.cuda import device as cuda_device
from dyrnn.kernels.cuda import recurrent as cuda_recurrent
from dyrnn.optimizers.hooks import GradientClipping
from tests import strict
from tests.functions.running import in_type, run
from tests.functions.table import CASES
from tests.kernels import emulator
from tests.links.table import LINKS
from tests.links.table import run as run_link

pytestmark = pytest.mark.skipif(
    emulator.COMPILER is None, reason="needs g++ to run the kernels on the host"
)
DTYPES = [np.float32, np.float64, np.float16]
TOLERANCES = {"float64": 1e-12, "float32": 2e-6, "float16": 4e-3}
# Steps, sequences and units: one, and more than a tile, a warp, a block deals with.
WINDOWS = [
    ((1, 1, 1), np.float32),
    ((2, 9, 37), np.float32),
    ((3, 3, 38), np.float32),
    ((2, 3, 40), np.float32),
    ((2, 3, 33), np.float64),
    ((2, 3, 33), np.float16),
    ((2, 3, 34), np.float16),
    ((2, 3, 36), np.float16),
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # workers share what they compile
        folder = folder.parent
    (folder / "kernels").mkdir(exist_ok=True)
    return emulator.Emulator(folder / "kernels")


@pytest.fixture
def machine(compiled, monkeypatch):
    compiled.reset()
    monkeypatch.setattr(cuda_device, "machine", lambda: compiled)
    return compiled


@pytest.fixture
def device(machine, monkeypatch):
    """The stand-in for a GPU, its arrays taking the CUDA kernels as CuPy's would."""
    place_of = dispatch.place_of
    monkeypatch.setattr(
        dispatch,
        "place_of",
        lambda x: "cuda" if isinstance(x, strict.ndarray) else place_of(x),
    )
    machine.reset(xp=strict.xp)
    return strict.DEVICE


class At:
    """The kernels, their arrays taken to be at a place."""

    def __init__(self, place):
        self.place = place

    def __getattr__(self, name):
        def run(*args):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(dispatch, "place_of", lambda x: self.place)
                return getattr(kernels, name)(*args)

        return run


cuda, plain = At("cuda"), At("plain")


def same(actual, expected):
    for ours, meant in zip(actual, expected, strict=True):
        assert (ours is None) == (meant is None)
        if ours is not None:
            assert ours.shape == meant.shape and ours.dtype == meant.dtype
            tolerance = TOLERANCES.get(str(meant.dtype), 0)
            ours, meant = ours.astype(float), meant.astype(float)
            scale = max(1.0, float(abs(meant).max(initial=0)))
            np.testing.assert_allclose(ours, meant, rtol=0, atol=tolerance * scale)


def compare(name, *args):
    """Call a kernel and its definition on copies; compare results and what is left."""
    ours, meant = copy.deepcopy(args), copy.deepcopy(args)
    got = getattr(cuda, name)(*ours)
    expected = getattr(plain, name)(*meant)
    if not isinstance(expected, tuple):
        got, expected = (got,), (expected,)
    same(got, expected)
    arrays = [i for i, a in enumerate(args) if isinstance(a, np.ndarray)]
    same([ours[i] for i in arrays], [meant[i] for i in arrays])
    return expected, meant


def draw(rng, dtype, *shapes):
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def masks(rng, T, B):
    return [None, np.arange(T)[:, None] < rng.integers(0, T + 1, B)]


def layouts(machine, dtype):
    """Ways to run a window: one kernel, whose memory is too short, or step by step."""
    short = ((4 if dtype == np.float64 else 2) << 10) + 8
    for resident, shared_memory in ((100, short), (0, 1 << 16)):
        machine.reset(resident=resident, shared_memory=shared_memory)
        yield resident > 0


@pytest.mark.parametrize(("shape", "dtype"), WINDOWS)
def test_lstm_windows_agree_with_plain_definition(rng, machine, shape, dtype):
    T, B, H = shape
    for mask in masks(rng, T, B):
        z, h0, c0, W = draw(rng, dtype, (T, B, 4 * H), (B, H), (B, H), (4 * H, H))
        W *= dtype(H**-0.5)
        gh, gc = draw(rng, dtype, (T, B, H), (B, H))
        for is_whole in layouts(machine, dtype):
            kernel = "window" if is_whole else "lstm_step"
            (_, c), (gates, *_) = compare("lstm_forward", z, h0, c0, W, mask)
            assert set(machine.launches) - {"product"} == {kernel}
            for g in ((gh, gc), (gh, None) if mask is None else (None, gc)):
                compare("lstm_backward", *g, gates, c, W, mask)
            launches = set(machine.launches) - {"product"}
            assert launches == {kernel, kernel + "_backward"}


def test_a_window_whose_matrix_does_not_fit_runs_step_by_step(machine):
    machine.reset(processors=132, resident=132, shared_memory=227 << 10)
    fit = [(20, 200), (20, 650), (20, 1056), (64, 512), (128, 1024)]
    packed = [*fit, (20, 1500), (64, 1500)]
    for precision, sizes in (("float32", fit), ("tf32", fit), ("bfloat16", packed)):
        with dyrnn.using_config("matmul_precision", precision):
            for B, H in sizes:
                for name in ("window", "window_backward"):
                    for gates in (1, 3, 4):
                        plan = cuda_recurrent._plan(
                            name, gates, np.dtype(np.float32), B, H
                        )
                        units, groups, staged = plan.layout
                        assert plan.blocks <= 132 and plan.blocks * units >= H
                        by_four = gates == 1 or name == "window_backward"
                        warps = units // 4 * gates if by_four else units
                        threads = 32 * warps * groups
                        assert plan.threads == threads <= 512 and staged >= 1
    for H, dtype in ((1057, np.float32), (769, np.float64)):
        assert cuda_recurrent._plan("window", 4, np.dtype(dtype), 20, H) is None


@pytest.mark.parametrize(("shape", "dtype"), WINDOWS)
def test_gru_and_rnn_windows_agree_with_plain_definitions(rng, machine, shape, dtype):
    T, B, H = shape
    for mask in masks(rng, T, B):
        z, h0, W, b = draw(rng, dtype, (T, B, 3 * H), (B, H), (3 * H, H), H)
        (gh,) = draw(rng, dtype, (T, B, H))
        W *= dtype(H**-0.5)
        for is_whole in layouts(machine, dtype):
            for bias in (b, None):
                (h, inner), (gates, *_) = compare(
                    "gru_forward", z, h0, W, bias, True, mask
                )
                compare("gru_backward", gh, gates, inner, h, W, True, mask)
            kernel = "window" if is_whole else "gru_step"
            launches = set(machine.launches) - {"product"}
            assert launches == {kernel, kernel + "_backward"}
        (h, inner), (gates, *_) = compare("gru_forward", z, h0, W, None, False, mask)
        compare("gru_backward", gh, gates, inner, h, W, False, mask)
        z, W = draw(rng, dtype, (T, B, H), (H, H))
        W *= dtype(H**-0.5)
        for is_whole in layouts(machine, dtype):
            for activation in ("tanh", "relu"):
                (h,), _ = compare("rnn_forward", z, h0, W, activation, mask)
                compare("rnn_backward", gh, h, W, activation, mask)
            kernel = "window" if is_whole else "rnn_step"
            launches = set(machine.launches) - {"product"}
            assert launches == {kernel, kernel + "_backward"}


def test_windows_of_no_steps_leave_the_state_as_it_is(rng, machine):
    h, c, gh = draw(rng, np.float32, (2, 3), (2, 3), (0, 2, 3))
    for name, gates in (("lstm", 4), ("gru", 3), ("rnn", 1)):
        (W,) = draw(rng, np.float32, (3 * gates, 3))
        z = np.zeros((0, 2, 3 * gates), np.float32)
        more = {"lstm": (c, W), "gru": (W, None, True), "rnn": (W,)}[name]
        states, _ = compare(f"{name}_forward", z, h, *more)
        saved = {
            "lstm": (None, z, states[-1]),
            "gru": (z, gh, states[0]),
            "rnn": states,
        }
        options = (True,) if name == "gru" else ()
        compare(f"{name}_backward", gh, *saved[name], W, *options)


def test_bfloat16_rounds_the_recurrent_matrix_only(rng, machine):
    T, B, H = 3, 9, 37
    z, h0, c0, W = draw(rng, np.float32, (T, B, 4 * H), (B, H), (B, H), (4 * H, H))
    W *= np.float32(H**-0.5)
    gh, gc = draw(rng, np.float32, (T, B, H), (B, H))
    rounded = emulator.to_bfloat16(W)
    assert 0 < abs(W - rounded).max() <= 2**-8 * abs(W).max()
    with dyrnn.using_config("matmul_precision", "bfloat16"):
        gates = z.copy()
        found = _, c = cuda.lstm_forward(gates, h0, c0, W)
        back = cuda.lstm_backward(gh, gc, gates, c, W)
    meant = z.copy()
    expected = plain.lstm_forward(meant, h0, c0, rounded)
    same([*found, gates], [*expected, meant])
    gz, _, gc0 = plain.lstm_backward(gh, gc, meant, expected[1], rounded)
    same([back[0], back[2]], [gz, gc0])
    z, W, b = draw(rng, np.float32, (T, B, 3 * H), (3 * H, H), H)
    W *= np.float32(H**-0.5)
    with dyrnn.using_config("matmul_precision", "bfloat16"):
        found = cuda.gru_forward(z.copy(), h0, W, b, True)
    same(found, plain.gru_forward(z.copy(), h0, emulator.to_bfloat16(W), b, True))
    z, W = draw(rng, np.float32, (T, B, H), (H, H))
    W *= np.float32(H**-0.5)
    with dyrnn.using_config("matmul_precision", "bfloat16"):
        found = cuda.rnn_forward(z, h0, W)
    same([found], [plain.rnn_forward(z, h0, emulator.to_bfloat16(W))])
    assert set(machine.launches) - {"product"} == {"window", "window_backward"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_any_layout_agree_with_numpy(rng, machine, dtype):
    a, b = draw(rng, dtype, (7, 5), (5, 3))
    layouts = {
        "rows": lambda x: x,
        "columns": np.asfortranarray,
        "part": lambda x: np.pad(x, ((1, 2), (3, 1)))[1:-2, 3:-1],
        "part of columns": lambda x: np.pad(x.T, 2)[2:-2, 2:-2].T,
        "every other": lambda x: np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2],
    }
    bound = TOLERANCES[np.dtype(dtype).name] * 10
    expected = a.astype(np.float64) @ b.astype(np.float64)
    for left in layouts.values():
        for right in layouts.values():
            product = cuda.matmul(left(a), right(b))
            assert product.dtype == dtype
            np.testing.assert_allclose(product, expected, rtol=0, atol=bound)
    assert machine.launches == ["product"] * 25
    for one, other in ((a[:1], b), (a, b[:, :1]), (a[:, :1], b[:1]), (a[:0], b)):
        product = one.astype(np.float64) @ other.astype(np.float64)
        np.testing.assert_allclose(cuda.matmul(one, other), product, atol=bound)
    into = np.full((7, 3), np.nan, dtype)
    assert cuda.matmul(a, b, into) is into
    np.testing.assert_allclose(into, expected, rtol=0, atol=bound)
    x, W, bias = draw(rng, dtype, (6, 4), (3, 4), 3)
    compare("linear", x, W, bias)
    compare("linear", x, W)


def test_products_are_rounded_as_the_setting_says(rng, machine):
    a, b = draw(rng, np.float32, (7, 50), (50, 3))
    exact = cuda.matmul(a, b)
    with dyrnn.using_config("matmul_precision", "bfloat16"):
        product = cuda.matmul(a, b)
    assert 1e-4 < abs(product - exact).max() < 0.2
    with pytest.raises(
        ValueError, match="is one of float32, tf32, bfloat16, not 'fp8'"
    ):
        dyrnn.config.matmul_precision = "fp8"


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_steps_agree_with_plain_definitions(rng, machine, dtype):
    B, H = 7, 50
    a, x, c, gc, gh = draw(rng, dtype, (B, 4 * H), (B, 4 * H), (B, H), (B, H), (B, H))
    compare("lstm_gates", a, c)
    (_, tanh_c, _), (gates, *_) = compare("lstm_gates", a, c, x)
    for g in ((gc, gh), (None, gh), (gc, None)):
        compare("lstm_gates_backward", gates, c, tanh_c, *g)
    z, a, h = draw(rng, dtype, (B, 3 * H), (B, 3 * H), (B, H))
    _, (gates, *_) = compare("gru_gates", z, h, a)
    compare("gru_gates_backward", gh, gates, h, a)
    assert len(machine.launches) == 7


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ids", [np.int32, np.int64, np.int16])
def test_softmax_cross_entropy_agrees_with_plain_definition(rng, machine, dtype, ids):
    for N, V, spread in ((0, 5, 1), (1, 1, 1), (5, 40, 1), (3, 1100, 30)):
        logits = (rng.normal(size=(N, V)) * spread).astype(dtype)
        t = rng.integers(0, V, N).astype(ids)
        t[-1:] = -1
        ours, meant = cuda, plain
        for out in (None, "same"):
            found, expected = (
                k.softmax_cross_entropy(x, t, -1, None if out is None else x)
                for k, x in ((ours, logits.copy()), (meant, logits.copy()))
            )
            counted = t >= 0  # a row that does not count has no gradient whatever e is
            e = [k[1][counted].astype(float) for k in (found, expected)]
            bound = TOLERANCES[np.dtype(dtype).name] * max(1, abs(e[1]).max(initial=0))
            np.testing.assert_allclose(*e, rtol=0, atol=bound)
            same(found[::2], expected[::2])
    logits[1, 3] = np.nan
    loss, _, _ = cuda.softmax_cross_entropy(logits, np.array([0, 1, 2]))
    assert np.isnan(loss[1]) and np.isfinite(loss[[0, 2]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_losses_agree_with_plain_definition(rng, machine, dtype):
    for N in (1, 5, 1300):
        t = rng.integers(0, 9, N).astype(np.int32)
        loss, inverse = draw(rng, dtype, N, N)
        for ignored in (-1, 3):
            for divisor in (None, 7):
                compare("mean_loss", loss, inverse, t, ignored, divisor)
    t[:] = 3
    compare("mean_loss", loss * 0, inverse * 0, t, 3, None)


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_and_ids_out_of_range_are_nan_and_touch_nothing(rng, machine, dtype):
    logits, W = draw(rng, dtype, (6, 4), (4, 3))
    t = np.array([0, 4, -2, 1 << 40, -1, 3])
    loss, e, inverse = cuda.softmax_cross_entropy(logits, t, -1)
    is_bad = [False, True, True, True, False, False]
    np.testing.assert_array_equal(np.isnan(loss), is_bad)
    np.testing.assert_array_equal(np.isnan(inverse), is_bad)
    assert np.isfinite(e).all() and loss[4] == inverse[4] == 0
    rows = cuda.take_rows(W, t)
    np.testing.assert_array_equal(np.isnan(rows).all(axis=1), (t < 0) | (t > 3))
    rows = cuda.take_rows(W, t, -1)
    np.testing.assert_array_equal(rows[4], 0)
    target = np.zeros_like(W)
    cuda.add_rows_by_id(target, t, np.ones((6, 3), dtype))
    np.testing.assert_array_equal(target[:, 0], [1, 0, 0, 1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ids", [np.int32, np.int64, np.uint8])
def test_rows_are_taken_by_id(rng, machine, dtype, ids):
    (W,) = draw(rng, dtype, (9, 40))
    picked = rng.integers(0, 9, (3, 4)).astype(ids)
    for ignored in (None, 2, -1):
        compare("take_rows", W, picked, ignored)
    assert set(machine.launches) == {"take_rows"}
    compare("take_rows", W, picked[:0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_added_by_id(rng, machine, dtype):
    for N, D in ((1, 1), (60, 40), (0, 3)):
        ids = rng.integers(0, 9, N).astype(np.int32)
        compare(
            "add_rows_by_id", *draw(rng, dtype, (9, D)), ids, *draw(rng, dtype, (N, D))
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dropout_mask_and_what_follows_are_those_of_the_cpu(machine, dtype):
    ours, theirs = (np.random.Generator(np.random.Philox(7)) for _ in range(2))
    for shape in ((3, 5), (1,), (2, 2), (0, 3), (4, 50, 3), (100,), (16,)):
        like = np.empty(shape, dtype)
        mask = cuda.dropout_mask(like, ours, 0.3)
        expected = plain.dropout_mask(like, theirs, 0.3)
        np.testing.assert_array_equal(mask, expected)
        assert mask.dtype == dtype
        assert ours.integers(1 << 40) == theirs.integers(1 << 40)
    assert ours.random() == theirs.random()
    like = np.empty(90, np.float32)
    for carried in (1, 2, 3, 4):  # a counter beyond 64 bits
        word = (1 << 64) - 1
        counter = [word] * carried + [0] * (4 - carried)
        for g in (ours, theirs):
            state = g.bit_generator.state
            state["state"]["counter"] = np.array(counter, np.uint64)
            g.bit_generator.state = state
        for kernel, g in ((cuda, ours), (plain, theirs)):
            counter = kernel.dropout_mask(like, g, 0.5)
        np.testing.assert_array_equal(
            counter, cuda.dropout_mask(like, _rewound(ours, state), 0.5)
        )
        assert ours.random() == theirs.random()


def _rewound(generator, state):
    other = np.random.Generator(np.random.Philox(0))
    other.bit_generator.state = state
    return other


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0.5, 1e9])
def test_clipping_agrees_with_plain_definition(rng, machine, dtype, threshold):
    sizes = [(3, 5), (17_000,), (0,), *[(7,)] * 22]  # more than a block, than a table
    arrays = draw(rng, dtype, *sizes)
    for bad in (None, np.nan, np.inf):
        if bad is not None:
            arrays[1][7] = bad
        ours, meant = copy.deepcopy(arrays), copy.deepcopy(arrays)
        with np.errstate(invalid="ignore"):
            flags = cuda.clip(ours, threshold), plain.clip(meant, threshold)
        np.testing.assert_array_equal(*flags)
        same(ours, meant)


def train(optimizer, device):
    """Return the parameters after two updates, and how often the last one waited."""
    dyrnn.random.seed(1)
    layers = L.EmbedID(30, 8), L.LSTM(8, 12), L.GRU(12, 8), L.Linear(8, 30)
    net = dyrnn.Sequential(*layers).to_device(device)
    optimizer.setup(net)
    optimizer.add_hook(GradientClipping(0.5))
    windows = np.random.default_rng(0).integers(0, 30, (2, 4, 5)).astype(np.int32)
    for window in windows:
        window = device.send(window)
        with strict.synchronisations() as count:
            y = F.dropout(net(window[:-1]), 0.2)
            loss = F.softmax_cross_entropy(y, window[1:])
            net.cleargrads()
            loss.backward()
            loss.unchain_backward()
            optimizer.update()
    return [dyrnn.to_cpu(param.array) for param in net.params()], count()


CLASSES = [
    c
    for c in vars(optimizers).values()
    if isinstance(c, type) and issubclass(c, optimizers.Optimizer)
    if c is not optimizers.Optimizer
]


@pytest.mark.parametrize(
    ("optimizer_class", "dtype"),
    [*((c, np.float32) for c in CLASSES), (optimizers.AdamW, np.float16)],
)
def test_every_rule_agrees_with_the_optimizer(optimizer_class, dtype, machine, device):
    def updated(place):
        dyrnn.random.seed(1)
        with dyrnn.using_config("dtype", dtype):
            link = L.Linear(4, 3).to_device(place)
        optimizer = optimizer_class()
        if optimizer_class is optimizers.Adam:
            optimizer.amsgrad = True
        optimizer.setup(link)
        for k in range(3):
            for param in link.params():
                rng = np.random.default_rng(k)
                param.grad = place.send(rng.normal(size=param.shape).astype(dtype))
            optimizer.update()
        states = [optimizer._states[param] for param in link.params()]
        arrays = [array for state in states for array in state.arrays.values()]
        return [param.array for param in link.params()] + arrays

    tolerance = TOLERANCES[np.dtype(dtype).name]
    ours = updated(device)
    is_fused = machine.launches.count("update") == 3
    assert is_fused == (optimizer_class.cuda is not None)
    assert error(ours, updated(backend.CPU)) <= tolerance


def test_a_subclass_with_a_rule_of_its_own_does_not_inherit_the_text(machine, device):
    class Ascent(optimizers.SGD):
        @staticmethod
        def rule(p, g, lr):
            p += lr * g

    link = L.Linear(4, 3).to_device(device)
    for param in link.params():
        param.grad = param.array.copy()
    expected = [1.5 * dyrnn.to_cpu(param.array) for param in link.params()]
    Ascent(0.5).setup(link).update()
    found = [dyrnn.to_cpu(param.array) for param in link.params()]
    assert error(found, expected) <= 1e-6
    assert "update" not in machine.launches


def test_a_rule_of_ones_own_may_have_more_states_than_the_kernel(machine, device):
    class Four(optimizers.SGD):
        states = dict.fromkeys("abcd", 0.0)
        cuda = "p -= lr * g;"

        @staticmethod
        def rule(p, g, lr, a, b, c, d):
            p -= lr * g

    link = L.Linear(4, 3).to_device(device)
    for param in link.params():
        param.grad = param.array.copy()
    expected = [0.5 * dyrnn.to_cpu(param.array) for param in link.params()]
    Four(0.5).setup(link).update()
    found = [dyrnn.to_cpu(param.array) for param in link.params()]
    assert error(found, expected) <= 1e-6
    assert "update" not in machine.launches


@pytest.mark.parametrize(
    "optimizer_class", [optimizers.SGD, optimizers.ASGD, optimizers.AdamW]
)
def test_training_on_these_kernels_gives_the_same_model(
    optimizer_class, machine, device
):
    expected, _ = train(optimizer_class(), dyrnn.get_device("@numpy"))
    actual, waits = train(optimizer_class(), device)
    assert waits == 0
    for ours, meant in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, meant, rtol=1e-4, atol=1e-5)
    used = {"window", "window_backward", "softmax_cross_entropy", "dropout_mask"}
    assert used | {"clip", "add_rows"} <= set(machine.launches)


def error(found, expected):
    """Return the largest difference beside the largest number, of all arrays."""
    worst = 0.0
    for ours, meant in zip(found, expected, strict=True):
        assert (ours is None) == (meant is None)
        if meant is not None and meant.size and meant.dtype.kind == "f":
            scale = max(1.0, float(abs(meant).max()))
            worst = max(worst, float(abs(dyrnn.to_cpu(ours) - meant).max()) / scale)
    return worst


def test_every_link_agrees_with_the_cpu(machine, device):
    for name in LINKS:
        found, expected = run_link(name, device), run_link(name, backend.CPU)
        assert error(found, expected) <= 1e-5, name
    kernels_used = {"window", "window_backward", "lstm_step"}
    assert kernels_used <= set(machine.launches)


def test_every_function_agrees_with_the_cpu(machine, device):
    for case in CASES:
        inputs = in_type(case.inputs, np.float32)
        results = []
        for place in (device, backend.CPU):
            dyrnn.random.seed(0)
            outputs, gradients = run(case, [place.send(x) for x in inputs])
            results.append([*outputs, *gradients])
        assert error(*results) <= 1e-5, str(case)
    assert len(set(machine.launches)) > 10
