"""A softmax over a large vocabulary in which rare words cost little."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

import dyrnn.functions as F
from dyrnn.engine.core import Variable, VariableLike, as_array, as_variable
from dyrnn.engine.counts import Tally, counted
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import check_arrays, check_choice, check_ids
from dyrnn.functions.loss import labels_of
from dyrnn.initializers import InitializerLike
from dyrnn.link import Chain, ChainList, Sequential
from dyrnn.links.connection import Linear, check_size


class AdaptiveSoftmax(Chain):
    """An output layer and its loss, with classes in clusters from frequent to rare.

    The first ``cutoffs[0]`` classes are scored for every example, with one score more
    for each of the clusters of the others. Their classes are scored only where a label
    is among them, from fewer features the rarer they are. **Classes are numbered by how
    frequent they are, 0 the most frequent**, as `dyrnn.datasets.Vocabulary` does. On a
    GPU it waits for the number of labels in each cluster.

    Parameters
    ----------
    in_size : int
        Features I.
    n_classes : int
        V.
    cutoffs : sequence of int
        Where clusters begin, ascending, between 0 and V; for example
        ``[2000, 10000]`` of 50,000 words.
    div_value : float
        Cluster k = 1, 2, ... is scored from ``I / div_value ** k`` features.
    initialW : initializer
        Of all weights.

    Attributes
    ----------
    head : Linear, (cutoffs[0] + clusters, I)
        Without a bias.
    tails : ChainList
        For each cluster the matrices (I_k, I) and (size, I_k).

    References
    ----------
    Grave, Joulin, Cissé, Grangier, Jégou, "Efficient Softmax Approximation for GPUs",
    ICML 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import dyrnn.links as L
    >>> output = L.AdaptiveSoftmax(16, 1000, cutoffs=[100, 400])
    >>> x, t = np.ones((5, 16), np.float32), np.array([0, 99, 100, 400, -1])
    >>> output(x, t).shape, output.log_prob(x).shape
    ((), (5, 1000))
    """

    ignore_label = -1

    def __init__(
        self,
        in_size: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        initialW: InitializerLike = None,
    ) -> None:
        super().__init__()
        check_size(self, in_size=in_size, n_classes=n_classes)
        self.n_classes = n_classes
        self.cutoffs = [0, *_checked(cutoffs, n_classes), n_classes]
        if not div_value >= 1:
            raise ValueError(
                f"AdaptiveSoftmax: div_value={div_value!r}, but rarer classes have as "
                "many features as the others, or fewer: at least 1"
            )
        first, *others = (b - a for a, b in itertools.pairwise(self.cutoffs))
        with self.init_scope():
            self.head = Linear(in_size, first + len(others), True, initialW)
            self.tails = ChainList()
            for k, size in enumerate(others, 1):
                features = max(1, int(in_size / div_value**k))
                down = Linear(in_size, features, True, initialW)
                up = Linear(features, size, True, initialW)
                self.tails.append(Sequential(down, up))

    def forward(
        self, x: VariableLike, t: VariableLike, reduce: str = "mean"
    ) -> Variable:
        """Return the cross entropy.

        Parameters
        ----------
        x : Variable, (B, I) or a window (T, B, I)
        t : array of integers, (B,) or (T, B)
            Labels; -1 does not count.
        reduce : str
            ``"mean"`` over the labels that count, or ``"no"``.

        Returns
        -------
        Variable, () or the shape of t
        """
        x, t = as_variable(x), as_array(t)
        name = type(self).__name__
        check_choice(name, "reduce", reduce, ("mean", "no"))
        check_arrays(name, x=x, t=t)
        if x.ndim < 2 or t.shape != x.shape[:-1]:
            raise ShapeError(
                f"{name}: x has shape {x.shape} and t {t.shape}; they must be (B, "
                "features) and (B,), or (T, B, features) and (T, B)"
            )
        check_ids(name, "label", t, self.n_classes, self.ignore_label, x)
        with Tally():  # the parts of this loss are not the user's
            losses = self._losses(x.reshape((-1, x.shape[-1])), t.reshape(-1))
            if reduce == "no":
                return losses.reshape(t.shape)
            total = losses.sum()
        labels, factor = labels_of(t, True, self.ignore_label)
        xp = self.xp
        return counted(total / xp.maximum(labels, 1).astype(x.dtype), labels, factor)

    def _losses(self, x, t):
        """Return the loss of each example: of its cluster, and within it."""
        xp, first, t = self.xp, self.cutoffs[1], t.astype(np.int64)
        clusters, found = xp.minimum(t, first), [xp.zeros(1, x.dtype)]
        place = xp.zeros(t.shape, np.int64)  # of an example's second loss; 0: none
        there = 1
        bounds = itertools.pairwise(self.cutoffs[1:])
        for k, (tail, (low, high)) in enumerate(zip(self.tails, bounds, strict=True)):
            rows = xp.flatnonzero((t >= low) & (t < high))
            if len(rows) == 0:
                continue
            clusters[rows] = first + k
            place[rows] = xp.arange(there, there + len(rows))
            there += len(rows)
            scores = tail(F.get_item(x, rows))
            found.append(F.softmax_cross_entropy(scores, t[rows] - low, reduce="no"))
        losses = F.softmax_cross_entropy(self.head(x), clusters, reduce="no")
        return losses + F.concat(found, axis=0)[place]

    def log_prob(self, x: VariableLike) -> Variable:
        """Return the logarithms of all probabilities, (..., V), for x (..., I)."""
        head = F.log_softmax(self.head(x), axis=-1)
        first, parts = self.cutoffs[1], []
        for k, tail in enumerate(self.tails):
            within = F.log_softmax(tail(x), axis=-1)
            parts.append(within + head[..., first + k : first + k + 1])
        return F.concat([head[..., :first], *parts], axis=-1)


def _checked(cutoffs: Sequence[int], n_classes: int) -> list[int]:
    """Return cutoffs, which ascend within the classes."""
    bounds: Any = np.asarray(cutoffs)
    is_list = bounds.ndim == 1 and bounds.size and bounds.dtype.kind in "iu"
    if is_list and (np.diff([0, *bounds, n_classes]) > 0).all():
        return [int(bound) for bound in bounds]
    raise ValueError(
        f"AdaptiveSoftmax: cutoffs={cutoffs!r}; they must be whole numbers that ascend "
        f"between 0 and the {n_classes} classes, for example [2000, 10000]"
    )
