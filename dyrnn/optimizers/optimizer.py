"""What all optimizers share: hooks, the list of updates, sparse rows, saving.

An optimizer is a dataclass. Its fields of type float are the hyperparameters: plain
attributes, checked when they are assigned, which a schedule does. ``states`` says what
arrays it keeps for each parameter, and ``rule`` is the formula, elementwise and in
place, as in ``p -= lr * g``; :func:`dyrnn.kernels.update` applies it to cache-sized
blocks, or, on a GPU, its text ``cuda`` to all parameters at once.

A sparse gradient (of an embedding) touches its rows only, where a row without gradient
would not change anyway (SGD, AdaGrad). The other rules change such rows, too (Adam's
momentum decays), so they make the gradient dense, unless ``optimizer.lazy_rows = True``
says to leave absent rows and their state alone: much faster, and another algorithm.
"""

import copy
import fnmatch
import inspect
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

import numpy as np

from dyrnn import kernels
from dyrnn.arguments import check_number
from dyrnn.engine.core import totals
from dyrnn.engine.gradients import Rows, settle
from dyrnn.errors import NonFiniteError, SnapshotError
from dyrnn.kernels.updates import working_dtype
from dyrnn.link import Link
from dyrnn.optimizers import norms
from dyrnn.optimizers.refused import restoring

_Self = TypeVar("_Self", bound="Optimizer")


def share(default):
    """Return the field of a hyperparameter that is less than 1."""
    return field(default=default, metadata={"below": 1.0})


@cache
def _ranges(cls):
    numbers = [each for each in fields(cls) if each.type in (float, "float")]
    return {each.name: each.metadata.get("below", math.inf) for each in numbers}


@dataclass(eq=False)
class State:
    """What an optimizer keeps for a parameter.

    Attributes
    ----------
    t : int
        Number of updates of the parameter.
    arrays : dict
        By name, as in the optimizer's ``states``.
    """

    t: int
    arrays: dict


@dataclass(eq=False)
class Optimizer:
    """Base of all optimizers.

    A subclass, a dataclass itself, has hyperparameters as its fields, and ``rule`` or
    all of ``update_param``::

        @dataclass(eq=False)
        class MomentumSGD(Optimizer):
            lr: float = 0.01
            momentum: float = share(0.9)
            states = {"v": 0.0}

            @staticmethod
            def rule(p, g, v, lr, momentum):
                v *= momentum
                v -= lr * g
                p += v

    ``rule(p, g, **states, **numbers)`` changes ``p`` and the states in place, and reads
    the gradient ``g``; :meth:`numbers` are the hyperparameters by default.

    Attributes
    ----------
    target : Link or None
        The model, after :meth:`setup`.
    t : int
        Number of updates made.
    epoch : int
        Number of calls of :meth:`new_epoch`.
    hooks : dict
        Functions called with the optimizer before each update, by name.
    exchange : callable or None
        Called with the optimizer before the hooks: it makes the gradients of several
        processes one, see `dyrnn.distributed`.
    lazy_rows : bool
        Whether rows without gradient are left alone by every rule.
    states : dict
        For each array to keep its name and first value: a number, or a function of the
        parameter's array.
    cuda : str or None
        The rule for one element in CUDA, ``A`` being the type of its numbers. A class
        with a ``rule`` of its own needs a text of its own, too.
    is_linear : bool
        Whether the rule reads ``lr`` and ``g`` in ``lr * g`` only, so that a factor of
        the gradient may be multiplied to either.
    skips_absent_rows : bool
        Whether the rule leaves rows alone where the gradient is 0.
    """

    states = {}
    cuda = None
    rule = None
    is_linear = False
    skips_absent_rows = False
    # Files call some hyperparameters and states by other names.
    names_in_files = {}

    def __init_subclass__(cls):
        own = vars(cls)
        if ("rule" in own or "update_param" in own) and "cuda" not in own:
            cls.cuda = None

    def __new__(cls, *args, **kwargs):
        """Answer an unknown keyword with those that there are."""
        known = inspect.signature(cls.__init__, follow_wrapped=False).parameters
        takes_any = any(each.kind is each.VAR_KEYWORD for each in known.values())
        unknown = [name for name in kwargs if name not in known]
        if unknown and not takes_any:
            raise TypeError(
                f"{cls.__name__} has no argument {unknown[0]!r}; it takes: "
                f"{', '.join(list(known)[1:])}"
            )
        return super().__new__(cls)

    def __post_init__(self):
        self.target = None
        self.t = 0
        self.epoch = 0
        self.hooks = {}
        self.exchange: Callable | None = None
        self.lazy_rows = False
        self._factors: list[tuple[str, str, float]] = []
        self._frozen: list[str] = []
        self._states = {}
        self._walked = None
        self._flags = norms.DeviceFlags()

    @property
    def ranges(self):
        """For each hyperparameter its upper limit; all are >= 0 and below it."""
        return _ranges(type(self))  # type: ignore[arg-type]  # it is hashable

    def __setattr__(self, name, value):
        if name in self.ranges:
            value = self._checked(name, value)
        super().__setattr__(name, value)

    def _checked(self, name, value):
        limit = self.ranges[name]
        try:
            is_allowed = 0 <= value < limit
        except (TypeError, ValueError):  # a string, an array
            is_allowed = False
        if not is_allowed:
            upper = "" if limit == math.inf else f" and < {limit:g}"
            raise ValueError(
                f"{type(self).__name__}: {name} is {value!r}; use a number >= 0{upper}"
            )
        # One of NumPy computes in its own type, and a file has Python's.
        return float(value)

    def setup(self: _Self, link: Link) -> _Self:
        """Take ``link`` as the model to train; return the optimizer."""
        if not isinstance(link, Link):
            raise TypeError(
                f"{type(self).__name__}.setup takes a link, not a {type(link).__name__}"
            )
        if next(link.params(), None) is None:
            raise ValueError(
                f"{type(self).__name__}.setup: {type(link).__name__} has no parameters "
                "to train. Assign parameters and links to attributes of it inside "
                "`with self.init_scope():`."
            )
        self.target = link
        self.t = 0
        self.epoch = 0
        self._states = {}
        return self

    def add_hook(self, hook: Callable, name: str | None = None) -> None:
        """Call ``hook(optimizer)`` before each update, after hooks added earlier."""
        if not callable(hook):
            raise TypeError(f"a hook is callable; a {type(hook).__name__} is not")
        name = name or getattr(hook, "name", None) or getattr(hook, "__name__", "hook")
        if name in self.hooks:
            raise ValueError(f"there is a hook {name!r} already; give another name")
        self.hooks[name] = hook

    def remove_hook(self, name: str) -> None:
        """Drop the hook called ``name``."""
        if name not in self.hooks:
            names = ", ".join(self.hooks) or "none"
            raise KeyError(f"there is no hook {name!r}; there are: {names}")
        del self.hooks[name]

    def scale(self, pattern: str, **factors: float) -> None:
        """Give parameters a share of the hyperparameters, whatever schedules do.

        Parameters
        ----------
        pattern : str
            Which ones, by their paths: ``"/embed/*"``, ``"*/b"``; see `fnmatch`. A
            parameter of several patterns gets the product of the factors.
        **factors : float
            By the hyperparameter's name, such as ``lr=0.1`` or
            ``weight_decay_rate=0``.

        Examples
        --------
        >>> from dyrnn import links as L, optimizers
        >>> optimizer = optimizers.AdamW(lr=0.01).setup(L.Linear(3, 2))
        >>> optimizer.scale("*/b", weight_decay_rate=0)
        """
        self._check_pattern("scale", pattern)
        for name, factor in factors.items():
            if name not in self.ranges:
                raise ValueError(
                    f"{type(self).__name__}.scale: there is no hyperparameter "
                    f"{name!r}; there are: {', '.join(self.ranges)}"
                )
            check_number(f"{type(self).__name__}.scale: {name}", factor)
            if not 0 <= factor < math.inf:
                raise ValueError(
                    f"{type(self).__name__}.scale: {name}={factor!r}; a factor is a "
                    "number >= 0"
                )
            self._factors.append((pattern, name, float(factor)))

    def freeze(self, pattern: str) -> None:
        """Leave parameters alone whose paths match, as ``"/encoder/*"`` does."""
        self._check_pattern("freeze", pattern)
        self._frozen.append(pattern)

    def thaw(self, pattern: str) -> None:
        """Take back a `freeze` of the same pattern."""
        if pattern not in self._frozen:
            raise ValueError(
                f"{type(self).__name__}.thaw: {pattern!r} is not frozen; frozen are: "
                f"{', '.join(self._frozen) or 'none'}"
            )
        self._frozen.remove(pattern)

    def _check_pattern(self, what, pattern):
        self._check_target(what)
        paths = [path for path, _ in self.target.namedparams()]
        if not any(fnmatch.fnmatchcase(path, pattern) for path in paths):
            raise ValueError(
                f"{type(self).__name__}.{what}: {pattern!r} is the path of no "
                f"parameter; there are: {', '.join(paths)}"
            )

    def _factors_of(self, path):
        """Return what the hyperparameters of a parameter are multiplied by."""
        found: dict[str, float] = {}
        for pattern, name, factor in self._factors:
            if fnmatch.fnmatchcase(path, pattern):
                found[name] = found.get(name, 1.0) * factor
        return tuple(found.items())

    def update(
        self, lossfun: Callable | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """Change the parameters.

        Parameters
        ----------
        lossfun : callable, optional
            ``lossfun(*args, **kwargs)`` returns the loss, whose gradients are computed.
            Without it the gradients that are there are used.

        Raises
        ------
        NonFiniteError
            If the loss or a gradient is NaN or infinite, hooks done, before parameters
            or states are changed. With ``lossfun``, the state that the model carries
            and its running statistics are put back, too; see `restoring` for a loop
            that calls ``backward`` itself. Random numbers stay drawn.
        """
        self._check_target("update")
        if lossfun is None:
            self._update()
            return
        with restoring(self.target):
            loss = lossfun(*args, **kwargs)
            _check_loss(loss.array)
            self.target.cleargrads()
            loss.backward()
            del loss
            self._update()

    def _update(self):
        self._walked = Link._version, self._walk()
        try:
            if self.exchange is not None:
                self.exchange(self)
            for hook in list(self.hooks.values()):
                hook(self)
            updates = self.updates
            self._refuse_non_finite(updates)
        finally:
            self._walked = None
        self.t += 1
        has_own_way = type(self).update_param is not Optimizer.update_param
        together: dict[tuple, list] = {}
        gradients = settle([total for *_, total in updates])
        for (path, param, total), (gradient, rate) in zip(
            updates, gradients, strict=True
        ):
            state = self._states.get(param)
            if state is None:
                state = self._states[param] = State(0, self.init_state(param))
            state.t += 1
            total.square = None  # whoever holds the gradient may write to it
            factors = self._factors_of(path) if self._factors else ()
            if has_own_way or isinstance(gradient, Rows):
                self._scaled(factors).update_param(param, total, state)
            else:
                item = param.array, gradient, state.arrays
                kind = state.t, rate, param.array.dtype, factors
                together.setdefault(kind, []).append(item)
        for (t, rate, _, factors), items in together.items():
            self._scaled(factors)._apply(items, t, rate)

    def _scaled(self, factors):
        """Return this optimizer, or a copy with other hyperparameters."""
        if not factors:
            return self
        other = copy.copy(self)
        for name, factor in factors:
            setattr(other, name, getattr(self, name) * factor)
        return other

    def check_gradients(self) -> None:
        """Raise `NonFiniteError` for what `update` would refuse, before any hook."""
        self._refuse_non_finite(self.updates)

    def _refuse_non_finite(self, updates):
        """Raise before anything is changed; see ``norms.py``."""
        if not updates:
            return
        if norms.are_on_cpu(updates):
            keeps_squares = bool(self.states) and not self.is_linear
            norms.refuse_non_finite(updates, keeps_squares)
        else:
            self._flags.clip(updates, self.t)

    @property
    def updates(self):
        """What an update changes: a list of (path, parameter, ``gradients.Sum``).

        These are the parameters that have a gradient and are not frozen. Hooks read the
        list, and may scale, change or replace the gradients.
        """
        # A hook may freeze a part of the model.
        is_known = self._walked is not None and self._walked[0] == Link._version
        walked = self._walked[1] if is_known else self._walk()
        found = totals([param for _, param in walked])
        return [
            (path, param, total)
            for (path, param), total in zip(walked, found, strict=True)
            if total is not None
        ]

    def _walk(self):
        return [
            (path, param)
            for path, param in self.target.namedparams(only_updated=True)
            if not any(fnmatch.fnmatchcase(path, each) for each in self._frozen)
        ]

    def new_epoch(self) -> None:
        """Count an epoch."""
        self.epoch += 1

    def init_state(self, param):
        """Return the arrays to keep for ``param``, by name."""
        dtype = working_dtype(param.dtype)
        arrays = {}
        for name, first in self.states.items():
            arrays[name] = param.xp.empty(param.shape, dtype)
            arrays[name][...] = first(param.array) if callable(first) else first
        return arrays

    def numbers(self, t):
        """Return what the rule needs, by name, at a parameter's update ``t``."""
        return {name: getattr(self, name) for name in self.ranges}

    def update_param(self, param, total, state):
        """Change ``param`` and its ``state``, given the ``total`` of its gradients."""
        gradient, rate = total.settled()
        if not isinstance(gradient, Rows):
            self._apply([(param.array, gradient, state.arrays)], state.t, rate)
        elif self.skips_absent_rows or self.lazy_rows:
            array, ids = param.array, gradient.ids
            chosen = array[ids]
            rows = {name: value[ids] for name, value in state.arrays.items()}
            self._apply([(chosen, gradient.values, rows)], state.t, rate)
            array[ids] = chosen
            for name, value in state.arrays.items():
                value[ids] = rows[name]
        else:
            item = param.array, gradient.dense(), state.arrays
            self._apply([item], state.t, rate)

    def _apply(self, items, t, rate):
        """Apply the rule to (array, gradient, states), gradients being times a rate."""
        if self.rule is None:
            raise NotImplementedError(
                f"{type(self).__name__} defines neither rule nor update_param"
            )
        numbers = self.numbers(t)
        if self.is_linear:
            numbers["lr"] *= rate
            rate = 1.0
        kernels.update(self, numbers, rate, items)

    def serialize(self, s):
        """Save or load counts, hyperparameters, what is frozen, and all states."""
        self._check_target("serialize")
        mine = type(self).__name__
        saved = s("class", mine)
        if saved != mine:
            raise SnapshotError(
                f"the file has the state of optimizer {saved}, but this is {mine}"
            )
        from dyrnn.serializers.protocol import count  # takes long to import

        self.t = count(s, "t", self.t)
        self.epoch = count(s, "epoch", self.epoch)
        for name in self.ranges:
            setattr(self, name, s(self._key(name), getattr(self, name)))
        self._serialize_frozen(s)
        factors = [] if s.loading else [list(each) for each in self._factors]
        if factors or (s.loading and s.has("factors")):
            factors = s("factors", factors)
        self._factors = [tuple(each) for each in factors]
        params = dict(self.target.namedparams())
        states = {
            path: self._states[param]
            for path, param in params.items()
            if param in self._states
        }
        steps = s("steps", {path: state.t for path, state in states.items()})
        if s.loading:
            states = self._new_states(params, steps)
        for path, state in states.items():
            child = s
            for part in path[1:].split("/"):
                child = child[part]
            for name, array in state.arrays.items():
                state.arrays[name] = child(self._key(name), array)
        if s.loading:
            self._states = {params[path]: state for path, state in states.items()}
        if s.has("lazy_rows"):
            self.lazy_rows = s("lazy_rows", bool(self.lazy_rows))
        self._serialize_hooks(s)

    def _serialize_hooks(self, s):
        if s.has("hook_names"):
            here = list(self.hooks)
            saved = s("hook_names", here)
            if saved != here:
                raise SnapshotError(
                    f"the file was saved with the hooks {', '.join(saved) or 'none'}, "
                    f"but here are {', '.join(here) or 'none'}: add the same ones, in "
                    "the same order, before the file is loaded"
                )
        for name, hook in self.hooks.items():
            if hasattr(hook, "serialize"):
                hook.serialize(s["hooks"][name])
            elif s.has("hook_names"):
                numbers = _numbers(hook)
                for key, value in s["hooks"][name]("numbers", numbers).items():
                    if s.loading and key in numbers:
                        if type(value) not in (bool, int, float):
                            raise SnapshotError(
                                f"the file has {value!r:.80} as {key!r:.80} of the "
                                f"hook {name}, which is a number"
                            )
                        setattr(hook, key, value)

    def settings(self):
        """Return the hyperparameters, and as ``"frozen"`` the paths of such links."""
        numbers = {name: getattr(self, name) for name in self.ranges}
        for hook_name, hook in self.hooks.items():
            for name, value in _numbers(hook).items():
                numbers[f"{hook_name}.{name}"] = value
        links = self.target.namedlinks()
        frozen = [path for path, link in links if not link.update_enabled]
        for pattern, name, factor in self._factors:
            key = f"{name} of {pattern}"
            numbers[key] = numbers.get(key, 1.0) * factor
        return {**numbers, "frozen": frozen + self._frozen}

    def tell_changes(self, saved, now):
        """Warn where a resumed program has other `settings` than when the run began."""
        if not isinstance(saved, dict):
            raise SnapshotError(f"the file has {saved!r:.80} for hyperparameters")
        _check_paths(saved.get("frozen"))
        # What one side alone scales has the factor 1 on the other.
        factors = {name: 1.0 for name in {**now, **saved} if " of " in name}
        saved, now = {**factors, **saved}, {**factors, **now}
        texts = [
            f"{name} is {now[name]} in the program, but was {saved[name]}"
            for name in now
            if name != "frozen" and name in saved and saved[name] != now[name]
        ]
        was, there = set(saved["frozen"]), set(now["frozen"])
        texts += [
            f"{path} is thawed in the program, but was frozen"
            for path in sorted(was - there)
        ]
        texts += [
            f"{path} is frozen in the program, but was not"
            for path in sorted(there - was)
        ]
        if texts:
            warnings.warn(
                f"{'; '.join(texts)} when the run began: the snapshot's state holds. "
                "Change it after loading, in the `initialize` of an extension, say.",
                stacklevel=2,
            )

    def _serialize_frozen(self, s):
        if not s.has("frozen"):
            return
        links = dict(self.target.namedlinks())
        frozen = s("frozen", self.settings()["frozen"])
        if s.loading:
            _check_paths(frozen)
            for path, link in links.items():
                link.update_enabled = path not in frozen
            self._frozen = [each for each in frozen if each not in links]

    def _new_states(self, params, steps):
        states = {}
        for path, t in steps.items():
            if path not in params or type(t) is not int or t < 0:
                raise SnapshotError(
                    f"the file has optimizer state for parameter {path} (update {t}), "
                    "which the model does not have"
                )
            if not params[path].is_initialized:
                raise SnapshotError(
                    f"parameter {path} has no values yet; load the model before its "
                    "optimizer"
                )
            states[path] = State(t, self.init_state(params[path]))
        return states

    def _check_target(self, what):
        if self.target is None:
            raise RuntimeError(
                f"{type(self).__name__}.{what} before setup: call "
                "optimizer.setup(model) first"
            )

    def _key(self, name):
        return self.names_in_files.get(name, name)


def _numbers(hook):
    """Return the attributes of a hook that are numbers, by their public names."""
    numbers = {}
    for name, value in getattr(hook, "__dict__", {}).items():
        if type(value) in (bool, int, float):
            public = name.lstrip("_")
            numbers[public if hasattr(type(hook), public) else name] = value
    return numbers


def _check_paths(frozen):
    if not isinstance(frozen, list) or not all(isinstance(x, str) for x in frozen):
        raise SnapshotError(f"the file has {frozen!r:.80} for paths of what is frozen")


def _check_loss(loss):
    """Raise if the loss is not finite; a GPU would have to be waited for."""
    if isinstance(loss, np.ndarray) and not np.isfinite(loss).all():
        raise NonFiniteError(
            f"the loss is {loss}; nothing was updated. Lower the learning rate, clip "
            "the gradients, or look for the operation in debug mode (DYRNN_DEBUG=1)."
        )
