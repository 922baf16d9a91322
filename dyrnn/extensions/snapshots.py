"""Saving training while it runs, and going on from what was saved.

The files are written atomically and hold all that an exact resume needs. What remains
here is when to save, under which name, which old files may go, and what to do when
training is about to end: a signal leaves a snapshot like any other; an error leaves an
emergency file, which is for looking at, since an iteration may be half done in it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

from dyrnn import console
from dyrnn.arguments import check_whole
from dyrnn.errors import SnapshotError
from dyrnn.serializers import (
    BackgroundWriter,
    capture,
    environment,
    load_npz,
    newest_valid,
    prune,
    remove_leftovers,
    set_later_aside,
    write_snapshot,
)
from dyrnn.training import Extension, TrainingInterrupted

# What the same bits depend on, beside the seed and the number of threads.
_MACHINE = ("numpy", "blas", "machine", "processor")
_FIELD = r"\{[^{}]*\}"  # of a filename
_HINTS = {
    "seed": "Call dyrnn.random.seed with that number",
    "threads": "Set dyrnn.config.threads or OPENBLAS_NUM_THREADS to that number",
    "matmul_precision": "Set dyrnn.config.matmul_precision to that",
}

_REHEARSED = 2  # the iteration by which state, and what is carried, is there


@dataclass(eq=False, repr=False)
class Snapshot(Extension):
    """Saves the whole training, so that it can go on exactly from there.

    Parameters
    ----------
    savefun : callable (path, target), optional
        Writes the file in place of dyrnn's format; nothing is pruned then.
    filename : str
        Formatted with the trainer; it should hold the iteration, padded with zeros.
    target : object, optional
        What to save instead of the trainer.
    condition : callable, optional
        Asked before each save; false saves nothing.
    snapshot_on_error : bool
        When an exception ends training, leave ``emergency_FILENAME``. It is never
        loaded by itself: the iteration may be half done.
    on_signal : bool
        When SIGINT, SIGTERM or SIGHUP ends training, save first.
    n_retains : int
        How many of the newest files to keep; -1 keeps all. The last whole one is never
        deleted.
    every : int, optional
        Keep files whose iteration is a multiple of it, too.
    autoload : bool
        Before training, load the newest whole file that is in ``out``. Files that are
        there but beyond the iteration where a run starts are another run's, and are
        renamed to ``NAME.bak``.
    background : bool
        Write in a thread; an error is raised in the next iteration, or at the end.
    verify : bool
        Read each file back before it gets its name.
    on_failure : {"raise", "warn"}
        Whether an OSError, such as a full disk, ends training.
    identity : dict, optional
        What a resumed run must share, such as the hash of a vocabulary, beside the seed
        and the number of threads: a snapshot with other values is refused. One without
        them, another processor or another version of NumPy is a warning.
    metadata : dict, optional
        More to keep in the file's manifest.
    allow_changes : sequence of str
        Keys of the identity, such as ``"seed"`` or ``"threads"``, of which another
        value is a warning, not an error: training goes on, but not as it would have.

    Attributes
    ----------
    loaded : str or None
        The file that ``autoload`` found.

    Notes
    -----
    To keep the best model apart, add a second one with a name of its own::

        best = snapshot(filename="best_iter_{.updater.iteration:08}.npz", n_retains=1)
        trainer.extend(best, trigger=MinValueTrigger("validation/main/loss"))
    """

    savefun: Callable | None = None
    filename: str = "snapshot_iter_{.updater.iteration:08}.npz"
    _: KW_ONLY
    target: object = None
    condition: Callable | None = None
    snapshot_on_error: bool = False
    on_signal: bool = False
    n_retains: int = -1
    every: int | None = None
    autoload: bool = False
    background: bool = False
    verify: bool = False
    on_failure: str = "raise"
    identity: dict | None = None
    metadata: dict | None = None
    allow_changes: tuple = ()

    trigger = (1, "epoch")
    # The last one, since a snapshot holds what the others did in this iteration.
    priority = -100
    _PRIORITY_TO_LOAD = -101  # initialized before others see which iteration it is

    def __post_init__(self):
        _check_arguments(self.filename, self.savefun, self.target)
        check_whole("snapshot: n_retains", self.n_retains)
        if self.n_retains == 0 or self.n_retains < -1:
            raise ValueError(
                f"snapshot: n_retains is {self.n_retains}: keep at least 1, or -1 for "
                "all"
            )
        if self.on_failure not in ("raise", "warn"):
            raise ValueError(
                f"snapshot: on_failure is {self.on_failure!r}: use 'raise' or 'warn'"
            )
        if self.autoload:
            self.priority = self._PRIORITY_TO_LOAD
        self.identity = dict(self.identity or {})
        self.metadata = dict(self.metadata or {})
        if isinstance(self.allow_changes, str):
            self.allow_changes = (self.allow_changes,)
        self.loaded = None
        self._pattern = _pattern(self.filename)
        self._saved_iteration = None
        self._to_rehearse = 0  # iterations until then
        self._ready = False
        self._is_idle = False  # in a replay, which loads, and is never gone on with
        self._writer = BackgroundWriter() if self.background else None

    def initialize(self, trainer):
        self._ready = False
        self._is_idle = self.target is None and trainer.is_replay
        if self._is_idle:
            return
        if "observation" not in self.filename:  # there is nothing observed yet
            self._name(trainer)
        self._check_names_are_own(trainer)
        if self._is_on():
            remove_leftovers(trainer.out)
        if self.autoload:
            path = self._newest(trainer)
            if path is not None:
                load_npz(path, self._target(trainer))
                self.loaded = path
                console.say(f"resumed from {path}")
            else:
                text = f"no snapshot {self._pattern} in {trainer.out}: starting anew"
                console.say(text)
        if self._is_on() and "*" in self._pattern:
            self._set_other_runs_aside(trainer)
        if self._writer is not None:
            # An error of the writer must not wait for the next snapshot.
            trainer.extend(self._check_writer, name="snapshot_writer")
        if self._is_on() and self.savefun is None:
            capture(self._target(trainer))
            self._to_rehearse = _REHEARSED
            trainer.extend(self._rehearse, name="snapshot_rehearsal")
        self._ready = True

    def __call__(self, trainer):
        if not self._is_idle:
            self._save(trainer, self._name(trainer), emergency=False)

    def on_error(self, trainer, error, traceback):
        if not self._ready:
            return
        if isinstance(error, TrainingInterrupted):
            name = self._name(trainer)
            path, iteration = os.path.join(trainer.out, name), trainer.updater.iteration
            done = self._saved_iteration == iteration and os.path.exists(path)
            if trainer.world is not None:
                done = trainer.world.as_first_has_it(done)
            if self.on_signal and not done:
                self._save(trainer, name, emergency=False)
                self.finalize()  # perhaps a second time, if the signal came so late
            if self.on_signal and self._is_on():
                console.say(f"to go on from iteration {iteration}: {path}")
        elif self.snapshot_on_error:
            self._save(trainer, "emergency_" + self._name(trainer), emergency=True)

    def finalize(self):
        if self._writer is not None:
            self._guarded(self._writer.close)

    def _check_names_are_own(self, trainer):
        """Refuse other snapshots that would be loaded, or deleted, as this one's."""
        for name, other in trainer.extensions.items():
            if not isinstance(other, Snapshot) or other is self:
                continue
            if not fnmatch.fnmatch(re.sub(_FIELD, "0", other.filename), self._pattern):
                continue
            is_pruned = self.n_retains > 0 and (
                other.filename != self.filename
                or (other.n_retains, other.every) != (self.n_retains, self.every)
            )
            if is_pruned or other.target is not self.target:
                raise ValueError(
                    f"snapshot: the files of {name}, {other.filename!r}, would pass "
                    f"for those of {self.filename!r}, and be loaded or deleted in "
                    "their place. Begin each name with a word of its own, such as "
                    "'model_'."
                )

    def _set_other_runs_aside(self, trainer):
        iteration = trainer.updater.iteration
        aside = set_later_aside(trainer.out, iteration, self._pattern)
        if aside:
            console.say(
                f"{trainer.out} has snapshots of another run, beyond iteration "
                f"{iteration}, where this one starts. They were renamed: "
                + ", ".join(map(os.path.basename, aside))
            )

    def _newest(self, trainer):
        if trainer.world is not None:
            return trainer.world.newest_snapshot(self._pattern)
        found = newest_valid(trainer.out, self._pattern)
        return None if found is None else found.path

    def _name(self, trainer):
        try:
            return self.filename.format(trainer)
        except (AttributeError, KeyError, IndexError, ValueError, TypeError) as error:
            raise ValueError(
                f"snapshot: filename {self.filename!r} is formatted with the trainer, "
                "as in 'snapshot_iter_{.updater.iteration:08}.npz', which fails: "
                f"{error}"
            ) from error

    def _target(self, trainer):
        return trainer if self.target is None else self.target

    def _is_on(self):
        return self.condition is None or self.condition()

    def _save(self, trainer, name, emergency):
        if not self._is_on():
            return
        world = trainer.world
        with contextlib.nullcontext() if world is None else world.announce(name):
            self._save_here(trainer, name, emergency)

    def _save_here(self, trainer, name, emergency):
        path = os.path.join(trainer.out, name)
        target = self._target(trainer)
        self._saved_iteration = trainer.updater.iteration
        if self.savefun is not None:
            self._guarded(self.savefun, path, target)
            return
        metadata = {**self.metadata, "epoch": trainer.updater.epoch}
        # Without an iteration, no search for the newest snapshot takes it for one.
        key = "emergency_iteration" if emergency else "iteration"
        metadata[key] = trainer.updater.iteration
        in_background = self._writer is not None and not emergency
        contents = capture(target, copy=in_background)
        if trainer.world is not None and not trainer.world.is_writer:
            return
        job = self._write, path, contents, metadata, environment()
        if in_background:
            self._guarded(self._writer.submit, *job)
        else:
            self._guarded(*job)

    def _write(self, path, contents, metadata, made_with):
        write_snapshot(path, contents, metadata, made_with, self.verify)
        if self.n_retains > 0 and "iteration" in metadata:
            folder = os.path.dirname(path)
            prune(folder, self.n_retains, self._pattern, self.every)

    def _rehearse(self, trainer):
        """Show what cannot be saved now, and not when the first file is due."""
        self._to_rehearse -= 1
        if self._to_rehearse == 0:
            capture(self._target(trainer))

    def _check_writer(self, _trainer):
        self._guarded(self._writer.check)

    def _guarded(self, function, *args):
        try:
            function(*args)
        except OSError as error:
            if self.on_failure == "raise":
                raise
            warnings.warn(
                f"a snapshot was not saved: {error}; training goes on at iteration "
                f"{self._saved_iteration}",
                stacklevel=2,
            )

    def serialize(self, s):
        """Save or load the iteration last saved; refuse a run of another identity."""
        self._saved_iteration = s("saved_iteration", self._saved_iteration)
        here = environment()
        machine = {key: here[key] for key in _MACHINE}
        identity = {"seed": here["seed"], "threads": here["threads"], **self.identity}
        if here["matmul_precision"] != "float32":
            identity["matmul_precision"] = here["matmul_precision"]
        saved_identity, saved_machine = s("identity", identity), s("machine", machine)
        if not s.loading:
            return
        unknown = [key for key in self.identity if key not in saved_identity]
        if unknown:
            warnings.warn(
                f"resumed from a snapshot that does not say {', '.join(unknown)}, "
                "which must be as they were",
                stacklevel=2,
            )
        known = {key: identity[key] for key in identity if key not in unknown}
        for key, difference in _differences(saved_identity, known):
            if key not in self.allow_changes:
                hint = _HINTS.get(key, "Resume with the same data and settings")
                raise SnapshotError(
                    f"the snapshot is of another run: {difference}. {hint}, or start "
                    f"in another directory. allow_changes=[{key!r}] (on the command "
                    f"line of the examples, --allow-change {key}) makes this a warning."
                )
            warnings.warn(f"resumed with a change: {difference}", stacklevel=2)
        for _, difference in _differences(saved_machine, machine):
            warnings.warn(
                f"resumed, but perhaps not bit by bit: {difference}", stacklevel=2
            )


def _pattern(filename):
    return "*".join(map(glob.escape, re.split(_FIELD, filename)))


def _check_arguments(filename, savefun, target):
    if not isinstance(filename, str):
        raise TypeError(
            f"snapshot: filename is {filename!r}: use a string; the order is "
            "snapshot_object(target, filename) and snapshot(savefun, filename)"
        )
    if os.path.dirname(_pattern(filename)):
        raise ValueError(
            f"snapshot: filename is {filename!r}: use a name without a directory; "
            "files go to the trainer's directory, Trainer(..., out=DIRECTORY)"
        )
    if savefun is not None and not callable(savefun):
        raise TypeError(
            f"snapshot: savefun is {savefun!r}: use a function (path, target); the "
            "name of the file is filename=...; to add the extension itself, write "
            "trainer.extend(snapshot())"
        )
    if target is not None and savefun is None and not hasattr(target, "serialize"):
        raise TypeError(
            f"snapshot: target is {target!r}: use an object with a method serialize, "
            "such as a link, an optimizer or the trainer"
        )


def _differences(saved, here):
    """Yield each key whose value is another one, and a text that says so."""
    for key in sorted(saved.keys() | here.keys()):
        if saved.get(key) != here.get(key):
            yield (
                key,
                f"{key} is {saved.get(key)!r} in the file and {here.get(key)!r} here",
            )


# By Chainer's name: a class, so that extend(snapshot), without (), can be refused.
snapshot = Snapshot


def snapshot_object(
    target: Any, filename: str, savefun: Callable | None = None, **options: Any
) -> Snapshot:
    """Save an object, such as the model alone; options as of `snapshot`."""
    return Snapshot(savefun, filename, target=target, **options)
