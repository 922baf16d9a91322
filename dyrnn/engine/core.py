"""The engine: variables, operations, and how gradients flow back.

A :class:`Variable` is an array, the node that made it, and its index among that node's
outputs. A :class:`FunctionNode` is one application of an operation: it keeps arrays its
rule needs and, as edges, where its inputs came from. Nodes are numbered as they are
made, and every number is higher than those it depends on; :func:`propagate` runs those
whose outputs nobody waits for any more, the latest made first, without recursion, since
the graph of a recurrent network is deeper than Python's stack.

One rule serves three worlds: ``backward(xp, gy)`` runs on NumPy arrays, on CuPy arrays,
and, for a gradient of a gradient (``higher_order.py``), on variables with ``xp =
dyrnn.functions``.
"""

from __future__ import annotations

import itertools
from operator import attrgetter
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.config import config
from dyrnn.engine import hooks
from dyrnn.engine.backprop import propagate
from dyrnn.engine.counts import MEAN, own_count
from dyrnn.engine.gradients import Sum
from dyrnn.engine.operators import Operators
from dyrnn.errors import ShapeError
from dyrnn.typing import Array

_KINDS = "fiub"  # of dtypes
_numbers = itertools.count(1)


class Variable(Operators):
    """An array that remembers how it was computed.

    Parameters
    ----------
    array : numpy.ndarray or cupy.ndarray
        The values. It is held, not copied, here and by the operations: change it in
        place only when no :meth:`backward` through them is to come.
    name : str, optional
        Shown by ``repr`` and in graphs.
    requires_grad : bool
        Whether :meth:`backward` computes a gradient for it.
    """

    # What only a loss has, _count, is not there in the others.
    __slots__ = (
        "_count",
        "_gradient",
        "_requires_grad",
        "array",
        "index",
        "name",
        "node",
    )

    array: Array  # None in a parameter that waits for its shape

    def __init__(
        self,
        array: Array | np.generic | None,
        name: str | None = None,
        requires_grad: bool = True,
    ) -> None:
        if not backend.is_array(array) and array is not None:
            if not isinstance(array, np.generic):
                raise TypeError(
                    f"Variable holds an array, not a {type(array).__name__}. "
                    "Convert it first, e.g. np.asarray(x, dtype=np.float32)."
                )
            array = np.asarray(array)
        if array is not None and array.dtype.kind not in _KINDS:
            _refuse(array)
        self.array = array
        self.name = name
        self.node = None
        self.index = 0
        self._requires_grad = requires_grad
        self._gradient = None

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient can flow to or through this variable."""
        return self._requires_grad if self.node is None else not self.node.is_cut

    @property
    def creator(self):
        """The node that computed this variable, or None for a leaf."""
        return None if self.node is None or self.node.is_cut else self.node

    shape: tuple[int, ...] = property(attrgetter("array.shape"))
    ndim: int = property(attrgetter("array.ndim"))
    size: int = property(attrgetter("array.size"))
    dtype: np.dtype = property(attrgetter("array.dtype"))

    @property
    def xp(self) -> Any:
        """The array module, NumPy or CuPy."""
        return backend.get_array_module(self.array)

    @property
    def device(self) -> backend.Device:
        """The :class:`dyrnn.backend.Device` the array lives on."""
        return backend.device_of(self.array)

    @property
    def count(self) -> Any:
        """How many labels this is the mean of, or None: losses and scores know it.

        Set it on a loss of your own, as ``loss.count = mask.sum()``; means over batches
        weigh by it, and so does `BPTTUpdater` its steps. On a GPU it is an array.
        """
        return own_count(self) if self.size == 1 else None

    @count.setter
    def count(self, labels: Any) -> None:
        labels = getattr(labels, "array", labels)
        if isinstance(labels, int | float | np.number | np.ndarray):
            is_number = np.ndim(labels) == 0 and 0 <= labels < np.inf
        else:  # on a GPU
            is_number = getattr(labels, "shape", None) == ()
        if not is_number:
            raise ValueError(
                "count: expected how many labels the loss is the mean of, a number "
                f"from 0 on, got {labels!r:.80}. Write loss.count = mask.sum()."
            )
        self._count = labels, 1.0, MEAN

    def __bool__(self):
        raise TypeError(
            "a Variable has no truth value; compare its array: `v.array > 0`"
        )

    def __repr__(self):
        name = "" if self.name is None else f" {self.name}"
        if self.array is None:
            return f"variable{name}(without a shape yet)"
        body = str(backend.to_cpu(self.array))
        return f"variable{name}({body.replace(chr(10), chr(10) + ' ' * 9)})"

    def __format__(self, spec):
        if not spec:
            return str(self)
        if self.size != 1:
            raise TypeError(
                f"a variable of shape {self.shape} has no format {spec!r}; format its "
                "elements, those of v.array"
            )
        return format(self.item(), spec)

    def item(self) -> float:
        """Return the only element as a Python number (waits for a GPU)."""
        return self.array.item()

    def __reduce__(self):
        grad = None if self.node is not None else self.grad
        values = (type(self), self.array, self.name, self.requires_grad, grad)
        return rebuild, values

    @property
    def total(self):
        """The gradient as a :class:`~dyrnn.engine.gradients.Sum`, or None.

        What it holds may be sparse, and a factor may wait to be applied: an optimizer
        that reads ``total.settled()`` saves passes over the array that ``grad`` is.
        """
        return self._gradient if self.node is None else self.node.retained(self.index)

    @property
    def grad(self) -> Array | None:
        """The gradient as an array of the variable's shape, or None.

        An intermediate variable has one after ``backward(retain_grad=True)``.
        """
        total = self.total
        return None if total is None else total.dense()

    @grad.setter
    def grad(self, value: Variable | Array | None) -> None:
        if value is None:
            total = None
        else:
            value = as_array(value)
            if not hasattr(value, "shape"):
                raise TypeError(
                    f"a gradient is an array, not a {type(value).__name__}; give one "
                    f"of shape {self.shape}, e.g. np.ones_like(v.array)"
                )
            if value.shape != self.shape:
                raise ShapeError(
                    f"a gradient of shape {value.shape} was given to a variable of "
                    f"shape {self.shape}"
                )
            total = Sum(value, owned=True)
        if self.node is None:
            self._gradient = total
        else:
            self.node.retain(self.index, total)

    def cleargrad(self) -> None:
        """Forget the gradient."""
        if self.node is None:
            self._gradient = None
        else:
            self.node.retain(self.index, None)

    def backward(self, retain_grad: bool = False) -> None:
        """Compute the gradient of this variable with respect to all it was made from.

        Gradients are added to those the leaves have already. The graph stays usable
        until :meth:`unchain_backward`.

        Parameters
        ----------
        retain_grad : bool
            Keep the gradients of intermediate variables, too.

        Raises
        ------
        ValueError
            If the variable has several elements and no ``grad`` was set.
        RuntimeError
            If its graph has been cut, or none was recorded.
        """
        if self.node is not None and self.node.is_cut:
            raise RuntimeError(
                "backward on a variable whose graph was cut by unchain_backward; "
                "compute it again, or call backward first"
            )
        seed = self.grad
        if seed is None and self.size != 1:
            raise ValueError(
                f"backward on a variable of shape {self.shape}: only a scalar starts "
                "with gradient 1. Reduce it, e.g. F.sum(y), or set y.grad."
            )
        if self.node is None:
            if not self._requires_grad:
                raise RuntimeError(
                    "backward on a variable without a graph: it was computed inside "
                    "no_backprop_mode(), or only from arrays and variables that "
                    "require no gradient, or it was unchained"
                )
            if self._gradient is None:
                self.grad = self.xp.ones_like(self.array)
            return
        # A copy, since leaves may borrow the seed, and whoever gave it may change it.
        seed = self.xp.ones_like(self.array) if seed is None else seed.copy()
        seeds = [(edge_of(self), seed)]
        for leaf, total in propagate(seeds, retain_grad=retain_grad).items():
            if leaf._gradient is None:
                leaf._gradient = total
            else:
                leaf._gradient.add(total.settled()[0])
                leaf._gradient.settled()

    def unchain(self) -> None:
        """Cut this variable off the node that made it; only its values remain."""
        self.node, self.index, self._requires_grad = None, 0, False

    def unchain_backward(self) -> None:
        """Cut the graph behind this variable, and free what it kept.

        Truncated backpropagation through time calls it after each window: the carried
        state keeps its values and loses its history.
        """
        stack = [] if self.node is None else [self.node]
        while stack:
            node = stack.pop()
            if node.is_cut:
                continue
            stack += [e[0] for e in node.edges if e is not None and e[1] is not None]
            node.cut()


def totals(variables):
    """Return of each variable its ``total``."""
    return [variable.total for variable in variables]


def clear(variables):
    """Forget the gradients of variables."""
    for variable in variables:
        variable.cleargrad()


def _refuse(array):
    raise TypeError(
        f"an array of {array.dtype} was given; use real numbers or booleans, such as "
        "np.asarray(x, dtype=np.float32)"
    )


def rebuild(cls, array, name, requires_grad, grad):
    """Make a leaf variable again from what pickle or deepcopy kept of it."""
    variable = cls.__new__(cls)
    Variable.__init__(variable, array, name, requires_grad)
    if grad is not None:
        variable.grad = grad
    return variable


# What functions take: an array becomes a variable without a gradient, and where a
# number will do, so does that.
VariableLike = Variable | Array
Operand = VariableLike | np.generic | float


def as_variable(x: Operand) -> Variable:
    """Return ``x`` as a variable; an array becomes one without a gradient."""
    if isinstance(x, Variable):
        return x
    # A np.float64 is a float, too, but has a type of its own, which it keeps.
    if isinstance(x, (bool, int, float)) and not isinstance(x, np.generic):
        x = np.asarray(x, dtype=config.dtype)
    return Variable(x, requires_grad=False)


def as_array(x: Any) -> Array:
    """Return the array of a variable; anything else is returned as it is."""
    return getattr(x, "array", x)


class FunctionNode:
    """One application of a differentiable operation.

    A subclass defines ``forward(xp, *arrays)``, which returns an array or a tuple of
    them, and ``backward(xp, *gys)``, which takes a gradient for each output (None for
    one that nobody used) and returns one for each input, a bare one for a single input,
    None where there is none. Python numbers beside arrays in :meth:`apply` reach
    ``forward`` as they are. Neither may write into what it was given.
    """

    group: Any = None  # a method of nodes that can run together, see ``grouping.py``
    edges: tuple = ()
    saved: tuple = ()
    is_cut = False
    n_outputs = 1
    number = 0
    roles: list | tuple = ()
    _gradients: dict | None = None

    def forward(self, xp, *arrays):
        """Compute the outputs."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def backward(self, xp, *gys):
        """Compute the gradients of the inputs."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def save(self, *arrays):
        """Keep arrays for ``backward``, which finds them in ``self.saved``.

        Save the very inputs and outputs, not copies: a gradient of the gradient has to
        know which they are.
        """
        self.saved = arrays

    def wants(self, i):
        """Whether input ``i`` needs a gradient; ask before costly work only."""
        return self.edges[i] is not None

    def apply(self, *inputs):
        """Run ``forward`` and record it; return a variable, or a tuple of them."""
        # Long, since every call of a method here costs a hundredth of a small node.
        arrays, edges, is_recorded, xp = [], [], False, np
        for x in inputs:
            edge = None
            if isinstance(x, Variable):
                node = x.node
                if node is None:
                    if x._requires_grad:
                        edge = (x, None)
                        is_recorded = True
                elif not node.is_cut:
                    edge = (node, x.index)
                    is_recorded = True
                x = x.array
                if type(x) is not np.ndarray:
                    xp = None
            elif type(x) is np.ndarray:
                if x.dtype.kind not in _KINDS:
                    _refuse(x)
            elif isinstance(x, np.generic):
                x = x.item()  # a NumPy scalar must not widen the type
            elif not isinstance(x, (float, int)) and not backend.is_array(x):
                raise TypeError(
                    f"{type(self).__name__}: an input is of type {type(x).__name__}; "
                    "use variables, arrays and real numbers, e.g. np.asarray(x, "
                    "dtype=np.float32)"
                )
            elif not isinstance(x, (float, int)):
                xp = None
            arrays.append(x)
            edges.append(edge)
        if isinstance(arrays[0], (float, int)) and not any(
            map(backend.is_array, arrays)
        ):
            arrays = [np.asarray(x, dtype=config.dtype) for x in arrays]
        if len(arrays) > 1 and len(set(map(id, arrays))) < len(arrays):
            arrays = distinct(inputs, arrays)
        if xp is None:
            xp = backend.get_array_module(*arrays)
        is_recorded = is_recorded and config.enable_backprop
        if is_recorded:
            self.edges = tuple(edges)
        watchers = hooks.watching() if hooks.active or config.debug else ()
        for hook in watchers:
            hook.forward_before(self, arrays)
        outputs = self.forward(xp, *arrays)
        is_tuple = type(outputs) is tuple
        if not is_tuple:
            outputs = (outputs,)
        for y in outputs:
            if isinstance(y, np.generic):  # where CuPy has an array without axes
                outputs = self.as_arrays(outputs)
                break
        if watchers:
            for hook in watchers:
                hook.forward_after(self, arrays, outputs)
        node = None
        if is_recorded:
            node = self
            self.number = next(_numbers)
            if self.saved:
                self.roles = roles_of(self.saved, arrays, outputs)
        else:
            self.saved = ()
        if not is_tuple:
            return _result(outputs[0], node, 0)
        self.n_outputs = len(outputs)
        return tuple([_result(y, node, i) for i, y in enumerate(outputs)])

    def as_arrays(self, outputs):
        """Turn scalars among the outputs into arrays, and so where they were saved."""
        arrays = tuple([np.asarray(y) for y in outputs])
        for y, array in zip(outputs, arrays, strict=True):
            self.saved = tuple([array if a is y else a for a in self.saved])
        return arrays

    def retain(self, index, total):
        """Keep the gradient of output ``index``."""
        if self._gradients is None:
            self._gradients = {}
        self._gradients[index] = total

    def retained(self, index):
        """Return the gradient kept for output ``index``, or None."""
        return None if self._gradients is None else self._gradients.get(index)

    def cut(self):
        """Drop the inputs and all that was saved."""
        self.edges = self.saved = self.roles = ()
        self.is_cut = True

    def composed(self, *inputs):
        """Compute the outputs from simpler operations, to be differentiated twice.

        A node that saves intermediate values (role None) defines it, and saves its
        inputs first.
        """
        raise RuntimeError(
            f"{type(self).__name__} cannot be differentiated twice, since it saved "
            "intermediate values."
        )


def _result(array, node, index):
    """Make the variable of an output; faster than to call its class."""
    variable = _new_variable(Variable)
    variable.array = array
    variable.node = node
    variable.index = index
    variable.name = variable._gradient = None
    variable._requires_grad = False
    return variable


_new_variable = Variable.__new__


def edge_of(variable):
    """Return where a variable came from: (node, index), or (itself, None)."""
    return (
        (variable, None) if variable.node is None else (variable.node, variable.index)
    )


# What the arrays are that a node saves is told by identity when it runs: in gradients
# of gradients an input or output stands for a variable of the graph.


def distinct(inputs, arrays):
    """Give different variables that share one array different array objects.

    :func:`role` tells saved arrays apart by identity: it would take one for another.
    """
    seen = {}
    for i, array in enumerate(arrays):
        if backend.is_array(array):
            if seen.setdefault(id(array), inputs[i]) is not inputs[i]:
                arrays[i] = array.view()
    return arrays


def roles_of(saved, inputs, outputs):
    """Return the role of each array that was saved."""
    return [role(array, inputs, outputs) for array in saved]


def role(array, inputs, outputs):
    """Return what a saved array is: an input, an output, a constant, or None.

    Integers and booleans (ids, masks) are constants, whatever they were computed from:
    they do not change with small changes of the inputs.
    """
    if not hasattr(array, "dtype"):
        return ("number", 0)
    for i, x in enumerate(inputs):
        if array is x:
            return ("input", i)
    for i, y in enumerate(outputs):
        if array is y:
            return ("output", i)
    return ("constant", 0) if array.dtype.kind in "biu" else None
