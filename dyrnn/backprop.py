"""How gradients flow back through a graph of nodes.

Works on anything with ``edges``, ``number``, ``n_outputs``, ``group``, ``retain`` and
``backward``. An edge tells where an input came from: (node, index of its output), or
(leaf variable, None); None in its place needs no gradient.
"""

import heapq

from dyrnn import backend, hooks
from dyrnn.gradients import Sum, densify


def _consumers(roots):
    """Count, for each node behind the roots, how many nodes' gradients it waits for."""
    counts = dict.fromkeys(roots, 0)
    stack = list(counts)
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and edge[1] is not None:
                source = edge[0]
                if source in counts:
                    counts[source] += 1
                else:
                    counts[source] = 1
                    stack.append(source)
    return counts


def _leading_to(nodes, targets):
    """Return the nodes through which a gradient reaches one of the targets."""
    useful = set()
    for node in sorted(nodes, key=lambda node: node.number):
        for edge in node.edges:
            if edge is not None and (edge in targets or edge[0] in useful):
                useful.add(node)
                break
    return useful


def backprop(seeds, targets=None, retain_grad=False, create_graph=False):
    """Run the graph backwards.

    A node runs when the gradients of all its outputs are complete, the latest made
    first. Nodes that belong to a group (the linear layers of one weight) wait until
    nothing else can run and then run together: one matrix product for all time steps.

    Parameters
    ----------
    seeds : list of (edge, gradient)
        Where to start: an edge is (node, index of its output) or (leaf, None).
    targets : set of edges (node or leaf, index), optional
        What gradients are wanted; all leaves without it.
    retain_grad : bool
        Keep the gradients of intermediate variables in their nodes.
    create_graph : bool
        Compute on variables, so that the result can be differentiated again.

    Returns
    -------
    dict
        A ``gradients.Sum`` for each leaf, or for each target if there are targets.
    """
    gradients: dict = {}
    found: dict = {}
    for edge, gy in seeds:
        _contribute(gradients, found, edge, gy, targets)
    counts = _consumers([edge[0] for edge, _ in seeds if edge[1] is not None])
    useful = None if targets is None else _leading_to(counts, targets)
    ready = [(-node.number, node) for node, count in counts.items() if count == 0]
    heapq.heapify(ready)
    waiting: dict = {}
    while ready or waiting:
        if ready:
            node = heapq.heappop(ready)[1]
            key = None if create_graph else node.group()
            if key is not None:
                waiting.setdefault(key, []).append(node)
                continue
            nodes = [node]
        else:
            nodes = waiting.pop(_most_urgent(waiting))
        taken = [gradients.pop(node, None) or {} for node in nodes]
        if retain_grad:
            for node, totals in zip(nodes, taken, strict=True):
                for index, total in totals.items():
                    node.retain(index, total)
        runs = [
            (node, totals)
            for node, totals in zip(nodes, taken, strict=True)
            if totals and (useful is None or node in useful)
        ]
        if runs:
            for node, gxs in _run(runs, create_graph):
                for edge, gx in zip(node.edges, gxs, strict=True):
                    if edge is not None and gx is not None:
                        _contribute(gradients, found, edge, gx, targets)
        for node in nodes:
            for edge in node.edges:
                if edge is not None and edge[1] is not None:
                    counts[edge[0]] -= 1
                    if counts[edge[0]] == 0:
                        heapq.heappush(ready, (-edge[0].number, edge[0]))
    return found


def _contribute(gradients, found, edge, gx, targets):
    source, index = edge
    if index is not None:
        totals = gradients.setdefault(source, {})
        if index in totals:
            totals[index].add(gx)
        else:
            totals[index] = Sum(gx)
        if targets is not None and edge in targets:
            found[edge] = totals[index]
    elif targets is None or edge in targets:
        key = source if targets is None else edge
        if key in found:
            found[key].add(gx)
        else:
            found[key] = Sum(gx)


def _most_urgent(waiting):
    """Choose the group to run: the one whose first-made node was made last.

    Within a recurrence the groups of later layers are complete before those of earlier
    ones can start.
    """
    return max(waiting, key=lambda key: min(node.number for node in waiting[key]))


def _run(runs, create_graph):
    """Run ``backward`` of the nodes; yield each with the gradients of its inputs."""
    first, _ = runs[0]
    gys = []
    for node, totals in runs:
        gy = [
            totals[i].borrowed() if i in totals else None for i in range(node.n_outputs)
        ]
        if not first.takes_deferred:
            gy = [densify(g) for g in gy]
        gys.append(gy)
    watchers = hooks.watching()
    for hook in watchers:
        for node, _ in runs:
            hook.backward_before(node)
    if create_graph:
        results = [first.differentiable_backward(gys[0])]
    else:
        xp = backend.get_array_module(*[a for g in gys for a in g if a is not None])
        if len(runs) == 1:
            results = [first.backward(xp, *gys[0])]
        else:
            results = first.backward_group(xp, [node for node, _ in runs], gys)
    for hook in watchers:
        for node, _ in runs:
            hook.backward_after(node)
    for (node, _), result in zip(runs, results, strict=True):
        gxs = result if isinstance(result, (tuple, list)) else (result,)
        if len(gxs) != len(node.edges):
            raise RuntimeError(
                f"{type(node).__name__}.backward returned {len(gxs)} gradients for "
                f"{len(node.edges)} inputs"
            )
        yield node, gxs
