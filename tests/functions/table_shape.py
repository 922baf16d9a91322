"""Rows for shapes, indexing, joining and sequences."""

import numpy as np

import dyrnn.functions as F
from tests.functions.cases import Case, ids, mask, spread

A = spread(2, 3)
B = spread(2, 3, seed=1)
ROW = spread(3, seed=2)
SQUARE = spread(3, 4, seed=3)
TENSOR = spread(2, 3, 4, seed=4)
LINE = spread(2, 1, 3, 1, seed=5)
SEQUENCES = spread(3, 2), spread(2, 2, seed=1), spread(1, 2, seed=2)


def same(name, *arguments, x=TENSOR, label=None, **options):
    """A row for a function of one array with the name and arguments of NumPy's."""
    return Case(
        name,
        lambda x: getattr(F, name)(x, *arguments, **options),
        lambda x: getattr(np, name)(x, *arguments, **options),
        (x,),
        "_".join(map(str, arguments)) if label is None else label,
    )


def joined(name, *xs, label="", **options):
    return Case(
        name,
        lambda *xs: getattr(F, name)(xs, **options),
        lambda *xs: getattr(np, name)(xs, **options),
        xs,
        label,
    )


def indexed(label, key, x=TENSOR):
    return Case("get_item", lambda x: x[key], lambda x: x[key], (x,), label)


def by_ids(label, key, *indices, x=TENSOR):
    """A row whose index arrays are inputs, so that they are on the device."""
    return Case(
        "get_item",
        lambda x, *i: F.get_item(x, key(*[v.array for v in i])),
        lambda x, *i: x[key(*i)],
        (x, *indices),
        label,
    )


SHAPES = [
    same("reshape", (4, 6)),
    same("reshape", (-1, 2)),
    same("reshape", (2, 3, 4)),
    same("reshape", (), x=spread(1)),
    Case("flatten", F.flatten, lambda x: x.reshape(-1), (TENSOR,)),
    same("ravel"),
    same("transpose"),
    same("transpose", (2, 0, 1)),
    same("transpose", (-1, 0, -2)),
    same("swapaxes", 0, -1),
    same("moveaxis", 0, 2),
    same("moveaxis", (0, 1), (-1, 0)),
    same("rollaxis", 2),
    same("rollaxis", 0, 3),
    same("rollaxis", -1, 1),
    same("expand_dims", 1),
    same("expand_dims", -1),
    same("expand_dims", (0, 3)),
    same("squeeze", x=LINE),
    same("squeeze", 1, x=LINE),
    same("squeeze", (-1, 1), x=LINE),
    same("broadcast_to", (2, 4, 3), x=spread(4, 1)),
    same("broadcast_to", (3,), x=ROW),
    Case("broadcast", F.broadcast, np.broadcast_arrays, (A, spread(4, 1, 1), ROW)),
    same("tile", 2, x=A),
    same("tile", (2, 1, 3), x=A),
    same("repeat", 2, x=A),
    same("repeat", 3, 1, x=A),
    same("repeat", [1, 0, 2], -1, x=A, label="each"),
    Case(
        "cast",
        lambda x: F.cast(F.cast(x, np.float64), x.dtype),
        lambda x: x,
        (A,),
    ),
    Case("copy", F.copy, lambda x: x, (A,)),
    Case("identity", F.identity, lambda x: x, (A,)),
    Case("identity", F.identity, lambda x, y: [x, y], (A, ROW), "two"),
    Case("zeros_like", F.zeros_like, np.zeros_like, (A,), has_gradient=False),
    Case("ones_like", F.ones_like, np.ones_like, (A,), has_gradient=False),
]

INDEXING = [
    indexed("int", 1),
    indexed("negative", -1),
    indexed("slices", (slice(None), slice(1, None), slice(None, None, -2))),
    indexed("dots", (Ellipsis, 2)),
    indexed("new_axis", (0, None, slice(2))),
    indexed("element", (1, 2, 3)),
    indexed("list", [1, 0, 1, 1]),
    by_ids("ids", lambda i: i, np.array([1, 0, 1, -1, 1])),
    by_ids("ids_of_two_axes", lambda i: i, np.array([[1, 0], [0, 0]])),
    by_ids("ids_of_rows", lambda i: (slice(None), i), np.array([2, 2, 0])),
    by_ids("pairs", lambda i, j: (i, j), np.array([1, 1, 0]), np.array([2, 2, -1])),
    by_ids("mask", lambda m: m, mask(2, 3)),
    by_ids("mask_of_all", lambda m: m, mask(2, 3, 4)),
    Case(
        "scatter_add",
        lambda x, values: F.scatter_add(x, (slice(None), 1), values),
        lambda x, values: x + np.pad(values[:, None], ((0, 0), (1, 1), (0, 0))),
        (TENSOR, spread(2, 4, seed=6)),
    ),
    Case(
        "scatter_add",
        lambda x, values, ids: F.scatter_add(x, ids, values),
        lambda x, values, ids: x + np.eye(3)[ids].T @ values,
        (SQUARE, spread(5, 4, seed=6), np.array([1, 0, 1, -1, 1])),
        "ids",
    ),
    Case("where", F.where, np.where, (mask(2, 3), A, B)),
    Case("where", F.where, np.where, (mask(2, 3), A, ROW), "broadcast"),
    Case(
        "where",
        lambda m, x: F.where(m, x, 0.5),
        lambda m, x: np.where(m, x, 0.5),
        (mask(2, 3), A),
        "number",
    ),
    Case(
        "where",
        lambda m, x: F.where(m, -1.0, x),
        lambda m, x: np.where(m, -1.0, x),
        (mask(2, 3), A),
        "number_first",
    ),
    Case("select_item", F.select_item, lambda x, t: x[[0, 1], t], (A, ids(2, high=3))),
    Case("permutate", F.permutate, lambda x, i: x[i], (SQUARE, np.array([2, 0, 1]))),
    Case(
        "permutate",
        lambda x, i: F.permutate(x, i, axis=1, inv=True),
        lambda x, i: x[:, np.argsort(i)],
        (SQUARE, np.array([2, 0, 3, 1])),
        "inverse",
    ),
    same("flip"),
    same("flip", 1),
    same("flip", (0, -1)),
    same("flipud"),
    same("fliplr"),
    same("diagonal", x=SQUARE),
    same("diagonal", 1, x=SQUARE),
    same("diagonal", -1, x=SQUARE),
    same("diagonal", 0, 2, 0),
]

JOINING = [
    joined("concat", A, spread(4, 3), label="0", axis=0),
    joined("concat", TENSOR, spread(2, 1, 4), spread(2, 2, 4), axis=1),
    joined("concat", A, B, label="negative", axis=-1),
    joined("concat", A, label="one", axis=0),
    joined("concatenate", A, B),
    joined("stack", A, B),
    joined("stack", A, B, label="last", axis=-1),
    joined("hstack", A, spread(2, 1)),
    joined("hstack", ROW, spread(2), label="vectors"),
    joined("vstack", A, ROW),
    joined("dstack", TENSOR, A),
    joined("dstack", ROW, spread(3), label="vectors"),
    Case(
        "split_axis",
        lambda x: F.split_axis(x, 2, 2),
        lambda x: np.split(x, 2, 2),
        (TENSOR,),
        "equal",
    ),
    Case(
        "split_axis",
        lambda x: F.split_axis(x, [1, 1, 3], -1),
        lambda x: np.split(x, [1, 1, 3], -1),
        (TENSOR,),
        "bounds",
    ),
    Case(
        "split_axis",
        lambda x: F.split_axis(x, [1, 3], -1)[1],
        lambda x: np.split(x, [1, 3], -1)[1],
        (TENSOR,),
        "one_used",
    ),
    Case("separate", F.separate, lambda x: list(x), (TENSOR,)),
    Case(
        "separate",
        lambda x: F.separate(x, -1)[::2],
        lambda x: [x[..., 0], x[..., 2]],
        (TENSOR,),
        "some_used",
    ),
    same("pad", 1, x=A),
    same("pad", [(0, 2), (1, 0)], x=A, label="constant", constant_values=7.0),
    same("pad", (2, 1), x=SQUARE, label="edge", mode="edge"),
    same("pad", 2, x=SQUARE, label="reflect", mode="reflect"),
    same("pad", [(1, 0), (0, 3)], x=SQUARE, label="wrap", mode="wrap"),
    same("pad", 1, x=SQUARE, label="symmetric", mode="symmetric"),
    Case(
        "pad_sequence",
        lambda *xs: F.pad_sequence(xs),
        lambda *xs: np.stack(
            [np.pad(x, ((0, max(map(len, xs)) - len(x)), (0, 0))) for x in xs]
        ),
        SEQUENCES,
    ),
    Case(
        "pad_sequence",
        lambda *xs: F.pad_sequence(xs, 4, -1),
        lambda *xs: np.stack(
            [np.pad(x, ((0, 4 - len(x)), (0, 0)), constant_values=-1) for x in xs]
        ),
        SEQUENCES,
        "length",
    ),
    Case(
        "transpose_sequence",
        lambda *xs: F.transpose_sequence(xs),
        lambda a, b, c: [np.stack([a[0], b[0], c[0]]), np.stack([a[1], b[1]]), a[2:]],
        SEQUENCES,
    ),
]

CASES = SHAPES + INDEXING + JOINING
