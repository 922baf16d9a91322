"""Attention over what was read before, remembered like the state of a cell."""

from collections.abc import Sequence

import dyrnn.functions as F
from dyrnn.engine.core import Variable, VariableLike, as_array
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import ShapeError
from dyrnn.functions.attending import additive_scores, attend, of_steps, remember
from dyrnn.functions.checks import variable
from dyrnn.initializers import InitializerLike, LeCunNormal, get_initializer
from dyrnn.link import Link
from dyrnn.links.connection import Linear, check_size
from dyrnn.typing import Array


class Attention(Link):
    """Averages of remembered values, weighted by how well their keys fit a query.

    ``remember(keys)`` maps the keys once, for all queries that follow; they are kept
    until ``reset_state()``, as the state of a recurrent layer is.

    Parameters
    ----------
    query_size, key_size : int
        Features Q of a query and K of a key.
    score : {"dot", "general", "additive"}
        ``q . k``, where Q and K are equal; ``q . W k``; or ``v . tanh(W k + U q)``.
    size : int, optional
        Units A of the additive score, by default Q.
    scale : float
        Factor of the products of "dot" and "general".
    initialW : initializer, number or array
        For W, U and v, LeCunNormal by default.

    Attributes
    ----------
    W, U : Linear
        Of the keys, (Q, K) or (A, K), and of the query, (A, Q), where the score has
        them; ``W`` has the bias of the sum.
    v : Parameter, (1, A)
    keys, values, mask : Variable, (B, T, K), (B, T, D), (B, 1, T), or None
        What is remembered, the batch first.
    weights : Variable, (B, T) or (S, B, T)
        Those of the last query.

    References
    ----------
    See :func:`dyrnn.functions.attention` and
    :func:`dyrnn.functions.additive_attention`.

    Examples
    --------
    >>> attend = Attention(4, 6, "additive")
    >>> attend.remember(np.ones((7, 2, 6), np.float32), lengths=[7, 3])
    >>> attend(np.ones((2, 4), np.float32)).shape  # the query of a step
    (2, 6)
    >>> attend.weights.shape
    (2, 7)
    """

    carried = ("keys", "values", "mask")
    takes_windows = True
    keys: Variable | None
    values: Variable | None
    mask: Variable | None

    def __init__(
        self,
        query_size: int,
        key_size: int,
        score: str = "general",
        size: int | None = None,
        scale: float = 1.0,
        initialW: InitializerLike = None,
    ) -> None:
        super().__init__()
        check_size(self, query_size=query_size, key_size=key_size)
        if score not in ("dot", "general", "additive"):
            raise ValueError(
                f"Attention: score={score!r}; use 'dot', 'general' or 'additive'"
            )
        if score == "dot" and query_size != key_size:
            raise ValueError(
                f"Attention: query_size={query_size} and key_size={key_size}, but a "
                "dot product needs as many features; use score='general'"
            )
        size = query_size if size is None else size
        check_size(self, size=size)
        self.query_size, self.key_size = query_size, key_size
        self.score, self.scale = score, float(scale)
        self.weights: Variable | None = None
        with self.init_scope():
            if score == "general":
                self.W = Linear(key_size, query_size, True, initialW)
            elif score == "additive":
                self.W = Linear(key_size, size, initialW=initialW)
                self.U = Linear(query_size, size, True, initialW)
                self.v = Parameter(get_initializer(initialW, LeCunNormal()), (1, size))

    def remember(
        self,
        keys: VariableLike,
        values: VariableLike | None = None,
        lengths: Sequence[int] | Array | None = None,
        mask: Array | None = None,
    ) -> None:
        """Take keys (T, B, K) and values (T, B, D), by default the keys.

        ``lengths`` (B,) and ``mask``, bool (T, B), say which of them count.
        """
        keys = variable("Attention", "keys", keys)
        if keys.shape[-1:] != (self.key_size,):
            raise ShapeError(
                f"Attention: keys have shape {keys.shape}; they must be (T, B, "
                f"{self.key_size}), with key_size={self.key_size}"
            )
        if mask is not None and as_array(mask).ndim != 2:
            raise ShapeError(
                f"Attention: mask has shape {as_array(mask).shape}; it must be (T, B)"
            )
        keys, self.values, mask = remember("Attention", keys, values, lengths, mask)
        self.keys = keys if self.score == "dot" else self.W(keys)
        self.mask = None if mask is None else Variable(mask, requires_grad=False)

    def forward(self, query: VariableLike) -> Variable:
        """Return the averages (B, D) of a query (B, Q), or (S, B, D) of (S, B, Q)."""
        if self.keys is None:
            raise RuntimeError(
                "Attention: there is nothing to attend to; call remember(keys) first"
            )
        query = variable("Attention", "query", query)
        if query.shape[-1:] != (self.query_size,):
            raise ShapeError(
                f"Attention: query has shape {query.shape}; it must be (B, "
                f"{self.query_size}) or (S, B, {self.query_size})"
            )
        q = of_steps("Attention", query, self.keys)
        if self.score == "additive":
            scores = additive_scores(self.U(q), self.keys, self.v[0])
        else:
            scores = F.matmul(q * self.scale, self.keys, transb=True)
        mask = None if self.mask is None else as_array(self.mask)
        y, self.weights = attend(query, scores, self.values, mask)
        return y
