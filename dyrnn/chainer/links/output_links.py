"""Links at the end of a model: classifiers and losses with weights."""

import heapq

import numpy as np

from dyrnn.chainer import _backend, functions, initializers, reporter
from dyrnn.chainer.configuration import get_dtype
from dyrnn.chainer.device_resident import DeviceResident
from dyrnn.chainer.functions import joining, sequence_losses, word_losses
from dyrnn.chainer.functions.basic_math import mul
from dyrnn.chainer.functions.elementwise import softplus
from dyrnn.chainer.functions.products import embed_id, matmul
from dyrnn.chainer.functions.reduction import sum as sum_over
from dyrnn.chainer.functions.shaping import expand_dims
from dyrnn.chainer.link import Chain, Link
from dyrnn.chainer.links.recurrent_links import argsort_list_descent, permutate_list
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.utils.walker_alias import WalkerAlias
from dyrnn.chainer.variable import Parameter, Variable
from dyrnn.chainer.worlds import check_inputs


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
        lossfun=functions.softmax_cross_entropy,
        accfun=functions.accuracy,
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
        return word_losses.negative_sampling(
            x, t, self.W, sample, self.sample_size, reduce=reduce, **kwargs
        )


class BlackOut(Link):
    """Tells words from noise, weighing all by one softmax.

    ``sample_data`` stands in for drawn noise if it is set.
    """

    sample_data = None

    def __init__(self, in_size, counts, sample_size):
        super().__init__()
        self.sampler = WalkerAlias(np.array(counts, np.float32))
        self.sample_size = sample_size
        with self.init_scope():
            # Chainer leaves NaN here, for the caller to overwrite.
            self.W = Parameter(initializers.LeCunNormal(), (len(counts), in_size))

    def device_resident_accept(self, visitor):
        super().device_resident_accept(visitor)
        self.sampler.device_resident_accept(visitor)

    def forward(self, x, t):
        """Return the loss."""
        samples = self.sample_data
        if samples is None:
            samples = self.sampler.sample((x.shape[0], self.sample_size))
        samples = Variable(samples, requires_grad=False)
        return functions.black_out(x, t, self.W, samples)


class TreeParser:
    """Finds each word's path through a binary tree of pairs, and its turns.

    Inner nodes are numbered as they are met, from left to right. A turn is 1 to the
    left and -1 to the right.
    """

    def __init__(self, dtype=np.float32):
        self.dtype = dtype
        self.next_id = 0

    def size(self):
        """Return the number of inner nodes."""
        return self.next_id

    def get_paths(self):
        """Return the numbers of the nodes above each word."""
        return self.paths

    def get_codes(self):
        """Return the turns to each word."""
        return self.codes

    def parse(self, tree):
        """Walk through a tree."""
        self.next_id = 0
        self.paths = {}
        self.codes = {}
        waiting = [(tree, (), ())]
        while waiting:
            node, path, code = waiting.pop()
            if not isinstance(node, tuple):
                self.paths[node] = np.array(path, np.int32)
                self.codes[node] = np.array(code, self.dtype)
                continue
            if len(node) != 2:
                raise ValueError("All internal nodes must have two child nodes")
            path = (*path, self.next_id)
            self.next_id += 1
            waiting.append((node[1], path, (*code, -1.0)))
            waiting.append((node[0], path, (*code, 1.0)))


class BinaryHierarchicalSoftmaxFunction(DeviceResident):
    """A tree's paths and turns, end to end by word, and the loss from them."""

    def __init__(self, tree, dtype):
        super().__init__()
        parser = TreeParser(dtype)
        parser.parse(tree)
        words = sorted(parser.paths)
        lengths = np.zeros(words[-1] + 1, np.int32)
        lengths[words] = [len(parser.paths[word]) for word in words]
        self.paths = np.concatenate([parser.paths[word] for word in words])
        self.codes = np.concatenate([parser.codes[word] for word in words])
        self.begins = np.append(0, np.cumsum(lengths)).astype(np.int32)
        self.parser_size = parser.size()
        self.longest = int(lengths.max())

    def device_resident_accept(self, visitor):
        super().device_resident_accept(visitor)
        self.paths = visitor.visit_array(self.paths)
        self.codes = visitor.visit_array(self.codes)
        self.begins = visitor.visit_array(self.begins)

    def check_type_forward(self, in_types):
        word_losses.check_words(in_types)
        x, _, w = in_types
        type_check.expect(w.shape[0] == self.parser_size, w.shape[1] == x.shape[1])

    def __call__(self, x, t, W):
        check_inputs(type(self).__name__, self.check_type_forward, x, t, W)
        t = _backend.raw(t)
        places = self.begins[t][:, None] + self.xp.arange(self.longest)
        used = places < self.begins[t + 1][:, None]
        places = self.xp.where(used, places, 0)
        codes = self.codes[places]
        w = embed_id(self.paths[places], W)
        score = matmul(w, expand_dims(x, 2)).reshape(codes.shape)
        return sum_over(mul(softplus(-(score * codes)), used.astype(codes.dtype)))


class BinaryHierarchicalSoftmax(Link):
    """A word's probability as that of its way down a binary tree."""

    def __init__(self, in_size, tree, dtype=None):
        super().__init__()
        self._func = BinaryHierarchicalSoftmaxFunction(tree, get_dtype(dtype))
        with self.init_scope():
            shape = (self._func.parser_size, in_size)
            self.W = Parameter(initializers.Uniform(1), shape)

    def device_resident_accept(self, visitor):
        super().device_resident_accept(visitor)
        self._func.device_resident_accept(visitor)

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
        return self._func(x, t, self.W)


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
