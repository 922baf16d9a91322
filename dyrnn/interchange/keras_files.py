"""Keras 3's files: ``.weights.h5``, and ``.keras``, a zip with a description beside it.

Weights are named after the classes of layers, in order: ``layers/lstm/cell/vars/0``,
``layers/lstm_1/...``; only the description knows the layers' own names, and what their
formulas are. Nothing in it is run. HDF5 files are read through h5py: plain arrays that
lie in the file, each within its size; links to other files are not followed.
"""

import io
import json
import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np

from dyrnn.errors import InterchangeError
from dyrnn.interchange.files import open_file
from dyrnn.interchange.layers import Layer, describe
from dyrnn.interchange.matching import Source, match, translated, warn_of_order
from dyrnn.interchange.systems import SYSTEMS
from dyrnn.link import Link
from dyrnn.serializers.atomic import atomic_output
from dyrnn.typing import Array, PathLike

_KINDS = {
    "embedding": "embedding",
    "lstm": "lstm",
    "gru": "gru",
    "simple_rnn": "rnn",
    "dense": "linear",
    "layer_normalization": "layer_norm",
    "batch_normalization": "batch_norm",
}
_CLASSES = {kind: name for name, kind in _KINDS.items()}
_DESCRIBED = (
    "activation recurrent_activation reset_after go_backwards merge_mode epsilon"
).split()
_WEIGHTS = "model.weights.h5"  # in an archive
_OLD = ("model_weights/", "optimizer_weights/")
_IS_OLD = (
    "it is in the old format, a whole model in HDF5. Convert it in Keras: "
    "keras.models.load_model(file).save('model.keras')"
)
_MOST = 64 << 20  # bytes that a small archive may unpack to


def _h5py():
    try:
        import h5py
    except ImportError as error:
        raise InterchangeError(
            "Keras's files take h5py: pip install h5py, or give load() a dictionary of "
            "the arrays"
        ) from error
    return h5py


def read(path: PathLike) -> Source:
    """Return the arrays of a file and, of ``.keras``, what it says of its layers.

    Raises
    ------
    OSError
        If there is no such file.
    InterchangeError
        If the file is damaged, or of another form.
    """
    file, size = open_file(path)
    with file:
        try:
            if file.read(2) == b"PK":
                return _read_archive(file, size)
            file.seek(0)
            source = Source(_read_h5(file, size))
            if all(name.startswith(_OLD) for name in source.arrays):
                raise InterchangeError(_IS_OLD)
            return source
        except InterchangeError as error:
            text = f"{os.fspath(path)}: {error}"
            raise InterchangeError(text) from error.__cause__


def _read_h5(file, size):
    h5py = _h5py()
    arrays: dict[str, np.ndarray] = {}

    def visit(name, item):
        if not isinstance(item, h5py.Dataset):
            return
        kind = item.dtype
        if kind.kind not in "fiub":
            return  # seeds' names and the like are no weights
        if (
            item.nbytes > size
            or item.is_virtual
            or item.external
            or item.id.get_storage_size() != item.nbytes
            or not name.isprintable()
        ):
            raise InterchangeError(
                f"{name[:80]!r}: {kind} {item.shape} is not stored plainly in the file"
            )
        # Several names may mean the same bytes.
        if sum(array.nbytes for array in arrays.values()) + item.nbytes > size:
            raise InterchangeError("the file has more arrays than bytes")
        arrays[name] = item[()]

    try:
        with h5py.File(file, "r") as h5:
            h5.visititems(visit)
    except InterchangeError:
        raise
    except Exception as error:
        raise InterchangeError(f"h5py does not read it: {error}") from error
    return arrays


def _read_archive(file, size):
    try:
        with zipfile.ZipFile(file) as archive:
            total = sum(member.file_size for member in archive.infolist())
            if total > size + _MOST:
                raise InterchangeError(f"{size} bytes would unpack to {total}")
            config = json.loads(archive.read("config.json"))
            weights = archive.read(_WEIGHTS)
    except InterchangeError:
        raise
    except Exception as error:
        raise InterchangeError(f"no archive of Keras: {error}") from error
    source = Source(_read_h5(io.BytesIO(weights), len(weights)))
    try:
        _describe(config["config"], "", source)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise InterchangeError(f"config.json is not as expected: {error!r}") from error
    return source


def _snake(name):
    """Return a class's name as Keras writes it in files."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _describe(config, parent, source):
    """Note for each layer its own name, and what its formula is."""
    counts: dict[str, int] = {}
    for layer in config["layers"]:
        name = _snake(layer["class_name"])
        number = counts[name] = counts.get(name, -1) + 1
        place = f"{parent}layers/{name}" + (f"_{number}" if number else "")
        own = layer["config"]
        if "layers" in own:
            _describe(own, f"{place}/", source)
        inner = own.get("layer", {}).get("config", {})
        facts = {k: v for k, v in {**own, **inner}.items() if k in _DESCRIBED}
        facts |= _differing(inner, own.get("backward_layer", {}).get("config", {}))
        if "epsilon" in facts:
            facts["eps"] = facts.pop("epsilon")
        source.facts[f"{place}/"] = facts
        title = own.get("name")
        if isinstance(title, str):
            source.facts[f"{place}/"]["title"] = title
        remark = _remark(layer, own)
        if remark:
            source.facts[f"{place}/"]["remark"] = remark


def _differing(forward, backward):
    """Return what the formula of a backward layer has of its own."""
    return {
        key: f"{forward.get(key)} forward, {backward[key]} backward"
        for key in _DESCRIBED
        if key in backward
        and key != "go_backwards"
        and backward[key] != forward.get(key)
    }


def _remark(layer, own):
    """Return what a layer does that has no counterpart in a layer here; or None."""
    if layer["class_name"] == "Masking" or own.get("mask_zero"):
        return "masks steps, which the layers after it leave out: give them lengths"
    if layer["class_name"] in ("LayerNormalization", "BatchNormalization"):
        axis = own.get("axis", -1)
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        shape = (layer.get("build_config") or {}).get("input_shape") or [None]
        if axis not in (-1, len(shape) - 1):
            return f"normalizes axis {axis}, and layers here the last one"
    return None


def by_order(model: Link, source: Source, given: Mapping[str, Any]) -> Source:
    """Find the layers of a model by their names or, failing this, by their order.

    They are found by name if the description has one for each of the model's paths;
    else the first LSTM here is the first there, and so on for each kind. A layer in two
    directions is the next ``Bidirectional``. ``given`` are names that the user gives,
    those of the description or of the file.
    """
    titles: dict[str, str] = {}
    for place, facts in source.facts.items():
        if remark := facts.pop("remark", None):
            warnings.warn(f"{place.rstrip('/')} {remark}", stacklevel=3)
        titles.setdefault(facts.pop("title", place), place.rstrip("/"))
    is_given = {path: _located(name, titles, source) for path, name in given.items()}
    stacks = [list(g) for _, g in groupby(describe(model), key=lambda x: x.path)]
    wanted = [
        stack
        for stack in stacks
        if stack[0].path not in is_given
        and translated(stack[0].path, is_given, "/") is not None
    ]
    if titles and all(stack[0].path in titles for stack in wanted):
        found = {stack[0].path: titles[stack[0].path] for stack in wanted}
        places = {s[0].path: _sides(s[0], [found[s[0].path]]) for s in wanted}
    else:
        taken = {name for value in is_given.values() for name in _listed(value)}
        queues = _queues(source, taken)
        places = {
            stack[0].path: [p for layer in stack for p in _next(layer, queues)]
            for stack in wanted
        }
        found = {path: _single(places[path]) for path in places}
        warn_of_order([stack[0] for stack in wanted], found)
    for stack in stacks:
        path = stack[0].path
        if path in is_given:
            value = is_given[path]
            pairs = zip(_listed(value), stack, strict=False)
            if value is not None and len(_listed(value)) == len(stack):
                value = [place for v, x in pairs for place in _sides(x, [v])]
            places[path] = value
    names = {**is_given, **{path: _single(found) for path, found in places.items()}}
    return Source(source.arrays, source.facts, names)


def _listed(value):
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _single(found):
    return found[0] if isinstance(found, list) and len(found) == 1 else found


def _located(name, titles, source):
    """Return where in the file the layer is that the user calls ``name``."""
    if name is None:
        return None
    if not isinstance(name, str):
        return [_located(each, titles, source) for each in name]
    if name in titles:
        return titles[name]
    inside = any(key.startswith(f"layers/{name}/") for key in source.arrays)
    return f"layers/{name}" if inside else name


def _sides(layer, places):
    if layer.directions == 1 or not places:
        return places
    return [f"{p}/{side}_layer" for p in places for side in ("forward", "backward")]


def _queues(source, taken):
    """Return the places of each kind in order, and those of Bidirectional."""
    queues: dict[str, list[tuple[int, str]]] = {}
    pattern = re.compile(r"(?:^|/)layers/([a-z_0-9]*?)(?:_(\d+))?/")
    for place in {m[: m.rindex("/vars/")] for m in source.arrays if "/vars/" in m}:
        matches = list(pattern.finditer(f"{place}/"))
        if not matches or place.startswith("optimizer/"):
            continue
        last = matches[-1]
        base = place[: last.end() - 1]
        item = int(last[2] or 0), base
        if base not in taken and item not in queues.setdefault(last[1], []):
            queues[last[1]].append(item)
    wrapped = "time_distributed"
    if wrapped in queues and "dense" in queues:
        raise InterchangeError(
            "the order of Dense layers and of TimeDistributed ones is not in the file; "
            "give names={'path here': 'layers/time_distributed/layer', ...}"
        )
    if wrapped in queues:
        queues["dense"] = [(n, f"{place}/layer") for n, place in queues.pop(wrapped)]
    return {name: [place for _, place in sorted(q)] for name, q in queues.items()}


def _class(layer):
    """Return Keras's name of a layer's class, as it is in files."""
    if layer.kind not in _CLASSES:
        raise InterchangeError(f"{layer} has no counterpart in Keras's files")
    return "bidirectional" if layer.directions == 2 else _CLASSES[layer.kind]


def _next(layer: Layer, queues: dict[str, list[str]]) -> list[str]:
    name = _class(layer)
    queue = queues.get(name, [])
    if queue:
        return _sides(layer, [queue.pop(0)])
    return _sides(layer, [f"layers/{name} (one more)"])


def layer_names(model: Link) -> dict[str, Any]:
    """Return how a Keras model with the same layers in the same order calls them."""
    counts: dict[str, int] = {}
    names: dict[str, list[str]] = {}
    for layer in describe(model):
        kind = _class(layer)
        number = counts[kind] = counts.get(kind, -1) + 1
        place = f"layers/{kind}" + (f"_{number}" if number else "")
        names.setdefault(layer.path, []).extend(_sides(layer, [place]))
    return {path: _single(found) for path, found in names.items()}


def warn_of_places(model: Link) -> None:
    """Warn of layers that only their order tells apart in a file without names."""
    layers = {layer.path: layer for layer in reversed(describe(model))}
    warn_of_order(reversed(layers.values()), layer_names(model))


def names_in(like: PathLike, model: Link, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a model's layers are in a file, into which they must fit."""
    found = by_order(model, read(like), given)
    match(model.copy("copy"), found, SYSTEMS["keras"])
    return found.names


def write(
    path: PathLike, arrays: Mapping[str, Array], like: PathLike | None = None
) -> None:
    """Write ``.weights.h5``, for ``model.load_weights``, or ``.keras``, atomically.

    What ``like``, another file, has beside weights is taken over, but for the state of
    its optimizer.
    """
    h5py = _h5py()
    kept = {} if like is None else read(like).arrays
    arrays = dict(arrays)
    for name in arrays.keys() - kept.keys() if kept else ():
        if np.any(arrays.pop(name)):
            raise InterchangeError(
                f"{name}: this bias is not 0, but {like} is of a layer without one"
            )
    more = {k: a for k, a in kept.items() if not k.startswith("optimizer/")}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in {**more, **arrays}.items():
            file[name] = np.ascontiguousarray(array).reshape(np.shape(array))
    with atomic_output(path) as output:
        if os.path.splitext(os.fspath(path))[1].lower() == ".keras":
            _write_archive(output, buffer.getvalue(), like)
        else:
            output.write(buffer.getvalue())


def _write_archive(output, weights, like):
    """Write the archive ``like``, with other weights."""
    source, _ = open_file(like)
    with source, zipfile.ZipFile(source) as old, zipfile.ZipFile(output, "w") as new:
        for member in old.infolist():
            is_weights = member.filename == _WEIGHTS
            new.writestr(member, weights if is_weights else old.read(member))
