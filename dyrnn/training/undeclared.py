"""State that a snapshot would leave out, found by watching a model at work.

State is what a link reads of itself before it writes it, and leaves changed: the ``h``
of a cell, a counter, a list that grows. A loss that is kept to be looked at is written
first, and settings do not change. What ``reset_state`` clears is state, too. Numbers
need no declaration: a trainer's snapshot holds those that changed, see `Numbers`.
"""

from __future__ import annotations

import collections
import contextlib
import copy

import numpy as np

from dyrnn import backend
from dyrnn.engine.core import Variable
from dyrnn.errors import SnapshotError
from dyrnn.link import Link, Sequential
from dyrnn.training.own_state import Fields, OwnState, storable

_UPDATES = 2  # to watch: the first one may also set up what then stays
_DEPTH = 4  # of objects in objects
_OWN = set(vars(Sequential()))  # what links keep for themselves
_NUMBERS = (bool, int, float)
_LARGEST = 1 << 64


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
        self.written = set()  # links and names that an update writes before it reads
        self._models = models
        self._updates = 0
        self._is_checked = False
        self._shapes = None

    def begin(self):
        """Note how the program made the models, before the first update."""
        self._shapes = _shapes(self._models)

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
        first = {(k, name): use for k in uses for name, use in uses[k].items()}
        self.written |= {where for where, use in first.items() if use == "write"}
        self.written -= {where for where, use in first.items() if use == "read"}
        self.found = {}
        for link, name in _changed(before):
            if uses[link].get(name) == "read":
                self.found.setdefault(type(link), {})[name] = vars(link)[name]

    def check(self, s):
        """Refuse state that cannot be saved, at the first save."""
        if s.loading or self._is_checked or not self._updates:
            return
        self._refuse_growth()
        self._is_checked = True
        found = {}
        for model in self._models:
            found.update(_cleared(model))
        for kind, values in self.found.items():
            found[kind] = {**found.get(kind, {}), **values}
        texts = []
        for kind, values in found.items():
            lost = {n: v for n, v in values.items() if not is_saved(v)}
            if lost:
                texts.append(
                    f"{kind.__name__} has a state of its own, but a snapshot leaves "
                    f"out its {', '.join(lost)}, so that a resumed run would differ. "
                    f"{declaration(kind, lost)}"
                )
        if texts:
            raise TypeError(" ".join(texts))

    def _refuse_growth(self):
        for (link, name), shape in _shapes(self._models).items():
            first = self._shapes.get((link, name), shape)
            if first != shape:
                raise ValueError(
                    f"{type(link).__name__}.{name} had shape {first} before training "
                    f"and now has {shape}, so that a snapshot could not be loaded: a "
                    "persistent array keeps its shape. Make it as large as it gets, or "
                    "begin with None, which takes any."
                )


class Numbers:
    """Numbers that are attributes of links, such as a dropout ratio.

    A snapshot holds those that are not as the program had set them when training began.
    """

    def __init__(self, models):
        self._models = models  # by name
        self._first: dict = {name: _numbers_of(model) for name, model in models.items()}

    def serialize(self, s):
        """Save what has changed, or set all as they were when the file was written."""
        if not s.loading:
            changed = self._changed()
            if changed:
                s("numbers", changed)
            return
        found = s("numbers", {}) if s.has("numbers") else {}
        wanted = copy.deepcopy(self._first)
        for path, name, value in _flat(found):
            kind, (model, link) = type(value), path
            first = wanted.get(model, {}).get(link, {}).get(name)
            fits = kind in _NUMBERS and type(first) in _NUMBERS
            if not fits or (kind is bool) != (type(first) is bool) or _is_huge(value):
                raise SnapshotError(
                    f"the file has {value!r:.80} as attribute {name!r:.80} of "
                    f"{model!r:.80}, {link!r:.80}, which is {first!r} here"
                )
            wanted[model][link][name] = value
        for model, links in wanted.items():
            by_path = dict(self._models[model].namedlinks())
            for path, values in links.items():
                for name, value in values.items():
                    if path in by_path and vars(by_path[path]).get(name) != value:
                        setattr(by_path[path], name, value)

    def holds(self, model, path, name, value):
        """Whether it saves the attribute of a link."""
        first = self._first.get(model, {}).get(path, {})
        return name in first and type(value) in _NUMBERS

    def _changed(self):
        changed: dict = {}
        for model, links in self._first.items():
            now = _numbers_of(self._models[model])
            for path, values in links.items():
                for name, first in values.items():
                    value = now.get(path, {}).get(name, first)
                    if value != first or type(value) is not type(first):
                        place = changed.setdefault(model, {}).setdefault(path, {})
                        place[name] = value
        return changed


def _flat(found):
    """Yield the path, name and value of each number of a file."""
    for model, links in found.items():
        if not isinstance(links, dict):
            raise SnapshotError(
                f"numbers: the file has {links!r:.80} for {model!r:.80}"
            )
        for link, values in links.items():
            if not isinstance(values, dict):
                raise SnapshotError(f"numbers: the file has {values!r:.80}")
            for name, value in values.items():
                yield (model, link), name, value


def _is_huge(value):
    return type(value) is int and abs(value) >= _LARGEST


def _numbers(link):
    return {n: v for n, v in _undeclared(link).items() if type(v) in _NUMBERS}


def _numbers_of(model):
    found = {path: _numbers(link) for path, link in model.namedlinks()}
    return {path: numbers for path, numbers in found.items() if numbers}


def _shapes(models):
    """Return the shapes of persistent arrays, by link and name."""
    return {
        (link, name): tuple(value.shape)
        for model in models
        for link in model.links()
        if type(link).serialize is Link.serialize
        for name in link._persistent
        if backend.is_array(value := getattr(link, name))
    }


def is_saved(value):
    """Whether a snapshot holds an attribute of this value without a declaration."""
    return not holds_variable(value) and storable(value)


def own_state_of(updater):
    """Return the `OwnState` of an updater, and of its links and all else it has."""
    return OwnState(lambda: _fields(updater, updater._numbers, updater._watch))


def _fields(updater, numbers, watch):
    found: dict = {"updater": updater, "converter": updater.converter}
    if not isinstance(getattr(updater.loss_func, "__self__", updater.loss_func), Link):
        found["loss_func"] = updater.loss_func
    for name, iterator in updater._iterators.items():
        found["iterator:" + name] = iterator
        found["dataset:" + name] = getattr(iterator, "dataset", None)
        found["order:" + name] = getattr(iterator, "order_sampler", None)
    for name, optimizer in updater.get_all_optimizers().items():
        found["optimizer:" + name] = optimizer
        for hook_name, hook in optimizer.hooks.items():
            found[f"hook:{name}:{hook_name}"] = hook
    found = {name: Fields(each) for name, each in found.items()}
    for name, optimizer in updater.get_all_optimizers().items():
        for path, link in optimizer.target.namedlinks():

            def is_none(key, value, where=(name, path), link=link):
                return (
                    key not in _undeclared(link)
                    or numbers.holds(*where, key, value)
                    or (link, key) in watch.written
                    or holds_variable(value)  # it would keep its graph: declared only
                )

            found[f"model:{name}{path}"] = Fields(link, is_none)
    return found


def serialize_gradients(s, models, are_added_up):
    """Save or load gradients that a program adds up over several iterations.

    Parameters
    ----------
    s : Serializer
    models : dict
    are_added_up : dict
        By the same names, whether the model has gradients to save.
    """
    if not s.loading:
        found = {}
        for name in filter(are_added_up.get, models):
            params = dict(models[name].namedparams())
            found[name] = [
                path for path, p in params.items() if backend.is_array(p.grad)
            ]
            for path in found[name]:
                s["gradients:" + name](path, params[path].grad)
        if any(found.values()):
            s("gradients", found)
        return
    found = s("gradients", {}) if s.has("gradients") else {}
    for name, model in models.items():
        for path, parameter in model.namedparams():
            array = None
            if path in (found.get(name) or ()):
                array = s["gradients:" + name](path, None)
                if not backend.is_array(array) or array.shape != parameter.shape:
                    raise SnapshotError(
                        f"the gradient of {name}{path} has another shape than the "
                        f"parameter, {parameter.shape}"
                    )
                array = model.device.send(array).astype(parameter.dtype, copy=False)
            parameter.grad = array


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
    """Whether a value is a variable, or a list, tuple or dictionary with one in it."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any(map(holds_variable, value))
    return isinstance(value, Variable)


_CONTAINERS = list | dict | set | collections.deque


def _is_changed_in_place(value):
    return isinstance(value, _CONTAINERS) or backend.is_array(value)


def reset_keeping(models, found):
    """Reset the state of models; return a function that puts the undeclared one back.

    Parameters
    ----------
    found : callable
        Returns, by class of link, names that are state although ``reset_state`` leaves
        them; called when the state is put back.
    """
    models = list(models)
    resets = [model for model in models if _overrides_reset(model)]
    pictures = _pictures(resets)
    links = {link for model in models for link in model.links()}
    values = {link: _undeclared(link) for link in links}
    contents = {
        (link, name): copy.copy(value)
        for link in links
        for name, value in values[link].items()
        if _is_changed_in_place(value)
    }
    for model in models:
        model.reset_state()
    state = [(link, name) for link, name in _changed(pictures) if name in values[link]]

    def put_back():
        names = found()
        others = [
            (link, name)
            for link in links
            for name in names.get(type(link), ())
            if name in values[link] and (link, name) not in state
        ]
        for link, name in state + others:
            value = values[link][name]
            if (link, name) in contents:
                _refill(value, contents[link, name])
            setattr(link, name, value)

    return put_back


def _refill(value, content):
    if backend.is_array(value):
        value[...] = content
        return
    value.clear()
    (value.update if isinstance(value, dict | set) else value.extend)(content)


def _overrides_reset(model):
    return any(type(link).reset_state is not Link.reset_state for link in model.links())


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


class _OnDevice:
    """An array of a GPU, which is waited for only if it is still the same object."""

    __hash__ = None

    def __init__(self, array, content):
        self.array, self.content = array, content

    def __eq__(self, other):
        if not isinstance(other, _OnDevice) or self.array is not other.array:
            return False
        if self.content is None or other.content is None:
            return True
        before, now = (backend.to_cpu(each.content) for each in (self, other))
        return (before.shape, before.tobytes()) == (now.shape, now.tobytes())


def _picture(value, depth=_DEPTH):
    """Something to compare a value with later, even if it is changed in place."""
    is_constant = isinstance(value, Variable)  # its array is not changed in place
    if is_constant:
        value = value.array
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if backend.is_array(value):
        return _OnDevice(value, None if is_constant else value.copy())
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
    if not _overrides_reset(model):
        return {}
    twin = model.copy()
    for link in twin.links():
        for name, value in _undeclared(link).items():
            if _is_changed_in_place(value):
                vars(link)[name] = copy.copy(value)
    pictures = _pictures([twin])
    values = {link: _undeclared(link) for link in twin.links()}
    twin.reset_state()
    found = {}
    for link, name in _changed(pictures):
        found.setdefault(type(link), {})[name] = values[link].get(name)
    return found
