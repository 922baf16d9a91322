"""``chainer.computational_graph``: a graph as text for Graphviz."""

from dyrnn.chainer._variable import Variable, VariableNode
from dyrnn.chainer.function_node import FunctionNode

_VARIABLE_STYLE = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}
_FUNCTION_STYLE = {"shape": "record", "fillcolor": "#6495ED", "style": "filled"}


class DotNode:
    """A node in Graphviz's language."""

    def __init__(self, node, attribute=None, show_name=True):
        is_variable = isinstance(node, VariableNode)
        label = node.label
        if is_variable and show_name and node.name is not None:
            label = f"{node.name}: {label}"
        self.node = node
        self.id_ = id(node)
        self.attribute = {
            "label": label,
            "shape": "oval" if is_variable else "box",
            **(attribute or {}),
        }

    @property
    def label(self):
        """The node's line."""
        attributes = ",".join(f'{key}="{v}"' for key, v in self.attribute.items())
        return f"{self.id_} [{attributes}];"


class ComputationalGraph:
    """Nodes, edges (pairs of nodes) and how they shall look."""

    def __init__(
        self,
        nodes,
        edges,
        variable_style="default",
        function_style="default",
        rankdir="TB",
        remove_variable=False,
        show_name=True,
    ):
        def style(given, default):
            return dict(default if given == "default" else given or {})

        self.nodes = nodes
        self.edges = edges
        self.variable_style = style(variable_style, _VARIABLE_STYLE)
        self.function_style = style(function_style, _FUNCTION_STYLE)
        if rankdir not in ("TB", "BT", "LR", "RL"):
            raise ValueError("rankdir must be in TB, BT, LR or RL.")
        self.rankdir = rankdir
        self.remove_variable = remove_variable
        self.show_name = show_name

    def _to_dot(self):
        nodes, edges = self.nodes, self.edges
        if self.remove_variable:
            nodes = [n for n in nodes if not isinstance(n, VariableNode)]
            edges = self._between_functions()
        lines = []
        for node in nodes:
            is_variable = isinstance(node, VariableNode)
            style = self.variable_style if is_variable else self.function_style
            lines.append(DotNode(node, style, self.show_name).label)
        lines += dict.fromkeys(f"{id(a)} -> {id(b)};" for a, b in edges)
        return f"digraph graphname{{rankdir={self.rankdir};{''.join(lines)}}}"

    def _between_functions(self):
        """Return the edges with variables left out."""
        for head, tail in self.edges:
            if isinstance(head, VariableNode):
                if head.creator_node is not None:
                    yield head.creator_node, tail

    def dump(self, format="dot"):
        """Return the graph as text."""
        if format != "dot":
            raise NotImplementedError("Currently, only dot format is supported.")
        return self._to_dot()


def build_computational_graph(
    outputs,
    remove_split=True,
    variable_style="default",
    function_style="default",
    rankdir="TB",
    remove_variable=False,
    show_name=True,
):
    """Return the graph behind variables.

    Parameters
    ----------
    outputs : Variable, VariableNode or FunctionNode, or a list of them
    variable_style, function_style : dict or "default"
        Attributes of Graphviz.
    rankdir : str
        Direction: TB, BT, LR or RL.
    remove_variable : bool
        Whether to show functions only.
    show_name : bool
        Whether to show variables' names.
    """
    if not remove_split:
        raise ValueError("remove_split=False is not supported anymore")
    kinds = (Variable, VariableNode, FunctionNode)
    if isinstance(outputs, kinds):
        outputs = [outputs]
    elif not all(isinstance(y, kinds) for y in outputs):
        raise TypeError(
            "element of outputs must be either Variable, VariableNode,  or "
            "FunctionNode."
        )
    stack = [y.node if isinstance(y, Variable) else y for y in outputs]
    nodes = dict.fromkeys(stack)
    edges: dict[tuple, None] = {}
    while stack:
        node = stack.pop()
        if isinstance(node, VariableNode):
            before = () if node.creator_node is None else (node.creator_node,)
        else:
            before = node.inputs
        for source in before:
            if (source, node) not in edges:
                edges[source, node] = None
                nodes[source] = None
                stack.append(source)
    return ComputationalGraph(
        list(nodes),
        list(edges),
        variable_style,
        function_style,
        rankdir,
        remove_variable,
        show_name,
    )
