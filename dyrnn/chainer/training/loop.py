"""The training loop."""

import contextlib
import os
import sys
import time
import traceback

from dyrnn.chainer.reporter import Reporter
from dyrnn.chainer.serializer import Serializer
from dyrnn.chainer.training.bases import PRIORITY_READER
from dyrnn.chainer.training.triggers.counting import get_trigger

_get_time = time.perf_counter


def _print_error(where, error):
    sys.stderr.write(f"Exception in {where}: {error}\n")
    sys.stderr.write("Traceback (most recent call last):\n")
    traceback.print_tb(error.__traceback__)


class _ExtensionEntry:
    def __init__(self, extension, priority, trigger, before_first, before_any):
        self.extension = extension
        self.trigger = trigger
        self.priority = priority
        self.before_first = before_first
        self.before_any = before_any


class Trainer:
    """Updates until the stop trigger fires; calls extensions as theirs do.

    Attributes
    ----------
    updater, stop_trigger, out
        As given; ``out`` is the folder of results.
    observation : dict
        What was reported in this iteration.
    reporter : Reporter
    """

    def __init__(self, updater, stop_trigger=None, out="result", extensions=None):
        self.updater = updater
        self.stop_trigger = get_trigger(stop_trigger)
        self.observation = {}
        self.out = out
        self.reporter = Reporter()
        for name, optimizer in updater.get_all_optimizers().items():
            self.reporter.add_observer(name, optimizer.target)
            links = optimizer.target.namedlinks(skipself=True)
            self.reporter.add_observers(name, links)
        self._done = False
        self._extensions = {}
        self._start_at = None
        self._snapshot_elapsed_time = 0.0
        self._final_elapsed_time = None
        updater.connect_trainer(self)
        for extension in extensions or ():
            self.extend(extension)

    @property
    def is_before_training(self):
        return self.updater.iteration == 0

    @property
    def elapsed_time(self):
        """Seconds of training, those before a resumed snapshot included."""
        if self._done:
            return self._final_elapsed_time
        if self._start_at is None:
            raise RuntimeError("training has not been started yet")
        return _get_time() - self._start_at + self._snapshot_elapsed_time

    def extend(
        self,
        extension,
        name=None,
        trigger=None,
        priority=None,
        invoke_before_training=None,
        *,
        call_before_training=False,
    ):
        """Add an extension; a name that is taken gets a number.

        ``call_before_training`` holds where training starts, version 1's
        ``invoke_before_training`` also where it goes on.
        """
        for attribute in ("name", "default_name", "__name__"):
            name = getattr(extension, attribute, None) if name is None else name
        if name is None:
            raise TypeError("name is not given for the extension")
        if name == "training":
            raise ValueError('the name "training" is prohibited as an extension name')
        if trigger is None:
            trigger = getattr(extension, "trigger", (1, "iteration"))
        if priority is None:
            priority = getattr(extension, "priority", PRIORITY_READER)
        if invoke_before_training is None:
            invoke_before_training = getattr(extension, "invoke_before_training", False)
        unique, number = name, 0
        while unique in self._extensions:
            number += 1
            unique = f"{name}_{number}"
        extension.name = unique
        self._extensions[unique] = _ExtensionEntry(
            extension,
            priority,
            get_trigger(trigger),
            call_before_training,
            invoke_before_training,
        )

    def get_extension(self, name):
        """Return an extension by its name."""
        if name not in self._extensions:
            raise ValueError(f"extension {name} not found")
        return self._extensions[name].extension

    def run(self, show_loop_exception_msg=True):
        """Train until the stop trigger fires; only once."""
        if self._done:
            raise RuntimeError("cannot run training loop multiple times")
        os.makedirs(self.out, exist_ok=True)
        entries = sorted(
            self._extensions.values(), key=lambda e: e.priority, reverse=True
        )
        self._start_at = _get_time()
        for entry in entries:
            initialize = getattr(entry.extension, "initialize", None)
            if initialize and not getattr(entry.trigger, "finished", False):
                initialize(self)
        starts = self.is_before_training
        self._observe(
            [e for e in entries if e.before_any or (starts and e.before_first)]
        )
        try:
            while not self.stop_trigger(self):
                self.observation = {}
                with self.reporter.scope(self.observation):
                    self.updater.update()
                    for entry in entries:
                        if entry.trigger(self):
                            entry.extension(self)
        except Exception as error:
            self._on_error(error, entries, show_loop_exception_msg)
            raise
        finally:
            self._final_elapsed_time = self.elapsed_time
            self._done = True
            owners = [*(entry.extension for entry in entries), self.updater]
            with contextlib.ExitStack() as stack:  # all, even if one of them raises
                for owner in reversed(owners):
                    finalize = getattr(owner, "finalize", None)
                    if finalize:
                        stack.callback(finalize)

    def _observe(self, entries):
        self.observation = {}
        with self.reporter.scope(self.observation):
            for entry in entries:
                entry.extension(self)

    def _on_error(self, error, entries, shows_message):
        if shows_message:
            _print_error("main training loop", error)
            sys.stderr.write(
                "Will finalize trainer extensions and updater before reraising the "
                "exception.\n"
            )
        for entry in entries:
            handler = getattr(entry.extension, "on_error", None)
            if not handler:
                continue
            try:
                handler(self, error, error.__traceback__)
            except Exception as another:
                _print_error("error handler", another)

    def serialize(self, serializer):
        self.updater.serialize(serializer["updater"])
        if hasattr(self.stop_trigger, "serialize"):
            self.stop_trigger.serialize(serializer["stop_trigger"])
        extensions = serializer["extensions"]
        triggers = serializer["extension_triggers"]
        for name, entry in self._extensions.items():
            if hasattr(entry.extension, "serialize"):
                entry.extension.serialize(extensions[name])
            if hasattr(entry.trigger, "serialize"):
                entry.trigger.serialize(triggers[name])
        if isinstance(serializer, Serializer):
            serializer("_snapshot_elapsed_time", self.elapsed_time)
        else:
            elapsed = serializer("_snapshot_elapsed_time", 0.0)
            self._snapshot_elapsed_time = elapsed
