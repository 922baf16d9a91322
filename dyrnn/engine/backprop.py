"""How gradients flow back through a graph of nodes.

Works on anything with ``edges``, ``number``, ``n_outputs``, ``group``, ``retain`` and
``backward``. An edge tells where an input came from: (node, index of its output), or
(leaf variable, None); None in its place needs no gradient.
"""

import heapq

import numpy as np

from dyrnn import backend
from dyrnn.config import config
from dyrnn.engine import hooks
from dyrnn.engine.gradients import Deferred, Sum, settled
from dyrnn.engine.grouping import Waiting

_LEAF = None  # the second of an edge that leads to a leaf variable, not to a node
_TO_SETTLE = Deferred, np.generic  # what rules may return, and are not given


def _consumers(roots):
    """Count, for each node behind the roots, how many nodes' gradients it waits for."""
    counts = dict.fromkeys(roots, 0)
    stack = list(counts)
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and edge[1] is not _LEAF:
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


def run_on_arrays(nodes, all_gys):
    """Run ``backward`` of nodes that belong together, given the gradients of each."""
    xp = np
    for gy in all_gys[0]:
        if gy is not None and type(gy) is not np.ndarray:
            xp = backend.get_array_module(*all_gys[0])
            break
    if len(nodes) == 1:
        return [nodes[0].backward(xp, *all_gys[0])]
    return nodes[0].backward_group(xp, nodes, all_gys)


def propagate(seeds, targets=None, retain_grad=False, run=run_on_arrays):
    """Run the graph backwards.

    A node runs when the gradients of all its outputs are complete, the latest made
    first, those of a group together (``grouping.py``).

    Parameters
    ----------
    seeds : list of (edge, gradient)
        Where to start: an edge is (node, index of its output) or (leaf, None).
    targets : set of edges (node or leaf, index), optional
        What gradients are wanted; all leaves without it.
    retain_grad : bool
        Keep the gradients of intermediate variables in their nodes.
    run : callable
        ``run(nodes, gys)`` returns the gradients of each node's inputs.

    Returns
    -------
    dict
        A ``gradients.Sum`` for each leaf, or for each target if there are targets.
    """
    held: dict = {}  # edge -> a list of what has arrived there
    found: dict = {}
    for edge, gy in seeds:
        held.setdefault(edge, []).append(gy)
    counts = _consumers([edge[0] for edge, _ in seeds if edge[1] is not _LEAF])
    useful = None if targets is None else _leading_to(counts, targets)
    # No two nodes have the same number, so the heap never has to compare nodes.
    ready = [(-node.number, node) for node, count in counts.items() if count == 0]
    heapq.heapify(ready)
    waiting = Waiting()
    watchers = hooks.watching() if hooks.active or config.debug else ()
    while ready or waiting:
        if ready:
            node = heapq.heappop(ready)[1]
            if node.group and run is run_on_arrays and not node.is_cut:
                waiting.add(node)
                continue
            nodes = [node]
        else:
            nodes = waiting.take()
        runs, all_gys = [], []
        for node in nodes:
            gys = _take(held, node, targets, found, retain_grad)
            if gys is None or node.is_cut:
                continue
            if useful is None or node in useful:
                runs.append(node)
                all_gys.append(gys)
        if runs:
            for hook in watchers:
                for node in runs:
                    hook.backward_before(node)
            results = run(runs, all_gys)
            for hook in watchers:
                for node in runs:
                    hook.backward_after(node)
            for node, gxs in zip(runs, results, strict=True):
                gxs = _checked(node, gxs)
                for hook in watchers:
                    hook.gradients(node, gxs)
                for edge, gx in zip(node.edges, gxs, strict=True):
                    if gx is None or edge is None:
                        continue
                    if targets is None or edge[1] is not _LEAF or edge in targets:
                        before = held.get(edge)
                        if before is None:
                            held[edge] = [gx]
                        else:
                            before.append(gx)
        for node in nodes:
            for edge in node.edges:
                if edge is not None and edge[1] is not _LEAF:
                    source = edge[0]
                    counts[source] -= 1
                    if counts[source] == 0:
                        heapq.heappush(ready, (-source.number, source))
    for edge, total in settled(held).items():  # of leaves: no node has taken them
        found[edge[0] if targets is None else edge] = total
    return found


def _take(held, node, targets, found, retain_grad):
    """Return what has arrived for each output of a node; None if there is nothing."""
    gys, is_reached = [], False
    for index in range(node.n_outputs):
        edge = (node, index)
        terms, gy = held.pop(edge, None), None
        if terms is not None:
            is_reached, gy = True, terms[0]
            is_target = targets is not None and edge in targets
            if retain_grad or is_target or len(terms) > 1 or isinstance(gy, _TO_SETTLE):
                total = Sum(*terms)
                gy = total.lend()
                if retain_grad:
                    node.retain(index, total)
                if is_target:
                    found[edge] = total
        gys.append(gy)
    return gys if is_reached else None


def _checked(node, gxs):
    gxs = gxs if isinstance(gxs, (tuple, list)) else (gxs,)
    if len(gxs) != len(node.edges):
        raise RuntimeError(
            f"{type(node).__name__}.backward returned {len(gxs)} gradients for "
            f"{len(node.edges)} inputs"
        )
    return gxs
