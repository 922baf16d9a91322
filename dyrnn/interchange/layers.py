"""A model as a list of layers, their arrays in one layout, whatever link has them.

It is what every system's names and layouts are translated to and from::

    for layer in describe(model):
        print(layer.path, layer.index, layer.kind, layer.options)
        print({name: array.shape for name, array in layer.arrays.items()})

    assign([(layer, {"W": W, "b": b}), ...])  # all of them, or an error and none

Kinds, and the names and shapes of their arrays, for I inputs and H units:

- ``"lstm"``: ``W`` (4H, I), ``U`` (4H, H), ``b`` (4H,) in blocks i, f, g, o; perhaps
  ``b_u`` (4H,), added to ``b``; ``V`` (P, H), the projection, with ``U`` (4H, P);
  ``peephole`` (3, H) of i, f, o;
- ``"gru"``: ``W`` (3H, I), ``U`` (3H, H), ``b``, ``b_u`` (3H,) in blocks r, z, n, for
  ``h = (1 - z) * n + z * h``. Option ``reset_after``: ``n = tanh(W x + b + r * (U h +
  b_u))``, else ``n = tanh(W x + b + U (r * h) + b_u)``;
- ``"rnn"``: ``W`` (H, I), ``U`` (H, H), ``b`` (H,), perhaps ``b_u``. Option
  ``activation``: a name in :mod:`dyrnn.functions`, or None;
- ``"embedding"``: ``W`` (V, D). Option ``ignore_label``;
- ``"linear"``: ``W`` (O, I), perhaps ``b`` (O,);
- ``"layer_norm"``: ``gamma``, ``beta`` (H,). Option ``eps``;
- ``"batch_norm"``: ``gamma``, ``beta``, ``mean``, ``var`` (C,). Option ``eps``;
- ``"parameters"``: what a link has beside these, under its own names.

A stack, such as ``NStepLSTM``, is several layers with one path, told apart by
``index``. A layer in two directions, also a ``Bidirectional`` around two of one kind
and size, has the arrays of the backward one as
``W_reverse``, ...; ``layer.cells`` are the dictionaries of each direction.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import dyrnn.functions as F
from dyrnn import links as L
from dyrnn.backend import to_cpu
from dyrnn.config import config
from dyrnn.engine.parameter import Parameter
from dyrnn.errors import InterchangeError
from dyrnn.link import Link
from dyrnn.links.recurrent_stacks import _NStep
from dyrnn.typing import Array

REVERSE = "_reverse"
# Of a link: the name of a parameter or persistent value, and a factor of 1 or -1.
Part = tuple[Link, str, int]


@dataclass(eq=False)
class Layer:
    """One layer of a model, in one or two directions.

    Attributes
    ----------
    kind : str
        See the module.
    path : str
        Of its link in the model, as ``"encoder/rnn"``; ``""`` for the model itself.
    link : Link
    parts : dict
        For each array the parameters, below each other, that make it up.
    index : int
        Position in a stack.
    n_in_stack : int
        Layers of the stack; 0 of a link that is none.
    directions : int
    options : dict
        What of the formula the arrays do not tell, see the module.
    """

    kind: str
    path: str
    link: Link
    parts: dict[str, list[Part]]
    index: int = 0
    n_in_stack: int = 0
    directions: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name. One that waits for its input's size has 0 columns."""
        return {name: _joined(parts) for name, parts in self.parts.items()}

    @property
    def cells(self) -> list[dict[str, np.ndarray]]:
        """The arrays of each direction, without ``_reverse`` in their names."""
        return split_directions(self.arrays, self.directions)

    def __str__(self) -> str:
        number = f" (layer {self.index})" if self.n_in_stack else ""
        return f"{type(self.link).__name__} at {self.path or 'the top'!r}{number}"


def split_directions(arrays: Mapping, directions: int) -> list[dict]:
    """Return a dictionary for each direction, the names without ``_reverse``."""
    forward = {k: a for k, a in arrays.items() if not k.endswith(REVERSE)}
    if directions == 1:
        return [forward]
    return [forward, {k: arrays[k + REVERSE] for k in forward}]


def join_directions(cells: Iterable[Mapping]) -> dict:
    """Return the arrays of all directions in one dictionary."""
    return {k + REVERSE * d: a for d, cell in enumerate(cells) for k, a in cell.items()}


def _value(link, name):
    value = getattr(link, name)
    return value.array if isinstance(value, Parameter) else value


def _joined(parts):
    arrays = []
    for link, name, sign in parts:
        value = _value(link, name)
        if value is None:  # the matrix of a map that waits for its input's size
            rows = getattr(link, "out_size", 0)
            shape = (rows, 0) if name == "W" else (0,)
            value = np.zeros(shape, config.dtype)
        arrays.append(sign * to_cpu(value) if sign < 0 else np.asarray(to_cpu(value)))
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


# -- From links to layers ------------------------------------------------------------


def describe(model: Link, joins_directions: bool = True) -> list[Layer]:
    """Return the layers of a model in the order in which it registers them.

    Those of a ``Bidirectional`` are one in two directions, or two.
    """
    return list(_layers(model, "", joins_directions))


def _layers(link, path, joins_directions):
    if joins_directions and isinstance(link, L.Bidirectional):
        both = _both_directions(link, path)
        if both is not None:
            yield both
            return
    found = next((f for kind, f in _KINDS.items() if isinstance(link, kind)), None)
    layers = [] if found is None else found(link, path)
    yield from layers
    # A subclass may have more than the layer it comes from.
    used = {
        (id(k), n) for layer in layers for p in layer.parts.values() for k, n, _ in p
    }
    names = [*link._params, *link._persistent]
    rest = {name: [(link, name, 1)] for name in names if (id(link), name) not in used}
    if rest:
        yield Layer("parameters", path, link, rest)
    links_used = {key for key, _ in used}
    for name, child in link._links.items():  # a shared link has the name of one place
        if id(child) not in links_used:
            below = f"{path}/{name}" if path else name
            yield from _layers(child, below, joins_directions)


def _both_directions(link, path):
    """Return the two layers as one in two directions; None if they are not alike."""
    pair = [describe(link.forward_layer), describe(link.backward_layer)]
    if [len(layers) for layers in pair] != [1, 1]:
        return None
    (forward,), (backward,) = pair

    def form(layer):
        shapes = {name: array.shape for name, array in layer.arrays.items()}
        return layer.kind, layer.options, shapes

    if form(forward) != form(backward) or forward.kind == "parameters":
        return None
    parts = join_directions([forward.parts, backward.parts])
    kind, options = forward.kind, {**forward.options, "merge_mode": link.merge}
    return Layer(kind, path, link, parts, directions=2, options=options)


def _plain(link, *names, **renamed):
    """Return the parts of a link: attributes, as they are or under another name."""
    renamed = {**dict(zip(names, names, strict=True)), **renamed}
    return {
        name: [(link, own, 1)]
        for name, own in renamed.items()
        if getattr(link, own) is not None
    }


def _maps(link):
    """Return the parts of a layer with the maps ``upward`` and ``lateral``."""
    lateral = _plain(link.lateral, U="W", b_u="b")
    return {**_plain(link.upward, "W", "b"), **lateral}


def _lstm(link, path):
    parts = _maps(link)
    if getattr(link, "peephole", None) is not None:
        parts |= _plain(link, "peephole")
    if getattr(link, "projection", None) is not None:
        parts |= _plain(link.projection, V="W")
    return [Layer("lstm", path, link, parts)]


def _gru(link, path):
    return [Layer("gru", path, link, _maps(link), options={"reset_after": True})]


def _gru_of_six_maps(link, path):
    # Its update gate keeps the state where that of the layout replaces it.
    signs = {"_r": 1, "_z": -1, "": 1}

    def stacked(kind, name):
        return [(getattr(link, f"{kind}{g}"), name, s) for g, s in signs.items()]

    parts = {name: stacked("W", name) for name in "Wb"}
    parts |= {"U": stacked("U", "W"), "b_u": stacked("U", "b")}
    return [Layer("gru", path, link, parts, options={"reset_after": False})]


def _function_name(function):
    return next((name for name in F.__all__ if getattr(F, name) is function), None)


def _elman(link, path):
    options = {"activation": _function_name(link.activation)}
    return [Layer("rnn", path, link, _maps(link), options=options)]


def _stack(link, path):
    kind = {4: "lstm", 3: "gru", 1: "rnn"}[link.n_gates]
    activation = "relu" if isinstance(link, L.NStepRNNReLU) else "tanh"
    of_kind = {"gru": {"reset_after": True}, "rnn": {"activation": activation}}
    options: dict[str, Any] = of_kind.get(kind, {})
    n, weights = link.directions, list(link)
    layers = []
    for k in range(link.n_layers):
        cells = [_plain(w, *w._params) for w in weights[k * n : (k + 1) * n]]
        parts = join_directions(cells)
        layers.append(Layer(kind, path, link, parts, k, link.n_layers, n, options))
    return layers


def _single(kind, *names, option=None, **renamed):
    def layers(link, path):
        options = {} if option is None else {option: getattr(link, option)}
        parts = _plain(link, *names, **renamed)
        return [Layer(kind, path, link, parts, options=options)]

    return layers


_statistics = {"mean": "avg_mean", "var": "avg_var"}
_KINDS = {
    (L.LSTM, L.StatelessLSTM, L.StatefulZoneoutLSTM, L.StatefulPeepholeLSTM): _lstm,
    (L.GRU,): _gru,
    (L.StatefulGRU, L.StatelessGRU): _gru_of_six_maps,
    (L.ElmanRNN,): _elman,
    (_NStep,): _stack,
    (L.Linear,): _single("linear", "W", "b"),
    (L.EmbedID,): _single("embedding", "W", option="ignore_label"),
    (L.LayerNormalization,): _single("layer_norm", "gamma", "beta", option="eps"),
    (L.BatchNormalization,): _single(
        "batch_norm", "gamma", "beta", option="eps", **_statistics
    ),
}


# -- From arrays into links ----------------------------------------------------------


def problems_of(name: str, array: Any, shape: tuple, dtype: Any) -> Iterable[str]:
    """Say what keeps ``array`` from a place; 0 in ``shape`` stands for any size."""
    array = np.asarray(array)
    is_free = tuple(n and m for n, m in zip(shape, array.shape, strict=False))
    if array.ndim != len(shape) or is_free != tuple(shape):
        shown = str(tuple(n or "any" for n in shape)).replace("'", "")
        yield f"{name}: shape {array.shape}, expected {shown}"
    elif array.ndim == 2 and not array.size:
        yield f"{name}: shape {array.shape}, which has no numbers"
    elif np.dtype(dtype).kind == "f" and array.dtype.kind != "f":
        yield f"{name}: dtype {array.dtype}, expected floats"
    elif not np.can_cast(array.dtype, dtype, "same_kind"):
        yield f"{name}: dtype {array.dtype}, expected {np.dtype(dtype)}"
    elif (
        np.dtype(dtype).kind == "f" and array.dtype.itemsize > np.dtype(dtype).itemsize
    ):
        with np.errstate(over="ignore"):
            if np.isinf(array.astype(dtype)).sum() > np.isinf(array).sum():
                yield f"{name}: {array.dtype} with numbers too large for {dtype}"


def assign(values: Iterable[tuple[Layer, Mapping[str, Array]]]) -> None:
    """Give layers their arrays: all of them, or none.

    Parameters
    ----------
    values : iterable of (Layer, dict)
        The layer's arrays by name, in the layout of the module; floats of another size
        become the parameters'.

    Raises
    ------
    InterchangeError
        If a name or a shape is not the layer's, or arrays are no floats, with all that
        does not fit; or if parameters that are one are given two values. The model is
        then as it was.
    """
    new: dict[tuple, tuple] = {}
    problems = []
    for layer, arrays in values:
        mine = layer.arrays
        place = layer.path or "/"
        for name in sorted(mine.keys() ^ arrays.keys()):
            what = "missing" if name in mine else "not an array of the layer"
            problems.append(f"{place}: {name}: {what}")
        for name in mine.keys() & arrays.keys():
            label = f"{place}: {name}"
            found = list(
                problems_of(label, arrays[name], mine[name].shape, mine[name].dtype)
            )
            problems += found
            if not found:
                problems += _spread(new, label, layer.parts[name], arrays[name])
    if problems:
        raise InterchangeError(f"the arrays do not fit: {'; '.join(sorted(problems))}")
    for link, name, array in new.values():
        _set(link, name, array)


def _spread(new, label, parts, array):
    """Enter the values of each parameter in ``new``; yield what contradicts itself."""
    array = np.asarray(array)
    blocks = [array] if len(parts) == 1 else np.split(array, len(parts))
    for (link, name, sign), block in zip(parts, blocks, strict=True):
        target = getattr(link, name)
        # Tied weights are one parameter at two places.
        key = (id(target),) if isinstance(target, Parameter) else (id(link), name)
        value = -block if sign < 0 else block
        if key in new and not np.array_equal(new[key][2], value, equal_nan=True):
            yield f"{label}: another value than the same parameter has elsewhere"
        new[key] = link, name, value


def _set(link, name, array):
    target = getattr(link, name)
    if not isinstance(target, Parameter):
        value = np.asarray(to_cpu(target))
        setattr(link, name, link.device.send(array.astype(value.dtype)))
        return
    if target.array is None:
        if isinstance(link, L.Linear):
            link.initialize(array.shape[1])
        else:
            target.initialize(array.shape)
    target.array[...] = target.device.send(array.astype(target.dtype))


__all__ = ["InterchangeError", "Layer", "assign", "describe"]
