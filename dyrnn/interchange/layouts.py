"""How another system lays out the arrays of a layer: its names, and what is in them.

A layout is a dictionary: for arrays of :mod:`dyrnn.interchange.layers`, or what is made
of several of them, the :class:`Blocks` that become arrays with names. ``pack`` goes
there, ``unpack`` back. Names may have ``{l}``, the number of a layer in its stack,
``{r}``, which is ``_reverse`` in a backward layer, and ``{k}``, which counts both.

What is made of several arrays:

- ``b+b_u``: the sum of two biases, for systems with one;
- ``b+b_rz`` and ``b_n``: those of a GRU, of which only ``b_u`` of n is kept apart;
- ``b|b_u``: both biases side by side, (nH, 2);
- ``W|U``: the matrix of the concatenated input and state, (nH, I + H);
- ``p``: peepholes one after the other, (3H,).
"""

from collections.abc import Mapping

import numpy as np

from dyrnn.errors import InterchangeError
from dyrnn.typing import Array

COMBINED = {
    "b+b_u": ("b", "b_u"),
    "b+b_rz": ("b",),
    "b_n": ("b_u",),
    "b|b_u": ("b", "b_u"),
    "W|U": ("W", "U"),
    "p": ("peephole",),
}


class Blocks:
    """Blocks of rows, such as gates, in one array of another system or in several.

    Parameters
    ----------
    *names : str
        Of the arrays there.
    order : sequence of int
        For each block there, which one here it is.
    counts : sequence of int
        How many blocks each array has; by default as many as the others.
    transposed : bool
    signs : sequence of int
        Factors of the blocks there.
    offsets : dict
        What is added to a block here, as TensorFlow's forget bias is.
    """

    def __init__(
        self,
        *names,
        order=(0,),
        counts=None,
        transposed=False,
        signs=None,
        offsets=None,
    ):
        self.names = names
        self.order = order
        self.counts = counts or [len(order) // len(names)] * len(names)
        self.transposed = transposed
        self.signs = signs or [1] * len(order)
        self.offsets = offsets or {}

    def pack(self, array):
        """Return the arrays there."""
        blocks = np.split(array, len(self.order))
        blocks = [
            (blocks[k] - self.offsets[k] if k in self.offsets else blocks[k]) * sign
            for k, sign in zip(self.order, self.signs, strict=True)
        ]
        arrays = []
        for count in self.counts:
            part, blocks = np.concatenate(blocks[:count]), blocks[count:]
            arrays.append(part.T if self.transposed else part)
        return arrays

    def unpack(self, arrays):
        """Return the array here."""
        there = []
        for array, count in zip(arrays, self.counts, strict=True):
            there += np.split(array.T if self.transposed else array, count)
        blocks = [None] * len(there)
        for k, block, sign in zip(self.order, there, self.signs, strict=True):
            blocks[k] = sign * block if sign < 0 else block
            if k in self.offsets:
                blocks[k] = blocks[k] + blocks[k].dtype.type(self.offsets[k])
        return np.concatenate(blocks)


class Interleaved(Blocks):
    """Chainer's LSTM: rows a, i, f, o of unit 0, then of unit 1, ..."""

    def pack(self, array):
        blocks = array.reshape(4, len(array) // 4, *array.shape[1:])
        return [blocks[[2, 0, 1, 3]].swapaxes(0, 1).reshape(array.shape)]

    def unpack(self, arrays):
        (array,) = arrays
        units = array.reshape(len(array) // 4, 4, *array.shape[1:])
        return units[:, [1, 2, 0, 3]].swapaxes(0, 1).reshape(array.shape)


class Raw(Blocks):
    """An array as it is, also one without axes."""

    def pack(self, array):
        return [array]

    def unpack(self, arrays):
        return arrays[0]


Layout = Mapping[str, Blocks]


def biases_of(layout: Layout) -> set[str]:
    """Return those entries of a layout that are biases."""
    return {entry for entry in layout if entry.startswith("b")}


def covers(layout: Layout, cell: Mapping[str, Array]) -> bool:
    """Whether the layout has a place for each array of the layer."""
    there = {name for entry in layout for name in COMBINED.get(entry, (entry,))}
    return cell.keys() - {"b_u"} <= there


def pack(layout: Layout, cell: Mapping[str, Array]) -> dict[str, list[np.ndarray]]:
    """Return for each entry of a layout the arrays there."""
    cell = dict(cell)
    if "b" in cell and "b_u" not in cell:
        cell["b_u"] = np.zeros_like(cell["b"])
    return {
        entry: blocks.pack(_combined(entry, cell))
        for entry, blocks in layout.items()
        if all(name in cell for name in COMBINED.get(entry, (entry,)))
    }


def loses_bias(layout: Layout, cell: Mapping[str, Array]) -> bool:
    """Whether a bias that is not 0 has no place in the layout."""
    b_u = cell.get("b_u")
    if b_u is None or {"b_u", "b+b_u", "b|b_u", "b_n"} & layout.keys():
        return False
    return bool(np.any(b_u[2 * len(b_u) // 3 :]))


def unpack(
    layout: Layout, arrays: Mapping[str, list[np.ndarray]], like: Mapping[str, Array]
) -> dict[str, np.ndarray]:
    """Return a layer's arrays from those of a layout's entries.

    Biases that are not there are 0, and two become one where ``like``, the layer as it
    is, has one.
    """
    cell: dict[str, np.ndarray] = {}
    for entry, parts in arrays.items():
        array = layout[entry].unpack(parts)
        if entry in ("b+b_u", "b+b_rz"):
            cell["b"] = array
        elif entry == "b_n":
            cell["b_u"] = np.concatenate([np.zeros_like(array)] * 2 + [array])
        elif entry == "b|b_u":
            cell["b"], cell["b_u"] = array.T
        elif entry == "W|U":
            split = array.shape[1] - like["U"].shape[1]
            cell["W"], cell["U"] = array[:, :split], array[:, split:]
        elif entry == "p":
            cell["peephole"] = array.reshape(3, -1)
        else:
            cell[entry] = array
    for name in {"b", "b_u"} & like.keys() - cell.keys():
        if "U" in like:  # a map whose bias is missing is an error
            cell[name] = np.zeros_like(like[name])
    if "b_u" in cell and "b_u" not in like:
        cell["b"] = cell["b"] + cell.pop("b_u")
    return cell


def _combined(entry, cell):
    if entry == "b+b_u":
        return cell["b"] + cell["b_u"]
    if entry == "b+b_rz":
        kept = 2 * len(cell["b"]) // 3
        return np.concatenate([cell["b"][:kept] + cell["b_u"][:kept], cell["b"][kept:]])
    if entry == "b_n":
        return cell["b_u"][2 * len(cell["b_u"]) // 3 :]
    if entry == "b|b_u":
        return np.stack([cell["b"], cell["b_u"]], axis=1)
    if entry == "W|U":
        W, U = cell["W"], cell["U"]
        # A matrix that waits for its input's size has 0 columns, and so has this one.
        return np.concatenate([W, U], axis=1) if W.shape[1] else W
    if entry == "p":
        return cell["peephole"].reshape(-1)
    return cell[entry]


def refuse_bias(layer, name):
    """Raise because a bias inside the reset gate has no place there."""
    raise InterchangeError(
        f"{layer}: {name} has no bias inside the reset gate of a GRU, but this layer's "
        "is not 0. Train without it, or set the last third of b_u to 0."
    )
