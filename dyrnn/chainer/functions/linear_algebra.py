"""Functions of square matrices, and Fourier transforms."""

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.functions.nodes import functions
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.misc import _fp16_mixed_precision_helper as in_single


class _OfMatrix(FunctionNode):
    """A function of a square matrix, or of a batch of them."""

    names = ("a",)
    ndim = 2

    def check_type_forward(self, in_types):
        type_check._argname(in_types, self.names)
        (a,) = in_types
        type_check.expect(a.dtype.kind == "f", a.ndim == self.ndim)
        type_check.expect(a.shape[-1] == a.shape[-2])


class Inv(_OfMatrix):
    """Inverse of a matrix."""

    @in_single
    def forward(self, inputs):
        self.retain_outputs((0,))
        xp = _backend.get_array_module(*inputs)
        try:
            return (xp.linalg.inv(inputs[0]),)
        except np.linalg.LinAlgError:
            raise ValueError("Input has singular matrices.") from None

    def backward(self, indexes, gys):
        (y,) = self.get_retained_outputs()
        matmul = functions().matmul
        return (matmul(matmul(-y, gys[0], transa=True), y, transb=True),)


class BatchInv(Inv):
    """Inverses of matrices."""

    ndim = 3


def inv(a):
    """Inverse of a matrix."""
    return Inv().apply((a,))[0]


def batch_inv(a):
    """Inverses of matrices."""
    return BatchInv().apply((a,))[0]


class BatchDet(_OfMatrix):
    """Determinants of matrices."""

    names = ("x",)
    ndim = 3
    label = "det"

    @in_single
    def forward(self, inputs):
        self.retain_inputs((0,))
        self.retain_outputs((0,))
        return (_backend.get_array_module(*inputs).linalg.det(inputs[0]),)

    def backward(self, indexes, gys):
        F = functions()
        x, y = self.get_retained_inputs()[0], self.get_retained_outputs()[0]
        factor = F.reshape(gys[0] * y, (-1, 1, 1))
        inverse = batch_inv(F.transpose(x, (0, 2, 1)))
        return (F.broadcast_to(factor, x.shape) * inverse,)


def batch_det(a):
    """Determinants of matrices."""
    return BatchDet().apply((a,))[0]


def det(a):
    """Determinant of a matrix."""
    F = functions()
    return F.reshape(batch_det(F.reshape(a, (1, *a.shape))), ())


class Cholesky(_OfMatrix):
    """Lower triangle ``L`` with ``L L^T = a``."""

    label = "cholesky"

    def forward(self, inputs):
        self.retain_outputs((0,))
        return (_backend.get_array_module(*inputs).linalg.cholesky(inputs[0]),)

    def backward(self, indexes, gys):
        # Murray, "Differentiation of the Cholesky decomposition", 2016, equation 10.
        F = functions()
        (y,) = self.get_retained_outputs()
        xp, n = y.xp, len(y)
        half = xp.tri(n, dtype=y.dtype) - xp.eye(n, dtype=y.dtype) / 2
        middle = F.matmul(y, gys[0], transa=True) * half
        inverse = inv(y)
        s = F.matmul(F.matmul(inverse, middle, transa=True), inverse)
        return ((s + F.transpose(s)) * 0.5,)


def cholesky(a):
    """Lower triangle ``L`` with ``L L^T = a``."""
    return Cholesky().apply((a,))[0]


class FFT(FunctionNode):
    """Fourier transform along the last axis, of real and imaginary parts."""

    def __init__(self, method):
        self._method = method

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ("real", "imag"))
        real, imag = in_types
        type_check.expect(real.dtype.kind == "f", real.ndim > 0)
        type_check.expect(real.shape == imag.shape, real.dtype == imag.dtype)

    def forward(self, inputs):
        real, imag = inputs
        transform = getattr(_backend.get_array_module(*inputs).fft, self._method)
        y = transform(real + 1j * imag)
        dtype = real.dtype
        return y.real.astype(dtype), y.imag.astype(dtype)

    def backward(self, indexes, gys):
        given = next(g for g in gys if g is not None)
        gr, gi = [given.xp.zeros_like(given.array) if g is None else g for g in gys]
        # The transform's matrix is symmetric: its adjoint is conj(F conj(g)), and
        # swapped parts are i conj(g).
        gxi, gxr = FFT(self._method).apply((gi, gr))
        return gxr, gxi


def fft(x):
    """Fourier transform of ``x``, a pair of real and imaginary parts."""
    return FFT("fft").apply(tuple(x))


def ifft(x):
    """Inverse Fourier transform of ``x``, a pair of real and imaginary parts."""
    return FFT("ifft").apply(tuple(x))
