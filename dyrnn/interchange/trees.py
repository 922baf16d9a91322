"""Nested dictionaries, lists and modules of arrays, as flat dictionaries and back."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from dyrnn.errors import InterchangeError


def flatten(tree: Any, separator: str) -> dict[str, np.ndarray]:
    """Return all arrays below ``tree``, their names joined by ``separator``.

    Dictionaries, lists, tuples and dataclasses, such as Equinox's modules, are gone
    into; what holds no array (a number, a function) is left out.

    Raises
    ------
    InterchangeError
        If two arrays have one name, or one has no numbers that NumPy can take.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        for name, array in _leaves(tree, (), separator):
            if name in arrays:
                raise InterchangeError(f"two arrays are called {name!r}")
            arrays[name] = array
    except RecursionError as error:
        raise InterchangeError(
            f"a {type(tree).__name__} that contains itself, or is too deep"
        ) from error
    return arrays


def _leaves(
    tree: Any, path: tuple[str, ...], separator: str
) -> Iterator[tuple[str, np.ndarray]]:
    children: Any = ()
    if isinstance(tree, Mapping):
        children = tree.items()
    elif isinstance(tree, (list, tuple)):
        children = enumerate(tree)
    elif _has(tree, "shape") and _has(tree, "dtype"):
        name = separator.join(path)
        try:
            yield name, as_numpy(tree)
        except RecursionError:
            raise
        except (TypeError, ValueError, RuntimeError) as error:
            raise InterchangeError(
                f"{name}: a {type(tree).__name__} that NumPy cannot take: {error}"
            ) from error
    elif is_dataclass(tree):
        names = [each.name for each in fields(tree) if hasattr(tree, each.name)]
        children = ((name, getattr(tree, name)) for name in names)
    for name, child in children:
        yield from _leaves(child, (*path, str(name)), separator)


def _has(tree, name):
    try:
        return hasattr(tree, name)
    except RuntimeError:  # of PyTorch, for one that waits for its size
        return True


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
