"""Tests of an elementwise function, all at once."""

import unittest
import warnings

import numpy as np

from dyrnn.chainer import gradient_check
from dyrnn.chainer._operations import current_functions
from dyrnn.chainer.backends import cuda
from dyrnn.chainer.function import Function
from dyrnn.chainer.testing import attr
from dyrnn.chainer.testing.array import assert_allclose
from dyrnn.chainer.testing.parameterized import parameterize, product
from dyrnn.chainer.variable import Variable

check_available = attr.check_available
is_available = attr.is_available


def _make_data_default(shape, dtype):
    return tuple(np.random.uniform(-1, 1, shape).astype(dtype) for _ in range(3))


def _squared(func):
    def squared(x):
        y = func(x)
        return y * y

    return squared


class _Tests:
    """The tests, mixed into the decorated class."""

    def check_forward(self, x_data):
        y = self._func(Variable(x_data))
        self.assertEqual(y.data.dtype, x_data.dtype)
        expected = self._expected(cuda.to_cpu(x_data), dtype=x_data.dtype)
        assert_allclose(expected, y.data, **self.forward_options)

    def test_forward_cpu(self):
        self.check_forward(self.x)

    @property
    def _func(self):
        return self._case[0]

    @property
    def _expected(self):
        return self._case[1]

    def check_backward(self, x_data, y_grad):
        gradient_check.check_backward(
            self._func, x_data, y_grad, **self.backward_options
        )

    def test_backward_cpu(self):
        self.check_backward(self.x, self.gy)


class _GpuTests(_Tests):
    def test_forward_gpu(self):
        self.check_forward(cuda.to_gpu(self.x))

    def test_backward_gpu(self):
        self.check_backward(cuda.to_gpu(self.x), cuda.to_gpu(self.gy))

    def check_double_backward(self, x_data, y_grad, x_grad_grad):
        func = _squared(self._func) if self._is_linear else self._func
        gradient_check.check_double_backward(
            func, x_data, y_grad, x_grad_grad, **self.double_backward_options
        )

    def test_double_backward_cpu(self):
        self.check_double_backward(self.x, self.gy, self.ggx)

    def test_double_backward_gpu(self):
        self.check_double_backward(
            cuda.to_gpu(self.x), cuda.to_gpu(self.gy), cuda.to_gpu(self.ggx)
        )


def _options(dtype, given):
    """Return the options of forward, backward and double backward."""
    if dtype == np.float16:
        eps = np.finfo(np.float16).eps
        rough = {"eps": 2**-4, "atol": 2**-4, "rtol": 2**-4, "dtype": np.float64}
        defaults = {"atol": eps, "rtol": eps}, rough, rough
    else:
        fine = {"atol": 1e-4, "rtol": 1e-4}
        defaults = fine, {**fine, "dtype": np.float64}, {**fine, "dtype": np.float64}
    return [{**d, **(g or {})} for d, g in zip(defaults, given, strict=True)]


def unary_math_function_unittest(
    func,
    func_expected=None,
    label_expected=None,
    make_data=None,
    is_linear=None,
    forward_options=None,
    backward_options=None,
    double_backward_options=None,
):
    """Decorate a TestCase with tests of ``func``, an elementwise function.

    Parameters
    ----------
    func : callable
    func_expected : callable, optional
        Called as ``func_expected(x, dtype=...)``; by default NumPy's of the same name.
    label_expected : str, optional
        Label of the node.
    make_data : callable, optional
        Returns (x, gy, ggx) for a shape and a type.
    """
    check_available()
    is_new_style = not isinstance(func, Function)
    name = func.__name__ if is_new_style else type(func).__name__.lower()
    if is_new_style:
        node_class = getattr(current_functions(), name.capitalize(), None)
    else:
        node_class = type(func)
    if func_expected is None:
        func_expected = getattr(np, name, None)
        if func_expected is None:
            raise ValueError(
                f"NumPy has no functions corresponding to Chainer function '{name}'."
            )
    if label_expected is None:
        label_expected = name
    elif node_class is None:
        raise ValueError(
            "Expected label is given even though Chainer function does not have its "
            "label."
        )
    if is_linear is not None:
        warnings.warn(
            "is_linear option is deprecated", DeprecationWarning, stacklevel=2
        )
    if make_data is None:
        make_data = _make_data_default
    given = forward_options, backward_options, double_backward_options

    def decorator(cls):
        assert issubclass(cls, unittest.TestCase)

        def set_up(self):
            data = make_data(self.shape, self.dtype)
            self.x, self.gy = data[:2]
            self.ggx = data[2] if is_new_style else None
            (
                self.forward_options,
                self.backward_options,
                self.double_backward_options,
            ) = _options(self.dtype, given)

        cls.setUp = set_up
        cls._case = (func, func_expected)
        cls._is_linear = is_linear
        for mixin in (_Tests, _GpuTests):
            for key, member in vars(mixin).items():
                if "double" in key and not is_new_style:
                    continue
                if key.endswith("_gpu"):
                    member = attr.gpu(member)
                if not key.startswith("__"):
                    setattr(cls, key, member)
        if node_class is not None:
            cls.test_label = lambda self: self.assertEqual(
                node_class().label, label_expected
            )
        cases = {"shape": [(3, 2), ()], "dtype": [np.float16, np.float32, np.float64]}
        return parameterize(*product(cases))(cls)

    return decorator
