"""Links with weights between layers."""

import math

from dyrnn.chainer import _backend, initializers
from dyrnn.chainer.functions import elementwise, products, reduction
from dyrnn.chainer.functions.elementwise import prelu, swish
from dyrnn.chainer.initializer import Initializer
from dyrnn.chainer.link import Chain, Link
from dyrnn.chainer.utils.array import size_of_shape
from dyrnn.chainer.variable import Parameter, as_array


class WeightAndBias(Link):
    """A weight whose shape may wait for the input's, and a bias if so wished.

    Version 1 has weights multiplied by the root of ``wscale``, and ``bias`` where there
    is no ``initial_bias``.
    """

    def _add_parameters(
        self, in_size, out_size, nobias, initialW, initial_bias, wscale=1, bias=0
    ):
        with self.init_scope():
            weights = initializers._get_initializer(initialW, math.sqrt(wscale))
            self.W = Parameter(weights)
            if in_size is not None:
                self._initialize_params(in_size)
            if nobias:
                self.b = None
            else:
                initial_bias = initializers._get_initializer(initial_bias, default=bias)
                self.b = Parameter(initial_bias, out_size)

    def _initialize_params(self, in_size):
        self.W.initialize((self.out_size, in_size))


class Linear(WeightAndBias):
    """``x W^T + b``; ``Linear(out)`` finds the input's size at the first call.

    A number for ``nobias`` is ``wscale``, the third argument in version 1.
    """

    def __init__(
        self,
        in_size,
        out_size=None,
        nobias=False,
        initialW=None,
        initial_bias=None,
        *,
        wscale=1,
        bias=0,
    ):
        super().__init__()
        if isinstance(nobias, float):
            if initialW is not None or initial_bias is not None:
                raise TypeError(
                    f"Linear: nobias is {nobias}. If that is wscale of version 1, give "
                    "it and all after it by keyword."
                )
            wscale, nobias = nobias, False
        if out_size is None:
            in_size, out_size = None, in_size
        self.in_size = in_size
        self.out_size = out_size
        self._add_parameters(
            in_size, out_size, nobias, initialW, initial_bias, wscale, bias
        )

    @classmethod
    def from_params(cls, W, b=None, nobias=False):
        """Make a link from its parameters' values."""
        out_size, in_size = W.shape
        if b is not None and out_size != b.size:
            raise ValueError("`out_size` does not match the size of `b`")
        return cls(in_size, out_size, nobias, as_array(W), as_array(b))

    @property
    def printable_specs(self):
        yield "in_size", self.in_size
        yield "out_size", self.out_size
        yield "nobias", self.b is None

    def forward(self, x, n_batch_axes=1):
        """Apply the map to the axes from ``n_batch_axes`` on."""
        if self.W.array is None:
            self._initialize_params(size_of_shape(x.shape[n_batch_axes:]))
        return products.linear(x, self.W, self.b, n_batch_axes=n_batch_axes)


class EmbedID(Link):
    """Rows of a matrix picked by ids."""

    ignore_label = None

    def __init__(self, in_size, out_size, initialW=None, ignore_label=None):
        super().__init__()
        self.ignore_label = ignore_label
        with self.init_scope():
            if initialW is None:
                initialW = initializers.Normal(1.0)
            self.W = Parameter(initialW, (in_size, out_size))

    @classmethod
    def from_params(cls, W, ignore_label=None):
        """Make a link from its matrix."""
        return cls(*W.shape, initialW=as_array(W), ignore_label=ignore_label)

    def forward(self, x):
        """Return the rows."""
        return products.embed_id(x, self.W, ignore_label=self.ignore_label)


def _parameter(initial, shape):
    """Return a parameter; an array of initial values must have its shape."""
    if isinstance(initial, _backend.array_types()):
        assert initial.shape == shape, f"{initial.shape} != {shape}"
    return Parameter(initializers._get_initializer(initial), shape)


class Bilinear(Link):
    """``e1 W e2`` and linear terms."""

    def __init__(
        self,
        left_size,
        right_size,
        out_size,
        nobias=False,
        initialW=None,
        initial_bias=None,
    ):
        super().__init__()
        self.in_sizes = (left_size, right_size)
        self.nobias = nobias
        shape = (left_size, right_size, out_size)
        with self.init_scope():
            self.W = _parameter(initialW, shape)
            if not nobias:
                if isinstance(initial_bias, tuple):
                    v1, v2, b = initial_bias
                elif initial_bias is None:
                    v1, v2, b = None, None, 0
                else:
                    raise ValueError("initial_bias must be tuple or None")
                self.V1 = _parameter(v1, (left_size, out_size))
                self.V2 = _parameter(v2, (right_size, out_size))
                self.b = _parameter(b, (out_size,))

    def forward(self, e1, e2):
        """Apply the map."""
        if self.nobias:
            return products.bilinear(e1, e2, self.W)
        return products.bilinear(e1, e2, self.W, self.V1, self.V2, self.b)

    def zero_grads(self):
        """Set all gradients to zeros."""
        self.zerograds()


class Bias(Link):
    """A bias stretched over axes."""

    def __init__(self, axis=1, shape=None):
        super().__init__()
        self.axis = axis
        with self.init_scope():
            if shape is not None:
                self.b = Parameter(0, shape)

    def forward(self, *xs):
        """Add the bias, or the second input."""
        axis = self.axis
        if hasattr(self, "b"):
            if len(xs) != 1:
                raise AssertionError("Bias has a bias already; it takes one input")
            return elementwise.bias(xs[0], self.b, axis)
        if len(xs) != 2:
            raise AssertionError("Bias has no bias; it takes two inputs")
        return elementwise.bias(*xs, axis)


class Scale(Chain):
    """A factor stretched over axes, and a bias if so wished."""

    def __init__(self, axis=1, W_shape=None, bias_term=False, bias_shape=None):
        super().__init__()
        self.axis = axis
        with self.init_scope():
            if W_shape is not None:
                self.W = Parameter(1, W_shape)
            if bias_term:
                shape = W_shape if W_shape is not None else bias_shape
                if shape is None:
                    raise ValueError("bias_shape should be given if W is not learnt")
                self.bias = Bias(axis, shape)

    def forward(self, *xs):
        """Multiply by the factor, or by the second input."""
        factors = (self.W,) if hasattr(self, "W") else xs[1:]
        if len(xs) + hasattr(self, "W") != 2:
            raise AssertionError("Scale takes x, and W if it does not learn one")
        z = elementwise.scale(xs[0], factors[0], self.axis)
        return self.bias(z) if hasattr(self, "bias") else z


class Maxout(Chain):
    """The largest of several linear maps.

    Initial values of the weights have the shape (outputs, pool, inputs).
    """

    def __init__(
        self,
        in_size,
        out_size,
        pool_size,
        initialW=None,
        initial_bias=0,
        *,
        wscale=1,
    ):
        super().__init__()
        self.out_size = out_size
        self.pool_size = pool_size
        shape = (out_size, pool_size, in_size)
        weight = _joined_pools("initialW", initialW, shape)
        bias = _joined_pools("initial_bias", initial_bias, shape[:2])
        with self.init_scope():
            self.linear = Linear(
                in_size,
                out_size * pool_size,
                initial_bias is None,
                weight,
                bias,
                wscale=wscale,
            )

    def forward(self, x):
        """Return the maxima."""
        return reduction.maxout(self.linear(x), self.pool_size)


def _joined_pools(name, initial, shape):
    """Return initial values of the linear map from those of the separate maps."""
    if isinstance(initial, _backend.array_types()):
        if initial.ndim != len(shape):
            raise ValueError(f"{name}.ndim should be {len(shape)}")
        return initial.reshape(-1, *shape[2:])
    if callable(initial) and not isinstance(initial, Initializer):
        # A row-major array: the initializer writes through the view.
        return lambda array: initial(array.reshape(shape))
    return initial


class Highway(Chain):
    """A layer and a gate that lets the input through."""

    def __init__(
        self,
        in_out_size,
        nobias=False,
        activate=elementwise.relu,
        init_Wh=None,
        init_Wt=None,
        init_bh=None,
        init_bt=-1,
    ):
        super().__init__()
        self.activate = activate
        n = in_out_size
        with self.init_scope():
            self.plain = Linear(n, n, nobias, init_Wh, init_bh)
            self.transform = Linear(n, n, nobias, init_Wt, init_bt)

    def forward(self, x):
        """Mix the layer's output and the input."""
        h = self.activate(self.plain(x))
        gate = elementwise.sigmoid(self.transform(x))
        return h * gate + x * (1 - gate)


class PReLU(Link):
    """Rectifier with a learned slope below zero."""

    def __init__(self, shape=(), init=0.25):
        super().__init__()
        with self.init_scope():
            self.W = Parameter(initializers._get_initializer(init), shape)

    def forward(self, x):
        """Apply the rectifier."""
        return prelu(x, self.W)


class Swish(Link):
    """``x * sigmoid(beta x)`` with a learned ``beta``."""

    def __init__(self, beta_shape, beta_init=1.0):
        super().__init__()
        with self.init_scope():
            if beta_shape is None:
                self.beta = Parameter(beta_init)
            else:
                self.beta = Parameter(beta_init, beta_shape)

    def forward(self, x):
        """Apply the function."""
        if self.beta.array is None:
            self.beta.initialize(x.shape[1:])
        return swish(x, self.beta)
