"""The layers of an ONNX file, so that a model of one's own takes their weights.

A file has operations, and its arrays may be called anything, so a layer is known by
what is done with them: ``LSTM``, ``GRU`` and ``RNN``, ``Gather`` from a matrix, a
product with one and the sum with a vector, ``BatchNormalization``, and
``LayerNormalization`` or its parts. Layers are called by their kind, in the order in
which they run: ``lstm``, ``lstm_1``, ``linear``, ...
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dyrnn.errors import InterchangeError
from dyrnn.interchange.graphs import Graph, Node
from dyrnn.interchange.layers import Layer, describe, join_directions
from dyrnn.interchange.layouts import Blocks, Layout
from dyrnn.interchange.matching import Source, translated, warn_of_order
from dyrnn.interchange.recurrent_layout import KINDS, our_cells
from dyrnn.interchange.systems import System
from dyrnn.link import Link


def _layouts(layer: Layer) -> list[Layout]:
    if layer.kind == "parameters":
        return []
    names = {name: name for name in layer.cells[0]}
    if layer.kind in KINDS.values():
        names = {"W": "W", "U": "U", "b": "b", "b_u": "b_u"}
    if layer.options.get("reset_after") is False:
        names = {"W": "W", "U": "U", "b+b_u": "b"}
    return [{entry: Blocks(name + "{r}") for entry, name in names.items()}]


SYSTEM = System("ONNX", _layouts, "/", has_stacks=True)


def by_order(model: Link, source: Source, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the layers of a model are: the first LSTM is the first, and so on.

    ``given`` are names that the user gives.
    """
    names = dict(given)
    stacks: dict[str, list[Layer]] = {}
    for layer in describe(model):
        stacks.setdefault(layer.path, []).append(layer)
    taken = {n for v in given.values() for n in (v if isinstance(v, list) else [v])}
    free = [place[:-1] for place in source.facts if place[:-1] not in taken]
    found = {}
    for path, layers in stacks.items():
        places = given.get(path)
        if path not in given and translated(path, given, "/") is not None:
            places = found[path] = [_first(free, layer.kind) for layer in layers]
        if isinstance(places, list) and len(places) == len(layers):
            names[path] = [p for p in places for _ in range(layers[0].directions)]
    warn_of_order([layers[0] for layers in stacks.values()], found)
    return names


def _first(places, kind):
    """Remove and return the first place of a kind."""
    found = next((p for p in places if re.fullmatch(rf"{kind}(_\d+)?", p)), None)
    if found is None:
        return f"{kind} (one more)"
    places.remove(found)
    return found


def layers_of(graph: Graph) -> Source:
    """Return the arrays of a graph's layers, in our layout, and those of none."""
    reader = _Reader(graph)
    for node in graph.nodes:
        try:
            with np.errstate(all="ignore"):
                reader.read(node)
        except InterchangeError:
            raise
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise InterchangeError(
                f"the {node.op} {node.outputs} is not as ONNX has it: {error}"
            ) from error
    rest = {
        name: array
        for name, array in graph.arrays.items()
        if array.ndim and array.dtype.kind == "f" and name not in reader.used
    }
    return Source({**reader.arrays, **rest}, reader.facts)


class _Reader:
    """Notes the weights of operations, which come in the order in which they run."""

    def __init__(self, graph: Graph) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.facts: dict[str, dict] = {}
        self.used: set[str] = set()
        self._constants: dict[str, Any] = dict(graph.arrays)
        self._sources = {name: name for name in graph.arrays}
        self._made_by: dict[str, Node] = {}
        self._waiting: dict[str, tuple[str, int]] = {}  # products, for their biases
        self._counts: dict[str, int] = {}

    def read(self, node: Node) -> None:
        xs: list[Any] = [self._constants.get(name) for name in node.inputs]
        get = node.attributes.get
        weights = [i for i, x in enumerate(xs) if _is_matrix(x)]
        if node.op in KINDS:
            self._add_recurrent(node)
        elif node.op == "Gather" and weights == [0] and not get("axis", 0):
            self._add("embedding", node, {"W": 0})
        elif node.op == "MatMul" and weights == [1]:
            self._add_map(node, xs[1].T)
        elif node.op == "Gemm" and 1 in weights and not get("transA"):
            W = xs[1] if get("transB") else xs[1].T
            self._add_map(node, W * np.float32(get("alpha", 1.0)))
            if len(xs) > 2:
                self._add_bias(node.outputs[0], node.inputs[2], get("beta", 1.0))
        elif node.op == "Add":
            for product, bias in (node.inputs, node.inputs[::-1]):
                self._add_bias(product, bias)
        elif node.op == "LayerNormalization" and len(xs) == 3:
            eps = {"eps": _short(get("epsilon", 1e-5))}
            self._add("layer_norm", node, {"gamma": 1, "beta": 2}, eps)
        elif node.op == "BatchNormalization" and len(xs) == 5:
            places = {"gamma": 1, "beta": 2, "mean": 3, "var": 4}
            eps = {"eps": _short(get("epsilon", 1e-5))}
            self._add("batch_norm", node, places, eps)
        elif node.op == "Mul":
            self._add_scale(node)
        elif node.op == "Constant" and isinstance(get("value"), np.ndarray):
            self._constants[node.outputs[0]] = get("value")
        elif node.op in ("Identity", "Transpose") and xs[0] is not None:
            perm = get("perm") if node.op == "Transpose" else range(xs[0].ndim)
            self._constants[node.outputs[0]] = xs[0].transpose(perm)
            self._sources[node.outputs[0]] = self._sources.get(node.inputs[0], "")
        self._made_by.update(dict.fromkeys(node.outputs, node))

    def _place(self, kind, facts):
        number = self._counts[kind] = self._counts.get(kind, -1) + 1
        place = kind + (f"_{number}" if number else "")
        self.facts[f"{place}/"] = facts
        return place

    def _use(self, name):
        self.used.add(self._sources.get(name, ""))

    def _add(self, kind, node, places, facts=None):
        if all(node.inputs[i] in self._constants for i in places.values()):
            place = self._place(kind, facts or {})
            for name, i in places.items():
                self.arrays[f"{place}/{name}"] = self._constants[node.inputs[i]]
                self._use(node.inputs[i])

    def _add_map(self, node, W):
        place = self._place("linear", {})
        self.arrays[f"{place}/W"] = W
        self._use(node.inputs[1])
        self._waiting[node.outputs[0]] = place, len(W)

    def _add_bias(self, product, bias, factor=1.0):
        """Note the vector that is added to a product, or to a scaled value."""
        array = self._constants.get(bias)
        place, size = self._waiting.get(product, ("", 0))
        if place and array is not None and array.shape == (size,):
            name = "beta" if place.startswith("layer_norm") else "b"
            self.arrays[f"{place}/{name}"] = array * np.float32(factor)
            self._use(bias)
            del self._waiting[product]

    def _add_scale(self, node):
        """Note a normalisation in parts: x / sqrt(var + eps) * gamma + beta."""
        for x, scale in (node.inputs, node.inputs[::-1]):
            gamma, eps = self._constants.get(scale), self._eps(x)
            if eps is not None and gamma is not None and gamma.ndim == 1:
                place = self._place("layer_norm", {"eps": eps})
                self.arrays[f"{place}/gamma"] = gamma
                self._use(scale)
                self._waiting[node.outputs[0]] = place, len(gamma)

    def _eps(self, name):
        for op, i in (("Div", 1), ("Sqrt", 0)):
            node = self._made_by.get(name)
            if node is None or node.op != op:
                return None
            name = node.inputs[i]
        node = self._made_by.get(name)
        numbers = [self._constants.get(n) for n in node.inputs] if node else []
        return next((_short(a) for a in numbers if a is not None and a.size == 1), None)

    def _add_recurrent(self, node):
        inputs = [*node.inputs, *[""] * 8]
        W, R, B = (self._constants.get(name) for name in inputs[1:4])
        if W is None or R is None or (inputs[3] and B is None) or inputs[7]:
            raise InterchangeError(
                f"{node.op} {node.outputs[0]!r}: its weights are not arrays of the "
                "file, or it has peepholes, which are not read"
            )
        cells, options = our_cells(node.op, W, R, B, node.attributes)
        if options.get("reset_after") is False:  # both count alike
            for cell in cells:
                cell["b"] = cell["b"] + cell.pop("b_u")
        if node.attributes.get("direction") == "reverse":
            options = {**options, "go_backwards": True}
        place = self._place(KINDS[node.op], options)
        for name, array in join_directions(cells).items():
            self.arrays[f"{place}/{name}"] = array
        for name in inputs[1:4]:
            self._use(name)


def _short(number):
    """Return the number that single precision rounded, as a program has it."""
    return float(str(np.float32(number)))


def _is_matrix(array):
    return array is not None and array.ndim == 2 and array.dtype.kind == "f"
