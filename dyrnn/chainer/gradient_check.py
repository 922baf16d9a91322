"""``chainer.gradient_check``: backward against numerical gradients.

Gradients are compared along one random direction: that is two evaluations of the
function, whatever the number of elements.
"""

import warnings

import numpy as np

from dyrnn.chainer import _operations
from dyrnn.chainer._backprop import backward
from dyrnn.chainer._numerical import NondifferentiableError, numerical_grad
from dyrnn.chainer.backend import get_device_from_array, using_device
from dyrnn.chainer.testing.array import assert_allclose as _assert_allclose
from dyrnn.chainer.utils.misc import _format_array_props, _raise_from
from dyrnn.chainer.variable import Variable

__all__ = [
    "NondifferentiableError",
    "assert_allclose",
    "check_backward",
    "check_double_backward",
    "numerical_grad",
]


def assert_allclose(x, y, atol=1e-5, rtol=1e-4, verbose=True):
    """``chainer.testing.assert_allclose`` by its older name."""
    warnings.warn(
        "chainer.gradient_check.assert_allclose is deprecated. "
        "Use chainer.testing.assert_allclose instead.",
        DeprecationWarning,
        stacklevel=1,
    )
    _assert_allclose(x, y, atol, rtol, verbose)


def _as_tuple(xs):
    return tuple(xs) if isinstance(xs, (tuple, list)) else (xs,)


def _listed(**groups):
    """Return a text for each array of each group."""
    return [
        f"{name}[{i}]:\n{array}"
        for name, arrays in groups.items()
        for i, array in enumerate(arrays)
    ]


def _check_outputs_and_grad_outputs(outputs, grad_outputs):
    texts = (
        f"Output shapes and dtypes         : {_format_array_props(outputs)}\n"
        f"Output gradient shapes and dtypes: {_format_array_props(grad_outputs)}"
    )
    if len(outputs) != len(grad_outputs):
        raise ValueError(
            "Output gradients must contain equally as many elements as the number of "
            f"output elements.\n{texts}"
        )
    for y, gy in zip(outputs, grad_outputs, strict=True):
        if gy is None or (y is None and (gy == 0).all()):
            continue
        if y.shape != gy.shape or y.dtype != gy.dtype:
            raise ValueError(
                "Shapes and/or dtypes of outputs and output gradients do not match."
                f"\n{texts}"
            )


class _CheckBackward:
    """One check: gradients along a random direction, by both ways."""

    def __init__(
        self,
        func,
        xs,
        gys,
        params,
        eps,
        atol,
        rtol,
        no_gxs,
        dtype,
        detect_nondifferentiable,
    ):
        if dtype is not None and np.dtype(dtype).kind != "f":
            raise ValueError("`dtype` is allowed only float type")
        self.xs = _as_tuple(xs)
        if no_gxs is None:
            no_gxs = [None if x is None else x.dtype.kind != "f" for x in self.xs]
        elif len(no_gxs) != len(self.xs):
            raise ValueError(
                "Length of no_grads param and xs should be same.\n"
                f"Actual: {len(no_gxs)} != {len(self.xs)}"
            )
        self.func = func
        self.gys = None if gys is None else _as_tuple(gys)
        self.params = _as_tuple(params)
        self.no_gxs = no_gxs
        self.eps = eps
        self.tolerance = {"atol": atol, "rtol": rtol}
        self.dtype = dtype
        self.detect_nondifferentiable = detect_nondifferentiable
        self.device = get_device_from_array(*self.xs)

    def run(self):
        with using_device(self.device):
            self._run()

    def _run(self):
        xs = [
            None if x is None else Variable(x, requires_grad=x.dtype.kind == "f")
            for x in self.xs
        ]
        params = self.params
        ys = _as_tuple(self.func(*xs))
        _clear_grads([*xs, *params])
        arrays = tuple([None if y is None else y.array for y in ys])
        if self.gys is None:
            if len(ys) != 1 or ys[0].shape != ():
                shapes = ", ".join(str(y.shape) for y in ys)
                raise ValueError(
                    "y_grad argument cannot be omitted if the target function is not "
                    "a loss function, which has a single output with shape ().\n"
                    f"Actual output shapes: {shapes}"
                )
            self.gys = tuple([self.device.xp.ones_like(y) for y in arrays])
        else:
            _check_outputs_and_grad_outputs(ys, self.gys)
        self.gys = tuple(
            [None if y is None else gy for gy, y in zip(self.gys, arrays, strict=True)]
        )
        directions = self._directions()
        by_backward = self._backward_gradient(xs, ys, params, directions)
        numeric = self._numeric_gradient(directions)
        try:
            _assert_allclose(numeric, by_backward, **self.tolerance)
        except AssertionError as error:
            raise AssertionError(
                self._report(directions, numeric, by_backward, error)
            ) from None

    def _report(self, directions, numeric, by_backward, error):
        options = f"eps={self.eps} atol={self.tolerance['atol']}"
        lines = [f"check_backward failed ({options} rtol={self.tolerance['rtol']})"]
        lines += _listed(inputs=self.xs, grad_outputs=self.gys, directions=directions)
        lines += [
            f"gradients (numeric):  {numeric}",
            f"gradients (backward): {by_backward}",
            "",
            f"x: numeric gradient, y: backward gradient{error}",
        ]
        return "\n".join(lines)

    def _directions(self):
        """Return a random direction, cut into the shapes of what is varied."""
        xp = self.device.xp
        varied = [x for x, no_gx in zip(self.xs, self.no_gxs, strict=True) if not no_gx]
        varied += self.params
        size = sum(a.size for a in varied if a is not None)
        packed = xp.random.normal(size=(size,))
        if size:  # of length 1, with no component near zero
            squares = xp.square(packed)
            squares = 0.99 / squares.sum() * squares + 0.01 / size
            packed = xp.copysign(xp.sqrt(squares), packed)
        directions, start = [], 0
        for a in varied:
            if a is None:
                directions.append(None)
                continue
            directions.append(packed[start : start + a.size].reshape(a.shape))
            start += a.size
        return directions

    def _backward_gradient(self, xs, ys, params, directions):
        gys = [
            None if gy is None else Variable(gy.copy(), requires_grad=False)
            for gy in self.gys
        ]
        backward(ys, gys)
        grads = []
        for no_gx, x in zip(self.no_gxs, xs, strict=True):
            if no_gx and x.grad is not None:
                raise RuntimeError("gradient of int variable must be None")
            if not no_gx:
                grads.append(None if x is None else x.grad)
        grads += [p.grad for p in params]
        total = 0
        for g, direction in zip(grads, directions, strict=True):
            if g is not None:
                total += (g.astype(np.float64) * direction).sum()
        return total

    def _numeric_gradient(self, directions):
        held = [p.array for p in self.params]
        xs = [None if x is None else self._cast_if_float(x) for x in self.xs]
        varied = [x for x, no_gx in zip(xs, self.no_gxs, strict=True) if not no_gx]
        varied += [p if self.dtype is None else p.astype(self.dtype) for p in held]
        delta = self.device.xp.array(0.0, np.float64)

        def moved(data, direction):
            if data is None:
                return None
            value = data.astype(np.float64) + delta * direction
            return self.device.xp.asarray(value).astype(data.dtype)

        def f():
            arrays = [moved(a, d) for a, d in zip(varied, directions, strict=True)]
            rest = iter(arrays)
            variables = [
                self._constant(x) if no_gx else _variable(next(rest))
                for x, no_gx in zip(xs, self.no_gxs, strict=True)
            ]
            values = list(rest)
            for p, value in zip(self.params, values, strict=True):
                p.array = value
                p.grad_var = None
            ys = _as_tuple(self.func(*variables))
            base = varied[len(varied) - len(values) :]
            for p, value in zip(self.params, base, strict=True):
                p.array = value
            return tuple([None if y is None else y.array for y in ys])

        (gx,) = numerical_grad(
            f,
            (delta,),
            self.gys,
            eps=self.eps,
            detect_nondifferentiable=self.detect_nondifferentiable,
            diff_atol=0,
            diff_rtol=self.tolerance["rtol"],
        )
        return gx

    def _cast_if_float(self, x):
        if self.dtype is None or x.dtype.kind != "f":
            return x
        return x.astype(self.dtype, copy=False)

    @staticmethod
    def _constant(x):
        return None if x is None else Variable(x, requires_grad=False)


def _variable(array):
    return None if array is None else Variable(array)


def _clear_grads(variables):
    for x in variables:
        if x is not None:
            x.grad_var = None


def check_backward(
    func,
    x_data,
    y_grad,
    params=(),
    eps=0.001,
    atol=1e-5,
    rtol=1e-4,
    no_grads=None,
    dtype=None,
    detect_nondifferentiable=False,
):
    """Compare ``func``'s gradients with numerical ones, along a random direction.

    Parameters
    ----------
    func : callable
        From variables to one or a tuple of them.
    x_data : array or tuple of arrays
    y_grad : array, tuple of arrays or None
        Gradients of the outputs; None for a scalar.
    params : Variable or tuple of them
        What the gradient is taken for, too.
    eps, atol, rtol : float
        Step of the numerical gradient, tolerances of the comparison.
    no_grads : sequence of bool, optional
        Inputs without a gradient; by default those that are not float.
    dtype : type, optional
        In which the numerical gradient is computed.
    detect_nondifferentiable : bool
        Whether to raise NondifferentiableError at a kink.
    """
    options = (eps, atol, rtol, no_grads, dtype, detect_nondifferentiable)
    _CheckBackward(func, x_data, y_grad, params, *options).run()


def check_double_backward(
    func,
    x_data,
    y_grad,
    x_grad_grad,
    params=(),
    params_grad_grad=(),
    eps=0.001,
    atol=1e-4,
    rtol=1e-3,
    no_grads=None,
    dtype=None,
    detect_nondifferentiable=False,
):
    """Compare gradients of ``func``'s gradients with numerical ones.

    As :func:`check_backward` of the function that returns the gradients;
    ``x_grad_grad`` and ``params_grad_grad`` are gradients of these.
    """
    xs, gys, params = _as_tuple(x_data), _as_tuple(y_grad), _as_tuple(params)
    ggs = _as_tuple(x_grad_grad) + _as_tuple(params_grad_grad)
    has_no_gx = [x.dtype.kind != "f" for x in xs]

    def gradient(*inputs):
        variables, gy_variables = inputs[: len(xs)], inputs[len(xs) :]
        ys = _as_tuple(func(*variables))
        cast = _operations.functions.cast
        gy_variables = [
            None if gy is None else cast(gy, y.dtype)
            for y, gy in zip(ys, gy_variables, strict=False)
        ]
        _check_outputs_and_grad_outputs(ys, gy_variables)
        backward(ys, gy_variables, enable_double_backprop=True)
        wrong = [
            f"[{i}]: Gradient was calculated while expected to not.\n"
            for i, x in enumerate(variables)
            if has_no_gx[i] and x.grad is not None
        ]
        if wrong:
            raise RuntimeError(
                "There are errors retrieving first-order gradients:\n"
                f"Inputs: {_format_array_props(variables)}\n"
                f"Skip: {', '.join(map(str, has_no_gx))}\n"
                f"Errors:\n{''.join(wrong)}"
            )
        gxs = [
            x.grad_var
            for x, no_gx in zip(variables, has_no_gx, strict=True)
            if not no_gx
        ]
        return tuple(gxs + [p.grad_var for p in params])

    options = (eps, atol, rtol, no_grads, dtype, detect_nondifferentiable)
    try:
        check_backward(gradient, xs + gys, ggs, params, *options)
    except AssertionError as error:
        lines = [f"check_double_backward failed (eps={eps} atol={atol} rtol={rtol})"]
        lines += _listed(
            input=xs,
            grad_output=gys,
            grad_grad_input=_as_tuple(x_grad_grad),
            grad_grad_param=_as_tuple(params_grad_grad),
        )
        _raise_from(AssertionError, "\n".join([*lines, "", str(error)]), error)
