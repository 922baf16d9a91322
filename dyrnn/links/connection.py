"""Layers without memory: affine maps, embeddings, scales, and what is made of them."""

from collections.abc import Callable

import dyrnn.functions as F
from dyrnn import initializers
from dyrnn.engine.core import Variable, VariableLike
from dyrnn.engine.parameter import Parameter as Weight
from dyrnn.functions.checks import check_arrays
from dyrnn.initializers import InitializerLike
from dyrnn.link import Chain, Link
from dyrnn.typing import Array, Shape


def check_size(link, **sizes):
    """Raise unless every size is an integer >= 1, or None where it may be found."""
    for name, size in sizes.items():
        is_int = hasattr(size, "__index__") and not isinstance(size, bool)
        if not is_int or size < 1:
            raise ValueError(
                f"{type(link).__name__}: {name} is {size!r}; use an integer >= 1"
            )


class Linear(Link):
    """Affine map of the last axis, ``y = x @ W.T + b``.

    Parameters
    ----------
    in_size : int or None
        Features I of the input; None: found at the first call.
    out_size : int
        Features O of the output. With a single argument it is this one.
    nobias : bool
        Leave ``b`` out.
    initialW : initializer, number or array
        LeCunNormal by default.
    initial_bias : initializer, number or array
        0 by default.

    Attributes
    ----------
    W : Parameter, (O, I)
    b : Parameter, (O,), or None

    Examples
    --------
    >>> Linear(3, 2)(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_size: int | None,
        out_size: int | None = None,
        nobias: bool = False,
        initialW: InitializerLike = None,
        initial_bias: InitializerLike = None,
    ) -> None:
        super().__init__()
        if out_size is None:
            in_size, out_size = None, in_size
        check_size(self, out_size=out_size)
        self.in_size = in_size
        self.out_size: int = out_size
        with self.init_scope():
            self.W = Weight(initializers.get_initializer(initialW))
            if nobias:
                self.b = None
            else:
                self.b = Weight(
                    initializers.get_initializer(initial_bias, initializers.Zero()),
                    self.out_size,
                )
        if in_size is not None:
            check_size(self, in_size=in_size)
            self.W.initialize((self.out_size, in_size))

    def initialize(self, in_size):
        """Make ``W`` for inputs of ``in_size`` features, if it waits for them."""
        if self.W.array is None:
            self.in_size = in_size
            self.W.initialize((self.out_size, in_size))

    def forward(self, x: VariableLike, n_batch_axes: int | None = None) -> Variable:
        """Return y for x (B, I) or (T, B, I); see :func:`dyrnn.functions.linear`."""
        if self.W.array is None:
            check_arrays(type(self).__name__, x=x)
            shape = x.shape[-1:] if n_batch_axes is None else x.shape[n_batch_axes:]
            size = 1
            for n in shape:
                size *= n
            self.initialize(size)
        return F.linear(x, self.W, self.b, n_batch_axes)


class EmbedID(Link):
    """Rows of a matrix, one for each id.

    Parameters
    ----------
    in_size : int
        Number of ids V.
    out_size : int
        Length D of the vectors.
    initialW : initializer, number or array
        Normal with standard deviation 1 by default.
    ignore_label : int, optional
        This id gives a row of zeros.

    Attributes
    ----------
    W : Parameter, (V, D)
        Its gradient is sparse.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        initialW: InitializerLike = None,
        ignore_label: int | None = None,
    ) -> None:
        super().__init__()
        check_size(self, in_size=in_size, out_size=out_size)
        self.ignore_label = ignore_label
        with self.init_scope():
            initializer = initializers.get_initializer(
                initialW, initializers.Normal(1.0)
            )
            self.W = Weight(initializer, (in_size, out_size))

    def forward(self, x: VariableLike) -> Variable:
        """Return (..., D) for integers of any shape."""
        return F.embed_id(x, self.W, self.ignore_label)


class Bias(Link):
    """Add a parameter, ``x + b``, its axes beside those of x from ``axis`` on.

    Parameters
    ----------
    axis : int
        First axis of ``x`` that ``b`` goes along.
    shape : tuple of int, optional
        Shape of ``b``; without it, ``b`` is given at each call.
    """

    takes_windows = False  # axis 1 of a window is the batch

    def __init__(self, axis: int = 1, shape: Shape | None = None) -> None:
        super().__init__()
        self.axis = axis
        self.b = None
        if shape is not None:
            with self.init_scope():
                self.b = Weight(0.0, shape)

    def forward(self, x: VariableLike, b: VariableLike | None = None) -> Variable:
        return F.bias(x, _one_of(self, "b", self.b, b), self.axis)


class Scale(Link):
    """Multiply by a parameter, ``x * W``, its axes beside those of x from ``axis`` on.

    Parameters
    ----------
    axis : int
        First axis of ``x`` that ``W`` goes along.
    W_shape : tuple of int, optional
        Shape of ``W``, 1 at first; without it, ``W`` is given at each call.
    bias_term : bool
        Add a bias, too: the child ``bias``.
    bias_shape : tuple of int, optional
        Shape of the bias where ``W`` is given at each call.
    """

    takes_windows = False  # axis 1 of a window is the batch

    def __init__(
        self,
        axis: int = 1,
        W_shape: Shape | None = None,
        bias_term: bool = False,
        bias_shape: Shape | None = None,
    ) -> None:
        super().__init__()
        self.axis = axis
        self.W = None
        self.bias = None
        with self.init_scope():
            if W_shape is not None:
                self.W = Weight(1.0, W_shape)
            if bias_term:
                shape = bias_shape if W_shape is None else W_shape
                if shape is None:
                    raise ValueError("Scale: bias_term needs W_shape or bias_shape")
                self.bias = Bias(axis, shape)

    def forward(self, x: VariableLike, W: VariableLike | None = None) -> Variable:
        y = F.scale(x, _one_of(self, "W", self.W, W), self.axis)
        return y if self.bias is None else self.bias(y)


def _one_of(link, name, own, given):
    """Return the parameter, or the argument in its place: exactly one of them."""
    if (own is None) == (given is None):
        raise ValueError(
            f"{type(link).__name__}: give {name} either by a shape in the constructor "
            "or at each call"
        )
    return given if own is None else own


class Bilinear(Link):
    """Product of two vectors, ``y[l] = e1 @ W[:, :, l] @ e2 + e1 @ V1 + e2 @ V2 + b``.

    Parameters
    ----------
    left_size, right_size, out_size : int
        Features J, K and L.
    nobias : bool
        Leave out the linear terms ``V1``, ``V2`` and ``b``.
    initialW : initializer, number or array
        LeCunNormal over both inputs by default.
    initial_bias : tuple of three, optional
        For ``V1``, ``V2`` and ``b``; LeCunNormal and 0 by default.
    """

    def __init__(
        self,
        left_size: int,
        right_size: int,
        out_size: int,
        nobias: bool = False,
        initialW: InitializerLike = None,
        initial_bias: InitializerLike = None,
    ) -> None:
        super().__init__()
        check_size(self, left_size=left_size, right_size=right_size, out_size=out_size)
        if initialW is None:
            initialW = initializers.Normal((left_size * right_size) ** -0.5)
        V1, V2, b = (None, None, 0.0) if initial_bias is None else initial_bias
        self.V1 = self.V2 = self.b = None
        with self.init_scope():
            initialW = initializers.get_initializer(initialW)
            self.W = Weight(initialW, (left_size, right_size, out_size))
            if not nobias:
                V1 = initializers.Normal(left_size**-0.5) if V1 is None else V1
                V2 = initializers.Normal(right_size**-0.5) if V2 is None else V2
                initialize = initializers.get_initializer
                self.V1 = Weight(initialize(V1), (left_size, out_size))
                self.V2 = Weight(initialize(V2), (right_size, out_size))
                self.b = Weight(initialize(b), (out_size,))

    def forward(self, e1: VariableLike, e2: VariableLike) -> Variable:
        return F.bilinear(e1, e2, self.W, self.V1, self.V2, self.b)


class Maxout(Chain):
    """The largest of ``pool_size`` affine maps, element by element.

    Parameters
    ----------
    in_size : int or None
    out_size : int
    pool_size : int
        How many maps.

    References
    ----------
    Goodfellow et al., "Maxout Networks", ICML 2013.
    """

    def __init__(
        self,
        in_size: int | None,
        out_size: int,
        pool_size: int,
        initialW: InitializerLike = None,
        initial_bias: InitializerLike = None,
    ) -> None:
        super().__init__()
        check_size(self, out_size=out_size, pool_size=pool_size)
        self.pool_size = pool_size
        with self.init_scope():
            self.linear = Linear(
                in_size, out_size * pool_size, False, initialW, initial_bias
            )

    def forward(self, x: VariableLike) -> Variable:
        return F.maxout(self.linear(x), self.pool_size, axis=-1)


class Highway(Chain):
    """A layer that learns how much of its input to let through.

    ``t = sigmoid(transform(x)); y = t * activate(plain(x)) + (1 - t) * x``

    Parameters
    ----------
    in_out_size : int
    nobias : bool
    activate : callable
    init_Wh, init_Wt, init_bh, init_bt : initializer, number or array
        ``init_bt`` is -1 by default: at first most of the input passes.

    References
    ----------
    Srivastava, Greff, Schmidhuber, "Highway Networks", arXiv:1505.00387, 2015.
    """

    def __init__(
        self,
        in_out_size: int,
        nobias: bool = False,
        activate: Callable = F.relu,
        init_Wh: InitializerLike = None,
        init_Wt: InitializerLike = None,
        init_bh: InitializerLike = None,
        init_bt: InitializerLike = -1,
    ) -> None:
        super().__init__()
        self.activate = activate
        with self.init_scope():
            self.plain = Linear(in_out_size, in_out_size, nobias, init_Wh, init_bh)
            self.transform = Linear(in_out_size, in_out_size, nobias, init_Wt, init_bt)

    def forward(self, x: VariableLike) -> Variable:
        t = F.sigmoid(self.transform(x))
        return t * self.activate(self.plain(x)) + (1 - t) * x


class Parameter(Link):
    """A parameter by itself: calling it returns the variable.

    Parameters
    ----------
    array : array
        Its values at first.

    Attributes
    ----------
    W : dyrnn.parameter.Parameter
    """

    def __init__(self, array: Array) -> None:
        super().__init__()
        with self.init_scope():
            self.W = Weight(array)

    def forward(self) -> Variable:
        return self.W


class Dropout(Link):
    """:func:`dyrnn.functions.dropout` as a layer of a ``Sequential``."""

    def __init__(self, ratio: float = 0.5) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, x: VariableLike) -> Variable:
        return F.dropout(x, self.ratio)
