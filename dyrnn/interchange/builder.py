"""Grows a graph from operations that two runs recorded.

Arrays are known by where they lie in memory. What is the same in both runs is a
constant; a size that differs is computed from the input's.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dyrnn.errors import InterchangeError
from dyrnn.interchange.graphs import Node, Value, dtype_code
from dyrnn.typing import Array

# Steps and sequences of the two runs: no size is near a multiple of another.
SIZES = {"time": (5, 12), "batch": (3, 4)}


@dataclass
class Record:
    """One operation of a run: its node, or link, with inputs and outputs."""

    node: Any
    arrays: list
    outputs: list
    line: str


def key_of(array: np.ndarray) -> tuple:
    """Return where an array lies, by which a view that is made again is known."""
    return array.ctypes.data, array.shape, array.strides, array.dtype.str


class Pair:
    """The same operation in both runs."""

    def __init__(self, builder, one, two):
        self.builder, self.one, self.two = builder, one, two
        self.node, self.other = one.node, two.node

    def names(self) -> list[str]:
        """Return the names of all inputs."""
        return [self.name(i) for i in range(len(self.one.arrays))]

    def name(self, i: int) -> str:
        """Return the name of input ``i``; numbers have the type of the result."""
        dtype = self.one.outputs[0].dtype
        return self.builder.operand(self, self.one.arrays[i], self.two.arrays[i], dtype)

    def constant(self, i: int) -> np.ndarray:
        """Return input ``i``, which must be a weight or another constant."""
        one = self.one.arrays[i]
        if self.builder.find(one, self.two.arrays[i]) is not None:
            raise self.refusal("has weights that are computed from the input")
        if not np.array_equal(one, self.two.arrays[i], equal_nan=True):
            raise self.refusal("has weights that change")
        return one

    def is_zero(self, i: int) -> bool:
        """Whether input ``i`` is a constant full of zeros."""
        one, two = self.one.arrays[i], self.two.arrays[i]
        is_there = one is not None and two is not None
        return not is_there or (
            self.builder.find(one, two) is None and not one.any() and not two.any()
        )

    def refusal(self, what: str) -> InterchangeError:
        name = type(self.node).__name__
        return InterchangeError(f"{name}, called at {self.one.line}, {what}")


class Builder:
    """Grows a graph from pairs of recorded operations."""

    def __init__(self, params, model):
        self.nodes: list[Node] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.model = model
        self.known: dict[tuple, str] = {}  # by the keys of both runs
        self.ragged: set[str] = set()
        self.weights = {key_of(p.array): path.strip("/") for path, p in params.items()}
        self.sizes: dict[str, Any] = {}
        self._constants: dict[tuple, str] = {}
        self._vectors: dict[tuple, str] = {}
        self._count = 0
        self.reserved: set[str] = set()

    # Names

    @staticmethod
    def single(dtype: Any) -> np.dtype:
        """Return the type in the graph: single floats, integers of 32 or 64 bits."""
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            return np.dtype(np.float32)
        if dtype.kind in "iu":
            return np.dtype(np.int32 if dtype == np.int32 else np.int64)
        return dtype

    def enter(self, name, one, two, is_ragged=False):
        """Say that the arrays of both runs are the value ``name``."""
        self.known[key_of(one), key_of(two)] = name
        self.known.setdefault(key_of(one), name)
        if is_ragged:
            self.ragged.add(name)

    def find(self, one, two):
        """Return the name of a value that the input decides, or None."""
        if not isinstance(one, np.ndarray) or not isinstance(two, np.ndarray):
            return None
        return self.known.get((key_of(one), key_of(two)))

    def new(self) -> str:
        while True:
            self._count += 1
            if f"v{self._count}" not in self.reserved:
                return f"v{self._count}"

    def reserve(self, names: Collection[str]) -> None:
        """Say what arguments and states are called, so that nothing else is."""
        self.reserved = {*names, *self.weights.values()}
        for key, path in self.weights.items():
            if path in names:
                self.weights[key] = f"{path}:weight"

    def op(self, op: str, *inputs: str, n: int = 1, **attributes: Any) -> Any:
        """Add an operation; return the name of its output, or a list of ``n``."""
        outputs = [self.new() for _ in range(n)]
        self.nodes.append(Node(op, list(inputs), outputs, attributes))
        return outputs[0] if n == 1 else outputs

    def constant(self, array: Any, name: str = "") -> str:
        """Return the name of an array, which is stored once."""
        array = np.asarray(array)
        array = array.astype(self.single(array.dtype))
        key = array.tobytes(), array.shape, array.dtype.str
        if key not in self._constants:
            stem = name or "constant"
            count = sum(n == stem or n.startswith(f"{stem}:") for n in self.arrays)
            stem = f"{stem}:{count}" if count or not name else stem
            self._constants[key] = stem
            self.arrays[stem] = array
        return self._constants[key]

    def operand(self, pair: Pair, one: Any, two: Any, dtype: Any) -> str:
        """Return the name of an input of both runs, a constant one included."""
        name = self.find(one, two)
        if name is not None:
            return name
        if not isinstance(one, np.ndarray):
            if one == two:
                return self.constant(np.asarray(one, self.single(dtype)))
            if one and two and 1 / one > 1.5:  # a mean over time has a factor 1 / T
                size = self.number(pair, round(1 / one), round(1 / two))
                size = self.op("Cast", size, to=dtype_code(np.float32))
                return self.op("Div", self.constant(np.float32(1)), size)
            raise pair.refusal(f"has the number {one} in one run and {two} in another")
        if one.shape == two.shape and np.array_equal(one, two, equal_nan=True):
            return self.constant(one, self.weights.get(key_of(one), ""))
        if one.ndim == two.ndim and one.size and (one == two.flat[0]).all():
            if (two == two.flat[0]).all():
                vector = self.vector(pair, one.shape, two.shape)
                return self.op("Expand", self.constant(one.flat[0]), vector)
        if key_of(one) in self.known or (one.shape == two.shape):
            how = "an array of other values in another run"
        else:
            how = f"an array of shape {one.shape} in one run and {two.shape} in another"
        raise pair.refusal(
            f"has {how}, which no recorded operation computed. NumPy code in a forward "
            "is not recorded: use dyrnn.functions, on variables (give the example as "
            "one), or make it an argument of forward."
        )

    # Sizes

    def sizes_from(self, inputs: Sequence[Value]) -> None:
        """Learn from which input each size that changes can be read."""
        for value in inputs:
            for axis, size in enumerate(value.shape):
                if isinstance(size, str):
                    self.sizes.setdefault(size, (value.name, axis))

    def symbols(self, one: tuple, two: tuple, what: str) -> tuple:
        """Return a shape with names for the sizes that change."""
        return tuple(
            [a if a == b else self._named(a, b) or f"{what}:{i}"]
            [0] for i, (a, b) in enumerate(zip(one, two, strict=True))
        )  # fmt: skip

    def _named(self, a, b):
        return next((s for s in self.sizes if SIZES[s] == (a, b)), None)

    def size(self, pair: Pair, a: int, b: int) -> str:
        """Return the name of a vector of one integer, ``a`` and ``b`` in the runs."""
        if a == b:
            return self.constant(np.array([a], np.int64))
        key = (a, b)
        if key not in self._vectors:
            self._vectors[key] = self._size(pair, a, b)
        return self._vectors[key]

    def _size(self, pair, a, b):
        symbol = self._named(a, b)
        if symbol is not None:
            name, axis = self.sizes[symbol]
            whole = self.op("Shape", name)
            return self.part(whole, axis, axis + 1)
        pairs = {s: SIZES[s] for s in self.sizes}
        whole = tuple(np.prod(list(pairs.values()), axis=0)) if len(pairs) > 1 else None
        if whole is not None:
            factor = a // whole[0]
            if factor and (a, b) == (factor * whole[0], factor * whole[1]):
                parts = [self.size(pair, *p) for p in pairs.values()]
                product = self.op("Mul", *parts)
                return self.op("Mul", product, self.size(pair, factor, factor))
        for one, two in pairs.values():
            if a - one == b - two and abs(a - one) <= 4:
                offset = self.size(pair, a - one, a - one)
                return self.op("Add", self.size(pair, one, two), offset)
            if a % one == 0 and a // one * two == b:
                factor = self.size(pair, a // one, a // one)
                return self.op("Mul", self.size(pair, one, two), factor)
        raise pair.refusal(
            f"has a size of {a} in one run and {b} in another, which is not computed "
            "from the sizes of the input"
        )

    def vector(self, pair: Pair, one: Sequence[int], two: Sequence[int]) -> str:
        """Return the name of a shape."""
        if tuple(one) == tuple(two):
            return self.constant(np.array(one, np.int64))
        sizes = [self.size(pair, a, b) for a, b in zip(one, two, strict=True)]
        return sizes[0] if len(sizes) == 1 else self.op("Concat", *sizes, axis=0)

    def number(self, pair: Pair, a: int, b: int) -> str:
        """Return the name of an integer without axes."""
        if a == b:
            return self.constant(np.array(a, np.int64))
        vector = self.size(pair, a, b)
        return self.op("Squeeze", vector, self.constant(np.array([0], np.int64)))

    # Parts

    def part(self, x, start, end, axis=0):
        start, end, axis = (self.constant(np.array([n])) for n in (start, end, axis))
        return self.op("Slice", x, start, end, axis)

    def blocks(self, x: str, n: int, size: int, axis: int) -> list[str]:
        """Return ``n`` parts of ``size`` along an axis."""
        return [self.part(x, i * size, (i + 1) * size, axis) for i in range(n)]

    def squeeze(self, x: str, axis: int) -> str:
        return self.op("Squeeze", x, self.constant(np.array([axis])))

    def unsqueeze(self, x: str, axis: int) -> str:
        return self.op("Unsqueeze", x, self.constant(np.array([axis])))

    def cast(self, x: str, was: Any, dtype: Any) -> str:
        """Return ``x`` in another type, if it was not of it."""
        was, dtype = self.single(was), self.single(dtype)
        return x if was == dtype else self.op("Cast", x, to=dtype_code(dtype))

    shift = 0

    def axis(self, axis: int, ndim: int) -> int:
        """Return an axis in the graph, where a list of sequences has one more."""
        axis %= ndim
        return axis + self.shift if axis > 0 else axis

    def output(self, name: str, one: Array, two: Array) -> tuple:
        """Name a result; return its shape."""
        found = self.find(one, two)
        if found is None:
            record = Record(self.model, [one], [one], "its end")
            found = self.operand(Pair(self, record, record), one, two, one.dtype)
        self.nodes.append(Node("Identity", [found], [name]))
        symbols = self.symbols(one.shape, two.shape, name)
        return ("time", "batch", *symbols[1:]) if found in self.ragged else symbols

    def pruned(self, outputs: Sequence[Value]) -> list[Node]:
        """Return the nodes that a result depends on; forget the other arrays."""
        needed = {value.name for value in outputs}
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        self.arrays = {k: a for k, a in self.arrays.items() if k in needed}
        return kept[::-1]
