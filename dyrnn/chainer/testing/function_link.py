"""Test cases of functions and of links: forward, backward, double backward.

They compare on arrays that are not contiguous, and with gradients by differences.
"""

import functools
import unittest

import numpy as np

from dyrnn.chainer import backend, gradient_check
from dyrnn.chainer.configuration import using_config
from dyrnn.chainer.testing.array import assert_allclose
from dyrnn.chainer.testing.cases import decorator, with_tests
from dyrnn.chainer.variable import Variable


class BackendConfig:
    """Where a test runs: on the CPU, or with ``use_cuda`` on a GPU.

    As a context it sets the device and what concerns cuDNN.
    """

    def __init__(self, params=None):
        self.use_cuda, self.cuda_device = False, None
        self.use_cudnn, self.use_ideep = "never", "never"
        self.cudnn_deterministic = self.autotune = False
        for name, value in (params or {}).items():
            if not hasattr(self, name):
                raise ValueError(f"Parameter {name} is not defined")
            setattr(self, name, value)

    @property
    def device(self):
        """The device."""
        if self.use_cuda:
            return backend.GpuDevice.from_device_id(self.cuda_device or 0)
        return backend.CpuDevice()

    @property
    def xp(self):
        """The array module."""
        return self.device.xp

    def get_array(self, np_array):
        """Return the array, or each of a list, on the device."""
        return self.device.send(np_array)

    def __enter__(self):
        self._contexts = [
            using_config("use_cudnn", self.use_cudnn),
            backend.using_device(self.device),
        ]
        for context in self._contexts:
            context.__enter__()
        return self

    def __exit__(self, *error):
        for context in reversed(self._contexts):
            context.__exit__(*error)


def inject_backend_tests(method_names, params):
    """Give test methods a :class:`BackendConfig`, once for each of ``params``.

    Parameters
    ----------
    method_names : list of str or None
        None means all.
    params : list of dict
    """

    def make(base):
        for i, param in enumerate(params):
            config = BackendConfig(param)

            def wrap(method, config=config):
                if method_names is not None and method.__name__ not in method_names:
                    return method
                return functools.wraps(method)(
                    lambda self, *args: method(self, config, *args)
                )

            yield with_tests(base, f"{base.__name__}_backend_{i}", {}, wrap)

    return decorator(make)


class _TestCase(unittest.TestCase):
    """What tests of functions and of links share."""

    skip_forward_test = False
    skip_backward_test = False
    dodge_nondifferentiable = False
    numerical_grad_dtype = np.float64

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.check_forward_options = {}
        self.check_backward_options = {}
        self.check_double_backward_options = {}

    def before_test(self, test_name):
        """Prepare a test."""

    def generate_inputs(self):
        """Return a tuple of NumPy arrays."""
        raise NotImplementedError("generate_inputs() is not implemented.")

    def generate_grad_outputs(self, outputs_template):
        """Return gradients of the outputs."""
        return _uniform_like(outputs_template)

    def check_forward_outputs(self, outputs, expected_outputs):
        """Compare outputs with what is expected."""
        self.assertEqual(len(outputs), len(expected_outputs))
        for y, expected in zip(outputs, expected_outputs, strict=True):
            self.assertEqual((y.shape, y.dtype), (expected.shape, expected.dtype))
            assert_allclose(y, expected, **self.check_forward_options)

    def _begin(self, name):
        if getattr(self, f"skip_{name}_test"):
            self.skipTest(f"skip_{name}_test is set")
        self.before_test(f"test_{name}")

    def _check(self, check, make, options):
        """Check gradients at ``make()``, again where there is none if asked to."""
        while True:
            try:
                return check(
                    *make(),
                    dtype=self.numerical_grad_dtype,
                    detect_nondifferentiable=self.dodge_nondifferentiable,
                    **options,
                )
            except gradient_check.NondifferentiableError:
                if not self.dodge_nondifferentiable:
                    raise


class FunctionTestCase(_TestCase):
    """Test case of a function."""

    skip_double_backward_test = False

    def forward(self, inputs, device):
        """Compute the outputs, a tuple of variables."""
        raise NotImplementedError("forward() is not implemented.")

    def forward_expected(self, inputs):
        """Compute the expected outputs, a tuple of NumPy arrays."""
        raise NotImplementedError("forward_expected() is not implemented.")

    def generate_grad_grad_inputs(self, inputs_template):
        """Return gradients of the inputs' gradients."""
        return _uniform_like(inputs_template)

    def test_forward(self, backend_config=None):
        config = backend_config or BackendConfig()
        self._begin("forward")
        arrays = self.generate_inputs()
        expected = self.forward_expected(arrays)
        inputs = _strided(config.get_array(arrays))
        with config:
            outputs = self.forward(tuple(map(Variable, inputs)), config.device)
        for x, before in zip(inputs, arrays, strict=True):
            assert_allclose(x, before, atol=0, rtol=0)  # inputs are left alone
        self.check_forward_outputs(tuple([y.array for y in outputs]), expected)

    def _arrays(self, config, *, double):
        xs = self.generate_inputs()
        arrays = [xs, self.generate_grad_outputs(self.forward_expected(xs))]
        if double:
            arrays.append(self.generate_grad_grad_inputs(xs))
        return [_strided(config.get_array(a)) for a in arrays]

    def test_backward(self, backend_config=None):
        self._check_gradients("backward", backend_config)

    def test_double_backward(self, backend_config=None):
        self._check_gradients("double_backward", backend_config)

    def _check_gradients(self, name, config):
        config = config or BackendConfig()
        self._begin(name)

        def function(*xs):
            with config:
                return self.forward(xs, config.device)

        self._check(
            getattr(gradient_check, f"check_{name}"),
            lambda: (function, *self._arrays(config, double=name != "backward")),
            getattr(self, f"check_{name}_options"),
        )


class LinkTestCase(_TestCase):
    """Test case of a link."""

    param_names: tuple = ()

    def generate_params(self):
        """Return the initializers of the parameters."""
        raise NotImplementedError("generate_params is not implemented.")

    def create_link(self, initializers):
        """Return a link with the given initializers."""
        raise NotImplementedError("create_link is not implemented.")

    def forward(self, link, inputs, device):
        """Call the link; return a tuple of variables."""
        outputs = link(*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def forward_expected(self, link, inputs):
        """Compute the expected outputs, a tuple of NumPy arrays."""
        raise NotImplementedError("forward_expected() is not implemented.")

    def test_forward(self, backend_config=None):
        self._begin("forward")
        link, arrays, outputs = self._called(backend_config or BackendConfig())
        link.to_device("@numpy")
        expected = self.forward_expected(link, arrays)
        self.check_forward_outputs(tuple([y.array for y in outputs]), expected)

    def _called(self, config):
        """Return a link that was called once, what with, and its outputs."""
        link = self.create_link(self.generate_params())
        link.to_device(config.device)
        arrays = self.generate_inputs()
        inputs = [Variable(x) for x in _strided(config.get_array(arrays))]
        with config:
            return link, arrays, self.forward(link, inputs, config.device)

    def test_backward(self, backend_config=None):
        self._begin("backward")
        config = backend_config or BackendConfig()

        def make():
            link, arrays, outputs = self._called(config)
            link.cleargrads()
            gys = self.generate_grad_outputs([y.array for y in outputs])
            params = tuple([getattr(link, name) for name in self.param_names])

            def function(*xs):
                with config:
                    return self.forward(link, xs, config.device)

            inputs, gys = (_strided(config.get_array(a)) for a in (arrays, gys))
            return function, inputs, gys, params

        self._check(gradient_check.check_backward, make, self.check_backward_options)


def _uniform_like(arrays):
    return tuple([np.random.uniform(-1, 1, a.shape).astype(a.dtype) for a in arrays])


def _strided(arrays):
    """Return the arrays with other strides than usual."""
    strided = []
    for array in arrays:
        if array is not None and array.size > 1:
            slices = (slice(None, None, -2),) * array.ndim
            xp = backend.get_array_module(array)
            wide = xp.empty(tuple([n * 2 for n in array.shape]), array.dtype)
            wide[slices] = array
            array = wide[slices]
        strided.append(array)
    return tuple(strided)
