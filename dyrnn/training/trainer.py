"""The training loop: update, then each extension whose trigger fires.

The rest of this file is about how a run begins, ends and goes on: the output directory
is tried before anything is computed, a signal ends the loop at the next iteration
boundary, and `Trainer.serialize` holds all that an exact resume needs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import itertools
import os
import signal
import sys
import tempfile
import threading
import time

from dyrnn import random
from dyrnn.reporter import Observation, Reporter
from dyrnn.training.extension import PRIORITY_READER, Extension
from dyrnn.training.triggers import StopTrigger, get_trigger

__all__ = ["Trainer", "TrainingInterrupted"]


class TrainingInterrupted(SystemExit):
    """A signal ended training at an iteration boundary.

    Uncaught, it ends the program with 128 + the signal's number: 130 after SIGINT
    (Ctrl-C), 143 after SIGTERM.

    Attributes
    ----------
    signal : signal.Signals
    iteration : int
        Updates done, all of them complete.
    """

    def __init__(self, signum, iteration):
        super().__init__(128 + signum)
        self.signal = signal.Signals(signum)
        self.iteration = iteration

    def __str__(self):
        return f"{self.signal.name} ended training after iteration {self.iteration}"


@dataclasses.dataclass
class _Entry:
    name: str
    extension: object
    trigger: object
    priority: int
    call_before_training: bool


class Trainer:
    """Runs an updater until a trigger says stop, with extensions along the way.

    Parameters
    ----------
    updater : StandardUpdater or alike
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

    Notes
    -----
    SIGINT and SIGTERM do not stop an iteration half way: the loop ends before the next
    one with `TrainingInterrupted`, of which extensions learn by ``on_error``. A second
    signal ends the process at once.
    """

    def __init__(self, updater, stop_trigger=None, out="result", extensions=()):
        if isinstance(stop_trigger, tuple | list):
            stop_trigger = StopTrigger(*stop_trigger)
        self.updater = updater
        self.stop_trigger = get_trigger(stop_trigger)
        self.out = out
        self.observation = Observation()
        self.reporter = Reporter()
        self._entries = {}
        self._has_begun = False
        self._elapsed = 0.0
        self._started = None
        self._signal = None
        for name, optimizer in updater.get_all_optimizers().items():
            self.reporter.add_observer(name, optimizer.target)
            links = optimizer.target.namedlinks(skipself=True)
            self.reporter.add_observers(name, links)
        for extension in extensions or ():
            self.extend(extension)

    @property
    def elapsed_time(self):
        """Seconds of training so far, over all runs of a resumed training."""
        if self._started is None:
            return self._elapsed
        return self._elapsed + time.monotonic() - self._started

    @property
    def is_before_training(self):
        """Whether no update was done yet."""
        return self.updater.iteration == 0

    @property
    def extensions(self):
        """The extensions by name, in the order they were added."""
        return {name: entry.extension for name, entry in self._entries.items()}

    def extend(
        self,
        extension,
        name=None,
        trigger=None,
        priority=None,
        *,
        call_before_training=False,
    ):
        """Add an extension: any callable that takes the trainer.

        Parameters
        ----------
        extension : callable
        name : str, optional
            By default its ``name``, ``default_name`` or ``__name__``. Where a name is
            taken, the new extension is called ``name_1``, ``name_2``, ...
        trigger : trigger or (number, unit), optional
            By default the extension's ``trigger``, else every iteration.
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
        if _takes_no_trainer(extension):
            problem = "takes no trainer, as an extension does; perhaps it makes one"
            raise _no_extension(extension, problem)
        if name is None:
            candidates = ("name", "default_name", "__name__")
            named = (getattr(extension, candidate, None) for candidate in candidates)
            name = next(filter(None, named), type(extension).__name__)
        if name in self._entries:
            suffixed = (f"{name}_{number}" for number in itertools.count(1))
            name = next(new for new in suffixed if new not in self._entries)
        if trigger is None:
            trigger = getattr(extension, "trigger", (1, "iteration"))
        if priority is None:
            priority = getattr(extension, "priority", PRIORITY_READER)
        self._entries[name] = _Entry(
            name, extension, get_trigger(trigger), priority, call_before_training
        )

    def get_extension(self, name):
        """The extension called ``name``."""
        if name not in self._entries:
            raise KeyError(
                f"the trainer has no extension {name!r}; "
                f"it has: {', '.join(self._entries) or 'none'}"
            )
        return self._entries[name].extension

    def run(self):
        """Train until the stop trigger fires.

        Raises
        ------
        TrainingInterrupted
            After SIGINT or SIGTERM.
        OSError
            If the output directory cannot be written to; nothing was computed then.
        """
        _check_writable(self.out)
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop_clock)
            stack.callback(self.updater.finalize)
            stack.enter_context(self._watch_signals())
            self._started = time.monotonic()
            try:
                # All are finalized, even if one of them raises.
                for entry in self._to_initialize():
                    stack.callback(getattr(entry.extension, "finalize", _nothing))
                    getattr(entry.extension, "initialize", _nothing)(self)
                self._loop(self._by_priority())
            except BaseException as error:
                self._tell(self._by_priority(), error)
                raise

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
        if self.is_before_training and not self._has_begun:
            self._has_begun = True
            with self.reporter.scope(self.observation):
                for entry in entries:
                    if entry.call_before_training:
                        _call(entry.extension, self)
        while not self._interrupted() and not self.stop_trigger(self):
            self.observation = Observation()
            with self.reporter.scope(self.observation):
                self.updater.update()
                for group in groups:
                    fired = [entry for entry in group if entry.trigger(self)]
                    for entry in fired:
                        _call(entry.extension, self)

    def _interrupted(self):
        if self._signal is not None:
            raise TrainingInterrupted(self._signal, self.updater.iteration)
        return False

    def _tell(self, entries, error):
        failures = []
        for entry in entries:
            on_error = getattr(entry.extension, "on_error", _nothing)
            try:
                on_error(self, error, error.__traceback__)
            except Exception as failure:
                failures.append(failure)
        if failures:  # the error itself is its context
            raise failures[0]

    def _stop_clock(self):
        self._elapsed, self._started = self.elapsed_time, None

    @contextlib.contextmanager
    def _watch_signals(self):
        """Let the first signal set a flag, and the second one end the process."""
        self._signal = None
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        ours = {}
        for signum in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(signum)
            # A signal ignored on purpose (nohup) stays so; None is not Python's.
            if handler not in (signal.SIG_IGN, None):
                ours[signum] = handler

        def handle(signum, _frame):
            self._signal = signum
            # The default action works even inside a long call of a C library. In an
            # interactive session it would end the session, too.
            for each in ours:
                interactive = each == signal.SIGINT and hasattr(sys, "ps1")
                default = signal.default_int_handler if interactive else signal.SIG_DFL
                signal.signal(each, default)
            text = f"\n{signal.Signals(signum).name}: training ends after this "
            text += "iteration; send it again to stop at once.\n"
            os.write(2, text.encode())

        for signum in ours:
            signal.signal(signum, handle)
        try:
            yield
        finally:
            for signum, handler in ours.items():
                signal.signal(signum, handler)

    def serialize(self, s):
        """Save or load all that an exact resume needs, at an iteration boundary."""
        self.updater.serialize(s["updater"])
        if self.is_before_training:
            self._has_begun = s("has_begun", self._has_begun)
        _serialize(self.stop_trigger, s["stop_trigger"])
        for name, entry in self._entries.items():
            _serialize(entry.extension, s["extensions"][name])
            _serialize(entry.trigger, s["extension_triggers"][name])
        # A stop trigger asks for values after the iteration that reported them.
        self.observation.serialize(s["observation"])
        random.serialize(s["random"])
        self._elapsed = s("elapsed_time", self.elapsed_time)
        if self._started is not None:
            self._started = time.monotonic()


def _nothing(*_):
    pass


def _call(extension, trainer):
    made = extension(trainer)
    if isinstance(made, Extension) or inspect.isfunction(made):
        raise _no_extension(extension, "is no extension, but makes one")


def _takes_no_trainer(extension):
    """Whether it is a function like `snapshot`, with a default for all it takes."""
    if not inspect.isfunction(extension) or hasattr(extension, "trigger"):
        return False
    parameters = inspect.signature(extension).parameters
    have_defaults = all(p.default is not p.empty for p in parameters.values())
    return have_defaults and "trainer" not in parameters


def _no_extension(extension, problem):
    name = getattr(extension, "__name__", type(extension).__name__)
    return TypeError(
        f"extend: {name} {problem}: write trainer.extend({name}(...)), with parentheses"
    )


def _serialize(thing, s):
    if hasattr(thing, "serialize"):
        thing.serialize(s)


def _check_writable(out):
    """Write and remove a file in ``out``, so that a failure shows before training."""
    try:
        os.makedirs(out, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b"dyrnn")
    except OSError as error:
        raise OSError(
            error.errno,
            f"the output directory cannot be written to ({error.strerror}). "
            "Choose another one: Trainer(..., out=DIRECTORY), or --out DIRECTORY on "
            "the command line of the examples",
            os.fspath(out),
        ) from error
