"""Rows for connections, noise, normalisation, cells and whole recurrent layers."""

import functools

import numpy as np

import dyrnn
import dyrnn.functions as F
from tests.functions.cases import Case, positive, spread

B, I, H, STEPS = 3, 2, 2, 4
X = spread(B, 4)
STATE = spread(B, H, seed=1)
SECOND = spread(B, H, seed=2)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def row(name, reference, inputs, label="", tolerance=1e-7, **options):
    def function(*inputs):
        return getattr(F, name)(*inputs, **options)

    return Case(name, function, reference, inputs, label, tolerance=tolerance)


def seeded(name, function, inputs, reference=None, label=""):
    """Draw the same numbers at every call."""

    @functools.wraps(function)
    def repeatable(*inputs):
        dyrnn.random.seed(3)
        return function(*inputs)

    return Case(name, repeatable, reference, inputs, label)


# Connections

MATRIX, BIAS = spread(5, 4, seed=3), spread(5, seed=4)
IDS = np.array([[1, 3, 1], [0, 2, 3]], np.int32)


def look_up(x, a, b):
    """Rows of a table of which b has every second one; zeros for -1."""
    table = np.zeros((len(a) + len(b) + 1, a.shape[1]))
    table[:-1:2], table[1:-1:2] = a, b
    return table[x]


def bilinear(e1, e2, W, V1, V2, b):
    return np.einsum("nj,nk,jkl->nl", e1, e2, W) + e1 @ V1 + e2 @ V2 + b


BILINEAR = (X, STATE, spread(4, 2, 3), spread(4, 3), spread(2, 3), spread(3))
CONNECTIONS = [
    row("linear", lambda x, W, b: x @ W.T + b, (X, MATRIX, BIAS)),
    row("linear", lambda x, W: x @ W.T, (X, MATRIX), "no_bias"),
    row(
        "linear", lambda x, W, b: x @ W.T + b, (spread(2, 3, 4), MATRIX, BIAS), "window"
    ),
    row("bias", lambda x, y: x + y, (X, spread(4))),
    row("bias", lambda x, y: x + y[:, None], (X, spread(B)), "rows", axis=0),
    row("embed_id", lambda x, W: W[x], (IDS, spread(4, 2))),
    row(
        "embed_id",
        lambda x, W: np.where((x == 3)[..., None], 0, W[x]),
        (IDS, spread(4, 2)),
        "ignoring",
        ignore_label=3,
    ),
    row("bilinear", bilinear, BILINEAR),
]

# Noise: the values have tests of their own

NOISE = [
    seeded("dropout", lambda x: F.dropout(x, 0.4), (X,)),
    seeded("zoneout", lambda h, x: F.zoneout(h, x, 0.4), (STATE, SECOND)),
    seeded("gaussian", lambda m, v: F.gaussian(m, v), (STATE, SECOND)),
    seeded("gumbel_softmax", lambda x: F.gumbel_softmax(x, 1.0), (X,)),
    seeded(
        "simplified_dropconnect",
        lambda x, W, b: F.simplified_dropconnect(x, W, b),
        (X, MATRIX, BIAS),
    ),
]

# Normalisation


def standardize(x, axis, eps):
    centred = x - x.mean(axis=axis, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=axis, keepdims=True) + eps)


SCALE, SHIFT = positive(4), spread(4, seed=5)
NORMALIZATIONS = [
    row(
        "layer_normalization",
        lambda x, g, b: standardize(x, -1, 1e-5) * g + b,
        (X, SCALE, SHIFT),
    ),
    row(
        "batch_normalization",
        lambda x, g, b: standardize(x, 0, 2e-5) * g + b,
        (X, SCALE, SHIFT),
    ),
    row(
        "fixed_batch_normalization",
        lambda x, g, b, m, v: (x - m) / np.sqrt(v + 2e-5) * g + b,
        (X, SCALE, SHIFT, spread(4, seed=6), positive(4, seed=7)),
    ),
]

# One step


def split(x, n):
    return np.split(x, n, axis=1)


def lstm(c, x):
    i, f, g, o = split(x, 4)
    n = len(x)
    c_next = sigmoid(f) * c[:n] + sigmoid(i) * np.tanh(g)
    return np.concatenate((c_next, c[n:])), sigmoid(o) * np.tanh(c_next)


def slstm(c1, c2, x1, x2):
    (i1, f1, g1, o1), (i2, f2, g2, o2) = split(x1, 4), split(x2, 4)
    c = sigmoid(i1 + i2) * np.tanh(g1 + g2) + sigmoid(f1) * c1 + sigmoid(f2) * c2
    return c, sigmoid(o1 + o2) * np.tanh(c)


def tree_lstm(c1, c2, x):
    i, g, o, f1, f2 = split(x, 5)
    c = sigmoid(i) * np.tanh(g) + sigmoid(f1) * c1 + sigmoid(f2) * c2
    return c, sigmoid(o) * np.tanh(c)


def peephole_lstm(c, x, p):
    i, f, g, o = split(x, 4)
    c_next = sigmoid(f + p[1] * c) * c + sigmoid(i + p[0] * c) * np.tanh(g)
    return c_next, sigmoid(o + p[2] * c_next) * np.tanh(c_next)


def gru(x, h, a):
    (xr, xz, xn), (ar, az, an) = split(x, 3), split(a, 3)
    r, z = sigmoid(xr + ar), sigmoid(xz + az)
    return (1 - z) * np.tanh(xn + r * an) + z * h


GATES = spread(B, 4 * H, seed=8)
U4, U3, U1 = (spread(n * H, H, seed=9 + n) for n in (4, 3, 1))
W4, W3, W1 = (spread(n * H, I, seed=19 + n) for n in (4, 3, 1))
B4, B3, B1 = (spread(n * H, seed=29 + n) for n in (4, 3, 1))
CELLS = [
    row("lstm", lstm, (STATE, GATES)),
    row("lstm", lstm, (STATE, GATES[:2]), "fewer_rows"),
    row(
        "lstm_step", lambda x, h, c, U: lstm(c, x + h @ U.T), (GATES, STATE, SECOND, U4)
    ),
    row("slstm", slstm, (STATE, SECOND, GATES, GATES[::-1].copy())),
    row("tree_lstm", tree_lstm, (STATE, SECOND, spread(B, 5 * H))),
    row("peephole_lstm", peephole_lstm, (STATE, GATES, spread(3, H))),
    row("gru", gru, (spread(B, 3 * H), STATE, spread(B, 3 * H, seed=2))),
]

# Windows


def run_lstm(x, h, c, W, U, b):
    ys = []
    for step in x:
        c, h = lstm(c, step @ W.T + b + h @ U.T)
        ys.append(h)
    return h, c, np.array(ys)


def run_projected_lstm(x, h, c, W, U, b, V):
    ys = []
    for step in x:
        c, y = lstm(c, step @ W.T + b + h @ U.T)
        h = y @ V.T
        ys.append(h)
    return h, c, np.array(ys)


def run_gru(x, h, W, U, b, b_u):
    ys = []
    for step in x:
        h = gru(step @ W.T + b, h, h @ U.T + b_u)
        ys.append(h)
    return h, np.array(ys)


def run_original_gru(x, h, W, U, b, b_u):
    ys = []
    n = 2 * H
    for step in x:
        z = step @ W.T + b + b_u
        r, u = np.split(sigmoid(z[:, :n] + h @ U[:n].T), 2, axis=1)
        h = (1 - u) * np.tanh(z[:, n:] + (r * h) @ U[n:].T) + u * h
        ys.append(h)
    return h, np.array(ys)


def run_rnn(x, h, W, U, b, activation=np.tanh):
    ys = []
    for step in x:
        h = activation(step @ W.T + h @ U.T + b)
        ys.append(h)
    return h, np.array(ys)


def relu(x):
    return np.maximum(x, 0)


def by_length(run, n_states, lengths):
    """Run each sequence of the batch alone, up to its length."""

    def reference(x, *others):
        states, weights = others[:n_states], others[n_states:]
        y = np.zeros((*x.shape[:2], states[0].shape[1]))
        ends = [state.copy() for state in states]
        for k, n in enumerate(lengths):
            *end, out = run(x[:n, k : k + 1], *(s[k : k + 1] for s in states), *weights)
            y[:n, k] = out[:, 0]
            for state, value in zip(ends, end, strict=True):
                state[k] = value[0]
        return *ends, y

    return reference


SEQUENCE = spread(STEPS, B, I, seed=40)
LENGTHS = [2, 4, 1]
LSTM = (SEQUENCE, STATE, SECOND, W4, U4, B4)
P = H + 1  # units of a projection
PROJECTED = (SEQUENCE, spread(B, P), SECOND, W4, spread(4 * H, P), B4, spread(P, H))
GRU = (SEQUENCE, STATE, W3, U3, B3, B3[::-1].copy())
RNN = (SEQUENCE, STATE, W1, U1, B1)
LAYERS = [
    row("lstm_window", run_lstm, LSTM),
    row(
        "lstm_window", by_length(run_lstm, 2, LENGTHS), LSTM, "lengths", lengths=LENGTHS
    ),
    Case(
        "lstm_window",
        lambda *inputs: F.lstm_window(*inputs[:-1], V=inputs[-1]),
        run_projected_lstm,
        PROJECTED,
        "projected",
    ),
    Case(
        "lstm_window",
        lambda *inputs: F.lstm_window(*inputs[:-1], lengths=LENGTHS, V=inputs[-1]),
        by_length(run_projected_lstm, 2, LENGTHS),
        PROJECTED,
        "projected lengths",
    ),
    row("gru_window", run_gru, GRU),
    row("gru_window", by_length(run_gru, 1, LENGTHS), GRU, "lengths", lengths=LENGTHS),
    row("gru_window", run_original_gru, GRU, "reset before", reset_after=False),
    row(
        "gru_window",
        by_length(run_original_gru, 1, LENGTHS),
        GRU,
        "reset before lengths",
        lengths=LENGTHS,
        reset_after=False,
    ),
    row("rnn_window", run_rnn, RNN),
    row("rnn_window", by_length(run_rnn, 1, LENGTHS), RNN, "lengths", lengths=LENGTHS),
    row(
        "rnn_window",
        functools.partial(run_rnn, activation=relu),
        RNN,
        "relu",
        activation="relu",
    ),
]

# Lists of sequences: two of lengths 1 and 3, not sorted, in one or two directions


def n_step(name, gates, n_states, directions):
    """Make a row of one layer: the weights are those of the window, in blocks."""
    run = {4: run_lstm, 3: run_gru, 1: run_rnn}[gates]
    W, U, b = {4: (W4, U4, B4), 3: (W3, U3, B3), 1: (W1, U1, B1)}[gates]
    weights = [(sign * W, sign * U, sign * b, 0.5 * sign * b) for sign in (1.0, -1.0)][
        :directions
    ]
    flat = [array for group in weights for array in group]
    state = spread(directions, 2, H, seed=50)

    def function(short, long, *others):
        states, parameters = others[:n_states], others[n_states:]
        ws, bs = [], []
        for k in range(directions):
            W, U, b, b_u = parameters[4 * k : 4 * k + 4]
            ws.append([*F.split_axis(W, gates, 0), *F.split_axis(U, gates, 0)])
            bs.append([*F.split_axis(b, gates, 0), *F.split_axis(b_u, gates, 0)])
        result = getattr(F, name)(1, 0.0, *states, ws, bs, [short, long])
        return *result[:-1], *result[-1]

    def reference(short, long, *others):
        states, parameters = others[:n_states], others[n_states:]
        ends = [np.zeros_like(state) for state in states]
        outputs = []
        for k, sequence in enumerate((short, long)):
            sides = []
            for d in range(directions):
                W, U, b, b_u = parameters[4 * d : 4 * d + 4]
                given = (b, b_u) if gates == 3 else (b + b_u,)
                x = sequence[::-1] if d else sequence
                *end, y = run(
                    x[:, None], *(s[d, k : k + 1] for s in states), W, U, *given
                )
                sides.append(y[::-1, 0] if d else y[:, 0])
                for place, value in zip(ends, end, strict=True):
                    place[d, k] = value[0]
            outputs.append(np.concatenate(sides, axis=1))
        return *ends, *outputs

    inputs = (spread(1, I, seed=51), spread(3, I, seed=52), *[state] * n_states, *flat)
    inputs = tuple(np.array(a) for a in inputs)
    return Case(name, function, reference, inputs)


LISTS = [
    n_step("n_step_lstm", 4, 2, 1),
    n_step("n_step_bilstm", 4, 2, 2),
    n_step("n_step_gru", 3, 1, 1),
    n_step("n_step_bigru", 3, 1, 2),
    n_step("n_step_rnn", 1, 1, 1),
    n_step("n_step_birnn", 1, 1, 2),
    Case(
        "scan",
        lambda x, s, w: F.scan(lambda x, s, w: x + s * w, x, s, w),
        lambda x, s, w: np.array([x[0] + s * w, x[1] + (x[0] + s * w) * w]),
        (spread(2, 3), spread(3, seed=1), spread(3, seed=2)),
    ),
]

SHARDS = [
    Case(
        "embed_id",
        lambda x, *W: F.embed_id(x, W, -1),
        look_up,
        (np.array([[0, 4], [1, -1]]), spread(3, 2), spread(2, 2, seed=1)),
        "shards",
    ),
    Case(
        "one_hot",
        lambda x: F.one_hot(x, 3),
        lambda x: np.eye(4)[x][..., :3],
        (np.array([[0, 2], [-1, 1]]),),
        has_gradient=False,
        keeps_dtype=False,
    ),
]

CASES = SHARDS + CONNECTIONS + NOISE + NORMALIZATIONS + CELLS + LAYERS + LISTS
