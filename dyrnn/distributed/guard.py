"""Nothing hangs: a thread of each process that ends all when one does not come.

Each guard tells the first process, and that one tells all, four times a second, what
its process does: compute, wait in a collective operation, something long that it has
announced, or that it has ended. So a process that computes is told from one that is
silent. The first process judges all others, and they judge the first. Who judges that
one is missing says so in one line, and aborts; the launcher then ends all of them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_PERIOD = 0.25  # seconds from beat to beat
_GRACE = 1.0  # seconds in which the others may end, too
_TO_BEGIN = 10  # times the deadline, for the first updates: memory, kernels
_SLOWEST = 10  # times the slowest update
_FIRST_UPDATES = 3
_BEAT = struct.Struct("<BqdH")  # state, operations, seconds in the state, length
_SIZE = 512
_COMPUTES, _WAITS, _ANNOUNCED, _ENDED, _FAILED = range(5)


@dataclass
class _Status:
    """What a process does, since when by the clock of who looks at it."""

    state: int = _COMPUTES
    operations: int = 0  # collective ones, begun
    since: float = 0.0
    text: str = "the start"
    heard: float = 0.0


class Guard:
    """Watches that no process waits for another one for ever.

    Parameters
    ----------
    mpi : module
    world : MPI communicator
        Its own.
    deadline, patience : float
        Seconds; see `create_communicator`.
    """

    def __init__(self, mpi: Any, world: Any, deadline: float, patience: float) -> None:
        self._mpi, self._world = mpi, world
        self._rank, self._size = world.Get_rank(), world.Get_size()
        self.deadline, self.patience = deadline, patience
        self._slowest = 0.0
        self._updates = 0
        self._update_began = time.monotonic()
        self._mine = _Status(since=time.monotonic())
        self._known: dict[int, _Status] = {}
        self._requests: dict[int, tuple] = {}
        self._main = threading.main_thread().ident
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._name = f"process {os.getpid()} on {socket.gethostname()}"

    def start(self) -> None:
        """Begin to watch; without threads in MPI, say that nobody does."""
        self._names = self._world.allgather(self._name)
        if self._size == 1:
            return
        if self._mpi.Query_thread() < self._mpi.THREAD_MULTIPLE:
            if self._rank == 0:
                _write("this MPI has no threads: processes that hang are not noticed")
            return
        now = time.monotonic()
        others = range(1, self._size) if self._rank == 0 else [0]
        self._known = {rank: _Status(since=now, heard=now) for rank in others}
        self._thread = threading.Thread(
            target=self._watch, name="dyrnn-guard", daemon=True
        )
        self._hook, sys.excepthook = sys.excepthook, self._failed
        self._thread.start()

    # What the process does

    @contextlib.contextmanager
    def waiting(self, where: str) -> Iterator[None]:
        """Say that this process waits for the others."""
        with self._being(_WAITS, where, 1):
            yield

    @contextlib.contextmanager
    def announced(self, what: str) -> Iterator[None]:
        """Say that this process does something long."""
        with self._being(_ANNOUNCED, what, 0):
            yield
        self._update_began = time.monotonic()

    @contextlib.contextmanager
    def _being(self, state, text, operations):
        before = self._mine
        operations += before.operations
        self._mine = _Status(state, operations, time.monotonic(), text)
        try:
            yield
        finally:
            self._mine = _Status(
                before.state, self._mine.operations, time.monotonic(), before.text
            )

    def begin_update(self, iteration: int) -> None:
        """Note which update is computed."""
        self._update_began = now = time.monotonic()
        text = f"update {iteration}"
        self._mine = _Status(_COMPUTES, self._mine.operations, now, text)

    def end_update(self) -> None:
        """Note how long it took."""
        self._updates += 1
        now = time.monotonic()
        if self._updates > 1:  # the first one does what no other does
            self._slowest = max(self._slowest, now - self._update_began)
        text = f"what follows {self._mine.text}"
        self._mine = _Status(_COMPUTES, self._mine.operations, now, text)

    def _failed(self, kind, error, traceback):
        """Take the place of `sys.excepthook`: an error ends all processes."""
        is_common = is_common_error(error)
        if not is_common or self._rank == 0:
            if not is_common:
                sys.stderr.write(f"rank {self._rank} of {self._size}:\n")
            self._hook(kind, error, traceback)
        if not is_common:
            text = f"{kind.__name__}: {error}".replace("\n", " ")
            self._mine = _Status(_FAILED, self._mine.operations, time.monotonic(), text)

    def finish(self) -> None:
        """At the end of the program: wait for the others, so that none ends early."""
        if self._thread is None:
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        mine = self._mine
        if mine.state != _FAILED:
            now = time.monotonic()
            self._mine = _Status(_ENDED, mine.operations, now, mine.text)
        everyone = self._world.Ibarrier()
        while not everyone.Test():
            time.sleep(_PERIOD / 10)
        self._is_over.set()
        self._thread.join(2 * _PERIOD)

    # What the others do

    def _watch(self):
        while not self._is_over.wait(_PERIOD):
            self._tell()
            self._listen()
            problem = self._problem(time.monotonic())
            if problem is not None and not self._is_over.is_set():
                if self._rank > 1:  # one line, of the lowest that is there
                    time.sleep(min(self._rank * _PERIOD, 1.5))
                _write(problem)
                time.sleep(0.05)
                self._mpi.COMM_WORLD.Abort(1)

    def _tell(self):
        mine = self._mine
        elapsed = time.monotonic() - mine.since
        text = mine.text
        if mine.state == _COMPUTES and elapsed > self.deadline / 4:
            text += self._place()
        encoded = text.encode()[: _SIZE - _BEAT.size]
        beat = _BEAT.pack(mine.state, mine.operations, elapsed, len(encoded)) + encoded
        for rank in self._known:
            request, _ = self._requests.get(rank, (None, None))
            if request is None or request.Test():
                # Who is stopped takes none: there is one message at most.
                kept = np.frombuffer(beat.ljust(_SIZE, b"\0"), np.uint8)
                self._requests[rank] = self._world.Isend(kept, rank), kept

    def _place(self):
        frame = sys._current_frames().get(self._main)
        if frame is None:
            return ""
        code = frame.f_code
        return f", at {os.path.basename(code.co_filename)}:{frame.f_lineno}"

    def _listen(self):
        now = time.monotonic()
        buffer = np.empty(_SIZE, np.uint8)
        found = self._mpi.Status()
        while self._world.Iprobe(status=found):
            rank = found.Get_source()
            self._world.Recv(buffer, rank)
            beat = buffer.tobytes()
            state, operations, elapsed, length = _BEAT.unpack_from(beat)
            text = beat[_BEAT.size : _BEAT.size + length].decode(errors="replace")
            self._known[rank] = _Status(state, operations, now - elapsed, text, now)

    def _limit(self):
        """Return how long the others wait for one that computes."""
        if self._updates < _FIRST_UPDATES:
            return self.deadline * _TO_BEGIN
        return max(self.deadline, self._slowest * _SLOWEST)

    def _problem(self, now):
        """Return what is wrong, in one line, or None."""
        everyone = {**self._known, self._rank: self._mine}
        waiting = {r: s for r, s in everyone.items() if s.state == _WAITS}
        for rank, status in self._known.items():
            silence = now - status.heard
            if silence > self.deadline and status.state != _ENDED:
                return self._says(
                    rank,
                    f"has been silent for {silence:.1f} s: it is stopped, or its "
                    f"machine is; last heard of in {status.text}",
                )
        for rank, status in self._known.items():
            if status.state == _FAILED and now - status.since > _GRACE:
                if any(s.state not in (_FAILED, _ENDED) for s in everyone.values()):
                    return self._says(rank, f"failed: {status.text}")
        if not waiting:
            return None
        furthest = max(waiting.values(), key=lambda s: (s.operations, -s.since))
        waited = now - min(
            s.since for s in waiting.values() if s.operations == furthest.operations
        )
        for rank, status in self._known.items():
            if status.operations >= furthest.operations:
                continue
            late = min(waited, now - status.since)
            behind = f"while the others wait for it in {furthest.text}"
            if status.state == _ENDED and late > _GRACE:
                return self._says(rank, f"ended after {status.text}, {behind}")
            if status.state == _ANNOUNCED and late > self.patience:
                return self._says(
                    rank, f"took {late:.0f} s for {status.text}, {behind}"
                )
            if status.state == _COMPUTES and late > self._limit():
                return self._says(
                    rank,
                    f"has computed {status.text} for {late:.1f} s, {behind} (the "
                    f"slowest update took {self._slowest:.2f} s)",
                )
        return self._apart(everyone, waiting, now)

    def _apart(self, everyone, waiting, now):
        """Return a line if all wait, but in different places."""
        if len(waiting) < len(everyone):
            return None
        late = now - max(s.since for s in waiting.values())
        places = {rank: s.text for rank, s in sorted(waiting.items())}
        if len(set(places.values())) == 1 or late < self.deadline:
            return None
        listed = ", ".join(f"rank {r} in {text}" for r, text in places.items())
        return (
            f"the processes wait for each other in different places: {listed:.300}. "
            "All of them must do the same operations in the same order"
        )

    def _says(self, rank, what):
        return f"rank {rank} of {self._size} ({self._names[rank]}) {what}"


def is_common_error(error: BaseException | None) -> bool:
    """Whether all processes raise an error alike."""
    while error is not None:
        if getattr(error, "is_common", False):
            return True
        error = error.__cause__
    return False


def _write(line):
    with contextlib.suppress(OSError):
        os.write(2, f"dyrnn.distributed: {line}; the run ends\n".encode())
