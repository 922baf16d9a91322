"""Nodes that run backwards together: the linear layers of one weight, at all steps.

Their *input* gradients are computed by one product, where nothing of the recurrence
waits for them: each node waits until no other can run. (Products for *weights* are
joined by :class:`~dyrnn.engine.gradients.Product`.) A step-by-step update of a language
model takes 0.99 (200 units), 1.08 (650), 1.12 (32) times as long without; in windows
there is nothing to join.

A node of such a class has two methods: ``group()`` returns a key that those which can
run together share, and ``backward_group(xp, nodes, gys)``, a static method, returns a
tuple of gradients for each.
"""


class Waiting:
    """Nodes that wait for the others of their groups."""

    def __init__(self):
        self._groups = {}

    def __bool__(self):
        return bool(self._groups)

    def add(self, node):
        """Let a node wait."""
        self._groups.setdefault(node.group(), []).append(node)

    def take(self):
        """Return the nodes of the group whose first-made node was made last.

        Within a recurrence the groups of later layers are complete before those of
        earlier ones can start.
        """
        first = {k: min(n.number for n in nodes) for k, nodes in self._groups.items()}
        return self._groups.pop(max(first, key=first.__getitem__))
