"""Recurrent layers over whole sequences of any lengths, in any order.

Stacks over lists keep no state: initial states go in, final ones come out.
:class:`Bidirectional` runs any two layers in both directions.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dyrnn.functions as F
from dyrnn.engine.core import VariableLike
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import check_choice, check_ratio, variable
from dyrnn.functions.recurrent_stacks import Layout
from dyrnn.functions.recurrent_windows import check_lengths, turn, turned
from dyrnn.initializers import InitializerLike, get_initializer
from dyrnn.link import Chain, ChainList, Link
from dyrnn.links.connection import check_size
from dyrnn.links.recurrent import Recurrent, check_biases, gate_weights
from dyrnn.typing import Array


class _Weights(Link):
    """Weights of one layer in one direction, gates below each other."""

    V = None

    def __init__(
        self, n_gates, in_size, out_size, proj_size, n_biases, initialW, initial_bias
    ):
        super().__init__()
        rows = n_gates * out_size
        weights = gate_weights(initialW, n_gates)
        with self.init_scope():
            self.W = Parameter(weights, (rows, in_size))
            self.U = Parameter(weights, (rows, proj_size or out_size))
            if proj_size is not None:
                self.V = Parameter(get_initializer(initialW), (proj_size, out_size))
            self.b = Parameter(get_initializer(initial_bias), (rows,))
            if n_biases == 2:
                self.b_u = Parameter(get_initializer(initial_bias), (rows,))


class _NStep(ChainList):
    """What all of them share.

    Children ``"0"``, ``"1"``, ... are the layers, each with ``W``, ``U``, ``b``; with
    two directions, layer by layer, forward before backward.
    """

    n_gates = n_biases = n_states = directions = 1
    proj_size: int | None = None
    function: Callable  # runs the stack

    def __init__(
        self,
        n_layers: int,
        in_size: int,
        out_size: int,
        dropout: float = 0.0,
        initialW: InitializerLike = None,
        initial_bias: InitializerLike = 0.0,
        n_biases: int | None = None,
    ) -> None:
        super().__init__()
        check_size(self, n_layers=n_layers, in_size=in_size, out_size=out_size)
        self.n_biases = check_biases(
            self, self.n_biases if n_biases is None else n_biases
        )
        check_ratio(type(self).__name__, dropout, "dropout")
        self.n_layers = n_layers
        self.in_size = in_size
        self.out_size = out_size
        self.dropout = dropout
        sizes = out_size, self.proj_size
        inits = self.n_biases, initialW, initial_bias
        for k in range(n_layers * self.directions):
            deeper = (self.proj_size or out_size) * self.directions
            size = in_size if k < self.directions else deeper
            self.append(_Weights(self.n_gates, size, *sizes, *inits))

    def forward(self, *states_and_xs: Any) -> tuple:
        """Return the final states and the outputs.

        Parameters
        ----------
        hx, or hx and cx : Variable, (n_layers * directions, B, H), or None
            Initial states; None: zeros. ``hx`` has P units with a projection.
        xs : list of B variables, (length, I)

        Returns
        -------
        hy, or hy and cy : Variable, like ``hx``
        ys : list of B variables, (length, H * directions)
        """
        *states, xs = states_and_xs
        if len(states) != self.n_states:
            names = "hx, cx, xs" if self.n_states == 2 else "hx, xs"
            raise TypeError(
                f"{type(self).__name__} is called with {names}; "
                f"{len(states_and_xs)} arguments were given"
            )
        ws = [
            (layer.W, layer.U) if layer.V is None else (layer.W, layer.U, layer.V)
            for layer in self
        ]
        # The function adds two biases; a layer with one gives 0 for the other.
        bs = [
            (layer.b, layer.b_u if self.n_biases == 2 else layer.b * 0.0)
            for layer in self
        ]
        layers = self.n_layers, self.dropout, *states, ws, bs, xs
        return self.function(*layers, is_bidirectional=self.directions == 2)


class NStepRNNTanh(_NStep):
    """Stacked Elman layers with tanh over a list of sequences.

    Parameters
    ----------
    n_layers, in_size, out_size : int
        Layers, features I and units H.
    dropout : float
        Between the layers.
    initialW, initial_bias : initializer or number
    n_biases : int, optional
        1, or 2: another, ``b_u``, is added to ``b``, as in PyTorch. The two are
        trained, so their sum moves twice as fast.
    """

    function = staticmethod(F.n_step_rnn)


class NStepRNNReLU(_NStep):
    """Stacked Elman layers with ReLU, see :class:`NStepRNNTanh`."""

    function = staticmethod(partial(F.n_step_rnn, activation="relu"))


class NStepBiRNNTanh(NStepRNNTanh):
    """:class:`NStepRNNTanh` in both directions."""

    directions = 2


class NStepBiRNNReLU(NStepRNNReLU):
    """:class:`NStepRNNReLU` in both directions."""

    directions = 2


class NStepGRU(_NStep):
    """Stacked GRU layers over a list of sequences, see :class:`NStepRNNTanh`.

    The formula is that of :class:`dyrnn.links.GRU`, with two biases.
    """

    n_gates = 3
    n_biases = 2
    function = staticmethod(F.n_step_gru)


class NStepBiGRU(NStepGRU):
    """:class:`NStepGRU` in both directions."""

    directions = 2


class NStepLSTM(_NStep):
    """Stacked LSTM layers over a list of sequences, see :class:`NStepRNNTanh`.

    It is called with ``hx, cx, xs`` and returns ``hy, cy, ys``. The layers' formula is
    that of :class:`dyrnn.links.LSTM`, with one bias, 0 at first. With ``proj_size``
    each layer has a projection ``V`` (P, H) of its output.
    """

    n_gates = 4
    n_states = 2
    function = staticmethod(F.n_step_lstm)

    def __init__(
        self,
        n_layers: int,
        in_size: int,
        out_size: int,
        dropout: float = 0.0,
        initialW: InitializerLike = None,
        initial_bias: InitializerLike = 0.0,
        n_biases: int | None = None,
        proj_size: int | None = None,
    ) -> None:
        if proj_size is not None:
            check_size(self, proj_size=proj_size)
        self.proj_size = proj_size
        inits = initialW, initial_bias, n_biases
        super().__init__(n_layers, in_size, out_size, dropout, *inits)


class NStepBiLSTM(NStepLSTM):
    """:class:`NStepLSTM` in both directions."""

    directions = 2


class Bidirectional(Chain):
    """Two recurrent layers, one of which reads each sequence from its end.

    Each call takes whole sequences: both layers start from zeros, and keep the states
    at the end of their way, ``backward_layer`` that after the first step.

    Parameters
    ----------
    forward, backward : Recurrent
        Of any kinds; ``backward=forward.copy()`` shares the weights.
    merge : {"concat", "sum", None}
        Whether the outputs stand side by side, forward first, are added up, or are
        returned as a pair.

    Attributes
    ----------
    forward_layer, backward_layer : Recurrent

    References
    ----------
    Schuster, Paliwal, "Bidirectional Recurrent Neural Networks", IEEE Transactions on
    Signal Processing 45(11), 1997.

    Examples
    --------
    >>> import dyrnn.links as L
    >>> layer = L.Bidirectional(L.LSTM(3, 2), L.GRU(3, 4))
    >>> layer(np.ones((7, 5, 3), np.float32), lengths=[7, 2, 0, 5, 3]).shape
    (7, 5, 6)
    >>> [y.shape for y in layer([np.ones((n, 3), np.float32) for n in (7, 2)])]
    [(7, 6), (2, 6)]
    """

    takes_windows = True

    def __init__(
        self, forward: Recurrent, backward: Recurrent, merge: str | None = "concat"
    ) -> None:
        super().__init__()
        for name, layer in (("forward", forward), ("backward", backward)):
            if not isinstance(layer, Recurrent):
                raise TypeError(
                    f"Bidirectional: {name} is a {type(layer).__name__}, but must "
                    "be a recurrent layer: L.LSTM, L.GRU, ..., or a class of your own "
                    "derived from L.Recurrent. For a stack, make each of its layers "
                    "bidirectional."
                )
        if forward is backward:
            raise ValueError(
                "Bidirectional: forward and backward are one layer, with one state. "
                "Give backward=forward.copy(), which shares the weights."
            )
        check_choice("Bidirectional", "merge", merge, ("concat", "sum", None))
        H, K = (layer.sizes[layer.carried[-1]] for layer in (forward, backward))
        if merge == "sum" and H != K:
            raise ShapeError(
                f"Bidirectional: outputs of {H} and of {K} units cannot be added up; "
                'use as many, or merge="concat".'
            )
        self.merge = merge
        with self.init_scope():
            self.forward_layer = forward
            self.backward_layer = backward

    def forward(
        self,
        x: VariableLike | list[Any] | tuple[Any, ...],
        lengths: Sequence[int] | Array | None = None,
    ) -> Any:
        """Return the outputs of a window, or of a list of sequences.

        Parameters
        ----------
        x : Variable, (T, B, I), or list of B variables (length, I)
        lengths : sequence of int, (B,), optional
            Steps of each sequence of the window, in any order; what is behind them is
            not read, and outputs there are 0.

        Returns
        -------
        Variable, (T, B, 2H), or list of B variables (length, 2H)
            (..., H) for ``merge="sum"``; for None a tuple of two.
        """
        if isinstance(x, list | tuple):
            return self._of_list(x, lengths)
        x = variable("Bidirectional", "x", x)
        if x.ndim != 3:
            raise ShapeError(
                f"Bidirectional: x has shape {x.shape}; it must be (time, batch, "
                "features). A step alone has no future: give whole sequences, with "
                "BPTTUpdater(..., window=True) the window."
            )
        lengths = check_lengths("Bidirectional", x.xp, lengths, x)
        self.reset_state()
        if lengths is None:
            ahead, back = self.forward_layer(x), self.backward_layer(x[::-1])[::-1]
        else:
            places = turned(x.xp, len(x), lengths)
            ahead = self.forward_layer(x, lengths)
            back = self.backward_layer(turn(x, lengths, places), lengths)
            back = turn(back, lengths, places)
        if self.merge == "concat":
            return F.concat((ahead, back), axis=2)
        return (ahead, back) if self.merge is None else ahead + back

    def _of_list(self, xs, lengths):
        if lengths is not None:
            raise TypeError(
                "Bidirectional: lengths go with a window; a list of sequences has its "
                "own"
            )
        if not xs:
            raise ValueError("Bidirectional: x is an empty list; give a sequence.")
        xs = [variable("Bidirectional", f"x[{k}]", x) for k, x in enumerate(xs)]
        for k, x in enumerate(xs):
            if x.ndim != 2 or x.shape[1] != xs[0].shape[-1]:
                raise ShapeError(
                    f"Bidirectional: x[{k}] has shape {x.shape}, but sequences must be "
                    f"(length, features), with {xs[0].shape[-1]} features as x[0]"
                )
        layout = Layout(xs[0].xp, [len(x) for x in xs])
        y = self(layout.window(F.concat(xs, axis=0)), layout.lengths)
        if self.merge is None:
            return tuple([layout.sequences(part) for part in y])
        return layout.sequences(y)
