#!/usr/bin/env python
"""Networks over trees: by recursion over Variables, and level by level on a stack."""

import collections

import numpy as np

import chainer
from chainer import cuda, reporter, training
from chainer import Function, Variable
import chainer.functions as F
import chainer.links as L
from chainer.training import extensions
from chainer.utils import type_check

np.random.seed(0)
random = np.random.RandomState(0)
WORDS = ["not", "very", "good", "bad", "film"]


def grow(depth):
    """Return (label, left, right) or (label, word); "not" turns the label round."""
    if depth == 0 or random.rand() < 0.3:
        word = random.randint(len(WORDS))
        return int(word == 2), word
    left, right = grow(depth - 1), grow(depth - 1)
    label = int(left[0] or right[0])
    return (1 - label if left[1:] == (0,) else label), left, right


class TreeNet(chainer.Chain):
    def __init__(self, n_units):
        super(TreeNet, self).__init__(
            embed=L.EmbedID(len(WORDS), n_units),
            l=L.Linear(n_units * 2, n_units),
            w=L.Linear(n_units, 2),
        )
        self.n_units = n_units

    def traverse(self, node, result, volatile="off"):
        if len(node) == 2:
            word = self.xp.array([node[1]], np.int32)
            loss, v = 0, self.embed(Variable(word, volatile=volatile))
        else:
            left_loss, left = self.traverse(node[1], result, volatile)
            right_loss, right = self.traverse(node[2], result, volatile)
            v = F.tanh(self.l(F.concat((left, right))))
            loss = left_loss + right_loss
        y = self.w(v)
        t = Variable(self.xp.array([node[0]], np.int32), volatile=volatile)
        result["correct"] += int(cuda.to_cpu(y.data.argmax(1))[0] == node[0])
        result["total"] += 1
        return loss + F.softmax_cross_entropy(y, t), v

    def __call__(self, trees):
        result = collections.defaultdict(int)
        loss = 0.0
        for tree in trees:
            loss += self.traverse(tree, result)[0]
        loss /= result["total"]
        reporter.report({"loss": loss}, self)
        reporter.report(dict(result), self)
        return loss


class Put(Function):
    """Writes rows to places of a stack, into the very array it was given."""

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() == 3)
        s_type, i_type, x_type = in_types
        type_check.expect(
            s_type.dtype == x_type.dtype,
            i_type.dtype.kind == "i",
            s_type.shape[0] >= i_type.shape[0],
            s_type.shape[2] == x_type.shape[1],
        )

    def forward(self, inputs):
        stack, places, x = inputs
        stack[range(len(places)), places] = x
        return (stack,)

    def backward(self, inputs, grads):
        places, (g,) = inputs[1], grads
        gx = g[range(len(places)), places]
        g[range(len(places)), places] = 0
        return g, None, gx


class Get(Function):
    def forward(self, inputs):
        stack, places = inputs
        return stack[range(len(places)), places], stack

    def backward(self, inputs, grads):
        stack, places = inputs
        g, gs = grads
        if gs is None:
            gs = cuda.get_array_module(stack).zeros_like(stack)
        if g is not None:
            gs[range(len(places)), places] += g
        return gs, None


def postorder(tree):
    """Return a row for each node: its label, its word or -1, places of its children."""
    rows = []

    def visit(node):
        if len(node) == 2:
            rows.append((node[0], node[1], 0, 0))
        else:
            children = visit(node[1]), visit(node[2])
            rows.append((node[0], -1) + children)
        return len(rows) - 1

    visit(tree)
    return np.array(rows, np.int32)


class StackNet(TreeNet):
    """Runs many trees at once, one node of each in every step."""

    def __call__(self, *trees):
        trees = [trees[i] for i in np.argsort([-len(tree) for tree in trees])]
        steps = F.transpose_sequence(trees)
        stack = self.xp.zeros((len(trees), len(steps), self.n_units), "f")
        loss, count = 0, 0
        for i, rows in enumerate(steps):
            label, word, left, right = [x.data for x in F.separate(rows, axis=1)]
            (l, stack), (r, stack) = Get()(stack, left), Get()(stack, right)
            is_leaf = self.xp.broadcast_to((word >= 0)[:, None], l.shape)
            leaf = self.embed(self.xp.maximum(word, 0))
            v = F.where(is_leaf, leaf, F.tanh(self.l(F.concat((l, r)))))
            stack = Put()(stack, self.xp.full(len(word), i, "i"), v)
            loss += F.softmax_cross_entropy(self.w(v), label) * len(word)
            count += len(word)
        loss /= count
        reporter.report({"loss": loss}, self)
        return loss


def convert(batch, device):
    assert device is None or device < 0
    return tuple(postorder(tree) for tree in batch)


trees = [grow(3) for _ in range(40)]
model, stacked = TreeNet(8), StackNet(8)
stacked.copyparams(model)

# Both networks are the same function, with the same gradients.
for link, loss in ((model, model(trees)), (stacked, stacked(*convert(trees, None)))):
    link.zerograds()
    loss.backward()
    print("tree loss %f" % loss.data)
for a, b in zip(model.params(), stacked.params()):
    chainer.testing.assert_allclose(a.grad, b.grad, atol=1e-5)

optimizer = chainer.optimizers.AdaGrad(lr=0.1)
optimizer.setup(model)
optimizer.add_hook(chainer.optimizer.WeightDecay(1e-4))
losses = []
for epoch in range(8):
    for i in range(0, len(trees), 10):
        optimizer.zero_grads()
        loss = model(trees[i : i + 10])
        loss.backward()
        optimizer.update()
        losses.append(float(loss.data))
result = collections.defaultdict(int)
for tree in trees:
    loss, _ = model.traverse(tree, result, volatile="on")
    assert loss.creator is None
assert result["correct"] > 0.8 * result["total"]
print("loss %f %f" % (losses[0], losses[-1]))

optimizer = chainer.optimizers.AdaGrad(lr=0.1)
optimizer.setup(stacked)
train_iter = chainer.iterators.SerialIterator(trees, 10)
updater = training.StandardUpdater(train_iter, optimizer, converter=convert)
trainer = training.Trainer(updater, (8, "epoch"))
trainer.extend(extensions.LogReport())
trainer.run()
