"""State that a snapshot would leave out, found by watching a model at work.

State is what a link reads of itself before it writes it, and leaves changed: the ``h``
of a cell, a counter, a list that grows. A loss that is kept to be looked at is written
first, and settings do not change. What ``reset_state`` clears is state, too.
"""

from __future__ import annotations

import collections
import contextlib
import copy

import numpy as np

from dyrnn.engine.core import Variable
from dyrnn.link import Link, Sequential

_UPDATES = 2  # to watch: the first one may also set up what then stays
_DEPTH = 4  # of objects in objects
_OWN = set(vars(Sequential()))  # what links keep for themselves


class Watch:
    """Looks for undeclared state in the links of models.

    Attributes
    ----------
    found : dict
        By class of link, the values of its attributes that are undeclared state.
    is_over : bool
        Whether enough updates were watched.
    """

    def __init__(self, models):
        self.found = {}
        self.is_over = False
        self._models = models
        self._updates = 0
        self._is_checked = False

    @contextlib.contextmanager
    def update(self):
        """Watch an update."""
        self._updates += 1
        self.is_over = self._updates == _UPDATES
        before = _pictures(self._models)
        uses = {link: {} for link in before}
        for link, first in uses.items():
            _set_class(link, _watched(type(link), first))
        try:
            yield
        finally:
            for link in uses:
                _set_class(link, type(link).__base__)
        self.found = {}
        for link, name in _changed(before):
            if uses[link].get(name) == "read":
                self.found.setdefault(type(link), {})[name] = vars(link)[name]

    def check(self):
        """Return a text for each class with finds, once, at the first save."""
        if self._is_checked or not self._updates:
            return []
        self._is_checked = True
        found = {}
        for model in self._models:
            found.update(_cleared(model))
        for kind, values in self.found.items():
            found[kind] = {**found.get(kind, {}), **values}
        return [
            f"{kind.__name__} has a state of its own, but a snapshot leaves out its "
            f"{', '.join(values)}, so that a resumed run would differ. "
            f"{declaration(kind, values)}"
            for kind, values in found.items()
        ]


def declaration(kind, values):
    """Return what to write so that this state of a class of links is saved."""
    variables = tuple(name for name, value in values.items() if holds_variable(value))
    others = [name for name in values if name not in variables]
    texts = []
    if variables:
        texts.append(
            f"Name them in the class, carried = {kind.carried + variables!r}, each "
            "with one variable or None."
        )
    if others:
        calls = ", ".join(f"self.register_persistent({name!r})" for name in others)
        texts.append(f"Save numbers and arrays by {calls} in __init__.")
    return " ".join(texts)


def holds_variable(value):
    """Whether a value is a variable, or a list or tuple with one in it."""
    if isinstance(value, list | tuple):
        return any(map(holds_variable, value))
    return isinstance(value, Variable)


_set_class = vars(object)["__class__"].__set__


def _watched(cls, first):
    """Return a class that notes of each attribute whether its first use is a read."""

    def read(link, name):
        first.setdefault(name, "read")
        return cls.__getattribute__(link, name)

    def write(link, name, value):
        first.setdefault(name, "write")
        cls.__setattr__(link, name, value)

    def reduce(link, protocol):  # copies are of the class itself
        make, arguments, *rest = cls.__reduce_ex__(link, protocol)
        own = [cls if each is watched else each for each in arguments]
        return make, tuple(own), *rest

    methods = {
        "__getattribute__": read,
        "__setattr__": write,
        "__reduce_ex__": reduce,
        "__class__": property(lambda link: cls),  # pickle compares it
    }
    watched = type(cls)(cls.__name__, (Link,), methods)
    try:
        watched.__bases__ = (cls,)  # which is not told: it may register subclasses
    except TypeError:  # with slots
        watched = type(cls)(cls.__name__, (cls,), methods)
    return watched


def _undeclared(link):
    """Return the attributes of a link that nothing saves; what it saves itself, not."""
    cls = type(link)
    if (cls.serialize, cls.serialize_state) != (Link.serialize, Link.serialize_state):
        return {}
    saved = {*_OWN, *link._params, *link._links, *link._persistent, *link.carried}
    return {name: value for name, value in vars(link).items() if name not in saved}


def _pictures(models):
    return {
        link: {name: _picture(value) for name, value in _undeclared(link).items()}
        for model in models
        for link in model.links()
    }


def _changed(pictures):
    """Yield each link and name whose value is not as in the pictures."""
    for link, names in pictures.items():
        for name, value in _undeclared(link).items():
            if name not in names or names[name] != _picture(value):
                yield link, name


def _picture(value, depth=_DEPTH):
    """Something to compare a value with later, even if it is changed in place."""
    if isinstance(value, Variable):
        value = value.array
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if value is None or isinstance(value, str | bytes | int | float | np.generic):
        return repr(value)
    if isinstance(value, np.random.Generator):
        value = value.bit_generator.state
    if depth and isinstance(value, dict):
        return [(repr(k), _picture(v, depth - 1)) for k, v in value.items()]
    if depth and isinstance(value, list | tuple | set | collections.deque):
        return [_picture(each, depth - 1) for each in value]
    if depth and hasattr(value, "__dict__") and not callable(value):
        return id(value), _picture(vars(value), depth - 1)
    return id(value)


def _cleared(model):
    """By class, the values that ``reset_state`` would clear, tried on a copy."""
    if all(type(link).reset_state is Link.reset_state for link in model.links()):
        return {}
    twin = model.copy()
    for link in twin.links():
        for name, value in _undeclared(link).items():
            if isinstance(value, list | dict | set | collections.deque | np.ndarray):
                vars(link)[name] = copy.copy(value)
    pictures = _pictures([twin])
    values = {link: _undeclared(link) for link in twin.links()}
    twin.reset_state()
    found = {}
    for link, name in _changed(pictures):
        found.setdefault(type(link), {})[name] = values[link].get(name)
    return found
