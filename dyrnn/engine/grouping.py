"""Which nodes run next, and which of them together.

The linear layers of one weight, in all time steps, have their *input* gradients
computed by one product, where nothing of the recurrence waits for them: each waits
until no other node can run. (Products for *weights* are joined by
:class:`~dyrnn.engine.gradients.Product`.) A step-by-step update of a language model
takes 0.99 (200 units), 1.08 (650), 1.12 (32) times as long without; in windows there
is nothing to join.
"""

import heapq


class Ready:
    """Nodes that can run, the latest made first, those of a group all at once.

    Parameters
    ----------
    nodes : iterable of FunctionNode
    joins : bool
        Whether nodes that share a ``group()`` wait for each other.
    """

    def __init__(self, nodes, joins):
        # No two nodes have the same number, so the heap never has to compare nodes.
        self._heap = [(-node.number, node) for node in nodes]
        heapq.heapify(self._heap)
        self._waiting = {}
        self._joins = joins

    def push(self, node):
        """Take in a node of which the gradients of all outputs are complete."""
        heapq.heappush(self._heap, (-node.number, node))

    def pop(self):
        """Return a list of the nodes to run next; an empty one in the end."""
        while self._heap:
            node = heapq.heappop(self._heap)[1]
            key = node.group() if self._joins and not node.is_cut else None
            if key is None:
                return [node]
            self._waiting.setdefault(key, []).append(node)
        if not self._waiting:
            return []
        # Within a recurrence the groups of later layers are complete before those of
        # earlier ones can start: the one whose first-made node was made last.
        first = {k: min(n.number for n in nodes) for k, nodes in self._waiting.items()}
        return self._waiting.pop(max(first, key=first.__getitem__))
