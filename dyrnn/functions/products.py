"""Products of matrices and tensors."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dyrnn import kernels
from dyrnn.engine.core import FunctionNode, Variable, VariableLike, as_variable
from dyrnn.engine.gradients import product, sum_to
from dyrnn.errors import ShapeError
from dyrnn.functions.arithmetic import fit
from dyrnn.functions.checks import places
from dyrnn.functions.indexing import diagonal
from dyrnn.functions.shape import broadcast_to, expand_dims, reshape, transpose


class MatMul(FunctionNode):
    """Matrices in the last two axes, the others broadcast."""

    def forward(self, xp, a, b):
        self.save(a, b)
        kernels.prepare()
        return xp.matmul(a, b)

    def backward(self, xp, gy):
        a, b = self.saved
        ga = gb = None
        if self.wants(0):
            ga = sum_to(xp.matmul(gy, xp.swapaxes(b, -1, -2)), a.shape)
            ga = fit(ga, (a.shape, a.dtype))
        if self.wants(1):
            if a.ndim == b.ndim == 2 and a.dtype == b.dtype:
                # Deferred: the time steps that share a matrix need one product.
                gb = product(xp, a, gy)
            else:
                gb = sum_to(xp.matmul(xp.swapaxes(a, -1, -2), gy), b.shape)
                gb = fit(gb, (b.shape, b.dtype))
        return ga, gb


def matmul(
    a: VariableLike, b: VariableLike, transa: bool = False, transb: bool = False
) -> Variable:
    """Matrix product; with more axes the last two hold matrices, others broadcast.

    A vector stands for a row on the left, for a column on the right.
    ``transa`` and ``transb`` exchange the last two axes first.
    """
    a, b = as_variable(a), as_variable(b)
    if transa and a.ndim > 1:
        a = transpose(a, (*range(a.ndim - 2), a.ndim - 1, a.ndim - 2))
    if transb and b.ndim > 1:
        b = transpose(b, (*range(b.ndim - 2), b.ndim - 1, b.ndim - 2))
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError("matmul: one operand has no axes; use multiply")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ShapeError(
            f"matmul: shapes {a.shape} and {b.shape} do not fit: "
            f"{a.shape[-1]} columns, {b.shape[-2 if b.ndim > 1 else 0]} rows"
        )
    y = MatMul().apply(
        expand_dims(a, 0) if a.ndim == 1 else a, expand_dims(b, 1) if b.ndim == 1 else b
    )
    if a.ndim > 1 and b.ndim > 1:
        return y
    shape = y.shape[:-2] + y.shape[-2:-1] * (a.ndim > 1) + y.shape[-1:] * (b.ndim > 1)
    return reshape(y, shape)


def batch_matmul(
    a: VariableLike, b: VariableLike, transa: bool = False, transb: bool = False
) -> Variable:
    """Matrix product of each pair in two batches (B, M, K), (B, K, N).

    Matrices (B, K) are batches of columns.
    """
    a, b = as_variable(a), as_variable(b)
    for x in (a, b):
        if x.ndim not in (2, 3):
            raise ShapeError(f"batch_matmul: {x.shape} is not (B, M, K) or (B, K)")
    if len(a) != len(b):
        raise ShapeError(f"batch_matmul: {len(a)} and {len(b)} matrices do not pair")
    a = expand_dims(a, 2) if a.ndim == 2 else a
    b = expand_dims(b, 2) if b.ndim == 2 else b
    return matmul(a, b, transa, transb)


def tensordot(
    a: VariableLike, b: VariableLike, axes: int | Sequence[Any] = 2
) -> Variable:
    """Sum products over axes of ``a`` and ``b``.

    ``axes`` is a number of last axes of ``a`` and first axes of ``b``, or a pair of
    (sequences of) axes.
    """
    a, b = as_variable(a), as_variable(b)
    if isinstance(axes, (int, np.integer)):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ShapeError(
                f"tensordot: axes={axes}, but a has shape {a.shape} and b {b.shape}"
            )
        axes = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    of_a, of_b = (
        list(places("tensordot", of, x.ndim))
        for of, x in zip(axes, (a, b), strict=True)
    )
    shared = [a.shape[i] for i in of_a]
    if shared != [b.shape[i] for i in of_b]:
        raise ShapeError(
            f"tensordot: axes {of_a} of shape {a.shape} and {of_b} of shape {b.shape} "
            "differ in length"
        )
    rest_a = [i for i in range(a.ndim) if i not in of_a]
    rest_b = [i for i in range(b.ndim) if i not in of_b]
    shape_a, shape_b = [a.shape[i] for i in rest_a], [b.shape[i] for i in rest_b]
    n = math.prod(shared)
    left = reshape(transpose(a, rest_a + of_a), (math.prod(shape_a), n))
    right = reshape(transpose(b, of_b + rest_b), (n, math.prod(shape_b)))
    return reshape(matmul(left, right), (*shape_a, *shape_b))


class Einsum(FunctionNode):
    def __init__(self, operands, result):
        self.operands = operands
        self.result = result

    def forward(self, xp, *xs):
        self.save(*xs)
        return _einsum(xp, ",".join(self.operands) + "->" + self.result, *xs)

    def backward(self, xp, gy):
        gxs = []
        for i, (labels, x) in enumerate(zip(self.operands, self.saved, strict=True)):
            if not self.wants(i):
                gxs.append(None)
                continue
            others = [s for j, s in enumerate(self.operands) if j != i]
            arrays = [a for j, a in enumerate(self.saved) if j != i]
            known = [s for s in labels if s in self.result or s in "".join(others)]
            subscripts = ",".join([self.result, *others]) + "->" + "".join(known)
            gx = _einsum(xp, subscripts, gy, *arrays)
            # A label of this operand alone was summed over.
            shape = [
                n if s in known else 1 for s, n in zip(labels, x.shape, strict=True)
            ]
            gx = xp.broadcast_to(gx.reshape(tuple(shape)), x.shape)
            gxs.append(fit(gx, (x.shape, x.dtype)))
        return tuple(gxs)


def einsum(subscripts: str, *operands: VariableLike) -> Variable:
    """Sum of products in Einstein's notation, e.g. ``einsum("bi,bj->bij", x, y)``.

    The dots ``...`` stand for leading axes that broadcast. Of an operand with a label
    twice the diagonal is taken.
    """
    xs = [as_variable(x) for x in operands]
    text = subscripts.replace(" ", "")
    inputs, arrow, result = text.partition("->")
    labels = inputs.split(",")
    if len(labels) != len(xs):
        raise ValueError(
            f"einsum: {subscripts!r} names {len(labels)} operands, {len(xs)} were given"
        )
    if not arrow:
        letters = inputs.replace(",", "").replace("...", "")
        once = sorted(s for s in set(letters) if letters.count(s) == 1)
        result = "..." * ("..." in inputs) + "".join(once)
    spare = [s for s in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if s not in text]
    lead = ""
    for i, (names, x) in enumerate(zip(labels, xs, strict=True)):
        n = x.ndim - len(names.replace("...", ""))
        if n < 0 or (n and "..." not in names):
            raise ShapeError(f"einsum: {names!r} does not name the axes of {x.shape}")
        # Letters from the back, so that the last of the leading axes fall together.
        dots = "".join(spare[:n][::-1])
        labels[i], xs[i] = _without_repeats(names.replace("...", dots), x)
        lead = max(lead, dots, key=len)
    sizes: dict[str, int] = {}
    for names, x in zip(labels, xs, strict=True):
        for s, n in zip(names, x.shape, strict=True):
            sizes[s] = max(sizes.get(s, n), n) if n != 0 else 0
    xs = [
        broadcast_to(x, [sizes[s] for s in names])
        for names, x in zip(labels, xs, strict=True)
    ]
    return Einsum(labels, result.replace("...", lead)).apply(*xs)


def _without_repeats(labels, x):
    """Return labels, each once, and the diagonals of axes with the same label."""
    for s in sorted(set(labels)):
        while labels.count(s) > 1:
            first, second = labels.index(s), labels.rindex(s)
            if x.shape[first] != x.shape[second]:
                raise ShapeError(f"einsum: axes {s!r} of {x.shape} differ in length")
            x = diagonal(x, 0, first, second)
            labels = labels[:first] + labels[first + 1 : second] + labels[second + 1 :]
            labels += s
    return labels, x


def _einsum(xp, subscripts, *xs):
    """Add products of halves up in single precision, as the other products do."""
    kernels.prepare()
    if np.result_type(*[x.dtype for x in xs]) != np.float16:
        return xp.einsum(subscripts, *xs)
    wide = [x.astype(np.float32) for x in xs]
    return xp.einsum(subscripts, *wide).astype(np.float16)
