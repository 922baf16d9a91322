"""Relatives of the common recurrent layers, each defined by its formula.

They inherit steps and windows, state and shrinking batches from
:class:`dyrnn.links.recurrent.Recurrent`.
"""

from collections.abc import Callable

import dyrnn.functions as F
from dyrnn.engine.core import Variable, VariableLike
from dyrnn.engine.parameter import Parameter
from dyrnn.initializers import InitializerLike, get_initializer
from dyrnn.link import Chain
from dyrnn.links.connection import Linear, check_size
from dyrnn.links.recurrent import Recurrent, gate_weights, lstm_gates, weights


class JordanRNN(Recurrent):
    """A layer that sees its previous output instead of its previous hidden units.

    ``h = activation(W x + U y + b); y = output_activation(V h + d)``

    Parameters
    ----------
    in_size : int or None
    hidden_size : int
        Units H.
    out_size : int
        Outputs O, which are carried.
    activation, output_activation : callable
        The identity by default for the output.

    Attributes
    ----------
    upward, lateral, output : Linear
        W with b, U, and V with d.
    y : Variable, (B, O), or None

    References
    ----------
    Jordan, "Serial Order: A Parallel Distributed Processing Approach", ICS report 8604,
    University of California, San Diego, 1986.
    """

    carried = ("y",)

    def __init__(
        self,
        in_size: int | None,
        hidden_size: int,
        out_size: int,
        activation: Callable = F.tanh,
        output_activation: Callable | None = None,
    ) -> None:
        super().__init__(in_size, out_size)
        check_size(self, hidden_size=hidden_size)
        self.activation = activation
        self.output_activation = output_activation
        with self.init_scope():
            self.upward = Linear(in_size, hidden_size)
            self.lateral = Linear(out_size, hidden_size, nobias=True)
            self.output = Linear(hidden_size, out_size)

    def step(self, z):
        y = self.output(self.activation(z + self.lateral(self.y)))
        self.y = y if self.output_activation is None else self.output_activation(y)
        return self.y


class StatefulPeepholeLSTM(Recurrent):
    """An LSTM whose gates see the cell state: see :func:`F.peephole_lstm`.

    Parameters
    ----------
    in_size : int or None
    out_size : int
    forget_bias_init : initializer or number
        For the bias of f; the others are 0.

    Attributes
    ----------
    upward, lateral : Linear
        As in :class:`LSTM`.
    peephole : Parameter, (3, H)
        Weights of the cell state in i, f and o; 0 at first.

    References
    ----------
    Gers, Schraudolph, Schmidhuber, "Learning Precise Timing with LSTM Recurrent
    Networks", JMLR 3, 2002.
    """

    carried = ("c", "h")

    def __init__(
        self,
        in_size: int | None,
        out_size: int | None = None,
        forget_bias_init: InitializerLike = 1.0,
    ) -> None:
        super().__init__(in_size, out_size)
        with self.init_scope():
            self.upward, self.lateral = lstm_gates(
                self.in_size, self.out_size, forget_bias_init=forget_bias_init
            )
            self.peephole = Parameter(0.0, (3, self.out_size))

    def step(self, z):
        z = z + self.lateral(self.h)
        self.c, self.h = F.peephole_lstm(self.c, z, self.peephole)
        return self.h


class StatefulZoneoutLSTM(Recurrent):
    """An LSTM that, while training, keeps random elements of its state as they were.

    Parameters
    ----------
    in_size : int or None
    out_size : int
    c_ratio, h_ratio : float
        Shares of ``c`` and ``h`` that are kept.
    lateral_init, upward_init, bias_init, forget_bias_init
        As in :class:`LSTM`.

    References
    ----------
    Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden
    Activations", ICLR 2017.
    """

    carried = ("c", "h")

    def __init__(
        self,
        in_size: int | None,
        out_size: int | None = None,
        c_ratio: float = 0.5,
        h_ratio: float = 0.5,
        **inits: InitializerLike,
    ) -> None:
        super().__init__(in_size, out_size)
        self.c_ratio = c_ratio
        self.h_ratio = h_ratio
        with self.init_scope():
            maps = lstm_gates(self.in_size, self.out_size, **inits)
            self.upward, self.lateral = maps

    def step(self, z):
        c, h = F.lstm_step(z, self.h, self.c, self.lateral.W)
        self.c = F.zoneout(self.c, c, self.c_ratio)
        self.h = F.zoneout(self.h, h, self.h_ratio)
        return self.h


class MGU(Recurrent):
    """Minimal gated units, with one gate.

    ``f = sigmoid(x_f + U_f h); n = tanh(x_n + U (f * h)); h = (1 - f) * h + f * n``

    Parameters
    ----------
    in_size : int or None
    out_size : int

    Attributes
    ----------
    upward : Linear
        ``W`` (2H, I), ``b`` (2H,) in blocks f, n.
    lateral_f, lateral : Linear
        ``U_f`` and ``U``, each (H, H).

    References
    ----------
    Zhou, Wu, Zhang, Zhou, "Minimal Gated Unit for Recurrent Neural Networks",
    International Journal of Automation and Computing 13(3), 2016.
    """

    def __init__(self, in_size: int | None, out_size: int | None = None) -> None:
        super().__init__(in_size, out_size)
        H = self.out_size
        with self.init_scope():
            self.upward = Linear(self.in_size, 2 * H, initialW=gate_weights(None, 2))
            self.lateral_f = Linear(H, H, nobias=True)
            self.lateral = Linear(H, H, nobias=True)

    def step(self, z):
        z_f, z_n = F.split_axis(z, 2, axis=1)
        f = F.sigmoid(z_f + self.lateral_f(self.h))
        n = F.tanh(z_n + self.lateral(f * self.h))
        self.h = F.linear_interpolate(f, n, self.h)
        return self.h


def _add_maps(link, in_size, out_size):
    """Give a link the six maps of a GRU, two for each of r, z, n."""
    with link.init_scope():
        for gate in ("_r", "_z", ""):
            setattr(link, f"W{gate}", Linear(in_size, out_size))
            setattr(link, f"U{gate}", Linear(out_size, out_size))


def gru_step(xp, link, h, x):
    """Return the state after ``h``, or after none, given the input.

    ``xp`` are the functions of the link's variables: :mod:`dyrnn.functions`, mostly.
    """
    x_z, x_n = link.W_z(x), link.W(x)
    if h is None:
        return xp.sigmoid(x_z) * xp.tanh(x_n)
    r = xp.sigmoid(link.W_r(x) + link.U_r(h))
    n = xp.tanh(x_n + link.U(r * h))
    return xp.linear_interpolate(xp.sigmoid(x_z + link.U_z(h)), n, h)


class StatelessGRU(Chain):
    """Gated recurrent units as first published, and as in Chainer.

    ``r = sigmoid(W_r x + U_r h); z = sigmoid(W_z x + U_z h);
    n = tanh(W x + U (r * h)); h = (1 - z) * h + z * n``, with a bias in each map.

    Parameters
    ----------
    in_size : int or None
    out_size : int

    References
    ----------
    Cho, van Merrienboer, Bahdanau, Bengio, "On the Properties of Neural Machine
    Translation: Encoder-Decoder Approaches", SSST-8, 2014.
    """

    def __init__(self, in_size: int | None, out_size: int) -> None:
        super().__init__()
        _add_maps(self, in_size, out_size)

    def forward(self, h: VariableLike | None, x: VariableLike) -> Variable:
        """Return the new h (B, H) from the one before, or None, and x (B, I)."""
        return gru_step(F, self, h, x)


class StatefulGRU(Recurrent):
    """:class:`StatelessGRU` with its state inside; the first step has none.

    A sequence of length 0 in a first window has zeros, as no row can have none.

    Parameters
    ----------
    in_size : int or None
    out_size : int
    """

    W_r: Linear
    U_r: Linear
    W_z: Linear
    U_z: Linear
    W: Linear
    U: Linear

    def __init__(self, in_size: int | None, out_size: int | None = None) -> None:
        super().__init__(in_size, out_size)
        _add_maps(self, self.in_size, self.out_size)

    def start(self, x, batch):
        """Leave the state out: the maps of it, with their biases, do not count."""

    def inputs(self, x):
        return x

    def step(self, x):
        self.h = gru_step(F, self, self.h, x)
        return self.h

    def window(self, x, lengths=None):
        if x.shape[0] == 0:
            return super().window(x)
        if self.h is None:
            if lengths is None:
                first, rest = self.step(x[0])[None], None
            else:
                first = super().window(x[:1], lengths)
                rest = (lengths - 1).clip(0)
            return F.concat((first, self.window(x[1:], rest)), axis=0)
        # The kernel's update gate keeps the state where this one replaces it.
        (W_r, b_r), (W_z, b_z), (W, b) = (
            weights(link, x) for link in (self.W_r, self.W_z, self.W)
        )
        U_r, U_z, U = self.U_r, self.U_z, self.U
        self.h, y = F.gru_window(
            x,
            self.h,
            F.concat((W_r, -W_z, W), axis=0),
            F.concat((U_r.W, -U_z.W, U.W), axis=0),
            F.concat((b_r, -b_z, b), axis=0),
            F.concat((U_r.b, -U_z.b, U.b), axis=0),
            lengths,
            reset_after=False,
        )
        return y


class ChildSumTreeLSTM(Chain):
    """An LSTM along a tree: a node has any number of children, in no order.

    Parameters
    ----------
    in_size : int or None
    out_size : int

    Attributes
    ----------
    upward : Linear
        ``W`` (4H, I) and ``b`` in blocks i, g, o, f.
    lateral : Linear
        (3H, H), of the sum of the children's ``h``, for i, g, o.
    lateral_f : Linear
        (H, H), of each child's ``h``, for its forget gate.

    References
    ----------
    Tai, Socher, Manning, "Improved Semantic Representations From Tree-Structured Long
    Short-Term Memory Networks", ACL 2015.
    """

    def __init__(self, in_size: int | None, out_size: int) -> None:
        super().__init__()
        H = out_size
        with self.init_scope():
            self.upward = Linear(in_size, 4 * H, initialW=gate_weights(None, 4))
            self.lateral = Linear(H, 3 * H, True, initialW=gate_weights(None, 3))
            self.lateral_f = Linear(H, H, True)

    def forward(self, *states_and_x: VariableLike | None) -> tuple[Variable, Variable]:
        """Return c, h (B, H) for c_1, ..., c_N, h_1, ..., h_N of the children and x."""
        *states, x = states_and_x
        cs, hs = _halves(self, states)
        igo, f = F.split_axis(self.upward(x), [3 * self.lateral_f.out_size], axis=1)
        if hs:
            igo = igo + self.lateral(sum(hs[1:], hs[0]))
        i, g, o = F.split_axis(igo, 3, axis=1)
        c = F.sigmoid(i) * F.tanh(g)
        for c_child, h_child in zip(cs, hs, strict=True):
            c = c + F.sigmoid(f + self.lateral_f(h_child)) * c_child
        return c, F.sigmoid(o) * F.tanh(c)


class NaryTreeLSTM(Chain):
    """An LSTM along a tree: a node has ``n_ary`` children, each with its own weights.

    Parameters
    ----------
    in_size : int or None
    out_size : int
    n_ary : int

    Attributes
    ----------
    upward : Linear
        ``W`` ((3 + N)H, I) and ``b`` in blocks i, g, o, f_1, ..., f_N.
    lateral1, lateral2, ... : Linear
        ((3 + N)H, H), of each child's ``h``.

    References
    ----------
    Tai, Socher, Manning, "Improved Semantic Representations From Tree-Structured Long
    Short-Term Memory Networks", ACL 2015.
    """

    def __init__(self, in_size: int | None, out_size: int, n_ary: int = 2) -> None:
        super().__init__()
        check_size(self, n_ary=n_ary)
        self.n_ary = n_ary
        n = 3 + n_ary
        with self.init_scope():
            self.upward = Linear(in_size, n * out_size, initialW=gate_weights(None, n))
            for k in range(n_ary):
                initialW = get_initializer(gate_weights(None, n))
                lateral = Linear(out_size, n * out_size, True, initialW)
                setattr(self, f"lateral{k + 1}", lateral)

    def forward(self, *states_and_x: VariableLike | None) -> tuple[Variable, Variable]:
        """Return c, h (B, H) for c_1, ..., c_N, h_1, ..., h_N of the children and x."""
        *states, x = states_and_x
        cs, hs = _halves(self, states)
        if len(cs) != self.n_ary:
            raise ValueError(
                f"NaryTreeLSTM: {len(cs)} children were given, but n_ary is "
                f"{self.n_ary}; use zeros for a child that is not there"
            )
        z = self.upward(x)
        for k, h in enumerate(hs):
            z = z + self[f"lateral{k + 1}"](h)
        return F.tree_lstm(*cs, z)


def _halves(link, states):
    n = len(states) // 2
    if len(states) != 2 * n:
        raise ValueError(
            f"{type(link).__name__}: give c and h of every child, then x; there are "
            f"{len(states)} arguments before x"
        )
    return states[:n], states[n:]
