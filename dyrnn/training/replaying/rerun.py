"""Train up to an iteration once more, and tell whether that is the same run."""

from __future__ import annotations

import contextlib
import errno
import math
import operator
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dyrnn import console, random
from dyrnn.errors import NonFiniteError, SnapshotError
from dyrnn.serializers import environment, load_npz, read_manifest, verify_npz
from dyrnn.training.replaying import report
from dyrnn.training.replaying.protection import untouched
from dyrnn.training.replaying.watching import (
    Figures,
    Watcher,
    nonfinite_parameters,
    numbers_of,
)
from dyrnn.typing import PathLike

# Keys of a log's rows that the clock decides.
_CLOCK = re.compile(r"(^|_|/)(time|seconds)$|_per_second$")
_MACHINE = "dyrnn python numpy blas machine processor threads kernels seed".split()


@dataclass
class Replay:
    """What came of a replay; ``print`` shows it.

    Attributes
    ----------
    out : str
        The directory of the run.
    first, last : int
        The iterations that were asked for.
    start : str or None
        The snapshot that it started from; None is the beginning.
    start_iteration : int
    end : int
        The iteration that it reached.
    figures : list of Figures
        For each iteration that was asked for and reached.
    rows : int
        Rows of the log, made after the start, that came out equal to the last bit.
    differences : list of str
        Where this is another run.
    changes : list of str
        What is known to be another than when the run wrote a snapshot: the processor,
        a version, the data.
    error : NonFiniteError or None
        What ended the run.
    origin : list of str
        Which parameters ceased to be finite, and when.
    """

    out: str
    first: int
    last: int
    start: str | None = None
    start_iteration: int = 0
    end: int = 0
    figures: list[Figures] = field(default_factory=list)
    rows: int = 0
    differences: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    error: NonFiniteError | None = None
    origin: list[str] = field(default_factory=list)

    @property
    def is_same(self) -> bool | None:
        """Whether the log says that it is the same run; None if it says nothing."""
        if self.differences:
            return False
        return True if self.rows else None

    def worst(self, key: str = "main/loss") -> Figures | None:
        """The figures of the highest value; ``"gradient"`` for the gradient's norm."""

        def size(figures):
            is_norm = key == "gradient"
            value = figures.norm(key) if is_norm else figures.values.get(key, -math.inf)
            # Without a gradient, the loss was not finite.
            return math.inf if value is None or math.isnan(value) else value

        return max(self.figures, key=size, default=None)

    def write_csv(self, path: PathLike) -> None:
        """Write a line of figures for each iteration."""
        report.write_csv(path, self.figures)

    def draw(self, figure: Any) -> None:
        """Draw the figures into an empty ``matplotlib.figure.Figure``."""
        report.draw(figure, self.figures)

    def __str__(self):
        return report.text_of(self)


def replay(
    trainer: Any,
    iteration: int | tuple[int, int],
    probes: Mapping[str, Callable] | Iterable[Callable] = (),
    decode: Callable | None = None,
) -> Replay:
    """See `Trainer.replay`."""
    first, last = _range(iteration)
    if trainer.world is not None:
        raise ValueError("replay: it is for one process: start it without mpiexec")
    if not os.path.isdir(trainer.out):
        raise FileNotFoundError(
            errno.ENOENT, "there is no run to replay", os.fspath(trainer.out)
        )
    probes = _named(probes)
    result = Replay(os.fspath(trainer.out), first, last)
    start, known = _find_start(trainer, first)
    if start is not None:
        result.start, result.start_iteration = start.path, start.iteration
    logs = _Logs(trainer)
    run = _Run(trainer, result, probes, decode, start)
    with tempfile.TemporaryDirectory(prefix="dyrnn-replay-") as scratch:
        with untouched(trainer.out, scratch), _elsewhere(trainer, run, logs, scratch):
            try:
                trainer.run()
            except NonFiniteError as error:
                result.error = error
                run.note_end()
            result.end = trainer.updater.iteration
    logs.compare(result)
    if known is not None:
        result.changes += _changes(trainer, known)
    return result


def _range(iteration):
    """Return the first and the last iteration that are asked for."""
    pair = iteration if isinstance(iteration, tuple | list) else (iteration, iteration)
    try:
        first, last = map(operator.index, pair)
    except (TypeError, ValueError):
        raise TypeError(
            "replay: an iteration, or a pair of the first and the last one, not "
            f"{iteration!r:.60}: write trainer.replay(75) or trainer.replay((70, 80))"
        ) from None
    if not 1 <= first <= last:
        raise ValueError(
            f"replay: iterations {first} to {last}; they count from 1, and the first "
            "is not after the last"
        )
    return first, last


def _named(probes):
    """Return probes by their names."""
    if not isinstance(probes, Mapping):
        given = [probes] if callable(probes) else probes
        probes = {getattr(each, "__name__", str(each)): each for each in given}
    for name, probe in probes.items():
        if not callable(probe):
            raise TypeError(
                f"replay: a probe is called with the trainer, and {name!r:.40} is "
                f"{type(probe).__name__}: give functions, or a dictionary of them"
            )
    return probes


class _Start(NamedTuple):
    iteration: int
    path: str
    manifest: dict


def _find_start(trainer, first):
    """Return the newest snapshot before an iteration, and the nearest one to it."""
    found = _snapshots(trainer.out)
    for start in reversed([each for each in found if each.iteration < first]):
        try:
            verify_npz(start.path)
        except (SnapshotError, OSError) as error:
            warnings.warn(f"snapshot passed over: {error}", stacklevel=4)
        else:
            return start, start
    if not trainer.is_fresh:
        oldest = f"; the oldest is of {found[0].iteration}" if found else ""
        raise ValueError(
            f"replay: {trainer.out} has no snapshot before iteration {first}{oldest}, "
            "and this trainer has trained already, so that its beginning is gone: "
            "build it anew, with dyrnn.random.seed first, and call replay before run"
        )
    return None, found[0] if found else None


def _snapshots(folder):
    """Return the snapshots of a trainer, oldest first; nothing is renamed."""
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if not name.endswith(".npz") or name.startswith("."):
            continue
        try:
            manifest = read_manifest(path)
        except (SnapshotError, OSError):
            continue
        iteration = manifest["metadata"].get("iteration")  # an emergency has none
        if "updater/iteration" in manifest["values"] and type(iteration) is int:
            found.append(_Start(iteration, path, manifest))
    return sorted(found, key=lambda start: start[:2])


@contextlib.contextmanager
def _elsewhere(trainer, run, logs, scratch):
    """Let a trainer run into another directory, up to where the replay ends."""
    out, stop, entries = trainer.out, trainer.stop_trigger, trainer._entries
    update = vars(trainer.updater).get("update")
    trainer.out, trainer.is_replay, trainer._entries = scratch, True, dict(entries)
    run.end = logs.end(run.result.last)
    trainer.stop_trigger = _Until(stop, run.end, logs.last)
    trainer.updater.update = run.update
    trainer.extend(run.look, name="replay: update", priority=math.inf)
    trainer.extend(run, name="replay", priority=-math.inf)
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            warnings.catch_warnings(),
        ):
            # A part of a run need not have all that its tables show.
            warnings.filterwarnings("ignore", r"\w+: never observed")
            yield
    finally:
        trainer.out, trainer.is_replay, trainer._entries = out, False, entries
        trainer.stop_trigger = stop
        if update is None:
            del trainer.updater.update
        else:
            trainer.updater.update = update


class _Until:
    """The stop trigger of a replay: the run's own is asked as in the run."""

    def __init__(self, trigger, end, logged):
        self._trigger = trigger
        self._end = end
        self._logged = logged

    def __call__(self, trainer):
        is_over = self._trigger(trainer)
        iteration = trainer.updater.iteration
        # A trigger that goes by the clock may fire before it did.
        return iteration >= self._end or (is_over and iteration >= self._logged)

    def __getattr__(self, name):
        return getattr(self._trigger, name)

    def serialize(self, s):
        self._trigger.serialize(s)


class _Run:
    """The extension of a replay: it loads first, and looks last."""

    def __init__(self, trainer, result, probes, decode, start):
        self.result = result
        self.end = result.last  # where the replay stops
        self._trainer = trainer
        self._probes = probes
        self._decode = decode
        self._start = start
        self._update = trainer.updater.update
        self._watcher = None

    def initialize(self, trainer):
        if self._start is not None:
            load_npz(self._start.path, trainer)
        elif not trainer.is_fresh:  # some extension has loaded another state
            raise RuntimeError(
                "replay: it starts from the beginning, but the trainer is at iteration "
                f"{trainer.updater.iteration}"
            )

    def update(self):
        """Do an update, and watch it if it was asked for."""
        iteration = self._trainer.updater.iteration + 1
        if not self.result.first <= iteration <= self.result.last:
            self._update()
            return
        self._watcher = Watcher(self._trainer.updater, iteration)
        self.result.figures.append(self._watcher.figures)
        with self._watcher:
            self._update()

    def look(self, trainer):
        """Look for parameters that are not finite, right after the update."""
        self._note_parameters("made so by the update")

    def __call__(self, trainer):
        self._note_parameters("made so after the update, by an extension")
        if trainer.updater.iteration == self.result.last < self.end:
            console.say(
                f"iteration {self.result.last} is replayed; going on to {self.end}, "
                "for which the log has a row to compare"
            )
        if self._watcher is not None:
            self._finish()

    def note_end(self):
        """Take what there is of an iteration that failed."""
        if self._watcher is not None:
            self._finish()

    def _note_parameters(self, when):
        if not self.result.origin:
            paths = nonfinite_parameters(self._trainer.updater)
            self.result.origin += [
                f"parameter {path} is not finite since iteration "
                f"{self._trainer.updater.iteration}, {when}"
                for path in paths
            ]

    def _finish(self):
        figures, self._watcher = self._watcher.figures, None
        trainer = self._trainer
        figures.epoch = trainer.updater.epoch_detail
        figures.values = numbers_of(trainer.observation)
        figures.texts = report.decoded(figures.batch, self._decode)
        with random.scope("replay"):
            for name, probe in self._probes.items():
                figures.probes[name] = probe(trainer)


class _Logs:
    """The rows of a run's logs, and those that a replay makes."""

    def __init__(self, trainer):
        self._logs = {
            name: (log, log.rows_in(trainer.out))
            for name, log in trainer.extensions.items()
            if hasattr(log, "rows_in")
        }
        rows = [row for _, rows in self._logs.values() for row in rows]
        self._iterations = sorted({row["iteration"] for row in rows})
        self.last = self._iterations[-1] if rows else 0

    def end(self, last):
        """Return the first iteration from ``last`` on that has a row, or ``last``."""
        return next((each for each in self._iterations if each >= last), last)

    def compare(self, result):
        """Enter into the result what is equal, and what is not."""
        for name, (log, rows) in self._logs.items():
            made = {row["iteration"]: row for row in log.log if "iteration" in row}
            reached = max(made, default=0)
            found = []
            for row in rows:
                iteration = row["iteration"]
                if iteration in made:
                    unequal = list(_unequal(row, made[iteration]))
                    found += [f"{name}, iteration {iteration}: {x}" for x in unequal]
                    result.rows += not unequal and iteration > result.start_iteration
                elif iteration < reached and row is not rows[-1]:
                    found.append(f"{name}: there was no row for iteration {iteration}")
            if len(found) > 3:
                found[3:] = [f"{name}: {len(found) - 3} more values differ"]
            result.differences += found


def _unequal(row, made):
    for key in sorted(row.keys() | made.keys()):
        if not _CLOCK.search(key) and repr(row.get(key)) != repr(made.get(key)):
            there, here = (repr(each.get(key, "not there")) for each in (row, made))
            yield f"{key} is {there} in the log and {here} here"


def _changes(trainer, start):
    """Yield what is another one than when a snapshot was written."""
    here, there = environment(), start.manifest["environment"]
    pairs = [(key, there.get(key, here[key]), here[key]) for key in _MACHINE]
    pairs.append(("processes", start.manifest["values"].get("processes", 1), 1))
    for name, extension in trainer.extensions.items():
        saved = start.manifest["values"].get(f"extensions/{name}/identity")
        if isinstance(saved, dict):
            own = getattr(extension, "identity", None) or {}
            pairs += [(key, saved.get(key), value) for key, value in own.items()]
    for key, before, now in pairs:
        if before != now:
            yield f"{key} is {before!r} in {os.path.basename(start.path)}, {now!r} here"


def worst_interval(trainer: Any, key: str = "main/loss") -> tuple[int, int, str]:
    """The iterations of the worst row of a run's log, and why it is that.

    That is a row that is not finite, else the one which is furthest above the lowest
    before it; in a log that only falls, the first.
    """
    for log in trainer.extensions.values():
        rows = log.rows_in(trainer.out) if hasattr(log, "rows_in") else []
        rows = [row for row in rows if key in row]
        if rows:
            break
    else:
        raise ValueError(
            f"replay: {trainer.out} has no log with {key}, to find the worst"
        )
    lowest, rises = math.inf, []
    for row in rows:
        value = row[key]
        rise = 0.0 if lowest == math.inf else value - lowest
        rises.append(rise if math.isfinite(value) else math.inf)
        lowest = min(lowest, value) if math.isfinite(value) else lowest
    worst = max(range(len(rows)), key=rises.__getitem__)
    first = rows[worst - 1]["iteration"] + 1 if worst else 1
    why = f"{key} is {rows[worst][key]:.6g}"
    if rises[worst] > 0 and worst:
        best = min(row[key] for row in rows[:worst] if math.isfinite(row[key]))
        why += f", {best:.6g} at best before"
    return first, rows[worst]["iteration"], why
