"""Test cases of functions and of links: forward, backward, double backward."""

import unittest

import numpy as np

from dyrnn.chainer import backend, gradient_check, initializers
from dyrnn.chainer._variable import Variable
from dyrnn.chainer.initializer import Initializer
from dyrnn.chainer.link import Link
from dyrnn.chainer.testing._checks import (
    FunctionTestError,
    LinkTestError,
    check_array_types,
    check_arrays_equal,
    check_variable_types,
)
from dyrnn.chainer.testing.array import _as_noncontiguous_array, assert_allclose
from dyrnn.chainer.utils.misc import _format_array_props

_CPU = backend.CpuDevice()


def _uniform_like(arrays):
    return tuple([np.random.uniform(-1, 1, a.shape).astype(a.dtype) for a in arrays])


class _TestBase:
    """What tests of functions and of links share."""

    backend_config = None
    contiguous = None
    dodge_nondifferentiable = False
    numerical_grad_dtype = np.float64
    test_name = ""
    error = FunctionTestError
    check_forward_options: dict | None = None

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
        check_arrays_equal(
            outputs, expected_outputs, self.error, **self.check_forward_options
        )

    def _begin(self, name, backend_config):
        if getattr(self, f"skip_{name}_test"):
            raise unittest.SkipTest(f"skip_{name}_test is set")
        self.backend_config = backend_config
        self.test_name = f"test_{name}"
        self.before_test(self.test_name)

    def _strided(self, arrays):
        if self.contiguous is None:
            return _as_noncontiguous_array(arrays)
        assert self.contiguous == "C", f"Invalid `contiguous`: {self.contiguous}"
        return arrays

    def _generate(self, name, *args):
        arrays = getattr(self, name)(*args)
        check_array_types(arrays, _CPU, name)
        return arrays

    def _repeat_while_nondifferentiable(self, check):
        while True:
            try:
                return check()
            except gradient_check.NondifferentiableError:
                if not self.dodge_nondifferentiable:
                    raise


class FunctionTestBase(_TestBase):
    """Tests of a function; ``run_test_*`` take a BackendConfig."""

    check_backward_options: dict | None = None
    check_double_backward_options: dict | None = None
    skip_forward_test = False
    skip_backward_test = False
    skip_double_backward_test = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.check_forward_options = {}
        self.check_backward_options = {}
        self.check_double_backward_options = {}

    def forward(self, inputs, device):
        """Compute the outputs, a tuple of variables."""
        raise NotImplementedError("forward() is not implemented.")

    def forward_expected(self, inputs):
        """Compute the expected outputs, a tuple of NumPy arrays."""
        raise NotImplementedError("forward_expected() is not implemented.")

    def generate_grad_grad_inputs(self, inputs_template):
        """Return gradients of the inputs' gradients."""
        return _uniform_like(inputs_template)

    def _forward(self, inputs, backend_config):
        with backend_config:
            outputs = self.forward(inputs, backend_config.device)
        check_variable_types(
            outputs, backend_config.device, "forward", FunctionTestError
        )
        return outputs

    def run_test_forward(self, backend_config):
        """Compare with the expectation, and see that inputs are left alone."""
        self._begin("forward", backend_config)
        cpu_inputs = self._strided(self._generate("generate_inputs"))
        copies = [a.copy() for a in cpu_inputs]
        expected = self._generate("forward_expected", cpu_inputs)
        inputs = self._strided(backend_config.get_array(cpu_inputs))
        variables = tuple(
            [Variable(a, requires_grad=a.dtype.kind == "f") for a in inputs]
        )
        outputs = self._forward(variables, backend_config)
        modified = [i for i, a in enumerate(inputs) if not _same(copies[i], a)]
        if modified:
            lines = [
                "Input arrays have been modified during forward.",
                f"Indices of modified inputs: {', '.join(map(str, modified))}",
                f"Input array shapes and dtypes: {_format_array_props(inputs)}",
            ]
            for i in modified:
                lines += [f"\nInput[{i}]:", "Original:", str(copies[i])]
                lines += ["After forward:", str(inputs[i])]
            FunctionTestError.fail("\n".join(lines) + "\n")
        self.check_forward_outputs(tuple([y.array for y in outputs]), expected)

    def run_test_backward(self, backend_config):
        """Compare gradients with numerical ones."""
        self._begin("backward", backend_config)

        def check():
            inputs = self._generate("generate_inputs")
            outputs = self._generate("forward_expected", inputs)
            gys = self._generate("generate_grad_outputs", outputs)
            send = backend_config.get_array
            inputs, gys = self._strided(send(inputs)), self._strided(send(gys))
            message = "backward is not implemented correctly"
            with FunctionTestError.raise_if_fail(message):
                gradient_check.check_backward(
                    lambda *args: self._forward(args, backend_config),
                    inputs,
                    gys,
                    dtype=self.numerical_grad_dtype,
                    detect_nondifferentiable=self.dodge_nondifferentiable,
                    **self.check_backward_options,
                )

        self._repeat_while_nondifferentiable(check)

    def run_test_double_backward(self, backend_config):
        """Compare gradients of gradients with numerical ones."""
        self._begin("double_backward", backend_config)

        def check():
            inputs = self._generate("generate_inputs")
            outputs = self._generate("forward_expected", inputs)
            gys = self._generate("generate_grad_outputs", outputs)
            ggxs = self._generate("generate_grad_grad_inputs", inputs)
            ggxs = [g for g in ggxs if g is None or g.dtype.kind == "f"]
            arrays = [backend_config.get_array(a) for a in (inputs, gys, ggxs)]
            message = "double backward is not implemented correctly"
            with backend_config, FunctionTestError.raise_if_fail(message):
                gradient_check.check_double_backward(
                    lambda *args: self._forward(args, backend_config),
                    *map(self._strided, arrays),
                    dtype=self.numerical_grad_dtype,
                    detect_nondifferentiable=self.dodge_nondifferentiable,
                    **self.check_double_backward_options,
                )

        self._repeat_while_nondifferentiable(check)


def _same(x, y):
    try:
        assert_allclose(x, y, atol=0, rtol=0)
    except AssertionError:
        return False
    return True


class FunctionTestCase(FunctionTestBase, unittest.TestCase):
    """Test case of a function; use it with ``inject_backend_tests``."""

    def test_forward(self, backend_config):
        self.run_test_forward(backend_config)

    def test_backward(self, backend_config):
        self.run_test_backward(backend_config)

    def test_double_backward(self, backend_config):
        self.run_test_double_backward(backend_config)


class InitializerArgument:
    """An argument of a link, and the initializer that it means."""

    def __init__(self, argument_value, expected_initializer):
        if expected_initializer is None:
            raise ValueError("Expected initialized cannot be None.")
        initializers._check_is_initializer_like(expected_initializer)
        self.argument_value = argument_value
        self.expected_initializer = expected_initializer


def _check_generated_initializer(init):
    if init is None:
        raise ValueError(
            "A None initializer must be wrapped in a InitializerArgument along with "
            "the expected initializer fallen back to."
        )
    initializers._check_is_initializer_like(getattr(init, "expected_initializer", init))


def _argument_value(init):
    return init.argument_value if isinstance(init, InitializerArgument) else init


class _LinkTestBase(_TestBase):
    """What both kinds of link tests share."""

    param_names: tuple = ()
    error = LinkTestError
    skip_initializers_test = False

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

    def _generate_params(self):
        inits = self.generate_params()
        if not isinstance(inits, (tuple, list)):
            raise TypeError("`generate_params` must return a tuple or a list.")
        for init in inits:
            _check_generated_initializer(init)
        return inits

    def _create_link(self, inits, backend_config):
        link = self.create_link(inits)
        if not isinstance(link, Link):
            raise TypeError("`create_link` must return a chainer.Link object.")
        link.to_device(backend_config.device)
        return link

    def _create_initialized_link(self, inits, backend_config):
        """Return a link that was called once, its inputs and its outputs."""
        inits = [_argument_value(init) for init in inits]
        link = self._create_link(inits, backend_config)
        inputs = backend_config.get_array(self._generate("generate_inputs"))
        inputs = self._strided(inputs)
        outputs = self._forward(link, [Variable(x) for x in inputs], backend_config)
        link.cleargrads()
        return link, inputs, [y.array for y in outputs]

    def _forward(self, link, inputs, backend_config):
        with backend_config:
            outputs = self.forward(link, inputs, backend_config.device)
        check_variable_types(outputs, backend_config.device, "forward", LinkTestError)
        return outputs

    def _params_of(self, link):
        for name in self.param_names:
            if getattr(link, name, None) is None:
                LinkTestError.fail(f"Link does not have a parameter named '{name}'.")
        return [getattr(link, name) for name in self.param_names]


class LinkTestCase(_LinkTestBase, unittest.TestCase):
    """Test case of a link; use it with ``inject_backend_tests``."""

    check_backward_options: dict | None = None
    skip_forward_test = False
    skip_backward_test = False

    def __init__(self, *args, **kwargs):
        self.check_forward_options = {}
        self.check_backward_options = {}
        super().__init__(*args, **kwargs)

    def forward_expected(self, link, inputs):
        """Compute the expected outputs, a tuple of NumPy arrays."""
        raise NotImplementedError("forward_expected() is not implemented.")

    def test_forward(self, backend_config):
        self._begin("forward", backend_config)
        link = self._create_link(self._generate_params(), backend_config)
        cpu_inputs = self._generate("generate_inputs")
        inputs = self._strided(backend_config.get_array(cpu_inputs))
        variables = tuple([Variable(x) for x in inputs])
        outputs = self._forward(link, variables, backend_config)
        arrays = tuple([y.array for y in outputs])
        link.to_device(_CPU)
        expected = self.forward_expected(link, cpu_inputs)
        check_array_types(cpu_inputs, _CPU, "test_forward")
        self.check_forward_outputs(arrays, expected)

    def test_backward(self, backend_config):
        self._begin("backward", backend_config)
        self._repeat_while_nondifferentiable(
            lambda: self._check_backward(backend_config)
        )

    def _check_backward(self, backend_config):
        inits = self._generate_params()
        link, inputs, outputs = self._create_initialized_link(inits, backend_config)
        params = [p.array for p in self._params_of(link)]
        outputs = [_CPU.send(y) for y in outputs]
        gys = backend_config.get_array(self._generate("generate_grad_outputs", outputs))
        inputs, params, gys = map(self._strided, (inputs, params, gys))
        tested, _, _ = self._create_initialized_link(inits, backend_config)

        def forward(xs, ps):
            with tested.init_scope():
                for name, p in zip(self.param_names, ps, strict=True):
                    setattr(tested, name, p)
            return self._forward(tested, xs, backend_config)

        with LinkTestError.raise_if_fail("backward is not implemented correctly"):
            gradient_check._check_backward_with_params(
                forward,
                inputs,
                gys,
                params=params,
                dtype=self.numerical_grad_dtype,
                detect_nondifferentiable=self.dodge_nondifferentiable,
                **self.check_backward_options,
            )


class LinkInitializersTestCase(_LinkTestBase, unittest.TestCase):
    """Test case of a link's initial values."""

    check_initializers_options: dict | None = None

    def __init__(self, *args, **kwargs):
        self.check_initializers_options = {}
        super().__init__(*args, **kwargs)

    def get_initializers(self):
        """Return a list of initializers to try for each parameter."""
        raise NotImplementedError("get_initializers is not implemented.")

    def test_initializers(self, backend_config):
        self._begin("initializers", backend_config)
        for i, inits in enumerate(self._get_initializers()):
            for init in inits:
                given = list(self._generate_params())
                given[i] = init
                self._check_initializer(i, given, backend_config)

    def _get_initializers(self):
        inits = self.get_initializers()
        if not isinstance(inits, (tuple, list)):
            raise TypeError("`get_initializers` must return a tuple or a list.")
        for one in inits:
            if not isinstance(one, (tuple, list)):
                raise TypeError(
                    "`get_initializers` must return a tuple or a list of tuples or "
                    "lists."
                )
            for init in one:
                _check_generated_initializer(init)
        return inits

    def _check_initializer(self, i, given, backend_config):
        link, _, _ = self._create_initialized_link(given, backend_config)
        actual = _CPU.send(self._params_of(link)[i].array)
        init = getattr(given[i], "expected_initializer", given[i])
        if not isinstance(init, Initializer):
            init = initializers._get_initializer(init)
        expected = np.empty_like(actual)
        init(expected)
        check_arrays_equal(
            (expected,), (actual,), LinkTestError, **self.check_initializers_options
        )
