"""Node classes of dyrnn as node classes of Chainer's engine: one rule, a fourth world.

A rule of :mod:`dyrnn.functions` is written in operators and in the names of ``xp``, and
so runs on NumPy's arrays, on CuPy's, and on dyrnn's variables. Here it runs on
Chainer's variables, too, with ``xp = names``. :func:`from_core` makes the class::

    Tanh = from_core(activation.Tanh, check=of_floats("x"))

    def tanh(x):
        return Tanh().apply((x,))[0]

The arguments of the class are those of the core's. What stays Chainer's are ``check``
(``check_type_forward``, a function of the inputs' types), ``label``, signatures, and
what is computed from the arguments before. A subclass may override ``forward`` (to put
a constant among the inputs, say) and call :meth:`CoreNode.run` in it.

Where no gradient of the gradient is asked for, the rule runs on arrays:
:meth:`CoreNode.backward_arrays` is the way that makes no variables.
"""

import numpy as np

from dyrnn import backend
from dyrnn.chainer import _backend, _operations
from dyrnn.chainer.bridging import gradients_of
from dyrnn.chainer.configuration import config
from dyrnn.chainer.function_node import FunctionNode
from dyrnn.chainer.utils import type_check
from dyrnn.chainer.variable import Variable
from dyrnn.engine.core import roles_of
from dyrnn.engine.gradients import densify


class _Names:
    """Chainer's functions by NumPy's names, as rules call them."""

    def __getattr__(self, name):
        return getattr(_operations.functions, name)

    def abs(self, x):
        return _operations.functions.absolute(x)

    def concatenate(self, xs, axis=0):
        return _operations.functions.concat(tuple(xs), axis=axis)

    def where(self, condition, x, y):
        like = x if isinstance(x, Variable) else y
        x, y = _alike(x, like), _alike(y, like)
        return _operations.functions.where(condition, x, y)


names = _Names()


def _alike(x, like):
    """Return a number or an array as an array of the variable's type."""
    return x if isinstance(x, Variable) else like.xp.asarray(x, like.dtype)


def of_floats(*args):
    """Return a check: as many inputs as names, all float and of one type."""

    def check(in_types):
        type_check._argname(in_types, args)
        type_check.expect(in_types[0].dtype.kind == "f")
        for in_type in in_types[1:]:
            type_check.expect(in_types[0].dtype == in_type.dtype)

    return check


class _Check(FunctionNode):
    """A node that does nothing but to check the types of its inputs."""

    label = ""

    def __init__(self, label, check):
        self.label = label
        self.check_type_forward = check


def check_inputs(label, check, *inputs):
    """Check the inputs of a function that is made of others, under its own name."""
    if config.type_check:
        arrays = tuple([_backend.raw(x) for x in inputs])
        _Check(label, check)._check_data_type_forward(arrays)


class CoreNode(FunctionNode):
    """A node of Chainer's engine that computes by the rule of one of dyrnn's.

    Attributes
    ----------
    kind : type
        The node class of dyrnn.
    rule : dyrnn.engine.core.FunctionNode
        Its instance, made with this node's arguments.
    first : int
        Which of the rule's inputs this node's first one is; constants may be around.
    """

    kind: type
    first = 0
    _roles: list | tuple = ()

    def __init__(self, *args, **kwargs):
        self.rule = self.kind(*args, **kwargs)

    def forward(self, inputs):
        return self.run(*inputs)

    def run(self, *arrays):
        """Compute the outputs; of each array that is saved, note what it is."""
        rule = self.rule
        if len(arrays) > 1 and len(set(map(id, arrays))) < len(arrays):
            arrays = _distinct(arrays)
        if config.enable_backprop:
            rule.edges = (True,) * len(arrays)
        ys = rule.forward(backend.get_array_module(*arrays), *arrays)
        if type(ys) is not tuple:
            ys = (ys,)
        for y in ys:
            if isinstance(y, np.generic):
                ys = rule.as_arrays(ys)
                break
        self._roles = roles_of(rule.saved, arrays, ys)
        kept = []
        for kind, i in filter(None, self._roles):
            if kind == "input" and i >= self.first:
                kept.append(i - self.first)
        self.retain_inputs(kept)
        return ys

    def backward(self, indexes, gys):
        if config.enable_backprop:
            return self._differentiable(indexes, gys)
        gys = [None if gy is None else gy.array for gy in gys]
        return tuple([_variable(gx) for gx in self.backward_arrays(indexes, gys)])

    def backward_arrays(self, indexes, gys):
        """Run the rule on arrays.

        Parameters
        ----------
        indexes : tuple of int
            Inputs that need a gradient.
        gys : sequence of array or None

        Returns
        -------
        list of array, numpy.generic, gradients.Deferred or None
            The gradients of these inputs.
        """
        self._want(indexes)
        xp = backend.get_array_module(*gys)
        return self._selected(self.rule.backward(xp, *gys), indexes)

    def _want(self, indexes):
        """Tell the rule which of its inputs need a gradient."""
        n, first = len(self.rule.edges), self.first
        if len(indexes) == n:
            self.rule.edges = (True,) * n
        else:
            edges = [True if i - first in indexes else None for i in range(n)]
            self.rule.edges = tuple(edges)

    def _selected(self, gxs, indexes):
        gxs = gxs if type(gxs) is tuple else (gxs,)
        return [gxs[i + self.first] for i in indexes]

    def _differentiable(self, indexes, gys):
        """Run the rule on variables."""
        rule, arrays = self.rule, self.rule.saved
        if None in self._roles:
            xs = [self._saved(i) for i in range(len(self.inputs))]
            return gradients_of(rule.composed, self.label, xs, indexes, gys)
        self._want(indexes)
        rule.saved = tuple([self._saved(k) for k in range(len(arrays))])
        try:
            return tuple(self._selected(rule.backward(names, *gys), indexes))
        finally:
            rule.saved = arrays

    def _saved(self, k):
        """Return what was saved at ``k``: as a variable if it is one of the graph."""
        array, (kind, i) = self.rule.saved[k], self._roles[k]
        if kind == "input" and 0 <= i - self.first < len(self.inputs):
            return _revived(self.inputs[i - self.first], array)
        if kind == "output":
            node = self.outputs[i]()
            if node is not None:
                return _revived(node, array)
            variable = Variable(array)  # nobody holds it: make it again
            variable.creator_node = self
            return variable
        return array

    def unchain(self):
        super().unchain()
        self.rule.saved = ()


def _distinct(arrays):
    """Give inputs that share one array different objects: roles tell by identity."""
    seen: set[int] = set()
    found = []
    for x in arrays:
        found.append(x.view() if id(x) in seen and backend.is_array(x) else x)
        seen.add(id(x))
    return found


def _variable(gradient):
    """Return a gradient as a variable without a history."""
    if gradient is None:
        return None
    array = densify(gradient)
    if isinstance(array, np.generic):  # where CuPy has an array without axes
        array = np.asarray(array)
    return Variable._init_unchecked(array)


def _revived(node, array):
    """Return the variable of a node, made again if nobody holds it."""
    if node.data is None:
        node.data = array
    return node.get_variable()


def from_core(kind, check=None, label=None, name=None):
    """Make a node class of Chainer's engine of a node class of dyrnn.

    Parameters
    ----------
    kind : type
        A class of :mod:`dyrnn.functions`.
    check : callable, optional
        Raises ``type_check.InvalidType`` unless the inputs' types, a tuple, are right.
    label : str, optional
        Name in texts and drawings, by default that of the class.
    name : str, optional
        Name of the class, by default the core's.
    """
    rules = {"kind": kind, "__doc__": kind.__doc__, "__module__": __name__}
    if check is not None:
        rules["check_type_forward"] = lambda self, in_types: check(in_types)
    rules["label"] = label or name or kind.__name__
    return type(name or kind.__name__, (CoreNode,), rules)
