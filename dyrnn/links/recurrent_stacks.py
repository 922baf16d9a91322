"""Stacks of recurrent layers over lists of sequences of any lengths, in any order.

They keep no state: initial states go in, final ones come out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import dyrnn.functions as F
from dyrnn.engine.parameter import Parameter
from dyrnn.functions.checks import check_ratio
from dyrnn.initializers import InitializerLike, get_initializer
from dyrnn.link import ChainList, Link
from dyrnn.links.connection import check_size
from dyrnn.links.recurrent import check_biases, gate_weights


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
