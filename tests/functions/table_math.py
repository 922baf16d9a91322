"""Rows for arithmetic, elementwise mathematics, products and reductions."""

import numpy as np

import dyrnn.functions as F
from tests.functions.cases import Case, positive, spread

A = spread(2, 3)
B = spread(3, seed=1)
C = spread(2, 1, 3, seed=2)
UNIT = spread(2, 3, low=-0.9, high=0.9)
MATRIX = spread(3, 4, seed=3)
TENSOR = spread(2, 3, 4, seed=4)


def elementwise(name, *inputs, label="", **options):
    """A row for a function that NumPy has under the same name."""
    return Case(
        name, getattr(F, name), getattr(np, name), inputs or (A,), label, **options
    )


def constant(name, *inputs, label="", **options):
    return elementwise(name, *inputs, label=label, has_gradient=False, **options)


ARITHMETIC = [
    elementwise("add", A, B),
    Case("add", F.add, lambda a, b, c: a + b + c, (A, B, C), "three"),
    elementwise("subtract", C, A),
    elementwise("subtract", spread(), A, label="no_axes"),
    Case("subtract", lambda x: 1 - x, lambda x: 1 - x, (A,), "from_number"),
    elementwise("multiply", A, C),
    Case("multiply", lambda x: x * x, lambda x: x * x, (A,), "same_twice"),
    Case("multiply", lambda x: 0.3 * x, lambda x: 0.3 * x, (A,), "number"),
    elementwise("divide", A, B),
    elementwise("divide", spread(), positive(), label="no_axes"),
    Case("divide", lambda x: 2.0 / x, lambda x: 2.0 / x, (A,), "of_number"),
    Case("divide", lambda x: x / 3, lambda x: x / 3, (A,), "by_number"),
    elementwise("power", positive(2, 3), B),
    Case("power", lambda x: x**3, lambda x: x**3, (A,), "cube"),
    Case("power", lambda x: x**2, lambda x: x**2, (A,), "square"),
    Case("power", lambda x: x**0, lambda x: x**0, (A,), "zeroth"),
    Case("power", lambda x: x**-1.5, lambda x: x**-1.5, (positive(3),), "negative"),
    Case("power", lambda x: 1.7**x, lambda x: 1.7**x, (A,), "of_number"),
    elementwise("negative"),
    elementwise("absolute"),
    elementwise("maximum", A, B),
    Case(
        "maximum", lambda x: F.maximum(x, 0.1), lambda x: np.maximum(x, 0.1), (A,), "n"
    ),
    elementwise("minimum", B, A),
    elementwise("fmod", A, positive(3, low=0.55, high=1.1)),
    Case(
        "linear_interpolate",
        F.linear_interpolate,
        lambda p, x, y: p * x + (1 - p) * y,
        (UNIT, A, spread(2, 3, seed=5)),
    ),
    Case("scale", F.scale, lambda x, y: x * y[:, None], (TENSOR, B)),
    Case(
        "scale",
        lambda x, y: F.scale(x, y, axis=0),
        lambda x, y: x * y[..., None],
        (TENSOR, A),
        "two_axes",
    ),
]

MATH = [
    elementwise("exp"),
    elementwise("exp", spread(), label="no_axes"),
    elementwise("expm1"),
    elementwise("log", positive(2, 3)),
    elementwise("log1p", positive(2, 3, low=-0.7)),
    elementwise("log2", positive(2, 3)),
    elementwise("log10", positive(2, 3)),
    elementwise("sqrt", positive(2, 3)),
    Case("rsqrt", F.rsqrt, lambda x: 1 / np.sqrt(x), (positive(2, 3),)),
    elementwise("square"),
    elementwise("sin"),
    elementwise("cos"),
    elementwise("tan", UNIT),
    elementwise("arcsin", UNIT),
    elementwise("arccos", UNIT),
    elementwise("arctan"),
    elementwise("arctan2", A, B),
    elementwise("sinh"),
    elementwise("cosh"),
    elementwise("arctanh", UNIT),
    Case("clip", lambda x: F.clip(x, -1.1, 1.1), lambda x: x.clip(-1.1, 1.1), (A,)),
    Case(
        "clip",
        lambda x: F.clip(x, None, 1.1),
        lambda x: np.minimum(x, 1.1),
        (A,),
        "max",
    ),
    constant("sign"),
    constant("floor"),
    constant("ceil"),
]

PRODUCTS = [
    elementwise("matmul", A, MATRIX),
    elementwise("matmul", B, MATRIX, label="vector_matrix"),
    elementwise("matmul", A, B, label="matrix_vector"),
    elementwise("matmul", B, spread(3, seed=6), label="vectors"),
    elementwise("matmul", TENSOR, spread(4, 2), label="broadcast_right"),
    elementwise(
        "matmul", spread(2, 2), spread(3, 2, 2, seed=7), label="broadcast_left"
    ),
    elementwise("matmul", spread(4), TENSOR.swapaxes(1, 2), label="vector_batch"),
    Case(
        "matmul",
        lambda a, b: F.matmul(a, b, transa=True, transb=True),
        lambda a, b: a.T @ b.T,
        (spread(3, 2), spread(4, 3, seed=8)),
        "transposed",
    ),
    Case("matmul", lambda x: x @ x, lambda x: x @ x, (spread(3, 3),), "same_twice"),
    Case("batch_matmul", F.batch_matmul, np.matmul, (TENSOR, spread(2, 4, 3, seed=9))),
    Case(
        "batch_matmul",
        lambda a, b: F.batch_matmul(a, b, transa=True),
        lambda a, b: np.einsum("bi,bi->b", a, b)[:, None, None],
        (A, spread(2, 3, seed=9)),
        "columns",
    ),
    elementwise("tensordot", TENSOR, spread(3, 4, 2, seed=10)),
    Case(
        "tensordot",
        lambda a, b: F.tensordot(a, b, axes=([0, -1], [1, 0])),
        lambda a, b: np.tensordot(a, b, axes=([0, 2], [1, 0])),
        (TENSOR, spread(4, 2, 2, seed=10)),
        "axes",
    ),
    Case(
        "tensordot",
        lambda a, b: F.tensordot(a, b, axes=0),
        lambda a, b: np.tensordot(a, b, axes=0),
        (A, B),
        "outer",
    ),
    *[
        Case(
            "einsum",
            lambda *xs, s=subscripts: F.einsum(s, *xs),
            lambda *xs, s=subscripts: np.einsum(s, *xs),
            inputs,
            label,
        )
        for label, subscripts, *inputs in [
            ("matmul", "ij,jk->ik", A, MATRIX),
            ("implicit", "ij,jk", A, MATRIX),
            ("outer", "i,jk->kij", B, A),
            ("bilinear", "bi,ijk,bk->bj", spread(2, 2), TENSOR, spread(2, 4)),
            ("sum", "ij->", A),
            ("transpose", "ijk->kij", TENSOR),
            ("unused_label", "ij,kl->il", A, MATRIX),
            ("dots", "...ij,...j->...i", TENSOR, spread(2, 4)),
            ("trace", "ii", spread(3, 3)),
            ("diagonals", "...ii,ij->...ji", spread(2, 3, 3), spread(3, 2)),
            ("dots_broadcast", "...j,...j", TENSOR, spread(4)),
        ]
    ],
]


def over_axes(name, x=TENSOR, axes=(None, 1, (0, 2)), **options):
    """Rows for a reduction: all axes, one, two, and with the axes kept."""
    function, reference = getattr(F, name), getattr(np, name)
    for axis in axes:
        yield Case(
            name,
            lambda x, axis=axis: function(x, axis=axis),
            lambda x, axis=axis: reference(x, axis=axis),
            (x,),
            f"axis_{axis}",
            **options,
        )
    yield Case(
        name,
        lambda x: function(x, axis=-1, keepdims=True),
        lambda x: reference(x, axis=-1, keepdims=True),
        (x,),
        "keepdims",
        **options,
    )


def logsumexp(x, axis=None, keepdims=False):
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


WITH_ZEROS = np.array([[0.0, 1.5, -0.7, 2.0, 0.3], [1.1, 0.0, 0.4, 0.0, -1.2]])

REDUCTIONS = [
    *over_axes("sum"),
    *over_axes("mean"),
    *over_axes("max"),
    *over_axes("min"),
    *over_axes("prod"),
    Case("prod", lambda x: F.prod(x, 1), lambda x: x.prod(1), (WITH_ZEROS,), "zeros"),
    constant("argmax"),
    constant("argmin"),
    Case("argmax", lambda x: F.argmax(x, 1), lambda x: x.argmax(1), (A,), "1", False),
    Case("argmin", lambda x: F.argmin(x, 0), lambda x: x.argmin(0), (A,), "0", False),
    elementwise("average", A),
    Case("average", F.average, None, (A,), "no_weights"),
    Case(
        "average",
        lambda x, weights: F.average(x, weights=weights),
        lambda x, weights: np.average(x, weights=weights),
        (A, positive(2, 3)),
        "weights",
    ),
    Case(
        "average",
        lambda x, weights: F.average(x, 1, weights),
        lambda x, weights: np.average(x, 1, weights),
        (TENSOR, positive(3)),
        "weights_of_axis",
    ),
    *[
        Case(
            "logsumexp",
            lambda x, o=options: F.logsumexp(x, **o),
            lambda x, o=options: logsumexp(x, **o),
            (TENSOR,),
            label,
        )
        for label, options in [
            ("all", {}),
            ("axis", {"axis": 1}),
            ("axes", {"axis": (0, 2)}),
            ("keepdims", {"axis": -1, "keepdims": True}),
        ]
    ],
    *[
        Case(
            name,
            lambda x, name=name, axis=axis: getattr(F, name)(x, axis),
            lambda x, name=name, axis=axis: getattr(np, name)(x, axis),
            (TENSOR,),
            f"axis_{axis}",
        )
        for name in ("cumsum", "cumprod")
        for axis in (None, 1, -1)
    ],
    Case(
        "cumprod", lambda x: F.cumprod(x, 1), lambda x: x.cumprod(1), (WITH_ZEROS,), "0"
    ),
    Case(
        "batch_l2_norm_squared",
        F.batch_l2_norm_squared,
        lambda x: (x**2).sum((1, 2)),
        (TENSOR,),
    ),
    Case(
        "normalize",
        F.normalize,
        lambda x: x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-5),
        (TENSOR,),
    ),
    Case(
        "sum_to",
        lambda x: F.sum_to(x, (3, 1)),
        lambda x: x.sum((0, 2))[:, None],
        (TENSOR,),
    ),
]

CASES = ARITHMETIC + MATH + PRODUCTS + REDUCTIONS
