"""Products of sparse and dense matrices, or of batches of them."""

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.sparse import CooMatrix
from dyrnn.chainer.variable import Variable


def _turned(x, is_turned):
    return x.swapaxes(-1, -2) if is_turned else x


class _WithSparse(FunctionNode):
    """Knows where a sparse matrix has its entries.

    ``transa``, ``transb`` and ``transc`` turn the factors and the product. An entry
    with a negative row is none.
    """

    def __init__(
        self,
        sp_row,
        sp_col,
        sp_shape,
        sp_order="other",
        transa=False,
        transb=False,
        transc=False,
        dtype=None,
    ):
        if sp_row.ndim != sp_col.ndim:
            raise ValueError("ndim of sp_row and sp_col must be the same.")
        if sp_row.ndim not in (1, 2):
            raise ValueError("ndim of sp_row and sp_col must be one or two.")
        if sp_row.shape != sp_col.shape:
            raise ValueError("shape of sp_row and sp_col must be the same.")
        if len(sp_shape) != 2:
            raise ValueError("len(sp_shape) must be two.")
        self.places = sp_row, sp_col, sp_shape, sp_order
        self.row, self.col, self.shape = sp_row, sp_col, tuple(sp_shape)
        self.turns = transa, transb, transc
        self.dtype = dtype

    def _entries(self, is_turned):
        """Return which entries there are, and their matrices, rows and columns."""
        row, col = [x if x.ndim == 2 else x[None] for x in (self.row, self.col)]
        is_one = row >= 0
        matrix = is_one.nonzero()[0]
        row, col = row[is_one], col[is_one]
        return (is_one, matrix, col, row) if is_turned else (is_one, matrix, row, col)

    def _types(self, *xs):
        """Return the type of the result, and the one to compute in."""
        dtype = np.result_type(*[x.dtype for x in xs])
        return self.dtype or dtype, np.promote_types(dtype, np.float32)


class CooMatMul(_WithSparse):
    """Product of a sparse and a dense matrix: entries (N,), dense (K, M)."""

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("sp", "dn"))
        sp, dn = in_types
        transa, transb, _ = self.turns
        type_check.expect(
            sp.dtype.kind == "f",
            dn.dtype.kind == "f",
            dn.ndim >= 2,
            dn.ndim <= 3,
            sp.ndim == dn.ndim - 1,
            sp.shape[-1] == self.row.shape[-1],
            self.shape[0 if transa else 1] == dn.shape[-1 if transb else -2],
        )
        if type_check.eval(dn.ndim) == 3:
            n = self.row.shape[0]
            type_check.expect(sp.shape[0] == n, dn.shape[0] == n)

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        sp, dn = inputs
        transa, transb, transc = self.turns
        xp = _backend.get_array_module(sp, dn)
        dtype, wide = self._types(sp, dn)
        is_one, matrix, row, col = self._entries(transa)
        b = _turned(dn, transb).astype(wide, copy=False)
        b = b.reshape(-1, *b.shape[-2:])
        n_rows = self.shape[1 if transa else 0]
        y = xp.zeros((len(b), n_rows, b.shape[-1]), wide)
        values = sp.reshape(is_one.shape)[is_one]
        xp.add.at(y, (matrix, row), values[:, None] * b[matrix, col])
        y = _turned(y if dn.ndim == 3 else y[0], transc)
        return (y.astype(dtype, copy=False),)

    def backward(self, indexes, gys):
        sp, dn = self.get_retained_inputs()
        a, b, c = self.turns
        rules = (
            lambda: _grad_sp(self, (c, not b, a), gys[0], dn, sp.dtype),
            lambda: _product(self, (not a, c, b), sp, gys[0], dn.dtype),
        )
        return tuple([rules[i]() for i in indexes])


class CooMatMulGradSP(_WithSparse):
    """Product of dense matrices, where a sparse one has its entries."""

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() == 2)
        a, b = in_types
        transa, transb, transc = self.turns
        rows, columns = self.shape[::-1] if transc else self.shape
        type_check.expect(
            a.dtype.kind == "f",
            b.dtype.kind == "f",
            a.ndim >= 2,
            a.ndim <= 3,
            a.ndim == b.ndim,
            a.shape[-1 if transa else -2] == rows,
            b.shape[-2 if transb else -1] == columns,
            a.shape[-2 if transa else -1] == b.shape[-1 if transb else -2],
        )
        if type_check.eval(a.ndim) == 3:
            n = self.row.shape[0]
            type_check.expect(a.shape[0] == n, b.shape[0] == n)

    def forward(self, inputs):
        self.retain_inputs((0, 1))
        transa, transb, transc = self.turns
        xp = _backend.get_array_module(*inputs)
        dtype, wide = self._types(*inputs)
        is_one, matrix, row, col = self._entries(transc)
        a, b = [x.reshape(-1, *x.shape[-2:]).astype(wide) for x in inputs]
        a, b = _turned(a, transa), _turned(b, not transb)
        y = xp.zeros(is_one.shape, dtype)
        y[is_one] = (a[matrix, row] * b[matrix, col]).sum(axis=1)
        return (y.reshape(self.row.shape),)

    def backward(self, indexes, gys):
        a, b = self.get_retained_inputs()
        transa, transb, transc = self.turns
        to_a, to_b = (transc, not transb, transa), (not transc, transa, not transb)
        rules = (
            lambda: _product(self, to_a, gys[0], b, a.dtype),
            lambda: _product(self, to_b, gys[0], a, b.dtype),
        )
        return tuple([rules[i]() for i in indexes])


def _product(node, turns, sp, dn, dtype):
    return CooMatMul(*node.places, *turns, dtype=dtype).apply((sp, dn))[0]


def _grad_sp(node, turns, a, b, dtype):
    return CooMatMulGradSP(*node.places, *turns, dtype=dtype).apply((a, b))[0]


def sparse_matmul(a, b, transa=False, transb=False):
    """Product of matrices, of which one is a :class:`CooMatrix`."""
    is_dense = [isinstance(x, (Variable, *_backend.array_types())) for x in (a, b)]
    if isinstance(a, CooMatrix) and is_dense[1]:
        node = CooMatMul(a.row, a.col, a.shape, a.order, transa, transb, False)
        return node.apply((a.data, b))[0]
    if isinstance(b, CooMatrix) and is_dense[0]:
        # a b = (b^T a^T)^T
        node = CooMatMul(b.row, b.col, b.shape, b.order, not transb, not transa, True)
        return node.apply((b.data, a))[0]
    raise ValueError(
        "sparse_matmul takes one CooMatrix and one array or variable, not "
        f"{type(a).__name__} and {type(b).__name__}"
    )
