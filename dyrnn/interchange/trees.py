"""Nested dictionaries, lists and modules of arrays, as flat dictionaries and back."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def flatten(tree: Any, separator: str) -> dict[str, np.ndarray]:
    """Return all arrays below ``tree``, their names joined by ``separator``.

    Dictionaries, lists, tuples and dataclasses, such as Equinox's modules, are gone
    into; what holds no array (a number, a function) is left out.
    """
    return dict(_leaves(tree, (), separator))


def _leaves(
    tree: Any, path: tuple[str, ...], separator: str
) -> Iterator[tuple[str, np.ndarray]]:
    children: Any = ()
    if isinstance(tree, Mapping):
        children = tree.items()
    elif isinstance(tree, (list, tuple)):
        children = enumerate(tree)
    elif hasattr(tree, "shape") and hasattr(tree, "dtype"):
        yield separator.join(path), as_numpy(tree)
    elif is_dataclass(tree):
        names = [each.name for each in fields(tree) if hasattr(tree, each.name)]
        children = ((name, getattr(tree, name)) for name in names)
    for name, child in children:
        yield from _leaves(child, (*path, str(name)), separator)


def as_numpy(array: Any) -> np.ndarray:
    """Return an array of any library on the CPU; bfloat16 becomes float32."""
    if hasattr(array, "detach"):  # PyTorch's
        array = array.detach().cpu()
        array = (array.float() if "bfloat16" in str(array.dtype) else array).numpy()
    if hasattr(array, "get") and hasattr(array, "device"):  # CuPy's
        array = array.get()
    if str(array.dtype).startswith("key<"):  # JAX's random keys
        return np.zeros((), np.uint32)
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def nest(arrays: Mapping[str, Any], separator: str) -> dict:
    """Return nested dictionaries of a flat one."""
    tree: dict = {}
    for name, array in arrays.items():
        *parents, last = name.split(separator)
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = array
    return tree
