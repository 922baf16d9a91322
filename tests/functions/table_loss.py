"""Rows for losses and for measures of predictions."""

import itertools

import numpy as np

import dyrnn
import dyrnn.functions as F
from tests.functions.cases import Case, ids, positive, spread

X = spread(4, 3)
Y = spread(4, 3, seed=1) + 0.1  # no difference is near a kink
T = np.array([2, 0, -1, 1], np.int32)
LABELS = np.array([2, 0, 0, 1], np.int32)
BINARY = np.array([[1, 0, -1], [0, 1, 1], [1, 1, 0], [-1, 0, 1]], np.int32)
WINDOW = spread(3, 2, 4, seed=2)
WINDOW_T = np.array([[0, 3], [2, -1], [1, 1]], np.int32)
WEIGHT = positive(3, seed=3)


def row(name, reference, inputs, label="", second=True, **options):
    def function(*inputs):
        return getattr(F, name)(*inputs, **options)

    return Case(name, function, reference, inputs, label, has_second_gradient=second)


def measure(name, reference, inputs, label="", **options):
    def function(*inputs):
        return getattr(F, name)(*inputs, **options)

    return Case(name, function, reference, inputs, label, has_gradient=False)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def losses(x, t, weight=None):
    """Cross entropy of each label; 0 where it is -1."""
    x = log_softmax(x).reshape(-1, x.shape[-1])
    weight = np.ones(x.shape[1]) if weight is None else weight
    each = [-x[n, k] * weight[k] if k >= 0 else 0 for n, k in enumerate(t.ravel())]
    return np.array(each).reshape(t.shape)


def cross_entropy(x, t, weight=None):
    return losses(x, t, weight).sum() / max(1, (t >= 0).sum())


def hinge(x, t, norm=1):
    sign = np.where(np.arange(x.shape[1]) == t[:, None], -1, 1)
    return np.maximum(0, 1 + sign * x) ** norm


def sigmoid_losses(x, t):
    p = 1 / (1 + np.exp(-x))
    return np.where(t < 0, 0, -np.log(np.where(t == 1, p, 1 - p)))


def huber(x, t, delta=0.7):
    d = np.abs(x - t)
    return np.where(d <= delta, d * d / 2, delta * (d - delta / 2))


def gaussian_nll(x, mean, ln_var):
    return 0.5 * (ln_var + (x - mean) ** 2 / np.exp(ln_var) + np.log(2 * np.pi))


def gaussian_kl(mean, ln_var):
    return 0.5 * (mean**2 + np.exp(ln_var) - ln_var - 1)


def bernoulli_nll(x, y):
    p = 1 / (1 + np.exp(-y))
    return -(x * np.log(p) + (1 - x) * np.log(1 - p))


def ctc(x, t):
    """Sum the probabilities of all paths that spell ``t``, the blank being 0."""
    p = np.exp(log_softmax(x))
    result = []
    for b in range(x.shape[1]):
        total = 0.0
        for path in itertools.product(range(x.shape[2]), repeat=len(x)):
            merged = [k for k, _ in itertools.groupby(path) if k != 0]
            if merged == t[b].tolist():
                total += np.prod([p[step, b, k] for step, k in enumerate(path)])
        result.append(-np.log(total))
    return np.array(result)


def crf_scores(cost, x, b):
    """Score of each path of labels of sequence ``b``."""
    return {
        path: sum(x[step, b, k] for step, k in enumerate(path))
        + sum(cost[i, j] for i, j in itertools.pairwise(path))
        for path in itertools.product(range(len(cost)), repeat=len(x))
    }


def crf(cost, x, y):
    losses = []
    for b in range(x.shape[1]):
        scores = crf_scores(cost, x, b)
        log_total = np.log(sum(np.exp(score) for score in scores.values()))
        losses.append(log_total - scores[tuple(y[:, b].tolist())])
    return np.mean(losses)


def best_crf(cost, x):
    best, paths = [], []
    for b in range(x.shape[1]):
        scores = crf_scores(cost, x, b)
        path = max(scores, key=scores.get)
        best.append(scores[path])
        paths.append(path)
    return [np.array(best), *np.array(paths).T]


def argmax_crf(cost, x):
    score, path = F.argmax_crf1d(cost, list(x))
    return score, *map(dyrnn.as_variable, path)


def summary(y, t, beta=1.0):
    """Precision, recall, F-score and support by counting one class at a time."""
    chosen = y.argmax(axis=1)
    columns = []
    for k in range(y.shape[1]):
        right = sum((chosen == k) & (t == k))
        p = right / max(1, sum((chosen == k) & (t >= 0)))
        r = right / max(1, sum(t == k))
        f = (1 + beta**2) * p * r / (beta**2 * p + r) if right else 0
        columns.append((p, r, f, sum(t == k)))
    return np.array(columns).T


def r2(pred, true):
    residual = ((pred - true) ** 2).sum(axis=0)
    return (1 - residual / ((true - true.mean(axis=0)) ** 2).sum(axis=0)).mean()


def smoothed(x, t, reduce="mean", w=1):
    """Cross entropy with the label's share of 0.7 + 0.3 / 3, of others 0.3 / 3."""
    q = 0.1 + 0.7 * (t[..., None] == np.arange(3))
    p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    each = np.where(t >= 0, -(w * q * np.log(p)).sum(-1), 0)
    return each if reduce == "no" else each.sum() / (t >= 0).sum()


PAIR = (X, Y)
ENTROPY = "softmax_cross_entropy"
OUTPUT = (X, spread(5, 3, seed=4), spread(5, seed=5), np.array([4, 0, -1, 2], np.int32))
CTC = (spread(4, 2, 3, seed=6), np.array([[1, 2], [2, 2]], np.int32))
CRF = (spread(3, 3, seed=7), spread(4, 2, 3, seed=8))
CRF_LABELS = ids(4, 2, high=3)

CASES = [
    row("squared_error", lambda x, y: (x - y) ** 2, PAIR),
    row("absolute_error", lambda x, y: abs(x - y), PAIR),
    row("mean_squared_error", lambda x, y: ((x - y) ** 2).mean(), PAIR),
    row("mean_absolute_error", lambda x, y: abs(x - y).mean(), PAIR),
    row("huber_loss", lambda x, y: huber(x, y).sum(axis=1), PAIR, delta=0.7),
    row("huber_loss", huber, PAIR, "each", delta=0.7, reduce="no"),
    row("hinge", lambda x, t: hinge(x, t).sum() / 4, (X, LABELS)),
    row(
        "hinge", lambda x, t: hinge(x, t, 2), (X, LABELS), "L2", norm="L2", reduce="no"
    ),
    row("gaussian_nll", lambda *a: gaussian_nll(*a).sum(), (X, Y, X[::-1].copy())),
    row("gaussian_nll", gaussian_nll, (X, Y, X[::-1].copy()), "each", reduce="no"),
    row("gaussian_kl_divergence", lambda *a: gaussian_kl(*a).sum(), PAIR),
    row("gaussian_kl_divergence", gaussian_kl, PAIR, "each", reduce="no"),
    row("bernoulli_nll", lambda *a: bernoulli_nll(*a).sum(), (positive(4, 3) / 3, Y)),
    row(
        "sigmoid_cross_entropy",
        lambda x, t: sigmoid_losses(x, t).sum() / (t >= 0).sum(),
        (X, BINARY),
    ),
    row("sigmoid_cross_entropy", sigmoid_losses, (X, BINARY), "each", reduce="no"),
    row("negative_log_likelihood", lambda x, t: -x[range(4), t].mean(), (X, LABELS)),
    row(ENTROPY, cross_entropy, (X, T)),
    row(ENTROPY, cross_entropy, (WINDOW, WINDOW_T), "window"),
    row(ENTROPY, losses, (WINDOW, WINDOW_T), "each", reduce="no"),
    row(
        ENTROPY,
        lambda x, t: losses(x, t).sum() / 4,
        (X, T),
        "by_batch",
        normalize=False,
    ),
    Case(
        ENTROPY,
        lambda x, t, w: F.softmax_cross_entropy(x, t, class_weight=w.array),
        lambda x, t, w: cross_entropy(x, t, w),
        (X, T, np.float64([0.5, 2, 1])),
        "weighted",
        has_gradient=False,
        keeps_dtype=False,
    ),
    row(ENTROPY, smoothed, (X, T), "smoothed", label_smoothing=0.3),
    row(
        ENTROPY,
        lambda x, t: smoothed(x, t, "no"),
        (X, T),
        "smoothed_each",
        label_smoothing=0.3,
        reduce="no",
    ),
    Case(
        ENTROPY,
        lambda x, t, w: F.softmax_cross_entropy(
            x, t, class_weight=w.array, label_smoothing=0.3
        ),
        lambda x, t, w: smoothed(x, t, w=w),
        (X, T, np.float64([0.5, 2, 1])),
        "smoothed_weighted",
        has_gradient=False,
        keeps_dtype=False,
    ),
    row(
        "linear_softmax_cross_entropy",
        lambda x, W, b, t: cross_entropy(x @ W.T + b, t),
        OUTPUT,
    ),
    row(
        "connectionist_temporal_classification",
        lambda x, t: ctc(x, t).mean(),
        CTC,
        second=False,
        blank_symbol=0,
    ),
    row(
        "connectionist_temporal_classification",
        ctc,
        CTC,
        "each",
        second=False,
        blank_symbol=0,
        reduce="no",
    ),
    Case(
        "crf1d",
        lambda cost, x, y: F.crf1d(cost, list(x), list(y.array)),
        crf,
        (*CRF, CRF_LABELS),
    ),
    Case("argmax_crf1d", argmax_crf, best_crf, CRF, has_gradient=False),
    measure("accuracy", lambda y, t: np.mean(y.argmax(1) == t), (X, LABELS)),
    measure(
        "accuracy",
        lambda y, t: (y.argmax(1) == t).sum() / 3,
        (X, T),
        "ignoring",
        ignore_label=-1,
    ),
    measure(
        "binary_accuracy",
        lambda y, t: ((y >= 0) == t)[t >= 0].mean(),
        (X, BINARY),
    ),
    measure("r2_score", r2, PAIR),
    measure(
        "classification_summary",
        lambda y, t: list(summary(y, t, 2.0)),
        (X, T),
        beta=2.0,
    ),
    measure("precision", lambda y, t: list(summary(y, t)[[0, 3]]), (X, T)),
    measure("recall", lambda y, t: list(summary(y, t)[[1, 3]]), (X, T)),
    measure("f1_score", lambda y, t: list(summary(y, t)[[2, 3]]), (X, T)),
]
CASES += [
    Case(
        "sequence_loss",
        lambda x, t: F.sequence_loss(x, t, t),  # class 0 does not count
        lambda x, t: (
            -(np.take_along_axis(log_softmax(x), t[..., None], 2)[..., 0] * t).sum()
            / t.sum()
        ),
        (spread(3, 2, 4), ids(3, 2, high=4)),
    ),
]
