"""The training loop: update, then each extension whose trigger fires.

The rest of this file is about how a run begins, ends and goes on: the output directory
is tried before anything is computed, a signal ends the loop at the next iteration
boundary, and `Trainer.serialize` holds all that an exact resume needs.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from dyrnn import console, random
from dyrnn.arguments import check_number
from dyrnn.kernels import native
from dyrnn.reporter import Observation, Reporter
from dyrnn.training.extension import PRIORITY_READER
from dyrnn.training.own_state import Fields, OwnState
from dyrnn.training.ownership import owning
from dyrnn.training.rehearsal import dry_run
from dyrnn.training.replaying import Replay, replay
from dyrnn.training.signals import SignalWatch, TrainingInterrupted
from dyrnn.training.triggers import StopTrigger, get_trigger, pair_of
from dyrnn.training.updaters import StandardUpdater
from dyrnn.typing import PathLike, TriggerLike


class _Entry(NamedTuple):
    name: str
    extension: object
    trigger: object
    priority: int
    call_before_training: bool

    def hook(self, name):
        """The method of the extension, any callable, that is called so."""
        return getattr(self.extension, name, _nothing)


class Trainer:
    """Runs an updater until a trigger says stop, with extensions along the way.

    Parameters
    ----------
    updater : StandardUpdater or the like
        Does one iteration at each ``update()``.
    stop_trigger : (number, unit) or callable, optional
        ``(20, "epoch")`` or ``(1000, "iteration")``, or any trigger. Without one,
        training goes on until a signal.
    out : path
        Directory for what the extensions write; made if missing.
    extensions : sequence, optional
        Extensions to `extend` with.

    Attributes
    ----------
    updater, stop_trigger, out
        As given.
    observation : Observation
        What was reported in this iteration.
    reporter : Reporter
        Knows the models of the updater, and their links, by name.
    is_replay : bool
        Whether this is a `replay`, in which ``out`` is a directory that is thrown away.
    is_dry_run : bool
        Whether this is a `dry_run`, in which it is one, too.
    world : object or None
        What shares this training among processes, see `dyrnn.distributed`.

    Notes
    -----
    SIGINT, SIGTERM and SIGHUP do not stop an iteration half way: the loop ends before
    the next one with `TrainingInterrupted`, of which extensions learn by ``on_error``.
    A second signal, but for SIGHUP, ends the process at once.
    """

    def __init__(
        self,
        updater: StandardUpdater,
        stop_trigger: TriggerLike = None,
        out: PathLike = "result",
        extensions: Iterable[Callable] = (),
    ) -> None:
        if not hasattr(updater, "get_all_optimizers"):
            raise TypeError(
                f"Trainer: the updater is {updater!r:.80}; call Trainer(updater, (20, "
                "'epoch')), with a dyrnn.training.StandardUpdater or the like"
            )
        os.fspath(out)  # raises unless it is a path
        if isinstance(stop_trigger, tuple | list):
            stop_trigger = pair_of(StopTrigger, stop_trigger)
        self.updater = updater
        self.stop_trigger = stop_trigger
        self.out = out
        self.is_replay = False
        self.is_dry_run = False
        self.all_fire_at: int | None = None  # the last iteration of a dry run
        self.observation = Observation()
        self.reporter = Reporter()
        self._entries = {}
        self.world: Any = None
        self.clock = time.monotonic
        self.signals = SignalWatch()
        self._has_begun = False
        self._elapsed = 0.0
        self._started = None
        self.own_state = OwnState(self._own_fields)
        for name, optimizer in updater.get_all_optimizers().items():
            self.reporter.add_observer(name, optimizer.target)
            links = optimizer.target.namedlinks(skipself=True)
            self.reporter.add_observers(name, links)
        for extension in extensions or ():
            self.extend(extension)

    def __repr__(self):
        names = ", ".join(self._entries) or "none"
        return (
            f"<Trainer: {self.updater.iteration} iterations in {self.elapsed_time:.1f} "
            f"s, until {self.stop_trigger!r}, out {os.fspath(self.out)!r}, extensions: "
            f"{names}>"
        )

    @property
    def stop_trigger(self):
        """What ends training."""
        return self._stop_trigger

    @stop_trigger.setter
    def stop_trigger(self, trigger):
        self._stop_trigger = get_trigger(trigger)

    @property
    def elapsed_time(self) -> float:
        """Seconds of training so far, over all runs of a resumed training."""
        if self._started is None:
            return self._elapsed
        return self._elapsed + self.clock() - self._started

    @property
    def is_before_training(self) -> bool:
        """Whether no update was done yet."""
        return self.updater.iteration == 0

    @property
    def is_fresh(self) -> bool:
        """Whether it is as the program made it: nothing was loaded, no run begun."""
        return self.is_before_training and not self._has_begun

    @property
    def extensions(self) -> dict[str, Callable]:
        """The extensions by name, in the order they were added."""
        return {name: entry.extension for name, entry in self._entries.items()}

    def extend(
        self,
        extension: Callable,
        name: str | None = None,
        trigger: TriggerLike = None,
        priority: int | None = None,
        *,
        call_before_training: bool = False,
    ) -> None:
        """Add an extension: any callable that takes the trainer.

        Parameters
        ----------
        extension : callable
        name : str, optional
            By default its ``name``, ``default_name`` or ``__name__``. Where a name is
            taken, the new extension is called ``name_1``, ``name_2``, ...
        trigger : trigger or (number, unit), optional
            By default the extension's ``trigger``, else every iteration. For one that
            looks at every iteration and acts at the ends of intervals, such as
            `LogReport`, it says where these end; see `Extension.set_interval`.
        priority : int, optional
            Higher runs first; by default the extension's ``priority``, else
            ``PRIORITY_READER``. Among equals, the triggers are asked first, and then
            those that fired run in the order they were added.
        call_before_training : bool
            Run it once before the first update, too.

        Notes
        -----
        Before training, ``initialize`` is called from the lowest priority to the
        highest, so that a snapshot is loaded before others look at the state; after
        it, ``finalize`` in the opposite order. An extension may add others when it is
        initialized.
        """
        if isinstance(extension, type):
            raise TypeError(
                f"extend: {extension.__name__} is a class, and an extension is an "
                f"object: write trainer.extend({extension.__name__}(...))"
            )
        if not callable(extension):
            raise TypeError(
                f"extend: an extension must be callable with the trainer, "
                f"got {extension!r}"
            )
        if name is None:
            candidates = ("name", "default_name", "__name__")
            named = (getattr(extension, candidate, None) for candidate in candidates)
            name = next(filter(None, named), type(extension).__name__)
        if name in self._entries:
            suffixed = (f"{name}_{number}" for number in itertools.count(1))
            name = next(new for new in suffixed if new not in self._entries)
        set_interval = getattr(extension, "set_interval", _nothing)
        if trigger is not None and set_interval(get_trigger(trigger)):
            trigger = None
        if trigger is None:
            trigger = getattr(extension, "trigger", (1, "iteration"))
        if priority is None:
            priority = getattr(extension, "priority", PRIORITY_READER)
        check_number("extend: priority", priority)
        self._entries[name] = _Entry(
            name, extension, get_trigger(trigger), priority, call_before_training
        )

    def get_extension(self, name: str) -> Any:
        """The extension called ``name``."""
        if name not in self._entries:
            raise KeyError(
                f"the trainer has no extension {name!r}; "
                f"it has: {', '.join(self._entries) or 'none'}"
            )
        return self._entries[name].extension

    def run(self) -> None:
        """Train until the stop trigger fires.

        Raises
        ------
        TrainingInterrupted
            After SIGINT, SIGTERM or SIGHUP.
        OSError
            If the output directory cannot be written to, or another training that runs
            owns it (BlockingIOError); nothing was computed then.
        """
        console.reserve_descriptors()
        _check_writable(self.out)
        with self._fixed_place():
            with self.signals, owning(self.out):
                self._run()
            if self.signals.received is not None and self.world is None:
                # While the directory was given up; another training may have it now.
                with contextlib.suppress(BlockingIOError), owning(self.out):
                    self._interrupted_after_all()
        self._interrupted()

    def _run(self):
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop_clock)
            stack.callback(getattr(self.updater, "finalize", _nothing))
            self._started = self.clock()
            with self._telling():
                getattr(self.updater, "note_settings", _nothing)()
                # All are finalized, even if one of them raises.
                for entry in self._to_initialize():
                    stack.callback(entry.hook("finalize"))
                    entry.hook("initialize")(self)
                self._loop(self._by_priority())
        if self.world is None:  # of several processes, not all may know it
            self._interrupted_after_all()

    def _interrupted_after_all(self):
        """End with a snapshot if a signal came while all was finalized."""
        with self._telling():
            self._interrupted()

    @contextlib.contextmanager
    def _fixed_place(self):
        """Stay in the output directory, should the program go to another one."""
        given = self.out
        absolute = os.path.abspath(given)
        self.out = absolute if isinstance(given, str) else pathlib.Path(absolute)
        try:
            yield
        finally:
            self.out = given

    @contextlib.contextmanager
    def _telling(self):
        """Tell the extensions of an error that ends training."""
        try:
            yield
        except BaseException as error:
            if self.world is not None:
                self.world.learn_of(error)
            self._tell(self._by_priority(), error)
            raise

    def replay(
        self,
        iteration: int | tuple[int, int],
        probes: Mapping[str, Callable] | Iterable[Callable] = (),
        decode: Callable | None = None,
    ) -> Replay:
        """Train up to a past iteration again, and show what happened there.

        It starts from the newest snapshot in ``out`` before the iteration, or from the
        beginning if there is none and the trainer has not run yet, and ends where the
        log has a row to compare with. Extensions act as in the run, but ``out`` is
        another directory, which is thrown away: nothing is written into the run's own,
        and what tries to is refused. What they print is dropped.

        Parameters
        ----------
        iteration : int or (int, int)
            From 1 on; or the first and the last one of a range.
        probes : dict or sequence of callables (trainer), optional
            Asked after each such iteration and its extensions, when parameters and
            their gradients are as they leave them. What they draw comes from streams of
            its own; the model's state they should leave alone.
        decode : callable (ids), optional
            Makes a text of a sequence of ids, to show the batch: a vocabulary's
            ``decode``.

        Returns
        -------
        Replay
            To be printed, or read by a program.

        Raises
        ------
        SnapshotError
            If the snapshot is of another run, as when training is resumed.
        FileNotFoundError
            If there is no directory ``out``.
        ValueError
            If there is nothing to start from: the trainer has run, and no snapshot is
            old enough.
        """
        return replay(self, iteration, probes, decode)

    def dry_run(self, updates: int = 2) -> dict[str, float]:
        """Try all that a training does, in a few updates, and undo it.

        In the last update all extensions act, whatever their triggers say: evaluators,
        with two batches each, logs, plots, snapshots. The training is saved and read
        back. So what would go wrong after the first epoch, goes wrong now.

        Afterwards the model, the optimizer, the iterators, random streams and
        extensions are as before. Files go to a directory that is thrown away, and
        nothing is written to ``out``; what is printed is dropped. What an extension
        does elsewhere, and what is drawn from NumPy's or Python's global random
        numbers, cannot be undone: ``trainer.is_dry_run`` tells it.

        Parameters
        ----------
        updates : int

        Returns
        -------
        dict of float
            The values observed in the last update, by name.
        """
        return dry_run(self, updates)

    def _to_initialize(self):
        """Yield each entry once, those that others add meanwhile, too.

        The lowest priority first, so that a snapshot is loaded before others look at
        the state.
        """
        begun = set()
        while entries := [e for e in self._by_priority() if e.name not in begun]:
            begun.add(entries[-1].name)
            yield entries[-1]

    def _by_priority(self):
        return sorted(self._entries.values(), key=lambda entry: -entry.priority)

    def _loop(self, entries):
        groups = [
            list(group) for _, group in itertools.groupby(entries, lambda e: e.priority)
        ]
        self.own_state.begin()
        if self.is_before_training and not self._has_begun:
            self._has_begun = True
            with self.reporter.scope(self.observation):
                for entry in entries:
                    if entry.call_before_training:
                        entry.extension(self)
        first = self.updater.iteration
        while not self._interrupted():
            if self.stop_trigger(self):
                if first == self.updater.iteration > 0 and not self.is_replay:
                    print(
                        f"nothing to do: training was over after iteration {first}; a "
                        "later stop trigger goes on from there",
                        file=sys.stderr,
                    )
                break
            self.observation = Observation()
            with self.reporter.scope(self.observation):
                self.updater.update()
                for group in groups:
                    fired = [entry for entry in group if entry.trigger(self)]
                    for entry in fired:
                        entry.extension(self)

    def _interrupted(self):
        if self.signals.received is not None:
            raise TrainingInterrupted(self.signals.received, self.updater.iteration)
        return False

    def _tell(self, entries, error):
        failures = []
        for entry in entries:
            try:
                entry.hook("on_error")(self, error, error.__traceback__)
            except Exception as failure:
                failures.append(failure)
        if failures:  # the error itself is its context
            raise failures[0]

    def _own_fields(self):
        found = {"stop_trigger": Fields(self.stop_trigger)}
        for name, entry in self._entries.items():
            found["extension:" + name] = Fields(entry.extension)
            # A function as a trigger is in an object of the library.
            trigger = getattr(entry.trigger, "function", entry.trigger)
            found["trigger:" + name] = Fields(trigger)
        return found

    def _stop_clock(self):
        self._elapsed, self._started = self.elapsed_time, None

    def serialize(self, s):
        """Save or load all that an exact resume needs, at an iteration boundary."""
        if self.world is not None:
            s = self.world.serializer(s)
        self.updater.serialize(s["updater"])
        if self.is_before_training:
            self._has_begun = s("has_begun", self._has_begun)
        self.stop_trigger.serialize(s["stop_trigger"])
        for name, entry in self._entries.items():
            entry.hook("serialize")(s["extensions"][name])
            entry.trigger.serialize(s["extension_triggers"][name])
        # A stop trigger asks for values after the iteration that reported them.
        self.observation.serialize(s["observation"])
        self.own_state.serialize(s)
        random.serialize(s["random"])
        native.serialize(s)
        self._elapsed = s("elapsed_time", self.elapsed_time)
        if self._started is not None:
            self._started = self.clock()
        if self.world is not None:
            self.world.serialize(s)
        elif s.loading and s.has("processes"):
            tell_processes(s("processes", 1), 1)
            s("streams_of_others", None)
            if s.has("unsent_of") and s("unsent_of", []):
                s("unsent", None)
                tell_unsent()


def tell_processes(saved: int, here: int) -> None:
    """Warn where a snapshot was made by another number of processes."""
    if saved != here:
        warnings.warn(
            f"the snapshot is of a training by {saved} processes, this is one by "
            f"{here}: what is drawn, such as dropout, and the rounding of sums are not "
            "those that the same number would have gone on with",
            stacklevel=2,
        )


def tell_unsent() -> None:
    """Warn where a snapshot has parts of gradients that nobody will send."""
    warnings.warn(
        "the snapshot is of a training by processes with `largest`, and has parts of "
        "gradients that were not sent yet; without `largest` they are lost, so this "
        "does not go on exactly",
        stacklevel=2,
    )


def _nothing(*_):
    pass


def _check_writable(out):
    """Write and remove a file in ``out``, so that a failure shows before training."""
    try:
        os.makedirs(out, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b"dyrnn")
    except OSError as error:
        reason = error.strerror
        if isinstance(error, FileExistsError):
            is_link = os.path.islink(out)
            reason = "a link that leads nowhere" if is_link else "it is a file"
        raise OSError(
            error.errno,
            f"the output directory cannot be written to ({reason}). "
            "Choose another one: Trainer(..., out=DIRECTORY), or --out DIRECTORY on "
            "the command line of the examples",
            os.fspath(out),
        ) from error
