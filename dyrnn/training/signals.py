"""Signals that end training where it can go on: at an iteration boundary.

That are SIGINT, SIGTERM, and the SIGHUP of a terminal that is closed.
"""

from __future__ import annotations

import signal
import sys
import threading
import time

from dyrnn import console

# Seconds in which what comes is the first signal again: Ctrl-C reaches a launcher, such
# as ``timeout``, and the process, and then the launcher sends it on.
_SAME = 0.2
_ENDING = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]


class TrainingInterrupted(SystemExit):
    """A signal ended training at an iteration boundary.

    Uncaught, it ends the program with 128 + the signal's number: 130 after SIGINT
    (Ctrl-C), 143 after SIGTERM, 129 after SIGHUP.

    Attributes
    ----------
    signal : signal.Signals
    iteration : int
        Updates done, all of them complete.
    """

    def __init__(self, signum: int, iteration: int) -> None:
        super().__init__(128 + signum)
        self.signal = signal.Signals(signum)
        self.iteration = iteration

    def __str__(self):
        return f"{self.signal.name} ended training after iteration {self.iteration}"


class SignalWatch:
    """A context in which the first signal is noted, and a second one ends the process.

    Attributes
    ----------
    received : int or None
        The number of the signal.
    """

    def __init__(self):
        self.received = None
        self._is_noted = False
        self._handlers = {}
        self._streams = None

    def __enter__(self):
        self.received, self._is_noted = None, False
        if threading.current_thread() is threading.main_thread():
            for signum in _ENDING:
                handler = signal.getsignal(signum)
                # A signal ignored on purpose (nohup) stays so; None is not Python's.
                # A program's own handler of SIGHUP does something else with it.
                is_own = _is_hangup(signum) and handler is not signal.SIG_DFL
                if handler not in (signal.SIG_IGN, None) and not is_own:
                    self._handlers[signum] = handler
                    signal.signal(signum, self._note)
        return self

    def __exit__(self, *_):
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._handlers = {}
        if self._streams is not None:
            sys.stdout, sys.stderr = self._streams
            self._streams = None
            console.settle(sys.stdout)
            console.settle(sys.stderr)

    def _note(self, signum, _frame):
        if self._is_noted:
            return
        self._is_noted = True
        self.received = signum
        time.sleep(_SAME)
        # The default action works even inside a long call of a C library. In an
        # interactive session it would end the session, too.
        for each in self._handlers:
            interactive = each == signal.SIGINT and hasattr(sys, "ps1")
            default = signal.default_int_handler if interactive else signal.SIG_DFL
            # Nobody sends SIGHUP to hurry: a shell repeats it.
            signal.signal(each, signal.SIG_IGN if _is_hangup(each) else default)
        again = "" if _is_hangup(signum) else "; send it again to stop at once"
        name = signal.Signals(signum).name
        console.say_at_once(f"\n{name}: training ends after this iteration{again}.")
        # Ctrl-C ends a reader of the output, too; the iteration goes on all the same.
        self._streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = map(console.forgiving, self._streams)


def _is_hangup(signum):
    return signal.Signals(signum).name == "SIGHUP"
