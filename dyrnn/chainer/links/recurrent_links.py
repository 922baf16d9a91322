"""Links that remember, and stacks of layers over sequences."""

import numpy as np

from dyrnn.chainer import functions, initializers
from dyrnn.chainer.configuration import config
from dyrnn.chainer.functions import elementwise, joining, recurrent, stochastic
from dyrnn.chainer.link import Chain, ChainList, Link
from dyrnn.chainer.link_hook import _get_link_hooks
from dyrnn.chainer.links.connection_links import Linear
from dyrnn.chainer.utils import argument
from dyrnn.chainer.utils.array import size_of_shape
from dyrnn.chainer.variable import Parameter, Variable
from dyrnn.links.recurrent_variants import gru_step


class _Stateful:
    """Moves the state with the link; there is none at first."""

    state_names: tuple = ()
    c = h = None

    def device_resident_accept(self, visitor):
        super().device_resident_accept(visitor)
        for name in self.state_names:
            if getattr(self, name) is not None:
                visitor.visit_variable(getattr(self, name))

    def set_state(self, *states):
        """Set the state, on the link's device."""
        for name, state in zip(self.state_names, states, strict=True):
            assert isinstance(state, Variable)
            state.to_device(self.device)
            setattr(self, name, state)

    def reset_state(self):
        """Forget."""
        for name in self.state_names:
            setattr(self, name, None)


def _zeros(link, x):
    """Return a state of zeros for each row of the batch."""
    return Variable(link.xp.zeros((x.shape[0], link.state_size), dtype=x.dtype))


class LSTMBase(Chain):
    """The weights of an LSTM: rows a, i, f, o of each unit side by side."""

    def __init__(
        self,
        in_size,
        out_size=None,
        lateral_init=None,
        upward_init=None,
        bias_init=None,
        forget_bias_init=None,
    ):
        super().__init__()
        if out_size is None:
            in_size, out_size = None, in_size
        self.state_size = out_size
        self.lateral_init = lateral_init
        self.upward_init = upward_init
        self.bias_init = 0 if bias_init is None else bias_init
        self.forget_bias_init = 1 if forget_bias_init is None else forget_bias_init
        with self.init_scope():
            self.upward = Linear(in_size, 4 * out_size, initialW=0)
            self.lateral = Linear(out_size, 4 * out_size, initialW=0, nobias=True)
            if in_size is not None:
                self._initialize_params()

    def _initialize_params(self):
        get = initializers._get_initializer
        lateral, upward = get(self.lateral_init), get(self.upward_init)
        n = self.state_size
        for start in range(0, 4 * n, n):
            lateral(self.lateral.W.array[start : start + n])
            upward(self.upward.W.array[start : start + n])
        a, i, f, o = self.upward.b.array.reshape(n, 4).T
        for gate in (a, i, o):
            get(self.bias_init)(gate)
        get(self.forget_bias_init)(f)

    def _find_size(self, x):
        if self.upward.W.array is None:
            self.upward._initialize_params(size_of_shape(x.shape[1:]))
            self._initialize_params()


def _lstm_step(link, c, h, x):
    """Return the new cells and outputs of a link with two maps; None: zeros."""
    gates, lateral = link.upward(x), link.lateral
    c = _zeros(link, x) if c is None else c
    if h is None:
        return recurrent.lstm(c, gates)
    is_watched = lateral._n_local_link_hooks or _get_link_hooks()
    if is_watched or lateral.W.dtype != h.dtype:
        return recurrent.lstm(c, gates + lateral(h))
    return recurrent.lstm_step(gates, h, c, lateral.W)


class StatelessLSTM(LSTMBase):
    """One LSTM step: ``c, h = link(c, h, x)``."""

    def forward(self, c, h, x):
        """Return the new ``c`` and ``h``; None: zeros."""
        self._find_size(x)
        return _lstm_step(self, c, h, x)


class LSTM(_Stateful, LSTMBase):
    """An LSTM layer that remembers; batches may shrink over time."""

    state_names = ("c", "h")

    def set_state(self, c, h):
        """Set the cells and the outputs."""
        super().set_state(c, h)

    def forward(self, x):
        """Return the outputs of the next step."""
        self._find_size(x)
        h, batch = self.h, x.shape[0]
        size = batch if h is None else len(h)
        if size < batch:
            raise TypeError(
                "The batch size of x must be equal to or less than the size of "
                "the previous state h."
            )
        if size == batch:
            self.c, self.h = _lstm_step(self, self.c, h, x)
            return self.h
        self.c, y = _lstm_step(self, self.c, h[:batch], x)
        self.h = joining.concat([y, h[batch:]], axis=0)
        return y


class StatefulZoneoutLSTM(_Stateful, Chain):
    """An LSTM layer of which some cells and outputs stay, at random.

    ``train`` is version 1's way to say that this is, or is not, training.
    """

    state_names = ("c", "h")

    def __init__(self, in_size, out_size, c_ratio=0.5, h_ratio=0.5, **kwargs):
        (train,) = argument.parse_kwargs(kwargs, ("train", None))
        super().__init__()
        self.train = train
        self.state_size = out_size
        self.c_ratio = c_ratio
        self.h_ratio = h_ratio
        with self.init_scope():
            self.upward = Linear(in_size, 4 * out_size)
            self.lateral = Linear(out_size, 4 * out_size, nobias=True)

    def set_state(self, c, h):
        """Set the cells and the outputs."""
        super().set_state(c, h)

    def forward(self, x):
        """Return the outputs of the next step."""
        c, h = _lstm_step(self, self.c, self.h, x)
        for name in self.state_names:
            if getattr(self, name) is None:
                setattr(self, name, _zeros(self, x))
        train = config.train if self.train is None else self.train
        self.c = stochastic.zoneout(self.c, c, self.c_ratio, train=train)
        self.h = stochastic.zoneout(self.h, h, self.h_ratio, train=train)
        return self.h


class StatefulPeepholeLSTM(_Stateful, Chain):
    """An LSTM layer whose gates see the cells."""

    state_names = ("c", "h")

    def __init__(self, in_size, out_size):
        super().__init__()
        self.state_size = out_size
        with self.init_scope():
            self.upward = Linear(in_size, 4 * out_size)
            self.lateral = Linear(out_size, 4 * out_size, nobias=True)
            self.peep_i = Linear(out_size, out_size, nobias=True)
            self.peep_f = Linear(out_size, out_size, nobias=True)
            self.peep_o = Linear(out_size, out_size, nobias=True)

    def forward(self, x):
        """Return the outputs of the next step."""
        gates = self.upward(x)
        if self.h is not None:
            gates += self.lateral(self.h)
        if self.c is None:
            shape = (x.shape[0], self.state_size)
            self.c = Variable(self.xp.zeros(shape, dtype=self.upward.W.dtype))
        shape = (len(gates), self.state_size, 4, *gates.shape[2:])
        a, i, f, o = joining.separate(gates.reshape(shape), 2)
        sigmoid, tanh = elementwise.sigmoid, elementwise.tanh
        i = sigmoid(i + self.peep_i(self.c))
        f = sigmoid(f + self.peep_f(self.c))
        self.c = tanh(a) * i + f * self.c
        self.h = sigmoid(o + self.peep_o(self.c)) * tanh(self.c)
        return self.h


class GRUBase(Chain):
    """The weights of a gated recurrent unit."""

    def __init__(self, in_size, out_size, init=None, inner_init=None, bias_init=None):
        super().__init__()
        with self.init_scope():
            for name in ("r", "z", ""):
                suffix = f"_{name}" if name else ""
                outer = Linear(in_size, out_size, False, init, bias_init)
                inner = Linear(out_size, out_size, False, inner_init, bias_init)
                setattr(self, f"W{suffix}", outer)
                setattr(self, f"U{suffix}", inner)


class StatelessGRU(GRUBase):
    """One step of a gated recurrent unit: ``h = link(h, x)``."""

    def forward(self, h, x):
        """Return the new ``h``."""
        return gru_step(functions, self, h, x)


class StatefulGRU(_Stateful, GRUBase):
    """A gated recurrent layer that remembers."""

    state_names = ("h",)

    def __init__(self, in_size, out_size, init=None, inner_init=None, bias_init=0):
        super().__init__(in_size, out_size, init, inner_init, bias_init)
        self.state_size = out_size

    def set_state(self, h):
        """Set the outputs."""
        super().set_state(h)

    def forward(self, x):
        """Return the outputs of the next step."""
        self.h = gru_step(functions, self, self.h, x)
        return self.h


class GRU(StatefulGRU):
    """A gated recurrent layer that remembers.

    In version 1 it was one that does not, ``GRU(n_units, n_inputs=n_units)``, and
    ``h = link(h, x)``: so it is here with one size.
    """

    def __init__(self, in_size=None, out_size=None, *args, n_units=None, **kwargs):
        n_units = in_size if n_units is None else n_units
        self._may_forget = out_size is None
        if out_size is None:
            in_size, out_size = kwargs.pop("n_inputs", None) or n_units, n_units
        super().__init__(in_size, out_size, *args, **kwargs)

    def forward(self, *args):
        """Return the outputs of the next step."""
        if len(args) == 2 and self._may_forget:
            return StatelessGRU.forward(self, *args)
        if len(args) != 1:
            text = (
                "Invalid argument. The length of GRU.forward must be 1. "
                f"But {len(args)} is given. "
            )
            if len(args) == 2:
                text += (
                    "In Chainer v2, chainer.links.GRU is changed from stateless to "
                    "stateful. Use chainer.links.StatelessGRU instead, which takes "
                    "n_inputs first."
                )
            raise ValueError(text)
        return super().forward(args[0])


def argsort_list_descent(lst):
    """Return the order of sequences, longest first."""
    return np.argsort([-len(x) for x in lst], kind="stable").astype(np.int32)


def permutate_list(lst, indices, inv):
    """Put a list in another order, or back."""
    new = [None] * len(lst)
    for i, k in enumerate(indices):
        if inv:
            new[k] = lst[i]
        else:
            new[i] = lst[k]
    return new


class NStepRNNBase(ChainList):
    """Stacked layers over lists of sequences of any lengths.

    Version 1 has ``use_cudnn``, which does nothing here, and calls with ``train``.
    """

    n_weights = 0
    n_states = 1
    use_bi_direction = False
    function: str

    def __init__(
        self,
        n_layers,
        in_size,
        out_size,
        dropout,
        use_cudnn=True,
        *,
        initialW=None,
        initial_bias=None,
        **kwargs,
    ):
        argument.refuse_kwargs(
            kwargs,
            use_bi_direction="use_bi_direction is not supported anymore",
            activation="activation is not supported anymore",
        )
        directions = 2 if self.use_bi_direction else 1
        weight = initializers._get_initializer(initialW)
        bias = initializers._get_initializer(initial_bias, default=0)
        layers = []
        for k in range(n_layers * directions):
            size = in_size if k < directions else out_size * directions
            layer = Link()
            with layer.init_scope():
                for j in range(self.n_weights):
                    width = size if j < self.n_weights // 2 else out_size
                    w = Parameter(weight, (out_size, width))
                    setattr(layer, f"w{j}", w)
                    setattr(layer, f"b{j}", Parameter(bias, out_size))
            layers.append(layer)
        super().__init__(*layers)
        self.n_layers = n_layers
        self.dropout = dropout
        self.out_size = out_size
        self.direction = directions

    @property
    def ws(self):
        """The weights of each layer and direction."""
        return [[layer[j] for j in self._names("w")] for layer in map(vars, self)]

    @property
    def bs(self):
        """The biases of each layer and direction."""
        return [[layer[j] for j in self._names("b")] for layer in map(vars, self)]

    def _names(self, letter):
        return [f"{letter}{j}" for j in range(self.n_weights)]

    @property
    def n_cells(self):
        """The number of states carried over time."""
        return self.n_states

    def init_hx(self, xs):
        """Return zeros in the states' shape."""
        shape = (self.n_layers * self.direction, len(xs), self.out_size)
        return Variable(self.xp.zeros(shape, dtype=xs[0].dtype))

    def rnn(self, *args, **kwargs):
        """Call the function over batches per time step."""
        return getattr(recurrent, self.function)(*args, **kwargs)

    def forward(self, hx, xs, train=None):
        """Return the states after the sequences, and the outputs."""
        (hy,), ys = self._call([hx], xs, train)
        return hy, ys

    def _call(self, hs, xs, train=None):
        assert isinstance(xs, (list, tuple))
        order = argsort_list_descent(xs)
        xs = permutate_list(xs, order, inv=False)
        states = [
            self.init_hx(xs) if h is None else joining.permutate(h, order, axis=1)
            for h in hs
        ]
        steps = joining.transpose_sequence(xs)
        args = (self.n_layers, self.dropout, *states, self.ws, self.bs, steps)
        # A function put in the place of ``rnn`` need not know version 1's option.
        options = {} if train is None else {"train": train}
        *states, ys = self.rnn(*args, **options)
        states = [joining.permutate(h, order, axis=1, inv=True) for h in states]
        ys = joining.transpose_sequence(ys)
        return states, permutate_list(ys, order, inv=True)


class NStepLSTMBase(NStepRNNBase):
    """Stacked LSTM layers in one direction or both."""

    n_weights = 8
    n_states = 2

    def forward(self, hx, cx, xs, train=None):
        """Return the states after the sequences, and the outputs."""
        (hy, cy), ys = self._call([hx, cx], xs, train)
        return hy, cy, ys


class NStepLSTM(NStepLSTMBase):
    """Stacked LSTM layers."""

    function = "n_step_lstm"


class NStepBiLSTM(NStepLSTMBase):
    """Stacked LSTM layers in both directions."""

    function = "n_step_bilstm"
    use_bi_direction = True


class NStepGRUBase(NStepRNNBase):
    """Stacked GRU layers in one direction or both."""

    n_weights = 6


class NStepGRU(NStepGRUBase):
    """Stacked GRU layers."""

    function = "n_step_gru"


class NStepBiGRU(NStepGRUBase):
    """Stacked GRU layers in both directions."""

    function = "n_step_bigru"
    use_bi_direction = True


class NStepRNNTanh(NStepRNNBase):
    """Stacked plain layers with tanh."""

    n_weights = 2
    activation = "tanh"

    def rnn(self, *args, **kwargs):
        name = "n_step_birnn" if self.use_bi_direction else "n_step_rnn"
        return getattr(recurrent, name)(*args, activation=self.activation, **kwargs)


class NStepRNNReLU(NStepRNNTanh):
    """Stacked plain layers with ReLU."""

    activation = "relu"


class NStepBiRNNTanh(NStepRNNTanh):
    """Stacked plain layers with tanh, in both directions."""

    use_bi_direction = True


class NStepBiRNNReLU(NStepRNNReLU):
    """Stacked plain layers with ReLU, in both directions."""

    use_bi_direction = True
