"""Numerical gradients, and how to notice that there is none."""

import numpy as np

from dyrnn.chainer import _backend
from dyrnn.chainer.backends import _cpu
from dyrnn.chainer.configuration import using_config


class NondifferentiableError(Exception):
    """The function has a kink or a jump here."""


def numerical_grad(
    f,
    inputs,
    grad_outputs,
    eps=1e-3,
    detect_nondifferentiable=False,
    diff_atol=0,
    diff_rtol=1e-2,
    center_outputs=None,
):
    """Return the gradients of ``f()`` with respect to the elements of ``inputs``.

    Parameters
    ----------
    f : callable
        Without arguments: it reads ``inputs``, whose elements are moved in place.
    inputs : sequence of arrays
    grad_outputs : sequence of array, number or None
        Weights of the outputs.
    eps : float
        How far to move.
    detect_nondifferentiable : bool
        Whether to raise NondifferentiableError where a parabola does not fit the
        function to ``diff_atol + diff_rtol * (its range)``.
    center_outputs : None
        Taken for compatibility; the outputs are computed again.
    """
    assert eps > 0
    assert isinstance(inputs, (tuple, list))
    for x in inputs:
        if x.dtype.kind != "f":
            raise RuntimeError("The dtype of input arrays must be kind of float")
    weights = [
        gy if gy is None or np.isscalar(gy) else _float64(gy) for gy in grad_outputs
    ]
    arrays = [a for a in [*inputs, *weights] if a is not None and not np.isscalar(a)]
    if not _backend.is_arrays_compatible(arrays):
        raise RuntimeError("Do not mix GPU and CPU arrays in `numerical_grad`")
    if detect_nondifferentiable:
        steps, factors, divisor = (-1, -0.5, 0, 0.5, 1), (1, -8, 0, 8, -1), 6
    else:
        steps, factors, divisor = (-1, 1), (-1, 1), 2

    def evaluate(x, index, value):
        before = x[index].copy()
        x[index] = value
        ys = tuple([None if y is None else _float64(y) for y in f()])
        x[index] = before
        assert len(ys) == len(weights)
        for y, gy in zip(ys, weights, strict=True):
            assert gy is None or np.ndim(gy) == 0 or y.shape == np.shape(gy)
        return ys

    grads = []
    with using_config("type_check", False):
        for i, x in enumerate(inputs):
            grad = _backend.get_array_module(x).zeros(x.shape, np.float64)
            original = x.copy()
            for index in np.ndindex(x.shape):
                values = [original[index] + step * eps for step in steps]
                yss = [evaluate(x, index, value) for value in values]
                where = f"i_in: {i}\nx: {inputs[i]}\nindex on x: {index}\neps: {eps}"
                if detect_nondifferentiable:
                    _check_smooth(yss, where, diff_atol, diff_rtol)
                for j, gy in enumerate(weights):
                    if gy is None or yss[0][j] is None:
                        continue
                    change = sum(
                        k * ys[j] for k, ys in zip(factors, yss, strict=True) if k
                    )
                    grad[index] += (change * gy).sum() / (divisor * eps)
            grads.append(grad.astype(x.dtype, copy=False))
    return grads


def _float64(y):
    """Return a copy of an array or a number as a float64 array."""
    return _backend.get_array_module(y).array(y, dtype=np.float64)


def _check_smooth(yss, where, atol, rtol):
    """Raise if any output jumps to infinity or is not nearly a parabola."""
    yss = [[None if y is None else _cpu._to_cpu(y) for y in ys] for ys in yss]
    columns = [ys for ys in zip(*yss, strict=True) if ys[0] is not None]
    finite = [[np.isfinite(y) for y in ys] for ys in columns]
    for i, fs in enumerate(finite):
        if any((f != fs[0]).any() for f in fs):
            _raise(where, i, columns[i])
    if not all(f.all() for fs in finite for f in fs):
        return
    for i, ys in enumerate(columns):
        stack = np.stack([y.ravel() for y in ys])
        if not stack.size:
            continue
        fit = np.polynomial.polynomial.polyfit(range(len(ys)), stack, 2, full=True)
        error = np.sqrt(fit[1][0] / len(ys))
        span = stack.max(axis=0) - stack.min(axis=0)
        if ((atol + rtol * span < error) & (span != 0)).any():
            details = (
                f"diff_rtol: {rtol}\ndiff_atol: {atol}\n"
                f"diff_atol + diff_rtol * (ymax-ymin): {atol + rtol * span}\n"
                f"fitting errors: {error}\n"
            )
            _raise(where, i, ys, details)


def _raise(where, i_out, ys, details=""):
    names = ("x-eps  ", "x-eps/2", "x      ", "x+eps/2", "x+eps  ")
    values = "\n".join(f"y[{n}]: {y}" for n, y in zip(names, ys, strict=True))
    raise NondifferentiableError(
        "Tried to compute the numeric gradient on a non-differentiable point.\n\n"
        f"{where}\ni_out: {i_out}\n{details}{values}\n"
    )
