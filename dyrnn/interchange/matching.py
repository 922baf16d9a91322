"""Which arrays of another system are which layers' of a model, there and back.

A layer's arrays are found below its path, or below the name that the user gives for
that path. Everything is compared before anything is loaded: names that are missing or
left over, shapes, types, and what a file says about a layer's formula.
"""

import fnmatch
import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dyrnn.errors import InterchangeError
from dyrnn.interchange.layers import (
    Layer,
    assign,
    describe,
    join_directions,
    problems_of,
)
from dyrnn.interchange.layouts import (
    Layout,
    biases_of,
    covers,
    loses_bias,
    pack,
    refuse_bias,
    unpack,
)
from dyrnn.interchange.systems import System
from dyrnn.link import Link

Names = Mapping[str, Any]
_SHOWN = 30  # problems in a message


@dataclass
class Source:
    """What a file or a dictionary has: arrays by name, and facts about layers.

    Attributes
    ----------
    arrays : mapping
    facts : dict
        By name of a layer, options as those of :class:`Layer` that the source states.
    names : dict
        Where layers of the model are if the user does not say so, as found by order.
    """

    arrays: Mapping[str, Any]
    facts: dict[str, dict] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Form:
    """One way in which a layer's cells may be named: full names of each entry."""

    layout: Layout
    cells: list[dict[str, list[str]]]  # for each direction: entry -> names


def translated(path: str, names: Names, separator: str) -> Any:
    """Return where the source has what is at ``path`` here; None: nowhere."""
    parts = path.split("/") if path else []
    for n in range(len(parts), -1, -1):
        known = "/".join(parts[:n])
        if known in names:
            base = names[known]
            if base is None or (isinstance(base, (list, tuple)) and n == len(parts)):
                return base
            return separator.join([*([base] if base else []), *parts[n:]])
    return separator.join(parts)


def warn_of_order(layers: Iterable[Layer], places: Mapping[str, Any]) -> None:
    """Warn of links that could take each other's arrays, but for their order."""
    alike: dict[tuple, dict] = {}
    for layer in layers:
        if layer.path in places:
            shapes = [(name, array.shape) for name, array in layer.arrays.items()]
            found = alike.setdefault((layer.kind, *shapes), {})
            found[layer.path] = places[layer.path]
    for found in alike.values():
        if len(found) > 1:
            said = ", ".join(f"{path!r} is {name}" for path, name in found.items())
            warnings.warn(
                f"only their order tells apart: {said}. If it "
                f"is another one there, give names={found}.",
                stacklevel=4,
            )


def _prefixes(layer: Layer, names: Names, system: System) -> list[str] | None:
    """Return the prefix of each direction's arrays."""
    base = translated(layer.path, names, system.separator)
    if base is None:
        return None
    D = layer.directions
    if isinstance(base, (list, tuple)):
        count = max(1, layer.n_in_stack) * D
        if len(base) != count:
            raise InterchangeError(
                f"{layer}: names has {len(base)} names for it, but there are {count}: "
                "one for each layer and direction, forward before backward"
            )
        return [str(name) for name in base[layer.index * D : (layer.index + 1) * D]]
    if system.has_stacks:
        return [base] * D
    inner = [str(layer.index)] if layer.n_in_stack > 1 else []
    sides = [[]] if D == 1 else [["forward_rnn"], ["backward_rnn"]]
    head = [base] if base else []
    return [system.separator.join([*head, *inner, *side]) for side in sides]


def _forms(layer: Layer, names: Names, system: System) -> list[_Form]:
    """Return the ways in which a layer may be named in the source; none: it is not."""
    prefixes = _prefixes(layer, names, system)
    if prefixes is None:
        return []
    cells = layer.cells
    layouts = [lay for lay in system.layouts(layer) if covers(lay, cells[0])]
    if not layouts:
        raise InterchangeError(
            f"{layer} has no counterpart in {system.name} with the same weights"
        )
    is_recurrent = layer.kind in ("lstm", "gru", "rnn")
    forms = []
    for layout, infix in itertools.product(layouts, system.infixes):
        infix = infix if is_recurrent else ""
        form = _Form(layout, [])
        for d, (prefix, cell) in enumerate(zip(prefixes, cells, strict=True)):
            place = {"l": layer.index, "r": "_reverse" * d}
            place["k"] = layer.index * layer.directions + d
            form.cells.append({})
            for entry in pack(layout, cell):
                exact = names.get(f"{layer.path}/{entry}".lstrip("/"))
                form.cells[d][entry] = [
                    exact or _joined(prefix, infix + name.format(**place), system)
                    for name in layout[entry].names
                ]
        forms.append(form)
        # A layer may be without biases there.
        if is_recurrent:
            kept = {k: v for k, v in layout.items() if k not in biases_of(layout)}
            bare = [{k: v for k, v in c.items() if k in kept} for c in form.cells]
            forms.append(_Form(kept, bare))
    return forms


def _joined(prefix, name, system):
    return system.separator.join(part for part in (prefix, name) if part)


def _names_of(form):
    return [n for cell in form.cells for names in cell.values() for n in names]


def _chosen(forms: list[list[_Form]], known: Mapping) -> list[_Form]:
    """Return the form of each layer of a stack, the same for all.

    It is the one of which most names are there, and of such the one that lacks least.
    """

    def fit(k):
        there = [name in known for each in forms for name in _names_of(each[k])]
        return sum(there), -there.count(False)

    best = max(range(len(forms[0])), key=fit)
    return [each[best] for each in forms]


def match(
    model: Link,
    source: Source,
    system: System,
    names: Names | None = None,
    ignore: Iterable[str] = (),
    is_partial: bool = False,
) -> None:
    """Load ``source`` into ``model``: all of it or nothing.

    With ``is_partial`` layers of which the source has nothing stay as they are.

    Raises
    ------
    InterchangeError
        With all that does not fit.
    """
    names = {**source.names, **(names or {})}
    known = source.arrays
    used: set[str] = set()
    problems: list[str] = []
    values, activations = [], []
    layers = describe(model, system.has_directions)
    _check_names(names, layers)
    _check_known(model, system)
    for _, group in itertools.groupby(layers, key=lambda layer: layer.path):
        stack = list(group)
        kinds = [list(same) for _, same in itertools.groupby(stack, lambda x: x.kind)]
        for same in kinds:
            forms = [_forms(layer, names, system) for layer in same]
            if not forms[0]:
                continue
            if is_partial and not any(
                n in known for f in forms[0] for n in _names_of(f)
            ):
                continue
            for layer, form in zip(same, _chosen(forms, known), strict=True):
                used.update(_names_of(form))
                found = list(_compare(layer, form, source))
                problems += found
                activations += _activations(layer, form, source)
                if not found:
                    values.append((layer, _unpacked(layer, form, known)))
    root = translated("", names, system.separator)
    root = f"{root}{system.separator}" if isinstance(root, str) and root else ""
    patterns = (*system.ignored, *ignore)
    problems += [
        f"{name} {np.shape(known[name])}: left over, no layer of the model takes it"
        for name in known
        if name not in used
        and name.startswith(root)
        and not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]
    if problems:
        prefix = _common_prefix(layers, names, system, known)
        hint = f"All are below {prefix!r}: give names={{'': {prefix!r}}}. "
        more = len(problems) - _SHOWN
        shown = problems[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise InterchangeError(
            f"the weights of {system.name} do not fit to the model, which is as it was:"
            + "".join(f"\n  {line}" for line in shown)
            + (f"\n{hint}" if prefix else "\n")
            + "Create the model with the same sizes; say with names={'path here': "
            "'name there'} what is called otherwise, and with ignore=['pattern'] what "
            "may be left over."
        )
    assign(values)
    if activations:
        warnings.warn(
            f"{'; '.join(activations)}: it is not a part of the layer here, so your "
            "forward or your loss has to apply it",
            stacklevel=3,
        )


def _common_prefix(layers, names, system, known):
    """Return below what name all arrays are, as those of a checkpoint; or None."""
    if names:
        return None
    wanted = [form[0] for layer in layers if (form := _forms(layer, names, system))]
    groups = [_names_of(form) for form in wanted]
    ends = [system.separator + name for name in groups[0]]
    for name in known:
        prefixes = [name.removesuffix(end) for end in ends if name.endswith(end)]
        for start in (f"{prefix}{system.separator}" for prefix in prefixes):
            if all(any(start + each in known for each in group) for group in groups):
                return prefixes[0]
    return None


def _check_names(names, layers):
    """Refuse a mapping from what is no path of the model."""
    known = {""}
    for layer in layers:
        parts = layer.path.split("/")
        known |= {"/".join(parts[:n]) for n in range(len(parts) + 1)}
        known |= {f"{layer.path}/{name}".lstrip("/") for name in layer.parts}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InterchangeError(
            f"names has {unknown[0]!r}, which is no path of the model; there are: "
            f"{', '.join(sorted(known - {''}))}"
        )


def _check_known(model, system):
    """Refuse links that the system does not have, though it may have their parts."""
    for path, link in model.namedlinks():
        if isinstance(link, system.unknown):
            raise InterchangeError(
                f"{type(link).__name__} at {path[1:] or 'the top'!r} has no "
                f"counterpart in {system.name} with the same weights"
            )


def _compare(layer: Layer, form: _Form, source: Source) -> Iterator[str]:
    """Yield what does not fit."""
    prefix = layer.path or "the model"
    for d, (cell, places) in enumerate(zip(layer.cells, form.cells, strict=True)):
        packed = pack(form.layout, cell)
        for entry, names in places.items():
            for name, wanted in zip(names, packed[entry], strict=True):
                if name not in source.arrays:
                    yield f"{name} {_any(wanted.shape)}: missing, for {prefix}"
                else:
                    array = source.arrays[name]
                    yield from problems_of(name, array, wanted.shape, wanted.dtype)
        first = next(iter(places.values()))[0]
        mine = {**_DEFAULTS.get(layer.kind, {}), **layer.options}
        for place, facts in source.facts.items():
            if first.startswith(place) and d == 0:
                yield from (
                    f"{place.rstrip('./')}: {key} is {value!r}, but {mine[key]!r} in "
                    f"{layer}"
                    for key, value in facts.items()
                    if mine.get(key, value) != value
                )


def _activations(layer, form, source):
    """Yield what the source says that a linear map computes after its product."""
    if layer.kind == "linear":
        first = next(iter(form.cells[0].values()))[0]
        for place, facts in source.facts.items():
            if first.startswith(place) and facts.get("activation") not in (
                None,
                "linear",
            ):
                yield f"{place.rstrip('/')} has the activation {facts['activation']!r}"


# What layers here compute, unless their options say otherwise.
_RECURRENT = {
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "merge_mode": "concat",
    "go_backwards": False,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "lstm": _RECURRENT,
    "gru": _RECURRENT,
    "rnn": _RECURRENT,
    "layer_norm": {"num_groups": 1, "instance_norm": None},
    "batch_norm": {"num_groups": None, "instance_norm": None},
    "embedding": {"max_norm": None, "mode": None},
}


def _any(shape):
    return str(tuple(n or "any" for n in shape)).replace("'", "")


def _unpacked(layer, form, known):
    cells = []
    for cell, places in zip(layer.cells, form.cells, strict=True):
        arrays = {
            entry: [_as_like(known[name], cell) for name in names]
            for entry, names in places.items()
        }
        cells.append(unpack(form.layout, arrays, cell))
    return join_directions(cells)


def _as_like(array, cell):
    """Return floats in the parameters' precision, before anything is computed."""
    array = np.asarray(array)
    dtype = next(iter(cell.values())).dtype
    return array.astype(dtype) if array.dtype.kind == dtype.kind == "f" else array


def packed(
    model: Link, system: System, names: Names | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return a model's arrays with the names and layouts of a system.

    And which names are those of tied weights, with the first name of each.
    """
    names = names or {}
    arrays: dict[str, np.ndarray] = {}
    first: dict[tuple, str] = {}
    tied = {}
    layers = describe(model, system.has_directions)
    _check_names(names, layers)
    _check_known(model, system)
    for layer in layers:
        forms = _forms(layer, names, system)
        if not forms:
            continue
        form = forms[0]
        for d, (cell, places) in enumerate(zip(layer.cells, form.cells, strict=True)):
            _check_complete(layer, form, cell, system)
            for entry, parts in pack(form.layout, cell).items():
                for name, part in zip(places[entry], parts, strict=True):
                    if name in arrays:
                        raise InterchangeError(f"two arrays would be called {name!r}")
                    arrays[name] = np.array(part, order="C")
                if entry in cell:
                    owners = layer.parts[entry + "_reverse" * d]
                    key = tuple([id(getattr(link, own)) for link, own, _ in owners])
                    if first.setdefault(key, places[entry][0]) != places[entry][0]:
                        tied[places[entry][0]] = first[key]
    return arrays, tied


def _check_complete(layer, form, cell, system):
    waiting = [name for name, array in cell.items() if 0 in array.shape]
    if waiting:
        raise InterchangeError(
            f"{layer}: {waiting[0]} waits for the size of the input; call the model "
            "once, or give in_size"
        )
    if loses_bias(form.layout, cell):
        refuse_bias(layer, system.name)
    counts_late = layer.options.get("reset_after") is False and "b_u" not in form.layout
    if counts_late and cell["b_u"].any():
        raise InterchangeError(
            f"{layer}: its second biases are not 0, and they do not count in the first "
            f"step, which {system.name} cannot say. Set those of U_r, U_z and U to 0."
        )
