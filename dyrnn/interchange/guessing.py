"""A model for a file whose arrays say by their names what layers they belong to.

So a file can be converted without a program. What names and shapes do not tell, such as
whether a matrix without bias is an embedding, is refused: a program with the model
loads such a file.
"""

import re

from dyrnn import links as L
from dyrnn.errors import InterchangeError
from dyrnn.interchange.matching import Source
from dyrnn.link import Chain, Link

_RECURRENT = re.compile(
    r"(.*?)\.?(?:weight_(?:ih|hh|hr)|bias_(?:ih|hh))_l(\d+)(_reverse)?$"
)
_KERAS = re.compile(
    r"layers/((lstm|gru|simple_rnn|bidirectional|dense|embedding|layer_normalization"
    r"|batch_normalization)(?:_(\d+))?)/"
)


def model_of(source: Source, system: str) -> tuple[Chain, dict]:
    """Return a model with the layers of a source, and where each is there.

    Raises
    ------
    InterchangeError
        If the names do not tell a layer.
    """
    found = _numbered(_torch(source)) if system == "torch" else _keras(source)
    model, names = Chain(), {}
    for place, link in found.items():
        *parents, last = place.split("." if system == "torch" else "/")
        names["/".join([*parents, last])] = place
        inside = model
        for parent in parents:
            if parent not in inside._links:
                inside.add_link(parent, Chain())
            inside = inside[parent]
        inside.add_link(last, link)
    return model, names


def _numbered(found):
    """Return links in the order that they have, but numbers as 2, 10, and not 10, 2."""
    first: dict[tuple, int] = {}

    def key(place):
        parts = place.split(".")
        heads = [tuple(parts[: n + 1]) for n in range(len(parts))]
        return [
            (0, int(head[-1])) if head[-1].isdecimal() else (1, first[head])
            for head in heads
        ]

    for k, place in enumerate(found):
        parts = place.split(".")
        for n in range(len(parts)):
            first.setdefault(tuple(parts[: n + 1]), k)
    return {place: found[place] for place in sorted(found, key=key)}


def _torch(source: Source) -> dict[str, Link]:
    shapes = {name: array.shape for name, array in source.arrays.items()}
    found: dict[str, Link] = {}
    for name in shapes:
        match = _RECURRENT.match(name)
        if match and match[1] not in found:
            found[match[1]] = _torch_stack(match[1], shapes)
        prefix, _, last = name.rpartition(".")
        if last == "weight" and not match:
            found[prefix] = _torch_single(prefix, shapes)
    return found


def _torch_stack(prefix, shapes):
    head = f"{prefix}." if prefix else ""
    mine = [m for m in map(_RECURRENT.match, shapes) if m and m[1] == prefix]
    n_layers = 1 + max(int(m[2]) for m in mine)
    side = "Bi" if any(m[3] for m in mine) else ""
    try:
        in_size = shapes[f"{head}weight_ih_l0"][1]
        rows, state = shapes[f"{head}weight_hh_l0"]
    except (KeyError, ValueError, IndexError) as error:
        raise InterchangeError(f"{prefix}: not all weights of layer 0") from error
    projection = shapes.get(f"{head}weight_hr_l0")
    if projection is not None:
        cls = getattr(L, f"NStep{side}LSTM")
        return cls(n_layers, in_size, rows // 4, n_biases=2, proj_size=state)
    kind = {4: "LSTM", 3: "GRU", 1: "RNNTanh"}.get(rows // state if state else 0)
    if kind is None:
        raise InterchangeError(f"{prefix}: no layer has weights ({rows}, {state})")
    return getattr(L, f"NStep{side}{kind}")(n_layers, in_size, state, n_biases=2)


def _torch_single(prefix, shapes):
    shape = shapes[f"{prefix}.weight"]
    if f"{prefix}.running_mean" in shapes:
        return L.BatchNormalization(shape[0])
    if len(shape) == 1:
        return L.LayerNormalization(shape[0])
    if len(shape) == 2 and f"{prefix}.bias" in shapes:
        return L.Linear(shape[1], shape[0])
    if len(shape) == 2 and "emb" in prefix.lower():
        return L.EmbedID(*shape)
    raise InterchangeError(
        f"{prefix}.weight {shape}: the file does not tell whether it is an embedding "
        "or a linear map; load it into a model with interchange.load"
    )


def _keras(source: Source) -> dict[str, Link]:
    shapes = {name: array.shape for name, array in source.arrays.items()}
    groups = {}
    for name in shapes:
        match = _KERAS.match(name)
        if match:
            groups[f"layers/{match[1]}"] = match[2], int(match[3] or 0)
    return {
        place: _keras_layer(place, kind, shapes)
        for place, (kind, _) in sorted(groups.items(), key=lambda item: item[1])
    }


def _keras_layer(place, kind, shapes):
    first = f"{place}/vars/0"
    if kind == "embedding":
        return L.EmbedID(*shapes[first])
    if kind == "dense":
        return L.Linear(*shapes[first], nobias=f"{place}/vars/1" not in shapes)
    if kind == "layer_normalization":
        return L.LayerNormalization(shapes[first][0])
    if kind == "batch_normalization":
        return L.BatchNormalization(shapes[first][0])
    side = "Bi" if kind == "bidirectional" else ""
    cell = f"{place}/forward_layer/cell" if side else f"{place}/cell"
    try:
        in_size, rows = shapes[f"{cell}/vars/0"]
        size = shapes[f"{cell}/vars/1"][0]
    except (KeyError, ValueError, IndexError) as error:
        raise InterchangeError(f"{place}: no weights of a known layer") from error
    name = {4: "LSTM", 3: "GRU", 1: "RNNTanh"}.get(rows // size if size else 0)
    bias = shapes.get(f"{cell}/vars/2", ())
    if name == "GRU" and len(bias) == 1 and not side:
        return L.StatefulGRU(in_size, size)
    if name is None or (name == "GRU" and len(bias) == 1):
        raise InterchangeError(f"{place}: there is no such layer in both directions")
    return getattr(L, f"NStep{side}{name}")(1, in_size, size)
