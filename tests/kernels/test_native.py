"""The kernels in C agree with the plain definitions, on all threads and processors."""

import contextlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import dyrnn
import dyrnn.functions as F
from dyrnn import kernels, optimizers
from dyrnn.config import config, using_config
from dyrnn.kernels import __main__ as command
from dyrnn.kernels import machine, native
from dyrnn.kernels.native import losses, products, recurrent, updates
from tests.kernels.test_rnn import masks

pytestmark = pytest.mark.skipif(
    native.start()[0] is None, reason=f"no native kernels: {native.start()[1]}"
)
TOLERANCES = {"float32": 2e-6, "float64": 1e-13}
DTYPES = [np.float32, np.float64]
SHAPES = [(1, 1, 1), (3, 2, 5), (4, 7, 50), (3, 20, 200), (2, 70, 33), (0, 2, 3)]


@pytest.fixture(params=[1, 2, 3], autouse=True)
def threads(request, monkeypatch):
    monkeypatch.setattr(machine, "threads", lambda: request.param)
    monkeypatch.setattr(recurrent, "_WORTH", 0)
    return request.param


def draw(rng, dtype, *shapes):
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def same(ours, meant, scale=1):
    for left, right in zip(ours, meant, strict=True):
        if right is None:
            assert left is None
            continue
        assert left.dtype == right.dtype and left.shape == right.shape
        bound = TOLERANCES[left.dtype.name] * scale
        np.testing.assert_allclose(left, right, rtol=bound, atol=bound)


def compare(name, *args, scale=1, has_gates=False):
    """Compare a native kernel with the plain definition in double precision; return."""
    single = [np.copy(a) if isinstance(a, np.ndarray) else a for a in args]
    double = [
        a.astype(np.float64)
        if getattr(a, "dtype", None) == np.float32
        else np.copy(a)
        if isinstance(a, np.ndarray)
        else a
        for a in args
    ]
    ours = getattr(recurrent, name)(*single)
    meant = getattr(kernels, name).__wrapped__(*double)
    ours, meant = (r if isinstance(r, tuple) else (r,) for r in (ours, meant))
    dtype = ours[0].dtype
    meant = [None if m is None else m.astype(dtype) for m in meant]
    same(ours, meant, scale)
    if has_gates:
        same(single[:1], [double[0].astype(dtype)])
    return ours, single


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_windows_agree_with_plain_definitions(rng, shape, dtype):
    T, B, H = shape
    scale = dtype(H**-0.5)
    for mask in masks(rng, T, B) if T else [None]:
        z, h0, c0, U = draw(rng, dtype, (T, B, 4 * H), (B, H), (B, H), (4 * H, H))
        gh, gc = draw(rng, dtype, (T, B, H), (B, H))
        (_, c), (gates, *_) = compare(
            "lstm_forward", z, h0, c0, U * scale, mask, has_gates=mask is None
        )
        for g in ((gh, gc), (gh, None), (None, gc)):
            compare("lstm_backward", *g, gates, c, U * scale, mask, scale=4)
        z, U, b = draw(rng, dtype, (T, B, 3 * H), (3 * H, H), H)
        for bias, after in ((b, True), (None, True), (None, False)):
            (h, inner), (gates, *_) = compare(
                "gru_forward", z, h0, U * scale, bias, after, mask
            )
            args = gh, gates, inner, h, U * scale, after, mask
            compare("gru_backward", *args, scale=4)
        z, U = draw(rng, dtype, (T, B, H), (H, H))
        for activation in ("tanh", "relu"):
            (h,), _ = compare("rnn_forward", z, h0, U * scale, activation, mask)
            compare("rnn_backward", gh, h, U * scale, activation, mask, scale=4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes", [(4, 1, 64), (20, 200, 801), (70, 33, 5), (65, 1600, 97), (100, 7, 1030)]
)
def test_products_agree_with_plain_definitions(rng, sizes, dtype):
    N, K, V = sizes
    x, W, b = draw(rng, dtype, (N, K), (V, K), V)
    scale = K**0.5
    for bias in (b, None):
        meant = x.astype(float) @ W.T.astype(float)
        meant += 0 if bias is None else bias
        same([products.linear(x, W, bias)], [meant.astype(dtype)], scale)
    for left, right in ((x, W.T), (W, x.T), (x, W.T.copy())):
        meant = (left.astype(float) @ right.astype(float)).astype(dtype)
        out = np.empty(meant.shape, dtype)
        if products.matmul(left, right, out) is not NotImplemented:
            same([out], [meant], scale)
            same([products.matmul(left, right)], [meant], scale)


def test_a_row_of_a_product_does_not_depend_on_the_others(rng):
    x, W, b = draw(rng, np.float32, (300, 900), (500, 900), 500)
    y = products.linear(x, W, b)
    for rows in (slice(4), slice(7, 60), slice(100, 300)):
        assert np.array_equal(products.linear(x[rows], W, b), y[rows])


def test_products_that_a_blas_does_better_are_left_to_it(rng):
    x, W = draw(rng, np.float32, (3, 50), (64, 50))
    assert products.linear(x, W) is NotImplemented
    assert products.matmul(W.T, W) is NotImplemented
    assert products.linear(np.ones((9, 0)), np.ones((80, 0))) is NotImplemented
    assert products.matmul(W[::2], W.T) is NotImplemented
    assert products.linear(W, np.broadcast_to(x[:1], (64, 50))) is NotImplemented


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B", [7, 200])
def test_single_steps_agree_with_plain_definitions(rng, dtype, B):
    H = 50
    a, x, c, gc, gh = draw(rng, dtype, (B, 4 * H), (B, 4 * H), (B, H), (B, H), (B, H))
    compare("lstm_gates", a, c, has_gates=True)
    (_, tanh_c, _), (gates, *_) = compare("lstm_gates", a, c, x, has_gates=True)
    for g in ((gc, gh), (None, gh), (gc, None)):
        compare("lstm_gates_backward", gates, c, tanh_c, *g, scale=4)
    z, a, h = draw(rng, dtype, (B, 3 * H), (B, 3 * H), (B, H))
    _, (gates, *_) = compare("gru_gates", z, h, a, has_gates=True)
    compare("gru_gates_backward", gh, gates, h, a, scale=4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gates_are_right_for_every_number(dtype):
    """Tiny ones keep all their digits, huge ones saturate, NaN stays."""
    big = [1e-30, 1e-8, 1e-4, 0.1, 0.3, 0.5, 0.7, 1, 3, 9, 20, 60, 100, 1e5, np.inf]
    x = np.array([0, *big, *np.negative(big), np.nan], dtype)
    h0, U = np.zeros((1, len(x)), dtype), np.zeros((len(x), len(x)), dtype)
    y = recurrent.rnn_forward(x[None, None], h0, U)[1, 0]
    bound = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, np.tanh(x.astype(float)), rtol=bound)
    a = np.zeros((1, 4 * len(x)), dtype)
    a[0, : len(x)] = x
    recurrent.lstm_gates(a, h0)
    with np.errstate(over="ignore"):
        meant = 1 / (1 + np.exp(-x.astype(float)))
    np.testing.assert_allclose(a[0, : len(x)], meant, rtol=bound, atol=bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [F.lstm_window, F.gru_window, F.rnn_window])
@pytest.mark.parametrize("bad", [np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_gates_that_infinity_shuts_have_no_slope(rng, dtype, layer, bad):
    n = {F.lstm_window: 4, F.gru_window: 3, F.rnn_window: 1}[layer]
    states = [(2, 3)] * (2 if n == 4 else 1)
    shapes = [(3, 2, 2), *states, (3 * n, 2), (3 * n, 3), (3 * n,)]
    for _ in range(5):
        arrays = draw(rng, dtype, *shapes)
        arrays[0][1, 0, 1] = bad
        gradients = []
        for is_native in (False, True):
            inputs = [dyrnn.Variable(array) for array in arrays]
            with using_config("native", is_native):
                F.sum(layer(*inputs)[-1]).backward()
            gradients.append([x.grad for x in inputs])
        for plain, compiled in zip(*gradients, strict=True):
            assert np.isfinite(plain).all()
            same(compiled, plain, scale=20)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", [np.int32, np.int64, np.int8])
def test_softmax_cross_entropy_agrees_with_plain_definition(rng, dtype, labels):
    for N, V, spread in ((0, 5, 1), (1, 1, 1), (5, 40, 1), (3, 1100, 30), (90, 333, 9)):
        logits = (rng.normal(size=(N, V)) * spread).astype(dtype)
        t = rng.integers(0, min(V, 100), N).astype(labels)
        t[-1:] = -1
        for is_in_place in (False, True):
            x = logits.copy()
            found = losses.softmax_cross_entropy(x, t, -1, x if is_in_place else None)
            plain = kernels.softmax_cross_entropy.__wrapped__
            meant = plain(logits.astype(np.float64), t, -1)
            assert not is_in_place or found[1] is x
            is_counted = t >= 0
            for ours, right in zip(found, meant, strict=True):
                largest = max(1, abs(right[is_counted]).max(initial=0))
                right = right.astype(dtype)
                same([ours[is_counted]], [right[is_counted]], largest)
            assert (found[0][~is_counted] == 0).all()
            assert (found[2][~is_counted] == 0).all()
    if N:
        loss, _, inverse = losses.softmax_cross_entropy(
            logits[:3], np.array([0, V, -2])
        )
        assert np.isfinite(loss[0]) and np.isnan([loss[1:], inverse[1:]]).all()


def test_every_rule_has_its_kernel_and_agrees_with_it(rng):
    everything = vars(optimizers).values()
    rules = [x for x in everything if isinstance(x, type) and hasattr(x, "cuda")]
    tried = 0
    for cls in rules:
        for options in ({}, {"amsgrad": True}) if cls.__name__ == "Adam" else ({},):
            if cls is optimizers.Optimizer:
                continue
            optimizer = cls(**options)
            if optimizer.cuda is None:
                continue
            tried += 1
            for dtype in DTYPES:
                p, g = draw(rng, dtype, (700, 33), (700, 33))
                parameter = dyrnn.Parameter(p.copy())
                state = optimizer.init_state(parameter)
                theirs = {name: array.copy() for name, array in state.items()}
                array, meant = p.copy(), p.astype(np.float64)
                for t in (1, 2):
                    numbers, kept = optimizer.numbers(t), g.copy()
                    item = [(array, g, state)]
                    assert updates.update(optimizer, numbers, 0.5, item) is None
                    np.testing.assert_array_equal(g, kept)
                    theirs = {k: v.astype(np.float64) for k, v in theirs.items()}
                    item = [(meant, g.astype(np.float64), theirs)]
                    kernels.update.__wrapped__(optimizer, numbers, 0.5, item)
                same([array], [meant.astype(dtype)], 3)
                assert abs(array - p).max() > 0
    assert tried >= 10


def test_another_rule_is_left_to_numpy(rng):
    class Mine(optimizers.SGD):
        cuda = "p -= 2 * lr * g;"

    p = np.ones(3)
    assert updates.update(Mine(), {"lr": 1.0}, 1.0, [(p, p, {})]) is NotImplemented
    strided = np.ones((4, 4))[:, ::2]
    item = [(strided, strided, {})]
    assert updates.update(optimizers.SGD(), {"lr": 1.0}, 1, item) is NotImplemented


def digest(rng):
    """Return what the kernels make of one problem, as bytes."""
    z, h0, U = draw(rng, np.float32, (5, 6, 64), (6, 16), (64, 16))
    h, c = recurrent.lstm_forward(z, h0, h0, U)
    gradients = recurrent.lstm_backward(h[1:], None, z, c, U)
    x = rng.normal(size=(50, 333)).astype(np.float32)
    loss = losses.softmax_cross_entropy(x, np.arange(50))
    return b"".join(a.tobytes() for a in (h, c, *gradients, *loss))


def test_repeats_are_equal_bit_by_bit(threads):
    outputs = {digest(np.random.default_rng(1)) for _ in range(20)}
    assert len(outputs) == 1


@pytest.mark.parametrize("B", [1, 5, 12, 33])
def test_bits_do_not_depend_on_the_number_of_threads(monkeypatch, B):
    found = {name: set() for name in ("lstm", "gru True", "gru False", "rnn")}
    for number in range(1, 6):
        monkeypatch.setattr(machine, "threads", lambda number=number: number)
        rng = np.random.default_rng(0)
        z, h, U = draw(rng, np.float32, (4, B, 4 * 37), (B, 37), (4 * 37, 37))
        gh = rng.normal(size=(4, B, 37)).astype(np.float32)
        forward = recurrent.lstm_forward(z, h, h, U)
        backward = recurrent.lstm_backward(gh, None, z, forward[1], U)
        found["lstm"].add(b"".join(a.tobytes() for a in (*forward, *backward)))
        for after in (True, False):
            gates, weights = z[:, :, : 3 * 37].copy(), U[: 3 * 37]
            forward = recurrent.gru_forward(gates, h, weights, None, after)
            rest = *forward[::-1], weights, after
            backward = recurrent.gru_backward(gh, gates, *rest)
            arrays = [a for a in (*forward, *backward) if a is not None]
            found[f"gru {after}"].add(b"".join(a.tobytes() for a in arrays))
        forward = recurrent.rnn_forward(z[:, :, :37].copy(), h, U[:37])
        backward = recurrent.rnn_backward(gh, forward, U[:37])
        found["rnn"].add(b"".join(a.tobytes() for a in (forward, *backward)))
    assert {name: len(bits) for name, bits in found.items()} == dict.fromkeys(found, 1)


KINDS = """
import sys, numpy as np
from dyrnn.kernels import native
kind = native.start()[0]
from dyrnn.kernels import machine
from tests.kernels.test_native import digest
machine.threads = lambda: 1
import hashlib
print(kind, hashlib.sha256(digest(np.random.default_rng(1))).hexdigest())
"""


def test_all_kinds_of_processors_compute_the_same_bits(threads):
    if threads > 1:
        pytest.skip("each kind is a process, on one thread")
    known = native.module().kinds()
    found = set()
    # older processors do not fuse a product with a sum
    for kind in [kind for kind in known if kind != "baseline"] or known:
        environment = {**os.environ, "DYRNN_NATIVE": kind}
        told = subprocess.check_output(
            [sys.executable, "-c", KINDS], env=environment, text=True
        )
        is_kind, bits = told.split()
        assert is_kind == kind
        found.add(bits)
    assert len(found) == 1


def test_kernels_of_another_version_are_left_alone(monkeypatch, threads):
    before = native.module()
    older = type("older", (), {"kinds": before.kinds, "names": before.names})
    monkeypatch.setattr(native, "module", lambda: older)
    kind, reason = native.start.__wrapped__()
    assert kind is None and "install dyrnn again" in reason


def test_calls_from_many_threads_do_not_meet(threads):
    expected, wrong = digest(np.random.default_rng(1)), []

    def call():
        for _ in range(10):
            if digest(np.random.default_rng(1)) != expected:
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_kernels_run_in_a_forked_child(threads):
    expected = digest(np.random.default_rng(1))
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os._exit(0 if digest(np.random.default_rng(1)) == expected else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_a_command_says_what_runs_and_why(capsys, monkeypatch):
    kind, reason = native.start()
    config.native = True
    command.main()
    assert f"in C for {kind}: {reason}" in capsys.readouterr().out
    config.native = False
    command.main()
    assert "in NumPy: DYRNN_NATIVE=0; those in C would run" in capsys.readouterr().out
    monkeypatch.setattr(native, "start", lambda: (None, "there is no compiler"))
    command.main()
    assert "in NumPy: there is no compiler" in capsys.readouterr().out


def test_the_setting_is_a_truth_value():
    with pytest.raises(ValueError, match="config.native is True or False, not 'avx2'"):
        config.native = "avx2"
