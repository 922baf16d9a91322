"""Links at the end of a model, and normalisation."""

import heapq

import numpy as np

from dyrnn.chainer import initializers, reporter
from dyrnn.chainer.configuration import config, get_dtype
from dyrnn.chainer.functions import joining, losses, normalizing, sequence_losses
from dyrnn.chainer.functions.basic_math import mul
from dyrnn.chainer.functions.elementwise import softplus
from dyrnn.chainer.functions.products import embed_id, matmul
from dyrnn.chainer.functions.shaping import expand_dims
from dyrnn.chainer.functions.shaping import sum as sum_over
from dyrnn.chainer.functions.word_losses import negative_sampling
from dyrnn.chainer.link import Chain, Link
from dyrnn.chainer.links.recurrent_links import argsort_list_descent, permutate_list
from dyrnn.chainer.utils.array import size_of_shape
from dyrnn.chainer.utils.walker_alias import WalkerAlias
from dyrnn.chainer.variable import Parameter, as_variable


class Classifier(Chain):
    """A model with a loss and an accuracy, both reported.

    Parameters
    ----------
    predictor : Link
    lossfun, accfun : callable
        Of the prediction and the label.
    label_key : int or str
        Which argument is the label.
    """

    compute_accuracy = True

    def __init__(
        self,
        predictor,
        lossfun=losses.softmax_cross_entropy,
        accfun=losses.accuracy,
        label_key=-1,
    ):
        if not isinstance(label_key, (int, str)):
            raise TypeError(f"label_key must be int or str, but is {type(label_key)}")
        super().__init__()
        self.lossfun = lossfun
        self.accfun = accfun
        self.y = None
        self.loss = None
        self.accuracy = None
        self.label_key = label_key
        with self.init_scope():
            self.predictor = predictor

    def forward(self, *args, **kwargs):
        """Return the loss."""
        key = self.label_key
        if isinstance(key, str):
            if key not in kwargs:
                raise ValueError(f'Label key "{key}" is not found')
            t = kwargs.pop(key)
        else:
            if not -len(args) <= key < len(args):
                raise ValueError(f"Label key {key} is out of bounds")
            args = list(args)
            t = args.pop(key)
        self.y = self.loss = self.accuracy = None
        self.y = self.predictor(*args, **kwargs)
        self.loss = self.lossfun(self.y, t)
        reporter.report({"loss": self.loss}, self)
        if self.compute_accuracy:
            self.accuracy = self.accfun(self.y, t)
            reporter.report({"accuracy": self.accuracy}, self)
        return self.loss


class NegativeSampling(Link):
    """Tells words from noise."""

    def __init__(self, in_size, counts, sample_size, power=0.75, dtype=None):
        super().__init__()
        dtype = get_dtype(dtype)
        self.sample_size = sample_size
        weights = np.power(np.array(counts, dtype), dtype.type(power))
        self.sampler = WalkerAlias(weights)
        with self.init_scope():
            self.W = Parameter(0, (len(counts), in_size))

    def device_resident_accept(self, visitor):
        super().device_resident_accept(visitor)
        self.sampler.device_resident_accept(visitor)

    def forward(self, x, t, reduce="sum", **kwargs):
        """Return the loss."""
        sample = self.sampler.sample
        return negative_sampling(
            x, t, self.W, sample, self.sample_size, reduce=reduce, **kwargs
        )


def _walk(tree):
    """Return the number of inner nodes, and each word's path and turns."""
    paths: dict = {}
    count = 0

    def visit(node, path, codes):
        nonlocal count
        if not isinstance(node, tuple):
            paths[node] = path, codes
            return
        if len(node) != 2:
            raise ValueError("All internal nodes must have two child nodes")
        number = count
        count += 1
        visit(node[0], [*path, number], [*codes, 1.0])
        visit(node[1], [*path, number], [*codes, -1.0])

    visit(tree, [], [])
    return count, paths


class BinaryHierarchicalSoftmax(Link):
    """A word's probability as that of its way down a binary tree."""

    def __init__(self, in_size, tree, dtype=None):
        super().__init__()
        dtype = get_dtype(dtype)
        count, paths = _walk(tree)
        longest = max(len(path) for path, _ in paths.values())
        shape = (max(paths) + 1, longest)
        self._paths = np.full(shape, -1, np.int32)
        self._codes = np.zeros(shape, dtype)
        for word, (path, codes) in paths.items():
            self._paths[word, : len(path)] = path
            self._codes[word, : len(path)] = codes
        with self.init_scope():
            self.W = Parameter(initializers.Uniform(1), (count, in_size))

    def device_resident_accept(self, visitor):
        super().device_resident_accept(visitor)
        self._paths = visitor.visit_array(self._paths)
        self._codes = visitor.visit_array(self._codes)

    @staticmethod
    def create_huffman_tree(word_counts):
        """Return the tree that gives frequent words short ways."""
        if not word_counts:
            raise ValueError("Empty vocabulary")
        items = enumerate(word_counts.items())
        heap = [(count, number, word) for number, (word, count) in items]
        heapq.heapify(heap)
        while len(heap) > 1:
            (count1, number1, tree1), (count2, number2, tree2) = (
                heapq.heappop(heap) for _ in range(2)
            )
            node = (count1 + count2, min(number1, number2), (tree1, tree2))
            heapq.heappush(heap, node)
        return heap[0][2]

    def forward(self, x, t):
        """Return the sum of the negative log-probabilities."""
        t = getattr(t, "array", t)
        codes = self._codes[t]
        w = embed_id(self._paths[t], self.W, ignore_label=-1)
        score = matmul(w, expand_dims(x, 2)).reshape(codes.shape)
        used = (codes != 0).astype(codes.dtype)
        return sum_over(mul(softplus(-(score * codes)), used))


class CRF1d(Link):
    """A linear-chain conditional random field."""

    def __init__(self, n_label, initial_cost=None):
        super().__init__()
        if initial_cost is None:
            initial_cost = initializers.Zero()
        with self.init_scope():
            self.cost = Parameter(initial_cost, (n_label, n_label))

    def forward(self, xs, ys, reduce="mean", transpose=False):
        """Return the loss; with ``transpose`` of one array for each sequence."""
        if transpose:
            order = argsort_list_descent(xs)
            xs, ys = (
                joining.transpose_sequence(permutate_list(v, order, inv=False))
                for v in (xs, ys)
            )
        return sequence_losses.crf1d(self.cost, xs, ys, reduce)

    def argmax(self, xs, transpose=False):
        """Return the best scores and paths."""
        if not transpose:
            return sequence_losses.argmax_crf1d(self.cost, xs)
        order = argsort_list_descent(xs)
        xs = joining.transpose_sequence(permutate_list(xs, order, inv=False))
        score, path = sequence_losses.argmax_crf1d(self.cost, xs)
        path = [p.array for p in joining.transpose_sequence(path)]
        return score, permutate_list(path, order, inv=True)


class LayerNormalization(Link):
    """Rows normalized, scaled and shifted."""

    def __init__(self, size=None, eps=1e-6, initial_gamma=None, initial_beta=None):
        super().__init__()
        get = initializers._get_initializer
        with self.init_scope():
            self.gamma = Parameter(get(1 if initial_gamma is None else initial_gamma))
            self.beta = Parameter(get(0 if initial_beta is None else initial_beta))
            self.eps = eps
        if size is not None:
            self._initialize_params(size)

    def _initialize_params(self, size):
        self.gamma.initialize(size)
        self.beta.initialize(size)

    def forward(self, x):
        """Normalize."""
        if self.gamma.array is None:
            self._initialize_params(size_of_shape(x.shape[1:]))
        return normalizing.layer_normalization(x, self.gamma, self.beta, self.eps)


class BatchNormalization(Link):
    """Columns normalized over the batch; averages are used outside of training."""

    gamma = None
    beta = None

    def __init__(
        self,
        size=None,
        decay=0.9,
        eps=2e-5,
        dtype=None,
        use_gamma=True,
        use_beta=True,
        initial_gamma=None,
        initial_beta=None,
        axis=None,
        initial_avg_mean=None,
        initial_avg_var=None,
    ):
        super().__init__()
        if size is None and axis is None:
            raise RuntimeError("size or axis is required")
        self._initial_averages = (initial_avg_mean, initial_avg_var)
        self.N = 0
        self.register_persistent("N")
        self.decay = decay
        self.eps = eps
        self.axis = (axis,) if isinstance(axis, int) else axis
        self._dtype = get_dtype(dtype, map_mixed16=np.float32)
        with self.init_scope():
            if use_gamma:
                self.gamma = self._parameter(initial_gamma, 1)
            if use_beta:
                self.beta = self._parameter(initial_beta, 0)
        self.avg_mean = self.avg_var = None
        if size is not None:
            self._initialize_params(size)
        self.register_persistent("avg_mean")
        self.register_persistent("avg_var")

    def _parameter(self, given, default):
        initializer = initializers._get_initializer(default if given is None else given)
        initializer.dtype = self._dtype
        return Parameter(initializer)

    def _initialize_params(self, shape):
        averages = []
        for given, default in zip(self._initial_averages, (0, 1), strict=True):
            init = initializers._get_initializer(default if given is None else given)
            array = initializers.generate_array(init, shape, self.xp, self._dtype)
            averages.append(array)
        self.avg_mean, self.avg_var = averages
        for parameter in (self.gamma, self.beta):
            if parameter is not None:
                parameter.initialize(shape)

    @property
    def printable_specs(self):
        yield "size", None if self.avg_mean is None else self.avg_mean.shape[0]
        yield "decay", self.decay
        yield "eps", self.eps
        yield "dtype", self._dtype
        yield "use_gamma", self.gamma is not None
        yield "use_beta", self.beta is not None

    def forward(self, x, **kwargs):
        """Normalize; ``finetune`` starts the averages anew."""
        finetune = kwargs.pop("finetune", False)
        if self.avg_mean is None:
            shape = [n for i, n in enumerate(x.shape) if i not in self.axis]
            self._initialize_params(tuple(shape))
        like = self.avg_mean
        gamma = self.xp.ones_like(like) if self.gamma is None else self.gamma
        beta = self.xp.zeros_like(like) if self.beta is None else self.beta
        if not config.train:
            return normalizing.fixed_batch_normalization(
                x, gamma, beta, self.avg_mean, self.avg_var, self.eps, self.axis
            )
        decay = self.decay
        if finetune:
            self.N += 1
            decay = 1.0 - 1.0 / self.N
        return normalizing.batch_normalization(
            as_variable(x),
            gamma,
            beta,
            eps=self.eps,
            running_mean=self.avg_mean,
            running_var=self.avg_var,
            decay=decay,
            axis=self.axis,
        )

    def start_finetuning(self):
        """Start the averages anew."""
        self.N = 0
