"""Output layers that are losses: for large vocabularies, and for label sequences.

Those for vocabularies look at a few words, or at a path in a tree, instead of all, so
their weights have sparse gradients.
"""

import heapq
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import dyrnn.functions as F
from dyrnn import random
from dyrnn.backend import to_cpu
from dyrnn.engine.core import Variable, VariableLike, as_array, as_variable
from dyrnn.engine.counts import counted
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import ShapeError
from dyrnn.functions.checks import check_arrays, check_choice, check_ids
from dyrnn.functions.regression import REDUCTIONS, reduced
from dyrnn.initializers import InitializerLike, get_initializer
from dyrnn.link import Link
from dyrnn.links.connection import check_size
from dyrnn.typing import Array, Shape


class WalkerAlias:
    """Draw ids with given weights, each in constant time.

    Parameters
    ----------
    weights : sequence of float
        Not negative, not all 0.
    stream : str
        The random stream to draw from.

    References
    ----------
    Walker, "An Efficient Method for Generating Discrete Random Variables with General
    Distributions", ACM Transactions on Mathematical Software 3(3), 1977.
    """

    def __init__(
        self, weights: Sequence[float] | Array, stream: str = "walker_alias"
    ) -> None:
        weights = np.asarray(weights, np.float64)
        total = weights.sum()
        if weights.ndim != 1 or not (weights >= 0).all() or not 0 < total < np.inf:
            raise ValueError(
                "WalkerAlias: weights must be a sequence of numbers >= 0, not all 0"
            )
        self.stream = stream
        self.threshold = weights * (len(weights) / total)
        self.alias = np.arange(len(weights))
        small = list(np.flatnonzero(self.threshold < 1))
        large = list(np.flatnonzero(self.threshold >= 1))
        while small and large:
            i, j = small.pop(), large[-1]
            self.alias[i] = j
            self.threshold[j] -= 1 - self.threshold[i]
            if self.threshold[j] < 1:
                small.append(large.pop())
        for i in small + large:
            self.threshold[i] = 1

    def sample(self, shape: Shape) -> Array:
        """Return ids of ``shape``, a NumPy array."""
        generator = random.stream(self.stream).generator
        ids = generator.integers(len(self.alias), size=shape)
        is_own = generator.random(shape) < self.threshold[ids]
        return np.where(is_own, ids, self.alias[ids]).astype(np.int32)


class _Vocabulary(Link):
    """A row of weights for each of V classes; ``t == ignore_label`` does not count."""

    ignore_label = -1

    def __init__(self, in_size, rows, initialW=0.0):
        super().__init__()
        check_size(self, in_size=in_size)
        self.n_classes = rows
        with self.init_scope():
            self.W = Parameter(get_initializer(initialW), (rows, in_size))

    def scores(self, x, ids):
        """Return the products (B, K) of x (B, I) with the rows of ids (B, K)."""
        rows = F.embed_id(ids, self.W, self.ignore_label)
        x = as_variable(x)
        return (rows * x.reshape((x.shape[0], 1, x.shape[1]))).sum(axis=2)

    def labels(self, x, t):
        """Return t as an array (B,), checked, and whether each label counts."""
        t = as_array(t)
        check_arrays(type(self).__name__, x=x, t=t)
        if x.ndim != 2 or t.shape != x.shape[:1]:
            raise ShapeError(
                f"{type(self).__name__}: x has shape {x.shape} and t {t.shape}; they "
                "must be (B, features) and (B,)"
            )
        check_ids(type(self).__name__, "label", t, self.n_classes, self.ignore_label, x)
        return t, t != self.ignore_label


class NegativeSampling(_Vocabulary):
    """Tell the true class from ``sample_size`` classes drawn at random.

    The loss of an example is ``softplus(-x @ W[t]) + sum_k softplus(x @ W[n_k])``.

    Parameters
    ----------
    in_size : int
    counts : sequence of float
        How often each class occurs.
    sample_size : int
    power : float
        Classes are drawn with weights ``counts ** power``.

    Attributes
    ----------
    W : Parameter, (V, I)
        0 at first; its gradient is sparse.
    sampler : WalkerAlias

    References
    ----------
    Mikolov et al., "Distributed Representations of Words and Phrases and their
    Compositionality", NIPS 2013.
    """

    def __init__(
        self,
        in_size: int,
        counts: Sequence[float] | Array,
        sample_size: int,
        power: float = 0.75,
    ) -> None:
        super().__init__(in_size, len(counts))
        check_size(self, sample_size=sample_size)
        self.sample_size = sample_size
        weights = np.asarray(counts, np.float64) ** power
        self.sampler = WalkerAlias(weights, "negative_sampling")

    def forward(
        self, x: VariableLike, t: VariableLike, reduce: str = "sum"
    ) -> Variable:
        """Return the loss of x (B, I) and labels t (B,): the sum, or with "no" each."""
        t, counts = self.labels(x, t)
        xp = self.W.xp
        drawn = xp.asarray(self.sampler.sample((len(t), self.sample_size)))
        ids = xp.concatenate((t[:, None].astype(drawn.dtype), drawn), axis=1)
        z = self.scores(x, ids)
        signs = xp.ones(z.shape, z.dtype)
        signs[:, 0] = -1
        loss = F.softplus(z * signs).sum(axis=1) * counts.astype(z.dtype)
        return _reduced("NegativeSampling", loss, reduce)


class BlackOut(_Vocabulary):
    """A softmax over the true class and ``sample_size`` drawn ones, discriminatively.

    The loss of an example is ``-log p_t - sum_k log(1 - p_k)`` with p the softmax over
    the true and the drawn classes.

    Parameters
    ----------
    in_size : int
    counts : sequence of float
        How often each class occurs; classes are drawn with these weights.
    sample_size : int

    References
    ----------
    Ji, Vishwanathan, Satish, Anderson, Dubey, "BlackOut: Speeding up Recurrent Neural
    Network Language Models With Very Large Vocabularies", ICLR 2016.
    """

    def __init__(
        self, in_size: int, counts: Sequence[float] | Array, sample_size: int
    ) -> None:
        super().__init__(in_size, len(counts))
        check_size(self, sample_size=sample_size)
        self.sample_size = sample_size
        self.sampler = WalkerAlias(counts, "black_out")

    def forward(
        self, x: VariableLike, t: VariableLike, reduce: str = "mean"
    ) -> Variable:
        """Return the loss of x (B, I) and t (B,): the mean, or with "no" each."""
        t, counts = self.labels(x, t)
        xp = self.W.xp
        drawn = xp.asarray(self.sampler.sample((len(t), self.sample_size)))
        ids = xp.concatenate((t[:, None].astype(drawn.dtype), drawn), axis=1)
        z = self.scores(x, ids)
        log_p = z - F.logsumexp(z, axis=1, keepdims=True)
        # Of few classes one may have all the probability: log(0) must not come up.
        rest = F.clip(1 - F.exp(log_p[:, 1:]), 1e-7, 1.0)
        loss = -(log_p[:, 0] + F.log(rest).sum(axis=1)) * counts.astype(z.dtype)
        if reduce == "mean":  # of the labels that count
            return counted(loss.sum() / xp.maximum(counts.sum(), 1), counts.sum())
        return _reduced("BlackOut", loss, reduce)


class BinaryHierarchicalSoftmax(_Vocabulary):
    """A tree with the classes as leaves: each inner node decides for left or right.

    Parameters
    ----------
    in_size : int
    tree : tuple
        Nested pairs; leaves are class ids, see :meth:`create_huffman_tree`.

    Attributes
    ----------
    W : Parameter, (inner nodes, I)

    References
    ----------
    Morin, Bengio, "Hierarchical Probabilistic Neural Network Language Model", AISTATS
    2005.
    """

    def __init__(self, in_size: int, tree: tuple) -> None:
        paths = _paths(tree)
        super().__init__(in_size, len(paths) - 1, initialW=None)
        depth = max(len(path) for path in paths.values())
        nodes = np.full((max(paths) + 1, depth), self.ignore_label, np.int32)
        signs = np.zeros(nodes.shape, self.W.dtype)
        for leaf, path in paths.items():
            for i, (node, sign) in enumerate(path):
                nodes[leaf, i], signs[leaf, i] = node, sign
        self.nodes, self.signs, self.n_classes = nodes, signs, len(nodes)

    @staticmethod
    def create_huffman_tree(counts: Mapping[int, float]) -> Any:
        """Return a tree in which frequent classes have short paths.

        Parameters
        ----------
        counts : dict
            How often each class id occurs.
        """
        if len(counts) < 2:
            raise ValueError(
                f"create_huffman_tree: {len(counts)} classes were given; a tree needs "
                "at least 2"
            )
        order = itertools.count()
        heap = [(count, next(order), leaf) for leaf, count in counts.items()]
        heapq.heapify(heap)
        while len(heap) > 1:
            (n, _, left), (m, _, right) = heapq.heappop(heap), heapq.heappop(heap)
            heapq.heappush(heap, (n + m, next(order), (left, right)))
        return heap[0][2]

    def forward(self, x: VariableLike, t: VariableLike) -> Variable:
        """Return the sum of ``-log p`` of x (B, I) and labels t (B,)."""
        t, counts = self.labels(x, t)
        xp = self.W.xp
        t = xp.where(counts, t, 0)
        ids, signs = xp.asarray(self.nodes)[t], xp.asarray(self.signs)[t]
        losses = F.softplus(-(self.scores(x, ids) * signs))
        return (losses * (abs(signs) * counts[:, None].astype(signs.dtype))).sum()

    def argmax(self, x: VariableLike) -> Array:
        """Return the most likely class by going down the tree greedily, (B,)."""
        return self._descend(x, lambda p: p >= 0.5)

    def sample(self, x: VariableLike) -> Array:
        """Draw a class for each row of x, (B,)."""
        generator = random.stream("hierarchical_softmax").generator
        return self._descend(x, lambda p: generator.random(p.shape) < p)

    def _descend(self, x, goes_left):
        array = self.device.send(getattr(x, "array", x))
        p = F.sigmoid(array @ self.W.array.T).array
        p = to_cpu(p)
        left = goes_left(p)
        found = np.zeros(len(p), np.int32)
        for leaf, (nodes, signs) in enumerate(zip(self.nodes, self.signs, strict=True)):
            is_used = signs != 0
            if is_used.any():
                fits = left[:, nodes[is_used]] == (signs[is_used] > 0)
                found[fits.all(axis=1)] = leaf
        return found


def _paths(tree):
    """Return for each leaf its inner nodes and +1 for left, -1 for right."""
    paths = {}
    numbers = itertools.count()
    stack = [(tree, [])]
    while stack:
        node, path = stack.pop()
        if isinstance(node, (tuple, list)):
            if len(node) != 2:
                raise ValueError(
                    f"BinaryHierarchicalSoftmax: a node has {len(node)} branches; the "
                    "tree must be nested pairs"
                )
            number = next(numbers)
            stack += [(node[1], [*path, (number, -1)]), (node[0], [*path, (number, 1)])]
        elif node in paths:
            raise ValueError(f"BinaryHierarchicalSoftmax: leaf {node} is there twice")
        else:
            paths[int(node)] = path
    if len(paths) < 2:
        raise ValueError("BinaryHierarchicalSoftmax: the tree needs at least 2 leaves")
    return paths


def _reduced(name, loss, reduce):
    check_choice(name, "reduce", reduce, REDUCTIONS)
    return reduced(loss, reduce)


class CRF1d(Link):
    """A linear-chain conditional random field over label sequences.

    Parameters
    ----------
    n_label : int
    initial_cost : initializer, number or array
        Scores of going from one label to another, (C, C); 0 by default.

    Attributes
    ----------
    cost : Parameter, (C, C)
    """

    def __init__(self, n_label: int, initial_cost: InitializerLike = 0.0) -> None:
        super().__init__()
        check_size(self, n_label=n_label)
        with self.init_scope():
            self.cost = Parameter(get_initializer(initial_cost), (n_label, n_label))

    def forward(
        self,
        xs: VariableLike | Sequence[VariableLike],
        ys: VariableLike | Sequence[VariableLike],
        lengths: Sequence[int] | Array | None = None,
        reduce: str = "mean",
    ) -> Variable:
        """Return the negative log-likelihood, see :func:`dyrnn.functions.crf1d`."""
        return F.crf1d(self.cost, xs, ys, lengths, reduce)

    def argmax(
        self,
        xs: VariableLike | Sequence[VariableLike],
        lengths: Sequence[int] | Array | None = None,
    ) -> tuple[Variable, list[Array]]:
        """Return score and labels of the best paths: ``F.argmax_crf1d``."""
        return F.argmax_crf1d(self.cost, xs, lengths)
