"""Recurrent layers that keep their state: one step (B, I) or a window (T, B, I) a call.

:class:`Recurrent` has what they share: the state, whose names are ``carried``, and
batches that shrink, for sequences sorted longest first. A layer computes the input's
part of all its gates at once, for a window in one matrix product, and then walks
through time.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import dyrnn.functions as F
from dyrnn.backend import get_array_module
from dyrnn.engine.core import Variable, VariableLike, as_array, as_variable
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import check_arrays, variable
from dyrnn.functions.recurrent_windows import check_lengths
from dyrnn.initializers import Initializer, InitializerLike, Zero, get_initializer
from dyrnn.link import Chain
from dyrnn.links.connection import Linear, check_size
from dyrnn.typing import Array


class Blocks(Initializer):
    """Fill equal blocks of rows, each by an initializer of its own.

    So the scale of a gate's weights depends on its own shape, not on the stack's.
    """

    def __init__(self, *initializers):
        self.initializers = [get_initializer(i, Zero()) for i in initializers]
        super().__init__(getattr(self.initializers[0], "dtype", None))

    def __call__(self, array):
        size = len(array) // len(self.initializers)
        for index, initializer in enumerate(self.initializers):
            initializer(array[index * size : (index + 1) * size])


def gate_weights(initializer, n):
    """Return an initializer for ``n`` gates; an array fills the whole stack."""
    initializer = get_initializer(initializer)
    if hasattr(initializer, "value") and hasattr(initializer.value, "shape"):
        return initializer
    return Blocks(*[initializer] * n)


def gates(
    n,
    in_size,
    out_size,
    lateral_init,
    upward_init,
    bias_init,
    lateral_bias_init=None,
    state_size=None,
):
    """Return the two maps of a layer with ``n`` gates: of the input, and of the state.

    That of the state has no bias, unless there is an initializer for it. The state has
    ``out_size`` units, if its size is not given.
    """
    rows = n * out_size
    upward, lateral = gate_weights(upward_init, n), gate_weights(lateral_init, n)
    nobias = lateral_bias_init is None
    return (
        Linear(in_size, rows, initialW=upward, initial_bias=bias_init),
        Linear(state_size or out_size, rows, nobias, lateral, lateral_bias_init),
    )


def check_biases(link, n):
    """Return ``n``, if it is 1 or 2."""
    if n not in (1, 2):
        raise ValueError(f"{type(link).__name__}: n_biases is {n!r}; use 1 or 2")
    return n


def lstm_gates(
    in_size,
    out_size,
    lateral_init=None,
    upward_init=None,
    bias_init=0.0,
    forget_bias_init=1.0,
    **options,
):
    """Return the two maps of an LSTM, in blocks i, f, g, o."""
    bias = Blocks(bias_init, forget_bias_init, bias_init, bias_init)
    inits = lateral_init, upward_init, bias
    return gates(4, in_size, out_size, *inits, **options)


def weights(linear, x):
    """Return W and b of a linear map, made for ``x`` if they wait for its size."""
    linear.initialize(x.shape[-1])
    return linear.W, linear.b


_callers: dict[int, int] = {}  # of each layer that is being called, the thread
# Of layers whose calls are checked, what is called with the layer, x and its state.
call_checks: dict[int, Callable] = {}


class Recurrent(Chain):
    """A layer with a state of rows (B, H), one for each sequence of the batch.

    A subclass names its state in ``carried`` and defines ``inputs(x)``, what the input
    adds to the gates, and ``step(z)``, which updates the state and returns the output.
    A window is walked step by step, unless the subclass defines ``window(x, lengths)``,
    too.

    A batch smaller than the state updates the first rows and keeps the others. Threads
    that call a layer at once would mix their states, and are refused: give each a
    ``copy()`` of the model, which shares the parameters.
    """

    takes_windows = True
    carried: tuple[str, ...] = ("h",)
    upward: Linear  # what a subclass applies to the input

    def __init__(self, in_size: int | None, out_size: int | None = None) -> None:
        super().__init__()
        if out_size is None:
            in_size, out_size = None, in_size
        check_size(self, out_size=out_size)
        self.in_size = in_size
        self.out_size: int = out_size

    @property
    def sizes(self) -> dict[str, int]:
        """Columns of each state; the outputs have those of the last."""
        return dict.fromkeys(self.carried, self.out_size)

    def set_state(self, *states: VariableLike) -> None:
        """Set the state, in the order of ``carried``, by arrays or variables (B, H)."""
        for name, state in zip(self.carried, states, strict=True):
            size = self.sizes[name]
            if state.ndim != 2 or state.shape[1] != size:
                raise ShapeError(
                    f"{type(self).__name__}: state {name} has shape {state.shape}; it "
                    f"must be (batch, {size})"
                )
            array = self.device.send(as_array(state))
            is_there = isinstance(state, Variable) and array is state.array
            setattr(self, name, state if is_there else as_variable(array))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mine, key = threading.get_ident(), id(self)
        # To set a default is one step, which no other thread comes into.
        if key not in _callers and _callers.setdefault(key, mine) == mine:
            try:
                return super().__call__(*args, **kwargs)
            finally:
                del _callers[key]
        if _callers.get(key, mine) != mine:
            raise RuntimeError(
                f"{type(self).__name__}: two threads call it at once, and would mix "
                "the state that it carries over time. Give each thread a model.copy(), "
                "which shares the parameters and has a state of its own."
            )
        return super().__call__(*args, **kwargs)

    def forward(
        self, x: VariableLike, lengths: Sequence[int] | Array | None = None
    ) -> Variable:
        """Return the output (B, H) of a step x (B, I), or (T, B, H) of a window.

        ``lengths`` (B,) are the steps that each sequence of a window has, in any order.
        Outputs after an end are 0, and the state is that at each sequence's own end.
        """
        x = variable(type(self).__name__, "x", x)
        if x.ndim not in (2, 3):
            raise ShapeError(
                f"{type(self).__name__}: x has shape {x.shape}; it must be (batch, "
                "features), or (time, batch, features) for a window"
            )
        if lengths is not None:
            if x.ndim == 2:
                raise ShapeError(
                    f"{type(self).__name__}: x has shape {x.shape}, one step; lengths "
                    "go with a window (time, batch, features)"
                )
            lengths = check_lengths(type(self).__name__, x.xp, lengths, x)
        batch, state = x.shape[-2], getattr(self, self.carried[0])
        if id(self) in call_checks:
            call_checks[id(self)](self, x, state)
        if state is None:
            self.start(x, batch)
        elif state.shape[0] != batch:
            return self._run_first(x, batch, state, lengths)
        return self.run(x, lengths)

    def _run_first(self, x, batch, state, lengths):
        """Run the first sequences, those of ``x``; the others keep their state."""
        if batch > state.shape[0]:
            raise ShapeError(
                f"{type(self).__name__}: x has shape {x.shape}, but the state has "
                f"shape {state.shape}: a batch may shrink, not grow. Call "
                "reset_state() before new sequences."
            )
        if batch == 0:
            return self._no_outputs(x)
        states = [getattr(self, name) for name in self.carried]
        for name, state in zip(self.carried, states, strict=True):
            setattr(self, name, state[:batch])
        y = self.run(x, lengths)
        for name, state in zip(self.carried, states, strict=True):
            new = getattr(self, name)
            setattr(self, name, F.concat((new, state[batch:]), axis=0))
        return y

    def start(self, x, batch):
        """Set the state to zeros."""
        check_arrays(type(self).__name__, x=x)
        for name, size in self.sizes.items():
            setattr(self, name, _zeros(x, (batch, size)))

    def run(self, x, lengths=None):
        """Compute the outputs of a step or window from a state of as many rows."""
        if x.ndim == 2:
            return self.step(self.inputs(x))
        return self.window(x) if lengths is None else self.window(x, lengths)

    def inputs(self, x):
        """Return what the input adds to the gates, for all time steps at once."""
        return self.upward(x)

    def step(self, z):
        """Update the state from one step's ``inputs`` and return the output."""
        raise NotImplementedError(f"{type(self).__name__} defines no step")

    def window(self, x, lengths=None):
        """Compute the outputs of all time steps."""
        if x.shape[0] == 0:
            return self._no_outputs(x)
        if lengths is not None:  # padding may hold anything, even NaN
            is_on = (x.xp.arange(len(x))[:, None] < lengths)[..., None]
            z = self.inputs(F.where(is_on, x, 0.0))
            return F.stack([self._step_of(z[t], is_on[t]) for t in range(len(x))])
        z = self.inputs(x)
        return F.stack([self.step(z[t]) for t in range(x.shape[0])], axis=0)

    def _step_of(self, z, is_on):
        """Return a step's output, 0 for sequences at their end, whose state stays."""
        states = [getattr(self, name) for name in self.carried]
        y = self.step(z)
        for name, old in zip(self.carried, states, strict=True):
            # A layer without a state before its first step has zeros for it.
            setattr(
                self,
                name,
                F.where(is_on, getattr(self, name), 0.0 if old is None else old),
            )
        return F.where(is_on, y, 0.0)

    def _no_outputs(self, x):
        return _zeros(x, (*x.shape[:-1], self.sizes[self.carried[-1]]))


def _zeros(x, shape):
    array = getattr(x, "array", x)
    xp = get_array_module(array)
    return Variable(xp.zeros(shape, array.dtype), requires_grad=False)


class LSTM(Recurrent):
    """Long short-term memory with forget gates.

    Gates are blocks i, f, g, o of H rows: ``z = W x + U h + b;
    c = sigmoid(f) * c + sigmoid(i) * tanh(g); h = sigmoid(o) * tanh(c)``.

    Parameters
    ----------
    in_size : int or None
        Features I of the input; None: found at the first call.
    out_size : int
        Units H. With a single argument it is this one.
    lateral_init, upward_init : initializer, number or array
        For ``U`` and ``W``, applied to each gate's block; LeCunNormal by default.
    bias_init, forget_bias_init : initializer or number
        For the biases of i, g, o, and of f.
    proj_size : int, optional
        Units P of a projection of the output: ``h = V (sigmoid(o) * tanh(c))``.
    n_biases : int
        1, or 2: another, 0 at first, is added to ``b``, as in PyTorch. The two are
        trained, so their sum moves twice as fast.

    Attributes
    ----------
    upward : Linear
        ``W`` (4H, I) and ``b`` (4H,).
    lateral : Linear
        ``U``: its ``W`` (4H, H), or (4H, P), and ``b``, the second bias.
    projection : Linear or None
        ``V``: its ``W`` (P, H).
    c, h : Variable, (B, H), or None
        ``h`` is (B, P) with a projection.

    References
    ----------
    Gers, Schmidhuber, Cummins, "Learning to Forget: Continual Prediction with LSTM",
    Neural Computation 12(10), 2000.
    Sak, Senior, Beaufays, "Long Short-Term Memory Recurrent Neural Network
    Architectures for Large Scale Acoustic Modeling", Interspeech 2014: the projection.

    Examples
    --------
    >>> layer = LSTM(3, 2)
    >>> layer(np.ones((5, 3), np.float32)).shape  # a step
    (5, 2)
    >>> layer(np.ones((7, 5, 3), np.float32)).shape  # seven more
    (7, 5, 2)
    """

    carried = ("c", "h")

    def __init__(
        self,
        in_size: int | None,
        out_size: int | None = None,
        lateral_init: InitializerLike = None,
        upward_init: InitializerLike = None,
        bias_init: InitializerLike = 0.0,
        forget_bias_init: InitializerLike = 1.0,
        proj_size: int | None = None,
        n_biases: int = 1,
    ) -> None:
        super().__init__(in_size, out_size)
        inits = lateral_init, upward_init, bias_init, forget_bias_init
        bias = 0.0 if check_biases(self, n_biases) == 2 else None
        self.projection: Linear | None = None
        with self.init_scope():
            if proj_size is not None:
                check_size(self, proj_size=proj_size)
            self.upward, self.lateral = lstm_gates(
                self.in_size,
                self.out_size,
                *inits,
                lateral_bias_init=bias,
                state_size=proj_size,
            )
            if proj_size is not None:
                self.projection = Linear(self.out_size, proj_size, nobias=True)

    @property
    def sizes(self) -> dict[str, int]:
        return {"c": self.out_size, "h": self.lateral.W.shape[1]}

    def inputs(self, x):
        z = self.upward(x)
        return z if self.lateral.b is None else z + self.lateral.b

    def step(self, z):
        U = self.lateral.W
        if self.projection is None:
            self.c, self.h = F.lstm_step(z, self.h, self.c, U)
        else:
            self.c, y = F.lstm(self.c, z + F.linear(self.h, U))
            self.h = self.projection(y)
        return self.h

    def window(self, x, lengths=None):
        W, b = weights(self.upward, x)
        b = b if self.lateral.b is None else b + self.lateral.b
        V = None if self.projection is None else self.projection.W
        maps = W, self.lateral.W, b
        self.h, self.c, y = F.lstm_window(x, self.h, self.c, *maps, lengths, V)
        return y


class StatelessLSTM(Chain):
    """The step of an :class:`LSTM`, its state passed in and out.

    Parameters are those of :class:`LSTM`, and so are the weights.
    """

    def __init__(
        self,
        in_size: int | None,
        out_size: int | None = None,
        lateral_init: InitializerLike = None,
        upward_init: InitializerLike = None,
        bias_init: InitializerLike = 0.0,
        forget_bias_init: InitializerLike = 1.0,
    ) -> None:
        super().__init__()
        if out_size is None:
            in_size, out_size = None, in_size
        self.out_size = out_size
        inits = lateral_init, upward_init, bias_init, forget_bias_init
        with self.init_scope():
            self.upward, self.lateral = lstm_gates(in_size, out_size, *inits)

    def forward(
        self, c: VariableLike | None, h: VariableLike | None, x: VariableLike
    ) -> tuple[Variable, Variable]:
        """Return the new c, h (B, H) from those before (None: zeros) and x (B, I)."""
        z = self.upward(x)
        shape = (x.shape[0], self.out_size)
        c = _zeros(z, shape) if c is None else c
        h = _zeros(z, shape) if h is None else h
        return F.lstm_step(z, h, c, self.lateral.W)


class GRU(Recurrent):
    """Gated recurrent units, the reset gate applied after the recurrent product.

    Gates are blocks r, z, n of H rows. With a = U h + b_u and x standing for W x + b:
    ``r = sigmoid(x_r + a_r); z = sigmoid(x_z + a_z); n = tanh(x_n + r * a_n);
    h = (1 - z) * n + z * h``. This is the form of cuDNN and PyTorch, and the fast one;
    :class:`StatefulGRU` has the original.

    Parameters
    ----------
    in_size : int or None
        Features I of the input; None: found at the first call.
    out_size : int
        Units H. With a single argument it is this one.
    lateral_init, upward_init : initializer, number or array
        For ``U`` and ``W``, applied to each gate's block; LeCunNormal by default.
    bias_init : initializer or number
        For both biases.

    Attributes
    ----------
    upward, lateral : Linear
        ``W`` (3H, I), ``b`` (3H,) and ``W`` (3H, H), ``b`` (3H,).
    h : Variable, (B, H), or None

    References
    ----------
    Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation", EMNLP 2014.
    """

    def __init__(
        self,
        in_size: int | None,
        out_size: int | None = None,
        lateral_init: InitializerLike = None,
        upward_init: InitializerLike = None,
        bias_init: InitializerLike = 0.0,
    ) -> None:
        super().__init__(in_size, out_size)
        inits = lateral_init, upward_init, bias_init, bias_init
        with self.init_scope():
            self.upward, self.lateral = gates(3, self.in_size, self.out_size, *inits)

    def step(self, z):
        self.h = F.gru(z, self.h, self.lateral(self.h))
        return self.h

    def window(self, x, lengths=None):
        W, b = weights(self.upward, x)
        maps = W, self.lateral.W, b, self.lateral.b
        self.h, y = F.gru_window(x, self.h, *maps, lengths)
        return y


class ElmanRNN(Recurrent):
    """The simple recurrent network, ``h = activation(W x + U h + b)``.

    Parameters
    ----------
    in_size : int or None
        Features I of the input; None: found at the first call.
    out_size : int
        Units H. With a single argument it is this one.
    activation : str or callable
        A function, or the name of one in :mod:`dyrnn.functions`; a window is faster
        with ``"tanh"`` and ``"relu"``.
    lateral_init, upward_init, bias_init : initializer, number or array
    n_biases : int
        1, or 2, as in :class:`LSTM`.

    References
    ----------
    Elman, "Finding Structure in Time", Cognitive Science 14(2), 1990.
    """

    def __init__(
        self,
        in_size: int | None,
        out_size: int | None = None,
        activation: str | Callable = "tanh",
        lateral_init: InitializerLike = None,
        upward_init: InitializerLike = None,
        bias_init: InitializerLike = 0.0,
        n_biases: int = 1,
    ) -> None:
        super().__init__(in_size, out_size)
        if isinstance(activation, str):
            activation = getattr(F, activation)
        self.activation: Callable = activation
        bias = 0.0 if check_biases(self, n_biases) == 2 else None
        inits = lateral_init, upward_init, bias_init, bias
        with self.init_scope():
            self.upward, self.lateral = gates(1, self.in_size, self.out_size, *inits)

    def step(self, z):
        self.h = self.activation(z + self.lateral(self.h))
        return self.h

    def window(self, x, lengths=None):
        name = {F.tanh: "tanh", F.relu: "relu"}.get(self.activation)
        if name is None:
            return super().window(x, lengths)
        W, b = weights(self.upward, x)
        b = b if self.lateral.b is None else b + self.lateral.b
        self.h, y = F.rnn_window(x, self.h, W, self.lateral.W, b, name, lengths)
        return y
