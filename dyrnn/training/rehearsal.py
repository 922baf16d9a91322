"""Two updates and all that a training does later, then undone.

What goes wrong at the end of an epoch, such as a misspelt name, or a state that no
snapshot holds, is found in seconds. All extensions act in the last update, whatever
their triggers say, in a directory that is thrown away.
"""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
import warnings
from collections import deque
from collections.abc import Iterator
from typing import Any

from dyrnn.errors import SnapshotError
from dyrnn.iterators.base import positive_integer
from dyrnn.link import Link
from dyrnn.reporter import is_scalar, read_scalars
from dyrnn.serializers import load_npz, save_npz
from dyrnn.serializers.protocol import capture
from dyrnn.training.replaying.protection import untouched
from dyrnn.training.triggers import NeverFire

_CONTAINERS = dict | list | set | deque
_MAY_DIFFER = "elapsed_time", "extension_triggers/"  # a trigger may act on a resume


def dry_run(trainer: Any, updates: int) -> dict[str, float]:
    """See `Trainer.dry_run`."""
    if trainer.world is not None:
        raise ValueError("dry_run: it is for one process: start it without mpiexec")
    updates = positive_integer("dry_run: updates", updates)
    with tempfile.TemporaryDirectory(prefix="dyrnn-dry-run-") as folder:
        scratch = os.path.join(folder, "out")
        with (
            warnings.catch_warnings(record=True) as told,
            _undone(trainer, os.path.join(folder, "before.npz")),
            untouched(trainer.out, scratch),
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            _hurry(trainer, scratch, updates)
            last = _Last(os.path.join(folder, "after.npz"))
            trainer.extend(last, name="dry run", priority=-float("inf"))
            trainer.run()
    for each in told:
        warnings.warn_explicit(
            each.message, each.category, each.filename, each.lineno, source=each.source
        )
    return last.observed


def _hurry(trainer, scratch, updates):
    """Let all triggers fire in the last of a few updates, after which it is over."""
    trainer.out, trainer.is_dry_run = scratch, True
    trainer.all_fire_at = trainer.updater.iteration + updates
    trainer.stop_trigger = _Stop(trainer.stop_trigger)
    trainer._entries = {
        name: entry
        if isinstance(entry.trigger, NeverFire)
        else entry._replace(trigger=_Always(entry.trigger))
        for name, entry in trainer._entries.items()
    }


class _Always:
    """A trigger that also fires in the last update of a dry run."""

    def __init__(self, trigger):
        self._trigger = trigger

    def __call__(self, trainer):
        fires = self._trigger(trainer)
        return fires or trainer.updater.iteration == trainer.all_fire_at

    def __getattr__(self, name):
        return getattr(self._trigger, name)

    def serialize(self, s):
        self._trigger.serialize(s)


class _Stop(_Always):
    """The stop trigger of a dry run: the training's own is asked, too."""

    def __call__(self, trainer):
        self._trigger(trainer)
        return trainer.updater.iteration >= trainer.all_fire_at


class _Last:
    """The last extension: it saves the training, and reads it back."""

    def __init__(self, path):
        self._path = path
        self.observed: dict[str, float] = {}

    def __call__(self, trainer):
        if trainer.updater.iteration < trainer.all_fire_at:
            return
        scalars = {k: v for k, v in trainer.observation.items() if is_scalar(v)}
        self.observed = dict(zip(scalars, read_scalars(scalars.values()), strict=True))
        save_npz(self._path, trainer)
        before = capture(trainer, copy=True)
        load_npz(self._path, trainer)
        _compare(before, capture(trainer))


def _compare(before, after):
    """Refuse a state that is another one when it was saved and loaded."""
    pairs = [
        (before.values, after.values, lambda a, b: repr(a) == repr(b)),
        (before.arrays, after.arrays, lambda a, b: a.tobytes() == b.tobytes()),
    ]
    differing = [
        key
        for mine, theirs, is_same in pairs
        for key in sorted(mine.keys() | theirs.keys())
        if not key.startswith(_MAY_DIFFER)
        and not (key in mine and key in theirs and is_same(mine[key], theirs[key]))
    ]
    if differing:
        raise SnapshotError(
            f"dry_run: what was saved is another one when it was loaded: "
            f"{', '.join(differing[:5])}. A `serialize` must take what `s` returns: "
            "self.n = s('n', self.n)"
        )


@contextlib.contextmanager
def _undone(trainer: Any, path: str) -> Iterator[None]:
    """Put back all that a training changes, however the block ends."""
    updater = trainer.updater
    links = _links(trainer)
    params = {id(p): p for link in links for p in link.params()}.values()
    waiting = [p for p in params if not p.is_initialized]
    gradients = [(p, p._gradient) for p in params]
    extensions = [_Attributes(each) for each in [*links, *_extensions(trainer)]]
    owners = [_Attributes(each) for each in (trainer, updater, *_parts_of(trainer))]

    def put_back(*kept):
        for each in (each for group in kept for each in group):
            each.put_back()

    try:
        save_npz(path, trainer)
    except BaseException:
        put_back(owners)
        raise
    try:
        yield
    finally:
        for param in waiting:
            param.array = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # What was bound then is bound again, and gets what it held; before that,
            # while it is known how the program made its own objects, these do.
            put_back(extensions, owners[:1])
            load_npz(path, trainer)
            put_back(extensions, owners)
            load_npz(path, trainer)
            put_back(owners)
        for param, gradient in gradients:
            param._gradient = gradient


def _links(trainer):
    """Return all links of the updater and of extensions, such as an average."""
    roots = [each.target for each in trainer.updater.get_all_optimizers().values()]
    for owner in (trainer.updater, *trainer.extensions.values()):
        for value in getattr(owner, "__dict__", {}).values():
            values = value.values() if isinstance(value, dict) else [value]
            roots += [each for each in values if isinstance(each, Link)]
    return list(dict.fromkeys(link for root in roots for link in root.links()))


def _parts_of(trainer):
    names = "own_state", "_watch", "_doubts", "_numbers"
    found = [getattr(trainer.updater, name, None) for name in names]
    return [trainer.own_state, *(each for each in found if each is not None)]


def _extensions(trainer):
    found = [trainer.stop_trigger]
    for entry in trainer._entries.values():
        found += [entry.extension, entry.trigger]
    return found


class _Attributes:
    """The attributes that an object has, and what is in its lists and dictionaries."""

    def __init__(self, owner):
        self._owner = getattr(owner, "__self__", owner)  # of a method
        self._values = dict(getattr(self._owner, "__dict__", {}))
        self._contents = {
            name: copy.copy(value)
            for name, value in self._values.items()
            if isinstance(value, _CONTAINERS)
        }

    def put_back(self):
        """Give the object back its attributes, each with what was in it."""
        if not hasattr(self._owner, "__dict__"):
            return
        vars(self._owner).clear()
        vars(self._owner).update(self._values)
        for name, content in self._contents.items():
            value = self._values[name]
            value.clear()
            is_list = isinstance(content, list | deque)
            (value.extend if is_list else value.update)(content)
