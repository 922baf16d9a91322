"""What a program keeps in attributes, and in its functions, that no class saves.

An extension counts, a dataset draws random numbers, a model has a list of words: such
values are saved where they are not as the program had made them when training began.
A value is text here, which can be compared, and is built of numbers, strings, arrays,
random generators, and lists, dictionaries and plain objects of these.
"""

import base64
import collections
import functools
import json
import types
import warnings
from typing import Any

import numpy as np

from dyrnn import backend
from dyrnn.engine.core import Variable
from dyrnn.errors import SnapshotError
from dyrnn.serializers.archive import DTYPES

_DEEPEST = 20
_MOST_VALUES = 100_000  # in one attribute
_MOST_BYTES = 1 << 24
_PLAIN = (type(None), bool, int, float, str)
_SEQUENCES = (list, tuple, set, collections.deque)
_MAPPINGS = (dict, collections.OrderedDict, collections.Counter)
_KINDS = {kind.__name__: kind for kind in (*_SEQUENCES, *_MAPPINGS)}
_GENERATORS = ("Generator", "RandomState", "Random")  # of NumPy, and of Python
_HEAP_TYPE = 1 << 9  # of a class that was made by Python code
_FILLED = ('{"object": ', '{"generator": ', '{"like": ')  # but never made anew
_HIGHEST = {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "has_gauss": 1}


class NotStorable(Exception):
    """A value is of a type, or a size, that is not saved."""


class Fields:
    """The attributes of an object, or the variables of a function, of its program.

    Parameters
    ----------
    owner : object
    exclude : callable (name, value)
        Whether another place saves a value, or it is no state.
    """

    def __init__(self, owner, exclude=lambda name, value: False):
        if isinstance(owner, functools.partial):
            owner = owner.func
        self.owner = getattr(owner, "__self__", owner)  # of a method
        self._exclude = exclude
        code = getattr(self.owner, "__code__", None)
        cells = getattr(self.owner, "__closure__", None) or ()
        self._cells = dict(zip(code.co_freevars, cells, strict=True)) if cells else {}

    def values(self):
        """Return the values by name."""
        found = {}
        for name, cell in self._cells.items():
            try:
                found[name] = cell.cell_contents
            except ValueError:  # not set yet
                continue
        if not isinstance(self.owner, types.ModuleType | type):
            kind: Any = type(self.owner)
            known = _names_of_library(kind)
            for name, value in getattr(self.owner, "__dict__", {}).items():
                if known is not None and name not in known:
                    found[name] = value
        return {n: v for n, v in found.items() if not self._exclude(n, v)}

    def set(self, name, value):
        """Give a name a new value."""
        if name in self._cells:
            self._cells[name].cell_contents = value
        else:
            _set_attribute(self.owner, name, value)

    def is_told_of(self, name):
        """Whether to warn of a value that cannot be saved."""
        return name not in self._cells


def _set_attribute(owner, name, value):
    if not name.isidentifier() or name.startswith("__"):
        raise SnapshotError(f"{name!r:.80} is not the name of an attribute")
    setattr(owner, name, value)


@functools.cache
def _names_of_library(cls: Any) -> set[str] | None:
    """The names that dyrnn's own bases of a class use; None: its state is its affair.

    So it is where a class has a ``serialize`` of its own, or ``is_saved = False``.
    """
    if not getattr(cls, "is_saved", True):
        return None
    names: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "dyrnn":
            if base is cls:
                return None
            names.update(getattr(base, "__annotations__", ()))
            for member in vars(base).values():
                for each in (member, *_functions(member)):
                    if isinstance(each, types.FunctionType):
                        names.update(_names_in(each.__code__))
        elif "serialize" in vars(base):
            return None
    return names


def _functions(member):
    parts = ("fget", "fset", "__func__", "__wrapped__")
    return [getattr(member, part, None) for part in parts]


def _names_in(code):
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _names_in(each)


class OwnState:
    """Saves the fields of objects that changed since training began.

    Parameters
    ----------
    find : callable
        Returns `Fields` by name, of the objects that there are now.
    """

    def __init__(self, find):
        self._find = find
        self._first = None  # texts by object and name
        self._told = set()
        self._loaded = None  # what a file had before training began

    def begin(self):
        """Note how the program made the objects, before training changes them."""
        if self._first is None:
            self._first, self._odd = self._texts()
            # To give an object back in whose place a file had something else.
            self._objects = {p: f.values() for p, f in self._find().items()}
            if self._loaded is not None:
                self._set(self._loaded)
        self._loaded = None

    def serialize(self, s, key="own"):
        """Save what has changed, or set all as it was when the file was written."""
        if not s.loading:
            changed = self._changed() if self._loaded is None else self._loaded
            if changed:
                text = json.dumps(changed, sort_keys=True).encode()
                s(key, np.frombuffer(text, np.uint8))
            return
        found = _parse(s(key, None)) if s.has(key) else {}
        if self._first is None:
            self._loaded = found
        else:
            self._set(found)

    def _texts(self):
        """Return texts, and the types of values that have none."""
        texts: dict = {}
        odd = {}
        for place, fields in self._find().items():
            texts[place] = {}
            for name, value in fields.values().items():
                try:
                    texts[place][name] = _text(value)
                except NotStorable as error:
                    odd[place, name] = fields, id(value), error
        return texts, odd

    def _changed(self):
        if self._first is None:
            return {}
        texts, odd = self._texts()
        for place, values in texts.items():
            for name, text in values.items():
                first = self._first.get(place, {}).get(name, "")
                if any(text.count(mark) > first.count(mark) for mark in _FILLED):
                    error = "it has objects that were not there before training"
                    odd[place, name] = self._find()[place], None, error
        for where, (fields, number, error) in odd.items():
            before = self._odd.get(where)
            if (before is None or before[1] != number) and where not in self._told:
                self._told.add(where)
                if fields.is_told_of(where[1]):
                    kind = type(fields.owner).__name__
                    warnings.warn(
                        f"{kind}.{where[1]} changes in training, but a snapshot cannot "
                        f"hold it: {error}. Give {kind} a method serialize(self, s) "
                        "that saves what a resumed run needs.",
                        stacklevel=2,
                    )
        changed = {}
        for place, values in texts.items():
            first = self._first.get(place, {})
            new = {
                name: text
                for name, text in values.items()
                if first.get(name) != text and (place, name) not in odd
            }
            if new:
                changed[place] = new
        return changed

    def _set(self, found):
        """Set what the file has, and all else as it was at first."""
        places = self._find()
        texts, _ = self._texts()
        missing = found.keys() - places
        if missing:
            raise SnapshotError(
                f"the file has what {', '.join(sorted(missing)):.200} had in its "
                "attributes, which is not here: resume with the same program"
            )
        for place, fields in places.items():
            wanted = {**self._first.get(place, {}), **found.get(place, {})}
            for name, text in wanted.items():
                if texts[place].get(name) == text:
                    continue
                value = fields.values().get(name)
                first = self._objects.get(place, {}).get(name)
                is_another = first is not None and type(value) is not type(first)
                try:
                    new = _decode(json.loads(text), first if is_another else value)
                except (
                    NotStorable,
                    ValueError,
                    TypeError,
                    LookupError,
                    ArithmeticError,
                ) as error:
                    raise SnapshotError(
                        f"the file's {name!r:.80} does not fit to that of {place}: "
                        f"{error}"
                    ) from error
                if new is not value:
                    fields.set(name, new)


def _parse(array):
    """Return the texts by object and name that are saved as bytes."""
    if array is None:
        return {}
    try:
        is_array = isinstance(array, np.ndarray)
        found = json.loads(array.astype(np.uint8).tobytes() if is_array else array)
        for texts in found.values():
            for text in texts.values():
                json.loads(text)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SnapshotError(f"own attributes are damaged: {error}") from error
    return found


def storable(value):
    """Whether a value can be saved."""
    try:
        _text(value)
    except NotStorable:
        return False
    return True


def _text(value):
    return json.dumps(_encode(value, [_MOST_VALUES, _MOST_BYTES]))


def _encode(value, left, depth=0):
    left[0] -= 1
    if left[0] < 0 or depth > _DEEPEST:
        raise NotStorable("it is too large, or nested too deep")
    if type(value) in _PLAIN:
        left[1] -= len(value) if type(value) is str else 0
        if left[1] < 0:
            raise NotStorable(f"it has more than {_MOST_BYTES >> 20} MiB")
        return value
    encode = functools.partial(_encode, left=left, depth=depth + 1)
    if isinstance(value, Variable):
        return {"variable": encode(value.array)}
    if isinstance(value, np.generic):
        return {"number": encode(np.asarray(value))}
    if backend.is_array(value):
        left[1] -= value.nbytes
        if left[1] < 0:
            raise NotStorable(f"it has more than {_MOST_BYTES >> 20} MiB")
        array = backend.to_cpu(value)
        if array.dtype.newbyteorder("<").str not in DTYPES:
            raise NotStorable(f"it is an array of {array.dtype}")
        content = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        return {"array": [array.dtype.str, list(array.shape), content]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if _kind_of_generator(value):
        return {"generator": encode(_state_of(value))}
    if isinstance(value, set):
        return {"set": sorted(map(encode, value), key=json.dumps)}
    if isinstance(value, _SEQUENCES):
        return {_name(value): list(map(encode, value))}
    if isinstance(value, dict):
        items = list(value.items())
        return {_name(value): [[encode(k), encode(v)] for k, v in items]}
    kind: Any = type(value)
    is_python = all(base.__flags__ & _HEAP_TYPE for base in kind.__mro__[:-1])
    is_plain = is_python and hasattr(value, "__dict__") and not callable(value)
    if not is_plain or _names_of_library(kind) != set():
        raise NotStorable(f"it is of type {kind.__name__}")
    return {"object": encode(vars(value))}


def _name(value):
    """The name of a type, which is needed to make another one of it."""
    kind = type(value)
    return kind.__name__ if kind in _KINDS.values() else "like"


def _decode(stored, current):
    """Return a value; where it can be, ``current`` itself with other contents."""
    if not isinstance(stored, dict):
        return stored
    [(kind, content)] = stored.items()
    if kind in ("variable", "number", "array"):
        if kind == "array":
            return _array(content, current)
        array = _decode(content, None)
        return Variable(array, requires_grad=False) if kind == "variable" else array[()]
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "generator":
        _set_state(current, _decode(content, None))
        return current
    if kind == "object":
        names = _decode(content, None if current is None else dict(vars(current)))
        for name in [name for name in vars(current) if name not in names]:
            delattr(current, name)
        for name, value in names.items():
            _set_attribute(current, name, value)
        return current
    is_same = type(current) is _KINDS.get(kind, type(current))
    if issubclass(_KINDS.get(kind, type(current)), dict):
        there = current if is_same else {}
        new = {
            (k := _decode(key, None)): _decode(v, there.get(k)) for key, v in content
        }
        if not is_same:
            return _KINDS[kind](new)
        current.clear()
        current.update(new)
        return current
    there = list(current) if is_same and isinstance(current, _SEQUENCES) else []
    if kind == "set" or len(there) != len(content):
        there = [None] * len(content)
    values = [_decode(each, old) for each, old in zip(content, there, strict=True)]
    if kind == "tuple" or not is_same:
        return _KINDS[kind](values)
    current.clear()
    (current.update if isinstance(current, set) else current.extend)(values)
    return current


def _array(content, current):
    dtype, shape, text = content
    if np.dtype(dtype).newbyteorder("<").str not in DTYPES:
        raise NotStorable(f"dtype {dtype!r:.20}")
    array = np.frombuffer(base64.b64decode(text), dtype).reshape(shape).copy()
    if backend.is_array(current):
        array = backend.device_of(current).send(array)
        if (current.shape, current.dtype) == (array.shape, array.dtype):
            current[...] = array
            return current
    return array


def _kind_of_generator(value):
    """Which of `_GENERATORS` a value is, or None."""
    names = {
        base.__name__
        for base in type(value).__mro__
        if base.__module__.partition(".")[0] in ("numpy", "random")
    }
    return next((name for name in _GENERATORS if name in names), None)


def _state_of(generator):
    kind = _kind_of_generator(generator)
    if kind == "Generator":
        return generator.bit_generator.state
    if kind == "RandomState":
        return generator.get_state(legacy=False)
    return generator.getstate()


def _set_state(generator, state):
    kind = _kind_of_generator(generator)
    if kind is None:
        raise NotStorable("there is no random generator in its place")
    # NumPy's setters trust their input: a position out of range reads foreign memory.
    _check_like(state, _state_of(generator))
    if kind == "Generator":
        generator.bit_generator.state = state
    elif kind == "RandomState":
        generator.set_state(state)
    else:
        generator.setstate(state)


def _check_like(state, model, key=""):
    numbers = (float, type(None)) if isinstance(model, float | None) else type(model)
    fits = isinstance(state, numbers)
    if fits and isinstance(model, dict):
        fits = list(state) == list(model)
        for name in model if fits else ():
            _check_like(state[name], model[name], name)
    elif fits and isinstance(model, tuple):
        fits = len(state) == len(model)
        for each, other in zip(state, model, strict=False):
            _check_like(each, other)
    elif fits and isinstance(model, np.ndarray):
        fits = (state.shape, state.dtype) == (model.shape, model.dtype)
    elif fits and type(model) is int:
        fits = type(state) is int and 0 <= state <= _HIGHEST.get(key, (1 << 128) - 1)
    elif fits and isinstance(model, str):
        fits = state == model
    if not fits:
        raise NotStorable(f"the state of a random generator has {state!r:.80}")
