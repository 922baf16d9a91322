"""Gradients as variables, and gradients of gradients.

For a gradient of a gradient the rule of each node runs on variables: what it saved is
replaced by the variables of the graph that it was, so that the result depends on them.
An intermediate value is none of them, since how it depends on the inputs was not
recorded; a node that saved one is composed of simpler operations instead.
"""

from collections.abc import Sequence

from dyrnn.engine import operators
from dyrnn.engine.backprop import propagate, run_on_arrays
from dyrnn.engine.core import FunctionNode, Variable, VariableLike, as_variable, edge_of
from dyrnn.errors import ShapeError


def grad(
    outputs: Variable | Sequence[Variable],
    inputs: Variable | Sequence[Variable],
    grad_outputs: Sequence[VariableLike | None] | None = None,
    create_graph: bool = False,
) -> list[Variable | None]:
    """Return the gradients of ``outputs`` with respect to ``inputs``.

    Nothing is added to the variables' ``grad``.

    Parameters
    ----------
    outputs, inputs : Variable or sequence of Variable
    grad_outputs : sequence of Variable, array or None, optional
        Weights of the outputs; by default ones: the gradient of the sum of all
        elements of all outputs.
    create_graph : bool
        Whether the result can be differentiated again.

    Returns
    -------
    list of Variable or None
        None for an input that the outputs do not depend on.

    Raises
    ------
    ShapeError, ValueError, TypeError
        If ``grad_outputs`` do not fit the outputs, or something is no variable.
    """
    outputs = [outputs] if isinstance(outputs, Variable) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Variable) else list(inputs)
    if grad_outputs is None:
        grad_outputs = [None] * len(outputs)
    elif isinstance(grad_outputs, Variable) or len(grad_outputs) != len(outputs):
        raise ValueError(
            f"grad: give grad_outputs as a list of {len(outputs)}, one for each "
            "output; None is ones"
        )
    for v in (*outputs, *inputs):
        if not isinstance(v, Variable):
            raise TypeError(
                f"grad: outputs and inputs are variables, but one is {type(v).__name__}"
            )
    seeds = []
    for y, gy in zip(outputs, grad_outputs, strict=True):
        if gy is None:
            gy = y.xp.ones_like(y.array)
        elif not hasattr(gy, "shape"):
            raise TypeError(
                f"grad: grad_outputs hold a {type(gy).__name__}, but must be "
                "variables, arrays or None"
            )
        elif gy.shape != y.shape:
            raise ShapeError(
                f"grad: an output of shape {y.shape} has a gradient of {gy.shape} in "
                "grad_outputs; both must be the same"
            )
        if create_graph:
            gy = as_variable(gy)
        elif isinstance(gy, Variable):
            gy = gy.array
        seeds.append((edge_of(y), gy))
    edges = [edge_of(x) for x in inputs]
    run = run_on_variables if create_graph else run_on_arrays
    found = propagate(seeds, targets=set(edges), run=run)
    results: list[Variable | None] = []
    for edge in edges:
        total = found.get(edge)
        if total is None:
            results.append(None)
        else:
            value = total.lend() if create_graph else total.dense()
            results.append(as_variable(value))
    return results


def run_on_variables(nodes, all_gys):
    """Run ``backward`` of each node so that its result can be differentiated."""
    return [backward(node, gys) for node, gys in zip(nodes, all_gys, strict=True)]


def backward(node, gys):
    """Return the gradients of a node's inputs as variables with a graph."""
    if None in node.roles:
        return _composed(node, gys)
    arrays = node.saved
    node.saved = tuple(
        _variable(node, a, role) for a, role in zip(arrays, node.roles, strict=True)
    )
    try:
        return node.backward(operators.functions, *gys)
    finally:
        node.saved = arrays


def _variable(node, array, role):
    """Return the variable that a saved array was."""
    kind, index = role
    if kind == "output":
        return _revive(array, node, index)
    if kind == "input" and node.edges[index] is not None:
        return _revive(array, *node.edges[index])
    return array if kind == "number" else Variable(array, requires_grad=False)


def _revive(array, source, index):
    """Return the variable that an edge of the graph leads to."""
    if index is None:
        return source
    variable = Variable(array)
    variable.node, variable.index = source, index
    return variable


def _composed(node, gys):
    # Aliases: one input may depend on another, and that is not to be counted here.
    inputs = [
        as_variable(a) if edge is None else Alias().apply(_revive(a, *edge))
        for a, edge in zip(node.saved, node.edges, strict=False)
    ]
    outputs = node.composed(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    used = [i for i, gy in enumerate(gys) if gy is not None]
    ys = [outputs[i] for i in used]
    return tuple(grad(ys, inputs, [gys[i] for i in used], create_graph=True))


class Alias(FunctionNode):
    """The same variable at another place of the graph."""

    def forward(self, xp, x):
        return x

    def backward(self, xp, gy):
        return gy
