"""Loading and saving: a model, and a file or arrays of another system."""

import io
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dyrnn.errors import InterchangeError, SnapshotError
from dyrnn.interchange import files, keras_files, onnx_layers
from dyrnn.interchange.graphs import read_graph
from dyrnn.interchange.matching import Names, Source, match, packed
from dyrnn.interchange.systems import System
from dyrnn.interchange.systems import system as system_of
from dyrnn.interchange.trees import flatten, nest
from dyrnn.link import Link
from dyrnn.serializers.atomic import atomic_output
from dyrnn.serializers.reader import SnapshotReader
from dyrnn.typing import PathLike

# Whose files they are.
SUFFIXES = {
    ".safetensors": "torch",
    ".pt": "torch",
    ".pth": "torch",
    ".keras": "keras",
    ".h5": "keras",
    ".npz": "chainer",
    ".onnx": "onnx",
}
_NESTED = ("flax", "nnx", "equinox")


def load(
    source: Any,
    model: Link,
    system: str | None = None,
    names: Names | None = None,
    ignore: Iterable[str] = (),
    *,
    cell: str | None = None,
    forget_bias: float = 1.0,
) -> None:
    """Load weights of another system into a model, all of them or nothing.

    Parameters
    ----------
    source : str, path-like, or dictionary of arrays
        A file, ``.safetensors``, ``.pt`` (read by PyTorch), ``.keras``,
        ``.weights.h5``, ``.onnx`` or Chainer's ``.npz``, known by what is in it; or
        arrays by name, such as a ``state_dict``; nested dictionaries, such as Flax's
        variables; or a module of PyTorch or Equinox.
    model : Link
        With the same layers.
    system : str, optional
        ``"torch"``, ``"keras"``, ``"flax"``, ``"nnx"``, ``"equinox"``, ``"chainer"``
        or ``"tensorflow"``; a file tells.
    names : dict, optional
        Where what is at a path of the model is in the source, if it is called
        otherwise: ``{"rnn": "encoder.lstm"}``. ``""`` is the whole model: with
        ``{"": "module"}`` only what is below ``module`` counts. A list names the layers
        of a stack one by one, and both directions of each. ``{"out/W": "softmax_w"}``
        names an array. None leaves a layer as it is.
    ignore : iterable of str
        Patterns, as ``"head.*"``, of names that may be left over.
    cell : str, optional
        TensorFlow's kind of cell, as ``"BasicLSTMCell"``, which arrays do not tell.
        ``"LSTMCell"`` writes nnx's cell of that name instead of the optimized one.
    forget_bias : float
        That of TensorFlow's cell, which its bias does not contain.

    Raises
    ------
    OSError
        If there is no such file, or it may not be opened.
    InterchangeError
        If a file is damaged, or names, shapes, types or formulas do not fit: all are
        listed, and the model is as it was.
    """
    _check_arguments(model, names)
    is_file = isinstance(source, (str, os.PathLike))
    if system is None and not is_file:
        raise InterchangeError(
            "arrays do not say where they are from; give system='torch'"
        )
    name = system or SUFFIXES[files.kind_of(source)]
    names = dict(names or {})
    if name == "onnx":
        found = read(source)
        names = onnx_layers.by_order(model, found, names)
        match(model, found, onnx_layers.SYSTEM, names, ignore)
        return
    there = system_of(name, cell, forget_bias)
    if is_file and name == "chainer":
        load_npz(source, model, names, ignore)
        return
    found = read(source) if is_file else _from_memory(source, name, there)
    if name == "keras":
        found = keras_files.by_order(model, found, names)
        names = {}
    match(model, found, there, names, ignore)


def _check_arguments(model, names):
    if not isinstance(model, Link):
        raise InterchangeError(
            f"a {type(model).__name__} was given where the model of dyrnn, a Link, is "
            "expected: load(source, model) and save(file, model)"
        )
    if names is not None and not isinstance(names, Mapping):
        raise InterchangeError(
            f"names is {names!r}; give a dictionary {{'path here': 'name there'}}, or "
            "{'': 'name there'} for the whole model"
        )


def read(path: Any) -> Source:
    """Return the arrays of a file that is not Chainer's."""
    kind = files.kind_of(path)
    if kind == ".safetensors":
        return Source(files.read_safetensors(path)[0])
    if kind == ".pt":
        return Source(flatten(files.read_pt(path), "."))
    if kind == ".onnx":
        return onnx_layers.layers_of(read_graph(path))
    if kind == ".npz":
        raise InterchangeError(
            f"{os.fspath(path)}: an .npz is read as Chainer's; of another system give "
            "load() the arrays, dict(np.load(path))"
        )
    return keras_files.read(path)


def load_npz(
    path: PathLike,
    model: Link,
    names: Names,
    ignore: Iterable[str],
    is_partial: bool = False,
) -> None:
    """Load a file of Chainer's ``save_npz``; nothing is unpickled."""
    try:
        with SnapshotReader(path) as reader:
            source = Source(_Lazy(reader))
            match(model, source, system_of("chainer"), names, ignore, is_partial)
    except SnapshotError as error:
        raise InterchangeError(str(error)) from error


class _Lazy(dict):
    """Arrays of an npz file, read when they are used."""

    def __init__(self, reader):
        super().__init__(dict.fromkeys(reader.array_keys))
        self._reader = reader

    def __getitem__(self, name):
        value = super().__getitem__(name)
        if value is None:
            value = self[name] = self._reader.read_array(name)
        return value


def _from_memory(source: Any, name: str, there: System) -> Source:
    facts = {}
    if name == "torch" and hasattr(source, "state_dict"):
        facts = _torch_facts(source) if hasattr(source, "named_modules") else {}
        source = source.state_dict()
    if name == "flax" and isinstance(source, Mapping) and "params" in source:
        trees = [source[key] for key in ("params", "batch_stats") if key in source]
        flat = [flatten(tree, there.separator) for tree in trees]
        return Source({key: value for each in flat for key, value in each.items()})
    arrays = flatten(source, there.separator)
    if not arrays:
        raise InterchangeError(
            f"a {type(source).__name__} without arrays was given; load() takes a file, "
            "a dictionary of arrays by name, or a module"
        )
    return Source(arrays, facts)


# A class of PyTorch, its attribute, and what that is called in facts.
_TORCH_SAYS = (
    ("LayerNorm", "eps", "eps"),
    ("RMSNorm", "eps", "eps"),
    ("GroupNorm", "eps", "eps"),
    ("GroupNorm", "num_groups", "num_groups"),
    ("_NormBase", "eps", "eps"),
    ("_InstanceNorm", "num_features", "instance_norm"),
    ("RNN", "nonlinearity", "activation"),
    ("RNNCell", "nonlinearity", "activation"),
    ("Embedding", "max_norm", "max_norm"),
    ("EmbeddingBag", "mode", "mode"),
)


def _torch_facts(module):
    """Return what PyTorch's modules say about their formulas."""
    facts = {}
    for name, part in module.named_modules():
        bases = {base.__name__ for base in type(part).__mro__}
        said = {
            mine: getattr(part, own)
            for base, own, mine in _TORCH_SAYS
            if base in bases and hasattr(part, own)
        }
        if said:
            facts[f"{name}." if name else ""] = said
    return facts


def to_arrays(
    model: Link,
    system: str,
    names: Names | None = None,
    *,
    cell: str | None = None,
    forget_bias: float = 1.0,
) -> dict[str, Any]:
    """Return a model's weights as another system has them.

    A flat dictionary of NumPy arrays; for Flax and Equinox a nested one, with
    ``"params"`` (and ``"batch_stats"``) on top for Flax's linen. Arguments are those of
    :func:`load`.
    """
    return _to_arrays(model, system, names, cell, forget_bias)[0]


def _to_arrays(model, system, names, cell=None, forget_bias=1.0):
    """Return the arrays, and which are tied to which."""
    _check_arguments(model, names)
    there = system_of(system, cell, forget_bias)
    if system == "keras":
        names = {**keras_files.layer_names(model), **(names or {})}
    arrays, tied = packed(model, there, names)
    if system == "torch":
        for name in [key for key in arrays if key.endswith("running_mean")]:
            count = name[: -len("running_mean")] + "num_batches_tracked"
            arrays[count] = np.array(0)
    if system == "flax":
        is_statistic = {key: key.endswith(("/mean", "/var")) for key in arrays}
        trees = {"params": False, "batch_stats": any(is_statistic.values())}
        arrays = {
            tree: nest(
                {k: a for k, a in arrays.items() if is_statistic[k] is flag}, "/"
            )
            for tree, flag in trees.items()
            if tree == "params" or flag
        }
    elif system in _NESTED:
        arrays = nest(arrays, there.separator)
    return arrays, tied


def save(
    path: Any,
    model: Link,
    system: str | None = None,
    names: Names | None = None,
    *,
    like: Any = None,
) -> None:
    """Write a model's weights to a file of another system, atomically.

    Parameters
    ----------
    path : str or path-like
        ``.safetensors`` or ``.pt`` for PyTorch, ``.weights.h5`` for a Keras model with
        the same layers in the same order, ``.keras``, ``.npz`` for Chainer.
    model : Link
    system, names
        As in :func:`load`.
    like : str or path-like, optional
        A file of Keras with the same layers, whose description the new one takes over,
        and its names; a ``.keras`` file is written only so.

    Raises
    ------
    OSError
        If the file cannot be written. One of that name is then as it was.
    InterchangeError
        If the system has no layer with such weights.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in SUFFIXES or suffix == ".onnx":
        raise InterchangeError(
            f"{os.fspath(path)}: files {suffix!r} are not written; take one of "
            f"{', '.join(s for s in SUFFIXES if s != '.onnx')}, to_onnx(model, path, "
            "example), or to_arrays(model, system)"
        )
    name = system or SUFFIXES[suffix]
    if suffix == ".keras" and (like is None or files.kind_of(like) != ".keras"):
        raise InterchangeError(
            f"{os.fspath(path)}: a .keras file says what its model computes, which a "
            "link does not tell. Give like='model.keras', a file of such a model in "
            "Keras, or write .weights.h5 and call its load_weights."
        )
    if like is not None:
        names = keras_files.names_in(like, model, names or {})
    arrays, tied = _to_arrays(model, name, names)
    if suffix == ".safetensors":
        # As safetensors' save_model has it: stored once, the other name noted.
        kept = {key: array for key, array in arrays.items() if key not in tied}
        files.write_safetensors(path, kept, {"format": "pt", **tied})
    elif suffix in (".pt", ".pth"):
        files.write_pt(path, arrays)
    elif suffix == ".npz":
        _write_npz(path, arrays)
    else:
        if like is None and not names:
            keras_files.warn_of_places(model)
        keras_files.write(path, arrays, like)


def _write_npz(path, arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with atomic_output(path) as output:
        output.write(buffer.getvalue())
